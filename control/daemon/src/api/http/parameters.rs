//! The parameters behind the `?` of a path.

use weir_control_core::planner::alike;
use weir_proto::answer::EventKind;
use weir_proto::confirm::{Confirm, Guard};
use weir_proto::outside::cleaned;
use weir_proto::request::{Code, Refusal};
use weir_proto::spec::Span;

/// A parameter behind the `?`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) form: ParameterForm,
    pub(super) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParameterForm {
    /// `true` or `false`.
    Flag,
    Number {
        min: u64,
        max: u64,
    },
    /// Text, as in a URL: `%2F` stands for `/`. Its pattern is for /openapi.json; its meaning is
    /// looked at where it is used.
    Text {
        pattern: &'static str,
    },
    /// A kind of events; it may be there several times.
    Kinds,
    /// A bound of a change that waits for its confirmation; it may be there several times.
    Guards,
}

impl ParameterForm {
    const fn may_be_several(self) -> bool {
        matches!(self, ParameterForm::Kinds | ParameterForm::Guards)
    }
}

/// Patterns of text, as JSON Schema has them.
pub(super) const NETWORK: &str = "^[0-9A-Fa-f.:]+(/[0-9]+)?$";
pub(super) const DURATION: &str = "^[0-9]+(ms|s|m|h|d)$";

/// Text of a request as an answer quotes it.
pub(super) fn shown(text: &str) -> String {
    cleaned(text, 200)
}

/// The parameters of one request.
pub(super) struct Parameters<'a> {
    pairs: Vec<(&'a str, ParameterValue)>,
}

#[derive(Clone)]
enum ParameterValue {
    Flag(bool),
    Number(u64),
    Text(String),
    Kind(EventKind),
    Guard(Guard),
}

impl<'a> Parameters<'a> {
    /// Reads `a=1&b=2`.
    ///
    /// # Errors
    /// One is not in `known`, or is there twice: it would be ignored. Or it has not its form.
    pub(super) fn read(
        path: &'a str,
        query: Option<&'a str>,
        known: &[Parameter],
    ) -> Result<Parameters<'a>, Refusal> {
        let texts = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let mut pairs: Vec<(&str, ParameterValue)> = Vec::new();
        for (key, value) in texts.map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            let there = known.iter().find(|parameter| parameter.name == key);
            let is_one = there.is_some_and(|parameter| !parameter.form.may_be_several());
            let is_twice = is_one && pairs.iter().any(|(before, _)| *before == key);
            let what = match there {
                None => "no",
                Some(_) if is_twice => "one, not two,",
                Some(parameter) => {
                    pairs.push((key, of_form(path, parameter, value)?));
                    continue;
                }
            };
            let message = format!("{} has {what} parameter {:?}", shown(path), shown(key));
            return Err(Refusal::new(Code::Invalid, message, "GET / lists paths and parameters"));
        }
        Ok(Parameters { pairs })
    }

    fn get(&self, name: &str) -> Option<&ParameterValue> {
        self.pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// A number; `None` if it is not there.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(ParameterValue::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// Every kind of events that is named.
    pub(super) fn kinds(&self) -> Vec<EventKind> {
        let values = self.pairs.iter().filter_map(|(_, value)| match value {
            ParameterValue::Kind(kind) => Some(*kind),
            _ => None,
        });
        values.collect()
    }

    /// The terms of a change that waits for its confirmation: `confirm=30s&guard=healthy=50%25`.
    ///
    /// # Errors
    /// `confirm` is no duration, or there is a guard without it.
    pub(super) fn confirm(&self) -> Result<Option<Confirm>, Refusal> {
        let hint = "as in ?confirm=30s&guard=healthy=50%25";
        let guards = self.pairs.iter().filter_map(|(_, value)| match value {
            ParameterValue::Guard(guard) => Some(*guard),
            _ => None,
        });
        let guards: Vec<Guard> = guards.collect();
        let Some(text) = self.text("confirm") else {
            if guards.is_empty() {
                return Ok(None);
            }
            return Err(Refusal::new(Code::Invalid, "guard without confirm", hint));
        };
        let within: Result<Span, String> = text.parse();
        let within = within.map_err(|error| {
            Refusal::new(Code::Invalid, format!("confirm: {}", cleaned(&error, 200)), hint)
        })?;
        Ok(Some(Confirm { within_ms: within.millis, guards }))
    }

    /// A text; `None` if it is not there.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Some(ParameterValue::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    /// True if it says `true`.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(ParameterValue::Flag(true)))
    }
}

/// Reads a value. The range of a number is known to control, which says it.
fn of_form(path: &str, parameter: &Parameter, value: &str) -> Result<ParameterValue, Refusal> {
    let (name, path) = (parameter.name, shown(path));
    match (parameter.form, value) {
        (ParameterForm::Number { .. }, _) => {
            let example = if name == "limit" { 100 } else { 1 };
            let hint = format!("{path}?{name}={example}");
            whole(name, value, &hint).map(ParameterValue::Number)
        }
        (ParameterForm::Text { .. }, value) => match unescaped(value) {
            Some(text) if !text.is_empty() => Ok(ParameterValue::Text(text)),
            _ => {
                let message = format!("{name}={:?} is no text of a URL", shown(value));
                Err(Refusal::new(Code::Invalid, message, format!("{path}?{name}=web")))
            }
        },
        (ParameterForm::Kinds, word) => word.parse().map(ParameterValue::Kind).map_err(|_| {
            let words = || EventKind::ALL.iter().map(|kind| kind.word());
            let message = format!("{name}={:?} is no kind of events", shown(word));
            let hint = format!("kinds: {}", words().collect::<Vec<_>>().join(", "));
            let did_you_mean = alike(word, words().map(str::to_owned));
            Refusal { did_you_mean, ..Refusal::new(Code::Invalid, message, hint) }
        }),
        (ParameterForm::Guards, value) => {
            let guard = unescaped(value).unwrap_or_else(|| value.to_owned()).parse::<Guard>();
            guard.map(ParameterValue::Guard).map_err(|error| {
                let hint = format!("{path}?{name}=healthy=50%25: %25 is the sign for percent");
                Refusal::new(Code::Invalid, cleaned(&error, 200), hint)
            })
        }
        (ParameterForm::Flag, "true") => Ok(ParameterValue::Flag(true)),
        (ParameterForm::Flag, "false") => Ok(ParameterValue::Flag(false)),
        (ParameterForm::Flag, other) => {
            let message = format!("{name}={:?} is neither true nor false", shown(other));
            Err(Refusal::new(Code::Invalid, message, format!("{path}?{name}=true")))
        }
    }
}

/// Text of a URL (RFC 3986, 2.1): each `%2F` becomes its byte. `None` if that is no text.
fn unescaped(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        bytes.push(match byte {
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A whole number; `name` says of what.
///
/// # Errors
/// It is something else.
pub(super) fn whole(name: &str, text: &str, hint: &str) -> Result<u64, Refusal> {
    // Not "+1", which Rust takes.
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain).ok_or_else(|| {
        let message = format!("{name}={:?} is not a whole number", shown(text));
        Refusal::new(Code::Invalid, message, hint)
    })
}
