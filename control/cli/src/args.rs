//! The command line as it is typed. What it means is [`crate::plan`]'s matter.

mod config;
mod objects;
mod sessions;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates as Offer;
use weir_proto::answer::{EventKind, Note};
use weir_proto::session::SessionName;
use weir_proto::spec::{Span, WEIGHT_MAX};

use crate::ask::SOCKET;
use crate::complete;

pub(crate) use config::{ConfigVerb, ConfirmArgs, MergeArgs};
pub(crate) use objects::{BackendVerb, ListenerVerb, PoolVerb, TaskVerb};
pub(crate) use sessions::SessionVerb;

/// Steers weir, the TCP load balancer.
#[derive(Debug, Parser)]
#[command(
    name = "weirctl",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    after_help = EXITS
)]
pub(crate) struct Cli {
    /// weir's control socket
    #[arg(
        short,
        long,
        global = true,
        env = "WEIR_SOCKET",
        default_value = SOCKET,
        value_name = "PATH"
    )]
    pub(crate) socket: PathBuf,

    /// What to print: tables for people, JSON for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    /// Print again every SECONDS (2 if it is left out), until Ctrl-C
    #[arg(
        short,
        long,
        global = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_name = "SECONDS",
        value_parser = seconds
    )]
    pub(crate) watch: Option<f64>,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Everything on one screen
    Status {
        /// Exit with 3 when a pool has no backend that can take sessions
        #[arg(long)]
        check: bool,
    },
    /// A live full-screen view: alerts, charts, flow, sessions; drains and more by key (? helps)
    Top,
    /// The addresses that weir listens on
    #[command(subcommand)]
    Listener(ListenerVerb),
    /// Sets of backends, each with its strategy, health check and timeouts
    #[command(subcommand)]
    Pool(PoolVerb),
    /// The addresses that sessions are forwarded to, named POOL/BACKEND
    #[command(subcommand)]
    Backend(BackendVerb),
    /// Paced drains and rebalances, which are gone when weir ends
    #[command(subcommand)]
    Task(TaskVerb),
    /// The connections that live now: see them, and end some
    #[command(subcommand)]
    Session(SessionVerb),
    /// Why this backend: the one that a client would get, or that a session has
    Why {
        /// The pool of a new session
        #[arg(
            add = Offer::new(complete::pools),
            required_unless_present_any = ["session", "client"],
            requires = "client"
        )]
        pool: Option<String>,
        /// Instead of the pool: the listener that it comes to; the only one if neither is named
        #[arg(
            long,
            conflicts_with = "pool",
            requires = "client",
            add = Offer::new(complete::listeners)
        )]
        listener: Option<String>,
        /// The address that it comes from
        #[arg(long, value_name = "IP[:PORT]", conflicts_with = "session")]
        client: Option<String>,
        /// The server name in its ClientHello
        #[arg(long, value_name = "NAME", requires = "client", conflicts_with = "pool")]
        sni: Option<String>,
        /// The application protocols in its ClientHello, with commas between several
        #[arg(long, value_name = "PROTOCOL", requires = "client", conflicts_with = "pool")]
        alpn: Option<String>,
        /// A live session, such as 0.17.3
        #[arg(
            long,
            value_name = "ID",
            conflicts_with = "pool",
            add = Offer::new(complete::sessions)
        )]
        session: Option<SessionName>,
    },
    /// Counters, rates and percentiles: of all, of a pool or of a backend
    Stats {
        /// A pool, or a backend such as web/b1; everything if it is left out
        #[arg(value_name = "POOL|POOL/BACKEND", add = Offer::new(complete::pools_and_backends))]
        subject: Option<String>,
    },
    /// Histograms: how long connects, first bytes and sessions took
    Latency {
        /// A pool; all of them if it is left out
        #[arg(add = Offer::new(complete::pools))]
        pool: Option<String>,
    },
    /// Events: health, configuration, tasks, limits that are reached, shards
    Events {
        /// Go on with new ones, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        /// Only those of the last DURATION, such as 10m
        #[arg(long, value_name = "DURATION")]
        since: Option<Span>,
        /// Only those of this kind; may be there several times
        #[arg(long, value_name = "KIND", value_parser = event_kinds())]
        kind: Vec<EventKind>,
    },
    /// The configuration and its versions
    #[command(subcommand)]
    Config(ConfigVerb),
    /// The threads that carry the sessions
    Shards {
        /// Have that many of them: a new process takes over, as with weirctl upgrade
        #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
        count: Option<u16>,
        /// Only start the new process, and say what would happen
        #[arg(long, requires = "count")]
        dry_run: bool,
    },
    /// Start another weir and hand everything over to it: listeners, doors and live sessions
    Upgrade {
        /// Only see that the new program starts on this host, and end it
        #[arg(long, alias = "dry-run")]
        check: bool,
        /// The program; the file that weir was started from if it is left out
        #[arg(long, value_name = "PATH")]
        binary: Option<String>,
    },
    /// Stop accepting on every listener; sessions run on, and weirctl ready takes it back
    Drain {
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
        /// Do not ask, although new clients are refused from then on
        #[arg(short, long)]
        yes: bool,
    },
    /// Take a drain back: accept on every listener again
    Ready {
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// End weir
    Stop {
        /// Let sessions have this long to end by themselves
        #[arg(long, value_name = "DURATION")]
        drain: Option<Span>,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (weirctl man | man -l -)
    Man,
}

/// What every command that makes a version takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ChangeArgs {
    /// Check, and only say what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Refuse (exit 7) unless N is the current version
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
    /// Do not ask, even if traffic would be lost
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Why; config history shows it
    #[arg(short, long, value_name = "TEXT", value_parser = message)]
    pub(crate) message: Option<String>,
}

