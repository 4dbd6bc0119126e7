//! The verbs of backends.

use std::collections::BTreeSet;

use weir_proto::address::Address;
use weir_proto::request::{BackendAct, Code, Pairs, Refusal};
use weir_proto::settings::Plain;
use weir_proto::shell;
use weir_proto::snapshot::{Backend, Pool, Snapshot};
use weir_proto::spec::{Admin, BackendSpec, Spec};

use super::settings::BACKEND;
use super::{Edit, Subject, names};

/// The most backends that the way back names one by one.
const UNDO_MAX: usize = 16;

/// `backend add P/B ADDRESS KEY=VALUE…`
pub(super) fn add(
    current: &Snapshot,
    name: &str,
    address: &str,
    pairs: &Pairs,
) -> Result<Edit, Refusal> {
    let (pool_name, backend_name) = names::split(name)?;
    let key = names::parse(backend_name)?;
    let pool = names::pool(current, pool_name)?;
    if let Some(there) = pool.backend(backend_name) {
        return Err(Refusal::new(
            Code::Exists,
            format!("there is a backend {name:?} already, at {}", there.address),
            format!("weirctl backend show {name}"),
        ));
    }
    let address = address.parse::<Address>().map_err(|why| {
        Refusal::new(
            Code::Invalid,
            format!("{why} (names are not resolved)"),
            format!("weirctl backend add {name} 10.0.0.11:443"),
        )
    })?;
    let mut spec = current.spec();
    let mut backend = BackendSpec::new(address);
    BACKEND.set(&mut backend, pairs)?;
    if let Some(pool) = spec.pool.get_mut(pool_name) {
        pool.backend.insert(key, backend);
    }
    let mut edit = Edit::new(spec, subject(pool_name, backend_name));
    edit.undo = Some(format!("weirctl backend remove {name}"));
    Ok(edit)
}

/// `backend remove P/B [--force]`
pub(super) fn remove(current: &Snapshot, name: &str, force: bool) -> Result<Edit, Refusal> {
    let (pool, backend) = names::backend(current, name)?;
    let mut spec = current.spec();
    if let Some(pool) = spec.pool.get_mut(pool.name.as_str()) {
        pool.backend.remove(backend.name.as_str());
    }
    let mut edit = Edit::new(spec, subject(pool.name.as_str(), backend.name.as_str()));
    let settings = BACKEND.words(&backend.spec(), &BackendSpec::new(backend.address));
    let address = shell::word(&backend.address.to_string());
    edit.undo = Some(format!("weirctl backend add {name} {address}{settings}"));
    edit.kills.extend(force.then_some(backend.id));
    Ok(edit)
}

/// `backend set P/B KEY=VALUE…`
pub(super) fn set(current: &Snapshot, name: &str, pairs: &Pairs) -> Result<Edit, Refusal> {
    let (pool, backend) = names::backend(current, name)?;
    BACKEND.refuse_nothing(name, pairs, "weight=2")?;
    let before = backend.spec();
    let mut after = before.clone();
    BACKEND.set(&mut after, pairs)?;
    let undo = BACKEND.undo(name, &before, &after);
    let mut edit = change(current, (pool, backend), |spec| *spec = after);
    edit.undo = Some(undo);
    Ok(edit)
}

/// `PUT /api/v1/backends/POOL/NAME`
pub(super) fn put(current: &Snapshot, name: &str, pairs: &Pairs) -> Result<Edit, Refusal> {
    let (pool_name, backend_name) = names::split(name)?;
    let pool = names::pool(current, pool_name)?;
    let there = pool.backend(backend_name);
    if let Some(there) = there.filter(|there| there.is_discovered) {
        return Err(names::discovered(pool, there));
    }
    let before = there.map(Backend::spec);
    let key = there.map_or_else(|| names::parse(backend_name), |it| Ok(it.name.clone()))?;
    BACKEND.refuse_incomplete(name, pairs)?;
    // Its address is among the settings.
    let mut after = BackendSpec::plain();
    BACKEND.set(&mut after, pairs)?;
    let undo = match before {
        None => format!("weirctl backend remove {name}"),
        Some(before) => BACKEND.undo(name, &before, &after),
    };
    let mut spec = current.spec();
    if let Some(pool) = spec.pool.get_mut(pool_name) {
        pool.backend.insert(key, after);
    }
    let mut edit = Edit::new(spec, subject(pool_name, backend_name));
    edit.undo = Some(undo);
    Ok(edit)
}

