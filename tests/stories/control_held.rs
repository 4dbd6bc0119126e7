//! How long the most expensive request of each kind holds the control thread, at the largest
//! configuration: a table, and a bar.
//!
//! Processor time, from weir's own log (a line for each turn of 1 ms and more). It still depends on
//! the machine: another one's caches are smaller, its hypervisor takes a core away and counts that
//! as ours. So the bar is in proportion to what a fixed piece of work takes here, and a request
//! that is over it is made again: one that holds control by its nature holds it each time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{IpAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use weir_proto::frame::{self, ANSWER_MAX, Incoming};
use weir_proto::network::NETWORKS_MAX;
use weir_proto::request::{Hello, PROTOCOL, Query, Request};
use weir_proto::snapshot::{BACKENDS_MAX, BINDS_MAX, LISTENERS_MAX, POOLS_MAX};
use weir_tests::clock;
use weir_tests::weir::{Start, Weir};

/// Milliseconds that no request, file or scrape holds the control thread for longer, on a machine
/// that does [`work`] in [`WORK_MS`].
const BAR_MS: f64 = 20.0;
const WORK_MS: f64 = 15.0;
/// How often a request that is over the bar is made.
const ATTEMPTS: usize = 5;
/// Of the turns that come by themselves this many in a hundred are within the bar.
const USUAL: usize = 95;
const BACKENDS: usize = BACKENDS_MAX;
const POOLS: usize = POOLS_MAX;
const LISTENERS: usize = LISTENERS_MAX;
const BINDS: usize = BINDS_MAX;
/// One place of each is left to add one.
const SPARE: usize = ATTEMPTS;

/// The largest configuration, always on the same addresses; `strategy` is the first pool's.
fn objects(strategy: &str) -> String {
    static IP: LazyLock<IpAddr> = LazyLock::new(weir_tests::net::own_ip);
    let (mut text, ip) = (String::new(), *IP);
    // Drained ones have no socket: their ports need not be free.
    for number in 1..LISTENERS - SPARE {
        let ports = 20_000 + number * BINDS..20_000 + (number + 1) * BINDS;
        let binds: Vec<String> = ports.map(|port| format!("\"{ip}:{port}\"")).collect();
        let bind = binds.join(", ");
        let _ = writeln!(text, "[listener.l{number}]\nbind = [{bind}]\nstate = \"drain\"");
        let _ = writeln!(text, "pool = \"pool-{number:04}\"");
        if number <= 2 {
            let _ = writeln!(text, "deny = [{}]", networks(NETWORKS_MAX));
        }
    }
    for pool in 0..POOLS - SPARE {
        let _ = writeln!(text, "[pool.pool-{pool:04}]\nhealth = {{ kind = \"none\" }}");
        if pool == 0 {
            let _ = writeln!(text, "strategy = \"{strategy}\"");
        }
        let _ = writeln!(text, "[pool.pool-{pool:04}.backend]");
        for (backend, number) in (pool..BACKENDS - SPARE).step_by(POOLS - SPARE).enumerate() {
            let [_, high, middle, low] = u32::try_from(number).expect("it fits").to_be_bytes();
            let address = format!("127.{}.{middle}.{low}:9", high + 1);
            let limit = if pool % 2 == 0 { ", max-sessions = 9" } else { "" };
            let _ = writeln!(text, "backend-{backend:04} = {{ address = \"{address}\"{limit} }}");
        }
    }
    text
}

/// Networks of a list, of which no two are neighbours.
fn networks(count: usize) -> String {
    let bytes = (0..count).map(|it| (2 * it).to_be_bytes());
    let all = bytes.map(|[.., high, middle, low]| format!("\"20.{high}.{middle}.{low}\""));
    all.collect::<Vec<_>>().join(", ")
}

/// One weir, and what its turns have come to.
struct Table {
    weir: Weir,
    /// See [`slowness`].
    slowness: f64,
    rows: Vec<(String, f64, String)>,
}

impl Table {
    /// The longest turn of what is not a tick or a report, in the log from `from` on, and whose it
    /// was. 0 is one of less than 1 ms.
    fn longest(&self, from: usize, of: impl Fn(&str) -> bool) -> (f64, String) {
        let log = self.weir.log();
        let mut longest = (0.0, String::new());
        for line in log[from.min(log.len())..].lines() {
            let Some((_, rest)) = line.split_once("held_us=") else { continue };
            let us = rest.split_whitespace().next().and_then(|us| us.parse::<f64>().ok());
            let task = line.split("task=").nth(1).and_then(|rest| rest.split_whitespace().next());
            let task = task.unwrap_or_default().trim_matches('"').to_owned();
            let ms = us.expect("a number of microseconds") / 1000.0;
            if ms > longest.0 && of(&task) {
                longest = (ms, task);
            }
        }
        longest
    }

