//! CRC-32C (Castagnoli), as RFC 3720 B.4 has it.

use core::ops::Range;

/// Reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The checksum of `bytes` with zeros in the place `blank`.
pub(super) fn without(bytes: &[u8], blank: Range<usize>) -> u32 {
    let byte = |(at, byte): (usize, &u8)| if blank.contains(&at) { 0 } else { *byte };
    let step = |crc: u32, byte: u8| (crc >> 8) ^ TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)];
    !bytes.iter().enumerate().map(byte).fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        assert_eq!(without(b"123456789", 0..0), 0xe306_9283);
        assert_eq!(without(&[0; 32], 0..0), 0x8a91_36aa);
        assert_eq!(without(&[0xff; 32], 0..32), 0x8a91_36aa, "blank");
    }
}
