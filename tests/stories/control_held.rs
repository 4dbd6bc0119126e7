//! How long the most expensive request of each kind holds the control thread, at the largest
//! configuration: a table, and a bar.
//!
//! Processor time, from weir's own log (a line for each turn of 1 ms and more), so that a busy
//! machine fails nothing.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use weir_proto::frame;
use weir_proto::request::{Hello, PROTOCOL, Query, Request};
use weir_tests::clock;
use weir_tests::weir::{Start, Weir};

/// Milliseconds that no request, file or scrape holds the control thread for longer.
const BAR_MS: f64 = 20.0;
/// The stated maxima: docs/operating.md.
const BACKENDS: usize = 100_000;
const POOLS: usize = 1_024;
const LISTENERS: usize = 256;
const BINDS: usize = 16;

/// Rows that are over the bar today, with a bar of their own: what each of them waits for.
const MISSED: &[(&str, f64, &str)] = &[
    ("weirctl config apply (every address", 600.0, "100,000 new backends are adopted in one turn"),
    ("SIGHUP", 600.0, "100,000 new backends are adopted in one turn"),
];

/// The largest configuration; `strategy` is the first pool's.
fn objects(strategy: &str) -> String {
    let mut text = String::new();
    let ip = weir_tests::net::own_ip();
    // Drained ones have no socket: their ports need not be free. One place is left to add one.
    for number in 1..LISTENERS {
        let ports = 20_000 + number * BINDS..20_000 + (number + 1) * BINDS;
        let binds: Vec<String> = ports.map(|port| format!("\"{ip}:{port}\"")).collect();
        let bind = binds.join(", ");
        let _ = writeln!(text, "[listener.l{number}]\nbind = [{bind}]\nstate = \"drain\"");
        let _ = writeln!(text, "pool = \"pool-{number:04}\"");
    }
    for pool in 0..POOLS {
        let _ = writeln!(text, "[pool.pool-{pool:04}]\nhealth = {{ kind = \"none\" }}");
        if pool == 0 {
            let _ = writeln!(text, "strategy = \"{strategy}\"");
        }
        let _ = writeln!(text, "[pool.pool-{pool:04}.backend]");
        for (backend, number) in (pool..BACKENDS).step_by(POOLS).enumerate() {
            let [_, high, middle, low] = u32::try_from(number).expect("it fits").to_be_bytes();
            let address = format!("127.{}.{middle}.{low}:9", high + 1);
            let _ = writeln!(text, "backend-{backend:04} = {{ address = \"{address}\" }}");
        }
    }
    text
}

/// One weir, and what its turns have come to.
struct Table {
    weir: Weir,
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

    /// Carries out one request and puts the longest turn beside it.
    fn row(&mut self, name: &str, request: impl FnOnce(&Weir)) {
        let from = self.weir.log().len();
        request(&self.weir);
        // A line that tells of a turn comes after it. Shards report four times a second, and at
        // this size each report is in the log too: after three of them the line is there.
        let now = self.weir.log().len();
        let reports = || self.weir.log()[now..].matches("task=\"reports\"").count();
        clock::try_wait(Duration::from_millis(700), || (reports() >= 3).then_some(()));
        let (ms, task) = self.longest(from, |task| !["tick", "reports"].contains(&task));
        self.rows.push((name.to_owned(), ms, task));
    }

    fn ctl(&mut self, arguments: &[&str], code: i32) {
        let name = format!("weirctl {}", arguments.join(" "));
        let name: String = name.replace(&self.weir.dir.entry(""), "").chars().take(60).collect();
        self.row(&name, |weir| drop(weir.ctl(arguments).expect_code(code)));
    }

    fn get(&mut self, path: &str, status: u16) {
        let name: String = format!("GET {path}").chars().take(60).collect();
        self.row(&name, |weir| assert_eq!(weir.get(path).status, status, "{path}"));
    }

    fn print_and_judge(self) {
        let mut text = format!(
            "{BACKENDS} backends in {POOLS} pools, {LISTENERS} listeners of {BINDS} addresses\n\
             {:<62} {:>8} {:>6}  by\n",
            "request", "held ms", "bar"
        );
        let mut over = Vec::new();
        for (name, ms, task) in &self.rows {
            let missed = MISSED.iter().find(|(of, _, _)| name.starts_with(of));
            let bar = missed.map_or(BAR_MS, |(_, bar, _)| *bar);
            let why =
                missed.map_or(String::new(), |(_, _, why)| format!(" (over {BAR_MS}: {why})"));
            let _ = writeln!(text, "{name:<62} {ms:>8.1} {bar:>6.0}  {task}{why}");
            if *ms > bar {
                over.push(name.clone());
            }
        }
        // Shown by scripts/test, which lets the table through.
        println!("{text}");
        assert!(over.is_empty(), "over the bar: {over:?}\n{text}");
    }
}

