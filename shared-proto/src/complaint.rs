//! An error for people: what is wrong, and how to put it right.

use core::fmt;

/// What is wrong, with its value and place as far as they are known, and how to put it right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaint {
    pub what: String,
    /// Empty if there is nothing to suggest.
    pub hint: String,
}

impl Complaint {
    /// A complaint with its hint.
    #[must_use]
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Complaint {
        Complaint { what: what.into(), hint: hint.into() }
    }
}

/// `what`, then the hint on a line of its own.
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\nhint: {}", self.hint) }
    }
}

impl core::error::Error for Complaint {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_has_a_line_of_its_own_and_an_empty_one_has_none() {
        assert_eq!(
            Complaint::new("it is full", "make room").to_string(),
            "it is full\nhint: make room"
        );
        assert_eq!(Complaint::new("it is full", "").to_string(), "it is full");
    }
}
