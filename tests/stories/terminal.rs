//! `weirctl top` in a terminal that goes away, and ended by a signal.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
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
        let status = clock::wait_within(limit, "top to end", || {
            if let Some(near) = near {
                drain(near);
            }
            child.try_wait().expect("it is our child")
        });
        status.code()
    }
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
    let mut ends = [PollFd::new(near, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut ends, Some(&at_once)).is_ok_and(|ready| ready > 0) {
        let _ = rustix::io::read(near.as_fd(), &mut [0; 4096]);
    }
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
