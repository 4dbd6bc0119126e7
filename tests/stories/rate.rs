//! A rate of new sessions: never more over all shards, more clients wait, and each is served.

use std::time::Duration;

use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

/// For everybody to be served on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

fn start(listener: &str) -> Set {
    Plan::new(1, Script::Banner).listener(listener).start()
}

/// Clients come at once, and leave as they are served. Returns how long that takes.
pub(crate) fn serve(set: &Set, clients: usize) -> Duration {
    let began = clock::now();
    let mut all: Vec<Peer> = (0..clients).map(|_| set.client()).collect();
    std::thread::scope(|scope| {
        for client in &mut all {
            scope.spawn(move || {
                client.patient(PATIENCE);
                assert_eq!(client.line(), "b1");
                client.fin().expect_fin();
            });
        }
    });
    began.elapsed()
}

/// The least time that these sessions, or connects, take: all but a burst have to wait for their
/// tokens.
pub(crate) fn least(clients: u32, rate: u32) -> Duration {
    Duration::from_secs(1) * (clients - rate.div_ceil(10)) / rate
}

#[test]
fn clients_beyond_the_rate_wait_in_the_backlog_and_are_served_in_time() {
    let set = start("rate = \"20/s\"");
    let took = serve(&set, 40);
    assert!(took >= least(40, 20), "{took:?}");
    assert_eq!(set.weir.json(&["listener", "show", "web"])["rate_per_s"], 20);
    let page = set.weir.get("/metrics").body;
    assert!(page.contains("weir_listener_session_rate_max{listener=\"web\"} 20\n"), "{page}");
}

#[test]
fn a_rate_below_the_number_of_shards_goes_round() {
    let set = Plan::new(1, Script::Banner).shards(4).listener("rate = \"2/s\"").start();
    let took = serve(&set, 5);
    assert!(took >= least(5, 2), "{took:?}");
}

#[test]
fn a_rate_and_a_limit_hold_both() {
    let set = start("rate = \"20/s\"\nmax-sessions = 1");
    let took = serve(&set, 12);
    assert!(took >= least(12, 20), "{took:?}");
}

#[test]
fn a_rate_comes_changes_and_goes_at_run_time_and_cuts_no_session() {
    let set = start("");
    let mut live = set.client();
    assert_eq!(live.line(), "b1");
    set.weir.ok(&["listener", "set", "web", "rate=1/s"]);
    let took = serve(&set, 4);
    assert!(took >= least(4, 1), "{took:?}");
    set.weir.ok(&["listener", "set", "web", "rate=10/s"]);
    let took = serve(&set, 11);
    assert!(took >= least(11, 10), "{took:?}");
    // Those who wait for a slow rate are served at once when it goes.
    set.weir.ok(&["listener", "set", "web", "rate=1/s"]);
    let began = clock::now();
    let mut waiting: Vec<Peer> = (0..200).map(|_| set.client()).collect();
    set.weir.ok(&["listener", "set", "web", "rate="]);
    for client in &mut waiting {
        client.patient(PATIENCE);
        assert_eq!(client.line(), "b1");
    }
    assert!(began.elapsed() < Duration::from_secs(100), "it took {:?}", began.elapsed());
    live.fin().expect_fin();
}

#[test]
fn what_is_no_rate_is_refused_with_the_right_form() {
    let set = start("");
    for (text, says) in [
        ("rate=0/s", "out of range"),
        ("rate=5", "200/s"),
        ("rate=5/m", "200/s"),
        ("rate=1000001/s", "1000000/s"),
    ] {
        set.weir.refuses(&["listener", "set", "web", text], says);
    }
}
