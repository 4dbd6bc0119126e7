//! Interleavings of the mailbox's two ends: no wake-up is lost, orders keep their order, a
//! full channel gives back, an end may go at any time. `scripts/loom` runs this.
//!
//! The code is mailbox.rs; crossbeam's queue and the kernel's bells are stand-ins (loom_shim.rs).
//! The shard and control are written out here as they use it: `Shard::take_orders` and the loop
//! that wakes control.

use loom::thread;
use weir_proto::ids::{BackendId, ShardId};

use super::*;

/// So that "full" is met.
const FEW: usize = 2;

fn inbox() -> Inbox {
    Inbox::sized(FEW, FEW).unwrap()
}

fn order(number: u32) -> Order {
    Order::LoadElsewhere(vec![(BackendId(number), number)])
}

fn number(order: Order) -> u32 {
    match order {
        Order::LoadElsewhere(list) => list[0].1,
        other => panic!("nobody sent {other:?}"),
    }
}

fn report(number: u32) -> Report {
    Report::Started { shard: ShardId(0), sessions_max: number }
}

/// A shard that takes `count` orders, as `Shard::turn` does.
fn take(mailbox: &mut Mailbox, count: usize) -> Vec<u32> {
    let mut taken = Vec::new();
    let mut bell_rang = true;
    loop {
        while bell_rang {
            match mailbox.take() {
                Some(order) => taken.push(number(order)),
                None => bell_rang = false,
            }
        }
        if taken.len() == count {
            return taken;
        }
        mailbox.bell.wait();
        bell_rang = true;
    }
}

#[test]
fn no_wake_up_is_lost_and_orders_keep_their_order() {
    loom::model(|| {
        let (handle, mut mailbox) = inbox().connect().unwrap();
        let shard = thread::spawn(move || take(&mut mailbox, 2));
        handle.send(order(1)).expect("there is room for two");
        handle.send(order(2)).expect("there is room for two");
        assert_eq!(shard.join().unwrap(), [1, 2]);
    });
}

#[test]
fn a_full_mailbox_gives_the_order_back_and_takes_it_later() {
    // Sending again and again: all interleavings with three preemptions.
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let (handle, mut mailbox) = inbox().connect().unwrap();
        let shard = thread::spawn(move || take(&mut mailbox, 3));
        for wanted in 1..=3 {
            let mut next = order(wanted);
            // Control's timer.
            while let Err(back) = handle.send(next) {
                assert!(handle.waiting() <= FEW);
                next = back;
                thread::yield_now();
            }
        }
        assert_eq!(shard.join().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn a_shard_may_go_at_any_time() {
    loom::model(|| {
        let (handle, mailbox) = inbox().connect().unwrap();
        let shard = thread::spawn(move || drop(mailbox));
        let sent = handle.send(order(7));
        shard.join().unwrap();
        // It was taken to the grave, or it came back whole; never anything else.
        if let Err(back) = sent {
            assert_eq!(number(back), 7);
        }
        assert_eq!(handle.send(order(8)).map_err(number), Err(8), "nobody is there");
    });
}

#[test]
fn control_may_go_at_any_time() {
    loom::model(|| {
        let inbox = inbox();
        let (handle, mut mailbox) = inbox.connect().unwrap();
        let control = thread::spawn(move || {
            handle.send(order(1)).expect("the shard is there");
            drop(handle);
            drop(inbox);
        });
        assert!(mailbox.report(report(1)).is_ok(), "whether control is there or not");
        assert_eq!(take(&mut mailbox, 1), [1], "what was sent before is still there");
        control.join().unwrap();
        assert!(mailbox.take().is_none());
        assert!(mailbox.report(report(2)).is_ok(), "nobody is left to be told");
    });
}

#[test]
fn a_shard_that_is_built_again_hears_only_what_is_for_it() {
    loom::model(|| {
        let mut inbox = inbox();
        let ear = inbox.take_bell().expect("it was not taken");
        let (handle, mailbox) = inbox.connect().unwrap();
        let shard = thread::spawn(move || {
            let mut next = mailbox.again().unwrap();
            drop(mailbox);
            next.report(report(1)).expect("there is room");
            take(&mut next, 1)
        });
        handle.send(order(1)).expect("there is room");
        ear.wait();
        assert!(inbox.take().is_some(), "it was rung for");
        handle.address_next();
        handle.send(order(2)).expect("there is room for two");
        assert_eq!(shard.join().unwrap(), [2]);
    });
}

#[test]
fn control_hears_every_report_of_two_shards() {
    // Three threads: all interleavings would take hours, those with two preemptions a second.
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let mut inbox = inbox();
        let ear = inbox.take_bell().expect("it was not taken");
        assert!(inbox.take_bell().is_none());
        let shards: Vec<_> = [1, 2]
            .into_iter()
            .map(|number| {
                let (_, mut mailbox) = inbox.connect().unwrap();
                thread::spawn(move || mailbox.report(report(number)).expect("there is room"))
            })
            .collect();
        let mut heard = Vec::new();
        while heard.len() < 2 {
            ear.wait();
            while let Some(Report::Started { sessions_max, .. }) = inbox.take() {
                heard.push(sessions_max);
            }
        }
        heard.sort_unstable();
        assert_eq!(heard, [1, 2]);
        shards.into_iter().for_each(|shard| shard.join().unwrap());
    });
}

/// A shard looks once and is woken once at most; what it leaves behind must be rung for.
fn leaves_nothing_unrung(send: fn(&ShardHandle)) -> bool {
    // Not loom's: it gathers what all interleavings say.
    let fine = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let told = std::sync::Arc::clone(&fine);
    loom::model(move || {
        let (handle, mut mailbox) = inbox().connect().unwrap();
        let shard = thread::spawn(move || {
            while mailbox.take().is_some() {}
            if mailbox.bell.take() {
                while mailbox.take().is_some() {}
            }
            mailbox
        });
        send(&handle);
        let mailbox = shard.join().unwrap();
        if handle.waiting() > 0 && !mailbox.bell.take() {
            told.store(false, std::sync::atomic::Ordering::Relaxed);
        }
    });
    fine.load(std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn what_waits_was_rung_for() {
    assert!(leaves_nothing_unrung(|handle| handle.send(order(1)).expect("there is room")));
}

/// The other half: a bell that is rung before the order is there is found.
#[test]
fn a_bell_that_is_rung_too_early_is_found() {
    assert!(!leaves_nothing_unrung(|handle| {
        handle.bell.ring();
        let letter = Letter { incarnation: 0, order: order(1), beside: None };
        handle.orders.try_send(letter).expect("there is room");
    }));
}
