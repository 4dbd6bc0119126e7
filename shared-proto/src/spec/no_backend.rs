//! The answer of a listener to clients for which no backend takes sessions.

use core::fmt;
use core::str::FromStr;

use super::Span;

/// The fate of a client while no backend of its pool is up and ready, written `"reset"`,
/// `"hold 5s"` or `"close"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoBackend {
    /// It is reset.
    #[default]
    Reset,
    /// It waits in the pool's queue, for so long at most, and is then reset.
    Hold(Span),
    /// Its connect is refused: no shard listens as long as the pools of the listener are empty.
    Close,
}

impl NoBackend {
    pub(super) fn is_default(&self) -> bool {
        *self == NoBackend::Reset
    }

    /// How long a client waits, in milliseconds; 0: it does not.
    #[must_use]
    pub fn hold_ms(self) -> u32 {
        match self {
            NoBackend::Reset | NoBackend::Close => 0,
            // `check` has bounded it by a week, which fits.
            NoBackend::Hold(span) => u32::try_from(span.millis).unwrap_or(u32::MAX),
        }
    }
}

impl fmt::Display for NoBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoBackend::Reset => f.write_str("reset"),
            NoBackend::Close => f.write_str("close"),
            NoBackend::Hold(span) => write!(f, "hold {span}"),
        }
    }
}

impl FromStr for NoBackend {
    type Err = String;

    fn from_str(text: &str) -> Result<NoBackend, String> {
        let wrong =
            || format!("{text:?} is neither \"reset\", \"close\" nor a wait like \"hold 5s\"");
        match text {
            "reset" => return Ok(NoBackend::Reset),
            "close" => return Ok(NoBackend::Close),
            _ => {}
        }
        let span = text.strip_prefix("hold").ok_or_else(wrong)?;
        let span = span.strip_prefix(' ').ok_or_else(wrong)?;
        span.trim().parse().map(NoBackend::Hold).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_each_is_read_again() {
        for text in ["reset", "close", "hold 5s", "hold 250ms", "hold 2m"] {
            assert_eq!(text.parse::<NoBackend>().unwrap().to_string(), text);
        }
        assert_eq!("hold  5s".parse(), Ok(NoBackend::Hold(Span::from_secs(5))));
        for text in ["", "hold", "hold5s", "hold 5", "Reset", "closed", "reset 5s"] {
            assert!(text.parse::<NoBackend>().unwrap_err().contains("hold 5s"), "{text}");
        }
    }
}
