//! Backends come and go while weir runs. What a command has answered, every shard obeys.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::{Backend, Peer, Script, own_ip};
use weir_tests::story::{Plan, Set};

#[test]
fn a_backend_is_added_and_gets_its_share_at_once() {
    let set = Plan::new(1, Script::Banner).start();
    let new = Backend::start("b2", own_ip(), Script::Banner);
    let changed = set.weir.json(&["backend", "add", "web/b2", &new.address.to_string()]);
    assert!(changed["before"].is_null(), "{changed}");
    assert!(changed["version"].as_u64().is_some(), "{changed}");
    let names: Vec<String> = (0..20).map(|_| set.session().1).collect();
    let count = names.iter().filter(|name| *name == "b2").count();
    assert!((8..=12).contains(&count), "{names:?}");
}

#[test]
fn a_backend_that_is_removed_keeps_its_sessions_and_gets_no_new_ones() {
    let set = Plan::new(2, Script::Banner).start();
    let mut sessions: Vec<_> = (0..20).map(|_| set.session()).collect();
    assert!(sessions.iter().any(|(_, name)| name == "b2"));
    set.weir.ok(&["backend", "remove", "web/b2"]);
    assert_eq!(set.spread(40, None), [40, 0]);
    for (client, _) in &mut sessions {
        client.echo(b"still here");
    }
    for (client, _) in &mut sessions {
        client.fin().expect_fin();
    }
    clock::wait_for("b2 to vanish from the list", || {
        let list = set.weir.json(&["backend", "list"]);
        list["backends"].as_array().is_some_and(|rows| rows.len() == 1)
    });
}

#[test]
fn remove_by_force_resets_the_sessions() {
    let set = Plan::new(2, Script::Banner).start();
    let sessions: Vec<_> = (0..20).map(|_| set.session()).collect();
    set.weir.ok(&["backend", "remove", "web/b2", "--force", "--yes"]);
    for (mut client, name) in sessions {
        if name == "b2" {
            client.expect_rst();
        } else {
            client.echo(b"untouched");
        }
    }
}

#[test]
fn several_backends_are_one_version_and_one_way_back() {
    let set = Plan::new(4, Script::Banner).start();
    let version = set.weir.version();
    let states = || -> Vec<String> {
        let state = |row: &Value| row["state"].as_str().expect("a word").to_owned();
        let list = set.weir.json(&["backend", "list"]);
        list["backends"].as_array().expect("a list").iter().map(state).collect()
    };
    let drained = set.weir.json(&["backend", "drain", "web/b1", "web/b3", "--wait", "5s"]);
    assert_eq!(drained["version"], version + 1, "{drained}");
    assert_eq!(states(), ["draining", "up", "draining", "up"]);
    assert_eq!(
        drained["undo"],
        format!("weirctl backend ready web/b1 web/b3 --if-version {}", version + 1)
    );
    let undo = drained["undo"].as_str().expect("a command");
    set.weir.ok(&undo.split(' ').skip(1).collect::<Vec<_>>());
    assert_eq!(states(), ["up"; 4]);
    // All of them: the pool would serve no more. One question, and nothing is done without a yes.
    let refused = set.weir.ctl(&["backend", "maint", "web/*"]).expect_code(2);
    assert!(refused.stderr.contains("no backend that takes sessions"), "{refused}");
    assert_eq!(states(), ["up"; 4]);
    let tried = set.weir.json(&["backend", "maint", "web/*", "--dry-run"]);
    assert_eq!(tried["changes"].as_array().map(Vec::len), Some(4), "{tried}");
    // One name that is wrong, and none of the others changes.
    let wrong = set.weir.ctl(&["backend", "drain", "web/b1", "web/b22"]).expect_code(4);
    assert!(wrong.stderr.contains("web/b2"), "{wrong}");
    assert_eq!(set.weir.version(), version + 2);
    let weighed = set.weir.json(&["backend", "weight", "*/b2", "web/b4", "7"]);
    assert_eq!(weighed["version"], version + 3, "{weighed}");
    assert_eq!(set.weir.backend("web/b4")["weight"], 7);
    let paced = set.weir.json(&["backend", "drain", "web/b2", "web/b4", "--over", "1s"]);
    assert_eq!(paced["tasks"].as_array().map(Vec::len), Some(2), "{paced}");
}

#[test]
fn a_pattern_is_removed_with_its_sessions() {
    let set = Plan::new(3, Script::Banner).start();
    set.weir.ok(&["pool", "add", "other"]);
    let sessions: Vec<_> = (0..18).map(|_| set.session()).collect();
    let version = set.weir.version();
    let asked = set.weir.ctl(&["backend", "remove", "web/b1", "web/b2", "--force"]).expect_code(2);
    assert!(asked.stderr.contains("sessions of 2 backends would be reset"), "{asked}");
    set.weir.ok(&["backend", "remove", "web/b1", "web/b2", "--force", "--yes"]);
    assert_eq!(set.weir.version(), version + 1);
    for (mut client, name) in sessions {
        if name == "b3" {
            client.echo(b"untouched");
        } else {
            client.expect_rst();
        }
    }
}

