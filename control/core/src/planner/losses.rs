//! Losses that may not be meant: all listeners, the last backend of a pool, most of all backends.

use std::collections::BTreeSet;

use weir_proto::address::Address;
use weir_proto::listed::listed;
use weir_proto::snapshot::{Backend, Pool, Snapshot};

/// Pools that are named one by one.
const SHOWN_MAX: usize = 3;

/// Says what is lost if `next` follows `current`; nothing if nothing is. `is_up` says what health
/// knows of a backend.
#[must_use]
pub fn of_traffic(
    current: &Snapshot,
    next: &Snapshot,
    is_up: impl Fn(&Backend) -> bool,
) -> Vec<String> {
    let mut losses = Vec::new();
    let takes = |pool: &Pool| pool.backends.iter().any(|it| it.is_member() && it.is_up(is_up(it)));
    for pool in current.pools.iter().filter(|pool| is_used(current, pool) && takes(pool)) {
        let after = next.pool(pool.name.as_str()).filter(|after| is_used(next, after));
        if let Some(after) = after
            && !takes(after)
        {
            losses.push(format!("pool {} would have no backend that takes sessions", pool.name));
        }
    }
    for listener in next.listeners.iter().filter(|listener| listener.accepting) {
        let before = current.listener(listener.name.as_str()).filter(|before| before.accepting);
        let Some(before) = before else { continue };
        let (from, to) = (&current.pools[before.pool], &next.pools[listener.pool]);
        if from.id != to.id && takes(from) && !takes(to) {
            let (name, pool) = (&listener.name, &to.name);
            losses.push(format!(
                "listener {name} would go to pool {pool}, which has no backend that takes sessions"
            ));
        }
    }
    losses.extend(of_listeners(current, next).or_else(|| of_accepting(current, next)));
    losses
}

/// Says that no listener is left where there was one, as after an empty file.
fn of_listeners(current: &Snapshot, next: &Snapshot) -> Option<String> {
    let open = current.listeners.len();
    (next.listeners.is_empty() && open > 0)
        .then(|| format!("no listener would be left, of {open} now"))
}

/// Says that no listener accepts where one does now.
fn of_accepting(current: &Snapshot, next: &Snapshot) -> Option<String> {
    let accepts = |snapshot: &Snapshot| snapshot.listeners.iter().any(|it| it.accepting);
    let none = accepts(current) && !accepts(next);
    none.then(|| "no listener would accept new sessions".to_owned())
}

/// True if a listener that accepts sends sessions to the pool.
fn is_used(snapshot: &Snapshot, pool: &Pool) -> bool {
    let mut users = snapshot.listeners.iter().filter(|listener| listener.accepting);
    users.any(|listener| snapshot.leads_to(listener, pool.id))
}

