//! Backends that take a session and close it before they have sent a byte: another one gets it.

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::real::{Server, wrk, wrk_result};
use weir_tests::story::{Plan, Set};

const REPLAY: &str = "redispatch = { replay = \"4KiB\" }";

/// The other end of the next connection to a backend, and which one it is.
fn next(set: &Set) -> (usize, Peer) {
    clock::wait_within(clock::PATIENCE, "a connection to a backend", || {
        let mut all = set.backends.iter().enumerate();
        all.find_map(|(index, backend)| Some((index, backend.try_accept()?)))
    })
}

/// How many sessions the backends have closed early, and others have got.
fn redispatched(set: &Set) -> u64 {
    let page = set.weir.get("/metrics").body;
    let closed = |name: &str| {
        let labels = [format!("backend=\"{name}\""), "reason=\"closed\"".to_owned()];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        count(&page, "weir_backend_connect_failures_total", &labels)
    };
    set.backends.iter().map(|backend| closed(&backend.name)).sum()
}

#[test]
fn three_resets_of_ten_fail_no_client() {
    for (script, good, pool) in
        [(Script::Flaky(0), Script::Banner, ""), (Script::Flaky(5), Script::Echo, REPLAY)]
    {
        // One shard: on one of two, chance may put three closes in a row, which eject a backend.
        let set = Plan::new(3, good).script(0, script).pool(pool).shards(1).start();
        for _ in 0..200 {
            let mut client = set.client();
            if good == Script::Banner {
                client.line();
            }
            client.send(b"hello").expect(b"hello").fin().expect_fin();
        }
        clock::wait_for("all of them to be counted", || redispatched(&set) >= 15);
        let page = set.weir.get("/metrics").body;
        assert_eq!(count(&page, "weir_backend_early_closes_total", &["backend=\"b1\""]), 0);
        assert_eq!(set.weir.backend("web/b1")["state"], "up", "its bytes speak for it");
    }
}

#[test]
fn a_killed_nginx_costs_no_request() {
    let mut servers = ["n1", "n2", "n3"].map(|name| Server::nginx(name, 1000));
    let mut plan = Plan::new(0, Script::Silent).pool(REPLAY);
    for (index, server) in servers.iter().enumerate() {
        plan = plan.extern_backend(&format!("b{}", index + 1), server.address());
    }
    let set = plan.start();
    let load = wrk(set.weir.web, 16, 3, &["-H", "Connection: close"]);
    clock::wait_for("the load to arrive", || {
        set.weir.backend("web/b1")["sessions_total"].as_u64() > Some(20)
    });
    servers[0].kill();
    let ran = load.end().expect_code(0);
    let (requests, failed) = wrk_result(&ran);
    assert!(failed == 0 && requests > 100, "{failed} of {requests} failed: {ran}");
}

#[test]
fn a_request_and_its_end_go_to_another_backend() {
    let set = Plan::new(2, Script::ByHand).pool(REPLAY).start();
    let mut client = set.client();
    client.send(b"one ");
    let (first, mut server) = next(&set);
    server.expect(b"one ");
    client.send(b"two").fin();
    server.expect(b"two").expect_fin();
    server.rst();
    let (second, mut server) = next(&set);
    assert_ne!(first, second);
    server.expect(b"one two").expect_fin().send(b"answer").fin();
    client.expect(b"answer").expect_fin();
    clock::wait_for("its figures", || redispatched(&set) == 1);
    let stats = set.weir.json(&["stats"]);
    assert_eq!(stats["connect_failures_total"]["closed"], 1, "{stats}");
}

#[test]
fn a_server_that_sends_first_is_replaced_whether_it_closes_or_resets() {
    let set = Plan::new(3, Script::ByHand).start();
    let mut client = set.client();
    next(&set).1.fin();
    next(&set).1.rst();
    let (_, mut server) = next(&set);
    server.send(b"hello");
    client.expect(b"hello").send(b"hi");
    server.expect(b"hi");
    server.rst();
    client.expect_rst();
}

