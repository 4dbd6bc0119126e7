//! The body of a request: bounded in size and time, then settings of an object, or a whole file.

use core::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Bytes};
use serde_json::{Map, Value};
use weir_proto::outside::cleaned;
use weir_proto::request::{Code, Pairs, Refusal};
use weir_proto::settings::{self, Form, Setting};
use weir_proto::spec::CheckStep;

/// The longest settings of one object, in bytes.
pub(super) const SETTINGS_MAX: usize = 64 << 10;
/// The longest configuration, as SIGHUP takes it.
pub(super) const CONFIG_MAX: usize = 32 << 20;
/// The longest body that is taken without being wanted, and for how long.
const DISCARD_MAX: usize = 256 << 10;
const DISCARD_TIME: Duration = Duration::from_secs(2);
/// From the end of a head to the end of its body.
pub(super) const BODY_TIME: Duration = Duration::from_secs(20);

/// A body that was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Empty,
    Json(Value),
    Toml(String),
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    None,
    Listener,
    Pool,
    Backend,
    /// A whole configuration.
    Config,
    /// Some keys of some objects.
    PartialConfig,
    /// `{"version": 12}`
    Version,
}

impl BodyKind {
    /// The longest one, in bytes.
    pub(super) const fn most(self) -> usize {
        match self {
            BodyKind::Config | BodyKind::PartialConfig => CONFIG_MAX,
            BodyKind::None
            | BodyKind::Listener
            | BodyKind::Pool
            | BodyKind::Backend
            | BodyKind::Version => SETTINGS_MAX,
        }
    }
}

/// Why a body is not taken.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) refusal: Refusal,
}

fn refused(status: StatusCode, message: String, hint: &str) -> Refused {
    Refused { status, refusal: Refusal::new(Code::Invalid, message, hint) }
}

/// Reads a body of at most `most` bytes, `within` a time; `kind` is its Content-Type.
///
/// # Errors
/// It is too long, too slow or of a type that means nothing here.
pub(super) async fn read<B>(
    body: B,
    most: usize,
    kind: Option<&str>,
    within: Duration,
) -> Result<Content, Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collected = crate::rt::timeout(within, Limited::new(body, most).collect()).await;
    let bytes = match collected {
        Some(Ok(collected)) => collected.to_bytes(),
        Some(Err(error)) if error.is::<LengthLimitError>() => return Err(too_long(most)),
        Some(Err(error)) => {
            let message = format!("the body ended early: {error}");
            return Err(refused(StatusCode::BAD_REQUEST, message, "send all of it"));
        }
        None => {
            let secs = within.as_secs();
            let message = format!("the body was not whole after {secs} s");
            return Err(refused(StatusCode::REQUEST_TIMEOUT, message, "send it faster"));
        }
    };
    if bytes.is_empty() {
        return Ok(Content::Empty);
    }
    let is_json = match media_type(kind) {
        "application/json" | "application/merge-patch+json" => true,
        "application/toml" => false,
        other => {
            let shown = cleaned(other, 100);
            let message = format!("a body of type {shown:?} means nothing here");
            let hint = "Content-Type: application/json, or application/toml for a configuration";
            return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, message, hint));
        }
    };
    let is_long = bytes.len() > SETTINGS_MAX;
    crate::rt::blocking_if(is_long, move || parse(&bytes, is_json))
        .await
        .map_err(|refusal| Refused { status: StatusCode::BAD_REQUEST, refusal })
}

/// Takes a short body that is not wanted, and keeps nothing of it: who still sends when weir closes
/// sees a reset instead of the answer.
pub(super) async fn discard<B>(body: B)
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut rest = pin!(Limited::new(body, DISCARD_MAX));
    let taken = async { while let Some(Ok(_)) = rest.frame().await {} };
    let _ = crate::rt::timeout(DISCARD_TIME, taken).await;
}

