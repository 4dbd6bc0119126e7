//! Why this backend: what is said is what happens.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;
use weir_tests::net::{Peer, Script};
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
