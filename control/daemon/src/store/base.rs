//! The base of a version (ADR 0034) in its document: one more key beside those of the spec, with
//! the difference that makes the base of the spec.
//!
//! ```text
//! {"listener":…,"pool":…,"base":{}}                   the file is what is in force
//! {…,"base":{"pool":{"web":{"strategy":"random"}}}}   an operator has set another strategy
//! {…,"base":{"":true}}                                no file was ever applied
//! {…}                                                 a weir before format 4 has written it
//! ```
//!
//! A difference says with `null` what is gone, and a document has no `null`: it is `{"":true}`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use weir_control_core::record::{Base, Record};
use weir_proto::spec::Spec;

use super::difference;

/// No name and no key of a spec is empty, and a spec has no such key.
const KEY: &str = "base";

/// The base of a version, as its document has it.
pub(super) fn of(record: &Record) -> Result<Value, String> {
    let Some(base) = record.base.as_deref() else { return Ok(gone()) };
    let patch = difference::of_specs(&record.spec, base).map_err(|why| why.to_string())?;
    Ok(without_nulls(patch.ok_or("its base cannot be kept")?))
}

/// The document of a version with this base.
pub(super) fn document(spec: &Spec, base: &Value) -> Result<Value, serde_json::Error> {
    let mut document = serde_json::to_value(spec)?;
    if let Value::Object(fields) = &mut document {
        fields.insert(KEY.to_owned(), base.clone());
    }
    Ok(document)
}

/// Adds what has changed of the base to the difference of two documents.
pub(super) fn also(mut patch: Value, [old, new]: [&Value; 2]) -> Option<Value> {
    if old != new {
        patch.as_object_mut()?.insert(KEY.to_owned(), difference::between(old, new)?);
    }
    Some(patch)
}

/// The content of a document.
pub(super) struct Read {
    pub(super) spec: Spec,
    /// `None` if a weir before format 4 has written it.
    pub(super) base: Option<Base>,
    /// The same as the document has it.
    pub(super) value: Value,
}

/// Reads a document.
pub(super) fn read(mut document: Value) -> Result<Read, String> {
    let parse = |value: &Value| Spec::deserialize(value).map_err(|why| why.to_string());
    let patch = document.as_object_mut().and_then(|fields| fields.remove(KEY));
    let spec = parse(&document)?;
    let value = patch.clone().unwrap_or_default();
    let base = match patch {
        None => None,
        Some(patch) if patch == gone() => Some(None),
        Some(Value::Object(patch)) if patch.is_empty() => Some(Some(Arc::new(spec.clone()))),
        Some(patch) => {
            difference::apply(&mut document, with_nulls(patch));
            let mut base = parse(&document)?;
            base.share_with(&spec);
            Some(Some(Arc::new(base)))
        }
    };
    Ok(Read { spec, base, value })
}

fn gone() -> Value {
    json!({ "": true })
}

fn without_nulls(patch: Value) -> Value {
    each(patch, |value| if value.is_null() { gone() } else { value })
}

fn with_nulls(patch: Value) -> Value {
    each(patch, |value| if value == gone() { Value::Null } else { value })
}

/// Replaces every value below, the innermost ones first.
fn each(value: Value, by: fn(Value) -> Value) -> Value {
    let Value::Object(fields) = value else { return by(value) };
    by(Value::Object(fields.into_iter().map(|(key, value)| (key, each(value, by))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    #[test]
    fn a_document_gives_back_the_spec_and_the_base() {
        let (two, three) = (record(2), record(3));
        let base = |spec: &Spec| Some(Arc::new(spec.clone()));
        let written = |record: &Record| document(&record.spec, &of(record).unwrap()).unwrap();
        for base in [None, base(&two.spec), base(&three.spec), base(&Spec::default())] {
            for record in [two.clone(), three.clone()] {
                let record = record.with_base(base.clone());
                let read = read(written(&record)).unwrap();
                assert_eq!((read.spec, read.base), (record.spec, Some(base.clone())));
            }
        }
        let same = written(&two.clone().with_base(base(&two.spec)));
        assert_eq!(same[KEY], json!({}), "what is the same costs nothing");
        let more = written(&three.clone().with_base(base(&two.spec)));
        assert_eq!(more[KEY], json!({ "pool": { "web": { "backend": { "b2": { "": true } } } } }));
        let old = read(serde_json::to_value(&two.spec).unwrap()).unwrap();
        assert_eq!((old.spec, old.base), (two.spec, None));
    }
}
