//! The parameters behind the `?` of a path.

use weir_control_core::planner::alike;
use weir_proto::answer::EventKind;
use weir_proto::outside::cleaned;
use weir_proto::request::{Code, Refusal};

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
}

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
            let is_one = there.is_some_and(|parameter| parameter.form != ParameterForm::Kinds);
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
