//! Two thousand streams with chunks, pauses and half closes at random: every byte is where it
//! belongs, in both directions, and the ends come in the order in which they were sent.

use std::time::Duration;

use weir_tests::baseline::{Baseline, count};
use weir_tests::clock;
use weir_tests::crowd::Crowd;
use weir_tests::crowd::talker::{Order, Talk, Talker};
use weir_tests::net::{self, Script};
use weir_tests::payload::Dice;
use weir_tests::size;
use weir_tests::story::Plan;

/// Clients that talk at the same time.
const TOGETHER: usize = 400;

/// What client `number` and its backend say to each other; `mean` bytes each way, more or less.
fn talk(number: u64, mean: u64) -> Talk {
    let mut dice = Dice::new(number);
    let length = |dice: &mut Dice| match dice.below(8) {
        0 => 0,
        1 => dice.below(2_000),
        // Large enough to become bulk.
        2 => mean * 3 + dice.below(mean * 2),
        _ => dice.below(mean),
    };
    let (up, down) = (length(&mut dice), length(&mut dice));
    let order = dice.of(&[Order::Any, Order::Client, Order::Server]);
    let chunk = dice.of(&[100, 5_000, 40_000, 200_000]);
    let read_rate = None;
    // Few are quiet for so long that weir lets them wait without an operation.
    let pause_max = Duration::from_millis(if dice.once_in(20) { 2_500 } else { 100 });
    let pause_once_in = 1 + (up.max(down) / chunk).max(4) / 2;
    Talk {
        key: number * 2 + 1,
        up,
        down,
        order,
        chunk,
        pause_once_in,
        pause_max,
        read_rate,
        turn_bytes: 128 << 10,
    }
}

#[test]
fn every_byte_of_two_thousand_streams_arrives_in_its_place() {
    let _alone = size::alone();
    let streams = size::INTEGRITY_STREAMS.get();
    let mean = (size::INTEGRITY_BYTES.get() / streams / 2).max(1);
    let plan = move |number| talk(number, mean);
    let listener = net::listener(net::own_ip());
    let address = listener.local_addr().expect("it is bound");
    let set = Plan::new(0, Script::Silent).extern_backend("b1", address).start();
    let before = Baseline::of(&set.weir);

    let mut crowd = Crowd::new();
    crowd.listen(listener, move |_| Talker::server(plan));
    let mut begun = 0;
    let limit = Duration::from_secs(30) + Duration::from_secs(size::INTEGRITY_BYTES.get() >> 25);
    crowd.turn_until(limit, "all streams to end", |crowd| {
        while begun < streams && crowd.open() < TOGETHER * 2 {
            crowd.connect(set.weir.web, None, Talker::client(begun, plan));
            begun += 1;
        }
        begun == streams && crowd.open() == 0 && crowd.members().count() as u64 == streams * 2
    });
    assert!(crowd.members().all(Talker::is_done), "each talker said and heard everything");
    let moved: u64 = crowd.members().map(|talker| talker.received).sum();
    let pages = || set.weir.get("/metrics").body;
    clock::wait_for("the bytes to be counted", || {
        let page = pages();
        let bytes = count(&page, "weir_backend_sent_bytes_total", &[])
            + count(&page, "weir_backend_received_bytes_total", &[]);
        bytes == moved + streams * 8
    });
    // The last client may have its FIN before weir has closed the session.
    clock::wait_for("all sessions to end", || {
        count(&pages(), "weir_session_ends_total", &[]) == streams
    });
    let complete = count(&pages(), "weir_session_ends_total", &["complete"]);
    eprintln!("{streams} streams, {moved} bytes, {complete} ended as complete");
    assert_eq!(complete, streams, "nobody ended otherwise");
    assert!(moved >= size::INTEGRITY_BYTES.get() / 4, "void: only {moved} bytes");
    before.expect_again(&set.weir);
}
