//! Every key of every object is changed while it is in use: live sessions stay, new ones go by the
//! new value, and the undo that weir prints gives the configuration of before.

use std::net::Ipv6Addr;
use std::process::Command;

use weir_proto::settings::{BACKEND, Form, LISTENER, POOL, Setting};
use weir_tests::clock;
use weir_tests::net::{Backend, Peer, Script, free, own_ip};
use weir_tests::story::{Plan, Set};
use weir_tests::visitors;
use weir_tests::weir::{Ran, binary};

/// Runs a line that weir has printed, in a shell.
fn shell(set: &Set, line: &str) {
    let weirctl = binary("weirctl", "WEIRCTL_BIN");
    let here = weirctl.parent().expect("it is in a directory").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{line} --yes")]).env("PATH", format!("{here}:{path}"));
    Ran::of(command.env("WEIR_SOCKET", &set.weir.socket)).expect_code(0);
}

/// Words of `set` that change the key to something that would hurt a session that obeyed it.
fn words<S>(set: &Set, setting: &Setting<S>) -> Vec<Vec<String>> {
    let with = |more: &[&str], value: &str| {
        let more = more.iter().map(|word| (*word).to_owned());
        more.chain([format!("{}={value}", setting.key)]).collect()
    };
    match (setting.key, setting.form) {
        ("health.path", _) => vec![with(&["health.kind=http"], "/nothing")],
        ("health.send", _) => vec![with(&["health.kind=send-expect", "health.expect=x"], "hello")],
        ("health.expect", _) => vec![with(&["health.kind=http"], "204")],
        ("health.method", _) => vec![with(&["health.kind=http"], "HEAD")],
        ("health.host", _) => vec![with(&["health.kind=tls"], "a.example")],
        ("health.user", _) => vec![with(&["health.kind=mysql"], "u")],
        ("health.steps", _) => vec![with(&["health.kind=send-expect"], "send a;expect b")],
        ("health.kind", _) => vec![with(&[], "tcp"), with(&[], "http")],
        ("agent.address", _) => vec![with(&["agent.port=9"], "127.0.0.1")],
        (key, form) if key.starts_with("agent.") && key != "agent.port" => {
            vec![with(&["agent.port=9"], &form.example().to_string())]
        }
        ("discover.dns", _) => vec![with(&[], "a.internal:443")],
        ("discover.srv", _) => vec![with(&[], "_a._tcp.internal")],
        (key, form) if key.starts_with("discover.") => {
            vec![with(&["discover.dns=a.internal:443"], &form.example().to_string())]
        }
        ("max-sessions", _) => vec![with(&[], "1")],
        ("per-source.ipv4", _) => vec![with(&["per-source.sessions=100"], "24")],
        ("per-source.ipv6", _) => vec![with(&["per-source.sessions=100"], "48")],
        ("weight", _) => vec![with(&[], "0"), with(&[], "256")],
        ("bind", _) => {
            let [one, two] = [free(own_ip()), free(own_ip())];
            let both = format!("{one},{}", set.weir.web);
            vec![with(&[], &two.to_string()), with(&[], &both)]
        }
        ("v6only", _) => {
            let port = free(Ipv6Addr::UNSPECIFIED.into()).port();
            vec![with(&[&format!("bind=[::]:{port},{}", set.weir.web)], "false")]
        }
        ("interface", _) => vec![with(&[], "lo")],
        ("address", _) => vec![with(&[], &free(own_ip()).to_string())],
        (_, Form::Word { words, .. }) => words.iter().map(|word| with(&[], word)).collect(),
        (_, Form::Name { .. }) => vec![with(&[], "spare")],
        (_, Form::Routes) => vec![with(&[], "sni=a.b pool=spare; from=127.0.0.0/8 pool=spare")],
        _ => vec![with(&[], &setting.form.example().to_string())],
    }
}

