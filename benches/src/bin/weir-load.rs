//! `weir-load`: the load generator and its backend, bounded in count and time.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use weir_bench::clock::{now_ns, seconds_to_ns};
use weir_bench::load::serve::{Mode, Server};
use weir_bench::load::{bulk, crr, echo_servers, idle, many_connections, rr};
use weir_bench::pattern::CHUNK_MAX;
use weir_bench::sys;

/// Load generator for TCP proxies: verified payload, latency from the intended send time.
/// Reports are one line of JSON on stdout. Exit codes: 0 done, 1 there were errors, 2 usage.
#[derive(Debug, Parser)]
#[command(version)]
struct LoadCli {
    #[command(subcommand)]
    verb: LoadVerb,
}

#[derive(Debug, Subcommand)]
enum LoadVerb {
    /// Be the backend; prints `listening ADDRESS`.
    Serve(ServeArgs),
    /// Round trips on standing connections; closed loop, or open loop with --rate.
    Rr(RrArgs),
    /// Connect, one round trip, close.
    Crr(CrrArgs),
    /// Move bytes one way (backend: serve --mode source, or sink with --direction up).
    Bulk(BulkArgs),
    /// Hold connections; prints `holding`; ends when stdin does or the time is over.
    Idle(IdleArgs),
    /// Very many connections, a descriptor table a thread. Takes steps from stdin, one a line:
    /// open; wake EVERY OUTSTANDING (0: all at once); look; close; reset. Ends when stdin does.
    ManyConnections(ManyConnectionsArgs),
    /// The backend of a herd: echo on 127.1.THREAD.1 to .4; prints `listening A,B,...`.
    EchoServers(EchoServersArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long, value_enum, default_value = "echo")]
    mode: Mode,
    /// Listen on N addresses with one port: 127.0.0.1 and on.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    addresses: u16,
    /// Run before all ordinary threads (SCHED_RR); needs CAP_SYS_NICE.
    #[arg(long)]
    before_others: bool,
    /// Ends by itself after so long.
    #[arg(long, default_value_t = 3_600.0, value_parser = positive)]
    seconds: f64,
}

#[derive(Debug, Args)]
struct Aim {
    #[arg(long)]
    target: SocketAddr,
    /// Bytes of a request and of its answer.
    #[arg(long, default_value_t = 64, value_parser = size)]
    size: usize,
    /// Source addresses to share the connections between: 127.0.0.1 and on.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=254))]
    sources: u8,
}

#[derive(Debug, Args)]
struct RrArgs {
    #[command(flatten)]
    common: Aim,
    #[arg(long, default_value_t = 64, value_parser = links)]
    connections: usize,
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    seconds: f64,
    /// Stop after N round trips, if that is sooner.
    #[arg(long)]
    count: Option<u64>,
    /// Open loop: requests a second of all connections together.
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
    /// Run before all ordinary threads (SCHED_RR); needs CAP_SYS_NICE.
    #[arg(long)]
    before_others: bool,
}

#[derive(Debug, Args)]
struct CrrArgs {
    #[command(flatten)]
    common: Aim,
    #[arg(long, default_value_t = 64, value_parser = links)]
    concurrency: usize,
    /// Stop after so long.
    #[arg(long, default_value_t = 30.0, value_parser = positive)]
    seconds: f64,
    /// Stop after N connections, if that is sooner.
    #[arg(long)]
    count: Option<u64>,
    /// Close with FIN instead of a reset.
    #[arg(long)]
    fin: bool,
}

#[derive(Debug, Args)]
struct BulkArgs {
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, default_value_t = 4, value_parser = links)]
    streams: usize,
    /// Bytes of each stream.
    #[arg(long, default_value_t = 256 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    bytes: u64,
    #[arg(long, value_enum, default_value = "down")]
    direction: bulk::Direction,
    /// Taking longer is an error.
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    seconds: f64,
    /// Stop after so long, wherever the streams are then.
    #[arg(long, value_parser = positive)]
    stop_after: Option<f64>,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=254))]
    sources: u8,
}

#[derive(Debug, Args)]
struct IdleArgs {
    #[command(flatten)]
    common: Aim,
    #[arg(long, default_value_t = 1_000, value_parser = links)]
    connections: usize,
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    hold_seconds: f64,
}

#[derive(Debug, Args)]
struct ManyConnectionsArgs {
    /// Connections go round these.
    #[arg(long, required = true, value_delimiter = ',')]
    target: Vec<SocketAddr>,
    #[arg(long, default_value_t = 1_000, value_parser = herd_links)]
    connections: usize,
    /// Bytes of an exchange, each way.
    #[arg(long, default_value_t = 64, value_parser = herd_size)]
    size: usize,
    /// Everything ends after so long.
    #[arg(long, default_value_t = 600.0, value_parser = positive)]
    seconds: f64,
}

