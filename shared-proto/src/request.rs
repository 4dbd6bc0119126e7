//! What a client of the control socket may ask, and how the daemon says no.

mod words;

use serde::{Deserialize, Serialize};

use crate::answer::events::EventFilter;
use crate::answer::{Answer, Note};
use crate::complaint::Complaint;
use crate::confirm::Confirm;
use crate::conflict::Conflict;
use crate::session::{SessionFilter, SessionSort};
use crate::spec::Admin;

/// The version of this protocol. Both sides say theirs first; different numbers do not talk.
pub const PROTOCOL: u32 = 12;

/// The most versions in one answer about the history: what is read within a few milliseconds.
pub const HISTORY_MAX: u64 = 1000;

/// The most words in one request, and the most bytes in one of them. The largest list that means
/// something is a listener's addresses, the longest word the bytes that a health check sends.
pub const WORDS_MAX: usize = 1024;
pub const WORD_MAX: usize = 4096;

/// The first frame of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    /// The version of the program, for people.
    pub program: String,
}

/// The daemon's answer to [`Hello`]. If `protocol` differs from the client's, the daemon closes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub protocol: u32,
    pub program: String,
}

/// A question or a command. Each gets one [`Response`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    Query(Query),
    Command(Command),
}

/// A question: it is answered from what the daemon knows, and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    Status,
    Shards,
    ListenerList,
    ListenerShow {
        name: String,
    },
    PoolList,
    PoolShow {
        name: String,
    },
    BackendList {
        pool: Option<String>,
    },
    /// `name` is `pool/backend`.
    BackendShow {
        name: String,
    },
    /// `subject` is empty, a pool, or `pool/backend`.
    Stats {
        subject: Option<String>,
    },
    /// Histograms of a pool, or of all of them.
    Latency {
        pool: Option<String>,
    },
    /// Events after the one numbered `after` (0: from the oldest that is kept, `u64::MAX`: none
    /// that has been).
    Events {
        after: u64,
        filter: EventFilter,
    },
    /// The configuration of the current version, or of an older one, as TOML.
    ConfigExport {
        version: Option<u64>,
    },
    /// The newest versions, or those before `before`.
    ConfigHistory {
        before: Option<u64>,
        /// The most of them, 1 to [`HISTORY_MAX`], which it is if it is left out.
        limit: Option<u64>,
    },
    /// The versions under which open sessions were accepted, and the current one.
    ConfigVersions,
    /// The keys in which what is in force differs from the file as it was last applied.
    ConfigDrift,
    /// The tasks that run, and the latest that have ended.
    TaskList,
    TaskShow {
        id: u64,
    },
    /// The first `limit` live sessions of those that the filter means.
    SessionList {
        filter: SessionFilter,
        sort: SessionSort,
        /// 0 (they are only counted) to [`LISTED_MAX`](crate::session::LISTED_MAX).
        limit: u32,
    },
    /// The backend that a new session of this client would get in that pool, and why.
    Why {
        pool: String,
        /// An address, or one with a port.
        client: String,
    },
    /// The same for a new session at a listener, which may not serve the client. Without a name it
    /// is the only listener.
    WhyListener {
        listener: Option<String>,
        client: String,
        /// The server name and the protocol in its ClientHello.
        sni: Option<String>,
        alpn: Option<String>,
    },
    /// The same of a live session; `id` as in `0.17.3`.
    WhySession {
        id: String,
    },
    /// The figures of this second, and with `history` those of the last 15 minutes.
    Live {
        history: bool,
    },
    /// One live session with both of its legs; `id` as in `0.17.3`.
    SessionShow {
        id: String,
    },
    /// The difference that a file would make: nothing is bound, nothing changes.
    ConfigDiff {
        toml: String,
        /// What the file is called.
        origin: String,
    },
}

/// A command: it changes the configuration or the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes a new version.
    Change { change: ChangeRequest, options: ChangeOptions },
    /// Stops accepting on every listener; sessions run on. Not a version.
    Drain,
    /// Takes a `Drain` back: listens again. Not a version.
    Ready,
    /// Begins or ends a task. Not a version.
    Task(TaskRequest),
    /// Ends live sessions with a reset. Not a version.
    SessionKill(SessionKill),
    /// Starts another process, of this program or of that one by its path, and hands everything
    /// over to it. Not a version.
    Upgrade { program: Option<String>, shards: Option<u16>, dry_run: bool },
    /// Ends the process: at once, or after sessions have had `drain_ms` to end.
    Stop { drain_ms: Option<u64> },
}

