//! Sixteen buffers for a thousand active streams: everybody moves, nobody loses a byte, and nobody
//! gets much more than the others.

use std::time::Duration;

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::crowd::Crowd;
use weir_tests::crowd::talker::{Talk, Talker};
use weir_tests::net::{self, Script};
use weir_tests::size;
use weir_tests::story::{Plan, Set};

/// Jain's index: 1 if all get the same, 1/n if one gets everything.
#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn fairness(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    sum * sum / (shares.len() as f64 * squares)
}

/// The CPU time that weir gets in a second of the story, at least.
const CPU_OF_A_SECOND: Duration = Duration::from_millis(700);

/// The longest that such a second may take on a busy machine.
const ROUND_MAX: Duration = Duration::from_secs(10);

/// A second of the crowd, or longer on a busy machine: a stream that the crowd has not looked at
/// cannot have moved, and neither can one for which weir had no CPU.
fn play_second(crowd: &mut Crowd<Talker<impl Fn(u64) -> Talk>>, set: &Set) {
    let (turns, begun, used) = (crowd.turns(), clock::now(), set.weir.cpu());
    crowd.turn_for(Duration::from_secs(1));
    while crowd.turns() < turns + 8
        || (set.weir.cpu() - used < CPU_OF_A_SECOND && clock::now() - begun < ROUND_MAX)
    {
        crowd.turn(Duration::from_millis(1));
    }
}

/// `chunk`: most bytes of one write; small ones never become bulk.
fn starve(chunk: u64) {
    let _alone = size::alone();
    let plan = move |number| Talk {
        chunk,
        turn_bytes: 4 << 10,
        ..Talk::plain(number, u64::MAX, u64::MAX)
    };
    let mut crowd = Crowd::new().with_buffers(64 << 10);
    let listener = net::listener(net::own_ip());
    let address = listener.local_addr().expect("it is bound");
    crowd.listen(listener, move |_| Talker::server(plan));
    let set = Plan::new(0, Script::Silent)
        .extern_backend("b1", address)
        .shards(1)
        .env("WEIR_TEST_BUFFERS", "16")
        .start();
    let streams = size::STARVED_STREAMS.get();
    let clients: Vec<usize> = (0..streams)
        .map(|number| crowd.connect(set.weir.web, None, Talker::client(number, plan)))
        .collect();
    crowd.turn_until(Duration::from_secs(30), "all to hear something", |crowd| {
        crowd.len() == clients.len() * 2 && crowd.members().all(|it| it.received > 0)
    });
    let received = |crowd: &Crowd<_>| -> Vec<u64> {
        crowd.members().map(|talker: &Talker<_>| talker.received).collect()
    };
    let begin = received(&crowd);
    let mut before = begin.clone();
    for second in 0..size::STARVED_SECONDS.get() {
        play_second(&mut crowd, &set);
        let now = received(&crowd);
        let still = std::iter::zip(&before, &now).filter(|(before, now)| before == now).count();
        assert_eq!(still, 0, "of {} directions stood still in second {second}", now.len());
        before = now;
    }
    let shares: Vec<u64> =
        std::iter::zip(&begin, &before).map(|(begin, end)| end - begin).collect();
    let fair = fairness(&shares);
    let page = set.weir.get("/metrics").body;
    let starved = count(&page, "weir_shard_starved_total", &[]);
    let promoted = count(&page, "weir_shard_promotions_total", &[]);
    let moved: u64 = shares.iter().sum();
    eprintln!(
        "chunks of {chunk}: fairness {fair:.3}, {moved} bytes, {starved} starved, {promoted} bulk"
    );
    assert!(starved > 0, "void: there was always a buffer");
    assert!(fair >= 0.9, "fairness {fair:.3}");
    // Everybody finishes: no byte is missing at the end, which each talker checks.
    for number in 0..crowd.len() {
        crowd.member(number).enough = true;
        crowd.nudge(number);
    }
    crowd.turn_until(Duration::from_secs(30), "all to end", |crowd| crowd.open() == 0);
    assert!(crowd.members().all(Talker::is_done));
    let heard = |clients: bool| -> u64 {
        crowd.members().filter(|it| it.is_client() == clients).map(|it| it.received).sum()
    };
    let said = |clients: bool| -> u64 {
        crowd.members().filter(|it| it.is_client() == clients).map(|it| it.sent).sum()
    };
    assert_eq!((heard(true), heard(false)), (said(false), said(true)), "bytes heard and said");
    clock::wait_for("weir to be empty", || set.weir.sessions() == 0);
}

#[test]
fn sixteen_buffers_for_a_thousand_small_talkers() {
    starve(2_000);
}

#[test]
fn sixteen_buffers_for_a_thousand_bulk_streams() {
    starve(64 << 10);
}
