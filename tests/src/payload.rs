//! Bytes whose value follows from a key and their position: any stretch of a stream can be checked
//! alone, and a byte that is lost, doubled, swapped or from another stream shows at once.

/// A stream's bytes: position → byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload(pub u64);

impl Payload {
    /// Writes the bytes of this stream from position `at` on.
    pub fn fill(self, at: u64, bytes: &mut [u8]) {
        let skipped = usize::try_from(at % 8).expect("below 8");
        let ragged = ((8 - skipped) % 8).min(bytes.len());
        let (head, rest) = bytes.split_at_mut(ragged);
        self.fill_slowly(at, head);
        let at = at + ragged as u64;
        let mut words = rest.chunks_exact_mut(8);
        let mut number = at / 8;
        for word in &mut words {
            word.copy_from_slice(&self.word(number).to_le_bytes());
            number += 1;
        }
        self.fill_slowly(number * 8, words.into_remainder());
    }

    /// Byte ranges that do not begin or end with a word.
    fn fill_slowly(self, at: u64, bytes: &mut [u8]) {
        let mut index = 0;
        while index < bytes.len() {
            let position = at + index as u64;
            let skipped = usize::try_from(position % 8).expect("below 8");
            let word = self.word(position / 8).to_le_bytes();
            let length = (8 - skipped).min(bytes.len() - index);
            bytes[index..index + length].copy_from_slice(&word[skipped..skipped + length]);
            index += length;
        }
    }

    /// The position of the first byte that is not the stream's, if there is one.
    #[must_use]
    pub fn first_wrong(self, at: u64, bytes: &[u8]) -> Option<u64> {
        let mut wanted = [0; 4096];
        for (number, part) in bytes.chunks(wanted.len()).enumerate() {
            let from = at + (number * wanted.len()) as u64;
            let wanted = &mut wanted[..part.len()];
            self.fill(from, wanted);
            if wanted != part {
                let index = wanted.iter().zip(part).position(|(wanted, got)| wanted != got)?;
                return Some(from + index as u64);
            }
        }
        None
    }

    /// 8 bytes (splitmix64).
    fn word(self, number: u64) -> u64 {
        mix(self.0.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }
}

/// Numbers that look random, the same for the same seed.
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        Dice(mix(seed ^ 0x5DEE_CE66))
    }

    /// 0 to `bound` − 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0) % bound.max(1)
    }

    /// One of these.
    ///
    /// # Panics
    /// If there are none.
    pub fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        let index = usize::try_from(self.below(choice.len() as u64)).expect("it was a length");
        choice[index]
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_depends_on_its_position_alone() {
        let mut whole = [0; 100];
        Payload(7).fill(1_000_003, &mut whole);
        for (from, to) in [(0, 1), (3, 8), (5, 99), (5, 13), (40, 100)] {
            let mut part = vec![0; to - from];
            Payload(7).fill(1_000_003 + from as u64, &mut part);
            assert_eq!(part, whole[from..to], "{from}..{to}");
        }
        assert_eq!(Payload(7).first_wrong(1_000_003, &whole), None);
        whole[41] ^= 1;
        assert_eq!(Payload(7).first_wrong(1_000_003, &whole), Some(1_000_044));
        assert!(Payload(8).first_wrong(1_000_003, &whole).is_some(), "another stream's bytes");
    }
}
