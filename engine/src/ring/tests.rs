//! Turns, news and memory of one ring.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::sys::eventfd;

fn ring(bell: &OwnedFd) -> Ring {
    let bell = bell.as_raw_fd();
    Ring::new(RingSetup { buffers: 2, completions: 4096, pipes: 0, bell }).expect("io_uring")
}

fn taken(ring: &mut Ring) -> u32 {
    let mut count = 0;
    while ring.next_completion().is_some() {
        count += 1;
    }
    count
}

#[test]
fn a_turn_takes_a_bounded_number_of_answers_and_the_rest_comes_at_once() {
    let bell = eventfd::new().unwrap();
    let mut ring = ring(&bell);
    for socket in 0..ANSWERS_PER_TURN_MAX + 10 {
        let cancel = Op::Cancel(Token::Accept { socket });
        ring.submit(Token::CancelAccept { socket }, cancel);
    }
    let mut turns = Vec::new();
    while turns.iter().sum::<u32>() < ANSWERS_PER_TURN_MAX + 10 {
        ring.wait(None); // would wait for ever if the rest did not end it
        turns.push(taken(&mut ring));
    }
    assert_eq!(turns.iter().max(), Some(&ANSWERS_PER_TURN_MAX), "{turns:?}");
}

#[test]
fn news_of_watched_legs_that_a_turn_has_left_comes_at_once() {
    let bell = eventfd::new().unwrap();
    let mut ring = ring(&bell);
    let (one, other) = UnixStream::pair().unwrap();
    drop(other);
    let id = weir_core::table::SessionId { slot: 0, generation: 0 };
    let side = weir_core::event::Side::Client;
    let token = Token::Session { id, side, kind: crate::io::Kind::Watch };
    let interest = Interest { readable: true, writable: false };
    ring.watch(token, Leg(one.as_raw_fd()), interest);
    ring.watches.look(); // as a turn does that is at its bound then
    assert!(ring.watches.has_news());
    let begun = ring.now();
    ring.wait(Some(begun.plus_millis(20_000)));
    assert!(ring.now() < begun.plus_millis(10_000), "it has waited");
    assert!(matches!(ring.next_completion(), Some((_, Outcome::Ready(_)))));
}

#[test]
fn the_arena_of_a_ring_that_was_left_in_use_stays_where_it_was() {
    let bell = eventfd::new().unwrap();
    let setup = RingSetup { buffers: 64, completions: 64, pipes: 0, bell: bell.as_raw_fd() };
    let mut ring = Ring::new(setup).unwrap();
    assert_eq!(ring.salvage(), None);
    let first = ring.buffers.bytes(Chunk { buffer: BufferId(0), start: 0, end: 1 });
    // SAFETY: the arena is at least that long, and nothing else uses it.
    unsafe { first.cast_mut().write(7) };
    drop(ring);
    // SAFETY: it is still mapped, or this test ends by SIGSEGV.
    assert_eq!(unsafe { first.read() }, 0, "its memory is given back");
}