    /// The turns of `task` from the start on, in milliseconds, the longest last.
    fn turns(&self, task: &str) -> Vec<f64> {
        let marker = format!("task=\"{task}\" held_us=");
        let log = self.weir.log();
        let us = log.lines().filter_map(|line| line.split(&marker).nth(1)?.parse::<f64>().ok());
        let mut turns: Vec<f64> = us.map(|us| us / 1000.0).collect();
        turns.sort_by(f64::total_cmp);
        turns
    }

    /// Carries out one request, again if it was over the bar, and puts the shortest of its longest
    /// turns beside it. The request hears how often it was made before.
    fn row(&mut self, name: &str, mut request: impl FnMut(&Weir, usize)) {
        let mut best = (f64::INFINITY, String::new());
        for attempt in 0..ATTEMPTS {
            let from = self.weir.log().len();
            request(&self.weir, attempt);
            // A line that tells of a turn comes after it. Shards report four times a second, and at
            // this size each report is in the log too: after three of them the line is there.
            let now = self.weir.log().len();
            let reports = || self.weir.log()[now..].matches("task=\"reports\"").count();
            clock::try_wait(Duration::from_millis(700), || (reports() >= 3).then_some(()));
            let (ms, task) = self.longest(from, |task| !["tick", "reports"].contains(&task));
            if ms < best.0 {
                best = (ms, task);
            }
            if best.0 <= self.bar() {
                break;
            }
        }
        self.rows.push((name.to_owned(), best.0, best.1));
    }

    /// The bar of each row.
    fn bar(&self) -> f64 {
        BAR_MS * self.slowness
    }

    /// `{n}` in the arguments is the number of the attempt.
    fn ctl(&mut self, arguments: &[&str], code: i32) {
        let name = format!("weirctl {}", arguments.join(" "));
        let name: String = name.replace(&self.weir.dir.entry(""), "").chars().take(60).collect();
        self.row(&name, |weir, attempt| {
            let arguments: Vec<String> =
                arguments.iter().map(|it| it.replace("{n}", &attempt.to_string())).collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            drop(weir.ctl(&arguments).expect_code(code));
        });
    }

    fn get(&mut self, path: &str, status: u16) {
        let name: String = format!("GET {path}").chars().take(60).collect();
        self.row(&name, |weir, _| assert_eq!(weir.get(path).status, status, "{path}"));
    }

    fn print_and_judge(self) {
        let mut text = format!(
            "{BACKENDS} backends in {POOLS} pools, {LISTENERS} listeners of {BINDS} addresses; \
             this machine needs {:.1} times as long as that of the bars\n\
             {:<62} {:>8} {:>6}  by\n",
            self.slowness, "request", "held ms", "bar"
        );
        let mut over = Vec::new();
        for (name, ms, task) in &self.rows {
            let bar = self.bar();
            let _ = writeln!(text, "{name:<62} {ms:>8.1} {bar:>6.0}  {task}");
            if *ms > bar {
                over.push(name.clone());
            }
        }
        // Shown by scripts/test, which lets the table through.
        println!("{text}");
        assert!(over.is_empty(), "over the bar: {over:?}\n{text}");
    }
}

/// Milliseconds of processor time of a fixed piece of work that is much like control's: many small
/// allocations, ordered maps and comparisons, more than a cache holds.
fn work() -> f64 {
    let time = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.try_into().expect("under a second"))
    };
    let began = time();
    let names = (0..BACKENDS).map(|number| (format!("pool/backend-{number:06}"), number));
    let map: BTreeMap<String, usize> = names.collect();
    let copy = map.clone();
    assert!(map == copy && copy.contains_key("pool/backend-012345"));
    drop((map, copy));
    (time() - began).as_secs_f64() * 1000.0
}

/// How much slower this machine is than that of the bars; 1 if it is not.
fn slowness() -> f64 {
    let mut seen: Vec<f64> = (0..7).map(|_| work()).collect();
    seen.sort_by(f64::total_cmp);
    (seen[3] / WORK_MS).max(1.0)
}

/// A viewer's question as a frame; gives the bytes of its answer.
fn ask(weir: &Weir, query: Query) -> Vec<u8> {
    let mut socket = std::os::unix::net::UnixStream::connect(&weir.socket).expect("it is there");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket takes a timeout");
    let hello = Hello { protocol: PROTOCOL, program: "test".into() };
    let mut say = |bytes: Vec<u8>| {
        socket.write_all(&bytes).expect("weir reads");
        let mut incoming = Incoming::new(ANSWER_MAX);
        while incoming.has_more() {
            let mut header = [0; frame::HEADER];
            socket.read_exact(&mut header).expect("weir answers");
            let part = incoming.next(header).expect("a frame");
            socket.read_exact(part).expect("a whole frame");
        }
        incoming.into_body()
    };
    say(frame::encode(&hello).expect("it is short"));
    say(frame::encode(&Request::from(query)).expect("it fits"))
}

