//! The tables of settings as JSON Schema: as bodies write them and as answers show them.

use serde_json::{Map, Value, json};
use weir_proto::settings::{BACKEND, Form, LISTENER, POOL, Plain, Setting};
use weir_proto::spec::{CHECK_STEPS_MAX, Name};

use super::shape::or_null;
use crate::api::http::parameters::{DURATION, NETWORK};

/// Each row below its table.
fn nested<S>(
    table: &'static [Setting<S>],
    name: impl Fn(&Setting<S>) -> &'static str,
    schema: impl Fn(&Setting<S>) -> Value,
) -> Map<String, Value> {
    let mut all = Map::new();
    for setting in table {
        match name(setting).split_once('.') {
            None => drop(all.insert(name(setting).to_owned(), schema(setting))),
            Some((below, key)) => {
                let entry = all.entry(below).or_insert_with(
                    || json!({"type": "object", "additionalProperties": false, "properties": {}}),
                );
                if let Some(words) = entry.get_mut("enum").map(Value::take) {
                    *entry = word_or_table(&words);
                }
                entry["properties"][key] = schema(setting);
            }
        }
    }
    all
}

/// One of these words, or a table in place of it.
fn word_or_table(words: &Value) -> Value {
    let words: Vec<&str> =
        words.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    json!({
        "type": ["string", "object"],
        "pattern": format!("^({})$", words.join("|")),
        "additionalProperties": false,
        "properties": {},
    })
}

/// The settings of an object as answers show them.
pub(super) fn shown<S: Plain>(table: &'static [Setting<S>]) -> Map<String, Value> {
    nested(
        table,
        |setting| setting.json,
        |setting| {
            let schema = match setting.form {
                Form::Span { .. } => json!({"type": "number"}),
                Form::Count { .. } | Form::Size { .. } | Form::Share | Form::Rate => {
                    json!({"type": "integer", "minimum": 0})
                }
                Form::Flag => json!({"type": "boolean"}),
                Form::Word { words, .. } => json!({"type": "string", "enum": words}),
                Form::NoBackend => json!({"type": "string"}),
                Form::Address { many: true } | Form::Networks | Form::Source | Form::Steps => {
                    json!({"type": "array", "items": {"type": "string"}})
                }
                Form::Routes => {
                    let list = || json!({"type": "array", "items": {"type": "string"}});
                    json!({"type": "array", "items": {
                        "type": "object",
                        "additionalProperties": false,
                        "required": ["sni", "alpn", "from", "pool"],
                        "properties":
                            {"sni": list(), "alpn": list(), "from": list(), "pool": name()},
                    }})
                }
                Form::Text { .. }
                | Form::Name { .. }
                | Form::Interface
                | Form::Address { many: false }
                | Form::Target => {
                    json!({"type": "string"})
                }
            };
            let is_there = setting.effective(&S::plain()).is_some();
            if is_there { schema } else { or_null(schema) }
        },
    )
}

/// The schema of a body with settings. With PUT the required ones must be there, and none is null.
pub(super) fn body<S: Plain>(table: &'static [Setting<S>], is_whole: bool) -> Value {
    let properties = nested(
        table,
        |setting| setting.key,
        |setting| {
            let mut schema = written(setting.form);
            if !is_whole && is_optional(setting) {
                schema = or_null(schema);
            }
            schema["description"] =
                format!("{} {}", setting.help, setting.effect.sentence()).into();
            schema
        },
    );
    let required: Vec<&str> = table
        .iter()
        .filter(|setting| setting.required && is_whole)
        .map(|setting| setting.key)
        .collect();
    let mut schema =
        json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !is_whole {
        schema["minProperties"] = json!(1);
    }
    schema
}

/// True if a setting can be taken away.
fn is_optional<S: Plain>(setting: &Setting<S>) -> bool {
    let mut object = S::plain();
    (setting.set)(&mut object, None);
    (setting.get)(&object).is_none()
}