/// Sets each key of the table, and takes it back, with `live` through the object all the time.
fn each_key<S>(set: &Set, live: &mut Peer, table: &[Setting<S>], (noun, name): (&str, &str)) {
    let export = || set.weir.ok(&["config", "export"]);
    for setting in table {
        let mut changes = 0;
        for words in words(set, setting) {
            let before = export();
            let mut line = vec![noun, "set", name, "--yes"];
            line.extend(words.iter().map(String::as_str));
            let changed = set.weir.json(&line);
            let undo = changed["undo"].as_str().expect("it is a text");
            if undo.is_empty() {
                continue;
            }
            changes += 1;
            assert_ne!(export(), before, "{line:?}");
            live.echo(b"the key has changed");
            if setting.key == "timeout.idle" {
                // Who comes now has no time, and who was there has.
                let mut short = set.client();
                short.rest();
                live.echo(b"others were cut off");
            }
            shell(set, undo);
            assert_eq!(export(), before, "{line:?}, then {undo}");
            live.echo(b"and back");
        }
        assert!(changes > 0, "{} was not changed", setting.key);
    }
}

/// A set with two backends, a pool `spare`, and a session through listener `web` to `web/b1`.
fn with_session_of_b1() -> (Set, Peer) {
    let set = Plan::new(2, Script::Banner).start();
    set.weir.ok(&["pool", "add", "spare", "strategy=random", "health.kind=none"]);
    loop {
        let (client, name) = set.session();
        if name == "b1" {
            return (set, client);
        }
    }
}

#[test]
fn a_live_session_lives_through_a_change_of_every_key_of_its_listener() {
    let (set, mut live) = with_session_of_b1();
    each_key(&set, &mut live, LISTENER, ("listener", "web"));
    set.session().0.echo(b"a new one too");
    live.fin().expect_fin();
}

#[test]
fn a_live_session_lives_through_a_change_of_every_key_of_its_pool() {
    let (set, mut live) = with_session_of_b1();
    each_key(&set, &mut live, POOL, ("pool", "web"));
    set.session().0.echo(b"a new one too");
    live.fin().expect_fin();
}

#[test]
fn a_live_session_lives_through_a_change_of_every_key_of_its_backend() {
    let (set, mut live) = with_session_of_b1();
    each_key(&set, &mut live, BACKEND, ("backend", "web/b1"));
    set.session().0.echo(b"a new one too");
    live.fin().expect_fin();
}

/// A set with the pools `web` (backend b1) and `green` (backend g1, which is given).
fn with_green() -> (Set, Backend) {
    let set = Plan::new(1, Script::Banner).start();
    let green = Backend::start("g1", own_ip(), Script::Banner);
    set.weir.ok(&["pool", "add", "green", "health.kind=none", "health.slow-start=0s"]);
    set.weir.ok(&["backend", "add", "green/g1", &green.address.to_string(), "weight=3"]);
    assert_eq!(set.weir.backend("green/g1")["weight"], 3);
    (set, green)
}

#[test]
fn a_listener_goes_to_another_pool_under_load_and_no_client_notices() {
    const MOVES: usize = 40;
    let (set, _green) = with_green();
    let (mut blue, _) = set.session();
    let visits = visitors::all_served_during(set.weir.web, || {
        for (pool, backend) in [("green", "g1"), ("web", "b1")].into_iter().cycle().take(MOVES) {
            let answer = set.weir.json(&["listener", "set", "web", &format!("pool={pool}")]);
            assert_eq!(answer["after"]["pool"], pool, "{answer}");
            // What is answered, every shard obeys.
            assert_eq!(set.session().1, backend);
        }
    });
    assert!(visits > MOVES, "too few clients to prove anything: {visits}");
    blue.echo(b"where it began").fin().expect_fin();
}

#[test]
fn a_listener_goes_to_an_empty_pool_only_with_a_yes() {
    let (set, mut live) = with_session_of_b1();
    let refused = set.weir.ctl(&["listener", "set", "web", "pool=spare"]).expect_code(2);
    assert!(refused.stderr.contains("pool spare, which has no backend"), "{refused}");
    let refused = set.weir.ctl(&["listener", "set", "web", "pool=spar"]).expect_code(4);
    assert!(refused.stderr.contains("spare"), "{refused}");
    assert_eq!(set.weir.json(&["listener", "show", "web"])["pool"], "web");
    set.weir.ok(&["listener", "set", "web", "pool=spare", "--yes"]);
    live.echo(b"where it began");
}

