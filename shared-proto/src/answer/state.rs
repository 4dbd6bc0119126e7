//! The states that answers show, each with its one word.

use serde::{Deserialize, Serialize};

use crate::spec::Admin;

/// Declares an enum whose variants have one word each, the same in JSON, in tables and in metrics.
macro_rules! words {
    (
        $(#[$doc:meta])*
        pub enum $name:ident { $($(#[$why:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$why])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The word in JSON, in tables and in metrics.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// The state of the process.
    pub enum ProcessState {
        Serving = "serving",
        /// It takes no new sessions.
        Draining = "draining",
    }
}

words! {
    /// A part of a session that is measured.
    pub enum LatencyPhase {
        /// From the first SYN to the backend that took the session.
        Connect = "connect",
        /// From accept to the first byte from the backend.
        FirstByte = "first_byte",
        /// From accept to the end.
        Session = "session",
        /// In the queue, where the session had to wait for a backend with room.
        Queue = "queue",
    }
}

words! {
    /// The kind of an event.
    pub enum EventKind {
        /// A backend, or the checks of a pool.
        Health = "health",
        /// A new version of the configuration.
        Config = "config",
        Shard = "shard",
        Process = "process",
        /// Who asked for what.
        Audit = "audit",
        /// Something that takes time has begun or ended.
        Task = "task",
        /// Something is full or short, or is no longer.
        Limit = "limit",
        /// The file was read again: it was applied or refused.
        Reload = "reload",
        /// The backends that DNS has for a pool, or that it has no good answer.
        Discovery = "discovery",
    }
}

words! {
    /// The work of a task.
    pub enum TaskKind {
        /// It ends a backend's sessions by a deadline.
        BackendDrain = "backend_drain",
        /// It ends a listener's sessions by a deadline.
        ListenerDrain = "listener_drain",
        /// It ends sessions of backends that have more than their fair share.
        PoolRebalance = "pool_rebalance",
        /// It ends sessions that an operator has named, or by what they are.
        SessionKill = "session_kill",
        /// It takes a version back that is not confirmed in time.
        ConfigConfirm = "config_confirm",
    }
}

words! {
    /// The state of a task.
    pub enum TaskState {
        Running = "running",
        Done = "done",
        /// By an operator, or since its subject takes sessions again.
        Cancelled = "cancelled",
    }
}

words! {
    /// The state of a listener.
    pub enum ListenerState {
        Open = "open",
        /// It takes no new sessions.
        Draining = "draining",
        /// It is to be open, and some of its addresses could not be bound yet.
        Unbound = "unbound",
    }
}

words! {
    /// Whether a backend takes new sessions, and if not, why.
    pub enum BackendState {
        Up = "up",
        /// Its checks failed, or its sessions could not connect.
        Down = "down",
        /// It keeps its sessions and gets no new ones; checks go on.
        Draining = "draining",
        /// No new sessions, no checks.
        Maint = "maint",
        /// It is gone from the configuration and keeps its last sessions.
        Removed = "removed",
    }
}

impl core::str::FromStr for EventKind {
    type Err = String;

    fn from_str(word: &str) -> Result<EventKind, String> {
        let found = EventKind::ALL.iter().find(|kind| kind.word() == word);
        found.copied().ok_or_else(|| format!("there is no kind of events {word:?}"))
    }
}

impl ListenerState {
    /// The state of a listener that accepts or not.
    #[must_use]
    pub const fn of(accepting: bool) -> ListenerState {
        if accepting { ListenerState::Open } else { ListenerState::Draining }
    }
}

impl BackendState {
    /// The state of a backend that an operator wants to be `admin`, and that is healthy or not. The
    /// operator's wish goes before health.
    #[must_use]
    pub const fn of(admin: Admin, is_healthy: bool) -> BackendState {
        match (admin, is_healthy) {
            (Admin::Maint, _) => BackendState::Maint,
            (Admin::Drain, _) => BackendState::Draining,
            (Admin::Ready, true) => BackendState::Up,
            (Admin::Ready, false) => BackendState::Down,
        }
    }
}

/// The outcome of a backend's last check. JSON and the socket carry its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum CheckResult {
    Ok,
    /// The checks are good again, but the backend went down too often to come back at once.
    Held,
    /// There was no check yet.
    Pending,
    /// There are no checks.
    Off,
    /// Why the check failed, or could not be made: `refused`, `timeout`, `status 503`, …
    Failed(String),
}

impl CheckResult {
    /// The words in tables, the same as in JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            CheckResult::Ok => "ok",
            CheckResult::Held => "held",
            CheckResult::Pending => "pending",
            CheckResult::Off => "off",
            CheckResult::Failed(why) => why,
        }
    }
}

impl From<String> for CheckResult {
    fn from(words: String) -> CheckResult {
        let plain = [CheckResult::Ok, CheckResult::Held, CheckResult::Pending, CheckResult::Off];
        let found = plain.into_iter().find(|result| result.as_str() == words);
        found.unwrap_or(CheckResult::Failed(words))
    }
}

impl From<CheckResult> for String {
    fn from(result: CheckResult) -> String {
        result.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{HealthKind, Strategy};

    fn json(value: impl Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn a_word_in_a_table_is_the_word_in_json() {
        let quoted = |word: &str| format!("\"{word}\"");
        for state in ProcessState::ALL {
            assert_eq!(json(state), quoted(state.word()));
        }
        for state in ListenerState::ALL {
            assert_eq!(json(state), quoted(state.word()));
        }
        for state in BackendState::ALL {
            assert_eq!(json(state), quoted(state.word()));
        }
        for kind in EventKind::ALL {
            assert_eq!((json(kind), kind.word().parse()), (quoted(kind.word()), Ok(*kind)));
        }
        for kind in HealthKind::ALL {
            assert_eq!(json(kind), quoted(kind.word()));
        }
        for strategy in Strategy::ALL {
            assert_eq!(json(strategy), quoted(strategy.word()));
        }
    }

    #[test]
    fn a_check_result_is_its_words() {
        for words in ["ok", "held", "pending", "off", "status 503"] {
            let result = CheckResult::from(words.to_owned());
            assert_eq!(result.as_str(), words);
            assert_eq!(matches!(result, CheckResult::Failed(_)), words == "status 503");
            assert_eq!(json(result), format!("\"{words}\""));
        }
    }
}
