//! Addresses keep their sockets while listeners change around them: nobody who connects to one that
//! stays notices.

use std::net::SocketAddr;
use std::process::Command;

use weir_tests::clock;
use weir_tests::net::{Backend, Peer, Script, free, own_ip};
use weir_tests::visitors;
use weir_tests::weir::{Start, Weir};

/// Versions that are made while clients come.
const CHANGES: usize = 100;

/// Set where a story runs in a network namespace of its own.
const INSIDE: &str = "WEIR_STORY_ADDRESSES_INSIDE";

/// Runs `story` in a network namespace of its own, with `net.ipv4.tcp_migrate_req` as it says: the
/// test starts itself again there. Where that is not allowed it runs here, as things are.
fn with_migration(name: &str, migrate: &str, story: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.is_ok_and(|status| status.success()), "the loopback comes up");
        std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", migrate).expect("it is ours");
        return story();
    }
    let may = Command::new("unshare").args(["-n", "true"]).output();
    if !may.is_ok_and(|ran| ran.status.success()) {
        eprintln!("no network namespace can be made: tcp_migrate_req stays as it is");
        return story();
    }
    let me = std::env::current_exe().expect("a test has a path");
    let mut command = Command::new("unshare");
    command.arg("-n").arg(me).args(["--exact", &format!("addresses::{name}"), "--nocapture"]);
    let ran = command.env(INSIDE, "1").output().expect("unshare is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}{}", text(&ran.stdout), text(&ran.stderr));
    eprintln!("{said}");
    assert!(ran.status.success() && said.contains("1 passed"), "the story failed in its namespace");
}

/// A listener: its name and its addresses.
type Listener<'a> = (&'a str, Vec<SocketAddr>);