#[derive(Debug, Args)]
struct EchoServersArgs {
    /// Each has a descriptor table of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=250))]
    threads: u8,
    /// Ends by itself after so long.
    #[arg(long, default_value_t = 3_600.0, value_parser = positive)]
    seconds: f64,
}

fn herd_links(text: &str) -> Result<usize, String> {
    between(text, 4_000_000)
}

fn herd_size(text: &str) -> Result<usize, String> {
    between(text, 8_192)
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("a number above 0 is needed".into()),
    }
}

fn between(text: &str, most: usize) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("a number from 1 to {most} is needed")),
    }
}

fn size(text: &str) -> Result<usize, String> {
    between(text, CHUNK_MAX)
}

fn links(text: &str) -> Result<usize, String> {
    between(text, 1_000_000)
}

fn main() -> ExitCode {
    let cli = LoadCli::parse();
    sys::exact_timers();
    match run(cli.verb) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("weir-load: {error}");
            ExitCode::from(1)
        }
    }
}

/// Runs one verb; says how many errors there were.
fn run(verb: LoadVerb) -> io::Result<u64> {
    if !matches!(verb, LoadVerb::Serve(_)) {
        sys::raise_open_files()?;
    }
    match verb {
        LoadVerb::Serve(args) => {
            serve(&args)?;
            Ok(0)
        }
        LoadVerb::Rr(args) => {
            let Aim { target, size, sources } = args.common;
            let RrArgs { connections, seconds, count, rate, before_others, .. } = args;
            step_forward(before_others);
            let plan = rr::RrPlan { target, connections, size, seconds, count, rate, sources };
            let report = rr::run(&plan)?;
            print(&report, report.errors)
        }
        LoadVerb::Crr(args) => {
            let Aim { target, size, sources } = args.common;
            let CrrArgs { concurrency, seconds, count, fin, .. } = args;
            let plan = crr::CrrPlan { target, concurrency, size, seconds, count, fin, sources };
            let report = crr::run(&plan)?;
            print(&report, report.errors)
        }
        LoadVerb::Bulk(args) => {
            let BulkArgs { target, streams, bytes, direction, seconds, stop_after, sources } = args;
            let plan =
                bulk::BulkPlan { target, streams, bytes, direction, seconds, stop_after, sources };
            let report = bulk::run(&plan)?;
            print(&report, report.errors)
        }
        LoadVerb::Idle(args) => {
            let Aim { target, size, sources } = args.common;
            let IdleArgs { connections, hold_seconds, .. } = args;
            let plan = idle::IdlePlan { target, connections, size, hold_seconds, sources };
            let report = idle::run(&plan, io::stdin(), &mut io::stdout())?;
            print(&report, report.errors)
        }
        LoadVerb::ManyConnections(args) => {
            let ManyConnectionsArgs { target: targets, connections, size, seconds } = args;
            let plan =
                many_connections::ManyConnectionsPlan { targets, connections, size, seconds };
            many_connections::run(&plan, io::stdin().lock(), &mut io::stdout())
        }
        LoadVerb::EchoServers(args) => {
            echo_servers::run(args.threads, args.seconds, &mut io::stdout())?;
            Ok(0)
        }
    }
}

/// Not being allowed to is worth a line, not a failure: the run is fair to all peers anyway.
fn step_forward(wanted: bool) {
    if wanted && let Err(error) = sys::before_others() {
        eprintln!("weir-load: --before-others: {error}; goes on as an ordinary thread");
    }
}

fn serve(args: &ServeArgs) -> io::Result<()> {
    sys::raise_open_files()?;
    step_forward(args.before_others);
    let mut server = Server::new(args.listen, args.mode, args.addresses)?;
    println!("listening {}", server.address()?);
    io::stdout().flush()?;
    server.run(now_ns() + seconds_to_ns(args.seconds))
}

fn print(report: &impl Serialize, errors: u64) -> io::Result<u64> {
    println!("{}", serde_json::to_string(report)?);
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_bounded() {
        let line = "weir-load rr --target 127.0.0.1:9 --connections 3 --size 10 --rate 500";
        let LoadVerb::Rr(args) = LoadCli::parse_from(line.split(' ')).verb else {
            panic!("not rr")
        };
        assert_eq!((args.connections, args.common.size, args.rate), (3, 10, Some(500.0)));
        for wrong in [
            "weir-load rr",
            "weir-load rr --target 127.0.0.1:9 --rate 0",
            "weir-load rr --target 127.0.0.1:9 --size 0",
            "weir-load rr --target 127.0.0.1:9 --size 262145",
            "weir-load crr --target 127.0.0.1:9 --concurrency 0",
            "weir-load bulk --target 127.0.0.1:9 --bytes 0",
            "weir-load idle --target 127.0.0.1:9 --hold-seconds NaN",
            "weir-load serve --mode tea",
        ] {
            let parsed = LoadCli::try_parse_from(wrong.split(' '));
            assert!(parsed.is_err(), "{wrong} was taken");
        }
    }
}
