//! Four weirs, each unwell in ways of its own, and the Prometheus that looks at them.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use weir_tests::clock;
use weir_tests::crowd::Crowd;
use weir_tests::crowd::guest::Guest;
use weir_tests::net::blackhole::Blackhole;
use weir_tests::net::{self, Backend, Script, free, own_ip};
use weir_tests::prometheus::Prometheus;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::{Reader, Start, Weir};

/// Of rates, in a hurry: a dozen scrapes.
pub(super) const WINDOW: &str = "6s";
/// The whole story takes at most so long.
pub(super) const LIMIT: Duration = Duration::from_secs(150);
/// Clients of one kind that are held open.
const HELD_MAX: usize = 40;

/// Everything that plays.
pub(super) struct Stage {
    begun: Instant,
    pub(super) prometheus: Prometheus,
    /// Alerts that have fired, each as it was when it was first seen.
    pub(super) fired: BTreeMap<String, Value>,
    sick: Sick,
    shards: Set,
    short: Short,
    narrow: Narrow,
}

impl Stage {
    pub(super) fn new(rules: &str) -> Stage {
        let begun = clock::now();
        let (sick, short, narrow) = (Sick::start(), Short::start(), Narrow::start());
        let shards = Plan::new(1, Script::Banner).shards(2).failpoints().start();
        let gone = free(own_ip());
        let targets = [&sick.weir, &shards.weir, &short.set.weir, &narrow.set.weir];
        let targets: Vec<SocketAddr> = targets.iter().map(|it| it.admin).chain([gone]).collect();
        let prometheus = Prometheus::start(&targets, rules);
        // A counter that has risen before the first look has not risen.
        clock::wait_for("each weir to be scraped twice", || {
            let looks = "min(count_over_time(weir_build_info[1m]))";
            let count = "count(weir_build_info)";
            let is =
                |query: &str, least: f64| prometheus.number(query).is_some_and(|it| it >= least);
            is(count, 4.0) && is(looks, 2.0)
        });
        Stage { begun, prometheus, fired: BTreeMap::new(), sick, shards, short, narrow }
    }

    /// Does one thing after the other, each when the alerts of the one before have fired.
    pub(super) fn play(&mut self) {
        self.sick.apply_for_a_moment();
        // Long enough to be more than seven tenths of the window.
        self.shards.weir.strike("shard 1 sleep 6000");
        self.shards.weir.ok(&["backend", "weight", "web/b1", "2"]);
        self.until(&["WeirUnconfirmed", "WeirShardStuck", "WeirShardsDisagree", "WeirShardFailed"]);
        self.until(&["WeirRolledBack"]);
        self.sick.weir.ok(&["backend", "weight", "good/b1", "7"]);
        self.sick.reload_nonsense();
        self.until(&["WeirDrift", "WeirReloadRefused", "WeirShardBusy"]);
        self.shards.weir.kill();
        self.shards.weir.run();
        self.until(&["WeirRestarted"]);
        self.sick.lose_state();
        self.until(&["WeirStateNotWritable", "WeirStateWriteFails"]);
    }

    /// Lets clients come until each of these has fired.
    pub(super) fn until(&mut self, names: &[&str]) {
        loop {
            for alert in self.prometheus.alerts() {
                let name = alert["labels"]["alertname"].as_str().expect("a name").to_owned();
                if alert["state"] == "firing" {
                    self.fired.entry(name).or_insert(alert);
                }
            }
            let missing: Vec<_> =
                names.iter().filter(|it| !self.fired.contains_key(**it)).collect();
            if missing.is_empty() {
                return;
            }
            let took = self.begun.elapsed();
            assert!(took < LIMIT, "after {took:?} these have not fired: {missing:?}");
            self.sick.poke();
            self.short.poke();
            self.narrow.poke();
        }
    }
}

/// One weir with a pool for each thing that can be wrong with a pool.
struct Sick {
    weir: Weir,
    objects: String,
    flappy: Backend,
    at: SickListeners,
    held: VecDeque<TcpStream>,
    waiting: Vec<TcpStream>,
    turn: u32,
    _others: (Vec<Backend>, Blackhole, TcpListener),
}

/// Its listeners.
struct SickListeners {
    empty: SocketAddr,
    small: SocketAddr,
    resets: SocketAddr,
    dead: SocketAddr,
}

