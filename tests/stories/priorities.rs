//! Priority groups: a backup that is used only when it has to be, a group that gives away what it
//! cannot take, and a database whose writer does not move back by itself.

use std::net::SocketAddr;

use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::{Script, free, own_ip};
use weir_tests::real::{Server, redis_cli};
use weir_tests::story::{Plan, Set};
use weir_tests::weir::{Start, Weir};

const CHECKED: &str = "{ kind = \"tcp\", interval = \"100ms\", timeout = \"100ms\", \
                       rise = 2, fall = 2, slow-start = \"0s\" }";

/// The shares of a pool's groups in hundredths, in the order of their priority.
fn shares(weir: &Weir, pool: &str) -> Vec<String> {
    let shown = weir.json(&["pool", "show", pool]);
    let groups = shown["groups"].as_array().expect("groups").iter();
    groups.map(|it| format!("{:.0}", it["share"].as_f64().expect("a share") * 100.0)).collect()
}

fn wait_shares(weir: &Weir, pool: &str, wanted: &[u64]) {
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    clock::wait_for("the shares of the groups", || shares(weir, pool) == wanted);
}

/// Four backends, and two behind them.
fn four_and_two(pool: &str) -> Set {
    let set = Plan::new(6, Script::Banner).health(CHECKED).pool(pool).start();
    set.weir.ok(&["backend", "set", "web/b5", "priority=1"]);
    set.weir.ok(&["backend", "set", "web/b6", "priority=1"]);
    set
}

/// How many of `count` sessions each of the two groups gets.
fn spread(set: &Set, count: usize) -> [usize; 2] {
    let counts = set.spread(count, None);
    [counts[..4].iter().sum(), counts[4..].iter().sum()]
}

#[test]
fn with_spill_a_group_gives_away_what_it_cannot_take() {
    let mut set = four_and_two("spill = \"70%\"");
    for strategy in ["round-robin", "least-conn", "two-choices", "random"] {
        set.weir.ok(&["pool", "set", "web", &format!("strategy={strategy}")]);
        assert_eq!(spread(&set, 40), [40, 0], "{strategy}");
    }
    set.backends[0].pause();
    wait_shares(&set.weir, "web", &[100, 0]);
    set.backends[1].pause();
    wait_shares(&set.weir, "web", &[71, 29]);
    for strategy in ["round-robin", "least-conn", "two-choices", "random"] {
        set.weir.ok(&["pool", "set", "web", &format!("strategy={strategy}")]);
        let [first, second] = spread(&set, 400);
        assert!((250..320).contains(&first), "{strategy}: {first} and {second} of 400, not 286");
    }
    let page = set.weir.get("/metrics").body;
    for row in ["priority=\"0\"} 0.7143", "priority=\"1\"} 0.2857"] {
        assert!(page.contains(&format!("weir_pool_priority_share{{pool=\"web\",{row}")), "{page}");
    }
    let shown = set.weir.ok(&["pool", "show", "web"]);
    assert!(shown.contains("2 of 4 backends up, weight 2 of 4"), "{shown}");
    let status = set.weir.ok(&["status"]);
    assert!(status.contains("sessions go to priorities 0 (71 %), 1 (29 %)"), "{status}");
    let events = set.weir.ok(&["events"]);
    assert!(
        events.contains("priorities 0 (71 %), 1 (29 %): priority 0 has 2 of its weight of 4"),
        "{events}"
    );
    set.backends[0].resume();
    wait_shares(&set.weir, "web", &[100, 0]);
    assert_eq!(spread(&set, 40), [40, 0]);
}

#[test]
fn a_backup_is_used_when_too_few_others_are_up_and_why_says_so() {
    let mut set = four_and_two("");
    let why_not = |set: &Set, name: &str| -> Value {
        let why = set.weir.json(&["why", "web", "--client", "192.0.2.1"]);
        let all = why["candidates"].as_array().expect("candidates").clone();
        all.into_iter().find(|it| it["name"] == name).expect("it is there")["why_not"].clone()
    };
    let said = why_not(&set, "web/b5").as_str().expect("it is not in use").to_owned();
    assert_eq!(said, "its priority, 1, has no turn: sessions go to priority 0");
    set.backends[0].pause();
    set.backends[1].pause();
    set.weir.wait_state("web/b1", "down");
    set.weir.wait_state("web/b2", "down");
    assert_eq!(spread(&set, 40), [40, 0], "half of its members are up, which is enough");
    set.backends[2].pause();
    wait_shares(&set.weir, "web", &[0, 100]);
    assert_eq!(spread(&set, 40), [0, 40]);
    assert_eq!(set.weir.json(&["pool", "show", "web"])["panic"], false);
    let said = why_not(&set, "web/b4").as_str().expect("it is not in use").to_owned();
    assert!(said.ends_with("priority 0 has 1 of 4 backends up"), "{said}");
    set.backends[0].resume();
    wait_shares(&set.weir, "web", &[100, 0]);
    assert_eq!(spread(&set, 40), [40, 0]);
}

