//! `weir-bench watched`: what looking at weir costs while it holds many sessions. Two weirs with
//! the same sessions and the same light traffic, in turns: one alone, the other with a scraper, a
//! dashboard, `weirctl top` and a session log. Then the first one again, while its sessions are
//! listed.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use crate::clock::{now_ns, pause, unix_seconds};
use crate::load::rr::RrReport;
use crate::runner::counters::metrics;
use crate::runner::machine::Machine;
use crate::runner::million::many_connections::{EchoServers, ManyConnections};
use crate::runner::peer::{self, Found, Peer, Wanted};
use crate::runner::probe::{self, micros};
use crate::runner::process::Program;
use crate::runner::report;
use crate::runner::weir::Weir;
use crate::runner::work::words;
use crate::runner::{LOAD_CORE, fault};

/// Threads of backends: four addresses each, so that there are 100 backends.
const BACKEND_THREADS: usize = 25;
/// Requests a second while it is measured, over 64 connections.
const RATE: u32 = 2_000;
/// New sessions a second while it is measured.
const NEW: u32 = 200;
/// Between two looks of a scraper.
const EACH: Duration = Duration::from_secs(1);

/// Options of this run.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchedOptions {
    /// Sessions of each of the two weirs.
    #[arg(long, default_value_t = 50_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(100..=400_000))]
    pub sessions: u32,
    /// Shards of each, all on one core; a shard has some 9,000 sessions at most.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub shards: u16,
    /// Pairs of measurements.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Length of a measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// Where the raw numbers go, as JSON.
    #[arg(long)]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub wanted: Wanted,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
struct WatchedSample {
    round: u32,
    how: How,
    /// Share of one core that weir took.
    core: f64,
    /// Of a round trip, from its intended send time, in µs.
    p50_us: f64,
    p99_us: f64,
    round_trips: u64,
    /// Pages scraped, or listings made.
    looks: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    Alone,
    Watched,
    Listed,
}

/// Runs it and publishes what came of it.
pub fn run(options: &WatchedOptions) -> io::Result<()> {
    let peers = peer::find(&Wanted { peers: vec![Peer::Weir], ..options.wanted.clone() })?;
    let found = peers.first().ok_or_else(|| fault("no weir"))?;
    let sessions = options.sessions as usize;
    let measured = f64::from(options.rounds) * 3.0 * f64::from(options.seconds + 2);
    let seconds = measured + 120.0 + f64::from(options.sessions) / 200.0;
    let servers = EchoServers::start_threads(BACKEND_THREADS, seconds)?;
    let mut houses = Vec::new();
    for logs_sessions in [false, true] {
        houses.push(Held::open(found, &servers, options, logs_sessions, seconds)?);
    }
    println!("two weirs with {sessions} sessions each, {} shards, 100 backends", options.shards);
    let mut samples = Vec::new();
    for round in 1..=options.rounds {
        for how in [How::Alone, How::Watched, How::Listed] {
            let house = &houses[usize::from(how == How::Watched)];
            samples.push(measure(&house.weir, options, round, how)?);
        }
    }
    print(&samples);
    for house in &mut houses {
        let looked = house.clients.step("look")?;
        if looked.standing != sessions as u64 {
            return Err(fault(format!("{} of {sessions} sessions stand", looked.standing)));
        }
        house.clients.step("reset")?;
    }
    let Some(out) = &options.out else { return Ok(()) };
    let results = serde_json::json!({
        "schema": "weir-bench-watched/v1",
        "at_unix_s": unix_seconds(),
        "command": report::command(),
        "machine": Machine::read(),
        "weir": found.version,
        "settings": houses[1].weir.proxy.settings,
        "sessions": sessions,
        "shards": options.shards,
        "requests_per_s": RATE,
        "new_sessions_per_s": NEW,
        "samples": samples,
    });
    report::write(&results, out)
}

/// A weir and the sessions that it holds.
struct Held {
    weir: Weir,
    clients: ManyConnections,
}

impl Held {
    fn open(
        found: &Found,
        servers: &EchoServers,
        options: &WatchedOptions,
        logs_sessions: bool,
        seconds: f64,
    ) -> io::Result<Self> {
        let sessions = options.sessions as usize;
        let weir = Weir::start(found, &servers.addresses, options.shards, sessions, logs_sessions)?;
        let targets = [weir.proxy.address("echo")];
        let mut clients = ManyConnections::start(&targets, sessions, seconds)?;
        clients.step("open")?;
        let standing = weir.sessions()?;
        if standing < sessions as u64 {
            return Err(fault(format!("{standing} of {sessions} sessions stand in weir")));
        }
        Ok(Self { weir, clients })
    }
}

/// Traffic for the time of one measurement, with those that look.
fn measure(
    weir: &Weir,
    options: &WatchedOptions,
    round: u32,
    how: How,
) -> io::Result<WatchedSample> {
    let mut crowd = Crowd::default();
    match how {
        How::Alone => {}
        How::Watched => crowd.watch(weir)?,
        How::Listed => crowd.list(weir, options.sessions),
    }
    crowd.open_sessions(weir);
    pause(EACH);
    let target = weir.proxy.address("echo");
    let (seconds, rate) = (options.seconds, RATE);
    let line = format!("rr --target {target} --connections 64 --rate {rate} --seconds {seconds}");
    let (cpu, start) = (weir.proxy.cpu_ns()?, now_ns());
    let report: RrReport = probe::load(&words(&line))?;
    let (cpu, elapsed) = (weir.proxy.cpu_ns()? - cpu, now_ns() - start);
    let looks = crowd.end()?;
    if how != How::Alone && looks == 0 {
        return Err(fault("nobody has looked"));
    }
    Ok(WatchedSample {
        round,
        how,
        core: micros(cpu) / micros(elapsed),
        p50_us: report.latency.p50_us,
        p99_us: report.latency.p99_us,
        round_trips: report.round_trips,
        looks,
    })
}