impl Command {
    /// True if it leaves everything as it is, whatever its answer.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        match self {
            Command::Change { options, .. } => options.dry_run,
            Command::SessionKill(kill) => kill.dry_run,
            Command::Upgrade { dry_run, .. } => *dry_run,
            Command::Drain | Command::Ready | Command::Task(_) | Command::Stop { .. } => false,
        }
    }
}

impl From<Query> for Request {
    fn from(query: Query) -> Request {
        Request::Query(query)
    }
}

impl From<Command> for Request {
    fn from(command: Command) -> Request {
        Request::Command(command)
    }
}

/// Settings and their values as they are typed, in order; of a key that is there twice the last
/// counts.
pub type Pairs = Vec<(String, String)>;

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeRequest {
    ListenerAdd {
        name: String,
        bind: Vec<String>,
        pool: String,
        pairs: Pairs,
    },
    ListenerRemove {
        name: String,
    },
    /// `Ready` or `Drain`.
    ListenerState {
        name: String,
        state: Admin,
    },
    /// Keys as in the file, dotted; an empty value takes an optional setting away.
    ListenerSet {
        name: String,
        pairs: Pairs,
    },
    /// Makes the listener, or gives it these settings and no others.
    ListenerPut {
        name: String,
        pairs: Pairs,
    },
    PoolAdd {
        name: String,
        pairs: Pairs,
    },
    PoolRemove {
        name: String,
    },
    /// Keys as in the file, dotted: `strategy`, `health.interval`, `timeout.idle`,
    /// `retry.attempts`.
    PoolSet {
        name: String,
        pairs: Pairs,
    },
    /// Makes the pool, or gives it these settings and no others. It keeps its backends.
    PoolPut {
        name: String,
        pairs: Pairs,
    },
    BackendAdd {
        name: String,
        address: String,
        pairs: Pairs,
    },
    /// Another address makes it another backend: sessions of the old one run on.
    BackendSet {
        name: String,
        pairs: Pairs,
    },
    /// Makes the backend, or gives it these settings and no others.
    BackendPut {
        name: String,
        pairs: Pairs,
    },
    /// `force` resets its sessions; without it they run on.
    BackendRemove {
        name: String,
        force: bool,
    },
    BackendState {
        name: String,
        state: Admin,
    },
    BackendWeight {
        name: String,
        weight: u16,
    },
    /// A whole file is merged into what is in force. `origin` is its name, for errors and history.
    Apply {
        toml: String,
        origin: String,
        mode: ApplyMode,
        /// Do it although it takes away every listener, every backend of a pool or more than half
        /// of all backends. Without it that is refused with [`Code::NeedsForce`].
        force: bool,
    },
    /// An older version becomes the next one.
    Rollback {
        version: u64,
    },
    /// The version that waits for it stays: the next version is like it, and waits for nothing.
    Confirm,
    /// The same for several backends, each named POOL/BACKEND, in one version.
    Backends {
        names: Vec<String>,
        act: BackendAct,
    },
}

/// An act on several backends at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackendAct {
    State(Admin),
    Weight(u16),
    /// Their sessions run on, or are reset.
    Remove {
        force: bool,
    },
}

impl ChangeRequest {
    /// A file that is merged, and forces nothing.
    #[must_use]
    pub fn apply(toml: impl Into<String>, origin: impl Into<String>) -> ChangeRequest {
        let (toml, origin) = (toml.into(), origin.into());
        ChangeRequest::Apply { toml, origin, mode: ApplyMode::Merge, force: false }
    }

    /// True for a file that later ones are merged against.
    #[must_use]
    pub fn is_whole_file(&self) -> bool {
        match self {
            ChangeRequest::Apply { mode, .. } => {
                !matches!(mode, ApplyMode::Edit | ApplyMode::Partial)
            }
            _ => false,
        }
    }
}

