//! Chance as an argument: a small fast generator with a seed, the same numbers on every machine.
//!
//! xoshiro256++ 1.0 seeded by splitmix64, both by Blackman and Vigna (<https://prng.di.unimi.it>, public domain;
//! "Scrambled Linear Pseudorandom Number Generators", ACM TOMS 2021). Not for secrets: a peer who sees enough
//! outputs can tell the next one.

/// A pseudo-random generator. Two with the same seed give the same numbers.
#[derive(Clone, Debug)]
pub struct Prng {
    state: [u64; 4],
}

impl Prng {
    /// Any seed is as good as any other, 0 too.
    #[must_use]
    pub fn new(seed: u64) -> Prng {
        let mut counter = seed;
        let state = core::array::from_fn(|_| {
            let word = mix(counter);
            counter = counter.wrapping_add(GOLDEN_GAMMA);
            word
        });
        Prng { state }
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let word = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        word
    }

    /// A uniform number in `0..bound`, without bias; 0 if `bound` is 0.
    ///
    /// Lemire, "Fast Random Integer Generation in an Interval", ACM TOMACS 2019: one multiplication, and a
    /// division only in the rare case that may have to draw again.
    pub fn below(&mut self, bound: u32) -> u32 {
        let mut product = self.product(bound);
        if low_half(product) < bound {
            let unfair = bound.wrapping_neg() % bound;
            while low_half(product) < unfair {
                product = self.product(bound);
            }
        }
        (product >> 32) as u32
    }

    /// True `numerator` times out of `denominator`; always from 1 up, never for 0 in anything.
    pub fn chance(&mut self, numerator: u32, denominator: u32) -> bool {
        self.below(denominator) < numerator
    }

    fn product(&mut self, bound: u32) -> u64 {
        (self.next_u64() >> 32) * u64::from(bound)
    }
}

fn low_half(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

/// The next output of splitmix64 after `word`: a bijection that scatters every bit of it over all 64.
#[must_use]
pub const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(GOLDEN_GAMMA);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference() {
        let mut prng = Prng { state: [1, 2, 3, 4] };
        let expected = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
            14_011_001_112_246_962_877,
        ];
        for word in expected {
            assert_eq!(prng.next_u64(), word);
        }
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(GOLDEN_GAMMA), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn below_is_uniform() {
        // Chi-square with bound - 1 degrees of freedom; the limit is mean + 5 standard deviations.
        for bound in [2_u32, 3, 7, 10, 100, 257] {
            let mut prng = Prng::new(u64::from(bound));
            let mut counts = alloc::vec![0_u32; bound as usize];
            let draws = bound * 1000;
            for _ in 0..draws {
                counts[prng.below(bound) as usize] += 1;
            }
            let chi: f64 = counts.iter().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
            let degrees = f64::from(bound - 1);
            assert!(chi < degrees + 5.0 * (2.0 * degrees).sqrt(), "bound {bound}: chi {chi}");
        }
    }

    #[test]
    fn below_has_no_bias_where_a_plain_product_has() {
        // With bound = 3 * 2^30 a product without the second draw gives every third number twice as often.
        let bound = 3_u32 << 30;
        let mut prng = Prng::new(1);
        let mut thirds = [0_u32; 3];
        for _ in 0..30_000 {
            thirds[(prng.below(bound) % 3) as usize] += 1;
        }
        assert!(thirds.iter().all(|&n| (9_600..10_400).contains(&n)), "{thirds:?}");
        assert_eq!(prng.below(0), 0);
        assert_eq!(prng.below(1), 0);
    }

    #[test]
    fn chance_keeps_its_odds() {
        let mut prng = Prng::new(2);
        let hits = (0..30_000).filter(|_| prng.chance(1, 3)).count();
        assert!((9_600..10_400).contains(&hits), "{hits}");
        assert!((0..1000).all(|_| prng.chance(5, 5)));
        assert!((0..1000).all(|_| !prng.chance(0, 5)));
    }
}
