//! Each strategy's distribution, with real sockets, two shards and weights 1, 2, 3.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

const WEIGHTS: [u16; 3] = [1, 2, 3];

fn start(strategy: &str) -> Set {
    Plan::new(3, Script::Banner).weights(&WEIGHTS).strategy(strategy).start()
}

/// Each count is within `tolerance` of its weight's share of the whole.
#[track_caller]
fn expect_shares(counts: &[usize], tolerance: usize) {
    let whole: usize = counts.iter().sum();
    let shares: Vec<usize> =
        WEIGHTS.iter().map(|weight| whole * usize::from(*weight) / 6).collect();
    for (count, share) in counts.iter().zip(&shares) {
        assert!(count.abs_diff(*share) <= tolerance, "{counts:?} for {shares:?} ±{tolerance}");
    }
}

/// Each shard is exact over every round of six; two shards and an unfinished round each: ±6.
#[test]
fn round_robin_follows_the_weights_exactly() {
    let set = start("round-robin");
    expect_shares(&set.spread(600, None), 6);
}

/// Sessions stay open. Own load is exact, the other shard's comes by aggregate: ±10 % of the whole.
#[test]
fn least_conn_keeps_the_load_even_by_weight() {
    let set = start("least-conn");
    let mut held = Vec::new();
    expect_shares(&set.spread(240, Some(&mut held)), 24);
}

/// When the sessions of one backend end, the next ones go to it.
#[test]
fn least_conn_fills_the_gap() {
    let set = Plan::new(3, Script::Banner).strategy("least-conn").start();
    let mut sessions: Vec<_> = (0..90).map(|_| set.session()).collect();
    sessions.retain(|(_, name)| name != "b2");
    weir_tests::clock::wait_for("b2 to be empty", || set.weir.backend("web/b2")["sessions"] == 0);
    let mut held = Vec::new();
    let counts = set.spread(20, Some(&mut held));
    assert!(counts[1] >= 16, "{counts:?}: the emptied b2 should get nearly all");
}

/// Sessions stay open. The less loaded of two: ±12 % of the whole.
#[test]
fn two_choices_keeps_the_load_near_the_weights() {
    let set = start("two-choices");
    let mut held = Vec::new();
    expect_shares(&set.spread(300, Some(&mut held)), 36);
}

/// 1,200 draws: the standard deviation of the largest share is 17, so ±85 is five of them.
#[test]
fn random_follows_the_weights_on_average() {
    let set = start("random");
    expect_shares(&set.spread(1200, None), 85);
}

/// Every one of these client addresses opens a session; gives the backend of each.
fn by_source(set: &Set, sources: &[IpAddr]) -> BTreeMap<IpAddr, String> {
    let open = |source: &IpAddr| {
        let mut client = Peer::connect_from(*source, set.weir.web);
        let name = client.line();
        client.fin().expect_fin();
        (*source, name)
    };
    sources.iter().map(open).collect()
}

fn sources(count: u8) -> Vec<IpAddr> {
    let address = |index: u8| IpAddr::V4(Ipv4Addr::new(127, 7, index % 5, index + 1));
    (0..count).map(address).collect()
}

#[test]
fn maglev_keeps_a_client_and_moves_only_those_of_a_backend_that_goes() {
    let set = start("maglev");
    let sources = sources(180);
    let before = by_source(&set, &sources);
    assert_eq!(by_source(&set, &sources), before, "the port must not matter, nor the shard");
    let count = |name: &str| before.values().filter(|backend| *backend == name).count();
    let counts = [count("b1"), count("b2"), count("b3")];
    // 180 hashes: the standard deviation of the largest share is 7; ±30 is more than four.
    expect_shares(&counts, 30);

    set.weir.ok(&["backend", "remove", "web/b2"]);
    let after = by_source(&set, &sources);
    let stayed = before.iter().filter(|(_, name)| *name != "b2");
    let moved = stayed.filter(|(source, name)| after[*source] != **name).count();
    assert!(after.values().all(|name| name != "b2"));
    // Maglev trades a little: at most one in ten of the others may move.
    assert!(moved <= 12, "{moved} of {} clients of other backends moved", 180 - counts[1]);
}

#[test]
fn maglev_lets_clients_return_to_a_backend_little_by_little() {
    let set = start("maglev");
    set.weir.ok(&["pool", "set", "web", "health.slow-start=7d"]);
    let sources = sources(60);
    let home = by_source(&set, &sources);
    set.weir.ok(&["backend", "drain", "web/b2", "--yes"]);
    let away = by_source(&set, &sources);
    set.weir.ok(&["backend", "ready", "web/b2"]);
    // Its share is that of some seconds of seven days.
    assert_eq!(by_source(&set, &sources), away, "its clients come back one by one");
    let (client, _) = home.iter().find(|(_, name)| *name == "b2").expect("a third of them");
    let why = set.weir.json(&["why", "web", "--client", &client.to_string()]);
    assert_eq!(why["chosen"], format!("web/{}", away[client]), "{why}");
    let why_not = why["candidates"][1]["why_not"].as_str().expect("a reason");
    assert!(why_not.contains("slow start"), "{why_not}");
    set.weir.ok(&["pool", "set", "web", "health.slow-start=0s"]);
    assert_eq!(by_source(&set, &sources), home, "and all of them when it is over");
}

#[test]
fn a_strategy_is_changed_on_the_fly_and_sessions_live_on() {
    let set = Plan::new(3, Script::Banner).start();
    let mut sessions: Vec<_> = (0..30).map(|_| set.session()).collect();
    for strategy in ["least-conn", "two-choices", "random", "maglev", "round-robin"] {
        let changed = set.weir.json(&["pool", "set", "web", &format!("strategy={strategy}")]);
        assert!(changed["version"].as_u64().is_some(), "{changed}");
        assert_eq!(set.weir.json(&["pool", "show", "web"])["strategy"], strategy);
        for (client, _) in &mut sessions {
            client.echo(strategy.as_bytes());
        }
        sessions.push(set.session());
    }
    // In turn again, by the strategy that was set last.
    let counts = set.spread(60, None);
    assert!(counts.iter().all(|count| count.abs_diff(20) <= 2), "{counts:?}");
}

#[test]
fn a_weight_changed_at_run_time_counts_at_once() {
    let set = Plan::new(2, Script::Banner).start();
    set.weir.ok(&["backend", "weight", "web/b2", "3"]);
    let counts = set.spread(80, None);
    assert!(counts[0].abs_diff(20) <= 4, "{counts:?}");
    set.weir.ok(&["backend", "weight", "web/b2", "0"]);
    assert_eq!(set.spread(20, None), [20, 0], "weight 0 takes no new sessions");
}