/// The effect of an applied file on what was changed since the file before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplyMode {
    /// It stays, and a key that the file has changed as well is refused with [`Code::Conflict`].
    #[default]
    Merge,
    /// It stays, also where the file has changed the same key.
    Ours,
    /// It stays, but where the file has changed the same key.
    Theirs,
    /// It goes: the file is the whole truth.
    Replace,
    /// The file is what is in force, edited, and is in force from now on. What it is merged against
    /// stays the file that was last applied.
    Edit,
    /// The file names some keys of some objects, and is no file to be merged against from now on:
    /// those are set, and all else stays.
    Partial,
}

impl ApplyMode {
    /// Its word, as in weirctl's options and in the parameters of HTTP.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            ApplyMode::Merge => "merge",
            ApplyMode::Ours => "ours",
            ApplyMode::Theirs => "theirs",
            ApplyMode::Replace => "replace",
            ApplyMode::Edit => "edit",
            ApplyMode::Partial => "partial",
        }
    }
}

/// A task that is to begin, or to end before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskRequest {
    /// Ends the sessions of a backend (`pool/backend`), which takes no new ones, within this time.
    BackendDrain {
        name: String,
        over_ms: u64,
    },
    /// The same for a listener.
    ListenerDrain {
        name: String,
        over_ms: u64,
    },
    /// Ends the fewest sessions of a pool that bring each of its backends to its fair share and at
    /// most `spread` percent more, at most `per_s` a second.
    PoolRebalance {
        name: String,
        spread: u16,
        per_s: u32,
    },
    Cancel {
        id: u64,
    },
    /// Ends the sessions that are there now and are named, or that the filter means, at most
    /// `per_s` a second.
    SessionKill {
        ids: Vec<String>,
        filter: Box<SessionFilter>,
        per_s: u32,
    },
}

/// The sessions that are to be ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionKill {
    /// By name, as in `0.17.3`.
    pub ids: Vec<String>,
    /// If there are no names: those that the filter means.
    pub filter: SessionFilter,
    /// Only count them.
    pub dry_run: bool,
}

/// What goes with every command that makes a new version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeOptions {
    /// Check and say what would happen; change nothing.
    pub dry_run: bool,
    /// Refuse with [`Code::Conflict`] unless this is the current version.
    pub if_version: Option<u64>,
    /// Do it although traffic is lost. Without it that is refused with [`Code::NeedsYes`].
    pub yes: bool,
    /// Take the version back by itself unless it is confirmed in time.
    pub confirm: Option<Confirm>,
    /// Kept with the version.
    pub note: Note,
}

/// The daemon's answer to a [`Request`].
// The answer is the common case and is made once a request; boxing it would buy nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    Done(Answer),
    Refused(Refusal),
}

/// Why a request was not done: what, where, why, and a command to paste.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: Code,
    pub message: String,
    pub hint: String,
    /// Live names that are close to the one that was not found.
    pub did_you_mean: Vec<String>,
    /// For a file that cannot be merged: every key that it and operators have changed.
    pub conflicts: Vec<Conflict>,
}

/// The kind of a refusal; it decides weirctl's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request itself makes no sense (a bad name, address, key or value). Exit 1.
    Invalid,
    /// There is no such object. Exit 4.
    NotFound,
    /// There is one already. Exit 1.
    Exists,
    /// The current version is not the one that the client asked for, or a file has changed what
    /// operators have changed. Exit 7.
    Conflict,
    /// The peer may not do this. Exit 8.
    #[serde(rename = "not_permitted")]
    Denied,
    /// It takes something away that may not be meant. With [`ChangeOptions::yes`] it is done.
    /// Exit 2.
    NeedsYes,
    /// The file takes away so much that it may be broken. With the `force` of
    /// [`ChangeRequest::Apply`] it is done. Exit 2.
    NeedsForce,
    /// The daemon could not do it: disk, socket, a shard that is silent. Exit 1.
    Failed,
    /// weir hands over to its next process: nothing has changed, and in a moment it can. Exit 1.
    Upgrading,
}

impl Refusal {
    /// A refusal without suggestions.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        let (message, hint) = (message.into(), hint.into());
        Refusal { code, message, hint, did_you_mean: Vec::new(), conflicts: Vec::new() }
    }
}

/// As a [`Complaint`] is shown, for where there is no request.
impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Complaint::new(self.message.as_str(), self.hint.as_str()).fmt(f)
    }
}
