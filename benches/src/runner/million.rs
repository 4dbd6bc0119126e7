//! `weir-bench million`: very many sessions through one weir process. What each takes in user space
//! and kernel; a change, a new connection and waking them while they stand; none lost.

pub mod many_connections;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::clock::{now_ns, pause, unix_seconds};
use crate::load::many_connections::ManyConnectionsReport;
use crate::runner::machine::{self, Kernel, Machine};
use crate::runner::peer::{self, Peer, Wanted};
use crate::runner::probe::micros;
use crate::runner::report::{self, short};
use crate::runner::weir::Weir;
use crate::runner::{context, fault};
use many_connections::{EchoServers, ManyConnections};

/// Kernel memory is freed late and counted in batches: it settles before it is read.
const SETTLE: Duration = Duration::from_secs(1);
/// Kernel and user bytes of a session, four sockets and all, that are surely enough.
const SESSION_BYTES: u64 = 16_500;
/// Sessions of the direct run that the generator's and backend's share is taken from.
const DIRECT_MAX: usize = 50_000;
/// New connections whose latency is taken.
const NEW: u32 = 1_000;

/// Options of this run.
#[derive(Clone, Debug, clap::Args)]
pub struct MillionOptions {
    /// Sessions; fewer if the memory does not carry them.
    #[arg(long, default_value_t = 5_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(100..=3_900_000))]
    pub sessions: u32,
    /// weir's shards, all on its one core.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: u16,
    /// Everything has ended after so long, at the latest; by default two minutes and one for each
    /// 25,000 sessions.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: Option<u32>,
    /// Where the raw numbers go, as JSON.
    #[arg(long)]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub wanted: Wanted,
}

/// A figure, its bar if there is one, and whether that holds.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    at_most: Option<f64>,
    pass: Option<bool>,
}

/// What a run gathers.
#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn put(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.0.push(Figure { what: what.into(), value, unit, at_most: None, pass: None });
    }

    fn bar(&mut self, what: impl Into<String>, value: f64, unit: &'static str, at_most: f64) {
        let pass = Some(value <= at_most);
        let at_most = Some(at_most);
        self.0.push(Figure { what: what.into(), value, unit, at_most, pass });
    }

    fn print(&self) {
        println!("{:<62}{:>12} {:<8}{:>10}{:>6}", "", "", "", "AT MOST", "");
        for Figure { what, value, unit, at_most, pass } in &self.0 {
            let most = at_most.map_or(String::new(), short);
            let said = match pass {
                Some(true) => "pass",
                Some(false) => "MISS",
                None => "",
            };
            println!("{what:<62}{:>12} {unit:<8}{most:>10}{said:>6}", short(*value));
        }
    }
}

/// Memory of weir and the kernel.
#[derive(Clone, Copy)]
struct Memory {
    resident: u64,
    anonymous: u64,
    kernel: Kernel,
    /// See [`machine::socket_caches`].
    sockets: Option<u64>,
}

fn memory(weir: &Weir) -> io::Result<Memory> {
    pause(SETTLE);
    let program = weir.program()?;
    let (resident, anonymous) = (program.resident()?, program.anonymous()?);
    let (kernel, sockets) = (machine::kernel_memory()?, machine::socket_caches());
    Ok(Memory { resident, anonymous, kernel, sockets })
}

/// Runs it and publishes what came of it.
pub fn run(options: &MillionOptions) -> io::Result<()> {
    let peers = peer::find(&Wanted { peers: vec![Peer::Weir], ..options.wanted.clone() })?;
    let found = peers.first().ok_or_else(|| fault("no weir"))?;
    let sessions = affordable(options.sessions as usize)?;
    let counted = u32::try_from(sessions).unwrap_or(u32::MAX);
    let seconds = options.seconds.map_or(120.0 + f64::from(counted) / 417.0, f64::from);
    let end_ns = now_ns() + crate::clock::seconds_to_ns(seconds);
    println!(
        "{sessions} sessions through {} with {} shards on one core; at most {seconds:.0} s",
        found.version, options.shards
    );
    let pasture = EchoServers::start(sessions, seconds)?;
    let mut figures = Figures::default();
    let direct = without(&pasture, sessions.min(DIRECT_MAX), seconds)?;
    let what = "kernel bytes of a client's and a backend's socket, no proxy";
    figures.put(what, direct.kernel, "bytes");
    let weir = Weir::start(found, &pasture.addresses, options.shards, sessions, false)?;
    let outcome = through(&weir, sessions, seconds, end_ns, &direct, &mut figures);
    figures.print();
    outcome?;
    let Some(out) = &options.out else { return Ok(()) };
    let results = serde_json::json!({
        "schema": "weir-bench-million/v1",
        "at_unix_s": unix_seconds(),
        "command": report::command(),
        "machine": Machine::read(),
        "weir": found.version,
        "settings": weir.proxy.settings,
        "sessions": sessions,
        "shards": options.shards,
        "figures": figures.0,
    });
    report::write(&results, out)
}

