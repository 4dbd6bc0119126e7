//! A share of a whole, written `"50%"`.

use core::fmt;
use core::str::FromStr;

/// A whole number of hundredths, 0 to 100, written `"50%"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// None of it.
    pub const ZERO: Percent = Percent(0);
    /// Half of it.
    pub const HALF: Percent = Percent(50);

    /// `hundredths`, at most 100.
    #[must_use]
    pub const fn new(hundredths: u8) -> Percent {
        Percent(if hundredths > 100 { 100 } else { hundredths })
    }

    /// True for [`Percent::ZERO`].
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// 0 to 100.
    #[must_use]
    pub const fn hundredths(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Percent, String> {
        let digits = text.strip_suffix('%').filter(|it| it.bytes().all(|b| b.is_ascii_digit()));
        let hundredths: Option<u8> = digits.and_then(|digits| digits.parse().ok());
        match hundredths {
            Some(hundredths @ 0..=100) => Ok(Percent(hundredths)),
            _ => Err(format!("{text:?} is not a share: write \"0%\" to \"100%\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_hundredths_with_their_sign() {
        for text in ["0%", "7%", "50%", "100%"] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), text);
        }
        for text in ["", "%", "50", "101%", "-1%", "+5%", "0.5", "50.5%", "999%", " 5%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
        assert_eq!(Percent::new(200).hundredths(), 100);
    }
}
