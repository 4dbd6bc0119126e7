//! A backend with thousands of live sessions is drained and then removed by force: nobody is cut
//! before that, and the others notice nothing.

use std::time::Duration;

use weir_tests::baseline::{count, percentile, sum};
use weir_tests::crowd::Crowd;
use weir_tests::crowd::guest::Guest;
use weir_tests::crowd::pingers::Pingers;
use weir_tests::net::{self, End, Script};
use weir_tests::size;
use weir_tests::story::Plan;

/// Sessions on the other backend.
const OTHERS: usize = 100;

#[test]
fn thousands_of_sessions_are_drained_and_then_cut() {
    let _alone = size::alone();
    let mut crowd = Crowd::new();
    let ip = net::own_ip();
    let [first, second] = [net::listener(ip), net::listener(ip)];
    let [to_first, to_second] =
        [&first, &second].map(|listener| listener.local_addr().expect("it is bound"));
    let plan = Plan::new(0, Script::Silent).extern_backend("b1", to_first);
    let set = plan.extern_backend("b2", to_second).start();
    crowd.listen(first, |_| Guest::server());
    let others = Pingers::new(second);
    set.weir.ok(&["backend", "maint", "web/b2"]);
    let many: Vec<usize> = (0..size::REMOVED_SESSIONS.get())
        .map(|_| {
            crowd.turn(Duration::ZERO);
            crowd.connect(set.weir.web, None, Guest::client())
        })
        .collect();
    let served = |crowd: &mut Crowd<Guest>, numbers: &[usize]| {
        numbers.iter().all(|number| crowd.member(*number).is_served())
    };
    crowd.turn_until(Duration::from_secs(20), "the many", |crowd| served(crowd, &many));
    set.weir.ok(&["backend", "ready", "web/b2"]);
    set.weir.ok(&["backend", "drain", "web/b1"]);
    others.ping(set.weir.web, OTHERS);
    assert_eq!(set.weir.backend("web/b2")["sessions"].as_u64(), Some(OTHERS as u64));

    // Drained: each of the many still works. The others are measured meanwhile.
    for number in &many {
        crowd.member(*number).pings = true;
        crowd.nudge(*number);
    }
    crowd.turn_until(Duration::from_secs(20), "an answer for each", |crowd| {
        many.iter().all(|number| {
            let guest = crowd.member(*number);
            guest.pings = guest.rounds.is_empty();
            !guest.pings
        })
    });
    assert!(served(&mut crowd, &many), "drain cuts nobody");
    let _ = others.take();
    crowd.turn_for(Duration::from_secs(2));
    let mut before = others.take();

    let page = set.weir.get("/metrics").body;
    let slow_before = count(&page, "weir_shard_slow_turns_total", &[]);
    let kept = set.weir.kept_waiting();
    let mut remove = set.weir.command(&["backend", "remove", "web/b1", "--force", "--yes"]);
    let mut remove = remove.spawn().expect("weirctl can be started");
    crowd.turn_until(Duration::from_secs(20), "the many to be cut", |crowd| {
        many.iter().all(|number| crowd.member(*number).ended.is_some())
    });
    let mut during = others.take();
    assert!(remove.wait().expect("weirctl ends").success(), "it is removed");
    let fins = many
        .iter()
        .filter(|number| matches!(crowd.member(**number).ended, Some((End::Fin, _))))
        .count();
    assert_eq!(fins, 0, "what is cut must not look complete");
    assert_eq!(others.served(), OTHERS, "the others go on");

    let kept = set.weir.kept_waiting() - kept;
    crowd.turn_for(Duration::from_millis(1_500)); // the shards are asked once a second
    let page = set.weir.get("/metrics").body;
    let slow = count(&page, "weir_shard_slow_turns_total", &[]) - slow_before;
    let longest = sum(&page, "weir_shard_turn_max_seconds", &["shard=\"0\""]).max(sum(
        &page,
        "weir_shard_turn_max_seconds",
        &["shard=\"1\""],
    ));
    let [calm, p99] = [percentile(&mut before, 0.99), percentile(&mut during, 0.99)];
    eprintln!(
        "{} cut; longest turn since the start {longest:.4} s, {slow} slow while cutting ({kept:?} \
         kept waiting); the others' p99 {calm:?}, while cutting {p99:?}",
        many.len()
    );
    let own = longest - kept.as_secs_f64();
    assert!(slow == 0 || own <= 0.050, "a turn of {longest} s; {kept:?} of it kept waiting");
    let limit = (calm * 2).max(Duration::from_millis(50)) + kept;
    assert!(p99 <= limit, "the others' p99 {calm:?} before, {p99:?} while the many were cut");
}