/// As many sessions as the memory carries; says so when they are fewer.
fn affordable(wanted: usize) -> io::Result<usize> {
    let available = machine::kernel_memory()?.available;
    let most = usize::try_from(available / SESSION_BYTES).unwrap_or(usize::MAX);
    if most < wanted {
        let gib = available >> 30;
        println!("{wanted} sessions do not fit into {gib} GiB: {most} are held");
    }
    Ok(wanted.min(most))
}

/// Bytes of a session without a proxy: the client's socket, the backend's, their epolls.
struct Direct {
    kernel: f64,
    /// Of the caches of sockets alone.
    sockets: Option<f64>,
}

fn without(pasture: &EchoServers, sessions: usize, seconds: f64) -> io::Result<Direct> {
    let mut herd = ManyConnections::start(&pasture.addresses, sessions, seconds)?;
    pause(SETTLE);
    let (before, old) = (machine::kernel_memory()?, machine::socket_caches());
    herd.step("open").map_err(context("without a proxy"))?;
    pause(SETTLE);
    let (after, new) = (machine::kernel_memory()?, machine::socket_caches());
    // With resets: what lingers would count as taken, and would go while weir is measured.
    herd.step("reset")?;
    herd.end()?;
    // What is freed late would count as less for the next run.
    pause(SETTLE);
    let kernel = per(after.taken(), before.taken(), sessions);
    let sockets = old.zip(new).map(|(old, new)| per(new, old, sessions));
    Ok(Direct { kernel, sockets })
}

fn per(after: u64, before: u64, sessions: usize) -> f64 {
    (micros(after) - micros(before)) / micros(sessions as u64)
}

fn through(
    weir: &Weir,
    sessions: usize,
    seconds: f64,
    end_ns: u64,
    direct: &Direct,
    figures: &mut Figures,
) -> io::Result<()> {
    // Once for nothing: not to measure what is done for the first time.
    weir.new_connections(NEW)?;
    let empty = weir.new_connections(NEW)?.latency;
    let mut herd = ManyConnections::start(&[weir.proxy.address("echo")], sessions, seconds)?;
    let before = memory(weir)?;
    let opened = counted(weir, figures, "open and first exchange", || herd.step("open"))?;
    figures.put("opened per second", micros(opened.standing) / opened.seconds, "1/s");
    let standing = weir.sessions()?;
    figures.bar("sessions that weir does not count", micros(sessions as u64 - standing), "", 0.0);
    let after = memory(weir)?;
    sizes(&before, &after, sessions, direct, figures);
    let full = weir.new_connections(NEW)?.latency;
    figures.put("new connection, empty table: p50", empty.p50_us, "us");
    figures.put("new connection, all standing: p50", full.p50_us, "us");
    figures.bar("the same, as a ratio", full.p50_us / empty.p50_us, "", 1.10);
    figures.put("new connection, empty table: p99", empty.p99_us, "us");
    figures.put("new connection, all standing: p99", full.p99_us, "us");
    let (told, used) = weir.change()?;
    figures.put("a change: weirctl returned after", micros(told) / 1e9, "s");
    figures.bar("a change: seen used by every shard after", micros(used) / 1e9, "s", 1.0);
    let step = || herd.step("wake 100 0");
    let woken = counted(weir, figures, "wake 1 % at once", step)?;
    latencies(&woken, "wake 1 % at once", figures);
    let step = || herd.step("wake 1 256");
    let woken = counted(weir, figures, "wake all, 256 at a time in each thread", step)?;
    latencies(&woken, "wake all", figures);
    let looked = herd.step("look")?;
    figures.bar("sessions lost", micros(sessions as u64 - looked.standing), "", 0.0);
    let start = now_ns();
    herd.step("close")?;
    herd.end()?;
    weir.wait_sessions(0, end_ns)?;
    figures.put("closed, and none left in weir, after", micros(now_ns() - start) / 1e9, "s");
    let ended = memory(weir)?;
    figures.put("weir resident: at start", micros(before.resident) / 1e6, "MB");
    figures.put("weir resident: with all", micros(after.resident) / 1e6, "MB");
    figures.put("weir resident: after all are closed", micros(ended.resident) / 1e6, "MB");
    Ok(())
}

