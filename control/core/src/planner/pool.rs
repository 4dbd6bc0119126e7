//! The verbs of pools.

use weir_proto::request::{Code, Pairs, Refusal};
use weir_proto::settings::{self, OF_KINDS};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::PoolSpec;

use super::settings::POOL;
use super::{Edit, Subject, names};

/// `pool add NAME KEY=VALUE…`
pub(super) fn add(current: &Snapshot, name: &str, pairs: &Pairs) -> Result<Edit, Refusal> {
    let key = names::parse(name)?;
    if current.pool(name).is_some() {
        return Err(Refusal::new(
            Code::Exists,
            format!("there is a pool {name:?} already"),
            format!("weirctl pool show {name}"),
        ));
    }
    let mut pool = PoolSpec::default();
    POOL.set(&mut pool, pairs)?;
    let mut spec = current.spec();
    spec.pool.insert(key, pool.into());
    let mut edit = Edit::new(spec, Subject::Pool(name.to_owned()));
    edit.undo = Some(format!("weirctl pool remove {name}"));
    Ok(edit)
}

/// `pool remove NAME`
pub(super) fn remove(current: &Snapshot, name: &str) -> Result<Edit, Refusal> {
    let pool = names::pool(current, name)?;
    let users = current.listeners.iter().filter(|it| current.leads_to(it, pool.id));
    let users: Vec<&str> = users.map(|listener| listener.name.as_str()).collect();
    if let Some(first) = users.first() {
        let noun = if users.len() == 1 { "listener" } else { "listeners" };
        return Err(Refusal::new(
            Code::Invalid,
            format!("pool {name:?} is used by {noun} {}", users.join(", ")),
            format!("weirctl listener remove {first}, or another pool for it or its routes"),
        ));
    }
    let mut spec = current.spec();
    let removed = spec.pool.remove(name);
    let mut edit = Edit::new(spec, Subject::Pool(name.to_owned()));
    // `add` makes an empty pool; one with backends comes back by a rollback.
    if let Some(removed) = removed.filter(|removed| removed.backend.is_empty()) {
        let settings = POOL.words(&removed, &PoolSpec::default());
        edit.undo = Some(format!("weirctl pool add {name}{settings}"));
    }
    Ok(edit)
}

/// `PUT /api/v1/pools/NAME`. Its backends are objects of their own: it keeps them.
pub(super) fn put(current: &Snapshot, name: &str, pairs: &Pairs) -> Result<Edit, Refusal> {
    let mut spec = current.spec();
    let (key, before) = match spec.pool.remove_entry(name) {
        Some((key, before)) => (key, Some(before)),
        None => (names::parse(name)?, None),
    };
    let mut after = PoolSpec::default();
    POOL.set(&mut after, pairs)?;
    let undo = match before {
        None => format!("weirctl pool remove {name}"),
        Some(before) => {
            let undo = POOL.undo(name, &before, &after);
            after.backend.clone_from(&before.backend);
            undo
        }
    };
    spec.pool.insert(key, after.into());
    let mut edit = Edit::new(spec, Subject::Pool(name.to_owned()));
    edit.undo = Some(undo);
    Ok(edit)
}

/// `pool set NAME KEY=VALUE…`
pub(super) fn set(current: &Snapshot, name: &str, pairs: &Pairs) -> Result<Edit, Refusal> {
    let before = names::pool(current, name)?.spec.without_backends();
    POOL.refuse_nothing(name, pairs, "strategy=least-conn")?;
    let mut spec = current.spec();
    let mut undo = None;
    if let Some(pool) = spec.pool.get_mut(name) {
        POOL.set(pool, pairs)?;
        if pool.health.kind != before.health.kind {
            drop_stray(pool, pairs);
        }
        undo = Some(POOL.undo(name, &before, pool));
    }
    let mut edit = Edit::new(spec, Subject::Pool(name.to_owned()));
    edit.undo = undo;
    Ok(edit)
}

/// A new kind of check has no use for the old one's words, unless they were set with it.
fn drop_stray(pool: &mut PoolSpec, pairs: &Pairs) {
    let plain = PoolSpec::default();
    for (key, kinds) in OF_KINDS {
        // `expect` means something else to each kind, so it never stays.
        let stays = kinds.contains(&pool.health.kind) && *key != "health.expect";
        if let Some(setting) = settings::find(settings::POOL, key)
            && !stays
            && !pairs.iter().any(|(set, _)| set == key)
        {
            (setting.set)(pool, (setting.get)(&plain));
        }
    }
}