#[test]
fn a_listener_moves_to_another_address_and_its_sessions_stay() {
    let (set, mut live) = with_session_of_b1();
    let (old, new) = (set.weir.web, free(own_ip()));
    let taken = std::net::TcpListener::bind(free(own_ip())).expect("it is free");
    let taken = taken.local_addr().expect("it is bound");
    let version = set.weir.version();
    let bind = |address| format!("bind={address}");
    // Nothing is given up for an address that cannot be had.
    let refused = set.weir.ctl(&["listener", "set", "web", &bind(taken)]).expect_code(1);
    assert!(refused.stderr.contains("address in use"), "{refused}");
    set.weir.ok(&["listener", "set", "web", &bind(new), "--dry-run"]);
    assert_eq!(set.weir.version(), version);
    set.session().0.echo(b"served where it was");

    set.weir.ok(&["listener", "set", "web", &bind(new)]);
    Peer::connect(new).line();
    clock::wait_for("the old address to refuse", || Peer::try_connect(old).is_err());
    live.echo(b"by the old address");
    let shown = set.weir.json(&["listener", "show", "web"]);
    assert_eq!(shown["bind"], serde_json::json!([new.to_string()]));
    live.fin().expect_fin();
}

#[test]
fn a_backend_with_another_address_is_another_one_and_the_old_ones_sessions_run_on() {
    let set = Plan::new(1, Script::Banner).start();
    let other = Backend::start("b9", own_ip(), Script::Banner);
    let (mut old, name) = set.session();
    assert_eq!(name, "b1");
    let word = format!("address={}", other.address);
    let changed = set.weir.json(&["backend", "set", "web/b1", &word, "weight=7"]);
    assert_eq!(changed["after"]["address"], other.address.to_string(), "{changed}");
    assert_eq!(set.session().1, "b9");
    old.echo(b"to the old address");
    // The old one is shown beside it for as long as it has sessions, and can be forced.
    let shown = set.weir.backend("web/b1");
    assert_eq!((&shown["weight"], &shown["removed"]), (&7.into(), &false.into()), "{shown}");
    let list = set.weir.json(&["backend", "list"]);
    let gone = list["backends"].as_array().expect("a list").iter().find(|it| it["removed"] == true);
    let gone = gone.expect("the old one is shown");
    assert_eq!((&gone["name"], &gone["sessions"]), (&"web/b1".into(), &1.into()), "{list}");
    assert_eq!(gone["address"], set.backends[0].address.to_string());
    set.weir.ok(&["backend", "remove", "web/b1", "--force", "--yes"]);
    old.expect_rst();
}

#[test]
fn what_cannot_be_set_is_refused_and_says_what_can() {
    let set = Plan::new(1, Script::Banner).start();
    let before = set.weir.version();
    for (words, part) in [
        (["backend", "set", "web/b1", "wieght=2"], "weight"),
        (["backend", "set", "web/b1", "weight=x"], "not a count"),
        (["backend", "set", "web/b1", "address=localhost:80"], "IP:PORT"),
        (["backend", "set", "web/b1", "address=10.0.0.1:80,10.0.0.2:80"], "one address"),
        (["listener", "set", "web", "state=maint"], "ready, drain"),
        (["listener", "set", "web", "max-sessions=0"], "0 sessions"),
        (["listener", "set", "web", "per-source.ipv4=24"], "limit nothing"),
        (["listener", "set", "web", "per-source.ipv4=33"], "33 is out of range"),
        (["listener", "set", "web", "per-source.sessions=0"], "out of range"),
        (["listener", "set", "web", "bind="], "IP:PORT"),
        (["pool", "add", "new", "timeout.idle=1"], "timeout.idle"),
    ] {
        let refused = set.weir.ctl(&words).expect_code(1);
        assert!(refused.stderr.contains(part), "{refused}");
    }
    assert_eq!(set.weir.version(), before);
}
