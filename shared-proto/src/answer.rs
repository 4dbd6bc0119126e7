//! What the daemon answers. The field names are the JSON keys that scripts rely on: they are
//! only added to.

mod agent;
pub mod events;
mod flat;
mod latency;
mod live;
mod session;
mod state;
mod stats;
mod why;

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::conflict::{Conflict, Drift};
use crate::impact::{ChangeRow, Impact};
use crate::outside::cleaned;
use crate::role::Role;
use crate::settings::ShownSettings;
use crate::spec::{Force, Strategy};

pub use agent::AgentRow;
pub use events::{EventRow, Events};
pub use latency::{Latency, LatencyBucket, PhaseRow};
pub use live::{
    Live, LiveBackend, LiveFigures, LiveHistory, LiveListener, LivePercentiles, LivePoint, LivePool,
};
pub use session::{Killed, SessionDetail, SessionRow, Sessions};
pub use state::{
    BackendState, CheckResult, EventKind, LatencyPhase, ListenerState, ProcessState, TaskKind,
    TaskState,
};
pub use stats::{BySide, ConnectFailures, EndRow, FirstCloses, Percentiles, PoolStatsRow, Stats};
pub use why::{ExplainedCandidate, Explanation};

/// The value of `"schema"` in every JSON document.
pub const SCHEMA: &str = "weir/v1";

/// One answer for each kind of request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Status(Status),
    Shards(Shards),
    Listeners(Listeners),
    Listener(ListenerRow),
    Pools(Pools),
    Pool(PoolDetail),
    Backends(Backends),
    Backend(BackendRow),
    Stats(Stats),
    Latency(Latency),
    Events(Events),
    Config(ConfigText),
    History(History),
    Versions(Versions),
    Difference(Difference),
    Drift(DriftRows),
    Changed(Changed),
    Tasks(Tasks),
    Task(TaskRow),
    Sessions(Sessions),
    Session(Box<SessionDetail>),
    Killed(Killed),
    Live(Box<Live>),
    Why(Box<Explanation>),
    /// Said and done, nothing to show but a sentence.
    Said(Said),
}

impl Answer {
    /// True if it is so long that writing it is work for another thread: some hundreds of rows, or
    /// as much text.
    #[must_use]
    pub fn is_long(&self) -> bool {
        const ROWS: usize = 256;
        const BYTES: usize = 64 << 10;
        match self {
            Answer::Status(it) => it.pools.len() + it.listeners.len() > ROWS,
            Answer::Listeners(it) => {
                let networks = it.listeners.iter().map(|it| it.settings.networks());
                it.listeners.len() + networks.sum::<usize>() > ROWS
            }
            Answer::Listener(it) => it.settings.networks() > ROWS,
            Answer::Pools(it) => it.pools.len() > ROWS,
            Answer::Pool(it) => it.backends.len() > ROWS,
            Answer::Backends(it) => it.backends.len() > ROWS,
            Answer::Stats(it) => it.pools.len() > ROWS,
            Answer::Events(it) => it.events.len() > ROWS,
            Answer::History(it) => it.versions.len() > ROWS,
            Answer::Versions(it) => it.versions.len() > ROWS,
            Answer::Config(it) => it.toml.len() > BYTES,
            Answer::Difference(it) => it.current.len() + it.proposed.len() > BYTES,
            // An apply may change everything.
            Answer::Changed(_) => true,
            Answer::Live(_) => true,
            Answer::Drift(it) => it.drift.len() > ROWS,
            Answer::Sessions(it) => it.sessions.len() > ROWS,
            Answer::Shards(_)
            | Answer::Backend(_)
            | Answer::Latency(_)
            | Answer::Tasks(_)
            | Answer::Task(_)
            | Answer::Session(_)
            | Answer::Killed(_)
            | Answer::Why(_)
            | Answer::Said(_) => false,
        }
    }
}

/// `weirctl status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: u64,
    /// The time that clients were served without a gap: a process that has taken over from another
    /// one counts on. `weir_start_time_seconds` is the start of the process.
    pub uptime_s: f64,
    /// weir's own version.
    pub program: String,
    pub state: ProcessState,
    /// The most sessions at once, from the descriptor limit.
    pub sessions_max: u64,
    pub shards: Vec<ShardRow>,
    pub listeners: Vec<ListenerRow>,
    pub pools: Vec<PoolRow>,
    /// What an operator should know: an empty pool, a late shard.
    pub warnings: Vec<String>,
    /// Keys in which what is in force differs from the file as it was last applied.
    pub drift_keys: u64,
    /// Present while the current version waits for its confirmation.
    pub unconfirmed: Option<UnconfirmedRow>,
}