/// Programs and threads that look at weir, or use it, until they are told to end.
#[derive(Default)]
struct Crowd {
    over: Arc<AtomicBool>,
    looks: Arc<AtomicU32>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    programs: Vec<Program>,
}

impl Crowd {
    /// Does it once a second.
    fn each_second(&mut self, mut what: impl FnMut() -> io::Result<()> + Send + 'static) {
        let over = self.over.clone();
        self.threads.push(std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let start = now_ns();
                what()?;
                let taken = Duration::from_nanos(now_ns() - start);
                pause(EACH.saturating_sub(taken));
            }
            Ok(())
        }));
    }

    /// A scraper, a dashboard and `weirctl top`.
    fn watch(&mut self, weir: &Weir) -> io::Result<()> {
        let admin = weir.proxy.admin.ok_or_else(|| fault("no admin address"))?;
        let looks = self.looks.clone();
        self.each_second(move || {
            if !metrics(admin)?.contains("weir_backend_session") {
                return Err(fault("a page without figures of backends"));
            }
            looks.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let over = self.over.clone();
        self.threads.push(std::thread::spawn(move || dashboard(admin, &over)));
        // A terminal for it: top draws nothing into a pipe.
        let top = weir.weirctl();
        let words: Vec<String> = std::iter::once(top.get_program())
            .chain(top.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let typed = format!("stty cols 120 rows 40; exec {} top", words.join(" "));
        let mut command = Command::new("script");
        command.args(["-qefc", &typed, "/dev/null"]).env("TERM", "xterm");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.programs.push(Program::start(&mut command, LOAD_CORE)?);
        Ok(())
    }

    /// Somebody who lists all sessions, once a second.
    fn list(&mut self, weir: &Weir, sessions: u32) {
        // It shares the core of the clients that are measured, and must not be what they feel.
        let (weirctl, looks) = (weir.weirctl(), self.looks.clone());
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(weirctl.get_program()).args(weirctl.get_args());
        command.args(["-o", "json", "session", "list", "--limit", &sessions.to_string()]);
        self.each_second(move || {
            let text = probe::tool(&mut command)?;
            let rows = text.matches("\"age_s\"").count();
            if rows < sessions as usize {
                return Err(fault(format!("{rows} rows of {sessions} sessions")));
            }
            looks.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
    }

    /// New sessions, so that there is something to log and to count.
    fn open_sessions(&mut self, weir: &Weir) {
        let target = weir.proxy.address("echo");
        let line = format!("crr --target {target} --concurrency 1 --count {NEW}");
        self.each_second(move || {
            probe::load::<crate::load::crr::CrrReport>(&words(&line)).map(drop)
        });
    }

    /// How often somebody looked.
    fn end(self) -> io::Result<u32> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| fault("a thread has panicked"))??;
        }
        Ok(self.looks.load(Ordering::Relaxed))
    }
}

/// Reads what the dashboard reads, until it is over.
fn dashboard(admin: SocketAddr, over: &AtomicBool) -> io::Result<()> {
    let mut stream = TcpStream::connect(admin)?;
    let path = "/api/v1/live";
    let accept = "Accept: text/event-stream";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\n{accept}\r\n\r\n")?;
    stream.set_read_timeout(Some(EACH * 3))?;
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    while !over.load(Ordering::Relaxed) {
        match stream.read(&mut buffer)? {
            0 => return Err(fault("the stream of figures has ended")),
            read => bytes += read,
        }
    }
    if bytes < 1_000 { Err(fault("the stream of figures was empty")) } else { Ok(()) }
}

/// The median, over the rounds, of a sample beside the one alone.
fn beside(
    samples: &[WatchedSample],
    how: How,
    of: impl Fn(&WatchedSample, &WatchedSample) -> f64,
) -> f64 {
    let alone = samples.iter().filter(|it| it.how == How::Alone);
    let other = samples.iter().filter(|it| it.how == how);
    let each: Vec<f64> = alone.zip(other).map(|(alone, other)| of(alone, other)).collect();
    report::median(&each).unwrap_or(f64::NAN)
}

fn print(samples: &[WatchedSample]) {
    println!("{:>5} {:<8} {:>8} {:>9} {:>9} {:>6}", "ROUND", "", "CORE", "P50", "P99", "LOOKS");
    for it in samples {
        let how = format!("{:?}", it.how).to_lowercase();
        let (core, p50, p99) = (it.core * 100.0, it.p50_us, it.p99_us);
        let (round, looks) = (it.round, it.looks);
        println!("{round:>5} {how:<8} {core:>6.2} % {p50:>6.0} us {p99:>6.0} us {looks:>6}");
    }
    let more = beside(samples, How::Watched, |alone, other| other.core - alone.core) * 100.0;
    println!("watched: {more:.2} % of a core more (bar 2)");
    for (how, word) in [(How::Watched, "watched"), (How::Listed, "listed")] {
        let p50 = beside(samples, how, |alone, other| other.p50_us / alone.p50_us);
        let p99 = beside(samples, how, |alone, other| other.p99_us / alone.p99_us);
        println!("{word}: p50 {p50:.2} and p99 {p99:.2} of the one alone (bar 1.10)");
    }
}
