//! The verbs of listeners, pools, backends and tasks.

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap_complete::engine::{ArgValueCandidates as Offer, ArgValueCompleter};
use weir_proto::answer::BackendState;
use weir_proto::spec::{Span, Strategy};

use super::{ChangeArgs, pair, per_second, percent, weight};
use crate::complete;

#[derive(Debug, Subcommand)]
pub(crate) enum ListenerVerb {
    /// Every listener
    List,
    /// One listener
    Show {
        /// The listener's name
        #[arg(add = Offer::new(complete::listeners))]
        name: String,
    },
    /// Listen on another address
    Add {
        /// The listener's name
        name: String,
        /// ADDRESS:PORT, one or more; then settings, such as max-sessions=10000
        #[arg(
            required = true,
            value_name = "BIND|KEY=VALUE",
            add = ArgValueCompleter::new(complete::listener_settings)
        )]
        bind: Vec<String>,
        /// Where its sessions go
        #[arg(long, add = Offer::new(complete::pools))]
        pool: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Stop listening there
    Remove {
        /// The listener's name
        #[arg(add = Offer::new(complete::listeners))]
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Change settings: pool=green, bind=0.0.0.0:8443, max-sessions=10000; sessions run on
    Set {
        /// The listener's name
        #[arg(add = Offer::new(complete::listeners))]
        name: String,
        /// A setting and its value; no value takes it away (docs/reference.md has every key)
        #[arg(
            required = true,
            value_name = "KEY=VALUE",
            value_parser = pair,
            add = ArgValueCompleter::new(complete::listener_settings)
        )]
        pairs: Vec<(String, String)>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Accept no more sessions there; those that are open run on
    Drain {
        /// The listener's name
        #[arg(add = Offer::new(complete::listeners))]
        name: String,
        /// Reset them evenly within this time, the longest idle first; see weirctl task
        #[arg(long, value_name = "DURATION")]
        over: Option<Span>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Accept sessions again after a drain
    Ready {
        /// The listener's name
        #[arg(add = Offer::new(complete::listeners))]
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PoolVerb {
    /// Every pool
    List,
    /// One pool with its settings and backends
    Show {
        /// The pool's name
        #[arg(add = Offer::new(complete::pools))]
        name: String,
    },
    /// Make an empty pool
    Add {
        /// The pool's name
        name: String,
        /// How a backend is chosen; least-conn if it is left out
        #[arg(long, value_parser = PossibleValuesParser::new(Strategy::ALL.map(Strategy::word)))]
        strategy: Option<String>,
        /// Settings and their values (docs/reference.md has every key)
        #[arg(
            value_name = "KEY=VALUE",
            value_parser = pair,
            add = ArgValueCompleter::new(complete::pool_settings)
        )]
        pairs: Vec<(String, String)>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Remove a pool with its backends
    Remove {
        /// The pool's name
        #[arg(add = Offer::new(complete::pools))]
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Change settings: strategy=maglev, health.interval=1s, timeout.idle=10m, retry.attempts=1
    Set {
        /// The pool's name
        #[arg(add = Offer::new(complete::pools))]
        name: String,
        /// A setting and its value; no value takes it away (docs/reference.md has every key)
        #[arg(
            required = true,
            value_name = "KEY=VALUE",
            value_parser = pair,
            add = ArgValueCompleter::new(complete::pool_settings)
        )]
        pairs: Vec<(String, String)>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Reset the fewest sessions that even out its backends; see weirctl task
    Rebalance {
        /// The pool's name
        #[arg(add = Offer::new(complete::pools))]
        name: String,
        /// A backend may keep its fair share of the sessions and this much more
        #[arg(long, value_name = "PERCENT", default_value = "10", value_parser = percent)]
        to: u16,
        /// Reset no more than this
        #[arg(long, value_name = "N/s", default_value = "10/s", value_parser = per_second)]
        rate: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskVerb {
    /// The tasks that run, and the latest that have ended
    List,
    /// One task
    Show {
        /// Its number
        #[arg(add = Offer::new(complete::tasks))]
        id: u64,
    },
    /// Stop a task; what it has done stays
    Cancel {
        /// Its number
        #[arg(add = Offer::new(complete::tasks))]
        id: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackendVerb {
    /// Every backend, or those of one pool
    List {
        /// Only those of this pool
        #[arg(add = Offer::new(complete::pools))]
        pool: Option<String>,
        /// Only those in this state, such as down; several times for several states
        #[arg(long, value_name = "STATE", value_parser = backend_states())]
        state: Vec<BackendState>,
    },
    /// One backend
    Show {
        /// The backend's name, such as web/b1
        #[arg(value_name = "POOL/BACKEND", add = Offer::new(complete::backends))]
        name: String,
    },
    /// Forward sessions to another address
    Add {
        /// The backend's name, such as web/b1
        #[arg(value_name = "POOL/BACKEND", add = Offer::new(complete::pools_of_a_new_backend))]
        name: String,
        /// Where it is connected to, such as 10.0.0.11:80
        #[arg(value_name = "ADDRESS:PORT")]
        address: String,
        /// Its share of the sessions beside the others', 0 (none) to 256
        #[arg(long, value_name = "WEIGHT", value_parser = weight)]
        weight: Option<u16>,
        /// Settings and their values (docs/reference.md has every key)
        #[arg(
            value_name = "KEY=VALUE",
            value_parser = pair,
            add = ArgValueCompleter::new(complete::backend_settings)
        )]
        pairs: Vec<(String, String)>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Remove backends; their sessions run on
    Remove {
        /// Its name, such as web/b1; several of them, or a pattern such as 'web/*'
        #[arg(required = true, value_name = "POOL/BACKEND", add = Offer::new(complete::backends))]
        name: Vec<String>,
        /// Reset their sessions, and those of earlier backends of these names that were removed
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Change settings: address=10.0.0.12:80, weight=2; sessions run on
    Set {
        /// The backend's name, such as web/b1
        #[arg(value_name = "POOL/BACKEND", add = Offer::new(complete::backends))]
        name: String,
        /// A setting and its value (docs/reference.md has every key)
        #[arg(
            required = true,
            value_name = "KEY=VALUE",
            value_parser = pair,
            add = ArgValueCompleter::new(complete::backend_settings)
        )]
        pairs: Vec<(String, String)>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// No new sessions; those that are open run on, health checks go on
    Drain {
        /// Its name, such as web/b1; several of them, or a pattern such as 'web/*'
        #[arg(required = true, value_name = "POOL/BACKEND", add = Offer::new(complete::backends))]
        name: Vec<String>,
        /// Wait this long for the last session to end (exit 6 if it has not)
        #[arg(long, value_name = "DURATION")]
        wait: Option<Span>,
        /// Reset its sessions evenly within this time, the longest idle first; see weirctl task
        #[arg(long, value_name = "DURATION", conflicts_with = "wait")]
        over: Option<Span>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// No new sessions, no health checks
    Maint {
        /// Its name, such as web/b1; several of them, or a pattern such as 'web/*'
        #[arg(required = true, value_name = "POOL/BACKEND", add = Offer::new(complete::backends))]
        name: Vec<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Take sessions again after drain or maint
    Ready {
        /// Its name, such as web/b1; several of them, or a pattern such as 'web/*'
        #[arg(required = true, value_name = "POOL/BACKEND", add = Offer::new(complete::backends))]
        name: Vec<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Change its share of the sessions
    Weight {
        /// Its name, such as web/b1; several of them, or a pattern such as 'web/*'
        #[arg(required = true, value_name = "POOL/BACKEND", add = Offer::new(complete::backends))]
        name: Vec<String>,
        /// Its share of the sessions beside the others', 0 (none) to 256
        #[arg(value_parser = weight)]
        weight: u16,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

fn backend_states() -> impl TypedValueParser<Value = BackendState> {
    let words = BackendState::ALL.iter().map(|state| state.word());
    PossibleValuesParser::new(words).map(|word| {
        let fits = |state: &&BackendState| state.word() == word;
        *BackendState::ALL.iter().find(fits).expect("it is one of the words")
    })
}
