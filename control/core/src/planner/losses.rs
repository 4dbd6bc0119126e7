//! Losses that may not be meant: all listeners, the last backend of a pool, or what operators have
//! changed by hand since a file was applied.

use std::collections::BTreeSet;

use weir_proto::change::{self, Change, Kind, Noun};
use weir_proto::ids::{IdSource, Version};
use weir_proto::snapshot::{Backend, Pool, Snapshot};
use weir_proto::spec::Spec;

/// Acts that are named one by one.
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
    let takes = |pool: &Pool| pool.backends.iter().any(|it| it.is_member() && is_up(it));
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
    losses
}

/// Says that a whole configuration leaves no listener where there was one, as an empty file does.
#[must_use]
pub fn of_listeners(current: &Snapshot, next: &Snapshot) -> Option<String> {
    let open = current.listeners.len();
    (next.listeners.is_empty() && open > 0)
        .then(|| format!("no listener would be left, of {open} now"))
}

/// True if a listener that accepts sends sessions to the pool.
fn is_used(snapshot: &Snapshot, pool: &Pool) -> bool {
    let mut users = snapshot.listeners.iter().filter(|listener| listener.accepting);
    users.any(|listener| snapshot.pools[listener.pool].id == pool.id)
}

/// Says which acts of operators would be undone if the file of `next` followed `current`. `file` is
/// the file that was applied last: what differs from it was done by hand. If it is not known,
/// states, weights and missing objects count as done by hand.
#[must_use]
pub fn of_acts(current: &Snapshot, next: &Snapshot, file: Option<&Spec>) -> Option<String> {
    let nothing = Snapshot::empty();
    // It was in force, so it can be built.
    let built =
        file.map(|file| Snapshot::build(file, Version(1), &nothing, &mut IdSource::default()).ok());
    let acts = built.flatten().map(|base| Acts::of(&change::diff(&base, current)));
    let changes = change::diff(current, next);
    let undone: Vec<String> = changes
        .iter()
        .filter(|change| match &acts {
            Some(acts) => acts.are_undone_by(change),
            None => is_typical_act(change),
        })
        .map(ToString::to_string)
        .collect();
    let more = undone.len().saturating_sub(SHOWN_MAX);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown = undone.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    let text = format!("what was changed by hand would be undone: {shown}{tail}");
    (!undone.is_empty()).then_some(text)
}

/// Differences between the file and what is in force.
struct Acts {
    added: BTreeSet<(Noun, String)>,
    removed: BTreeSet<(Noun, String)>,
    changed: BTreeSet<(Noun, String, &'static str)>,
}

impl Acts {
    fn of(changes: &[Change]) -> Acts {
        let objects = |kind| {
            let all = changes.iter().filter(move |change| change.kind == kind);
            all.map(|change| (change.noun, change.subject.clone())).collect()
        };
        let keys = |change: &Change| {
            let (noun, subject) = (change.noun, change.subject.clone());
            change.keys.clone().into_iter().map(move |key| (noun, subject.clone(), key))
        };
        Acts {
            added: objects(Kind::Added),
            removed: objects(Kind::Removed),
            changed: changes.iter().flat_map(keys).collect(),
        }
    }

    /// A file that takes away what it had itself undoes nothing, whatever was done to it by hand.
    fn are_undone_by(&self, change: &Change) -> bool {
        let object = (change.noun, change.subject.clone());
        match change.kind {
            Kind::Removed => self.added.contains(&object),
            Kind::Added => self.removed.contains(&object),
            Kind::Changed => change
                .keys
                .iter()
                .any(|key| self.changed.contains(&(object.0, object.1.clone(), *key))),
        }
    }
}

fn is_typical_act(change: &Change) -> bool {
    match change.kind {
        Kind::Removed => true,
        Kind::Added => false,
        Kind::Changed => change.keys.iter().any(|key| ["state", "weight"].contains(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;

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
        // Who drains the listener, or removes it, has said so.
        let drained = none.replace("pool = \"web\"", "pool = \"web\"\nstate = \"drain\"");
        assert_eq!(losses(&drained, ""), [""; 0]);
        assert_eq!(losses("", ""), [""; 0]);
        let left = of_listeners(&current, &build("", &current));
        assert_eq!(left.as_deref(), Some("no listener would be left, of 1 now"));
        assert_eq!(of_listeners(&current, &current), None);
        assert_eq!(of_listeners(&build("", &current), &build("", &current)), None);
    }

    #[test]
    fn a_file_undoes_what_differs_from_the_file_before_and_not_what_it_changes_itself() {
        let base = file::parse(FILE, "x").unwrap().spec;
        let by_hand = FILE
            .replace("127.0.0.1:2\"", "127.0.0.1:2\", state = \"maint\"")
            .replace("127.0.0.1:3\"", "127.0.0.1:3\", weight = 7");
        let by_hand = format!("{by_hand}b3 = {{ address = \"127.0.0.1:4\" }}\n");
        let current = build(&by_hand, &Snapshot::empty());
        let undone = |toml: &str, file| of_acts(&current, &build(toml, &current), file);
        let all = "what was changed by hand would be undone: backend remove web/b3; \
                   backend set web/b1 (state maint → ready); backend set web/b2 (weight 7 → 1)";
        assert_eq!(undone(FILE, Some(&base)).as_deref(), Some(all));
        assert_eq!(undone(&by_hand, Some(&base)), None, "what is in force is not undone");
        // The strategy is the file's own change; a backend that it takes away is, too.
        assert_eq!(undone(&by_hand.replace("random", "maglev"), Some(&base)), None);
        let gone = by_hand.lines().filter(|line| !line.starts_with("b1")).collect::<Vec<_>>();
        assert_eq!(undone(&gone.join("\n"), Some(&base)), None);
        // Who applies the file that is in force already changes what it says.
        let now = file::parse(&by_hand, "x").unwrap().spec;
        assert_eq!(undone(FILE, Some(&now)), None);
        // Nothing is known of the file before.
        assert_eq!(undone(FILE, None).as_deref(), Some(all));
        assert_eq!(undone(&by_hand.replace("random", "maglev"), None), None);
    }
}
