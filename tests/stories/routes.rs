//! Routes of a listener: one port, several TLS services by their names, and the rest to the
//! listener's own pool. Nothing is decrypted: each service has a certificate of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use weir_tests::clock;
use weir_tests::net::{Peer, Script, own_ip};
use weir_tests::real::tls::TlsService;
use weir_tests::story::{Plan, Set};

/// A hello of Chromium with post-quantum keys, for db.example.com: more than a segment.
const CHROMIUM: &[u8] = include_bytes!("../../engine/core/tests/hellos/chromium-156-1.bin");

fn pool(set: &Set, name: &str, address: SocketAddr) {
    set.weir.ok(&["pool", "add", name]);
    set.weir.ok(&["pool", "set", name, "health.kind=none"]);
    set.weir.ok(&["backend", "add", &format!("{name}/n1"), &address.to_string()]);
}

fn total(set: &Set, backend: &str) -> u64 {
    set.weir.backend(backend)["sessions_total"].as_u64().expect("a count")
}

#[test]
fn one_port_serves_two_tls_services_by_name_and_a_plain_one() {
    let [db, web] = ["db.example.com", "a.web.example.com"].map(TlsService::start);
    let set = Plan::new(1, Script::Banner).listener("inspect-timeout = \"400ms\"").start();
    pool(&set, "db", db.server.address());
    pool(&set, "www", web.server.address());
    let routes = "route=sni=db.example.com pool=db; sni=*.web.example.com pool=www";
    set.weir.ok(&["listener", "set", "web", routes]);

    // Each client checks the certificate: it talks to the service that it wants.
    let page = db.page("db.example.com", set.weir.web).expect_code(0);
    assert_eq!(page.stdout, "db.example.com\n");
    let page = web.page("a.web.example.com", set.weir.web).expect_code(0);
    assert_eq!(page.stdout, "a.web.example.com\n");
    assert_eq!((total(&set, "db/n1"), total(&set, "www/n1")), (1, 1));

    // A server that begins the talk: its clients wait for `inspect-timeout`, and are served.
    let (mut plain, name) = set.session();
    assert_eq!(name, "b1");
    plain.echo(b"hello");
    // One that begins itself is known by its first byte.
    let mut client = set.client();
    client.send(b"GET / HTTP/1.1\r\n");
    assert_eq!(client.line(), "b1");
    client.expect(b"GET / HTTP/1.1\r\n");

    let why = |words: &[&str]| set.weir.json(&[&["why", "--client", "192.0.2.1"], words].concat());
    let found = why(&["--sni", "x.y.web.example.com"]);
    assert_eq!((&found["chosen"], &found["route"]), (&json!("www/n1"), &json!(2)), "{found}");
    let found = why(&["--sni", "web.example.com", "--listener", "web"]);
    assert_eq!((&found["chosen"], &found["route"]), (&json!("web/b1"), &Value::Null), "{found}");
    let page = set.weir.get("/api/v1/why?listener=web&client=192.0.2.1&sni=db.example.com");
    assert!(page.body.contains("\"chosen\":\"db/n1\""), "{}", page.body);

    let shown = set.weir.json(&["listener", "show", "web"]);
    let first = json!({"sni": ["db.example.com"], "alpn": [], "from": [], "pool": "db"});
    assert_eq!(shown["route"][0], first, "{shown}");
    // A pool that a route needs is not removed.
    let ran = set.weir.ctl(&["pool", "remove", "db"]).expect_code(1);
    assert!(ran.stderr.contains("used by listener web"), "{ran}");
    // The export reads back as the same.
    let file = set.weir.dir.write("next.toml", &set.weir.ok(&["config", "export"]));
    set.weir.ctl(&["config", "diff", &file]).expect_code(0);
}

#[test]
fn a_hello_may_come_byte_by_byte_and_all_of_it_reaches_the_backend() {
    let log = "session-log = { to = \"{dir}/sessions.log\", at = [\"open\"] }";
    let set = Plan::new(1, Script::Echo).settings(log).start();
    let other = weir_tests::net::Backend::start("o1", own_ip(), Script::Echo);
    pool(&set, "db", other.address);
    set.weir.ok(&["listener", "set", "web", "route=sni=DB.example.com alpn=h2 pool=db"]);
    let mut slow = set.client();
    for byte in CHROMIUM {
        slow.send(&[*byte]);
    }
    slow.expect(CHROMIUM);
    slow.echo(b"and what follows");
    // In one piece, with what follows behind it.
    let mut quick = set.client();
    quick.send(&[CHROMIUM, b"more"].concat());
    quick.expect(CHROMIUM).expect(b"more");
    assert_eq!(total(&set, "db/n1"), 2);
    let list = set.weir.json(&["session", "list", "--pool", "db"]);
    let row = &list["sessions"][0];
    assert_eq!((&row["route"], &row["sni"]), (&json!(1), &json!("db.example.com")), "{list}");
    let id = row["id"].as_str().expect("a name");
    let shown = set.weir.ok(&["session", "show", id]);
    assert!(shown.contains("server name") && shown.contains("db.example.com"), "{shown}");
    let lines = || std::fs::read_to_string(set.weir.dir.entry("sessions.log")).unwrap_or_default();
    let wanted = "\"route\":1,\"sni\":\"db.example.com\"";
    clock::wait_for("the log", || lines().matches(wanted).count() == 2);
    // Half a hello, and no more: the listener's pool gets it when its time is over.
    set.weir.ok(&["listener", "set", "web", "inspect-timeout=200ms"]);
    let mut half = set.client();
    half.send(&CHROMIUM[..700]);
    half.expect(&CHROMIUM[..700]).echo(b"goes on");
    // The same with a FIN behind it.
    let mut short = set.client();
    short.send(&CHROMIUM[..9]).fin();
    short.expect(&CHROMIUM[..9]).expect_fin();
    assert_eq!(total(&set, "web/b1"), 2);
}

