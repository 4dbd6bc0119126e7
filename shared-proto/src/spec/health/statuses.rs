//! Statuses of HTTP that a check expects.

use core::str::FromStr;

/// Statuses of HTTP, as in `200-299,401`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Statuses(Vec<(u16, u16)>);

impl Statuses {
    /// Any 2xx or 3xx.
    #[must_use]
    pub fn success() -> Statuses {
        Statuses(vec![(200, 399)])
    }

    #[must_use]
    pub fn has(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Statuses, String> {
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|status| digits && (100..600).contains(status))
        };
        let range = |part: &str| {
            let part = part.trim();
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = status(first).zip(status(last)).filter(|(first, last)| first <= last);
            range.ok_or_else(|| format!("{part:?} is not a status, and no range of them"))
        };
        let ranges: Vec<_> = text.split(',').map(range).collect::<Result<_, _>>()?;
        if ranges.len() > RANGES_MAX {
            return Err(format!("{} ranges; at most {RANGES_MAX} are possible", ranges.len()));
        }
        Ok(Statuses(ranges))
    }
}

/// The most ranges.
const RANGES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers_and_ranges() {
        let statuses: Statuses = "200-299, 401,503".parse().unwrap();
        for (status, is_in) in [(199, false), (200, true), (299, true), (300, false), (401, true)] {
            assert_eq!(statuses.has(status), is_in, "{status}");
        }
        for text in ["", "20", "2000", "600", "099", "300-200", "2xx", "200-", "+20", "200,,201"] {
            assert!(text.parse::<Statuses>().is_err(), "{text}");
        }
        assert!(["200"; 33].join(",").parse::<Statuses>().is_err());
        assert!(Statuses::success().has(399) && !Statuses::success().has(400));
    }
}