/// A viewer's frame with a name of 97 KiB.
fn long_name(weir: &Weir) {
    let mut socket = std::os::unix::net::UnixStream::connect(&weir.socket).expect("it is there");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket takes a timeout");
    let hello = Hello { protocol: PROTOCOL, program: "test".into() };
    let request = Request::from(Query::BackendShow { name: "x".repeat(97 << 10) });
    let mut say = |bytes: Vec<u8>| {
        socket.write_all(&bytes).expect("weir reads");
        let mut header = [0; frame::HEADER];
        socket.read_exact(&mut header).expect("weir answers");
        let mut body = vec![0; frame::body_length(header).expect("one frame")];
        socket.read_exact(&mut body).expect("a whole frame");
        body
    };
    say(frame::encode(&hello).expect("it is short"));
    let answer = say(frame::encode(&request).expect("it fits"));
    assert!(answer.len() < 2_000, "{} bytes", answer.len());
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
        "events",
        "config show",
        "config export",
        "config history",
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
        "/api/v1/events",
        "/api/v1/config/history",
    ] {
        table.get(path, 200);
    }
    table.row("GET /readyz", |weir| drop(weir.get("/readyz")));
    table.get(&format!("/api/v1/backends/{}", "x".repeat(15_000)), 400);
    table.row("a frame with a name of 97 KiB", long_name);
    table.row("GET /metrics by twenty, weirctl shards beside them", scrapers);
}

fn changes(table: &mut Table) {
    for line in [
        "backend weight pool-0000/backend-0000 7",
        "backend drain pool-0000/backend-0000",
        "backend maint pool-0000/backend-0000 --yes",
        "backend ready pool-0000/backend-0000",
        "backend remove pool-0000/backend-0001 --yes",
        "backend add pool-0000/new 127.0.0.1:1",
        "pool set pool-0000 strategy=random",
        "pool remove pool-1000 --yes",
        "pool add spare",
        "listener remove l1 --yes",
        "listener add front ADDRESS --pool pool-0000",
        "listener drain front --yes",
        "listener ready front",
        "config rollback 1 --yes",
    ] {
        let address = weir_tests::net::free(weir_tests::net::own_ip()).to_string();
        let line = line.replace("ADDRESS", &address);
        table.ctl(&line.split(' ').collect::<Vec<_>>(), 0);
    }
}

fn files(table: &mut Table) {
    let text = table.weir.with_settings(&objects("maglev"));
    let file = table.weir.dir.write("next.toml", &text);
    table.ctl(&["config", "apply", &file, "--dry-run"], 0);
    table.ctl(&["config", "apply", &file, "--yes"], 0);
    let other = text.replace(":9\"", ":10\"");
    let file = table.weir.dir.write("other.toml", &other);
    table.row("weirctl config apply (every address is another)", |weir| {
        drop(weir.ctl(&["config", "apply", &file, "--yes"]).expect_code(0));
    });
    let file = table.weir.dir.write("wrong.toml", &"[pool.web]\nstrategie = 1\n".repeat(60_000));
    table.row("weirctl config apply (60,000 errors)", |weir| {
        drop(weir.ctl(&["config", "apply", &file, "--yes"]).expect_code(1));
    });
    let before = table.weir.version();
    table.weir.write(&objects("random"));
    table.row("SIGHUP (the largest file)", |weir| {
        weir.signal(Signal::HUP);
        clock::wait_for("the file to be in use", || weir.version() == before + 1);
    });
}

#[test]
fn no_request_holds_control_for_long() {
    let web = weir_tests::net::free(weir_tests::net::own_ip());
    let env = vec![("WEIR_LOG".to_owned(), "debug".to_owned())];
    let weir = Weir::start(web, &objects("least-conn"), Start { env, ..Start::default() });
    let mut table = Table { weir, rows: Vec::new() };
    queries(&mut table);
    changes(&mut table);
    files(&mut table);
    for task in ["tick", "reports"] {
        let (ms, _) = table.longest(0, |it| it == task);
        table.rows.push((format!("(each {task}, meanwhile)"), ms, task.to_owned()));
    }
    table.print_and_judge();
}
