//! `weir demo`: its faults are found by the commands that it prints, and Ctrl-C leaves nothing.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use weir_tests::browser::Browser;
use weir_tests::clock::{self, PATIENCE};
use weir_tests::weir::{Ran, binary};

/// How long a person may have to look for a fault.
const FOUND_MAX: Duration = Duration::from_mins(1);
/// How long the demo may take to end, on a busy machine.
const END_MAX: Duration = Duration::from_secs(5);

/// The signs of a fault in an answer: for each, a line with all of these words.
type Signs = &'static [&'static str];

/// The printed commands, in order.
const SEARCH: [(&str, &[Signs]); 9] = [
    ("status", &[&["web", "round-robin", "4", "5"]]),
    ("backend list web", &[&["web/b3", "down", "refused"]]),
    (
        "events --kind health",
        &[&["web/b3", "down", "refused"], &["web/b5", "before its first byte"]],
    ),
    ("why web --client 127.0.0.1", &[&["web/b3", "down", "have failed"]]),
    ("session list --stalled", &[&["web/b4", "backend"]]),
    ("latency web", &[&["≤ 1000ms", "#"]]),
    ("stats web/b4", &[&["first-byte"]]),
    ("stats web/b5", &[&["received ", " 0"]]),
    ("stats web", &[&["backend", "reset", "SD"]]),
];

/// Holds until it is dropped: demos that look for free ports at the same time find the same ones.
pub(crate) fn starts_alone() -> MutexGuard<'static, ()> {
    static STARTS: Mutex<()> = Mutex::new(());
    STARTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The demo, as a process, and what it has printed.
struct Demo {
    child: Child,
    text: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> Demo {
        let _alone = starts_alone();
        let mut command = Command::new(binary("weir", "WEIR_BIN"));
        command.arg("demo").args(arguments).stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut demo = Demo { child: child.expect("it starts"), text: String::new() };
        let mut out = BufReader::new(demo.child.stdout.take().expect("it is a pipe"));
        while !demo.text.contains("wrk ") {
            let count = out.read_line(&mut demo.text).expect("it is text");
            assert!(count > 0, "the invitation ends early: {}", demo.text);
        }
        let log = demo.child.stderr.take().expect("it is a pipe");
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("ready:")), "it serves");
        // weir may write on: a full pipe would hold none of it, but the story needs it no longer.
        std::thread::spawn(move || lines.for_each(drop));
        demo
    }

    /// The address before what is said of it.
    fn address(&self, what: &str) -> SocketAddr {
        let line = self.text.lines().find(|line| line.contains(what));
        let address =
            line.and_then(|it| it.strip_prefix("http://")?.split('/').next()?.parse().ok());
        address.unwrap_or_else(|| panic!("{what} has no address in {}", self.text))
    }

    /// Where it keeps its files.
    fn folder(&self) -> PathBuf {
        let line = self.text.lines().find(|line| line.contains("the configuration and the state"));
        line.and_then(|it| it.split_whitespace().next()).expect("it names its folder").into()
    }

    /// The commands of weirctl that it prints, each with what comes after the socket.
    fn commands(&self) -> Vec<(&str, &str)> {
        let lines = self.text.lines().map(str::trim);
        lines.filter_map(|line| Some((line, line.split_once("control.sock ")?.1))).collect()
    }

    fn interrupt(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("it has an id"), Signal::INT).expect("it runs");
        clock::wait_within(END_MAX, "the demo's end", || self.child.try_wait().expect("it is ours"))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It has ended, unless the story failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let folder = std::env::temp_dir().join(format!("weir-demo-{}", self.child.id()));
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn shell(command: &str) -> Ran {
    Ran::of(Command::new("sh").args(["-c", command])).expect_code(0)
}