impl Sick {
    fn start() -> Sick {
        let ip = own_ip();
        let [web, empty, small, resets, dead, taken] = [(); 6].map(|()| free(ip));
        let owner = TcpListener::bind(taken).expect("it is free");
        let flappy = Backend::start("b1", ip, Script::Banner);
        let mut refuses = Backend::start("b1", ip, Script::Banner);
        refuses.pause();
        let good = Backend::start("b1", ip, Script::Silent);
        let rude = Backend::start("b1", ip, Script::RstAfter(1));
        let mut lost = Backend::start("b2", ip, Script::Banner);
        let hole = Blackhole::at(&mut lost);
        let none = "health = { kind = \"none\", slow-start = \"0s\" }";
        let (f, g, r) = (flappy.address, good.address, rude.address);
        let (d, h) = (refuses.address, lost.address);
        let listener = |(name, bind, pool): (&str, SocketAddr, &str)| {
            format!("[listener.{name}]\nbind = \"{bind}\"\npool = \"{pool}\"\n")
        };
        let listeners: String = [
            ("web", web, "flappy"),
            ("empty", empty, "empty"),
            ("resets", resets, "resets"),
            ("dead", dead, "dead"),
            ("taken", taken, "good"),
            ("small", small, "good"),
        ]
        .map(listener)
        .concat();
        let objects = format!(
            "{listeners}max-sessions = 1\n\
             [pool.empty]\n{none}\n\
             [pool.good]\n{none}\nbackend.b1 = {{ address = \"{g}\" }}\n\
             [pool.resets]\n{none}\nbackend.b1 = {{ address = \"{r}\" }}\n\
             [pool.dead]\n{none}\ntimeout = {{ connect = \"2s\" }}\n\
             backend.b1 = {{ address = \"{d}\" }}\nbackend.b2 = {{ address = \"{h}\" }}\n\
             [pool.flappy]\n\
             health = {{ kind = \"tcp\", interval = \"100ms\", timeout = \"100ms\", \
             rise = 1, fall = 1 }}\n\
             backend.b1 = {{ address = \"{f}\" }}\n"
        );
        let settings = "session-log = { to = \"/dev/full\" }\n".to_owned();
        let start = Start { shards: 1, settings, ..Start::default() };
        let weir = Weir::start(web, &objects, start);
        let at = SickListeners { empty, small, resets, dead };
        let (held, waiting) = (VecDeque::new(), Vec::new());
        let others = (vec![good, rude, refuses, lost], hole, owner);
        Sick { weir, objects, flappy, at, held, waiting, turn: 0, _others: others }
    }

    fn poke(&mut self) {
        self.turn += 1;
        let mut visit = |door: SocketAddr| {
            if let Ok(mut client) = TcpStream::connect(door) {
                let _ = client.write_all(b"hi"); // some are reset before it
                self.held.push_back(client);
            }
        };
        visit(self.at.empty);
        for _ in 0..4 {
            visit(self.at.resets);
        }
        if self.turn % 8 == 1 {
            (0..12).for_each(|_| visit(self.at.dead));
        }
        let surplus = self.held.len().saturating_sub(HELD_MAX);
        self.held.drain(..surplus);
        // One has the only place, the others wait for it.
        if self.waiting.len() < 3 {
            self.waiting.extend(TcpStream::connect(self.at.small));
        }
        match self.turn % 4 {
            0 => self.flappy.pause(),
            2 if self.turn > 4 => self.flappy.resume(),
            _ => {}
        }
    }

    /// A change that is not confirmed.
    fn apply_for_a_moment(&self) {
        let objects = self.objects.replace("connect = \"2s\"", "connect = \"3s\"");
        let file = self.weir.file("next.toml", &objects);
        self.weir.ok(&["config", "apply", &file, "--confirm", "3s"]);
    }

    fn reload_nonsense(&self) {
        self.weir.write("[listener.web]\nbind = 7\n");
        self.weir.signal(Signal::HUP);
    }

    fn lose_state(&self) {
        let (here, away) = (self.weir.dir.path.join("state"), self.weir.dir.path.join("away"));
        std::fs::rename(here, away).expect("it can be moved");
        let _ = self.weir.ctl(&["backend", "weight", "good/b1", "8"]).expect_code(1);
    }
}

/// One weir without descriptors, whose log has no reader.
struct Short {
    set: Set,
    crowd: Crowd<Guest>,
}

impl Short {
    fn start() -> Short {
        let mut crowd = Crowd::new();
        let listener = net::listener(own_ip());
        let address = listener.local_addr().expect("it is bound");
        crowd.listen(listener, |_| Guest::server());
        let set = Plan::new(0, Script::Silent).extern_backend("b1", address).start();
        set.weir.limit_descriptors(set.weir.descriptors().len() / 2 + 40);
        set.weir.read_log(Reader::Gone);
        Short { set, crowd }
    }

    fn poke(&mut self) {
        self.set.weir.signal(Signal::USR1); // each writes a line
        if self.crowd.open() < 400 {
            for _ in 0..20 {
                self.crowd.connect(self.set.weir.web, None, Guest::client());
            }
        }
        self.crowd.turn(Duration::from_millis(20));
    }
}

/// One weir with sixteen buffers and a short queue.
struct Narrow {
    set: Set,
    crowd: Crowd<Guest>,
    clients: Vec<usize>,
    turn: u32,
}

impl Narrow {
    fn start() -> Narrow {
        let mut crowd = Crowd::new();
        let listener = net::listener(own_ip());
        let address = listener.local_addr().expect("it is bound");
        crowd.listen(listener, |_| Guest::server());
        let plan = Plan::new(0, Script::Silent).extern_backend("b1", address).shards(1);
        let plan = plan.env("WEIR_TEST_BUFFERS", "16").env("WEIR_TEST_COMPLETIONS", "64");
        let set = plan.start();
        let web = set.weir.web;
        let clients = (0..400).map(|_| crowd.connect(web, None, Guest::pinging())).collect();
        Narrow { set, crowd, clients, turn: 0 }
    }

    /// Most of the clients ping; now and then they all go and others come.
    fn poke(&mut self) {
        self.turn += 1;
        if self.turn.is_multiple_of(16) {
            for number in std::mem::take(&mut self.clients) {
                self.crowd.member(number).leaves = true;
                self.crowd.nudge(number);
            }
            let connect = |_| self.crowd.connect(self.set.weir.web, None, Guest::pinging());
            self.clients = (0..400).map(connect).collect();
        }
        self.crowd.turn(Duration::from_millis(20));
    }
}
