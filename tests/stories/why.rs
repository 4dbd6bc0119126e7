//! Why this backend: what is said is what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::size;
use weir_tests::story::{Plan, Set};

fn why(set: &Set, client: IpAddr) -> Value {
    set.weir.json(&["why", "web", "--client", &client.to_string()])
}

/// Addresses of this host that clients come from.
fn sources() -> impl Iterator<Item = IpAddr> {
    (1..=60).map(|number| Ipv4Addr::new(127, 9, number, 7).into())
}

/// The backend that a client from there is served by.
fn served_by(set: &Set, client: IpAddr) -> String {
    let mut peer = Peer::connect_from(client, set.weir.web);
    let name = peer.line();
    peer.fin().expect_fin();
    format!("web/{name}")
}

fn candidate<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let all = answer["candidates"].as_array().expect("a list");
    all.iter().find(|row| row["name"] == name).expect("it is a candidate")
}

#[test]
fn maglev_takes_the_backend_that_is_named_for_each_client() {
    let set = Plan::new(5, Script::Banner).strategy("maglev").weights(&[1, 2, 1, 3, 1]).start();
    for client in sources() {
        assert_eq!(why(&set, client)["chosen"], served_by(&set, client), "{client}");
    }
    let client = sources().next().expect("there are some");
    let before = why(&set, client);
    let first = before["chosen"].as_str().expect("a name").to_owned();
    let row = candidate(&before, &first);
    assert!(row["slot"].is_u64() && row["eligible"] == true && row["why_not"].is_null(), "{row}");
    // Those who cannot use theirs go on from it, as is said; the others stay.
    set.weir.ok(&["backend", "drain", &first]);
    for client in sources() {
        let now = why(&set, client);
        assert_eq!(now["chosen"], served_by(&set, client), "{client}");
        let gone = candidate(&now, &first);
        assert_eq!((&gone["eligible"], &gone["state"]), (&false.into(), &"draining".into()));
        assert!(gone["why_not"].as_str().expect("a text").contains("operator"), "{gone}");
    }
}

/// The backends that the session log has for each client's sessions, from this line on.
fn logged(set: &Set, from: usize) -> BTreeMap<IpAddr, BTreeSet<String>> {
    let text = std::fs::read_to_string(set.weir.dir.path.join("log")).expect("there is a log");
    let mut backends: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().skip(from) {
        let line: Value = serde_json::from_str(line).expect("each line is an object");
        let text = |key: &str| line[key].as_str().expect("a text").to_owned();
        let client: SocketAddr = text("client").parse().expect("an address");
        backends.entry(client.ip()).or_default().insert(text("backend"));
    }
    backends
}

/// Each of many accepts, which another one's answer may not have foreseen: the log has them all.
#[test]
fn for_each_logged_accept_the_answer_names_its_backend() {
    let _alone = size::alone();
    let (accepts, clients) = (size::REPLAYED.count(), size::REPLAYED_CLIENTS.count());
    let log = "session-log = { to = \"{dir}/log\", at = [\"open\"] }";
    let plan = Plan::new(5, Script::Banner).strategy("maglev").weights(&[1, 2, 1, 3, 1]);
    let set = plan.settings(log).start();
    let sources: Vec<IpAddr> = (0..clients)
        .map(|number| {
            let [.., high, low] = u32::try_from(number).expect("it is small").to_be_bytes();
            Ipv4Addr::new(127, 12, high, low.max(1)).into()
        })
        .collect();
    let mut seen = 0;
    for drained in [None, Some("web/b4")] {
        if let Some(name) = drained {
            set.weir.ok(&["backend", "drain", name]);
        }
        for number in 0..accepts / 2 {
            let mut peer = Peer::connect_from(sources[number % sources.len()], set.weir.web);
            let _ = peer.line();
            peer.rst();
        }
        let path = set.weir.dir.path.join("log");
        let lines = || std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
        clock::wait_for("all of them in the log", || lines() == seen + accepts / 2);
        let logged = logged(&set, seen);
        seen = lines();
        assert_eq!(logged.len(), sources.iter().collect::<BTreeSet<_>>().len());
        for (client, backends) in &logged {
            let page = set.weir.get(&format!("/api/v1/why?pool=web&client={client}"));
            let answer: Value = serde_json::from_str(&page.body).expect("a document");
            let chosen = answer["chosen"].as_str().expect("maglev is certain");
            let served: Vec<&str> = backends.iter().map(String::as_str).collect();
            assert_eq!(served, [chosen], "{client} of {accepts} accepts: {answer}");
            assert_ne!(Some(chosen), drained);
        }
    }
    println!("{accepts} accepts of {clients} clients: each had the backend that why names");
}

#[test]
fn the_others_say_what_they_go_by() {
    let set = Plan::new(3, Script::Banner).strategy("least-conn").start();
    let mut open: Vec<Peer> = Vec::new();
    let _ = set.spread(2, Some(&mut open));
    let client = sources().next().expect("there are some");
    let now = why(&set, client);
    let chosen = now["chosen"].as_str().expect("a name");
    assert_eq!(candidate(&now, chosen)["sessions"], 0, "{now}");
    assert!(now["because"].as_str().expect("a text").contains("fewest sessions"));
    set.weir.ok(&["pool", "set", "web", "strategy=round-robin"]);
    let now = why(&set, client);
    assert!(now["chosen"].is_null(), "each shard goes round by itself: {now}");
    set.weir.ok(&["backend", "maint", "web/b1"]);
    set.weir.ok(&["backend", "weight", "web/b2", "0"]);
    let now = why(&set, client);
    assert_eq!(now["chosen"], "web/b3", "it is the only one");
    let why_not = |name: &str| candidate(&now, name)["why_not"].as_str().unwrap_or("").to_owned();
    assert!(why_not("web/b1").contains("maint") && why_not("web/b2").contains("weight is 0"));
    // The same over HTTP, for people, and what is not there.
    let page = set.weir.get(&format!("/api/v1/why?pool=web&client={client}"));
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(set.weir.get("/api/v1/why?pool=web").status, 400);
    assert!(set.weir.ok(&["why", "web", "--client", "203.0.113.7:80"]).contains("web/b3"));
    set.weir.ctl(&["why", "wbe", "--client", "::1"]).expect_code(4);
    set.weir.ctl(&["why", "web", "--client", "here"]).expect_code(1);
    set.weir.ctl(&["why", "web"]).expect_code(2);
    drop(open);
}

#[test]
fn a_session_says_who_has_it_and_since_which_version() {
    let set = Plan::new(2, Script::Banner).start();
    let (client, name) = set.session();
    let id = set.weir.json(&["session", "list"])["sessions"][0]["id"].clone();
    let id = id.as_str().expect("a name");
    set.weir.ok(&["backend", "drain", &format!("web/{name}")]);
    let told = set.weir.json(&["why", "--session", id]);
    assert_eq!(told["chosen"], format!("web/{name}"));
    assert_eq!(told["client"], client.address().to_string());
    let because = told["because"].as_str().expect("a text");
    assert!(because.contains("under version 1"), "{because}");
    assert_eq!(candidate(&told, &format!("web/{name}"))["state"], "draining");
    assert_eq!(set.weir.get(&format!("/api/v1/why?session={id}")).status, 200);
    drop(client);
    set.weir.ctl(&["why", "--session", "9.9.9"]).expect_code(4);
}
