//! A burst of connections on a completion queue of 64 entries: what does not fit waits in the
//! kernel, and nothing is lost.

use std::time::Duration;

use weir_tests::baseline::{Baseline, count};
use weir_tests::crowd::Crowd;
use weir_tests::crowd::guest::Guest;
use weir_tests::net::{self, End, Script};
use weir_tests::size;
use weir_tests::story::Plan;

#[test]
fn a_burst_on_a_completion_queue_of_sixty_four() {
    let _alone = size::alone();
    let mut crowd = Crowd::new();
    let listener = net::listener(net::own_ip());
    let address = listener.local_addr().expect("it is bound");
    crowd.listen(listener, |_| Guest::server());
    let plan = Plan::new(0, Script::Silent).extern_backend("b1", address);
    let set = plan.shards(1).env("WEIR_TEST_COMPLETIONS", "64").start();
    let before = Baseline::of(&set.weir);
    let clients = size::BURST.count();
    let numbers: Vec<usize> =
        (0..clients).map(|_| crowd.connect(set.weir.web, None, Guest::client())).collect();
    crowd.turn_until(Duration::from_secs(20), "all to be served", |crowd| {
        numbers.iter().all(|number| crowd.member(*number).is_served())
    });
    // All speak at once, and then all go at once.
    for number in &numbers {
        crowd.member(*number).pings = true;
        crowd.nudge(*number);
    }
    crowd.turn_until(Duration::from_secs(20), "three answers each", |crowd| {
        numbers.iter().all(|number| crowd.member(*number).rounds.len() >= 3)
    });
    for number in &numbers {
        crowd.member(*number).leaves = true;
        crowd.nudge(*number);
    }
    crowd.turn_until(Duration::from_secs(20), "all backends to hear it", |crowd| crowd.open() == 0);
    let cut = crowd.members().filter(|it| matches!(it.ended, Some((End::Rst, _)))).count();
    let page = set.weir.get("/metrics").body;
    let overflows = count(&page, "weir_shard_cq_overflow_total", &[]);
    eprintln!("{clients} served, {cut} resets, weir says {overflows} overflows");
    before.expect_again(&set.weir);
    assert_eq!(count(&page, "weir_listener_sessions_accepted_total", &[]), clients as u64);
}