#[test]
fn spill_and_stay_exclude_each_other() {
    let set = four_and_two("spill = \"70%\"");
    let ran = set.weir.ctl(&["pool", "set", "web", "failover=stay"]).expect_code(1);
    assert!(ran.stderr.contains("failover = \"stay\" wants one group"), "{ran}");
    set.weir.ok(&["pool", "set", "web", "failover=stay", "spill=0%"]);
}

fn redis(to: SocketAddr, command: &[&str]) -> String {
    redis_cli(to, command).expect_code(0).stdout.trim().to_owned()
}

/// The server that weir's clients reach, by its port.
fn writer(weir: &Weir) -> u16 {
    let answer = redis(weir.web, &["CONFIG", "GET", "port"]);
    answer.lines().last().and_then(|port| port.parse().ok()).expect("a port")
}

#[test]
fn redis_has_one_writer_which_does_not_move_back_by_itself() {
    let (mut first, second) = (Server::redis(), Server::redis());
    let [one, two] = [&first, &second].map(Server::address);
    let web = free(own_ip());
    let objects = format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"db\"\n\n[pool.db]\nfailover = \"stay\"\n\
         health = {{ kind = \"send-expect\", send = \"PING\\r\\n\", expect = \"+PONG\", \
         interval = \"100ms\", timeout = \"500ms\", rise = 2, fall = 2 }}\n\n[pool.db.backend]\n\
         r1 = {{ address = \"{one}\" }}\nr2 = {{ address = \"{two}\", priority = 1 }}\n"
    );
    let mut weir = Weir::start(web, &objects, Start::default());
    redis(two, &["REPLICAOF", &one.ip().to_string(), &one.port().to_string()]);
    for name in ["db/r1", "db/r2"] {
        weir.wait_state(name, "up");
    }
    assert_eq!(writer(&weir), one.port());
    assert_eq!(redis(web, &["SET", "key", "1"]), "OK");

    let addresses = first.addresses.clone();
    first.kill();
    wait_shares(&weir, "db", &[0, 100]);
    redis(two, &["REPLICAOF", "NO", "ONE"]);
    assert_eq!(redis(web, &["SET", "key", "2"]), "OK");
    assert_eq!(writer(&weir), two.port());

    // The old writer comes back with old data.
    let _first = Server::redis_at(addresses);
    weir.wait_state("db/r1", "up");
    for _ in 0..20 {
        assert_eq!(writer(&weir), two.port());
    }
    let status = weir.ok(&["status"]);
    assert!(status.contains("sessions go to priority 1, which is kept"), "{status}");
    // Nor is a restart of weir a way back.
    weir.kill();
    weir.run();
    for _ in 0..20 {
        assert_eq!(writer(&weir), two.port());
    }
    // By hand it is.
    redis(one, &["REPLICAOF", &two.ip().to_string(), &two.port().to_string()]);
    weir.ok(&["pool", "set", "db", "failover=auto"]);
    wait_shares(&weir, "db", &[100, 0]);
    weir.ok(&["pool", "set", "db", "failover=stay"]);
    assert_eq!(writer(&weir), one.port());
    // A drain of the writer hands over, too.
    weir.ok(&["backend", "drain", "db/r1"]);
    wait_shares(&weir, "db", &[0, 100]);
    weir.ok(&["backend", "ready", "db/r1"]);
    wait_shares(&weir, "db", &[0, 100]);
    assert_eq!(writer(&weir), two.port());
    // Another number for its group is no failover, and what was set at run time lives on.
    weir.ok(&["backend", "set", "db/r2", "priority=5"]);
    wait_shares(&weir, "db", &[0, 100]);
    weir.kill();
    weir.run();
    weir.wait_state("db/r1", "up");
    for _ in 0..20 {
        assert_eq!(writer(&weir), two.port());
    }
}
