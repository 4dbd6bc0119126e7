//! One weir takes the place of another while sessions of all kinds live: no byte is lost, no client
//! is reset or refused, and a new one that fails changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_tests::clock;
use weir_tests::crowd::Crowd;
use weir_tests::crowd::talker::{Order, Talk, Talker};
use weir_tests::net::blackhole::Blackhole;
use weir_tests::net::{self, Peer, Script};
use weir_tests::payload::Dice;
use weir_tests::story::{Plan, Set};
use weir_tests::visitors::all_served_during;

/// Streams that talk while weir is upgraded.
const TALKERS: u64 = 150;
const UPGRADES: usize = 4;

fn talk(number: u64) -> Talk {
    let mut dice = Dice::new(number);
    let length = |dice: &mut Dice| match dice.below(5) {
        0 => dice.below(2_000),
        // Large enough to become bulk.
        1 => 4_000_000 + dice.below(8_000_000),
        _ => 100_000 + dice.below(400_000),
    };
    let (up, down) = (length(&mut dice), length(&mut dice));
    let chunk = dice.of(&[1_000, 5_000, 40_000, 200_000]);
    // Most of them are there for the time of some upgrades, and quiet at times.
    let pause_once_in = 1 + (up.max(down) / chunk) / 8;
    Talk {
        key: number * 2 + 1,
        up,
        down,
        order: dice.of(&[Order::Any, Order::Client, Order::Server]),
        chunk,
        pause_once_in,
        pause_max: Duration::from_millis(1_500),
        // Some are slow readers: weir holds bytes for them.
        read_rate: dice.once_in(10).then_some(400_000),
        turn_bytes: 128 << 10,
    }
}

#[test]
fn streams_of_all_kinds_outlive_one_weir_after_the_other() {
    let listener = net::listener(net::own_ip());
    let address = listener.local_addr().expect("it is bound");
    let mut set = Plan::new(0, Script::Silent).extern_backend("b1", address).start();
    let mut crowd = Crowd::new();
    crowd.listen(listener, |_| Talker::server(talk));
    for number in 0..TALKERS {
        crowd.connect(set.weir.web, None, Talker::client(number, talk));
    }
    crowd.turn_for(Duration::from_millis(300));
    let mut pids = vec![set.weir.pid()];
    for round in 0..UPGRADES {
        // The shards change their number, too.
        let verb: &[&str] =
            [&["upgrade"][..], &["shards", "4"], &["shards", "1"], &["upgrade"]][round % 4];
        std::thread::scope(|scope| {
            let weir = &mut set.weir;
            let upgrade = scope.spawn(move || weir.upgrade(verb));
            while !upgrade.is_finished() {
                crowd.turn(Duration::from_millis(5));
            }
            upgrade.join().expect("it is upgraded");
        });
        pids.push(set.weir.pid());
        crowd.turn_for(Duration::from_millis(200));
    }
    assert!(crowd.open() > 0, "void: no stream is left");
    crowd.turn_until(Duration::from_secs(120), "all streams to end", |crowd| crowd.open() == 0);
    assert_eq!(crowd.members().count() as u64, TALKERS * 2);
    assert!(crowd.members().all(Talker::is_done), "each talker said and heard everything");
    pids.dedup();
    assert_eq!(pids.len(), UPGRADES + 1, "each time another process: {pids:?}");
}

#[test]
fn no_client_is_refused_and_doors_and_state_go_on() {
    let mut set = Plan::new(2, Script::Banner).start();
    let (mut idle, name) = set.session();
    set.weir.ctl(&["backend", "weight", "web/b1", "3"]).expect_code(0);
    let web = set.weir.web;
    let visits = all_served_during(web, || {
        for _ in 0..3 {
            set.weir.upgrade(&["upgrade"]);
        }
        // The next one writes the state, and is asked at the same doors.
        set.weir.ctl(&["backend", "weight", "web/b1", "4"]).expect_code(0);
        set.weir.upgrade(&["shards", "3"]);
    });
    assert!(visits > 0);
    let status = set.weir.ctl(&["-o", "json", "status"]).expect_code(0).json();
    assert_eq!(status["shards"].as_array().map(Vec::len), Some(3), "{status}");
    assert_eq!(status["version"], 3, "{status}");
    assert_eq!(set.weir.get("/healthz").status, 200);
    let row = set.weir.ctl(&["-o", "json", "backend", "show", "web/b1"]).expect_code(0).json();
    assert_eq!(row["weight"], 4, "{row}");
    idle.echo(b"it lives");
    let held = &set.backends[set.index(&name)];
    assert_eq!(held.open(), 1, "the idle session is where it was");
    idle.fin();
    clock::wait_for("the session to end", || held.open() == 0);
}

