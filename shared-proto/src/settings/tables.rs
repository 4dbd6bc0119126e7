//! The rows: settings of pools, listeners and backends, in the order of the reference.

use super::{Effect, Form, Setting, Value};
use crate::spec::{Admin, KEEPALIVE_COUNT_MAX, KEEPALIVE_SECS_MAX};

/// A week, which fits into 32 bits as milliseconds.
use super::form::WEEK_MS;

const SPAN: Form = Form::Span { min_ms: 1, max_ms: WEEK_MS, step_ms: 1, range: "1ms to 7 days" };
const LIFETIME: Form =
    Form::Span { min_ms: 1000, max_ms: WEEK_MS, step_ms: 1, range: "1s to 7 days" };
const REFRESH: Form = Form::Span { min_ms: 1000, max_ms: 3_600_000, step_ms: 1, range: "1s to 1h" };
const SECONDS: Form = Form::Span {
    min_ms: 1000,
    max_ms: KEEPALIVE_SECS_MAX as u64 * 1000,
    step_ms: 1000,
    range: "whole seconds, 1s to 9h",
};

/// How a field is read and written, whose type is that of `$variant` of [`Value`].
macro_rules! field {
    ($variant:ident, $($field:ident).+) => {
        (
            |of| Some(Value::$variant(of.$($field).+.clone())),
            |of, value| {
                if let Some(Value::$variant(it)) = value {
                    of.$($field).+ = it;
                }
            },
        )
    };
}

/// The same for a field that may be absent: an absent value takes it away.
macro_rules! optional {
    ($variant:ident, $($field:ident).+) => {
        (
            |of| of.$($field).+.clone().map(Value::$variant),
            |of, value| match value {
                Some(Value::$variant(it)) => of.$($field).+ = Some(it),
                None => of.$($field).+ = None,
                Some(_) => {}
            },
        )
    };
}

/// The same for a list: an empty one is absent.
macro_rules! list {
    ($variant:ident, $($field:ident).+) => {
        (
            |of| (!of.$($field).+.is_empty()).then(|| Value::$variant(of.$($field).+.clone())),
            |of, value| match value {
                Some(Value::$variant(it)) => of.$($field).+ = it,
                None => of.$($field).+ = Default::default(),
                Some(_) => {}
            },
        )
    };
}

/// The same for a count whose field is smaller than that of its value.
macro_rules! small_count {
    ($($field:ident).+) => {
        (
            |of| Some(Value::Count(of.$($field).+.into())),
            |of, value| {
                if let Some(Value::Count(count)) = value
                    && let Ok(count) = count.try_into()
                {
                    of.$($field).+ = count;
                }
            },
        )
    };
}

/// The same for a field that is one of a few words.
macro_rules! word {
    ($all:expr, $($field:ident).+) => {
        (
            |of| Some(Value::Text(of.$($field).+.word().to_owned())),
            |of, value| {
                let named = |text: &str| $all.into_iter().find(|it| it.word() == text);
                if let Some(Value::Text(text)) = value
                    && let Some(it) = named(&text)
                {
                    of.$($field).+ = it;
                }
            },
        )
    };
}

/// The same for a field that is one of a few words, or absent.
macro_rules! optional_word {
    ($all:expr, $($field:ident).+) => {
        (
            |of| of.$($field).+.map(|it| Value::Text(it.word().to_owned())),
            |of, value| match value {
                Some(Value::Text(text)) => {
                    of.$($field).+ = $all.into_iter().find(|it| it.word() == text);
                }
                None => of.$($field).+ = None,
                Some(_) => {}
            },
        )
    };
}

// They are written with the macros above, so they come below them.
mod backend;
mod health;
mod listener;
mod pool;

pub use backend::BACKEND;
pub use listener::LISTENER;
pub use pool::POOL;

/// How a setting is read and written.
type Access<S> = (fn(&S) -> Option<Value>, fn(&mut S, Option<Value>));

const fn row<S>(
    (key, json): (&'static str, &'static str),
    form: Form,
    effect: Effect,
    (get, set): Access<S>,
    help: &'static str,
) -> Setting<S> {
    let (required, always_exported) = (false, false);
    Setting { key, json, form, help, effect, get, set, required, always_exported, fallback: none }
}

/// Neither has a default.
const fn required<S>(setting: Setting<S>) -> Setting<S> {
    Setting { required: true, always_exported: true, ..setting }
}

fn none<S>(_of: &S) -> Option<Value> {
    None
}

/// Written by an export whenever its table is.
const fn always<S>(setting: Setting<S>) -> Setting<S> {
    Setting { always_exported: true, ..setting }
}

const STATES: Form = Form::Word { noun: "a state", words: &["ready", "drain", "maint"] };
const ADMINS: [Admin; 3] = [Admin::Ready, Admin::Drain, Admin::Maint];
const KEEPALIVE_COUNT: Form = Form::Count { min: 1, max: KEEPALIVE_COUNT_MAX as u32 };

const fn keepalive_idle<S>(access: Access<S>, help: &'static str) -> Setting<S> {
    let names = ("keepalive.idle", "keepalive.idle_s");
    always(row(names, SECONDS, Effect::NewSessions, access, help))
}

const fn keepalive_interval<S>(access: Access<S>) -> Setting<S> {
    let names = ("keepalive.interval", "keepalive.interval_s");
    always(row(names, SECONDS, Effect::NewSessions, access, "Between two such questions."))
}

const fn keepalive_count<S>(access: Access<S>, help: &'static str) -> Setting<S> {
    let names = ("keepalive.count", "keepalive.count");
    always(row(names, KEEPALIVE_COUNT, Effect::NewSessions, access, help))
}