pub(super) fn too_long(most: usize) -> Refused {
    let message = format!("the body is longer than {most} bytes");
    refused(StatusCode::PAYLOAD_TOO_LARGE, message, "send less")
}

/// Without its parameters.
fn media_type(kind: Option<&str>) -> &str {
    kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim()
}

fn parse(bytes: &[u8], is_json: bool) -> Result<Content, Refusal> {
    let wrong = |what: &str, why: &dyn core::fmt::Display| {
        let message = format!("the body is not {what}: {}", cleaned(&why.to_string(), 200));
        Refusal::new(Code::Invalid, message, "see /openapi.json")
    };
    if is_json {
        let value = serde_json::from_slice(bytes).map_err(|why| wrong("JSON", &why))?;
        return Ok(Content::Json(with_integers(value)));
    }
    let text = core::str::from_utf8(bytes).map_err(|why| wrong("UTF-8", &why))?;
    Ok(Content::Toml(text.to_owned()))
}

/// The value with `2` for each `2.0`, which JSON Schema calls an integer as well.
fn with_integers(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => {
                // In this form it has no point and no exponent.
                let plain = format!("{float:.0}");
                Value::Number(plain.parse().unwrap_or(number))
            }
            _ => Value::Number(number),
        },
        Value::Array(list) => list.into_iter().map(with_integers).collect(),
        Value::Object(object) => {
            object.into_iter().map(|(key, value)| (key, with_integers(value))).collect()
        }
        other => other,
    }
}

impl Content {
    /// The settings of an object, by the keys of weir.toml: `{"health": {"interval": "1s"}}`. A
    /// null takes a setting away.
    ///
    /// # Errors
    /// It is no such object, or a value has another type than its setting.
    pub(super) fn pairs<S>(&self, table: &'static [Setting<S>]) -> Result<Pairs, Refusal> {
        let mut pairs = Pairs::new();
        for (key, value) in self.object()? {
            match value {
                Value::Object(below) if is_table(table, key) => {
                    for (name, value) in below {
                        push(table, &format!("{key}.{name}"), value, &mut pairs)?;
                    }
                }
                // All of a table is taken away.
                Value::Null if is_table(table, key) => {
                    let below = |it: &&Setting<S>| it.key == key || it.split().0 == Some(key);
                    let keys = table.iter().filter(below).map(|it| it.key.to_owned());
                    pairs.extend(keys.map(|key| (key, String::new())));
                }
                value => push(table, key, value, &mut pairs)?,
            }
        }
        Ok(pairs)
    }

    /// The one number of `{"version": 12}`.
    ///
    /// # Errors
    /// There is something else.
    pub(super) fn version(&self) -> Result<u64, Refusal> {
        let object = self.object()?;
        let version = object.get("version").and_then(Value::as_u64);
        version.filter(|_| object.len() == 1).ok_or_else(|| {
            let message = "the body does not say which version";
            Refusal::new(Code::Invalid, message, "{\"version\": 12}")
        })
    }

    /// A whole configuration as TOML.
    ///
    /// # Errors
    /// There is none, or it has a value for which TOML has no form.
    pub(super) fn config(self) -> Result<String, Refusal> {
        match self {
            Content::Toml(text) => Ok(text),
            Content::Json(value @ Value::Object(_)) => toml::to_string(&value).map_err(|why| {
                let message = format!("the body has no form in TOML: {why}");
                Refusal::new(Code::Invalid, message, "leave out what is null")
            }),
            Content::Json(_) | Content::Empty => Err(no_object("a configuration")),
        }
    }

    /// Refuses a body where none means anything.
    ///
    /// # Errors
    /// There is one.
    pub(super) fn nothing(&self) -> Result<(), Refusal> {
        match self {
            Content::Empty => Ok(()),
            Content::Json(Value::Object(object)) if object.is_empty() => Ok(()),
            Content::Json(_) | Content::Toml(_) => {
                let message = "this request has no body";
                Err(Refusal::new(Code::Invalid, message, "leave it out; see /openapi.json"))
            }
        }
    }