#[test]
fn what_a_slow_reader_has_not_taken_waits_for_it_behind_the_next_weir() {
    let mut set = Plan::new(1, Script::ByHand).start();
    let mut client = Peer::connect_narrow(set.weir.web);
    let mut backend = set.backends[0].accept();
    let noise = net::noise(7, 8 << 20);
    let sent = backend.send_until_blocked(&noise, Duration::from_secs(1));
    assert!(sent > 0 && sent < noise.len(), "it is blocked: {sent}");
    set.weir.upgrade(&["upgrade"]);
    set.weir.upgrade(&["upgrade"]);
    assert!(client.take(sent) == noise[..sent], "every byte, in order");
    backend.send(b"more");
    client.expect(b"more");
    client.fin();
    backend.expect_fin().send(b"last").fin();
    client.expect(b"last").expect_fin();
}

#[test]
fn a_signal_does_what_the_command_does() {
    let mut set = Plan::new(1, Script::Banner).start();
    let (mut idle, _) = set.session();
    set.weir.upgrade_by_signal();
    assert!(set.weir.log().contains("SIGUSR2: starts another weir, which takes over"));
    idle.echo(b"it lives");
    set.session().0.echo(b"served");
}

/// Every counter of the page, by name and labels, but those of the process and of each shard's
/// turns.
fn counters(set: &Set) -> BTreeMap<String, f64> {
    let page = set.weir.get("/metrics").body;
    let kinds = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names: Vec<&str> = kinds.filter_map(|kind| kind.strip_suffix(" counter")).collect();
    let of_service = |name: &str| !name.starts_with("process_") && !name.starts_with("weir_shard_");
    let rows = page.lines().filter_map(|line| line.rsplit_once(' '));
    let rows = rows.filter(|(key, _)| {
        let name = key.split('{').next().unwrap_or_default();
        names.contains(&name) && of_service(name)
    });
    rows.map(|(key, value)| (key.to_owned(), value.parse().expect("a number"))).collect()
}

#[test]
fn what_is_known_and_counted_goes_on() {
    let health = "{ kind = \"tcp\", interval = \"50ms\", rise = 1, fall = 1, slow-start = \"0s\" }";
    let mut set = Plan::new(3, Script::Banner).health(health).start();
    set.backends[2].die();
    let is_down = |set: &Set| {
        let row = set.weir.ctl(&["-o", "json", "backend", "show", "web/b3"]).expect_code(0).json();
        row["state"] == "down"
    };
    clock::wait_for("the third one to be down", || is_down(&set));
    let mut sessions: Vec<Peer> = (0..6).map(|_| set.session().0).collect();
    for client in &mut sessions {
        client.echo(b"some bytes");
    }
    drop(sessions.pop());
    set.weir.ctl(&["backend", "set", "web/b2", "force=up"]).expect_code(0);
    let total = |set: &Set| {
        counters(set)
            .iter()
            .filter(|(key, _)| key.starts_with("weir_listener_sessions_accepted_total"))
            .map(|(_, value)| *value)
            .sum::<f64>()
    };
    clock::wait_for("the sessions to be counted", || total(&set) >= 6.0);
    let events = set.weir.ctl(&["-o", "json", "events"]).expect_code(0).stdout;
    let before = counters(&set);
    set.weir.upgrade(&["upgrade"]);
    assert!(is_down(&set), "it is known to be down, before any check");
    for (key, value) in &before {
        let now = counters(&set).get(key).copied();
        assert!(now.is_some_and(|now| now >= *value), "{key} was {value}, and is {now:?}");
    }
    let after = set.weir.ctl(&["-o", "json", "events"]).expect_code(0).stdout;
    for line in events.lines().filter(|line| line.contains("web/b3")) {
        assert!(after.contains(line), "this event is gone: {line}");
    }
    for client in &mut sessions {
        client.echo(b"they live");
    }
}