/// The rows of a list whose name is web/b2.
fn rows_of_b2(set: &Set) -> Vec<Value> {
    let list = set.weir.json(&["backend", "list"]);
    let rows = list["backends"].as_array().expect("a list").iter();
    rows.filter(|row| row["name"] == "web/b2").cloned().collect()
}

#[test]
fn what_was_removed_before_can_still_be_found_and_forced() {
    let set = Plan::new(2, Script::Banner).start();
    let sessions: Vec<_> = (0..20).map(|_| set.session()).collect();
    let count = sessions.iter().filter(|(_, name)| name == "b2").count();
    set.weir.ok(&["backend", "remove", "web/b2"]);
    let shown = set.weir.json(&["backend", "show", "web/b2"]);
    assert_eq!((&shown["state"], &shown["sessions"]), (&"removed".into(), &count.into()));
    let row = "weir_backend_state{pool=\"web\",backend=\"b2\",state=\"removed\"} 1";
    clock::wait_for("the word in metrics", || set.weir.get("/metrics").body.contains(row));
    let version = set.weir.json(&["status"])["version"].clone();
    set.weir.ctl(&["backend", "remove", "web/b2"]).expect_code(4);
    set.weir.ok(&["backend", "remove", "web/b2", "--force", "--yes"]);
    for (mut client, name) in sessions {
        if name == "b2" {
            client.expect_rst();
        } else {
            client.echo(b"untouched");
        }
    }
    assert_eq!(set.weir.json(&["status"])["version"], version, "no version");
}

#[test]
fn one_that_is_added_again_has_one_row_with_all_its_sessions() {
    let set = Plan::new(2, Script::Banner).start();
    let mut sessions: Vec<_> = (0..20).map(|_| set.session()).collect();
    let count = sessions.iter().filter(|(_, name)| name == "b2").count();
    set.weir.ok(&["backend", "remove", "web/b2"]);
    let address = set.backends[1].address.to_string();
    set.weir.ok(&["backend", "add", "web/b2", &address]);
    let rows = rows_of_b2(&set);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["removed"], &rows[0]["sessions"]), (&false.into(), &count.into()));
    set.weir.ok(&["backend", "remove", "web/b2", "--force", "--yes"]);
    for (client, name) in &mut sessions {
        if name == "b2" {
            client.expect_rst();
        }
    }
    clock::wait_for("b2 to vanish from the list", || rows_of_b2(&set).is_empty());
}

#[test]
fn force_asks_first_and_without_a_terminal_refuses() {
    let set = Plan::new(1, Script::Banner).start();
    let (mut client, _) = set.session();
    set.weir.ctl(&["backend", "remove", "web/b1", "--force"]).expect_code(2);
    client.echo(b"nothing happened");
    assert_eq!(set.weir.backend("web/b1")["state"], "up");
}

#[test]
fn drain_maint_and_ready() {
    let set = Plan::new(2, Script::Banner).start();
    for (verb, state) in [("drain", "draining"), ("maint", "maint")] {
        let mut sessions: Vec<_> = (0..10).map(|_| set.session()).collect();
        set.weir.ok(&["backend", verb, "web/b1"]);
        assert_eq!(set.weir.backend("web/b1")["state"], state);
        assert_eq!(set.spread(20, None), [0, 20], "{verb}");
        for (client, _) in &mut sessions {
            client.echo(b"still here");
        }
        set.weir.ok(&["backend", "ready", "web/b1"]);
        assert_eq!(set.weir.backend("web/b1")["state"], "up");
        assert!(set.spread(20, None)[0] >= 8, "after ready");
    }
}

#[test]
fn drain_waits_for_the_last_session_or_says_that_it_did_not_end() {
    let set = Plan::new(2, Script::Banner).start();
    let mut sessions: Vec<_> = (0..4).map(|_| set.session()).collect();
    set.weir.ctl(&["backend", "drain", "web/b1", "--wait", "300ms"]).expect_code(6);
    for (client, _) in &mut sessions {
        client.echo(b"the wait ended, the session did not").fin().expect_fin();
    }
    set.weir.ctl(&["backend", "drain", "web/b1", "--wait", "10s"]).expect_code(0);
}

#[test]
fn without_a_backend_a_client_is_reset_and_told_nothing() {
    let set = Plan::new(1, Script::Banner).start();
    set.weir.ok(&["backend", "maint", "web/b1", "--yes"]);
    // The reset may be there before the client has looked at its connect.
    if let Ok(mut client) = Peer::try_connect(set.weir.web) {
        assert!(client.rest().0.is_empty());
    }
    set.weir.ctl(&["status", "--check"]).expect_code(3);
    set.weir.ok(&["backend", "ready", "web/b1"]);
    set.weir.ctl(&["status", "--check"]).expect_code(0);
    set.session().0.echo(b"served again");
}