/// A value as weir.toml has it, in JSON.
fn written(form: Form) -> Value {
    match form {
        Form::Span { range, .. } => {
            json!({"type": "string", "pattern": DURATION, "examples": ["2s", range]})
        }
        Form::Count { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Form::Size { .. } => {
            json!({"type": "string", "pattern": "^[0-9]+(B|KiB|MiB)$", "examples": ["256KiB"]})
        }
        Form::Share => json!({"type": "string", "pattern": "^[0-9]+%$", "examples": ["50%"]}),
        Form::Flag => json!({"type": "boolean"}),
        Form::Word { words, .. } => json!({"type": "string", "enum": words}),
        Form::Text { .. } => json!({"type": "string", "minLength": 1}),
        Form::Name { .. } => name(),
        Form::Interface => json!({"type": "string", "minLength": 1, "maxLength": 15}),
        Form::Address { many: false } => address(),
        Form::Target => target(),
        Form::Address { many: true } => {
            json!({"anyOf": [address(), {"type": "array", "items": address(), "minItems": 1}]})
        }
        Form::Routes => json!({"type": "array", "items": route(), "minItems": 1}),
        Form::Networks => {
            json!({"anyOf": [network(), {"type": "array", "items": network(), "minItems": 1}]})
        }
        Form::NoBackend => no_backend(),
        Form::Source => {
            json!({"anyOf": [source(), {"type": "array", "items": source(), "minItems": 1}]})
        }
        Form::Rate => json!({"type": "string", "pattern": "^[0-9]+/s$", "examples": ["200/s"]}),
        Form::Steps => {
            let step = || json!({"type": "string", "pattern": STEP});
            json!({"type": "array", "items": step(), "minItems": 1, "maxItems": CHECK_STEPS_MAX})
        }
    }
}

fn no_backend() -> Value {
    let hold = format!("^(reset|close|hold {})$", DURATION.trim_matches(['^', '$']));
    json!({"type": "string", "pattern": hold, "examples": ["hold 5s"]})
}

/// A step of a check.
const STEP: &str = "^(send|expect) .+$";

/// A route of a listener.
fn route() -> Value {
    let one = || json!({"type": "string", "minLength": 1});
    let list = |item: Value| json!({"anyOf": [item, {"type": "array", "items": item}]});
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["pool"],
        "properties":
            {"sni": list(one()), "alpn": list(one()), "from": list(network()), "pool": name()},
    })
}

fn address() -> Value {
    json!({"type": "string", "minLength": 1, "examples": ["10.0.0.11:443", "[::1]:443"]})
}

fn target() -> Value {
    let examples = ["10.0.0.11:443", "[::1]:443", "unix:/run/app.sock"];
    json!({"type": "string", "minLength": 1, "examples": examples})
}

/// An IP address without a port.
fn source() -> Value {
    json!({"type": "string", "minLength": 1, "examples": ["10.0.0.5", "2001:db8::5"]})
}

fn network() -> Value {
    json!({"type": "string", "pattern": NETWORK})
}

/// The name of an object.
pub(super) fn name() -> Value {
    let pattern = format!("^[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{}}}$", Name::LENGTH_MAX - 1);
    json!({"type": "string", "pattern": pattern})
}

/// The schema of a configuration in JSON: what weir.toml has, or a part of it.
pub(super) fn configuration(is_whole: bool) -> Value {
    let part = |mut schema: Value| {
        // An object that is there has it already.
        if let (false, Some(object)) = (is_whole, schema.as_object_mut()) {
            object.remove("required");
        }
        schema
    };
    let mut pool = body(POOL, true);
    pool["properties"]["backend"] = json!({
        "type": "object",
        "propertyNames": name(),
        "additionalProperties": part(body(BACKEND, true)),
    });
    let listener = part(body(LISTENER, true));
    let mut properties = json!({
        "listener": {
            "type": "object",
            "propertyNames": name(),
            "additionalProperties": listener,
        },
        "pool": { "type": "object", "propertyNames": name(), "additionalProperties": pool },
    });
    if is_whole {
        properties["weir"] = json!({
            "type": "object",
            "description": "Process settings. They are checked; weir reads them at its start only.",
        });
    }
    let least = u8::from(!is_whole);
    json!({
        "type": "object",
        "additionalProperties": false,
        "minProperties": least,
        "properties": properties,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_every_setting_and_says_which_are_needed() {
        let listener = body(LISTENER, true);
        assert_eq!(listener["required"], json!(["bind", "pool"]));
        assert!(body(LISTENER, false).get("required").is_none());
        assert_eq!(body(BACKEND, true)["required"], json!(["address"]));
        let pool = body(POOL, false);
        assert_eq!(pool["properties"]["health"]["properties"]["fall"]["maximum"], 100);
        assert_eq!(
            pool["properties"]["health"]["properties"]["path"]["type"],
            json!(["string", "null"])
        );
        for setting in POOL {
            let path = format!("/properties/{}", setting.key.replace('.', "/properties/"));
            assert!(pool.pointer(&path).is_some(), "{path}");
        }
    }
}
