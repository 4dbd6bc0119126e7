//! `weirctl session …`

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates as Offer;
use weir_proto::network::Network;
use weir_proto::session::{LISTED_MAX, SessionFilter, SessionName, SessionSort};
use weir_proto::spec::Span;

use super::per_second;
use crate::complete;

#[derive(Debug, Subcommand)]
pub(crate) enum SessionVerb {
    /// Live sessions, the oldest first
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// The order: age, idle, bytes or rate
        #[arg(long, default_value = "age", value_name = "ORDER", add = Offer::new(complete::sorts))]
        sort: SessionSort,
        /// The most rows; 0 only counts
        #[arg(
            long,
            default_value_t = weir_proto::session::LISTED_DEFAULT,
            value_name = "N",
            value_parser = clap::value_parser!(u32).range(..=i64::from(LISTED_MAX))
        )]
        limit: u32,
    },
    /// One session with both of its legs, as the kernel sees them
    Show {
        /// Its name, such as 0.17.3
        #[arg(add = Offer::new(complete::sessions))]
        id: SessionName,
    },
    /// End sessions with a reset: those that are named, or all that the options mean
    Kill {
        /// Their names, such as 0.17.3
        #[arg(
            add = Offer::new(complete::sessions),
            required_unless_present_any = FILTERS,
            conflicts_with_all = FILTERS
        )]
        id: Vec<SessionName>,
        #[command(flatten)]
        filter: FilterArgs,
        /// A task of weir ends them, in each second at most this many, such as 10/s
        #[arg(long, value_name = "N/s", value_parser = per_second)]
        rate: Option<u32>,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// The options of [`FilterArgs`].
const FILTERS: [&str; 8] =
    ["pool", "backend", "listener", "client", "older", "idle", "born", "stalled"];

/// The options that choose sessions: one must fit all that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct FilterArgs {
    /// Only those of this pool
    #[arg(long, value_name = "POOL", add = Offer::new(complete::pools))]
    pool: Option<String>,
    /// Only those on this backend, such as web/b1
    #[arg(
        long,
        value_name = "POOL/BACKEND",
        add = Offer::new(complete::backends)
    )]
    backend: Option<String>,
    /// Only those of this listener
    #[arg(
        long,
        value_name = "LISTENER",
        add = Offer::new(complete::listeners)
    )]
    listener: Option<String>,
    /// Only those from this address or network, such as 10.0.0.0/8
    #[arg(long, value_name = "CIDR", value_parser = network)]
    client: Option<String>,
    /// Only those that are at least so old, such as 10m
    #[arg(long, value_name = "DURATION")]
    older: Option<Span>,
    /// Only those in which nothing has moved for so long
    #[arg(long, value_name = "DURATION")]
    idle: Option<Span>,
    /// Only those that were accepted under this version of the configuration
    #[arg(id = "born", long = "version", value_name = "N")]
    version: Option<u64>,
    /// Only those in which a side takes nothing although bytes wait for it
    #[arg(long)]
    stalled: bool,
}

impl From<FilterArgs> for SessionFilter {
    fn from(args: FilterArgs) -> SessionFilter {
        let FilterArgs { pool, backend, listener, client, older, idle, version, stalled } = args;
        let (older_ms, idle_ms) = (older.map(|it| it.millis), idle.map(|it| it.millis));
        SessionFilter { pool, backend, listener, client, older_ms, idle_ms, version, stalled }
    }
}

/// Text that is a [`Network`], as it was typed.
fn network(text: &str) -> Result<String, String> {
    text.parse::<Network>().map(|_| text.to_owned())
}
