//! How often something may happen, written `"2000/s"`.

use core::fmt;
use core::str::FromStr;

use super::RATE_MAX;

/// A number of events for each second, 1 to [`RATE_MAX`], written `"2000/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u32);

impl Rate {
    /// This many each second, within the bounds.
    #[must_use]
    pub const fn per_second(count: u32) -> Rate {
        Rate(match count {
            0 => 1,
            RATE_MAX.. => RATE_MAX,
            _ => count,
        })
    }

    /// Events for each second.
    #[must_use]
    pub const fn events(self) -> u32 {
        self.0
    }

    /// The most events at once: as many as a tenth of a second allows, one at least.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.0.div_ceil(10)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let digits = text.strip_suffix("/s").filter(|it| it.bytes().all(|b| b.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(count @ 1..=RATE_MAX) => Ok(Rate(count)),
            Some(_) => Err(format!("{text:?} is out of range: write \"1/s\" to \"{RATE_MAX}/s\"")),
            None => Err(format!("{text:?} is not a rate: write \"200/s\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_numbers_for_each_second() {
        for text in ["1/s", "2000/s", "1000000/s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "/s", "5", "0/s", "1000001/s", "-1/s", "+5/s", "5 /s", "5/m", "5/s "] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!([0, 7, u32::MAX].map(|it| Rate::per_second(it).events()), [1, 7, RATE_MAX]);
        assert_eq!([1, 10, 11, 2000].map(|it| Rate::per_second(it).burst()), [1, 1, 2, 200]);
    }
}