/// A version that is rolled back by itself unless it is confirmed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnconfirmedRow {
    pub version: u64,
    pub rolls_back_to: u64,
    /// Seconds until then.
    pub left_s: f64,
    /// As in `healthy=50%`: it goes back at once if one of them trips.
    pub guards: Vec<String>,
}

/// `weirctl shards`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shards {
    pub shards: Vec<ShardRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardRow {
    pub id: u16,
    pub version: u64,
    pub sessions: u64,
    pub sessions_max: u64,
    /// The share of the last second in which the loop was not waiting, 0 to 1.
    pub busy: f64,
}

/// `weirctl listener list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listeners {
    pub listeners: Vec<ListenerRow>,
}

/// In JSON the settings stand among its own keys.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ListenerRow {
    pub name: String,
    pub bind: Vec<String>,
    pub pool: String,
    pub state: ListenerState,
    pub sessions: u64,
    pub sessions_total: u64,
    /// Those of its addresses that could not be bound yet; they are tried again.
    pub unbound: Vec<UnboundRow>,
    /// The others: `max_sessions`, `keepalive`.
    pub settings: ShownSettings,
}

/// An address that somebody else has, or that this host does not have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnboundRow {
    pub address: String,
    /// As in `address in use`.
    pub why: String,
    /// Seconds since the start that could not bind it.
    pub since_s: f64,
}

/// `weirctl pool list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pools {
    pub pools: Vec<PoolRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolRow {
    pub name: String,
    pub strategy: Strategy,
    /// Backends that can take new sessions.
    pub backends_up: u64,
    pub backends: u64,
    pub sessions: u64,
    /// So few backends are up that their health is ignored.
    pub panic: bool,
    /// Its priority groups; none if it has one only.
    pub groups: Vec<GroupRow>,
}

/// One priority group of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupRow {
    pub priority: u8,
    /// Its part of the new sessions, 0 to 1.
    pub share: f64,
    /// Members that are up, and all that count.
    pub backends_up: u32,
    pub backends: u32,
    /// Their weight, and that of all of its backends.
    pub weight_up: u32,
    pub weight: u32,
}

/// `weirctl pool show`. In JSON the settings stand among its own keys.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PoolDetail {
    pub name: String,
    pub settings: ShownSettings,
    /// So few backends are up that their health is ignored.
    pub panic: bool,
    /// Its priority groups; none if it has one only.
    pub groups: Vec<GroupRow>,
    /// Seconds within which a backend that begins to fail its checks is down; null: no checks.
    pub detection_s: Option<f64>,
    /// How it stands with DNS; null: it is not asked.
    pub discovery: Option<DiscoveryRow>,
    pub backends: Vec<BackendRow>,
}

/// How it stands with the backends of a pool that are found by DNS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiscoveryRow {
    /// As in `dns web.internal:443`.
    pub source: String,
    /// Backends that DNS has named, without those that have left.
    pub members: u64,
    /// Seconds since the last good answer; null: none has come since the start.
    pub answered_s: Option<f64>,
    /// Seconds until DNS is asked again; null: it is being asked.
    pub next_s: Option<f64>,
    /// The fault of the newest answer; null: it has none.
    pub failure: Option<String>,
    pub good_total: u64,
    pub failed_total: u64,
}

/// `weirctl backend list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backends {
    pub backends: Vec<BackendRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendRow {
    /// `pool/backend`.
    pub name: String,
    pub address: String,
    pub state: BackendState,
    pub weight: u16,
    /// Of the priority group that it belongs to; 0 is first.
    pub priority: u8,
    /// Its health by hand; `None`: as checks and connects say.
    pub force: Option<Force>,
    pub sessions: u64,
    /// Of these, those whose connect has not been answered.
    pub connecting: u64,
    /// The limits of these two, and of connects that begin in a second. `None`: there is none.
    pub max_sessions: Option<u32>,
    pub connecting_max: Option<u32>,
    pub connect_rate_per_s: Option<u32>,
    pub sessions_total: u64,
    pub connect_failures_total: u64,
    /// From the backend.
    pub received_bytes_total: u64,
    /// To the backend.
    pub sent_bytes_total: u64,
    pub check: CheckRow,
    /// True if it is gone from the configuration and only its last sessions are left.
    pub removed: bool,
    /// True if it is no configuration: DNS has named it.
    pub discovered: bool,
    /// The words of its agent; null: it has none.
    pub agent: Option<AgentRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckRow {
    pub result: CheckResult,
    /// Seconds since the backend's health last changed.
    pub since_s: f64,
    /// Seconds for which it is held down still, whatever its checks say; 0: it is not held.
    pub hold_s: f64,
}

/// `weirctl config export`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigText {
    pub version: u64,
    pub toml: String,
}

