//! Who ended it, who closed first, who kept the other waiting, what was lost: 32 ways in which a
//! session ends on real sockets, and the last line of each in the session log.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::{self, Peer, Script, noise};
use weir_tests::story::{Plan, Set};

use crate::connects::Full;

/// More than fits into what the kernel and weir hold for a side that does not read.
const MUCH: usize = 30_000_000;

/// Bytes for a side that it had not acknowledged at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    None,
    Some,
}

/// The last line of a session.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    by: &'static str,
    during: &'static str,
    why: &'static str,
    code: &'static str,
    first: &'static str,
    /// For the client, and for the backend.
    lost: [Lost; 2],
    /// The side that took nothing for a second or longer.
    blocked: Option<&'static str>,
}

const fn wanted(
    [by, during, why, code]: [&'static str; 4],
    first: &'static str,
    lost: [Lost; 2],
) -> Wanted {
    Wanted { by, during, why, code, first, lost, blocked: None }
}

impl Wanted {
    const fn blocked(self, side: &'static str) -> Wanted {
        Wanted { blocked: Some(side), ..self }
    }
}

const CLEAN: [Lost; 2] = [Lost::None, Lost::None];
const TO_CLIENT: [Lost; 2] = [Lost::Some, Lost::None];
const TO_BACKEND: [Lost; 2] = [Lost::None, Lost::Some];

/// A weir that logs each end.
struct Endings {
    set: Set,
    seen: usize,
}

impl Endings {
    fn new(plan: Plan) -> Endings {
        let log = "session-log = { to = \"{dir}/ends\", at = [\"close\"] }";
        Endings { set: plan.settings(log).start(), seen: 0 }
    }

    fn of_one(pool: &str) -> Endings {
        Endings::new(Plan::new(1, Script::ByHand).pool(pool))
    }

    fn path(&self) -> PathBuf {
        self.set.weir.dir.path.join("ends")
    }

    /// The lines so far.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path()).unwrap_or_default();
        let whole = text.lines().filter(|line| line.ends_with('}'));
        whole.map(|line| serde_json::from_str(line).expect("each line is an object")).collect()
    }

    /// The next session that ends has ended like this.
    fn expect(&mut self, what: &str, wanted: Wanted) {
        let (count, what) = (self.seen + 1, format!("the end: {what}"));
        clock::wait_for(&what, || self.lines().len() >= count);
        let line = self.lines().remove(self.seen);
        self.seen = count;
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let said = ["by", "during", "why", "code"].map(text);
        let Wanted { by, during, why, code, first, lost, blocked } = wanted;
        assert_eq!(said, [by, during, why, code], "{what}: {line}");
        assert_eq!(text("closed_first"), first, "{what}: {line}");
        for (side, lost) in ["client", "backend"].into_iter().zip(lost) {
            let bytes = line[format!("undelivered_{side}_bytes")].as_u64().expect("a number");
            assert_eq!(bytes > 0, lost == Lost::Some, "{what}, {side}: {line}");
            let blocked_s = line[format!("blocked_{side}_s")].as_f64().expect("a number");
            if blocked.is_some_and(|it| it == side) {
                assert!(blocked_s >= 0.9, "{what}: {line}");
            } else if blocked.is_some() || lost == Lost::None {
                assert_eq!(blocked_s, 0.0, "{what}: {line}");
            }
        }
    }

    /// A client and its server that have talked.
    fn pair(&self) -> (Peer, Peer) {
        let (mut client, mut server) = self.set.pair();
        client.send(b"hello");
        server.expect(b"hello").send(b"welcome");
        client.expect(b"welcome");
        (client, server)
    }

    /// The only session's name.
    fn only(&self) -> String {
        let name = || {
            let list = self.set.weir.json(&["session", "list"]);
            list["sessions"][0]["id"].as_str().map(str::to_owned)
        };
        clock::wait_within(clock::PATIENCE, "a session", name)
    }
}

/// The same with the sides changed.
fn sides((client, server): (Peer, Peer), actor: &str) -> (Peer, Peer) {
    if actor == "client" { (client, server) } else { (server, client) }
}

const SIDES: [(&str, &str, [Lost; 2], [Lost; 2]); 2] =
    [("client", "backend", TO_CLIENT, TO_BACKEND), ("backend", "client", TO_BACKEND, TO_CLIENT)];