/// Says what a file takes away that it may not be meant to: every listener, every backend of a
/// pool, more than half of all backends. A backend that has only another name is not taken away.
#[must_use]
pub fn of_a_file(current: &Snapshot, next: &Snapshot) -> Vec<String> {
    let mut losses: Vec<String> = of_listeners(current, next).into_iter().collect();
    let (mut all, mut gone, mut empty) = (0, 0, Vec::new());
    let mut kept: Option<BTreeSet<Address>> = None;
    for pool in &current.pools {
        all += pool.backends.len();
        let after = next.pool(pool.name.as_str());
        if after.is_some_and(|after| after.has_backends_of(pool)) {
            continue;
        }
        let mut is_gone = |it: &&Backend| {
            let is_there = after.is_some_and(|after| after.backend(it.name.as_str()).is_some());
            let addresses = || next.backends().map(|(_, it)| it.address).collect();
            !is_there && !kept.get_or_insert_with(addresses).contains(&it.address)
        };
        let count = pool.backends.iter().filter(|it| is_gone(it)).count();
        gone += count;
        let has_none = after.is_none_or(|after| after.backends.is_empty());
        if has_none && count > 0 && count == pool.backends.len() {
            empty.push(pool.name.as_str());
        }
    }
    if !empty.is_empty() {
        let pools = listed(empty.iter(), SHOWN_MAX, ", ");
        losses.push(format!("every backend of pool {pools} would be gone"));
    }
    if gone * 2 > all {
        losses.push(format!("{gone} of {all} backends would be gone"));
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;
    use weir_proto::ids::IdSource;

    fn build(toml: &str, before: &Snapshot) -> Snapshot {
        let spec = file::parse(toml, "x").unwrap().spec;
        let mut ids = IdSource::default();
        // Past those that are taken.
        while ids.fresh() < 10 * u32::try_from(before.pools.len()).unwrap() {}
        Snapshot::build(&spec, before.version.next(), before, &mut ids).unwrap()
    }

    const FILE: &str = "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"web\"\n\
                        [pool.web]\nstrategy = \"random\"\n[pool.web.backend]\n\
                        b1 = { address = \"127.0.0.1:2\" }\nb2 = { address = \"127.0.0.1:3\" }\n";

    #[test]
    fn traffic_is_lost_with_the_last_listener_and_with_the_last_backend_that_takes_it() {
        let current = build(FILE, &Snapshot::empty());
        let losses = |toml: &str, down: &str| {
            let next = build(toml, &current);
            of_traffic(&current, &next, |backend| backend.name.as_str() != down)
        };
        let no_backend = ["pool web would have no backend that takes sessions"];
        let without = |what: &str| FILE.replace(what, "");
        let one = FILE.replace("127.0.0.1:3\"", "127.0.0.1:3\", state = \"drain\"");
        let none = one.replace("127.0.0.1:2\"", "127.0.0.1:2\", weight = 0");
        assert_eq!(losses(FILE, ""), [""; 0]);
        assert_eq!(losses(&one, ""), [""; 0]);
        assert_eq!(losses(&one, "b1"), no_backend, "the other one is down");
        assert_eq!(losses(&none, ""), no_backend);
        assert_eq!(losses(&without("b1 = { address = \"127.0.0.1:2\" }\n"), "b2"), no_backend);
        // It goes where no backend could take its sessions.
        let moved = FILE.replace("pool = \"web\"", "pool = \"spare\"") + "[pool.spare]\n";
        let nowhere =
            ["listener web would go to pool spare, which has no backend that takes sessions"];
        assert_eq!(losses(&moved, ""), nowhere);
        let somewhere = "[pool.spare.backend]\nb1 = { address = \"127.0.0.1:4\" }\n";
        assert_eq!(losses(&format!("{moved}{somewhere}"), ""), [""; 0]);
        // A pool without a listener loses nothing; the last listener that accepts is the loss.
        let drained = none.replace("pool = \"web\"", "pool = \"web\"\nstate = \"drain\"");
        assert_eq!(losses(&drained, ""), ["no listener would accept new sessions"]);
        assert_eq!(losses("", ""), ["no listener would be left, of 1 now"]);
        let other = "[listener.side]\nbind = \"127.0.0.1:5\"\npool = \"web\"\n";
        assert_eq!(
            losses(&format!("{drained}{other}").replace("weight = 0", "weight = 1"), ""),
            [""; 0]
        );
        let [drained, empty] = [&drained, ""].map(|toml| build(toml, &current));
        for (before, after) in [(&drained, &drained), (&drained, &current), (&empty, &empty)] {
            assert_eq!(of_traffic(before, after, |_| true), [""; 0]);
        }
        let left = of_traffic(&drained, &empty, |_| true);
        assert_eq!(left, ["no listener would be left, of 1 now"]);
    }

    #[test]
    fn a_file_that_takes_away_too_much_is_one_that_leaves_nothing_or_less_than_half() {
        let pool = |name: &str, backends: &[u16]| {
            let lines =
                backends.iter().map(|port| format!("b{port} = {{ address = \"[::1]:{port}\" }}\n"));
            format!("[pool.{name}.backend]\n{}", lines.collect::<String>())
        };
        let listener = "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"web\"\n";
        let of = |pools: &[String]| format!("{listener}{}", pools.concat());
        let current = build(&of(&[pool("web", &[2, 3, 4]), pool("db", &[5])]), &Snapshot::empty());
        let losses = |toml: &str| of_a_file(&current, &build(toml, &current));
        let db = "every backend of pool db would be gone";
        assert_eq!(losses(&of(&[pool("web", &[2, 3]), pool("db", &[5])])), [""; 0]);
        assert_eq!(losses(&of(&[pool("web", &[2]), pool("db", &[5])])), [""; 0], "half of them");
        assert_eq!(losses(&of(&[pool("web", &[2, 3, 4])])), [db]);
        assert_eq!(losses(&of(&[pool("web", &[2, 3, 4]), pool("db", &[])])), [db]);
        assert_eq!(
            losses(&of(&[pool("web", &[2]), pool("db", &[])])),
            [db, "3 of 4 backends would be gone"]
        );
        assert_eq!(
            losses(&of(&[pool("web", &[6, 7, 8]), pool("db", &[5])])),
            ["3 of 4 backends would be gone"]
        );
        // Other names, and another pool, for the same addresses.
        let renamed = of(&[pool("web", &[2, 3, 4]), pool("sql", &[5])]).replace("b3 =", "c3 =");
        assert_eq!(losses(&renamed), [""; 0]);
        let none = losses("");
        assert_eq!(none[0], "no listener would be left, of 1 now");
        assert_eq!(
            none[1..],
            ["every backend of pool db, web would be gone", "4 of 4 backends would be gone"]
        );
        assert_eq!(of_a_file(&build("", &current), &build("", &current)), [""; 0]);
    }
}
