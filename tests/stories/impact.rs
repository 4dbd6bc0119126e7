//! The effect that a dry run predicts is the effect of the change, on live sessions
//! and on new ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;
use weir_tests::net::{Peer, Script, free, own_ip};
use weir_tests::payload::Dice;
use weir_tests::story::{Plan, Set};

const SEED: u64 = 14_003;
const ROUNDS: usize = 40;
const BACKENDS: usize = 6;
/// Sessions that are open when a change is made.
const LIVE: usize = 24;

/// A backend as a configuration has it: its weight, and whether it is ready.
type Backends = BTreeMap<String, (u16, bool)>;

fn takes_sessions(backend: Option<&(u16, bool)>) -> bool {
    backend.is_some_and(|(weight, is_ready)| *weight > 0 && *is_ready)
}

/// Live sessions, each with the name of its backend, and what is in force.
struct World {
    set: Set,
    dice: Dice,
    live: Vec<(Peer, String)>,
    now: Backends,
    /// Something was changed since a file was applied: a diff is about a merge then.
    is_drifted: bool,
}

impl World {
    fn new() -> World {
        let set = Plan::new(BACKENDS, Script::Banner).start();
        let now = set.backends.iter().map(|it| (it.name.clone(), (1, true))).collect();
        World { set, dice: Dice::new(SEED), live: Vec::new(), now, is_drifted: false }
    }

    /// New sessions, none of which may go where none may go.
    fn fill(&mut self) {
        while self.live.len() < LIVE {
            let (client, name) = self.set.session();
            assert!(takes_sessions(self.now.get(&name)), "{name} of {:?}", self.now);
            self.live.push((client, name));
        }
    }

    /// Backends of a random configuration; one at least takes sessions.
    fn invent(&mut self) -> Backends {
        let mut next = Backends::new();
        for backend in &self.set.backends {
            if !self.dice.once_in(4) {
                let weight = self.dice.of(&[0, 1, 1, 1, 7]);
                next.insert(backend.name.clone(), (weight, !self.dice.once_in(4)));
            }
        }
        let kept = &self.set.backends[usize::try_from(self.dice.below(6)).unwrap()];
        next.insert(kept.name.clone(), (1, true));
        next
    }

    fn file(&self, backends: &Backends) -> String {
        let objects = self.set.objects.split("[pool.web.backend]").next().unwrap();
        let mut objects = format!("{objects}[pool.web.backend]\n");
        for (name, (weight, is_ready)) in backends {
            let address = self.set.backends[self.set.index(name)].address;
            let state = if *is_ready { "" } else { ", state = \"drain\"" };
            writeln!(objects, "{name} = {{ address = \"{address}\", weight = {weight}{state} }}")
                .unwrap();
        }
        self.set.weir.file("next.toml", &objects)
    }

    fn count(&self, is_meant: impl Fn(&str) -> bool) -> usize {
        self.live.iter().filter(|(_, name)| is_meant(name)).count()
    }

    /// The impact by `config diff` and by a dry run, which say the same.
    fn told(&self, line: &[&str]) -> Value {
        let told = self.set.weir.json(&[line, &["--dry-run"]].concat());
        if let (["config", "apply", file, ..], false) = (line, self.is_drifted) {
            let different = !told["changes"].as_array().unwrap().is_empty();
            let ran = self.set.weir.ctl(&["-o", "json", "config", "diff", file]);
            let diff = ran.expect_code(if different { 3 } else { 0 }).json();
            assert_eq!((&diff["impact"], &diff["changes"]), (&told["impact"], &told["changes"]));
        }
        told["impact"].clone()
    }

    /// A random file is applied.
    fn apply(&mut self) {
        let next = self.invent();
        let file = self.file(&next);
        let line = ["config", "apply", &file, "--replace", "--force", "--yes"];
        let told = self.told(&line[..4]);
        let ceases = |name: &str| {
            let (before, after) = (self.now.get(name), next.get(name));
            before.is_some()
                && (after.is_none() || takes_sessions(before) && !takes_sessions(after))
        };
        let drain = self.count(ceases);
        self.expect(&told, drain, 0);
        self.set.weir.ok(&line);
        (self.now, self.is_drifted) = (next, false);
        self.live.iter_mut().for_each(|(client, _)| {
            client.echo(b"nobody is cut");
        });
    }

