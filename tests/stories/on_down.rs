//! `on-down`: what becomes of the sessions of a backend that goes down.

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::net::{Peer, Script, noise};
use weir_tests::story::{Plan, Set};

fn checked(panic: &str) -> String {
    format!(
        "{{ kind = \"tcp\", interval = \"100ms\", timeout = \"100ms\", rise = 1, fall = 2, \
         slow-start = \"0s\", panic = \"{panic}\" }}"
    )
}

/// Two backends and some sessions on each, by backend; b1 refuses its checks from now on.
fn one_goes_down(on_down: &str, panic: &str) -> (Set, [Vec<Peer>; 2]) {
    let plan = Plan::new(2, Script::Banner).strategy("round-robin").health(&checked(panic));
    let mut set = plan.pool(on_down).start();
    for name in ["web/b1", "web/b2"] {
        set.weir.wait_state(name, "up");
    }
    let mut by_backend = [Vec::new(), Vec::new()];
    while by_backend.iter().any(|clients| clients.len() < 4) {
        let (client, name) = set.session();
        by_backend[set.index(&name)].push(client);
    }
    set.backends[0].pause();
    set.weir.wait_state("web/b1", "down");
    (set, by_backend)
}

fn talks(clients: &mut [Peer]) {
    for client in clients {
        client.send(b"ping");
        client.expect(b"ping");
    }
}

fn ends(set: &Set) -> u64 {
    let labels = ["by=\"backend\"", "why=\"backend_down\"", "code=\"DD\""];
    count(&set.weir.get("/metrics").body, "weir_session_ends_total", &labels)
}

#[test]
fn a_kill_ends_the_sessions_of_the_backend_that_fails_its_checks_and_no_others() {
    let (mut set, [mut of_first, mut of_second]) = one_goes_down("on-down = \"kill\"", "0%");
    for client in &mut of_first {
        client.expect_rst();
    }
    talks(&mut of_second);
    clock::wait_for("their reason", || ends(&set) == of_first.len() as u64);
    let events = set.weir.ok(&["events"]);
    assert!(events.contains("down: refused; its sessions end"), "{events}");
    // It comes back, and serves as before.
    set.backends[0].resume();
    set.weir.wait_state("web/b1", "up");
    assert!(set.spread(8, None)[0] > 0);
    talks(&mut of_second);
    assert_eq!(ends(&set), of_first.len() as u64);
}

#[test]
fn without_it_sessions_are_left_alone() {
    let (set, [mut of_first, mut of_second]) = one_goes_down("", "0%");
    talks(&mut of_first);
    talks(&mut of_second);
    assert_eq!(ends(&set), 0);
    // Setting it counts for the backend that is down already, and a dry run says so.
    let change = ["pool", "set", "web", "on-down=kill"];
    // Sessions are counted by reports, up to a quarter of a second old.
    let sessions = || set.weir.backend("web/b1")["sessions"] == of_first.len();
    clock::wait_for("the sessions to be counted", sessions);
    let plan = set.weir.json(&[&change[..], &["--dry-run"]].concat());
    assert_eq!(plan["impact"]["sessions"]["cut"], of_first.len(), "{plan}");
    set.weir.ok(&change);
    for client in &mut of_first {
        client.expect_rst();
    }
    talks(&mut of_second);
    clock::wait_for("their reason", || ends(&set) == of_first.len() as u64);
    let pool = set.weir.json(&["pool", "show", "web"]);
    assert_eq!(pool["on_down"], "kill");
    assert!(set.weir.ok(&["config", "export"]).contains("on-down = \"kill\""));
}

#[test]
fn in_panic_no_session_ends() {
    let (set, [mut of_first, mut of_second]) = one_goes_down("on-down = \"kill\"", "100%");
    talks(&mut of_first);
    talks(&mut of_second);
    assert_eq!(ends(&set), 0);
    set.weir.ok(&["pool", "set", "web", "health.panic=0%"]);
    for client in &mut of_first {
        client.expect_rst();
    }
    talks(&mut of_second);
}

#[test]
fn stalled_ends_those_that_wait_on_the_backend() {
    let plan = Plan::new(1, Script::ByHand).health("{ kind = \"none\", panic = \"0%\" }");
    let set = plan.pool("on-down = \"stalled\"").start();
    let (mut quiet, mut its_server) = set.pair();
    quiet.send(b"hello");
    its_server.expect(b"hello");
    let (mut blocked, hangs) = set.pair();
    blocked.send_until_blocked(&noise(1, 30_000_000), std::time::Duration::from_millis(200));
    let (mut later, hangs_later) = set.pair();
    set.weir.ok(&["backend", "set", "web/b1", "force=down", "--yes"]);
    blocked.expect_rst();
    // One that begins to wait while it is down.
    later.send_until_blocked(&noise(2, 30_000_000), std::time::Duration::from_millis(200));
    later.expect_rst();
    quiet.send(b"again");
    its_server.expect(b"again").send(b"still here");
    quiet.expect(b"still here");
    clock::wait_for("their reason", || ends(&set) == 2);
    drop((hangs, hangs_later));
}
