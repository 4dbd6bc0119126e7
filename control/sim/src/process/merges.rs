//! No act of an operator is lost by a file that does not speak of it. This goes by single keys, and
//! knows nothing of how the planner merges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_control_core::file;
use weir_control_core::record::Base;
use weir_proto::request::{ApplyMode, ChangeRequest};
use weir_proto::settings::{BACKEND, LISTENER, POOL, Setting};
use weir_proto::spec::Spec;

use super::StepResult;

/// A version: what is in force, and the file as it was last applied.
pub(super) type Made = (Spec, Base);

/// The base after a request, if it was `before` and the version that a rollback names is `to`.
pub(super) fn base_after(request: &ChangeRequest, before: &Base, to: impl Fn(u64) -> Base) -> Base {
    match request {
        ChangeRequest::Apply { mode: ApplyMode::Partial | ApplyMode::Edit, .. } => before.clone(),
        ChangeRequest::Apply { toml, .. } => {
            file::parse(toml, "a file").ok().map(|file| Arc::new(file.spec))
        }
        ChangeRequest::Rollback { version } => to(*version),
        _ => before.clone(),
    }
}

/// Compares what a file has made with the file before it, the file, and what was in force.
///
/// # Errors
/// A key is neither as the file changed it nor as it was.
pub(super) fn check_merge(
    request: &ChangeRequest,
    (ours, base): &Made,
    (next, file): &Made,
) -> StepResult {
    let ChangeRequest::Apply { mode, .. } = request else { return Ok(()) };
    let nothing = Spec::default();
    let sides = [base.as_deref(), file.as_deref(), Some(ours), Some(next)];
    let [base, file, ours, next] = sides.map(|side| flat(side.unwrap_or(&nothing)));
    let all: BTreeSet<_> =
        [&base, &file, &ours, &next].into_iter().flat_map(|it| it.keys()).collect();
    for key in all {
        let [base_has, file_has, ours_has, next_has] =
            [&base, &file, &ours, &next].map(|side| side.get(key));
        let there = |side: &Keys| side.contains_key(&(key.0.clone(), ""));
        // A listener whose pool the file takes away is as the file has it.
        let pool = key.0.starts_with("listener ").then(|| ours.get(&(key.0.clone(), "pool")));
        let loses_pool =
            pool.flatten().is_some_and(|pool| !next.contains_key(&(format!("pool {pool}"), "")));
        let wanted = match mode {
            ApplyMode::Replace => file_has,
            ApplyMode::Merge if base_has == file_has => ours_has,
            ApplyMode::Merge if base_has == ours_has => file_has,
            // Who drains what the file removes has said the same. What both have added is merged
            // against the defaults: a key that is at its default was not changed by them.
            ApplyMode::Ours
                if ours_has != base_has
                    && (key.1 != "state" || there(&file))
                    && (there(&base) || !there(&file)) =>
            {
                ours_has
            }
            // What the file brings back, or takes along with its pool, it has spoken of.
            ApplyMode::Theirs
                if base_has == file_has
                    && there(&base)
                    && there(&file)
                    && there(&ours)
                    && !loses_pool =>
            {
                ours_has
            }
            ApplyMode::Merge | ApplyMode::Ours | ApplyMode::Theirs => continue,
            // No sides of a merge: unit tests hold what they set.
            ApplyMode::Partial | ApplyMode::Edit => return Ok(()),
        };
        if next_has != wanted {
            let (object, key) = key;
            return Err(format!(
                "{object} {key} is {next_has:?} after a file was applied ({mode:?}), not \
                 {wanted:?}: {base_has:?} in the file before, {file_has:?} in the file, {ours_has:?} in force"
            ));
        }
    }
    Ok(())
}

/// The value of each key of each object. The key of an object itself is empty.
type Keys = BTreeMap<(String, &'static str), String>;

fn flat(spec: &Spec) -> Keys {
    let mut keys = Keys::new();
    for (name, listener) in &spec.listener {
        put(LISTENER, &format!("listener {name}"), listener, &mut keys);
    }
    for (name, pool) in &spec.pool {
        put(POOL, &format!("pool {name}"), pool, &mut keys);
        for (backend, it) in &pool.backend {
            put(BACKEND, &format!("backend {name}/{backend}"), it, &mut keys);
        }
    }
    keys
}

fn put<S>(table: &[Setting<S>], object: &str, of: &S, keys: &mut Keys) {
    keys.insert((object.to_owned(), ""), "there".to_owned());
    for setting in table {
        if let Some(value) = (setting.get)(of) {
            keys.insert((object.to_owned(), setting.key), value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_that_a_file_loses_is_found() {
        let file = |weight: u16, strategy: &str| {
            format!(
                "[pool.web]\nstrategy = \"{strategy}\"\n[pool.web.backend]\n\
                 b1 = {{ address = \"10.0.0.1:1\", weight = {weight} }}\n"
            )
        };
        let spec = |toml: &str| file::parse(toml, "x").unwrap().spec;
        let base = Some(Arc::new(spec(&file(1, "random"))));
        let applied = file(1, "maglev");
        let check = |mode, next: &str| {
            let (toml, origin) = (applied.clone(), "x".to_owned());
            let request = ChangeRequest::Apply { toml, origin, mode, force: false };
            let after = base_after(&request, &base, |_| None);
            check_merge(&request, &(spec(&file(7, "random")), base.clone()), &(spec(next), after))
        };
        let merged = file(7, "maglev");
        for mode in [ApplyMode::Merge, ApplyMode::Ours, ApplyMode::Theirs] {
            assert_eq!(check(mode, &merged), Ok(()));
            let lost = check(mode, &applied).unwrap_err();
            assert!(lost.starts_with("backend web/b1 weight is Some(\"1\")"), "{lost}");
        }
        assert_eq!(check(ApplyMode::Replace, &applied), Ok(()));
        assert!(check(ApplyMode::Replace, &merged).is_err());
        assert!(check(ApplyMode::Merge, &file(7, "random")).is_err(), "the file said so");
    }
}