/// A program that ends, or cannot be started: nothing has changed.
#[test]
fn a_program_that_does_not_come_to_serve_changes_nothing() {
    let mut set = Plan::new(1, Script::Banner).start();
    let (pid, (mut idle, _)) = (set.weir.pid(), set.session());
    let dies = [
        ("/bin/false", "it has ended: exit status: 1"),
        ("/nowhere/weir", "/nowhere/weir: No such file or directory"),
        ("/bin/cat", "the new process"),
    ];
    let web = set.weir.web;
    all_served_during(web, || {
        for (program, why) in dies {
            let refused = set.weir.ctl(&["upgrade", "--binary", program]).expect_code(1);
            assert!(refused.stderr.contains(why), "{refused}");
        }
    });
    assert_eq!(set.weir.pid(), pid);
    set.weir.ctl(&["backend", "weight", "web/b1", "3"]).expect_code(0);
    let text = set.weir.ctl(&["events"]).expect_code(0).stdout;
    assert!(text.contains("upgrade") && text.contains("failed:"), "{text}");
    let checked = set.weir.ctl(&["upgrade", "--check"]).expect_code(0).stdout;
    assert!(checked.contains("it would take 1 sessions over"), "{checked}");
    set.weir.upgrade(&["upgrade"]);
    idle.echo(b"it lives").fin().expect_fin();
}

/// One that dies at any step before it is its turn changes nothing; one that dies later takes with
/// it what it had taken, and no more.
#[test]
fn one_that_dies_at_any_step_costs_at_most_what_it_had_taken() {
    for step in ["begin", "hello", "inventory", "ready"] {
        let set = failing(step);
        let (mut idle, _) = set.session();
        let web = set.weir.web;
        all_served_during(web, || {
            set.weir.ctl(&["upgrade"]).expect_code(1);
        });
        idle.echo(b"it lives");
        set.weir.ctl(&["backend", "weight", "web/b1", "3"]).expect_code(0);
    }
    let set = failing("commit");
    let (mut idle, _) = set.session();
    set.weir.ctl(&["upgrade"]).expect_code(1);
    idle.echo(b"it had taken nothing");
    let (mut new, _) = set.session();
    new.echo(b"served");
    set.weir.ctl(&["backend", "weight", "web/b1", "3"]).expect_code(0);
}

/// A weir whose successor dies at this step.
fn failing(step: &str) -> Set {
    Plan::new(1, Script::Banner).env("WEIR_TEST_SUCCESSOR_DIES", step).start()
}

/// A client that has sent half a header, one that waits for a backend with room, and one whose
/// backend does not answer.
#[test]
fn clients_that_no_backend_has_yet_go_over_too() {
    let from = "proxy-protocol = { from = [\"127.7.0.0/16\"], timeout = \"30s\" }";
    let mut set = Plan::new(1, Script::Banner).listener(from).start();
    let mut told = Peer::connect_from([127, 7, 0, 3].into(), set.weir.web);
    told.send(b"PROXY TCP4 192.0.2.7 10.0.0.");
    clock::wait_for("the client to be let in", || sessions(&set) == 1);
    set.weir.upgrade(&["upgrade"]);
    told.send(b"1 40000 443\r\n");
    told.line();
    let row = set.weir.ctl(&["-o", "json", "session", "list"]).expect_code(0).json();
    assert_eq!(row["sessions"][0]["client"], "192.0.2.7:40000", "{row}");

    let pool = "queue = { size = 10 }\ntimeout = { queue = \"1m\" }";
    let mut set = Plan::new(1, Script::Banner).pool(pool).start();
    set.weir.ctl(&["backend", "set", "web/b1", "max-sessions=1"]).expect_code(0);
    let (mut first, _) = set.session();
    let mut second = set.client();
    clock::wait_for("the second one to wait", || sessions(&set) == 2);
    set.weir.upgrade(&["upgrade"]);
    assert!(!second.hears_within(Duration::from_millis(100)), "its limit holds");
    first.fin().expect_fin();
    second.line();

    let timeout = "timeout = { connect = \"1m\" }";
    let mut set = Plan::new(1, Script::Banner).pool(timeout).start();
    let hole = Blackhole::at(&mut set.backends[0]);
    let mut client = set.client();
    clock::wait_for("the client to be let in", || sessions(&set) == 1);
    set.weir.upgrade(&["upgrade"]);
    drop(hole);
    set.backends[0].resume();
    client.patient(Duration::from_secs(30));
    client.line();
}

fn sessions(set: &Set) -> u64 {
    let status = set.weir.ctl(&["-o", "json", "status"]).expect_code(0).json();
    let shards = status["shards"].as_array().expect("shards").iter();
    shards.filter_map(|shard| shard["sessions"].as_u64()).sum()
}
