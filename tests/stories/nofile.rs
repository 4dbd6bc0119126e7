//! Five thousand clients on a thousand descriptors: weir takes what fits, lets the rest wait,
//! spins on nothing, and goes on as soon as there is room.

use std::time::Duration;

use weir_tests::baseline::{count, percentile};
use weir_tests::clock;
use weir_tests::crowd::Crowd;
use weir_tests::crowd::guest::Guest;
use weir_tests::crowd::talker::{Talk, Talker};
use weir_tests::net::{self, Script};
use weir_tests::size;
use weir_tests::story::{Plan, Set};

const NOFILE: u32 = 1_024;

/// How much of one core weir may use while it is full.
const CPU_SHARE_MAX: f64 = 0.10;

fn set_with(crowd: &mut Crowd<Guest>, nofile: Option<u32>) -> Set {
    let listener = net::listener(net::own_ip());
    let address = listener.local_addr().expect("it is bound");
    crowd.listen(listener, |_| Guest::server());
    let plan = Plan::new(0, Script::Silent).extern_backend("b1", address);
    match nofile {
        Some(limit) => plan.nofile(limit).start(),
        None => plan.start(),
    }
}

fn served(crowd: &Crowd<Guest>) -> usize {
    crowd.members().filter(|guest| guest.is_served()).count()
}

/// The share of one core that weir uses while it is full, and what it answers meanwhile.
fn measure(set: &Set, crowd: &mut Crowd<Guest>, span: Duration) {
    let (cpu, count) = (set.weir.cpu(), served(crowd));
    crowd.turn_for(span);
    let used = set.weir.cpu().saturating_sub(cpu).as_secs_f64() / span.as_secs_f64();
    assert_eq!(served(crowd), count, "nobody came in: it is full");
    assert!(used <= CPU_SHARE_MAX, "{used:.2} of a core while full");
    let mut answers = Vec::new();
    for _ in 0..9 {
        let asked = clock::now();
        set.weir.ok(&["status"]);
        answers.push(clock::now() - asked);
    }
    let half = percentile(&mut answers, 0.5);
    eprintln!("full with {count}: {used:.3} of a core, status answered in {half:?}");
    assert!(half <= Duration::from_millis(100), "control answered after {half:?}");
    assert_eq!(set.weir.backend("web/b1")["state"], "up", "no fault of the backend");
    let page = set.weir.get("/metrics").body;
    let ejected = ["refused", "timeout", "unreachable"]
        .map(|reason| self::count(&page, "weir_backend_connect_failures_total", &[reason]));
    assert_eq!(ejected, [0; 3], "connect failures that blame the backend");
}

/// Waits until nobody has been served for half a second.
fn fill(crowd: &mut Crowd<Guest>) {
    let mut last = (0, clock::now());
    crowd.turn_until(Duration::from_secs(20), "weir to be full", |crowd| {
        let count = served(crowd);
        if count != last.0 {
            last = (count, clock::now());
        }
        count > 0 && clock::now() - last.1 > Duration::from_millis(500)
    });
}

/// `count` served clients leave; somebody else must be served within a second.
fn leave(crowd: &mut Crowd<Guest>, count: usize) {
    let leaving: Vec<usize> =
        (0..crowd.len()).filter(|number| crowd.member(*number).is_served()).take(count).collect();
    let at = clock::now();
    for number in leaving {
        crowd.member(number).leaves = true;
        crowd.nudge(number);
    }
    let mut first = None;
    crowd.turn_until(clock::PATIENCE, "somebody else to be served", |crowd| {
        first = crowd.members().filter_map(|guest| guest.served_at).filter(|it| *it > at).min();
        first.is_some()
    });
    let waited = first.map_or(Duration::MAX, |first| first - at);
    eprintln!("served {waited:?} after the release");
    assert!(waited <= Duration::from_secs(1), "accepts went on {waited:?} after the release");
}

fn let_all_go(set: &Set, crowd: &mut Crowd<Guest>) {
    crowd.let_all_go();
    clock::wait_for("weir to be empty", || set.weir.sessions() == 0);
}

