//! Payload keyed by position: any byte lost, doubled, reordered or crossed over is seen.
//!
//! The byte at `position` of the stream `key` is `table[(position + key * STRIDE) % PERIOD]`.
//! PERIOD is prime, so a shift by any buffer or pipe size (powers of two) never maps the pattern
//! onto itself.

/// Length after which the pattern repeats: a prime, so no buffer size divides it.
pub const PERIOD: usize = 65_521;
/// Longest slice that can be borrowed at once, in bytes.
pub const CHUNK_MAX: usize = 256 * 1024;
/// Distance of two neighbouring streams within the pattern.
const STRIDE: u64 = 7_919;

/// The table of the pattern, built once a process and sent from directly (it stays in cache).
pub struct Pattern {
    table: Vec<u8>,
}

impl Default for Pattern {
    fn default() -> Self {
        Self::new()
    }
}

impl Pattern {
    #[must_use]
    pub fn new() -> Self {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut table: Vec<u8> = (0..PERIOD)
            .map(|_| {
                // xorshift64: every process computes the same table.
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed.to_be_bytes()[0]
            })
            .collect();
        table.resize(PERIOD + CHUNK_MAX, 0);
        for at in PERIOD..table.len() {
            table[at] = table[at - PERIOD];
        }
        Self { table }
    }

    /// The bytes from `position` on in the stream `key`; at most CHUNK_MAX of them.
    #[must_use]
    pub fn slice(&self, key: u64, position: u64, length: usize) -> &[u8] {
        let period = PERIOD as u64;
        let shift = (key % period) * STRIDE + position % period;
        let start = usize::try_from(shift % period).expect("less than PERIOD");
        &self.table[start..start + length.min(CHUNK_MAX)]
    }

    /// Whether `bytes` are what stands at `position` of the stream `key`.
    #[must_use]
    pub fn matches(&self, key: u64, position: u64, bytes: &[u8]) -> bool {
        let mut at = position;
        bytes.chunks(CHUNK_MAX).all(|chunk| {
            let expected = self.slice(key, at, chunk.len());
            at += chunk.len() as u64;
            expected == chunk
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_the_same_however_it_is_cut() {
        let pattern = Pattern::new();
        let mut joined = Vec::new();
        for (position, length) in [(0, 10), (10, 70_000), (70_010, 1)] {
            joined.extend_from_slice(pattern.slice(3, position, length));
        }
        assert_eq!(joined, pattern.slice(3, 0, 70_011));
        assert!(pattern.matches(3, 0, &joined));
    }

    #[test]
    fn loss_doubling_and_crossing_are_seen() {
        let pattern = Pattern::new();
        let sent = pattern.slice(1, 1_000, 64).to_vec();
        assert!(pattern.matches(1, 1_000, &sent));
        assert!(!pattern.matches(2, 1_000, &sent), "another stream");
        for lost in [1_u64, 64, 4_096, 16_384, 65_536, 1 << 20] {
            assert!(!pattern.matches(1, 1_000 + lost, &sent), "{lost} bytes lost");
        }
        let mut damaged = sent;
        damaged[63] ^= 1;
        assert!(!pattern.matches(1, 1_000, &damaged));
    }

    #[test]
    fn more_than_a_chunk_is_compared_to_its_end() {
        let pattern = Pattern::new();
        let mut long = pattern.slice(0, 0, CHUNK_MAX).to_vec();
        long.extend_from_slice(pattern.slice(0, CHUNK_MAX as u64, 100));
        assert!(pattern.matches(0, 0, &long));
        *long.last_mut().expect("not empty") ^= 0x80;
        assert!(!pattern.matches(0, 0, &long));
    }
}