#[test]
fn the_commands_that_the_demo_prints_find_its_faults() {
    let demo = Demo::start(&["--faults"]);
    let commands = demo.commands();
    let said: Vec<&str> = commands.iter().map(|(_, verb)| *verb).collect();
    let expected: Vec<&str> = SEARCH.iter().map(|(verb, _)| *verb).collect();
    assert_eq!(said.get(..expected.len()), Some(expected.as_slice()), "{}", demo.text);
    for ((command, verb), (_, signs)) in commands.iter().zip(SEARCH) {
        let mut last = String::new();
        let found = clock::try_wait(FOUND_MAX, || {
            last = shell(command).stdout;
            let shows = |words: &Signs| {
                last.lines().any(|line| words.iter().all(|word| line.contains(word)))
            };
            signs.iter().all(shows).then_some(())
        });
        assert!(found.is_some(), "{verb} shows {signs:?}: {last}");
    }
    let stats = |backend: &str| {
        let (command, _) =
            commands.iter().find(|it| it.1 == "stats web/b4").expect("it is printed");
        shell(&format!("{} -o json", command.replace("b4", backend))).json()
    };
    // The slow one kept its clients waiting until some of them gave up; no other one did.
    clock::wait_within(FOUND_MAX, "clients that gave up on b4", || {
        let slow = stats("b4");
        let figure = |key: &str| slow[key]["backend"].as_f64().unwrap_or(0.0);
        (figure("blocked_s_total") > 1.0 && figure("undelivered_bytes_total") > 0.0).then_some(())
    });
    let first_byte_s = |stats: &Value| stats["first_byte_duration_s"]["p50"].as_f64();
    assert!(first_byte_s(&stats("b4")) > Some(0.7) && first_byte_s(&stats("b1")) < Some(0.7));
    assert_eq!(stats("b1")["undelivered_bytes_total"]["backend"], 0);
    let resets = stats("b5");
    assert_eq!(resets["received_bytes_total"], 0, "{resets}");
    assert!(resets["first_closes_total"]["backend"].as_u64() > Some(9), "{resets}");
}

#[test]
fn the_dashboard_shows_its_faults() {
    let demo = Demo::start(&["--faults"]);
    let browser = Browser::start(1440, 900);
    browser.open(&format!("http://{}/", demo.address("the dashboard")));
    let text = |selector: &str| format!("(document.querySelector({selector:?})?.innerText ?? '')");
    let shows = |selector: &str, part: &str| {
        let look = format!("return {}.includes({part:?})", text(selector));
        let found = clock::try_wait(FOUND_MAX, || (browser.run(&look) == true).then_some(()));
        let there = || browser.run(&format!("return {}", text(selector)));
        assert!(found.is_some(), "{part:?} in {selector}: {}", there());
    };
    // Dead, with the reason; resetting, as an alert; slow, by a figure that no other one has.
    shows("#alerts", "web/b3");
    shows("[data-backend='web/b3']", "refused");
    shows("#alerts", "web/b5");
    shows("[data-backend='web/b4']", "819");
    assert_eq!(
        browser.run(&format!("return {}.includes('819')", text("[data-backend='web/b1']"))),
        false
    );
    assert_eq!(browser.console(), [""; 0]);
}

#[test]
fn every_other_command_of_the_demo_works() {
    let demo = Demo::start(&[]);
    assert!(demo.text.lines().nth(2).is_some_and(|line| line.contains("the dashboard")));
    let listed = demo.commands().iter().find(|it| it.1 == "backend list").map(|it| it.0.to_owned());
    let listed = format!("{} -o json", listed.expect("it is printed"));
    clock::wait_for("clients at both backends", || {
        let backends = shell(&listed).json();
        let served = |backend: &Value| backend["sessions_total"].as_u64() > Some(0);
        backends["backends"]
            .as_array()
            .is_some_and(|rows| rows.len() == 2 && rows.iter().all(served))
    });
    // A live screen needs a terminal.
    for (command, _) in demo.commands().iter().filter(|(_, verb)| *verb != "top") {
        let _ = shell(command);
    }
    // The token that it prints lets the dashboard change something.
    let token = demo.text.lines().find_map(|line| line.strip_suffix(" unlocks changes there"));
    let path = "api/v1/backends/web/b2/drain";
    let curl =
        format!("curl -sf -X POST -H 'Authorization: Bearer {}'", token.unwrap_or("").trim());
    let _ = shell(&format!("{curl} http://{}/{path}", demo.address("the dashboard")));
}

#[test]
fn ctrl_c_leaves_nothing_of_the_demo() {
    let mut demo = Demo::start(&["--faults"]);
    let addresses = ["  weir", "the dashboard", "web/b1", "web/b4", "web/b5"];
    let addresses = addresses.map(|what| demo.address(what));
    let mut client = TcpStream::connect(addresses[0]).expect("it serves");
    client.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    assert!(demo.folder().is_dir());
    assert_eq!(demo.interrupt().code(), Some(0));
    assert!(!matches!(client.read(&mut [0; 8]), Ok(1..)), "the session has ended");
    assert!(!demo.folder().exists());
    for address in addresses {
        assert!(TcpStream::connect(address).is_err(), "{address} is still there");
    }
}