fn objects(listeners: &[Listener<'_>], backend: &Backend, limit: &str) -> String {
    let mut text = String::new();
    for (name, addresses) in listeners {
        let bind: Vec<String> = addresses.iter().map(|it| format!("\"{it}\"")).collect();
        let bind = bind.join(", ");
        text += &format!("[listener.{name}]\nbind = [{bind}]\npool = \"web\"\n{limit}\n");
    }
    let address = backend.address;
    text + "[pool.web]\nhealth = { kind = \"none\" }\n[pool.web.backend]\n"
        + &format!("b1 = {{ address = \"{address}\" }}\n")
}

/// `stays` is an address that some listener has in each version.
fn nobody_at_an_address_that_stays_notices(limit: &str) {
    let backend = Backend::start("b1", own_ip(), Script::Banner);
    let [stays, other, third] = [own_ip(), own_ip(), own_ip()].map(free);
    let first = objects(&[("web", vec![stays])], &backend, limit);
    let weir = Weir::start(stays, &first, Start::default());
    let mut old = Peer::connect(stays);
    assert_eq!(old.line(), "b1");
    let versions: [Vec<Listener<'_>>; 6] = [
        vec![("web", vec![stays, other])], // one address more
        vec![("web", vec![stays, third])], // one goes, another one comes
        vec![("www", vec![stays, third])], // renamed
        vec![("two", vec![third]), ("www", vec![stays])], // an address leaves for a new one
        vec![("new", vec![stays]), ("two", vec![third])], // removed and added
        vec![("web", vec![other]), ("two", vec![stays, third])], // it goes to another one
    ];
    let visits = visitors::all_served_during(stays, || {
        for version in versions.iter().cycle().take(CHANGES) {
            let text = objects(version, &backend, limit);
            let file = weir.file("next.toml", &text);
            weir.ok(&["config", "apply", &file]);
        }
    });
    assert!(visits > CHANGES, "too few clients to prove anything: {visits}");
    old.echo(b"still here").fin().expect_fin();
}

#[test]
fn with_migration_of_waiting_clients() {
    with_migration("with_migration_of_waiting_clients", "1", || {
        nobody_at_an_address_that_stays_notices("");
    });
}

#[test]
fn without_migration_of_waiting_clients() {
    with_migration("without_migration_of_waiting_clients", "0", || {
        nobody_at_an_address_that_stays_notices("");
    });
}

#[test]
fn behind_a_limit() {
    with_migration("behind_a_limit", "0", || {
        nobody_at_an_address_that_stays_notices("max-sessions = 2");
    });
}

#[test]
fn who_waits_at_an_address_that_stays_waits_on_under_another_name() {
    let backend = Backend::start("b1", own_ip(), Script::Banner);
    let [stays, goes] = [own_ip(), own_ip()].map(free);
    let limit = "max-sessions = 1";
    let first = objects(&[("web", vec![stays, goes])], &backend, limit);
    let weir = Weir::start(stays, &first, Start::default());
    let mut served = Peer::connect(stays);
    assert_eq!(served.line(), "b1");
    // There is no place for these: they wait in the backlog of one address and the other.
    let mut waits: Vec<Peer> = (0..4).map(|_| Peer::connect(stays)).collect();
    let mut leaves = Peer::connect(goes);
    let second = objects(&[("www", vec![stays])], &backend, limit);
    let file = weir.file("next.toml", &second);
    weir.ok(&["config", "apply", &file]);
    leaves.expect_rst();
    served.echo(b"still here");
    let sessions = weir.json(&["listener", "show", "www"])["sessions"].clone();
    assert_eq!(sessions, 1, "a listener that was renamed is the same, and full");
    served.fin().expect_fin();
    // One at a time, in any order of the shards.
    clock::wait_for("all of them to be served", || {
        let place = waits.iter().position(|it| it.hears_within(clock::PATIENCE / 1000));
        if let Some(place) = place {
            let mut client = waits.swap_remove(place);
            assert_eq!(client.line(), "b1");
            client.fin().expect_fin();
        }
        waits.is_empty()
    });
    assert!(Peer::try_connect(goes).is_err(), "nobody listens there any more");
}

/// A standby's VIP: bound before this host has it, and served once it has.
fn a_listener_waits_for_its_address() {
    let backend = Backend::start("b1", own_ip(), Script::Banner);
    let web = free(own_ip());
    let vip = SocketAddr::new("192.0.2.1".parse().expect("it is one"), web.port());
    let file = |more: &str| {
        let web = format!("[listener.own]\nbind = \"{web}\"\npool = \"web\"\n");
        web + &objects(&[("web", vec![vip])], &backend, more)
    };
    let mut weir = Weir::prepare(web, &file(""), Start::default());
    weir.arguments(&["--strict"]);
    weir.spawn();
    assert_eq!(weir.wait_exit(clock::PATIENCE), 1);
    clock::wait_for("the way out", || weir.log().contains("freebind = true"));
    assert!(weir.log().contains("net.ipv4.ip_nonlocal_bind=1"), "{}", weir.log());

    weir.write(&file("freebind = true"));
    weir.run();
    assert_eq!(weir.json(&["listener", "show", "web"])["freebind"], true);
    assert!(weir.ok(&["config", "export"]).contains("freebind = true"));
    // A version that the next start could not bind is refused while this one serves.
    let strict = weir.file("strict.toml", &file(""));
    let refused = weir.ctl(&["config", "apply", &strict]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("no interface of this host has this address"), "{refused:?}");
    if std::env::var_os(INSIDE).is_none() {
        return eprintln!("no network namespace can be made: the address does not come");
    }
    let come = ["addr", "add", "192.0.2.1/32", "dev", "lo"];
    assert!(Command::new("ip").args(come).status().is_ok_and(|status| status.success()));
    let mut client = Peer::connect(vip);
    assert_eq!(client.line(), "b1");
    weir.ok(&["config", "apply", &strict]);
    assert_eq!(weir.json(&["listener", "show", "web"])["freebind"], false);
    assert!(Peer::try_connect(vip).is_ok(), "it keeps its sockets");
    client.fin().expect_fin();
}

#[test]
fn before_the_address_comes() {
    with_migration("before_the_address_comes", "0", a_listener_waits_for_its_address);
}
