//! Every setting of a listener, a pool and a backend, one row each: its name, form, bounds, default
//! and what a change of it does to live sessions.
//!
//! The reader of weir.toml, `pool set`, the export, the checks, what answers show and
//! docs/reference.md go by these tables. CONTRIBUTING.md shows how to add a row.

mod form;
mod kinds;
mod plain;
mod shown;
mod tables;

use crate::address::Address;
use crate::complaint::Complaint;
use crate::network::NetworkList;
use crate::spec::{CheckStep, NoBackend, Percent, Rate, RouteSpec, Size, SourceSpec, Span};

pub use form::Form;
pub use kinds::OF_KINDS;
pub use plain::Plain;
pub use shown::{ShownRoute, ShownSetting, ShownSettings, ShownValue};
pub use tables::{BACKEND, LISTENER, POOL};

/// The value of a setting: of the right form, though perhaps out of range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Span(Span),
    Count(u32),
    Size(Size),
    Share(Percent),
    Flag(bool),
    /// One of the words of [`Form::Word`], or a text.
    Text(String),
    /// Addresses to bind, or to connect to.
    Addresses(Vec<core::net::SocketAddr>),
    /// Where a backend is.
    Target(Address),
    Networks(NetworkList),
    Steps(Vec<CheckStep>),
    Source(SourceSpec),
    Routes(Vec<RouteSpec>),
    NoBackend(NoBackend),
    Rate(Rate),
}

/// The effect of a change of a setting on sessions that exist already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Only sessions that begin later go by the new value.
    NewSessions,
    /// Sessions that exist go by the new value, too.
    AllSessions,
    /// Sessions are not concerned; health checks go by it at once.
    Checks,
    /// New sessions are admitted by it at once; established ones stay.
    Admission,
    /// Where sessions are accepted or sent changes; established ones stay where they are.
    Placement,
}

impl Effect {
    /// A sentence for the reference.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Effect::NewSessions => "Sessions that exist keep the value that they began with.",
            Effect::AllSessions => "Sessions that exist go by the new value at once.",
            Effect::Checks => "Takes effect with the next check; sessions are not touched.",
            Effect::Admission => "Takes effect for the next session; sessions that exist stay.",
            Effect::Placement => "Sessions that exist stay where they are.",
        }
    }
}

/// One setting of an `S`: a listener, a pool or a backend.
pub struct Setting<S: 'static> {
    /// As in weir.toml, with a dot below a table: `health.interval`.
    pub key: &'static str,
    /// As in JSON answers, with the unit last: `health.interval_s`.
    pub json: &'static str,
    pub form: Form,
    pub help: &'static str,
    pub effect: Effect,
    /// There is no object without it.
    pub required: bool,
    /// Written by an export although it is the default, if its table is written at all.
    pub always_exported: bool,
    /// `None`: not set.
    pub get: fn(&S) -> Option<Value>,
    /// `None` takes the setting away, if it is optional. A value of another form is ignored.
    pub set: fn(&mut S, Option<Value>),
    /// The value that counts where the setting is absent.
    pub fallback: fn(&S) -> Option<Value>,
}

impl<S> Setting<S> {
    /// The table below which the setting stands, and its name there: `("health", "interval")`.
    #[must_use]
    pub fn split(&self) -> (Option<&'static str>, &'static str) {
        match self.key.split_once('.') {
            Some((table, name)) => (Some(table), name),
            None => (None, self.key),
        }
    }

    /// Gives it back its default. False, and nothing has changed, if it has none.
    pub fn take_away(&self, of: &mut S) -> bool
    where
        S: Plain,
    {
        let before = (self.get)(of);
        (self.set)(of, None);
        let left = (self.get)(of);
        if left.is_none() || left == (self.fallback)(of) {
            return true;
        }
        // It may have a word for its default, too.
        let to = if self.required { before } else { (self.get)(&S::plain()) };
        (self.set)(of, to);
        !self.required
    }

    /// The value that counts.
    #[must_use]
    pub fn effective(&self, of: &S) -> Option<Value> {
        (self.get)(of).or_else(|| (self.fallback)(of))
    }

    /// Returns what is wrong with the value and what would be right; `None` if nothing is.
    #[must_use]
    pub fn fault(&self, of: &S) -> Option<Complaint> {
        self.form.fault(&(self.get)(of)?)
    }
}

/// The setting with this key.
#[must_use]
pub fn find<S>(table: &'static [Setting<S>], key: &str) -> Option<&'static Setting<S>> {
    table.iter().find(|setting| setting.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{HealthKind, HttpMethod, PoolSpec, Strategy};

    #[test]
    fn every_pool_setting_gives_back_what_it_was_set_to() {
        for setting in POOL {
            let mut pool = PoolSpec::default();
            let value = setting.form.example();
            (setting.set)(&mut pool, Some(value.clone()));
            assert_eq!((setting.get)(&pool), Some(value.clone()), "{}", setting.key);
            assert_eq!(setting.fault(&pool), None, "{}: its example is out of range", setting.key);
            let text = value.to_string();
            assert_eq!(setting.form.parse(&text).as_ref(), Ok(&value), "{}: {text}", setting.key);
        }
    }

    #[test]
    fn a_key_stands_once_and_below_at_most_one_table() {
        let keys: Vec<_> = POOL.iter().map(|setting| setting.key).collect();
        for key in &keys {
            assert_eq!(keys.iter().filter(|other| *other == key).count(), 1, "{key}");
            assert!(key.matches('.').count() <= 1, "{key}");
        }
    }

    #[test]
    fn the_rows_of_a_table_stand_together() {
        let mut tables: Vec<_> = POOL.iter().filter_map(|setting| setting.split().0).collect();
        tables.dedup();
        let expected =
            ["health", "agent", "timeout", "retry", "queue", "redispatch", "keepalive", "discover"];
        assert_eq!(tables, expected);
    }

    #[test]
    fn the_words_are_those_of_the_types() {
        let words = |key: &str| match find(POOL, key).unwrap().form {
            Form::Word { words, .. } => words,
            form => panic!("{form:?}"),
        };
        assert_eq!(words("strategy"), Strategy::ALL.map(Strategy::word));
        assert_eq!(words("health.kind"), HealthKind::ALL.map(HealthKind::word));
        assert_eq!(words("health.method"), HttpMethod::ALL.map(HttpMethod::word));
    }

    #[test]
    fn values_at_the_bounds_are_right_and_beyond_them_wrong() {
        let fall = find(POOL, "health.fall").unwrap();
        let Form::Count { min, max, .. } = fall.form else { panic!("{:?}", fall.form) };
        let fault = |count| fall.form.fault(&Value::Count(count));
        assert_eq!([fault(min), fault(max)], [None, None]);
        assert!(fault(min - 1).is_some() && fault(max + 1).is_some());
        let idle = find(POOL, "keepalive.idle").unwrap();
        let fault = |ms| idle.form.fault(&Value::Span(Span::from_millis(ms)));
        assert_eq!(fault(1000), None);
        assert!(fault(1500).is_some(), "keepalive takes whole seconds");
    }
}
