//! The verbs of listeners.

use std::net::SocketAddr;

use weir_proto::request::{Code, Pairs, Refusal};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::{Admin, ListenerSpec};

use super::settings::LISTENER;
use super::{Edit, Subject, names};

/// `listener add NAME BIND… --pool POOL KEY=VALUE…`
pub(super) fn add(
    current: &Snapshot,
    name: &str,
    (bind, pool): (&[String], &str),
    pairs: &Pairs,
) -> Result<Edit, Refusal> {
    let key = names::parse(name)?;
    if current.listener(name).is_some() {
        return Err(Refusal::new(
            Code::Exists,
            format!("there is a listener {name:?} already"),
            format!("weirctl listener show {name}"),
        ));
    }
    let pool = names::pool(current, pool)?;
    let bind = bind.iter().map(|text| address(name, text)).collect::<Result<Vec<_>, _>>()?;
    let mut spec = current.spec();
    let mut listener = ListenerSpec::new(pool.name.clone(), bind);
    LISTENER.set(&mut listener, pairs)?;
    spec.listener.insert(key, listener);
    let mut edit = Edit::new(spec, Subject::Listener(name.to_owned()));
    edit.undo = Some(format!("weirctl listener remove {name}"));
    Ok(edit)
}

/// `listener remove NAME`
pub(super) fn remove(current: &Snapshot, name: &str) -> Result<Edit, Refusal> {
    let listener = names::listener(current, name)?;
    let mut spec = current.spec();
    let removed = spec.listener.remove(name);
    let mut edit = Edit::new(spec, Subject::Listener(name.to_owned()));
    edit.undo = removed.map(|removed| {
        let pool = &removed.pool;
        let bind: Vec<String> = listener.bind.iter().map(ToString::to_string).collect();
        let plain = ListenerSpec::new(pool.clone(), listener.bind.clone());
        let settings = LISTENER.words(&removed, &plain);
        format!("weirctl listener add {name} {} --pool {pool}{settings}", bind.join(" "))
    });
    Ok(edit)
}

/// `listener set NAME KEY=VALUE…`
pub(super) fn set(current: &Snapshot, name: &str, pairs: &Pairs) -> Result<Edit, Refusal> {
    let before = current.listener_spec(names::listener(current, name)?);
    LISTENER.refuse_nothing(name, pairs, "max-sessions=10000")?;
    let mut after = before.clone();
    LISTENER.set(&mut after, pairs)?;
    names::pool(current, after.pool.as_str())?;
    let undo = LISTENER.undo(name, &before, &after);
    let mut spec = current.spec();
    if let Some(listener) = spec.listener.get_mut(name) {
        *listener = after;
    }
    let mut edit = Edit::new(spec, Subject::Listener(name.to_owned()));
    edit.undo = Some(undo);
    Ok(edit)
}

/// `PUT /api/v1/listeners/NAME`
pub(super) fn put(current: &Snapshot, name: &str, pairs: &Pairs) -> Result<Edit, Refusal> {
    let there = current.listener(name);
    let before = there.map(|listener| current.listener_spec(listener));
    let key = there.map_or_else(|| names::parse(name), |listener| Ok(listener.name.clone()))?;
    LISTENER.refuse_incomplete(name, pairs)?;
    // Its pool is among the settings.
    let mut after = ListenerSpec::new(key.clone(), Vec::new());
    LISTENER.set(&mut after, pairs)?;
    names::pool(current, after.pool.as_str())?;
    let undo = match before {
        None => format!("weirctl listener remove {name}"),
        Some(before) => LISTENER.undo(name, &before, &after),
    };
    let mut spec = current.spec();
    spec.listener.insert(key, after);
    let mut edit = Edit::new(spec, Subject::Listener(name.to_owned()));
    edit.undo = Some(undo);
    Ok(edit)
}

/// `listener drain|ready NAME`
pub(super) fn state(current: &Snapshot, name: &str, state: Admin) -> Result<Edit, Refusal> {
    let listener = names::listener(current, name)?;
    let mut spec = current.spec();
    if let Some(listener) = spec.listener.get_mut(name) {
        listener.state = state;
    }
    let mut edit = Edit::new(spec, Subject::Listener(name.to_owned()));
    let word = if listener.accepting { "ready" } else { "drain" };
    edit.undo = Some(format!("weirctl listener {word} {name}"));
    Ok(edit)
}

fn address(name: &str, text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| {
        // `:443` and `443` are what people try first.
        let port = text.trim_start_matches(['*', ':']);
        let port = port.parse::<u16>().unwrap_or(443);
        Refusal::new(
            Code::Invalid,
            format!("{text:?} is not an address to bind: write IP:PORT"),
            format!("weirctl listener add {name} 0.0.0.0:{port} --pool POOL, or [::]:{port}"),
        )
    })
}
