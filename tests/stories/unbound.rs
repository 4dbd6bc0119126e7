//! A start binds what it can: one address that somebody else has keeps no other from being served,
//! and is served itself once it is free.

use std::net::{SocketAddr, TcpListener};

use weir_tests::clock;
use weir_tests::net::{Backend, Peer, Script, free, own_ip};
use weir_tests::weir::{Start, Weir};

/// Listeners `web` and `other`, each with one address.
fn objects(web: SocketAddr, other: SocketAddr, backend: &Backend) -> String {
    let address = backend.address;
    format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"web\"\n\
         [listener.other]\nbind = \"{other}\"\npool = \"web\"\n\
         [pool.web]\nhealth = {{ kind = \"none\" }}\n[pool.web.backend]\n\
         b1 = {{ address = \"{address}\" }}\n"
    )
}

fn state(weir: &Weir, listener: &str) -> String {
    weir.json(&["listener", "show", listener])["state"].as_str().expect("a word").to_owned()
}

fn is_served(at: SocketAddr) -> bool {
    Peer::try_connect(at).and_then(|mut peer| peer.try_line()).is_ok_and(|line| line == "b1")
}

#[test]
fn the_other_port_is_served_and_the_taken_one_when_it_is_free() {
    let backend = Backend::start("b1", own_ip(), Script::Banner);
    let [web, other] = [own_ip(), own_ip()].map(free);
    let owner = TcpListener::bind(other).expect("it is free");
    let start = Start { failpoints: true, ..Start::default() };
    let weir = Weir::start(web, &objects(web, other, &backend), start);
    clock::wait_for("the line", || weir.log().contains("listeners 2, 1 address is not bound"));
    assert!(weir.log().contains(&format!("cannot bind {other}: address in use")), "{}", weir.log());
    assert!(is_served(web));
    assert_eq!((state(&weir, "web"), state(&weir, "other")), ("open".into(), "unbound".into()));
    let row = weir.json(&["listener", "show", "other"])["unbound"][0].clone();
    assert_eq!(
        (&row["address"], &row["why"]),
        (&other.to_string().into(), &"address in use".into())
    );
    assert!(weir.ok(&["status"]).contains("it is tried again; see who has it"));
    let gauge = |count| format!("weir_listener_unbound{{listener=\"other\"}} {count}\n");
    assert!(weir.get("/metrics").body.contains(&gauge(1)));
    assert_eq!(weir.get("/readyz").status, 200);

    // Changes go on beside it, but none takes an address that somebody else has.
    weir.ok(&["backend", "weight", "web/b1", "5"]);
    let add = ["listener", "add", "third", &other.to_string(), "--pool", "web"];
    assert_ne!(weir.ctl(&add).code, 0, "two listeners have one address");
    if weir.log().contains("failpoints are armed") {
        weir.strike("shard 1 panic 0");
        clock::wait_for("the shard", || weir.log().contains("shard 1 was built again"));
        assert_eq!(state(&weir, "other"), "unbound");
    }
    clock::wait_for("the other port of every shard", || is_served(web));

    drop(owner);
    clock::wait_for("the port that is free now", || is_served(other));
    assert_eq!(state(&weir, "other"), "open");
    assert!(weir.get("/metrics").body.contains(&gauge(0)));
    assert!(weir.ok(&["events"]).contains(&format!("{other} is bound, after ")));
}

#[test]
fn without_control_a_rebuilt_shard_has_what_was_bound() {
    let backend = Backend::start("b1", own_ip(), Script::Banner);
    let [web, other] = [own_ip(), own_ip()].map(free);
    let _owner = TcpListener::bind(other).expect("it is free");
    let start = Start { failpoints: true, shards: 1, ..Start::default() };
    let weir = Weir::start(web, &objects(web, other, &backend), start);
    if !weir.log().contains("failpoints are armed") {
        return eprintln!("a build without failpoints: nothing can be struck");
    }
    weir.strike("control panic");
    clock::wait_for("the fallback", || weir.log().contains("the control thread has died."));
    weir.strike("shard 0 panic 0");
    clock::wait_for("the shard", || weir.log().contains("shard 0 serves again"));
    clock::wait_for("a client to be served", || is_served(web));
}

#[test]
fn a_first_start_needs_one_address_and_a_strict_one_all() {
    let backend = Backend::start("b1", own_ip(), Script::Banner);
    let [web, other] = [own_ip(), own_ip()].map(free);
    let owner = TcpListener::bind(other).expect("it is free");
    let mut weir = Weir::prepare(web, &objects(web, other, &backend), Start::default());
    let refused = |weir: &mut Weir, addresses: &[SocketAddr]| {
        weir.spawn();
        assert_eq!(weir.wait_exit(clock::PATIENCE), 1);
        let says = |at: &SocketAddr| weir.log().contains(&format!("cannot bind {at}: address in"));
        clock::wait_for("the reasons", || addresses.iter().all(says));
        clock::wait_for("the hint", || weir.log().contains("hint: see who has it: ss -ltnp"));
    };
    weir.arguments(&["--strict"]);
    refused(&mut weir, &[other]);
    assert!(!weir.dir.path.join("state/weir.redb").exists(), "no state has begun");

    let both = TcpListener::bind(web).expect("it is free");
    weir.arguments(&[]);
    refused(&mut weir, &[web, other]);
    drop(both);
    weir.run();
    assert!(is_served(web));
    weir.kill();

    // A state is served, whatever can be bound of it.
    let both = clock::wait_within(clock::PATIENCE, "the port of a weir that was killed", || {
        TcpListener::bind(web).ok()
    });
    weir.run();
    let ready = weir.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("no address of a listener could be bound"), "{}", ready.body);
    drop((both, owner));
    clock::wait_for("both", || is_served(web) && is_served(other));
    clock::wait_for("readiness", || weir.get("/readyz").status == 200);
}