#[test]
fn nothing_is_sent_twice_without_leave_nor_after_an_answer() {
    let too_much = [7; 5000];
    let cases: [(&str, &[u8], &[u8]); 4] = [
        ("", b"request", b""),
        ("redispatch = \"off\"", b"", b""),
        (REPLAY, &too_much, b""),
        (REPLAY, b"request", b"a"),
    ];
    for (pool, request, answer) in cases {
        let set = Plan::new(2, Script::ByHand).pool(pool).start();
        let mut client = set.client();
        client.send(request);
        let (_, mut server) = next(&set);
        server.expect(request).send(answer);
        client.expect(answer);
        server.rst();
        client.expect_rst();
        assert!(set.backends.iter().all(|it| it.try_accept().is_none()), "{pool}");
        clock::wait_for("the session to be over", || set.weir.sessions() == 0);
        assert_eq!(redispatched(&set), 0, "{pool}");
    }
}

/// A client that only connects and leaves, as a check does, costs no other backend a session.
#[test]
fn probes_are_nobodys_fault() {
    let set = Plan::new(2, Script::ByHand).pool(REPLAY).start();
    for resets in [false, true] {
        let mut client = set.client();
        client.fin();
        let (_, mut server) = next(&set);
        server.expect_fin();
        if resets {
            server.rst();
            client.expect_rst();
        } else {
            server.fin();
            client.expect_fin();
        }
    }
    assert!(set.backends.iter().all(|it| it.try_accept().is_none()));
    assert_eq!(redispatched(&set), 0);
}

#[test]
fn the_only_backend_is_passed_on_as_it_closes() {
    let set = Plan::new(1, Script::ByHand).pool(REPLAY).start();
    let (mut client, mut server) = set.pair();
    server.fin();
    client.expect_fin().fin();
    server.expect_fin();
    let (mut client, server) = set.pair();
    server.rst();
    client.expect_rst();
    clock::wait_for("both to be over", || set.weir.sessions() == 0);
    assert_eq!(redispatched(&set), 0);
}

#[test]
fn a_backend_that_closes_every_session_is_ejected() {
    let set = Plan::new(3, Script::Banner).script(0, Script::RstAfter(0)).shards(1).start();
    for _ in 0..20 {
        assert_ne!(set.session().1, "b1");
    }
    set.weir.wait_state("web/b1", "down");
    assert!(redispatched(&set) >= 3);
}

#[test]
fn each_backend_gets_a_header_of_its_own() {
    let pool = format!("{REPLAY}\nproxy-protocol = \"v1\"");
    let set = Plan::new(2, Script::ByHand).pool(&pool).start();
    let mut client = set.client();
    client.send(b"request");
    let header = format!("PROXY TCP4 {}", client.source().ip());
    for is_last in [false, true] {
        let (_, mut server) = next(&set);
        let line = server.line();
        assert!(line.starts_with(&header), "{line}");
        server.expect(b"request");
        if is_last {
            server.send(b"answer");
        } else {
            server.rst();
        }
    }
    client.expect(b"answer");
}

#[test]
fn it_can_be_changed_and_is_shown() {
    let set = Plan::new(1, Script::ByHand).start();
    let redispatch = || set.weir.json(&["pool", "show", "web"])["redispatch"].clone();
    assert_eq!(redispatch(), serde_json::json!({"mode": "on", "replay_bytes": null}));
    set.weir.ok(&["pool", "set", "web", "redispatch.replay=8KiB"]);
    assert_eq!(redispatch(), serde_json::json!({"mode": "on", "replay_bytes": 8192}));
    assert!(set.weir.ok(&["config", "export"]).contains("redispatch = { replay = \"8KiB\" }"));
    set.weir.ok(&["pool", "set", "web", "redispatch=off"]);
    assert_eq!(redispatch(), serde_json::json!({"mode": "off", "replay_bytes": null}));
    assert!(set.weir.ok(&["config", "export"]).contains("redispatch = \"off\""));
    set.weir.ctl(&["pool", "set", "web", "redispatch.replay=1MiB"]).expect_code(1);
}
