//! `weir-bench`: weir beside HAProxy, nginx, Envoy and no proxy, in one run.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use weir_bench::runner::{LOAD_CORE, million, run, tools, watched};

/// Measures weir beside HAProxy, nginx, Envoy and no proxy; interleaved, on loopback, pinned.
/// Exit codes: 0 done, 1 a run failed (also: an error in any answer), 2 usage.
#[derive(Debug, Parser)]
#[command(version)]
struct BenchCli {
    #[command(subcommand)]
    verb: BenchVerb,
}

#[derive(Debug, Subcommand)]
enum BenchVerb {
    /// Scenarios of benches/scenarios: CPU per unit, latency, memory, syscalls; and their bars.
    Run(run::Options),
    /// Very many sessions through one weir: memory, a change while they stand, all of them woken.
    Million(million::MillionOptions),
    /// Many sessions that stand: the cost of scrapes, a dashboard, top and a session log, and of
    /// listing them.
    Watched(watched::WatchedOptions),
    /// HTTP requests with wrk.
    Wrk(tools::ToolsOptions),
    /// Echo with tcpkali; without it, weir's own generator.
    Tcpkali(tools::ToolsOptions),
}

fn main() -> ExitCode {
    let cli = BenchCli::parse();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores <= LOAD_CORE {
        eprintln!("weir-bench: two cores are needed, this machine has {cores}");
        return ExitCode::from(1);
    }
    let result = match &cli.verb {
        BenchVerb::Run(options) => run::run(options),
        BenchVerb::Million(options) => million::run(options),
        BenchVerb::Watched(options) => watched::run(options),
        BenchVerb::Wrk(options) => tools::wrk(options),
        BenchVerb::Tcpkali(options) => tools::tcpkali(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench: {error}");
            ExitCode::from(1)
        }
    }
}