/// Twenty scrapers at once, and what an operator's command needs beside them.
fn scrapers(weir: &Weir) {
    let mut scrapers: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut scraper = TcpStream::connect(weir.admin).expect("the admin address answers");
            let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            scraper.write_all(request).expect("the request is sent");
            scraper.set_read_timeout(Some(Duration::from_mins(1))).expect("it takes a timeout");
            scraper
        })
        .collect();
    drop(weir.ctl(&["shards"]).expect_code(0));
    let mut chunk = vec![0; 1 << 20];
    for scraper in &mut scrapers {
        while scraper.read(&mut chunk).expect("the page comes to its end") > 0 {}
    }
}

fn queries(table: &mut Table) {
    for line in [
        "status",
        "shards",
        "listener list",
        "listener show l1",
        "pool list",
        "pool show pool-0000",
        "backend list",
        "backend list pool-0000",
        "backend show pool-0000/backend-0000",
        "stats",
        "stats pool-0000",
        "stats pool-0000/backend-0000",
        "latency",
        "latency pool-0000",
        "events",
        "config show",
        "config export",
        "config history",
        "config versions",
        "session list",
        "session list --pool pool-0000 --sort rate",
        "session kill --pool pool-0000 --dry-run",
        "why pool-0000 --client 192.0.2.1",
        "task list",
    ] {
        table.ctl(&line.split(' ').collect::<Vec<_>>(), 0);
    }
    table.ctl(&["backend", "show", "pool-0000/no-such"], 4);
    for path in [
        "/metrics",
        "/healthz",
        "/api/v1/status",
        "/api/v1/shards",
        "/api/v1/listeners",
        "/api/v1/pools",
        "/api/v1/pools/pool-0000",
        "/api/v1/backends",
        "/api/v1/stats",
        "/api/v1/latency",
        "/api/v1/events",
        "/api/v1/live",
        "/api/v1/config",
        "/api/v1/config/history",
        "/api/v1/config/versions",
        "/api/v1/sessions",
        "/api/v1/tasks",
        "/api/v1/why?pool=pool-0000&client=192.0.2.1",
        "/openapi.json",
    ] {
        table.get(path, 200);
    }
    table.row("GET /readyz", |weir, _| drop(weir.get("/readyz")));
    table.get(&format!("/api/v1/backends/{}", "x".repeat(15_000)), 400);
    table.row("a frame with a name of 97 KiB", |weir, _| {
        let answer = ask(weir, Query::BackendShow { name: "x".repeat(97 << 10) });
        assert!(answer.len() < 2_000, "{} bytes", answer.len());
    });
    table.row("weirctl top", |weir, _| {
        let answer = ask(weir, Query::Live { history: true });
        assert!(answer.len() > 20_000, "{} bytes", answer.len());
    });
    let name = "GET /metrics by twenty, weirctl shards beside them";
    table.row(name, |weir, _| scrapers(weir));
}