    /// A part of a configuration as TOML, where `""` takes away what null does in JSON (RFC 7396).
    ///
    /// # Errors
    /// As of [`Content::config`].
    pub(super) fn part(self) -> Result<String, Refusal> {
        match self {
            Content::Json(value @ Value::Object(_)) => Content::Json(with_words(value)).config(),
            other => other.config(),
        }
    }

    fn object(&self) -> Result<&Map<String, Value>, Refusal> {
        match self {
            Content::Json(Value::Object(object)) => Ok(object),
            Content::Json(_) | Content::Toml(_) | Content::Empty => Err(no_object("settings")),
        }
    }
}

/// The value with `""` for each null in an object.
fn with_words(value: Value) -> Value {
    match value {
        Value::Null => Value::String(String::new()),
        Value::Object(object) => {
            object.into_iter().map(|(key, value)| (key, with_words(value))).collect()
        }
        other => other,
    }
}

/// True if settings stand below the table `key`.
fn is_table<S>(table: &'static [Setting<S>], key: &str) -> bool {
    table.iter().any(|setting| setting.split().0 == Some(key))
}

/// A route as it would be typed; `None` if it is none.
fn route(value: &Value) -> Option<String> {
    let mut words = Vec::new();
    for (key, value) in value.as_object()? {
        let texts: Option<Vec<&str>> = match value {
            Value::Array(list) => list.iter().map(Value::as_str).collect(),
            one => one.as_str().map(|text| vec![text]),
        };
        let texts = texts?;
        // What would be more than one word is no name, and no pool either.
        if texts.iter().any(|text| text.is_empty() || text.contains([' ', ',', ';', '='])) {
            return None;
        }
        words.push(format!("{key}={}", texts.join(",")));
    }
    Some(words.join(" "))
}

fn no_object(of: &str) -> Refusal {
    let message = format!("the body is not an object of JSON with {of}");
    Refusal::new(Code::Invalid, message, "see /openapi.json")
}

/// Adds a setting as it would be typed. What the table has not is left to the planner, which knows
/// what may be meant.
fn push<S>(
    table: &'static [Setting<S>],
    key: &str,
    value: &Value,
    pairs: &mut Pairs,
) -> Result<(), Refusal> {
    let form = settings::find(table, key).map(|setting| setting.form);
    let text = match (form, value) {
        (_, Value::Null) => Some(String::new()),
        (Some(Form::Count { .. }) | None, Value::Number(number)) => Some(number.to_string()),
        (Some(Form::Flag) | None, Value::Bool(flag)) => Some(flag.to_string()),
        (Some(Form::Count { .. } | Form::Flag), Value::String(_)) => None,
        (_, Value::String(text)) if !text.is_empty() => Some(text.clone()),
        (Some(Form::Routes), Value::Array(list)) if !list.is_empty() => {
            let routes: Option<Vec<String>> = list.iter().map(route).collect();
            routes.map(|routes| routes.join("; "))
        }
        (
            Some(Form::Address { many: true } | Form::Networks | Form::Source),
            Value::Array(list),
        ) if !list.is_empty() => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        (Some(Form::Steps), Value::Array(list)) if !list.is_empty() => {
            let texts: Option<Vec<String>> = list.iter().map(step).collect();
            texts.map(|texts| texts.join(";"))
        }
        (None, _) => Some(String::new()),
        _ => None,
    };
    match (text, form) {
        (Some(text), _) => {
            pairs.push((key.to_owned(), text));
            Ok(())
        }
        (None, form) => {
            let shown = cleaned(&value.to_string(), 100);
            let hint = form.map_or_else(String::new, |form| form.hint());
            let message = format!("{}: {shown} is not of its type", cleaned(key, 100));
            Err(Refusal::new(Code::Invalid, message, hint))
        }
    }
}

