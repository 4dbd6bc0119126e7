//! `weirctl top` in a terminal: its screen, drains by key, a restart of weir, a terminal that goes
//! away, a signal.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};

/// `weirctl top`, and the two ends of its terminal: ours, and one that keeps its modes.
struct Top {
    child: Child,
    near: OwnedFd,
    far: OwnedFd,
}

impl Top {
    /// Starts it and waits until it has taken the screen.
    fn start(set: &Set) -> Top {
        let (near, far) = pseudo_terminal();
        let end = || Stdio::from(far.try_clone().expect("a descriptor"));
        let mut command = set.weir.command(&["top"]);
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("weirctl");
        let top = Top { child, near, far };
        clock::wait_for("top to take the screen", || top.is_raw());
        top
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.far).expect("it is a terminal").local_modes;
        !modes.contains(LocalModes::ICANON)
    }

    /// Waits until the process has ended; gives its code. What it draws is read meanwhile.
    fn ended(child: &mut Child, near: Option<&OwnedFd>) -> Option<i32> {
        let limit = Duration::from_secs(10);
        let status = clock::wait_within(limit, "its end", || {
            if let Some(near) = near {
                drain(near);
            }
            child.try_wait().expect("it is our child")
        });
        status.code()
    }
}

/// A command on a screen that can be read, and whose keys can be pressed.
struct Screen {
    child: Child,
    near: OwnedFd,
    shown: vt100::Parser,
}

impl Screen {
    /// Starts `weirctl top` on a terminal of this size.
    fn open(set: &Set, size: (u16, u16), env: &[(&str, &str)]) -> Screen {
        Screen::run(set, &["top"], size, env)
    }

