//! What changed from one JSON value to the next, as a merge patch (RFC 7396): objects are merged,
//! `null` takes a key away, everything else is put in the place of what was there.

use serde_json::{Map, Value};
use weir_proto::spec::Spec;

/// The patch that makes the JSON of `new` of that of `old`. What both have alike is passed over:
/// a change is seldom of more than one pool among many.
pub(super) fn of_specs(old: &Spec, new: &Spec) -> Result<Option<Value>, serde_json::Error> {
    let unlike = |spec: &Spec, other: &Spec| {
        let listeners = spec.listener.iter();
        let listeners = listeners.filter(|(name, it)| other.listener.get(*name) != Some(it));
        let pools = spec.pool.iter();
        let pools = pools.filter(|(name, it)| other.pool.get(*name) != Some(it));
        serde_json::to_value(Spec {
            listener: listeners.map(|(name, it)| (name.clone(), it.clone())).collect(),
            pool: pools.map(|(name, it)| (name.clone(), it.clone())).collect(),
        })
    };
    Ok(between(&unlike(old, new)?, &unlike(new, old)?))
}

/// The patch that makes `new` of `old`. `None` if there is none: `new` has a `null` in it.
pub(super) fn between(old: &Value, new: &Value) -> Option<Value> {
    let patch = difference(old, new);
    // What does not give the new value exactly is never kept.
    let mut made = old.clone();
    apply(&mut made, patch.clone());
    (made == *new).then_some(patch)
}

fn difference(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return new.clone() };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before) => drop(patch.insert(key.clone(), difference(before, value))),
            None => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(patch)
}

/// Makes the next value of this one.
pub(super) fn apply(value: &mut Value, patch: Value) {
    let Value::Object(changes) = patch else {
        *value = patch;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(fields) = value else { return };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(&key);
        } else {
            apply(fields.entry(key).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_gives_the_new_value_and_says_no_more_than_that() {
        let cases = [
            (r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{"a":1,"b":{"c":2,"d":4}}"#, r#"{"b":{"d":4}}"#),
            (r#"{"a":1,"b":2}"#, r#"{"b":2}"#, r#"{"a":null}"#),
            (r#"{}"#, r#"{"a":{"b":{}}}"#, r#"{"a":{"b":{}}}"#),
            (r#"{"a":[1,2]}"#, r#"{"a":[1,3]}"#, r#"{"a":[1,3]}"#),
            (r#"{"a":"x"}"#, r#"{"a":{"b":1}}"#, r#"{"a":{"b":1}}"#),
            (r#"{"a":{"b":1}}"#, r#"{"a":"x"}"#, r#"{"a":"x"}"#),
            (r#"{"a":{"b":1}}"#, r#"{"a":{}}"#, r#"{"a":{"b":null}}"#),
            (r#"{"a":1}"#, r#"{"a":1}"#, r#"{}"#),
        ];
        for (old, new, patch) in cases {
            let [old, new, patch] = [old, new, patch].map(|text| {
                let value: Value = serde_json::from_str(text).unwrap();
                value
            });
            assert_eq!(between(&old, &new), Some(patch.clone()), "{old} → {new}");
            let mut made = old.clone();
            apply(&mut made, patch);
            assert_eq!(made, new);
        }
    }

    #[test]
    fn a_value_with_a_null_has_no_difference() {
        let [old, new]: [Value; 2] =
            [r#"{"a":1}"#, r#"{"a":null}"#].map(|text| serde_json::from_str(text).unwrap());
        assert_eq!(between(&old, &new), None);
        assert_eq!(between(&new, &old), Some(old));
    }
}