/// Takes a step; its time, and weir's CPU time for each exchange.
fn counted(
    weir: &Weir,
    figures: &mut Figures,
    name: &str,
    step: impl FnOnce() -> io::Result<ManyConnectionsReport>,
) -> io::Result<ManyConnectionsReport> {
    let cpu = weir.proxy.cpu_ns()?;
    let report = step()?;
    let cpu = weir.proxy.cpu_ns()? - cpu;
    figures.put(format!("{name}: took"), report.seconds, "s");
    let each = micros(cpu) / 1e3 / micros(report.exchanges.max(1));
    figures.put(format!("{name}: proxy CPU for each"), each, "us");
    Ok(report)
}

fn latencies(report: &ManyConnectionsReport, name: &str, figures: &mut Figures) {
    figures.put(format!("{name}: exchange p50"), report.latency.p50_us / 1e3, "ms");
    figures.put(format!("{name}: exchange p99"), report.latency.p99_us / 1e3, "ms");
    figures.put(format!("{name}: exchange max"), report.latency.max_us / 1e3, "ms");
}

fn sizes(before: &Memory, after: &Memory, sessions: usize, direct: &Direct, figures: &mut Figures) {
    let (old, new) = (&before.kernel, &after.kernel);
    let user = per(after.resident, before.resident, sessions);
    let anonymous = per(after.anonymous, before.anonymous, sessions);
    let kernel = per(new.taken(), old.taken(), sessions) - direct.kernel;
    figures.bar("user bytes a session (resident)", user, "bytes", 256.0);
    figures.put("  of them anonymous", anonymous, "bytes");
    figures.put("kernel bytes a session, the proxy's two sockets", kernel, "bytes");
    let caches = before.sockets.zip(after.sockets).zip(direct.sockets);
    if let Some(((old, new), direct)) = caches {
        let each = per(new, old, sessions) - direct;
        figures.put("  of them in the caches of sockets and their files", each, "bytes");
    }
    figures.bar("user + kernel bytes a session", user + kernel, "bytes", 8_400.0);
    figures.put("all slab a session, four sockets", per(new.slab, old.slab, sessions), "bytes");
    let tables = per(new.page_tables, old.page_tables, sessions);
    figures.put("page tables a session", tables, "bytes");
    figures.put("socket buffers a session", per(new.buffers, old.buffers, sessions), "bytes");
    let available = micros(old.available) - micros(new.available);
    let each = available / micros(sessions as u64);
    figures.put("memory that programs can no longer have, a session", each, "bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_what_it_added() {
        assert_eq!(per(3_000, 1_000, 10), 200.0);
        assert_eq!(per(1_000, 3_000, 10), -200.0);
    }

    #[test]
    fn a_bar_is_held_at_its_value() {
        let mut figures = Figures::default();
        figures.bar("a", 1.0, "s", 1.0);
        figures.bar("b", 1.1, "s", 1.0);
        figures.put("c", 5.0, "s");
        let passes: Vec<Option<bool>> = figures.0.iter().map(|figure| figure.pass).collect();
        assert_eq!(passes, [Some(true), Some(false), None]);
    }

    #[test]
    fn more_than_the_memory_carries_is_cut() {
        assert_eq!(affordable(100).expect("readable"), 100);
        assert!(affordable(usize::MAX).expect("readable") < usize::MAX);
    }
}
