//! weir is stopped for some seconds and goes on (SIGSTOP, a machine that is paused): nobody pays
//! for that time who would not have paid in any case.

use std::time::Duration;

use rustix::process::Signal;
use weir_tests::clock;
use weir_tests::fault_test::FaultTest;
use weir_tests::net::Script;
use weir_tests::story::Plan;

/// Seconds; longer than the idle timeout and the checks' timeout together.
const STOPPED: u64 = 5;
const CLIENTS: usize = 40;

#[test]
fn who_has_sent_meanwhile_lives_and_no_backend_is_down() {
    let test = FaultTest::begin(
        "T29",
        (STOPPED, "seconds of SIGSTOP"),
        "no backend is down, and no session ends whose bytes wait",
    );
    test.at_least(STOPPED, test.count, "seconds");
    let plan = Plan::new(3, Script::Echo)
        .pool("timeout = { idle = \"3s\" }")
        .health("{ kind = \"tcp\", interval = \"500ms\", timeout = \"1s\", fall = 1 }");
    let set = plan.start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| set.client()).collect();
    for client in &mut clients {
        client.echo(b"before");
    }
    let mut silent = set.client();
    silent.echo(b"before");
    // What is sent before it really stands is taken and answered at once: no sign of life later.
    set.weir.halt();
    for client in &mut clients {
        client.send(b"meanwhile");
    }
    clock::park(Duration::from_secs(test.count));
    let answered = clients.iter().filter(|it| it.hears_within(Duration::from_millis(1))).count();
    assert_eq!(answered, 0, "weir did not stand");
    set.weir.signal(Signal::CONT);
    // All of them at once: on a busy machine one after the other could outlast the idle timeout.
    for client in &mut clients {
        client.send(b"after");
    }
    for client in &mut clients {
        client.expect(b"meanwhileafter");
    }
    // Who has sent nothing has been quiet for too long, stopped or not.
    silent.expect_rst();
    let events = set.weir.ok(&["events"]);
    assert!(!events.contains("down:"), "{events}");
    test.counted(&format!("stopped for {} s, {CLIENTS} sessions, 3 backends", test.count));
    test.passed();
}
