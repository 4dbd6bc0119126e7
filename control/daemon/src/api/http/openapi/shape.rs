//! The JSON Schema of an answer, as serde reads it: a deserializer that gives each field something
//! and writes down what it was asked for. So a type and its schema are one.

use core::fmt;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde_json::{Map, Value, json};
use weir_proto::answer::{
    BackendRow, ListenerRow, LiveHistory, LivePercentiles, LivePoint, LivePool, SCHEMA, Status,
    TaskRow, UnconfirmedRow,
};
use weir_proto::settings::{LISTENER, POOL};

use super::settings;

/// The schema of a document whose body is a `T`.
///
/// # Panics
/// If `T` is no struct of what answers are made of. A test asks for every answer's.
pub(in crate::api::http) fn of<T: DeserializeOwned>() -> Value {
    document(row::<T>())
}

/// The schema of a `T` within a document.
fn row<T: DeserializeOwned>() -> Value {
    let mut schema = Value::Null;
    T::deserialize(Shape(&mut schema)).expect("an answer has a shape");
    schema
}

/// The schema of both documents of `/api/v1/live` in one.
pub(in crate::api::http) fn live() -> Value {
    let number = json!({"type": "number"});
    let rates = ["sessions_per_s", "received_bytes_per_s", "sent_bytes_per_s"];
    let rates = rates.map(|key| (key, number.clone()));
    let list = |row: Value| json!({"type": "array", "items": row});
    let durations = ["connect_s", "first_byte_s"].map(|it| (it, or_null(row::<LivePercentiles>())));
    let backends = with(row::<BackendRow>(), rates.iter().cloned().chain(durations));
    let listeners = with(row::<ListenerRow>(), [rates[0].clone()]);
    let none = json!({"type": "object", "required": [], "properties": {}});
    let figures = with(
        none.clone(),
        [
            ("at", number),
            ("point", or_null(row::<LivePoint>())),
            ("status", row::<Status>()),
            ("pools", list(row::<LivePool>())),
            ("listeners", list(listeners)),
            ("backends", list(backends)),
            ("backends_total", whole()),
            ("tasks", list(row::<TaskRow>())),
            ("unconfirmed", or_null(row::<UnconfirmedRow>())),
            ("last_event", whole()),
        ],
    );
    let parts = [("history", of::<LiveHistory>()), ("figures", document(figures))];
    document(with(none, parts))
}

/// An object with more keys.
fn with(mut schema: Value, keys: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    for (key, of) in keys {
        schema["properties"][key] = of;
        if let Some(required) = schema["required"].as_array_mut() {
            required.push(key.into());
        }
    }
    schema
}

fn document(mut schema: Value) -> Value {
    let object = schema.as_object_mut().expect("an answer is an object");
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.insert("schema".to_owned(), json!({"const": SCHEMA}));
    }
    if let Some(Value::Array(required)) = object.get_mut("required") {
        required.push("schema".into());
    }
    schema
}

/// Writes the schema of what is read from it into the place.
struct Shape<'a>(&'a mut Value);

/// Why there is no schema.
#[derive(Debug)]
struct NoShape(String);

impl fmt::Display for NoShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for NoShape {}

impl de::Error for NoShape {
    fn custom<T: fmt::Display>(what: T) -> NoShape {
        NoShape(what.to_string())
    }
}

/// Plain values, each with its type in JSON Schema.
macro_rules! plain {
    ($($method:ident $visit:ident $value:expr, $schema:expr;)+) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoShape> {
                *self.0 = $schema;
                visitor.$visit($value)
            }
        )+
    };
}

fn whole() -> Value {
    json!({"type": "integer", "minimum": 0})
}