    /// A backend that is there or was is removed by force.
    fn remove(&mut self) {
        let index = usize::try_from(self.dice.below(6)).unwrap();
        let name = self.set.backends[index].name.clone();
        let others = self.now.iter().any(|(it, rest)| *it != name && takes_sessions(Some(rest)));
        let cut = self.count(|it| it == name);
        if !others || !self.now.contains_key(&name) && cut == 0 {
            return;
        }
        let object = format!("web/{name}");
        let line = ["backend", "remove", &object, "--force", "--yes"];
        let told = self.told(&line[..4]);
        self.expect(&told, 0, cut);
        self.set.weir.ok(&line);
        self.now.remove(&name);
        self.is_drifted = true;
        for (mut client, its) in std::mem::take(&mut self.live) {
            if its == name {
                client.expect_rst();
            } else {
                client.echo(b"not mine");
                self.live.push((client, its));
            }
        }
    }

    fn expect(&self, told: &Value, drain: usize, cut: usize) {
        let stay = self.live.len() - drain - cut;
        let wanted = serde_json::json!({ "stay": stay, "drain": drain, "cut": cut });
        assert_eq!(told["sessions"], wanted, "from {:?}: {told}", self.now);
    }
}

#[test]
fn what_a_dry_run_tells_is_what_happens_to_live_sessions() {
    let mut world = World::new();
    for _ in 0..ROUNDS {
        world.fill();
        if world.dice.once_in(3) { world.remove() } else { world.apply() }
    }
    world.fill();
}

/// The backend of each of these clients under maglev.
fn homes(set: &Set, sources: &[IpAddr]) -> Vec<String> {
    let visit = |source: &IpAddr| {
        let mut client = Peer::connect_from(*source, set.weir.web);
        let name = client.line();
        client.fin().expect_fin();
        name
    };
    sources.iter().map(visit).collect()
}

#[test]
fn the_share_of_clients_that_move_under_maglev_is_told() {
    let set = Plan::new(5, Script::Banner).strategy("maglev").start();
    let sources: Vec<IpAddr> =
        (1..=200).map(|last| IpAddr::V4(Ipv4Addr::new(127, 9, 1, last))).collect();
    for line in [
        vec!["backend", "drain", "web/b2"],
        vec!["backend", "remove", "web/b3"],
        vec!["backend", "weight", "web/b1", "3"],
        vec!["backend", "ready", "web/b2"],
    ] {
        let told = set.weir.json(&[&line[..], &["--dry-run"]].concat());
        let told = told["impact"]["maglev_keys_moved"].as_f64().unwrap();
        let before = homes(&set, &sources);
        set.weir.ok(&line);
        let after = homes(&set, &sources);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        let moved = moved as f64 / sources.len() as f64;
        // Four standard deviations of 200 draws are 0.13 at most.
        assert!((told - moved).abs() < 0.14, "{line:?}: {told} was told, {moved} moved");
        assert!(told > 0.0, "{line:?}");
    }
}

#[test]
fn a_dry_run_binds_nothing_and_any_viewer_may_ask() {
    let set = Plan::new(1, Script::Echo).start();
    let new = free(own_ip()).to_string();
    let line = ["listener", "add", "more", &new, "--pool", "web", "--dry-run"];
    let told = set.weir.json(&line)["impact"].clone();
    assert_eq!(told["listeners"]["open"], serde_json::json!(["more"]));
    let warning = format!("not tried before it is made: whether {new} can be bound");
    assert_eq!(told["warnings"], serde_json::json!([warning]));
    assert!(Peer::try_connect(new.parse().unwrap()).is_err(), "nobody listens there");
    let text = set.weir.ok(&line);
    assert!(text.contains("sessions: 0 stay, 0 drain, 0 cut\nlisteners that open: more"), "{text}");
    let events = set.weir.json(&["events"]).to_string();
    assert!(!events.contains("listener add more"), "a dry run is not recorded: {events}");
}
