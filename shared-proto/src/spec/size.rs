//! A number of bytes, written `"256KiB"`.

use core::fmt;
use core::str::FromStr;

const UNITS: [(&str, u32); 3] = [("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes, below 4 GiB, written `"4MiB"`, `"256KiB"` or `"1000B"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u32);

impl Size {
    #[must_use]
    pub const fn from_bytes(bytes: u32) -> Size {
        Size(bytes)
    }

    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, bytes): &(&str, u32)| self.0.is_multiple_of(*bytes) && self.0 > 0;
        let (unit, bytes) = UNITS.into_iter().find(fits).unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wrong = || format!("{text:?} is not a size: write a number with B, KiB or MiB");
        let (number, bytes) = UNITS
            .into_iter()
            .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)))
            .ok_or_else(wrong)?;
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let count: u32 = number.parse().map_err(|_| wrong())?;
        count.checked_mul(bytes).map(Size).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_trip_in_their_largest_unit() {
        for (text, bytes) in [("0B", 0), ("1000B", 1000), ("256KiB", 1 << 18), ("4MiB", 1 << 22)] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, text));
        }
        assert_eq!("1024KiB".parse::<Size>().unwrap().to_string(), "1MiB");
        for text in ["", "5", "KiB", "-1KiB", "+1KiB", "1.5MiB", "1GiB", "4096MiB", "1 KiB", "1kb"]
        {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
