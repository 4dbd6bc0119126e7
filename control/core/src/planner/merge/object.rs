//! Listeners, pools and backends as the merge sees them: settings by key, and objects below.

use core::fmt;
use std::collections::BTreeMap;

use weir_proto::conflict::{Conflict, Drift};
use weir_proto::settings::{BACKEND, LISTENER, OF_KINDS, POOL, Plain, Setting, Value};
use weir_proto::spec::{Admin, BackendSpec, CopyOnWrite, ListenerSpec, Name, PoolSpec};

use super::{Merge, differences, text};

/// An object with settings, and perhaps with objects below it.
pub(super) trait Object: Clone + PartialEq + Sized + 'static {
    const TABLE: &'static [Setting<Self>];

    /// The value of a key that nothing says. `None` for one that has to be said.
    fn value_if_absent(setting: &Setting<Self>) -> Option<Value>;

    /// True for the keys that make sense together only.
    fn goes_together(_key: &str) -> bool {
        false
    }

    /// The state that an operator wants, if the object has one.
    fn state(&self) -> Option<Admin>;

    /// The object in a few words, as a value of a conflict.
    fn brief(&self) -> String;

    /// Merges what is below: of the base, the file, and in force.
    fn merge_below(&mut self, _merge: &mut Merge, _called: Called<'_>, _sides: [Option<&Self>; 3]) {
    }

    fn drift_below(_called: Called<'_>, _sides: [&Self; 2], _rows: &mut Vec<Drift>) {}

    /// As [`acts_against_removal`], of what is below.
    fn acts_below(_called: Called<'_>, _base: &Self, _ours: &Self) -> Vec<Conflict> {
        Vec::new()
    }
}

/// A place in the maps of a spec, which holds one object.
pub(super) trait Place<O: Object>: Clone + PartialEq + From<O> {
    fn held(&self) -> &O;
}

impl<O: Object> Place<O> for O {
    fn held(&self) -> &O {
        self
    }
}

impl Place<PoolSpec> for CopyOnWrite<PoolSpec> {
    fn held(&self) -> &PoolSpec {
        self
    }
}

impl Object for ListenerSpec {
    const TABLE: &'static [Setting<ListenerSpec>] = LISTENER;

    fn value_if_absent(setting: &Setting<ListenerSpec>) -> Option<Value> {
        let plain = ListenerSpec::new("any".parse().ok()?, Vec::new());
        (!["bind", "pool"].contains(&setting.key)).then(|| (setting.get)(&plain))?
    }

    fn state(&self) -> Option<Admin> {
        Some(self.state)
    }

    fn brief(&self) -> String {
        let bind: Vec<_> = self.bind.iter().map(ToString::to_string).collect();
        format!("bind={} pool={}", bind.join(","), self.pool)
    }
}

impl Object for BackendSpec {
    const TABLE: &'static [Setting<BackendSpec>] = BACKEND;

    fn value_if_absent(setting: &Setting<BackendSpec>) -> Option<Value> {
        let plain = BackendSpec::plain();
        (setting.key != "address").then(|| (setting.get)(&plain))?
    }

    fn state(&self) -> Option<Admin> {
        Some(self.state)
    }

    fn brief(&self) -> String {
        let BackendSpec { address, weight, priority, state, force, .. } = self;
        let BackendSpec { max_sessions, connecting, connect_rate, .. } = self;
        let state = state.word();
        let mut brief = format!("address={address} weight={weight} state={state}");
        if *priority != 0 {
            brief += &format!(" priority={priority}");
        }
        if let Some(force) = force {
            brief += &format!(" force={}", force.word());
        }
        if let Some(most) = max_sessions {
            brief += &format!(" max-sessions={most}");
        }
        if let Some(most) = connecting {
            brief += &format!(" connecting={most}");
        }
        if let Some(rate) = connect_rate {
            brief += &format!(" connect-rate={rate}");
        }
        brief
    }
}

impl Object for PoolSpec {
    const TABLE: &'static [Setting<PoolSpec>] = POOL;

    fn value_if_absent(setting: &Setting<PoolSpec>) -> Option<Value> {
        (setting.get)(&PoolSpec::default())
    }

    fn goes_together(key: &str) -> bool {
        key == "health.kind" || OF_KINDS.iter().any(|(of_kind, _)| *of_kind == key)
    }

    fn state(&self) -> Option<Admin> {
        None
    }

    fn brief(&self) -> String {
        format!("strategy={} backends={}", self.strategy, self.backend.len())
    }

    fn merge_below(&mut self, merge: &mut Merge, called: Called<'_>, sides: [Option<&Self>; 3]) {
        let none = BTreeMap::new();
        let sides = sides.map(|side| side.map_or(&none, |pool| &pool.backend));
        self.backend = merge.all(|name| called.below(name), sides);
    }

    fn drift_below(called: Called<'_>, [file, ours]: [&Self; 2], rows: &mut Vec<Drift>) {
        differences(|name| called.below(name), [&file.backend, &ours.backend], rows);
    }

    fn acts_below(called: Called<'_>, base: &Self, ours: &Self) -> Vec<Conflict> {
        let of_backend = |(name, ours): (&Name, &BackendSpec)| {
            let called = called.below(name);
            match base.backend.get(name) {
                Some(base) => acts_against_removal(called, base, ours),
                None => vec![called.conflict([None, None, Some(ours.brief())])],
            }
        };
        ours.backend.iter().flat_map(of_backend).collect()
    }
}

/// The acts of operators on an object that the file takes away, which therefore must not go
/// unnoticed. To drain it, or to take it into maintenance, is the usual way to removing it.
pub(super) fn acts_against_removal<O: Object>(
    called: Called<'_>,
    base: &O,
    ours: &O,
) -> Vec<Conflict> {
    let is_parting = ours.state().is_some_and(|state| !state.is_ready());
    let acts = O::TABLE.iter().filter(|setting| (setting.get)(base) != (setting.get)(ours));
    let acts = acts.filter(|setting| !(is_parting && setting.key == "state"));
    let of_key = |setting: &Setting<O>| Conflict {
        object: called.to_string(),
        key: setting.key.to_owned(),
        base: Some(text(setting, base)),
        file: None,
        in_force: Some(text(setting, ours)),
    };
    acts.map(of_key).chain(O::acts_below(called, base, ours)).collect()
}

/// The kind of an object and its name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Called<'a> {
    Listener(&'a Name),
    Pool(&'a Name),
    Backend(&'a Name, &'a Name),
}

impl<'a> Called<'a> {
    /// An object below this one. Only pools have such.
    fn below(self, name: &'a Name) -> Called<'a> {
        let (Called::Listener(above) | Called::Pool(above) | Called::Backend(above, _)) = self;
        Called::Backend(above, name)
    }

    /// A conflict about the object as a whole: in the base, in the file, in force.
    pub(super) fn conflict(self, [base, file, in_force]: [Option<String>; 3]) -> Conflict {
        Conflict { object: self.to_string(), key: String::new(), base, file, in_force }
    }
}

impl fmt::Display for Called<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Called::Listener(name) => write!(f, "listener {name}"),
            Called::Pool(name) => write!(f, "pool {name}"),
            Called::Backend(pool, name) => write!(f, "backend {pool}/{name}"),
        }
    }
}