/// `weirctl config diff FILE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The current version.
    pub version: u64,
    /// As in [`Changed::summary`].
    pub summary: String,
    /// The current configuration as TOML.
    pub current: String,
    /// The same if the file were applied.
    pub proposed: String,
    /// Keys that the file and operators have both changed. `proposed` has what is in force.
    pub conflicts: Vec<Conflict>,
    pub changes: Vec<ChangeRow>,
    pub impact: Impact,
}

/// `weirctl config diff` without a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftRows {
    /// The current version.
    pub version: u64,
    /// False if no file was ever applied. There is no drift then.
    pub file_applied: bool,
    pub drift: Vec<Drift>,
}

/// `weirctl config history`, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    pub versions: Vec<VersionRow>,
    /// Older ones are kept, too: those before this version; `None` if these are all.
    pub next_before: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionRow {
    pub version: u64,
    /// RFC 3339, UTC.
    pub at: String,
    pub by: Author,
    pub summary: String,
    /// Why, in the words of its author.
    pub message: Option<String>,
    /// The command line that made it, as its author claims: nothing holds it to the truth.
    pub claimed_command: Option<String>,
    /// The version that it changed; `None` for the first one.
    pub parent: Option<u64>,
}

/// `weirctl config versions`, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    pub versions: Vec<LiveVersionRow>,
}

/// A version that is in force, or that open sessions were accepted under.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveVersionRow {
    pub version: u64,
    /// Open sessions that were accepted under it. They keep their backend and timeouts.
    pub sessions: u64,
    pub current: bool,
    /// RFC 3339, UTC; `None` if history does not have it any more, as with `summary`.
    pub at: Option<String>,
    pub summary: Option<String>,
}

/// Who made a change, by SO_PEERCRED. For weir itself: its own uid and pid. Over HTTP: weir's uid,
/// process 0, and the address that sent the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    pub uid: u32,
    pub pid: i32,
    /// The uid that logged in, before any `sudo`, by /proc/PID/loginuid; `None` if the host does
    /// not keep it or weir may not see it. Since format 4.
    #[serde(default)]
    pub login: Option<u32>,
    /// The role that allowed it; `None` for weir itself. Since format 4.
    #[serde(default)]
    pub role: Option<Role>,
    /// The address that it came from over HTTP; `None`: it came over the socket. Since format 4.
    #[serde(default)]
    pub from: Option<IpAddr>,
}

impl Author {
    /// An author without a login and a role.
    #[must_use]
    pub const fn new(uid: u32, pid: i32) -> Author {
        Author { uid, pid, login: None, role: None, from: None }
    }
}

/// The words of its author about a version. weir shortens them, and checks none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Why it was made (`-m`).
    pub message: Option<String>,
    /// The command line as it was typed.
    pub command: Option<String>,
}

impl Note {
    /// Bytes of a message.
    pub const MESSAGE_MAX: usize = 500;
    /// Bytes of a command line.
    pub const COMMAND_MAX: usize = 500;

    /// The same without letters that steer a terminal or begin a line, and not too long.
    #[must_use]
    pub fn cleaned(&self) -> Note {
        let clean = |text: &Option<String>, most| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            text.map(|text| cleaned(text, most))
        };
        Note {
            message: clean(&self.message, Note::MESSAGE_MAX),
            command: clean(&self.command, Note::COMMAND_MAX),
        }
    }
}

/// A change that is durable and obeyed by every shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    pub version: u64,
    /// The subject before; `None` if it was not there.
    pub before: Option<ShownSettings>,
    /// The subject after; `None` if it is gone.
    pub after: Option<ShownSettings>,
    pub summary: String,
    /// The command that takes it back.
    pub undo: String,
    pub dry_run: bool,
    /// Present if it is rolled back by itself unless it is confirmed.
    pub unconfirmed: Option<UnconfirmedRow>,
    /// Losses by it: a dry run says so, and a change that was made with `--yes`.
    pub warnings: Vec<String>,
    /// For a dry run: every key that would change.
    pub changes: Vec<ChangeRow>,
    /// For a dry run: its effect on what runs now.
    pub impact: Option<Impact>,
    /// How many shards obey it, of how many.
    pub shards_adopted: u16,
    pub shards: u16,
}

/// `weirctl task list`, the oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    pub tasks: Vec<TaskRow>,
}

/// `weirctl task show`. A task is gone with the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    pub id: u64,
    pub kind: TaskKind,
    /// A listener, a pool, `pool/backend`, `version 12`, or the sessions of a kill: their filter as
    /// its options, or a name.
    pub subject: String,
    /// Seconds since it began.
    pub since_s: f64,
    /// Sessions that have ended, of `total`; of a kill those that it has ended; 0 of 0 for a task
    /// that ends none.
    pub done: u64,
    pub total: u64,
    /// Seconds until it ends, at most; `None` if it has.
    pub eta_s: Option<f64>,
    pub state: TaskState,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    pub text: String,
}
