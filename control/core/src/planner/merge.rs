//! Three ways to one configuration: the file as it was last applied (the base), the file as it is
//! now, and what is in force.
//!
//! Each key is decided by itself. A key that only one side has changed since the base is as that
//! side has it. A key that both have changed to different values is a conflict. The settings of a
//! health check that mean something to some kinds only go together with its kind.
//!
//! | base | file | in force | the merge |
//! |---|---|---|---|
//! | – | there | – | added |
//! | – | – | there | stays: an operator has added it |
//! | – | there | there | key by key, against the defaults |
//! | there | – | as in the base, or drained | removed |
//! | there | – | changed otherwise | conflict |
//! | there | as in the base | – | stays removed: an operator has removed it |
//! | there | changed | – | conflict |
//! | there | there | there | key by key |
//!
//! A pool counts with its backends. A pool that one side removes and a listener of the other side
//! uses is a conflict, too.

mod object;

use std::collections::{BTreeMap, BTreeSet};

use weir_proto::conflict::{Conflict, Drift};
use weir_proto::settings::Setting;
use weir_proto::spec::{ListenerSpec, Name, Spec};

use object::{Called, Object, Place};

/// The fate of a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// There is no merge.
    Refuse,
    /// The configuration in force stays.
    Ours,
    /// The file counts.
    Theirs,
}

/// Merges `file` into `ours`, which is in force; `base` is the file as it was last applied.
///
/// # Errors
/// Every conflict; none unless `on_conflict` is [`OnConflict::Refuse`].
pub fn merge(
    base: &Spec,
    file: &Spec,
    ours: &Spec,
    on_conflict: OnConflict,
) -> Result<Spec, Vec<Conflict>> {
    let mut merge = Merge { on_conflict, conflicts: Vec::new() };
    let mut merged = Spec {
        listener: merge.all(Called::Listener, [&base.listener, &file.listener, &ours.listener]),
        pool: merge.all(Called::Pool, [&base.pool, &file.pool, &ours.pool]),
    };
    merge.pools_of_listeners(&mut merged, [base, file, ours]);
    if merge.conflicts.is_empty() { Ok(merged) } else { Err(merge.conflicts) }
}

/// Every key in which `ours`, which is in force, differs from the file. An object that only one of
/// them has is one row.
#[must_use]
pub fn drift(file: &Spec, ours: &Spec) -> Vec<Drift> {
    let mut rows = Vec::new();
    if file != ours {
        differences(Called::Listener, [&file.listener, &ours.listener], &mut rows);
        differences(Called::Pool, [&file.pool, &ours.pool], &mut rows);
    }
    rows
}

fn differences<'a, O: Object, P: Place<O>>(
    called: impl Fn(&'a Name) -> Called<'a>,
    [file, ours]: [&'a BTreeMap<Name, P>; 2],
    rows: &mut Vec<Drift>,
) {
    for name in file.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
        let called = called(name);
        match (file.get(name), ours.get(name)) {
            (Some(file), Some(ours)) if file == ours => {}
            (Some(file), Some(ours)) => {
                let (file, ours) = (file.held(), ours.held());
                let differ = O::TABLE.iter().filter(|it| (it.get)(file) != (it.get)(ours));
                rows.extend(differ.map(|setting| Drift {
                    object: called.to_string(),
                    key: setting.key.to_owned(),
                    file: Some(text(setting, file)),
                    in_force: Some(text(setting, ours)),
                }));
                O::drift_below(called, [file, ours], rows);
            }
            (file, ours) => rows.push(Drift {
                object: called.to_string(),
                key: String::new(),
                file: file.map(|it| it.held().brief()),
                in_force: ours.map(|it| it.held().brief()),
            }),
        }
    }
}

/// A merge under way.
struct Merge {
    on_conflict: OnConflict,
    conflicts: Vec<Conflict>,
}

