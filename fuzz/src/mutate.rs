//! New inputs from old ones: flipped bits, changed bytes, pieces cut out, doubled, spliced in from
//! another input, words of the target, numbers at their bounds.

use weir_engine_sim::rng::Rng;

/// Numbers that are one too many somewhere.
const BOUNDS: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x10_0000, 0x10_0001, 0xffff_ffff, u64::MAX];

/// Makes one input of another, and pieces of `other` and `words`.
#[must_use]
pub fn mutate(
    input: &[u8],
    other: &[u8],
    words: &[&[u8]],
    length_max: usize,
    rng: &mut Rng,
) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=rng.below(4) {
        once(&mut bytes, other, words, rng);
    }
    bytes.truncate(length_max);
    bytes
}

fn once(bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]], rng: &mut Rng) {
    if bytes.is_empty() {
        bytes.push(rng.draw().to_le_bytes()[0]);
        return;
    }
    let at = rng.below(bytes.len());
    let count = rng.between(1, 16.min(bytes.len() - at));
    match rng.below(9) {
        0 => bytes[at] ^= 1 << rng.below(8),
        1 => bytes[at] = rng.draw().to_le_bytes()[0],
        2 => bytes[at] = bytes[at].wrapping_add(rng.pick(&[1, 255, 16, 240])),
        3 => drop(bytes.drain(at..at + count)),
        4 => {
            let piece = bytes[at..at + count].to_vec();
            insert(bytes, at, &piece);
        }
        5 if !other.is_empty() => {
            let from = rng.below(other.len());
            let most = if rng.flip() { other.len() - from } else { 16.min(other.len() - from) };
            let piece = &other[from..from + rng.between(1, most)];
            insert(bytes, at, piece);
        }
        6 if !words.is_empty() => {
            let word = rng.pick(words);
            insert(bytes, at, word);
        }
        7 => {
            let number = rng.pick(&BOUNDS).to_le_bytes();
            let width = rng.pick(&[1, 2, 4, 8]).min(bytes.len() - at);
            bytes[at..at + width].copy_from_slice(&number[..width]);
        }
        _ => {
            for _ in 0..count {
                bytes.insert(at, rng.draw().to_le_bytes()[0]);
            }
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// A shorter input that still does what `fails` looks for: halves, quarters and so on are left out
/// as long as that works, in at most `tries`.
#[must_use]
pub fn shrink(input: &[u8], mut tries: usize, fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut size = best.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < best.len() && tries > 0 {
            tries -= 1;
            let mut shorter = best.clone();
            shorter.drain(at..(at + size).min(best.len()));
            if fails(&shorter) {
                best = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_keep_their_bounds_and_reach_words() {
        let mut rng = Rng::new(3);
        let mut seen = false;
        let mut bytes = b"begin".to_vec();
        for _ in 0..5000 {
            bytes = mutate(&bytes, b"other", &[b"wanted"], 64, &mut rng);
            assert!(bytes.len() <= 64);
            seen |= bytes.windows(6).any(|window| window == b"wanted");
        }
        assert!(seen);
        assert!(mutate(b"", b"", &[], 8, &mut rng).len() <= 8);
    }

    #[test]
    fn shrinking_keeps_what_fails() {
        let input: Vec<u8> = (0..200).collect();
        let short = shrink(&input, 10_000, |bytes| bytes.contains(&17) && bytes.contains(&150));
        assert_eq!(short, [17, 150]);
    }
}