#[test]
fn networks_route_without_a_look_and_behind_a_balancer_too() {
    let inside = IpAddr::V4(Ipv4Addr::new(127, 11, 0, 1));
    let set = Plan::new(1, Script::Banner).start();
    let other = weir_tests::net::Backend::start("inside", own_ip(), Script::Banner);
    pool(&set, "db", other.address);
    set.weir.ok(&["listener", "set", "web", "route=from=127.11.0.0/16,192.0.2.0/24 pool=db"]);
    assert_eq!(Peer::connect_from(inside, set.weir.web).line(), "inside");
    assert_eq!(set.session().1, "b1");
    set.weir.ok(&["listener", "set", "web", "proxy-protocol.from=127.0.0.0/8"]);
    let mut told = set.client();
    told.send(b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n");
    assert_eq!(told.line(), "inside");
    let mut told = Peer::connect_from(inside, set.weir.web);
    told.send(b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\n");
    assert_eq!(told.line(), "b1");
    // A header, then a hello.
    set.weir.ok(&["listener", "set", "web", "route=sni=*.example.com pool=db"]);
    let mut told = set.client();
    told.send(b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\n");
    told.send(CHROMIUM);
    assert_eq!(told.line(), "inside");
    told.expect(CHROMIUM);
}

#[test]
fn wrong_routes_are_refused_with_words() {
    let set = Plan::new(1, Script::Echo).start();
    for (route, part) in [
        ("sni=a.b", "has no pool"),
        ("sni=a.b pool=nowhere", "there is no pool"),
        ("pool=web", "asks for nothing"),
        ("sni=*a.b pool=web", "a wildcard stands before a dot"),
        ("host=a.b pool=web", "is not part of a route"),
        ("from=10.0.0.0/33 pool=web", "no network"),
    ] {
        let ran = set.weir.ctl(&["listener", "set", "web", &format!("route={route}")]);
        let ran = ran.expect_code(1);
        assert!(ran.stderr.contains(part) && ran.stderr.contains("hint:"), "{ran}");
    }
    let text = "[[listener.web.route]]\nsni = \"a.b\"\npool = \"web\"\nport = 1\n";
    let file = set.weir.dir.write("wrong.toml", text);
    let ran = set.weir.ctl(&["config", "apply", &file, "--partial"]).expect_code(1);
    assert!(ran.stderr.contains("port"), "{ran}");
    let text = "[[listener.web.route]]\nsni = \"a.b\"\npool = \"web\"\n";
    let file = set.weir.dir.write("right.toml", text);
    set.weir.ok(&["config", "apply", &file, "--partial"]);
    let export = set.weir.ok(&["config", "export"]);
    assert!(export.contains("{ sni = \"a.b\", pool = \"web\" },"), "{export}");
    set.weir.ok(&["listener", "set", "web", "route="]);
}

#[test]
fn nobody_waits_for_a_hello_that_decides_nothing() {
    // A server that begins the talk; a wait for a hello would be a test that never ends.
    let set = Plan::new(1, Script::Banner).listener("inspect-timeout = \"7d\"").start();
    let other = weir_tests::net::Backend::start("o1", own_ip(), Script::Banner);
    pool(&set, "db", other.address);
    let client = |octet: u8| IpAddr::from(Ipv4Addr::new(127, 9, octet, 7));
    let routes = "route=from=127.9.3.0/24 pool=db; sni=db.example.com from=127.9.5.0/24 pool=db";
    set.weir.ok(&["listener", "set", "web", routes]);
    // The first route goes by the address alone; no route can fit the second client.
    for (octet, name) in [(3, "o1"), (4, "b1")] {
        let mut peer = Peer::connect_from(client(octet), set.weir.web);
        assert_eq!(peer.line(), name);
    }
    let mut asks = Peer::connect_from(client(5), set.weir.web);
    clock::wait_for("one that is inspected", || {
        let list = set.weir.json(&["session", "list"]);
        list["sessions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|it| it["state"] == "inspecting"))
    });
    asks.send(CHROMIUM);
    assert_eq!(asks.line(), "o1");
}

#[test]
fn why_knows_drained_listeners_impossible_names_and_several_protocols() {
    let set = Plan::new(1, Script::Banner).start();
    let other = weir_tests::net::Backend::start("o1", own_ip(), Script::Banner);
    pool(&set, "db", other.address);
    set.weir.ok(&["listener", "set", "web", "route=alpn=postgresql pool=db; sni=* pool=db"]);
    let why = |words: &[&str]| set.weir.ctl(&[&["why", "--client", "192.0.2.1"], words].concat());
    let found = why(&["--alpn", "h2,postgresql"]).expect_code(0);
    assert!(found.stdout.contains("route 1 of web fits"), "{found}");
    let found = why(&["--sni", "dü.example.com"]).expect_code(1);
    assert!(found.stderr.contains("no name that a ClientHello has"), "{found}");
    let page = set.weir.get("/api/v1/why?pool=web&client=192.0.2.1&sni=db.example.com");
    assert_eq!(page.status, 400, "{}", page.body);
    set.weir.ok(&["listener", "drain", "web", "--yes"]);
    let found = why(&["--listener", "web"]).expect_code(0);
    assert!(found.stdout.contains("web is drained: it accepts no new sessions"), "{found}");
}
