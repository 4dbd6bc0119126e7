//! A change that weir takes back by itself unless it is confirmed in time, as Junos and VyOS have
//! it (`commit confirmed`).

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::spec::{Percent, Span};

/// How long a change may wait for its confirmation: from a second to a day.
pub const WITHIN: core::ops::RangeInclusive<u64> = 1_000..=86_400_000;

/// The terms of such a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// In milliseconds, in [`WITHIN`].
    pub within_ms: u64,
    /// It is taken back as soon as one of them trips.
    pub guards: Vec<Guard>,
}

/// A bound that must hold until the change is confirmed: `connect-errors=1%`, `healthy=50%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    pub what: Guarded,
    pub percent: Percent,
}

/// The figure that a [`Guard`] watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarded {
    /// Connects to backends that failed since the change, of all: it may not be more.
    ConnectErrors,
    /// Backends of each pool that no check has found down: they may not be fewer, unless they were
    /// before.
    Healthy,
}

impl Guarded {
    const ALL: [Guarded; 2] = [Guarded::ConnectErrors, Guarded::Healthy];

    const fn word(self) -> &'static str {
        match self {
            Guarded::ConnectErrors => "connect-errors",
            Guarded::Healthy => "healthy",
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.what.word(), self.percent)
    }
}

impl FromStr for Guard {
    type Err = String;

    fn from_str(text: &str) -> Result<Guard, String> {
        let bad = || {
            format!(
                "{text:?} is no guard: write connect-errors=PERCENT or healthy=PERCENT, as in 1%"
            )
        };
        let (word, percent) = text.split_once('=').ok_or_else(bad)?;
        let what = Guarded::ALL.into_iter().find(|it| it.word() == word).ok_or_else(bad)?;
        Ok(Guard { what, percent: percent.parse().map_err(|_| bad())? })
    }
}

impl fmt::Display for Confirm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--confirm {}", Span::from_millis(self.within_ms))?;
        self.guards.iter().try_for_each(|guard| write!(f, " --guard {guard}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_written_as_they_are_read() {
        for text in ["connect-errors=1%", "healthy=50%", "healthy=100%"] {
            assert_eq!(text.parse::<Guard>().unwrap().to_string(), text);
        }
        for wrong in ["", "healthy", "healthy=", "healthy=1", "healthy=101%", "latency=1%", "=1%"] {
            assert!(wrong.parse::<Guard>().unwrap_err().contains("is no guard"), "{wrong}");
        }
        let guards = vec!["healthy=50%".parse().unwrap()];
        let confirm = Confirm { within_ms: 30_000, guards };
        assert_eq!(confirm.to_string(), "--confirm 30s --guard healthy=50%");
    }
}