fn other_code(actor: &str, code: &'static str) -> &'static str {
    match (actor, code) {
        ("client", code) => code,
        (_, "CD") => "SD",
        (_, "CL") => "SL",
        (_, "cD") => "sD",
        (_, "cL") => "sL",
        (_, code) => code,
    }
}

/// Twelve ends that peers make, each side in turn.
#[test]
fn ends_that_peers_make() {
    let mut endings = Endings::of_one("timeout = { idle = \"1h\" }");
    let much = noise(1, MUCH);
    for (actor, other, to_actor, to_other) in SIDES {
        let code = |code| other_code(actor, code);
        let (mut one, mut two) = sides(endings.pair(), actor);
        one.fin();
        two.expect_fin().fin();
        one.expect_fin();
        let end = wanted([actor, "relaying", "complete", "--"], actor, CLEAN);
        endings.expect(&format!("FIN of the {actor}, then of the {other}"), end);

        let (one, mut two) = sides(endings.pair(), actor);
        one.rst();
        two.expect_rst();
        let end = wanted([actor, "relaying", "reset", code("CD")], actor, CLEAN);
        endings.expect(&format!("reset of the {actor}"), end);

        let (mut one, two) = sides(endings.pair(), actor);
        one.send_until_blocked(&much, Duration::from_millis(200));
        one.rst();
        let end = wanted([actor, "relaying", "reset", code("CD")], actor, to_other);
        endings.expect(&format!("reset of the {actor}, whose bytes the {other} had not read"), end);
        drop(two);

        let (one, mut two) = sides(endings.pair(), actor);
        two.send_until_blocked(&much, Duration::from_millis(200));
        drop(one); // with bytes unread: the kernel sends a reset
        let end = wanted([actor, "relaying", "reset", code("CD")], actor, to_actor);
        endings.expect(&format!("the {actor} leaves what it has not read"), end);
        drop(two);

        let (mut one, mut two) = sides(endings.pair(), actor);
        one.fin();
        two.expect_fin();
        two.rst();
        let code_of_other = other_code(other, "CL");
        let end = wanted([other, "half_closed", "reset", code_of_other], actor, CLEAN);
        endings.expect(&format!("FIN of the {actor}, then reset of the {other}"), end);

        let (mut one, mut two) = sides(endings.pair(), actor);
        one.fin();
        two.expect_fin();
        one.rst();
        let end = wanted([actor, "half_closed", "reset", code("CL")], actor, CLEAN);
        endings.expect(&format!("FIN of the {actor}, then its reset"), end);
    }
    assert_eq!(endings.lines().len(), 12);
}

/// Three ends because nothing comes any more.
#[test]
fn ends_because_nothing_comes() {
    let mut endings = Endings::of_one("timeout = { idle = \"500ms\", half-close = \"200ms\" }");
    let idle = endings.pair();
    let end = wanted(["weir", "relaying", "idle_timeout", "cD"], "weir", CLEAN);
    endings.expect("idle", end);
    drop(idle);
    for (actor, _, _, _) in SIDES {
        let (mut one, mut two) = sides(endings.pair(), actor);
        one.fin();
        two.expect_fin();
        let end = wanted(["weir", "half_closed", "half_close_timeout", "cL"], actor, CLEAN);
        endings.expect(&format!("half closed by the {actor}"), end);
    }
}

/// One end because of its age.
#[test]
fn an_end_because_of_its_age() {
    let mut endings = Endings::of_one("timeout = { idle = \"1h\", lifetime = \"1s\" }");
    let pair = endings.pair();
    endings.expect("of age", wanted(["weir", "relaying", "lifetime", "AD"], "weir", CLEAN));
    drop(pair);
}

/// Four ends because a side takes nothing.
#[test]
fn ends_because_a_side_takes_nothing() {
    let mut endings = Endings::of_one("timeout = { idle = \"1h\", stalled = \"3s\" }");
    let much = noise(2, MUCH);
    for (actor, other, to_actor, _) in SIDES {
        let code = |code| other_code(actor, code);
        let (one, mut two) = sides(endings.pair(), actor);
        two.send_until_blocked(&much, Duration::from_millis(200));
        let end = wanted([actor, "relaying", "stalled", code("cD")], actor, to_actor);
        endings.expect(&format!("the {actor} reads nothing"), end.blocked(actor));
        drop((one, two));

        let (mut one, mut two) = sides(endings.pair(), actor);
        one.fin();
        two.expect_fin();
        two.send_until_blocked(&much, Duration::from_millis(200));
        let end = wanted([actor, "half_closed", "stalled", code("cL")], actor, to_actor);
        let what = format!("FIN of the {actor}, which then reads nothing of the {other}");
        endings.expect(&what, end.blocked(actor));
        drop((one, two));
    }
    // The counters say the same while sessions live, and after them.
    let stats = endings.set.weir.json(&["stats", "web/b1"]);
    for side in ["client", "backend"] {
        let blocked_s = stats["blocked_s_total"][side].as_f64().expect("a number");
        assert!(blocked_s >= 2.0, "{stats}");
        assert!(stats["undelivered_bytes_total"][side].as_u64() > Some(100_000), "{stats}");
        assert_eq!(stats["first_closes_total"][side], 2, "{stats}");
    }
}

/// Seven ends that operators make.
#[test]
fn ends_that_operators_make() {
    let mut endings = Endings::of_one("timeout = { idle = \"1h\" }");
    let operator = |during, why, code| ["operator", during, why, code];
    let pair = endings.pair();
    endings.set.weir.ok(&["session", "kill", &endings.only(), "--yes"]);
    let end = wanted(operator("relaying", "killed", "KD"), "operator", CLEAN);
    endings.expect("killed", end);
    drop(pair);
    for (actor, _, _, _) in SIDES {
        let (mut one, mut two) = sides(endings.pair(), actor);
        one.fin();
        two.expect_fin();
        endings.set.weir.ok(&["session", "kill", &endings.only(), "--yes"]);
        let end = wanted(operator("half_closed", "killed", "KL"), actor, CLEAN);
        endings.expect(&format!("half closed by the {actor}, then killed"), end);
    }
    let pair = endings.pair();
    endings.set.weir.ok(&["backend", "drain", "web/b1", "--over", "1s", "--yes"]);
    endings.expect("shed", wanted(operator("relaying", "shed", "KD"), "operator", CLEAN));
    endings.set.weir.ok(&["backend", "ready", "web/b1"]);
    drop(pair);
    let pair = endings.pair();
    endings.set.weir.ok(&["backend", "remove", "web/b1", "--force", "--yes"]);
    endings.expect("removed", wanted(operator("relaying", "killed", "KD"), "operator", CLEAN));
    drop(pair);
    let address = endings.set.backends[0].address.to_string();
    endings.set.weir.ok(&["backend", "add", "web/b2", &address]);
    let (mut half, mut its_server) = endings.pair();
    half.fin();
    its_server.expect_fin();
    let pair = endings.pair();
    endings.set.weir.signal(Signal::INT);
    assert_eq!(endings.set.weir.wait_exit(clock::PATIENCE), 0);
    // Both end in one turn, in the order of their slots.
    let halves = ["half_closed", "relaying"].map(|during| {
        let is_it = |line: &Value| line["during"] == during;
        endings.lines().split_off(endings.seen).into_iter().find(is_it)
    });
    for (line, first) in halves.into_iter().zip(["client", "operator"]) {
        let line = line.expect("it was logged");
        let said = (&line["by"], &line["why"], &line["closed_first"]);
        assert_eq!(said, (&"operator".into(), &"stopped".into(), &first.into()), "{line}");
    }
    drop(pair);
}

/// Five ends before a backend has taken the session.
#[test]
fn ends_before_there_is_a_backend() {
    let (full, dead) = (Full::new(), net::free(net::own_ip()));
    let plan = Plan::new(0, Script::Silent).health("{ kind = \"none\" }");
    let plan = plan.pool("timeout = { connect = \"1s\" }\nretry = { attempts = 0 }");
    let mut endings = Endings::new(plan.extern_backend("b1", dead));
    let lines =
        |[by, why, code]: [&'static str; 3]| wanted([by, "connecting", why, code], by, CLEAN);
    // weir may have reset it before connect(2) has returned.
    let client = Peer::try_connect(endings.set.weir.web);
    endings.expect("refused", lines(["backend", "connect_failed", "SC"]));
    drop(client);
    endings.set.weir.ok(&["backend", "maint", "web/b1", "--yes"]);
    let client = Peer::try_connect(endings.set.weir.web);
    endings.expect("no backend", lines(["weir", "no_backend", "PC"]));
    drop(client);
    let address = full.address().to_string();
    endings.set.weir.ok(&["backend", "add", "web/b2", &address]);
    let client = endings.set.client();
    endings.expect("no answer", lines(["backend", "connect_failed", "SC"]));
    drop(client);
    endings.set.weir.ok(&["pool", "set", "web", "timeout.connect=120s"]);
    let client = endings.set.client();
    let _ = endings.only();
    client.rst();
    endings.expect("reset of the client", lines(["client", "reset", "CC"]));
    let client = endings.set.client();
    endings.set.weir.ok(&["session", "kill", &endings.only(), "--yes"]);
    endings.expect("killed", lines(["operator", "killed", "KC"]));
    drop(client);
}