/// What the clients and the operator of the story below share.
#[derive(Default)]
struct StoryShared {
    /// Odd while b2 is gone: from after the answer of `remove` to before the request of `add`.
    phase: AtomicU64,
    /// Sessions that began and ended in the same gone phase.
    proven: AtomicU64,
    /// Sessions that reached b2 although it was gone when they began.
    wrong: AtomicU64,
    /// Sessions that were not served.
    failed: AtomicU64,
    served: AtomicU64,
    stop: AtomicBool,
}

fn client_loop(set: &Set, shared: &StoryShared) {
    while !shared.stop.load(Ordering::SeqCst) {
        let before = shared.phase.load(Ordering::SeqCst);
        let banner = Peer::try_connect(set.weir.web).and_then(|mut client| {
            let line = client.try_line()?;
            // A reset instead of a FIN: no TIME_WAIT, so that ports do not run out.
            client.rst();
            Ok(line)
        });
        let after = shared.phase.load(Ordering::SeqCst);
        match banner {
            Err(_) => _ = shared.failed.fetch_add(1, Ordering::SeqCst),
            Ok(name) => {
                shared.served.fetch_add(1, Ordering::SeqCst);
                let gone = before % 2 == 1 && before == after;
                if gone {
                    shared.proven.fetch_add(1, Ordering::SeqCst);
                }
                if gone && name == "b2" {
                    shared.wrong.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }
}

/// Four clients open sessions as fast as they can while b2 is removed and added again fifty times.
/// No session that is started after the answer of `remove` reaches b2, and none fails.
#[test]
fn no_session_reaches_a_backend_after_its_removal_was_answered() {
    const ROUNDS: u64 = 50;
    const CLIENTS: usize = 4;
    let set = Plan::new(3, Script::Banner).start();
    let shared = StoryShared::default();
    let address = set.backends[1].address.to_string();
    let (mut kept, _) = loop {
        let session = set.session();
        if session.1 == "b2" {
            break session;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| client_loop(&set, &shared));
        }
        let operator = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..ROUNDS {
                set.weir.ok(&["backend", "remove", "web/b2"]);
                shared.phase.fetch_add(1, Ordering::SeqCst);
                let proven = shared.proven.load(Ordering::SeqCst);
                clock::wait_for("sessions while b2 is gone", || {
                    shared.proven.load(Ordering::SeqCst) >= proven + 2 * CLIENTS as u64
                });
                shared.phase.fetch_add(1, Ordering::SeqCst);
                set.weir.ok(&["backend", "add", "web/b2", &address]);
            }
        }));
        shared.stop.store(true, Ordering::SeqCst);
        if let Err(panic) = operator {
            std::panic::resume_unwind(panic);
        }
    });
    let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
    assert_eq!(read(&shared.wrong), 0, "of {} sessions", read(&shared.served));
    assert_eq!(read(&shared.failed), 0, "of {} sessions", read(&shared.served));
    assert!(read(&shared.proven) >= ROUNDS * 2 * CLIENTS as u64);
    kept.echo(b"lived through fifty removals");
}

#[test]
fn the_same_holds_for_maint_and_drain() {
    let set = Plan::new(2, Script::Banner).start();
    let shared = StoryShared::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| client_loop(&set, &shared));
        }
        let operator = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for verb in ["maint", "drain"].into_iter().cycle().take(20) {
                set.weir.ok(&["backend", verb, "web/b2"]);
                shared.phase.fetch_add(1, Ordering::SeqCst);
                let proven = shared.proven.load(Ordering::SeqCst);
                clock::wait_for("sessions while b2 takes none", || {
                    shared.proven.load(Ordering::SeqCst) >= proven + 4
                });
                shared.phase.fetch_add(1, Ordering::SeqCst);
                set.weir.ok(&["backend", "ready", "web/b2"]);
            }
        }));
        shared.stop.store(true, Ordering::SeqCst);
        if let Err(panic) = operator {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(shared.wrong.load(Ordering::SeqCst), 0);
    assert_eq!(shared.failed.load(Ordering::SeqCst), 0);
}

#[test]
fn listeners_and_pools_come_and_go_too() {
    let set = Plan::new(1, Script::Banner).start();
    let extra = Backend::start("x1", own_ip(), Script::Banner);
    let bind = weir_tests::net::free(own_ip());
    set.weir.ok(&["pool", "add", "extra", "--strategy", "random"]);
    set.weir.ok(&["backend", "add", "extra/x1", &extra.address.to_string()]);
    set.weir.ok(&["listener", "add", "side", &bind.to_string(), "--pool", "extra"]);
    let mut client = Peer::connect(bind);
    assert_eq!(client.line(), "x1");
    set.weir.ctl(&["pool", "remove", "extra", "--yes"]).expect_code(1);
    set.weir.ok(&["listener", "remove", "side", "--yes"]);
    clock::wait_for("the listener to refuse", || Peer::try_connect(bind).is_err());
    client.echo(b"the session goes on");
    set.weir.ok(&["pool", "remove", "extra", "--yes"]);
    set.session().0.echo(b"web is untouched");
    client.echo(b"to its end").fin().expect_fin();
}
