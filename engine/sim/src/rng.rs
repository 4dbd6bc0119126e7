//! Randomness that comes from a seed alone, or from a fuzzer's bytes; and the bytes of every
//! stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A generator of numbers (SplitMix64): the same seed gives the same numbers for ever.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
    tape: Option<Arc<Tape>>,
}

/// Bytes that decide draws, one each, until they are used up: a fuzzer's. All generators that come
/// of one read the same tape.
#[derive(Debug)]
struct Tape {
    bytes: Vec<u8>,
    next: AtomicUsize,
}

impl Tape {
    fn take(&self) -> Option<u8> {
        // One thread reads it: the order means nothing.
        self.bytes.get(self.next.fetch_add(1, Ordering::Relaxed)).copied()
    }
}

impl Rng {
    #[must_use]
    pub fn new(seed: u64) -> Rng {
        Rng { state: mix(seed ^ 0x5eed_0f3e_12a9_77c1), tape: None }
    }

    /// Draws that the bytes decide as far as they go.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Rng {
        let tape = Tape { bytes: bytes.to_vec(), next: AtomicUsize::new(0) };
        Rng { tape: Some(Arc::new(tape)), ..Rng::new(0) }
    }

    /// Another generator, so that one actor's draws do not move another's.
    pub fn fork(&mut self) -> Rng {
        Rng { state: self.number(), tape: self.tape.clone() }
    }

    /// 64 bits.
    pub fn draw(&mut self) -> u64 {
        let number = self.number();
        // The highest bits decide.
        let byte = self.tape.as_ref().and_then(|tape| tape.take());
        byte.map_or(number, |byte| u64::from(byte) << 56 | number >> 8)
    }

    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// 0 to `n` − 1; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let wide = u128::from(self.draw()) * (n as u128);
        usize::try_from(wide >> 64).expect("below a usize")
    }

    /// `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True in N of 1,000 cases.
    pub fn hits(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < per_mille as usize
    }

    /// True in half of all cases.
    pub fn flip(&mut self) -> bool {
        self.draw() >> 63 == 1
    }

    /// One of them. Panics if there is none.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// A number that has nothing to do with its neighbours'.
#[must_use]
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn word(stream: u64, position: usize) -> [u8; 8] {
    mix(stream ^ (position as u64 / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes()
}

/// Appends the bytes `from..from + count` of a stream.
pub fn write_stream(stream: u64, from: usize, count: usize, into: &mut VecDeque<u8>) {
    let mut position = from;
    while position < from + count {
        let bytes = word(stream, position);
        let start = position % 8;
        let end = (start + from + count - position).min(8);
        into.extend(&bytes[start..end]);
        position += end - start;
    }
}

/// Where `bytes` stop to be those of the stream from `from` on, if anywhere.
#[must_use]
pub fn first_difference(stream: u64, from: usize, bytes: &[u8]) -> Option<usize> {
    let mut done = 0;
    while done < bytes.len() {
        let position = from + done;
        let expected = &word(stream, position)[position % 8..];
        let length = expected.len().min(bytes.len() - done);
        if bytes[done..done + length] != expected[..length] {
            let same = bytes[done..].iter().zip(expected).take_while(|(a, b)| a == b).count();
            return Some(position + same);
        }
        done += length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_a_stream_checks_itself() {
        let mut bytes = VecDeque::new();
        write_stream(7, 0, 5, &mut bytes);
        write_stream(7, 5, 20, &mut bytes);
        write_stream(7, 25, 75, &mut bytes);
        let mut bytes: Vec<u8> = bytes.into();
        assert_eq!(first_difference(7, 0, &bytes), None);
        assert_eq!(first_difference(7, 13, &bytes[13..60]), None);
        assert!(first_difference(8, 0, &bytes).is_some());
        bytes[42] ^= 1;
        assert_eq!(first_difference(7, 3, &bytes[3..]), Some(42));
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut rng = Rng::new(1);
        assert!((0..1000).all(|_| (3..=5).contains(&rng.between(3, 5))));
        assert_eq!(rng.below(0), 0);
        assert!(!rng.hits(0));
        assert!(rng.hits(1000));
    }
}