impl<'de> Deserializer<'de> for Shape<'_> {
    type Error = NoShape;

    plain! {
        deserialize_bool visit_bool false, json!({"type": "boolean"});
        deserialize_u8 visit_u8 0, whole();
        deserialize_u16 visit_u16 0, whole();
        deserialize_u32 visit_u32 0, whole();
        deserialize_u64 visit_u64 0, whole();
        deserialize_i32 visit_i32 0, json!({"type": "integer"});
        deserialize_i64 visit_i64 0, json!({"type": "integer"});
        deserialize_f64 visit_f64 0.0, json!({"type": "number"});
        // An address of the network is a text, too.
        deserialize_str visit_str "::1", json!({"type": "string"});
        deserialize_string visit_str "", json!({"type": "string"});
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoShape> {
        let read = visitor.visit_some(Shape(self.0))?;
        let inner = self.0.take();
        *self.0 = or_null(inner);
        Ok(read)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoShape> {
        let mut items = Value::Null;
        let read = visitor.visit_seq(One { items: &mut items, is_over: false })?;
        *self.0 = json!({"type": "array", "items": items});
        Ok(read)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NoShape> {
        let mut properties = Map::new();
        let read = visitor.visit_map(Fields { fields, next: 0, properties: &mut properties })?;
        // In JSON the settings stand among its own keys.
        if let Some(shown) = settings_of(name) {
            properties.remove("settings");
            properties.extend(shown);
        }
        let required: Vec<&String> = properties.keys().collect();
        *self.0 = json!({"type": "object", "required": required, "properties": properties});
        Ok(read)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, NoShape> {
        // Settings as they are shown: which ones depends on the subject.
        *self.0 = json!({"type": "object"});
        visitor.visit_newtype_struct(SeqDeserializer::<_, NoShape>::new(core::iter::empty::<u8>()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NoShape> {
        *self.0 = json!({"type": "string", "enum": variants});
        let first: StrDeserializer<'_, NoShape> = variants[0].into_deserializer();
        visitor.visit_enum(first)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoShape> {
        Err(de::Error::custom("a type that answers do not have"))
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct map identifier
        ignored_any
    }
}

/// The settings that stand among the keys of an answer of this name.
fn settings_of(name: &str) -> Option<Map<String, Value>> {
    match name {
        "ListenerRow" => {
            let mut shown = settings::shown(LISTENER);
            shown.retain(|key, _| !["bind", "pool", "state"].contains(&key.as_str()));
            Some(shown)
        }
        "PoolDetail" => Some(settings::shown(POOL)),
        _ => None,
    }
}

/// The schema of what may be null.
pub(super) fn or_null(mut schema: Value) -> Value {
    let kind = schema.get("type").cloned();
    match kind {
        Some(kind @ Value::String(_)) if schema.get("enum").is_none() => {
            schema["type"] = json!([kind, "null"]);
            schema
        }
        _ => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

/// A list of one.
struct One<'a> {
    items: &'a mut Value,
    is_over: bool,
}

impl<'de> de::SeqAccess<'de> for One<'_> {
    type Error = NoShape;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, NoShape> {
        if core::mem::replace(&mut self.is_over, true) {
            return Ok(None);
        }
        seed.deserialize(Shape(self.items)).map(Some)
    }
}

/// Every field of a struct.
struct Fields<'a> {
    fields: &'static [&'static str],
    next: usize,
    properties: &'a mut Map<String, Value>,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = NoShape;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, NoShape> {
        let Some(field) = self.fields.get(self.next) else { return Ok(None) };
        let key: StrDeserializer<'_, NoShape> = field.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, NoShape> {
        let field = self.fields[self.next];
        self.next += 1;
        let mut schema = Value::Null;
        let read = seed.deserialize(Shape(&mut schema))?;
        self.properties.insert(field.to_owned(), schema);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::answer::{BackendRow, Changed, ListenerRow, Stats};

    #[test]
    fn a_schema_has_every_key_of_its_type() {
        let schema = of::<BackendRow>();
        let property = |name: &str| &schema["properties"][name];
        assert_eq!(property("name"), &json!({"type": "string"}));
        assert_eq!(property("sessions"), &json!({"type": "integer", "minimum": 0}));
        assert_eq!(property("schema"), &json!({"const": "weir/v1"}));
        assert_eq!(property("state")["enum"][0], "up");
        assert_eq!(property("check")["properties"]["since_s"], json!({"type": "number"}));
        let stats = of::<Stats>();
        let percentiles = &stats["properties"]["connect_duration_s"]["type"];
        assert_eq!(percentiles, &json!(["object", "null"]));
        let pools = &stats["properties"]["pools"]["items"]["properties"];
        assert_eq!(pools["sessions_stalled"]["type"], "integer");
    }

    #[test]
    fn settings_stand_among_the_keys() {
        let schema = of::<ListenerRow>();
        let properties = &schema["properties"];
        assert_eq!(properties["max_sessions"]["type"], json!(["integer", "null"]));
        assert_eq!(properties["keepalive"]["properties"]["idle_s"], json!({"type": "number"}));
        assert_eq!(properties["bind"]["type"], "array");
        assert!(properties.get("settings").is_none());
        let changed = of::<Changed>();
        assert_eq!(changed["properties"]["after"]["type"], json!(["object", "null"]));
    }
}