/// `backend drain|maint|ready P/B`
pub(super) fn state(current: &Snapshot, name: &str, state: Admin) -> Result<Edit, Refusal> {
    let (pool, backend) = names::backend(current, name)?;
    let mut edit = change(current, (pool, backend), |spec| spec.state = state);
    edit.undo = Some(format!("weirctl backend {} {name}", backend.configured.admin.word()));
    Ok(edit)
}

/// `backend weight P/B N`
pub(super) fn weight(current: &Snapshot, name: &str, weight: u16) -> Result<Edit, Refusal> {
    let (pool, backend) = names::backend(current, name)?;
    let mut edit = change(current, (pool, backend), |spec| spec.weight = weight);
    edit.undo = Some(format!("weirctl backend weight {name} {}", backend.configured.weight));
    Ok(edit)
}

/// `backend drain|maint|ready|weight|remove P/B…`: all of them, or none.
pub(super) fn several(
    current: &Snapshot,
    names: &[String],
    act: BackendAct,
) -> Result<Edit, Refusal> {
    if names.is_empty() {
        let hint = "name one at least, such as web/b1";
        return Err(Refusal::new(Code::Invalid, "no backend is named", hint));
    }
    let mut spec: Spec = current.spec();
    let mut words = BTreeSet::new();
    let mut kills = BTreeSet::new();
    for name in names {
        let (pool, backend) = names::backend(current, name)?;
        if act == (BackendAct::Remove { force: true }) {
            kills.insert(backend.id);
        }
        let Some(pool) = spec.pool.get_mut(pool.name.as_str()) else { continue };
        let (word, key) = (backend.configured.admin.word(), backend.name.as_str());
        match act {
            BackendAct::State(_) => words.insert(word.to_owned()),
            BackendAct::Weight(_) => words.insert(backend.configured.weight.to_string()),
            BackendAct::Remove { .. } => pool.backend.remove(key).is_some(),
        };
        let Some(entry) = pool.backend.get_mut(key) else { continue };
        match act {
            BackendAct::State(state) => entry.state = state,
            BackendAct::Weight(weight) => entry.weight = weight,
            BackendAct::Remove { .. } => {}
        }
    }
    let mut edit = Edit::new(spec, Subject::Whole);
    edit.kills = kills.into_iter().collect();
    // If they were alike, and fit into a line; else the version before is the way back.
    if let (Some(word), 1, true) = (words.first(), words.len(), names.len() <= UNDO_MAX) {
        let names = names.join(" ");
        edit.undo = Some(match act {
            BackendAct::Weight(_) => format!("weirctl backend weight {names} {word}"),
            _ => format!("weirctl backend {word} {names}"),
        });
    }
    Ok(edit)
}

fn change(
    current: &Snapshot,
    (pool, backend): (&Pool, &Backend),
    with: impl FnOnce(&mut BackendSpec),
) -> Edit {
    let mut spec: Spec = current.spec();
    let pools = spec.pool.get_mut(pool.name.as_str());
    if let Some(entry) = pools.and_then(|pool| pool.backend.get_mut(backend.name.as_str())) {
        with(entry);
    }
    Edit::new(spec, subject(pool.name.as_str(), backend.name.as_str()))
}

fn subject(pool: &str, backend: &str) -> Subject {
    Subject::Backend(pool.to_owned(), backend.to_owned())
}
