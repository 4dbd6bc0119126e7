//! As much of JSON Schema as weir's OpenAPI document has.

use serde_json::Value;

/// The faults of `value`, each with its place.
pub(crate) fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look(document, (schema, value), "", &mut found);
    found
}

fn look(document: &Value, (schema, value): (&Value, &Value), at: &str, found: &mut Vec<String>) {
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        let fits = match word.as_str() {
            "$ref" => {
                let pointer = rule.as_str().expect("a reference").trim_start_matches('#');
                let target = document.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
                look(document, (target, value), at, found);
                true
            }
            "type" => match rule {
                Value::Array(kinds) => kinds.iter().any(|kind| is_of(value, kind)),
                kind => is_of(value, kind),
            },
            "const" => value == rule,
            "enum" => rule.as_array().expect("a list").contains(value),
            "minimum" => value.as_f64().is_none_or(|it| Some(it) >= rule.as_f64()),
            "anyOf" => {
                let mut all = rule.as_array().expect("a list").iter();
                all.any(|schema| faults(document, schema, value).is_empty())
            }
            "required" => {
                let keys = rule.as_array().expect("a list").iter().filter_map(Value::as_str);
                let missing: Vec<&str> = keys.filter(|key| value.get(key).is_none()).collect();
                let has = !value.is_object() || missing.is_empty();
                if !has {
                    found.push(format!("{at}: {missing:?} is missing"));
                }
                true
            }
            "properties" => {
                let known = rule.as_object().expect("an object");
                for (key, value) in value.as_object().into_iter().flatten() {
                    match known.get(key) {
                        Some(schema) => {
                            look(document, (schema, value), &format!("{at}.{key}"), found);
                        }
                        None => found.push(format!("{at}.{key} is in no schema")),
                    }
                }
                true
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    look(document, (rule, value), &format!("{at}[{index}]"), found);
                }
                true
            }
            "additionalProperties" | "description" => true,
            other => panic!("this test does not know {other:?}"),
        };
        if !fits {
            found.push(format!("{at}: {value} does not fit {word} {rule}"));
        }
    }
}

fn is_of(value: &Value, kind: &Value) -> bool {
    match kind.as_str().expect("a type is a word") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("this test does not know the type {other:?}"),
    }
}
