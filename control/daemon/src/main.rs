//! The daemon `weir`: argv → run, check, demo, doctor. The one place that sets exit codes.

mod census;
mod control;
mod desk;
mod door;
mod events;
mod file;
mod health;
mod listen;
mod rollout;
mod rt;
mod serve;
mod signals;
mod store;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::EnvFilter;

/// The most shards that `--shards` takes.
const SHARDS_MAX: u16 = 1024;

/// A TCP load balancer.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve in the foreground; logs go to stderr.
    Run {
        /// Process settings, and the configuration that an empty state directory begins with.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// How many shards: a number, or auto for one per core.
        #[arg(long, value_name = "N|auto", value_parser = parse_shards)]
        shards: Option<file::Shards>,
    },
    /// Read a file and say what is wrong with it. Binds nothing, touches no state.
    Check {
        file: PathBuf,
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn main() -> ExitCode {
    match Args::parse().verb {
        Verb::Run { config, shards } => {
            start_log();
            exit(serve::run(serve::Run { file: config, shards }))
        }
        Verb::Check { file, output } => check(&file, output),
    }
}

fn exit(ended: Result<u8, String>) -> ExitCode {
    ended.map_or_else(
        |why| {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}

/// One line an event on stderr; `WEIR_LOG` sets what is shown (`info` by default).
fn start_log() {
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .init();
}

/// `weir check FILE`: 0 if it is good, 1 if it is not.
fn check(path: &Path, output: Output) -> ExitCode {
    let wrong: Vec<String> = match &file::read(path) {
        Err(diagnostics) => {
            let colour = output == Output::Table && std::io::stderr().is_terminal();
            diagnostics.iter().map(|diagnostic| diagnostic.render(colour)).collect()
        }
        Ok(file) => desk::loops(&file.spec)
            .iter()
            .map(|fault| format!("error: {}: {}\nhint: {}", fault.at, fault.what, fault.hint))
            .collect(),
    };
    let good = wrong.is_empty();
    match output {
        Output::Json => {
            let schema = weir_proto::answer::SCHEMA;
            let text = serde_json::json!({ "schema": schema, "ok": good, "errors": wrong });
            println!("{text}");
        }
        Output::Table if good => println!("{}: ok", path.display()),
        Output::Table => eprintln!("{}", wrong.join("\n")),
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse_shards(text: &str) -> Result<file::Shards, String> {
    match text {
        "auto" => Ok(file::Shards::Auto),
        number => match number.parse() {
            Ok(count @ 1..=SHARDS_MAX) => Ok(file::Shards::Count(count)),
            _ => Err(format!("write a number from 1 to {SHARDS_MAX}, or auto")),
        },
    }
}