impl Merge {
    /// Merges all objects of one kind: of the base, the file, and in force.
    fn all<'a, O: Object, P: Place<O>>(
        &mut self,
        called: impl Fn(&'a Name) -> Called<'a>,
        [base, file, ours]: [&'a BTreeMap<Name, P>; 3],
    ) -> BTreeMap<Name, P> {
        if file == base {
            return ours.clone();
        }
        let names: BTreeSet<&Name> = file.keys().chain(ours.keys()).collect();
        let merged = names.into_iter().filter_map(|name| {
            let sides = (base.get(name), file.get(name), ours.get(name));
            Some((name.clone(), self.one(called(name), sides)?))
        });
        merged.collect()
    }

    fn one<O: Object, P: Place<O>>(
        &mut self,
        called: Called<'_>,
        sides: (Option<&P>, Option<&P>, Option<&P>),
    ) -> Option<P> {
        match sides {
            (_, None, None) => None,
            (None, there, None) | (None, None, there) => there.cloned(),
            // The operator has removed it.
            (Some(base), Some(file), None) => {
                if file == base {
                    return None;
                }
                let sides = [Some(base.held().brief()), Some(file.held().brief()), None];
                self.decide([called.conflict(sides)], None, Some(file.clone()))
            }
            // The file has removed it.
            (Some(base), None, Some(ours)) => {
                let acts = object::acts_against_removal(called, base.held(), ours.held());
                if acts.is_empty() {
                    return None;
                }
                self.decide(acts, Some(ours.clone()), None)
            }
            (base, Some(file), Some(ours)) => Some(self.both(called, base, [file, ours])),
        }
    }

    /// Merges an object that is in the file and in force, key by key.
    fn both<O: Object, P: Place<O>>(
        &mut self,
        called: Called<'_>,
        base: Option<&P>,
        [file, ours]: [&P; 2],
    ) -> P {
        if base == Some(file) || file == ours {
            return ours.clone();
        }
        if base == Some(ours) {
            return file.clone();
        }
        P::from(self.by_key(called, base.map(P::held), [file.held(), ours.held()]))
    }

    fn by_key<O: Object>(
        &mut self,
        called: Called<'_>,
        base: Option<&O>,
        [file, ours]: [&O; 2],
    ) -> O {
        let in_base = |setting: &Setting<O>| match base {
            Some(base) => (setting.get)(base),
            None => O::value_if_absent(setting),
        };
        let has_changed = |side: &O, setting: &Setting<O>| {
            let together = O::goes_together(setting.key);
            let mut keys = O::TABLE.iter().filter(|other| {
                other.key == setting.key || together && O::goes_together(other.key)
            });
            keys.any(|key| (key.get)(side) != in_base(key))
        };
        let mut merged = ours.clone();
        for setting in O::TABLE {
            let (theirs, own) = ((setting.get)(file), (setting.get)(ours));
            if theirs == own || !has_changed(file, setting) {
                continue;
            }
            if !has_changed(ours, setting) {
                (setting.set)(&mut merged, theirs);
                continue;
            }
            let conflict = Conflict {
                object: called.to_string(),
                key: setting.key.to_owned(),
                base: in_base(setting).map(|value| value.to_string()),
                file: Some(text(setting, file)),
                in_force: Some(text(setting, ours)),
            };
            let value = self.decide([conflict], own, theirs);
            (setting.set)(&mut merged, value);
        }
        merged.merge_below(self, called, [base, Some(file), Some(ours)]);
        merged
    }

    fn decide<T>(
        &mut self,
        conflicts: impl IntoIterator<Item = Conflict>,
        ours: T,
        theirs: T,
    ) -> T {
        match self.on_conflict {
            OnConflict::Refuse => {
                self.conflicts.extend(conflicts);
                ours
            }
            OnConflict::Ours => ours,
            OnConflict::Theirs => theirs,
        }
    }

    /// A pool that one side has removed, and that a listener of the other side uses, is a conflict.
    /// The side that is taken gets its pool, or its listener.
    fn pools_of_listeners(&mut self, merged: &mut Spec, [base, file, ours]: [&Spec; 3]) {
        // The side's pool, its listener, the pool of that: no more rounds can be needed.
        for _ in 0..3 {
            let without = |(name, it): (&Name, &ListenerSpec)| {
                let is_lost = |pool: &&Name| {
                    let known = [file, ours].iter().any(|side| side.pool.contains_key(*pool));
                    known && !merged.pool.contains_key(*pool)
                };
                let pool = it.pools().find(is_lost)?;
                Some((name.clone(), pool.clone()))
            };
            let lost: Vec<_> = merged.listener.iter().filter_map(without).collect();
            for (listener, pool) in &lost {
                let side = match self.on_conflict {
                    OnConflict::Refuse => {
                        let used = Some(format!("used by listener {listener}"));
                        let before = base.pool.get(pool).map(|pool| pool.brief());
                        let (in_file, in_force) =
                            if ours.pool.contains_key(pool) { (None, used) } else { (used, None) };
                        let sides = [before, in_file, in_force];
                        self.conflicts.push(Called::Pool(pool).conflict(sides));
                        continue;
                    }
                    OnConflict::Ours => ours,
                    OnConflict::Theirs => file,
                };
                if let Some(found) = side.pool.get(pool) {
                    merged.pool.insert(pool.clone(), found.clone());
                } else if let Some(found) = side.listener.get(listener) {
                    merged.listener.insert(listener.clone(), found.clone());
                } else {
                    merged.listener.remove(listener);
                }
            }
            if lost.is_empty() || self.on_conflict == OnConflict::Refuse {
                return;
            }
        }
    }
}

fn text<O>(setting: &Setting<O>, of: &O) -> String {
    (setting.get)(of).map_or_else(|| "none".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests;