/// A step as it is typed, where `;` stands between two.
fn step(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    Some(text.parse::<CheckStep>().map_or_else(|_| text.to_owned(), |step| step.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weir_proto::settings::{BACKEND, LISTENER, POOL};

    fn typed(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn settings_have_the_keys_and_types_of_the_file() {
        let pool =
            json!({"strategy": "random", "health": {"interval": "1s", "fall": 2, "path": null}});
        assert_eq!(
            Content::Json(pool).pairs(POOL).unwrap(),
            typed(&[
                ("health.fall", "2"),
                ("health.interval", "1s"),
                ("health.path", ""),
                ("strategy", "random"),
            ])
        );
        let listener = json!({"bind": ["[::1]:1", "[::1]:2"], "freebind": true});
        assert_eq!(
            Content::Json(listener).pairs(LISTENER).unwrap(),
            typed(&[("bind", "[::1]:1,[::1]:2"), ("freebind", "true")])
        );
        assert_eq!(Content::Json(json!({"x": {"y": 1}})).pairs(POOL).unwrap(), typed(&[("x", "")]));
    }

    #[test]
    fn a_number_without_a_fraction_is_whole() {
        let read = |text: &str| parse(text.as_bytes(), true).unwrap();
        assert_eq!(read(r#"{"a": [2.0, 2.5, -1e2]}"#), read(r#"{"a": [2, 2.5, -100]}"#));
        assert_eq!(read("1e300"), Content::Json(json!(1e300)));
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_its_key() {
        for (value, key) in [
            (json!({"weight": "2"}), "weight: "),
            (json!({"weight": [2]}), "weight: "),
            (json!({"address": 7}), "address: "),
            (json!({"address": ["[::1]:1"]}), "address: "),
            (json!({"state": ""}), "state: "),
            (json!([1]), "the body is not an object"),
            (json!("x"), "the body is not an object"),
        ] {
            let refusal = Content::Json(value.clone()).pairs(BACKEND).unwrap_err();
            assert!(refusal.message.starts_with(key), "{value}: {}", refusal.message);
            assert!(!refusal.hint.is_empty());
        }
    }

    #[test]
    fn a_configuration_in_json_becomes_toml_and_keeps_its_meaning() {
        let value =
            json!({"listener": {"web": {"bind": "[::1]:1", "pool": "web"}}, "pool": {"web": {}}});
        let text = Content::Json(value).config().unwrap();
        let spec = weir_control_core::file::parse(&text, "x").unwrap().spec;
        assert_eq!((spec.listener.len(), spec.pool.len()), (1, 1));
        assert!(Content::Json(json!({"pool": null})).config().is_err());
        assert!(Content::Empty.config().is_err());
    }

    #[test]
    fn a_null_in_a_part_takes_away_and_in_a_whole_means_nothing() {
        let json = json!({"pool": {"web": {"queue": null, "backend": {"b1": null}}}});
        let text = Content::Json(json.clone()).part().unwrap();
        let expected = "[pool.web]\nqueue = \"\"\n\n[pool.web.backend]\nb1 = \"\"\n";
        assert_eq!(text.trim_start(), expected);
        assert_eq!(Content::Json(json).config().unwrap_err().hint, "leave out what is null");
        assert_eq!(Content::Toml("x".into()).part().unwrap(), "x");
        assert!(Content::Empty.part().is_err() && Content::Json(json!(null)).part().is_err());
    }

    #[test]
    fn a_version_is_said_alone() {
        assert_eq!(Content::Json(json!({"version": 12})).version().unwrap(), 12);
        for other in [json!({}), json!({"version": "1"}), json!({"version": 1, "x": 2}), json!(1)] {
            assert!(Content::Json(other).version().is_err());
        }
        assert!(Content::Empty.nothing().is_ok() && Content::Json(json!({})).nothing().is_ok());
        assert!(Content::Toml("x".into()).nothing().is_err());
    }
}