#[test]
fn five_thousand_clients_on_a_thousand_descriptors() {
    let _alone = size::alone();
    let mut crowd = Crowd::new();
    let set = set_with(&mut crowd, Some(NOFILE));
    let clients = size::FULL_CLIENTS.count();
    for _ in 0..clients {
        crowd.connect(set.weir.web, None, Guest::client());
    }
    fill(&mut crowd);
    // Each of the two shards has a table of its own; a session takes two of its descriptors.
    assert!(served(&crowd) <= NOFILE as usize);
    measure(&set, &mut crowd, Duration::from_secs(size::FULL_SECONDS.get()));
    leave(&mut crowd, 50);
    let_all_go(&set, &mut crowd);
    let reached = crowd.members().filter(|it| it.is_client() && it.served_at.is_some()).count();
    assert_eq!(reached, clients, "everybody was served in the end");
}

/// The limit shrinks under a running weir, so that accept(2) and socket(2) themselves fail.
#[test]
fn descriptors_that_run_out_under_a_running_weir() {
    let _alone = size::alone();
    let mut crowd = Crowd::new();
    let set = set_with(&mut crowd, None);
    for _ in 0..100 {
        crowd.connect(set.weir.web, None, Guest::client());
    }
    crowd.turn_until(clock::PATIENCE, "the first hundred", |crowd| served(crowd) == 100);
    // Room for the doors, and for some more sessions in each shard's table.
    set.weir.limit_descriptors(set.weir.descriptors().len() / 2 + 40);
    for _ in 0..400 {
        crowd.connect(set.weir.web, None, Guest::client());
    }
    fill(&mut crowd);
    let (cpu, span) = (set.weir.cpu(), Duration::from_secs(2));
    crowd.turn_for(span);
    let used = set.weir.cpu().saturating_sub(cpu).as_secs_f64() / span.as_secs_f64();
    assert!(used <= CPU_SHARE_MAX, "{used:.2} of a core without descriptors");
    set.weir.limit_descriptors(20_000);
    let at = clock::now();
    let mut first = None;
    crowd.turn_until(clock::PATIENCE, "accepts to go on", |crowd| {
        first = crowd.members().filter_map(|guest| guest.served_at).filter(|it| *it > at).min();
        first.is_some()
            || crowd
                .members()
                .filter(|it| it.is_client())
                .all(|it| it.served_at.is_some() || it.ended.is_some())
    });
    eprintln!("{used:.3} of a core; accepts went on {:?} later", first.map(|it| it - at));
    assert_eq!(set.weir.backend("web/b1")["state"], "up", "no fault of the backend");
    let page = set.weir.get("/metrics").body;
    eprintln!(
        "local faults {}, rejected {}",
        count(&page, "weir_backend_connect_failures_total", &["local"]),
        count(&page, "weir_listener_sessions_rejected_total", &[]),
    );
    let new = crowd.connect(set.weir.web, None, Guest::client());
    crowd.turn_until(clock::PATIENCE, "one more", |crowd| crowd.member(new).is_served());
}

/// Bulk goes through pipes, two descriptors each: they must not be those of control.
#[test]
fn pipes_leave_descriptors_for_control() {
    let _alone = size::alone();
    let plan = |number| Talk { turn_bytes: 64 << 10, ..Talk::plain(number, 0, u64::MAX) };
    let mut crowd = Crowd::new();
    let listener = net::listener(net::own_ip());
    let address = listener.local_addr().expect("it is bound");
    crowd.listen(listener, move |_| Talker::server(plan));
    let set = Plan::new(0, Script::Silent).extern_backend("b1", address).nofile(NOFILE).start();
    // So few that no shard is full, however the kernel spreads them: who is in stays in.
    let clients: Vec<usize> = (0..500)
        .map(|number| crowd.connect(set.weir.web, None, Talker::client(number, plan)))
        .collect();
    crowd.turn_until(Duration::from_secs(60), "bulk everywhere", |crowd| {
        clients.iter().all(|number| crowd.member(*number).received >= 1 << 20)
    });
    set.weir.ok(&["status"]);
    let page = set.weir.get("/metrics").body;
    let pipes = count(&page, "weir_shard_promotions_total", &[]);
    let local = count(&page, "weir_backend_connect_failures_total", &["local"])
        + count(&page, "weir_listener_sessions_rejected_total", &[]);
    eprintln!("{pipes} promotions, {} descriptors", set.weir.descriptors().len());
    assert!(pipes > 0, "void: nothing was bulk");
    assert_eq!(local, 0, "somebody found no descriptor");
}
