//! Where a file and what is in force differ: keys that both have changed, and drift.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A key that the file and operators have both changed, to different values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// `listener web`, `pool web` or `backend web/b1`.
    pub object: String,
    /// As in the file, dotted: `health.interval`. Empty: the object as a whole.
    pub key: String,
    /// In the file as it was last applied. `None`: absent.
    pub base: Option<String>,
    /// In the file as it is now.
    pub file: Option<String>,
    pub in_force: Option<String>,
}

/// A key that is not in force as the file said when it was last applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// As in [`Conflict::object`].
    pub object: String,
    /// As in [`Conflict::key`].
    pub key: String,
    /// In the file as it was last applied. `None`: absent.
    pub file: Option<String>,
    pub in_force: Option<String>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conflict { object, key, base, file, in_force } = self;
        let [base, file, in_force] = [base, file, in_force].map(|value| shown(value.as_deref()));
        write!(f, "{object}{}: was {base}, ", behind(key))?;
        write!(f, "is {file} in the file and {in_force} in force")
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Drift { object, key, file, in_force } = self;
        let [file, in_force] = [file, in_force].map(|value| shown(value.as_deref()));
        write!(f, "{object}{}: {file} in the file, {in_force} in force", behind(key))
    }
}

fn behind(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(" {key}") }
}

fn shown(value: Option<&str>) -> &str {
    value.unwrap_or("absent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_names_the_object_the_key_and_the_three_values() {
        let value = |text: &str| Some(text.to_owned());
        let (object, key) = ("backend web/b1".to_owned(), "weight".to_owned());
        let mut conflict =
            Conflict { object, key, base: value("1"), file: value("3"), in_force: value("7") };
        let wanted = "backend web/b1 weight: was 1, is 3 in the file and 7 in force";
        assert_eq!(conflict.to_string(), wanted);
        (conflict.key, conflict.file) = (String::new(), None);
        let wanted = "backend web/b1: was 1, is absent in the file and 7 in force";
        assert_eq!(conflict.to_string(), wanted);
        let Conflict { object, key, base, in_force, .. } = conflict;
        let drift = Drift { object, key, file: base, in_force };
        assert_eq!(drift.to_string(), "backend web/b1: 1 in the file, 7 in force");
    }
}
