//! Servers that have a name instead of an address: their pool asks DNS for it.

use std::collections::BTreeSet;

use weir_proto::spec::{Admin, DiscoverSpec};

use super::draft::{Draft, DraftAddress, DraftBackend, DraftPool};
use super::note::{Notes, note, quoted, warning};
use super::remarks::unusable;

/// Makes the name of each pool's servers what the pool discovers. A pool has one name: where it has
/// several, they become comments.
pub(super) fn discover(draft: &mut Draft, notes: &mut Notes) {
    for pool in &mut draft.pools {
        of_pool(pool, notes);
    }
}

fn of_pool(pool: &mut DraftPool, notes: &mut Notes) {
    let mut sources = BTreeSet::new();
    for backend in &pool.backends {
        if let DraftAddress::Named { name, port } = &backend.address {
            sources.insert((name.clone(), *port));
        }
    }
    let spec = sources.first().map(|(name, port)| source(name, *port));
    let Some(spec) = spec else { return };
    let is_named = |it: &DraftBackend| matches!(it.address, DraftAddress::Named { .. });
    let mut named = pool.backends.iter().filter(|it| is_named(it));
    let why = if sources.len() > 1 {
        Some("a pool of weir has one name in DNS, and this backend has several")
    } else if spec.fault().is_some() {
        Some("it is no name that DNS has")
    } else if named.any(|it| it.priority > 0 || it.state != Admin::Ready) {
        Some("weir gives all that DNS names for a host the first priority, ready")
    } else {
        None
    };
    if let Some(why) = why {
        for backend in pool.backends.iter_mut().filter(|it| is_named(it)) {
            let text = shown(&backend.address);
            backend.address = unusable(&backend.at, &text, why, notes);
        }
        return;
    }
    for backend in pool.backends.iter().filter(|it| is_named(it)) {
        let what = format!("the server at {}", quoted(&shown(&backend.address)));
        let why = "its pool asks DNS for it, as TTLs say, and takes every address";
        let hint = "discover.resolver is for another server than those of /etc/resolv.conf";
        notes.add(&backend.at, note(what.clone()).because(why).instead(hint));
        if backend.weight != 1 || backend.max_sessions.is_some() {
            let why = "what DNS names has weight 1 and no limit";
            let what = format!("the weight or limit of {what}");
            notes.add(&backend.at, warning(what).because(why));
        }
    }
    pool.settings.discover = spec;
    pool.backends.retain(|it| !is_named(it));
}

fn source(name: &str, port: Option<u16>) -> DiscoverSpec {
    match port {
        Some(port) => {
            DiscoverSpec { dns: Some(format!("{name}:{port}")), ..DiscoverSpec::default() }
        }
        None => DiscoverSpec { srv: Some(name.to_owned()), ..DiscoverSpec::default() },
    }
}

fn shown(address: &DraftAddress) -> String {
    match address {
        DraftAddress::Named { name, port: Some(port) } => format!("{name}:{port}"),
        DraftAddress::Named { name, port: None } => name.clone(),
        DraftAddress::Known(address) => address.to_string(),
        DraftAddress::Unusable(text) => text.clone(),
    }
}
