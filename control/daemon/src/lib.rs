//! The daemon `weir`: argv → run, check, init, demo, doctor. The one place that sets exit codes.
//!
//! A library, so that the simulator and the fuzz targets run what the daemon runs: the modules that
//! are `pub` are for them. No other program uses it.

pub mod api;
mod check;
mod demo;
mod doctor;
#[cfg(debug_assertions)]
mod failpoint;
mod fallback;
pub mod init;
mod limits;
mod listen;
mod log;
#[cfg(test)]
mod manual;
mod paths;
mod prober;
mod remembered;
mod resolver;
mod rt;
mod serve;
mod session_log;
mod signals;
mod sources;
mod start;
pub mod store;
mod streams;
mod systemd;
mod upgrade;
mod watchdog;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use weir_control_core::{file, planner};
use weir_proto::snapshot::Snapshot;

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
        /// Start from this version though a later one was acknowledged and is lost.
        #[arg(long, value_name = "N")]
        accept_version: Option<u64>,
        /// End with an error if any address cannot be bound, instead of serving the others.
        #[arg(long)]
        strict: bool,
        /// Take listeners and live sessions over from the weir that has started this one: that is
        /// what `weirctl upgrade` has it do.
        #[arg(long)]
        upgrade: bool,
    },
    /// Read a file and say what is wrong with it. Binds nothing, touches no state.
    Check {
        /// The file.
        file: PathBuf,
        /// Text for people, or JSON for programs.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Make weir.toml of the TCP part of another balancer's file.
    ///
    /// The configuration goes to stdout. Stderr has a line for each thing that could not be carried
    /// over, with its place, the reason, and what to write instead.
    #[command(after_help = INIT_EXAMPLES)]
    Init {
        /// haproxy.cfg or nginx.conf; - is stdin.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// Whose file it is, if it is not known by its content.
        #[arg(long, value_enum)]
        kind: Option<init::Peer>,
        /// Relay sections of HAProxy in mode http as TCP, without a look at requests.
        #[arg(long)]
        http_as_tcp: bool,
    },
    /// Two small backends, weir before them and some clients, on loopback, with commands to try.
    /// Ctrl-C ends all.
    Demo {
        /// Three more backends: one is dead, one is slow, one resets its sessions.
        #[arg(long)]
        faults: bool,
    },
    /// Look whether this host can run weir: what is well, what is not, and how to fix it.
    Doctor {
        /// Judge by this file's shards, directories, listeners and local backends, too.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Text for people, or JSON for programs.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Print the reference of weir.toml, in Markdown.
    Reference {
        /// Print it as a manual page, weir.toml(5).
        #[arg(long)]
        man: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

const INIT_EXAMPLES: &str = "\
Examples:
  weir init --from /etc/haproxy/haproxy.cfg > weir.toml
  weir init --from /etc/nginx/nginx.conf 2> notes.txt > weir.toml
  ssh lb1 cat /etc/haproxy/haproxy.cfg | weir init --from -

Then `weir check weir.toml` and `weir run -c weir.toml`.

Exit codes: 0 something was carried over, 1 the file is wrong or cannot be read, 2 usage,
3 nothing in it could be carried over.";

/// The whole program, from its arguments to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    match Args::parse().verb {
        Verb::Run { config, shards, accept_version: accept, strict, upgrade } => {
            let predecessor = || match upgrade {
                true => upgrade::successor::Predecessor::at_standard_input().map(Some),
                false => Ok(None),
            };
            let serve = |predecessor| {
                start::run(start::Run { file: config, shards, accept, strict, predecessor })
            };
            exit(log::start().and_then(|()| predecessor()).and_then(serve))
        }
        Verb::Check { file, output } => {
            let json = output == Output::Json;
            ExitCode::from(check::check_command(&file, json, |spec| {
                planner::loops(spec, &Snapshot::empty())
            }))
        }
        Verb::Init { from, kind, http_as_tcp } => {
            ExitCode::from(init::command(&from, init::Wanted { peer: kind, http_as_tcp }))
        }
        Verb::Demo { faults } => {
            let serve = |file| {
                let (shards, accept, predecessor) = (None, None, None);
                start::run(start::Run {
                    file: Some(file),
                    shards,
                    accept,
                    strict: true,
                    predecessor,
                })
            };
            exit(demo::run(faults, |file| log::start().and_then(|()| serve(file))))
        }
        Verb::Doctor { config, output } => doctor(config.as_deref(), output),
        Verb::Reference { man } => {
            let text = if man { file::reference::man() } else { file::reference::markdown() };
            ExitCode::from(u8::from(streams::out(&text).is_err()))
        }
    }
}

fn exit(ended: Result<u8, String>) -> ExitCode {
    let code = ended.map_or_else(
        |why| {
            // A file's errors have that word already.
            let word = if why.starts_with("error:") { "" } else { "error: " };
            log::say(&format!("{word}{why}"));
            ExitCode::FAILURE
        },
        ExitCode::from,
    );
    log::finish();
    code
}

fn doctor(path: Option<&Path>, output: Output) -> ExitCode {
    let (settings, spec) = match path.map(start::read_file).transpose() {
        Ok(file) => file.map(|file| (file.settings, file.spec)).unwrap_or_default(),
        Err(why) => return exit(Err(why)),
    };
    ExitCode::from(doctor::command(&settings, &spec, output == Output::Json))
}

fn parse_shards(text: &str) -> Result<file::Shards, String> {
    match text {
        "auto" => Ok(file::Shards::Auto),
        number => match number.parse() {
            Ok(count @ 1..=file::SHARDS_MAX) => Ok(file::Shards::Count(count)),
            _ => Err(format!("write a number from 1 to {}, or auto", file::SHARDS_MAX)),
        },
    }
}