/// Each attempt changes something that the one before has not.
fn changes(table: &mut Table) {
    for line in [
        "backend weight pool-0000/backend-0000 {n}2",
        "backend set pool-0004/backend-000{n} weight=3",
        "backend drain pool-2{n}00/*",
        "backend drain pool-0001/backend-000{n}",
        "backend maint pool-0002/backend-000{n} --yes",
        "backend ready pool-0002/backend-000{n}",
        "backend remove pool-0003/backend-000{n} --yes",
        "backend add pool-0000/new{n} 127.0.0.1:{n}1",
        "pool set pool-000{n} strategy=random",
        "pool rebalance pool-0000",
        "listener set l3{n} max-sessions=7",
        "pool remove pool-400{n} --yes",
        "pool add spare{n}",
        "listener remove l2{n} --yes",
    ] {
        table.ctl(&line.split(' ').collect::<Vec<_>>(), 0);
    }
    let free = |_| weir_tests::net::free(weir_tests::net::own_ip()).to_string();
    let addresses: Vec<String> = (0..ATTEMPTS).map(free).collect();
    let listener = |weir: &Weir, verb: &[&str]| drop(weir.ctl(verb).expect_code(0));
    table.row("weirctl listener add", |weir, attempt| {
        let name = format!("front{attempt}");
        listener(weir, &["listener", "add", &name, &addresses[attempt], "--pool", "pool-0000"]);
    });
    // One that is drained or ready already holds nothing: each attempt turns it round first.
    for (verb, back) in [("drain", "ready"), ("ready", "drain")] {
        table.row(&format!("weirctl listener {verb} (and {back})"), |weir, _| {
            listener(weir, &["listener", back, "front0", "--yes"]);
            listener(weir, &["listener", verb, "front0", "--yes"]);
        });
    }
    let some = |n: usize| format!("[pool.pool-300{n}]\nstrategy = \"maglev\"\n");
    let files: Vec<String> =
        (0..ATTEMPTS).map(|n| table.weir.dir.write(&format!("some{n}.toml"), &some(n))).collect();
    table.row("weirctl config apply --partial --confirm, and confirm", |weir, attempt| {
        let apply = ["config", "apply", &files[attempt], "--partial", "--confirm", "1h"];
        listener(weir, &apply);
        listener(weir, &["config", "confirm"]);
    });
    let list = |n: usize| format!("[listener.l1]\ndeny = [{}]\n", networks(NETWORKS_MAX - 1 - n));
    let files: Vec<String> =
        (0..ATTEMPTS).map(|n| table.weir.dir.write(&format!("list{n}.toml"), &list(n))).collect();
    table.row("weirctl config apply --partial (a list of 200,000)", |weir, attempt| {
        listener(weir, &["config", "apply", &files[attempt], "--partial"]);
    });
    let first = table.weir.version();
    table.row("weirctl config diff 1 (two exports)", |weir, _| {
        drop(weir.ctl(&["config", "diff", "1"]).expect_code(3));
    });
    table.row("weirctl config rollback", |weir, attempt| {
        let version = if attempt % 2 == 0 { 1 } else { first };
        listener(weir, &["config", "rollback", &version.to_string(), "--yes"]);
    });
}

fn files(table: &mut Table) {
    let write = |table: &Table, name: &str, text: &str| table.weir.dir.write(name, text);
    let next = table.weir.with_settings(&objects("maglev"));
    let other = next.replace(":9\"", ":10\"");
    let files = [("next", next), ("random", table.weir.with_settings(&objects("random")))];
    let [next, random] = files.map(|(name, text)| write(table, &format!("{name}.toml"), &text));
    // Without what the rows before have changed, which a file could conflict with.
    table.ctl(&["config", "rollback", "1", "--yes"], 0);
    table.ctl(&["config", "apply", &next, "--dry-run"], 0);
    table.ctl(&["config", "diff", &next], 3);
    let apply = |weir: &Weir, file: &str, code| {
        drop(weir.ctl(&["config", "apply", file, "--yes"]).expect_code(code));
    };
    table.row("weirctl config apply (one pool is another)", |weir, attempt| {
        apply(weir, if attempt % 2 == 0 { &next } else { &random }, 0);
    });
    let other = write(table, "other.toml", &other);
    table.row("weirctl config apply (every address is another)", |weir, attempt| {
        apply(weir, if attempt % 2 == 0 { &other } else { &next }, 0);
    });
    // However often that was: what SIGHUP reads below has every address another.
    apply(&table.weir, &other, 0);
    let wrong = write(table, "wrong.toml", &"[pool.web]\nstrategie = 1\n".repeat(60_000));
    table.row("weirctl config apply (60,000 errors)", |weir, _| apply(weir, &wrong, 1));
    let files = [("random", "every address"), ("maglev", "one pool")];
    for (strategy, what) in files {
        let before = table.weir.version();
        table.weir.write(&objects(strategy));
        let mut made = false;
        table.row(&format!("SIGHUP ({what} is another)"), |weir, _| {
            weir.signal(Signal::HUP);
            if !core::mem::replace(&mut made, true) {
                // The disk of a busy machine takes long for 100,000 backends.
                let used = || (weir.version() == before + 1).then_some(());
                clock::wait_within(Duration::from_mins(2), "the file to be in use", used);
            }
        });
    }
}

#[test]
fn no_request_holds_control_for_long() {
    let web = weir_tests::net::free(weir_tests::net::own_ip());
    let env = vec![("WEIR_LOG".to_owned(), "debug".to_owned())];
    let weir = Weir::start(web, &objects("least-conn"), Start { env, ..Start::default() });
    let mut table = Table { weir, slowness: slowness(), rows: Vec::new() };
    queries(&mut table);
    changes(&mut table);
    files(&mut table);
    for task in ["tick", "reports"] {
        let turns = table.turns(task);
        let place = (turns.len() * USUAL / 100).min(turns.len().saturating_sub(1));
        let usual = turns.get(place).copied().unwrap_or(0.0);
        table.rows.push((format!("(nineteen of twenty {task} turns)"), usual, task.to_owned()));
    }
    table.print_and_judge();
}