    /// Starts `weirctl` on a terminal of this size, which is its own: `/dev/tty` is it. Signals do
    /// what they do at a login, also if the tests run under nohup(1), which has SIGHUP ignored.
    fn run(
        set: &Set,
        arguments: &[&str],
        (columns, rows): (u16, u16),
        env: &[(&str, &str)],
    ) -> Screen {
        let (near, far) = pseudo_terminal();
        resize(&near, (columns, rows));
        let inner = set.weir.command(arguments);
        let mut command = Command::new("setsid");
        command.args(["--ctty", "env", "--default-signal"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let end = || Stdio::from(far.try_clone().expect("a descriptor"));
        command.stdin(end()).stdout(end()).stderr(end());
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(env.iter().copied());
        let child = command.spawn().expect("weirctl under setsid");
        Screen { child, near, shown: vt100::Parser::new(rows, columns, 0) }
    }

    fn press(&self, keys: &str) {
        let written = rustix::io::write(&self.near, keys.as_bytes());
        assert_eq!(written, Ok(keys.len()), "{keys:?}");
    }

    fn look(&mut self) -> String {
        while let Some(bytes) = readable(&self.near) {
            self.shown.process(&bytes);
        }
        self.shown.screen().contents()
    }

    /// Waits until the screen has this text, and gives all of it.
    #[track_caller]
    fn wait(&mut self, text: &str) -> String {
        self.wait_until(text, |shown| shown.contains(text))
    }

    #[track_caller]
    fn wait_until(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let found = clock::try_wait(clock::PATIENCE, || Some(self.look()).filter(|it| is_it(it)));
        found.unwrap_or_else(|| panic!("{what:?} is not on the screen:\n{}", self.look()))
    }

    /// Waits for the end; gives its code.
    fn ended(&mut self) -> Option<i32> {
        Top::ended(&mut self.child, Some(&self.near))
    }

    /// Presses `q`, and waits for the end.
    fn leave(mut self) {
        self.press("q");
        assert_eq!(self.ended(), Some(0));
    }

    /// Takes the terminal away, and waits for the end; gives its code.
    fn hang_up(mut self) -> Option<i32> {
        let null = File::open("/dev/null").expect("it is there");
        drop(std::mem::replace(&mut self.near, null.into()));
        Top::ended(&mut self.child, None)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives a terminal a size.
fn resize(near: &OwnedFd, (columns, rows): (u16, u16)) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(near, size).expect("it is a terminal");
}

/// Our end, and the one of the program.
pub(crate) fn pseudo_terminal() -> (OwnedFd, OwnedFd) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .expect("a pseudo-terminal");
    grantpt(&near).and_then(|()| unlockpt(&near)).expect("it is ours");
    let name = ptsname(&near, Vec::new()).expect("it has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let far = open(&name, flags, Mode::empty()).expect("its other end");
    (near, far)
}

fn drain(near: &OwnedFd) {
    let _ = readable(near);
}

/// Bytes that are there; `None` if there are none.
fn readable(near: &OwnedFd) -> Option<Vec<u8>> {
    let mut ends = [PollFd::new(near, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ends, Some(&at_once)).ok().filter(|ready| *ready > 0)?;
    let mut bytes = vec![0; 4096];
    let count = rustix::io::read(near.as_fd(), &mut bytes).ok()?;
    bytes.truncate(count);
    Some(bytes).filter(|bytes| !bytes.is_empty())
}

#[test]
fn top_shows_the_past_and_fits_its_terminal() {
    let set = Plan::new(2, Script::Banner).start();
    let mut held = Vec::new();
    let spread = set.spread(8, Some(&mut held));
    assert_eq!(spread.iter().sum::<usize>(), 8);
    let points = || {
        let live: Value =
            serde_json::from_str(&set.weir.get("/api/v1/live").body).expect("it is JSON");
        live["history"]["sessions"].as_array().map_or(0, Vec::len)
    };
    clock::wait_for("some seconds of history", || points() >= 4);
    let mut screen = Screen::open(&set, (120, 40), &[("NO_COLOR", "1")]);
    for text in ["sessions 8", "serving", "version 1", "drift none", "peak 8 in", "→ web", "2/2 up"]
    {
        screen.wait(text);
    }
    // It is drawn from the top to the bottom, and keys are last.
    let shown = screen.wait("? help");
    let curve = shown.lines().nth(2).unwrap_or_default();
    assert!(curve.matches('█').count() >= 2, "more than this second is there:\n{shown}");
    let cells = (0..40).flat_map(|row| (0..120).map(move |column| (row, column)));
    let colours = cells.filter(|(row, column)| {
        let cell = screen.shown.screen().cell(*row, *column);
        cell.is_some_and(|cell| cell.fgcolor() != vt100::Color::Default)
    });
    assert_eq!(colours.count(), 0, "NO_COLOR is set");
    screen.press("2");
    screen.wait("Live sessions  8 of 8 by rate");
    screen.press("\r");
    screen.wait("accepted under");
    screen.press("q3");
    screen.wait("Events  ");
    resize(&screen.near, (30, 8));
    screen.shown.screen_mut().set_size(8, 30);
    screen.wait("30x8 is too small");
    screen.leave();
}

#[test]
fn top_drains_by_key_after_a_yes_and_shows_the_undo() {
    let set = Plan::new(2, Script::Echo).start();
    let mut screen = Screen::open(&set, (80, 24), &[]);
    let state = || set.weir.json(&["backend", "show", "web/b1"])["state"].clone();
    screen.wait("  b1");
    screen.press("/b1\rG");
    screen.wait("▶   b1");
    screen.press("d");
    for text in ["weirctl backend drain web/b1", "state: ready → drain", "Do it?"] {
        screen.wait(text);
    }
    screen.press("n");
    screen.wait("not done: weirctl backend drain web/b1");
    assert_eq!(state(), "up");
    screen.press("d");
    screen.wait("Do it?");
    screen.press("y");
    screen.wait("version 2 on 2/2 shards");
    screen.wait("undo: weirctl backend ready web/b1 --if-version 2");
    screen.wait("◐ draining");
    assert_eq!(state(), "draining");
    // The history has it as it has the command.
    let history = set.weir.json(&["config", "history"]);
    let newest = &history["versions"][0];
    assert_eq!(newest["summary"], "backend set web/b1 (state ready → drain)");
    assert_eq!(newest["claimed_command"], "weirctl backend drain web/b1");
    assert_eq!(newest["by"]["uid"], rustix::process::getuid().as_raw());
    screen.press("d");
    screen.wait("it is so already");
    screen.press("r");
    screen.wait("state: drain → ready");
    screen.press("y");
    screen.wait("version 3 on 2/2 shards");
    assert_eq!(state(), "up");
    screen.leave();
}

#[test]
fn top_asks_with_the_loss_before_it_takes_the_last_backend_away() {
    let set = Plan::new(1, Script::Echo).start();
    let mut screen = Screen::open(&set, (80, 24), &[]);
    screen.wait("  b1");
    screen.press("Gd");
    screen.wait("warning:");
    screen.wait("Do it?");
    // Another change comes between the question and the answer: it was not looked at.
    set.weir.ok(&["backend", "weight", "web/b1", "3"]);
    screen.press("y");
    screen.wait("hint:");
    screen.wait("weirctl backend drain web/b1: ");
    assert_eq!(set.weir.json(&["backend", "show", "web/b1"])["state"], "up");
    screen.leave();
}

#[test]
fn top_cuts_a_session_by_key_and_shows_how_far_a_drain_is() {
    let set = Plan::new(1, Script::Banner).start();
    let (mut client, _) = set.session();
    let mut screen = Screen::open(&set, (80, 24), &[]);
    screen.wait("sessions 1");
    set.weir.ok(&["backend", "drain", "web/b1", "--over", "1h", "--yes"]);
    screen.wait("task 1  drain web/b1  running");
    screen.press("G\r");
    screen.wait("1 of 1 of backend web/b1 by rate");
    screen.press("x");
    screen.wait("is cut: both sides are reset");
    screen.press("y");
    client.expect_rst();
    screen.wait("1 session was cut");
    screen.leave();
}

#[test]
fn top_says_that_weir_is_silent_and_goes_on() {
    let set = Plan::new(1, Script::Echo).start();
    let mut screen = Screen::open(&set, (80, 24), &[]);
    screen.wait("serving");
    set.weir.halt();
    screen.wait("ALERT weir has not answered for");
    screen.press("?");
    screen.wait("any key closes it");
    set.weir.signal(Signal::CONT);
    screen.press("?");
    screen.wait_until("serving again", |it| it.contains("serving") && !it.contains("ALERT"));
    screen.leave();
}

#[test]
fn top_lives_through_a_restart_of_weir() {
    let mut set = Plan::new(1, Script::Echo).start();
    let mut screen = Screen::open(&set, (120, 40), &[]);
    screen.wait("serving");
    set.weir.kill();
    let away = screen.wait("AWAY");
    screen.wait("ALERT weir is away for");
    assert!(away.contains("  b1"), "the last figures stay:\n{away}");
    screen.press("Gd");
    screen.wait("nothing can be changed now");
    set.weir.run();
    screen.wait_until("serving again", |it| it.contains("serving") && !it.contains("ALERT"));
    screen.press("Gd");
    screen.wait("Do it?");
    screen.press("n");
    screen.leave();
}

#[test]
fn top_ends_when_its_terminal_goes_away() {
    let set = Plan::new(1, Script::Echo).start();
    let Top { mut child, near, far } = Top::start(&set);
    drop(far);
    drop(near);
    assert_eq!(Top::ended(&mut child, None), Some(1));
}

#[test]
fn top_ends_by_a_signal_and_gives_the_terminal_back() {
    let set = Plan::new(1, Script::Echo).start();
    for signal in [Signal::TERM, Signal::HUP] {
        let mut top = Top::start(&set);
        let pid = Pid::from_child(&top.child);
        kill_process(pid, signal).expect("it runs");
        assert_eq!(Top::ended(&mut top.child, Some(&top.near)), Some(0), "{signal:?}");
        assert!(!top.is_raw(), "{signal:?}");
    }
}

#[test]
fn top_refuses_what_is_no_terminal() {
    let set = Plan::new(1, Script::Echo).start();
    let mut command = set.weir.command(&["top"]);
    let null = File::open("/dev/null").expect("it is there");
    let ran = command.stdin(Stdio::from(null)).output().expect("weirctl");
    assert_eq!(ran.status.code(), Some(2));
}

/// Commands that go on until they are told to end.
const LONG: [&[&str]; 4] = [
    &["events", "-f", "--since", "1h"],
    &["status", "--watch"],
    &["session", "list", "--watch"],
    &["backend", "drain", "web/b1", "--wait", "1h", "--yes"],
];

/// Starts one, and waits for its first words.
fn long(set: &Set, arguments: &[&str]) -> Screen {
    let mut screen = Screen::run(set, arguments, (80, 24), &[]);
    screen.wait_until("its first words", |shown| !shown.trim().is_empty());
    screen
}

#[test]
fn long_commands_end_with_their_terminal_and_by_signals() {
    let set = Plan::new(2, Script::Banner).start();
    // What the drain waits for, and something to follow.
    let sessions: Vec<_> = (0..4).map(|_| set.session()).collect();
    set.weir.ok(&["backend", "drain", "web/b2"]);
    set.weir.ok(&["backend", "ready", "web/b2"]);
    for arguments in LONG {
        for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
            let mut screen = long(&set, arguments);
            kill_process(Pid::from_child(&screen.child), signal).expect("it runs");
            assert_ne!(screen.ended(), Some(0), "{arguments:?} {signal:?}");
        }
        // The terminal's end is a SIGHUP to its session, or an error of the next write.
        assert_ne!(long(&set, arguments).hang_up(), Some(0), "{arguments:?}");
    }
    drop(sessions);
}