const EXITS: &str = "\
Exit codes: 0 done, 1 refused or failed, 2 usage, 3 the answer is no, 4 no such object,
5 cannot reach weir, 6 timed out, 7 version conflict, 8 not permitted, 130 interrupted.";

/// The shortest pause between two rounds of `--watch`, in seconds.
const WATCH_MIN_S: f64 = 0.1;
/// The longest, in seconds: a day.
const WATCH_MAX_S: f64 = 86_400.0;

fn seconds(text: &str) -> Result<f64, String> {
    let bad = || format!("write a number of seconds, {WATCH_MIN_S} to {WATCH_MAX_S}");
    let seconds: f64 = text.parse().map_err(|_| bad())?;
    if (WATCH_MIN_S..=WATCH_MAX_S).contains(&seconds) { Ok(seconds) } else { Err(bad()) }
}

/// One range in every message, the daemon's too.
fn weight(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("write a whole number, 0 to {WEIGHT_MAX}"))
}

fn message(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("write why, in a few words".to_owned()),
        bytes if bytes > Note::MESSAGE_MAX => {
            Err(format!("{bytes} bytes; at most {} are kept", Note::MESSAGE_MAX))
        }
        _ => Ok(text.to_owned()),
    }
}

/// As in `10` or `10%`.
fn percent(text: &str) -> Result<u16, String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    digits.parse().map_err(|_| "write a whole number of percent, as in 10".to_owned())
}

/// As in `10/s` or `10`.
fn per_second(text: &str) -> Result<u32, String> {
    let digits = text.strip_suffix("/s").unwrap_or(text);
    let rate = digits.parse().ok().filter(|rate| *rate > 0);
    rate.ok_or_else(|| "write a whole number of sessions a second, as in 10/s".to_owned())
}

/// The words of the kinds of events.
fn event_kinds() -> impl TypedValueParser<Value = EventKind> {
    let words = EventKind::ALL.iter().map(|kind| kind.word());
    PossibleValuesParser::new(words).try_map(|word| word.parse::<EventKind>())
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, as in strategy=least-conn".to_owned()),
    }
}

/// Joins `-w 5` and `-w5` to `--watch=5`, so that the verb after a bare `-w` is not its value.
pub(crate) fn join_watch(typed: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut typed = typed.into_iter().peekable();
    let number = |text: &str| text.parse::<f64>().is_ok();
    while let Some(word) = typed.next() {
        let text = word.to_str().unwrap_or_default();
        let attached = text.strip_prefix("-w").map(|rest| rest.strip_prefix('=').unwrap_or(rest));
        if text == "--" {
            joined.push(word);
            joined.extend(typed);
            return joined;
        }
        if text == "-w" || text == "--watch" {
            let value = typed.next_if(|next| next.to_str().is_some_and(number));
            joined.push(match value.as_ref().and_then(|value| value.to_str()) {
                Some(value) => format!("--watch={value}").into(),
                None => "--watch".into(),
            });
        } else if let Some(value) = attached.filter(|rest| number(rest)) {
            joined.push(format!("--watch={value}").into());
        } else {
            joined.push(word);
        }
    }
    joined
}

/// Whether JSON was asked for, as far as a command line that may be wrong tells.
pub(crate) fn wants_json(typed: &[OsString]) -> bool {
    let words: Vec<&str> = typed.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    words.iter().any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
        || words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let words = std::iter::once("weirctl").chain(line.split_whitespace()).map(OsString::from);
        Cli::try_parse_from(join_watch(words))
    }

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn watch_takes_a_number_but_never_the_verb() {
        for (line, watch) in [
            ("-w status", Some(2.0)),
            ("-w 5 status", Some(5.0)),
            ("-w0.5 status", Some(0.5)),
            ("-w=3 status", Some(3.0)),
            ("--watch=4 status", Some(4.0)),
            ("status -w", Some(2.0)),
            ("status --watch 7 -o json", Some(7.0)),
            ("-wo json status", Some(2.0)),
            ("status", None),
        ] {
            assert_eq!(parse(line).unwrap().watch, watch, "{line}");
        }
        for line in ["-w 0 status", "-w nan status", "-w=x status", "-w 1e9 status"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn usage_errors_exit_with_2_and_suggest() {
        for line in [
            "",
            "statsu",
            "listener add web 0.0.0.0:1",
            "listener add web --pool web",
            "pool add web --strategy fastest",
            "pool set web",
            "pool set web strategy",
            "backend weight web/b1 many",
            "backend drain web/b1 --wait soon",
            "stop --drain 10",
            "config rollback x",
            "config history --limit 0",
            "config history --limit 1001",
            "config history --limit many",
            "config history --before 0",
            "config apply w.toml --ours --theirs",
            "config apply w.toml --replace --ours",
            "config apply w.toml --partial --theirs",
            "-o yaml status",
            "events --kind",
            "events --kind sickness",
            "events --kind health,task",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let text = parse("statsu").unwrap_err().to_string();
        assert!(text.contains("'status'"), "{text}");
        let text = parse("events --kind helth").unwrap_err().to_string();
        assert!(text.contains("'health'") && text.contains("reload"), "{text}");
    }

    #[test]
    fn several_kinds_of_events_can_be_named() {
        let Verb::Events { kind, .. } = parse("events --kind health --kind=task").unwrap().verb
        else {
            panic!("it is events");
        };
        assert_eq!(kind, [EventKind::Health, EventKind::Task]);
    }

    #[test]
    fn json_is_recognised_on_a_broken_line() {
        let words = |line: &str| line.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        assert!(wants_json(&words("weirctl -o json nosuch")));
        assert!(wants_json(&words("weirctl nosuch --output=json")));
        assert!(!wants_json(&words("weirctl -o table json")));
    }
}
