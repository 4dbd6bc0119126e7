//! What an operator writes: listeners, pools, backends. Parsed from TOML, printed as TOML, kept as
//! JSON.
//!
//! A [`Spec`] is only well-formed; [`crate::snapshot::Snapshot::build`] says whether it makes
//! sense.

mod agent;
mod as_text;
mod backend;
mod bounds;
mod copy_on_write;
mod discover;
mod failover;
mod health;
mod keepalive;
mod listener;
mod no_backend;
mod on_down;
mod one_or_many;
mod per_source;
mod percent;
mod proxy;
mod queue;
mod rate;
mod redispatch;
mod route;
mod size;
mod source;

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};

pub use agent::AgentSpec;
pub use backend::{Admin, BackendSpec, Force};
pub use bounds::{
    KEEPALIVE_COUNT_MAX, KEEPALIVE_SECS_MAX, QUEUE_SIZE_MAX, RATE_MAX, REPLAY_MAX,
    RETRY_ATTEMPTS_MAX, SOCKET_BUFFER_MAX, SOCKET_BUFFER_MIN, WEIGHT_MAX,
};
pub use copy_on_write::CopyOnWrite;
pub use discover::{DISCOVERED_MAX, DiscoverSpec, DnsSource};
pub use failover::Failover;
pub use health::{
    CHECK_STEPS_MAX, CHECK_TEXT_MAX, CheckStep, HealthKind, HealthSpec, HttpMethod, Statuses,
    is_check_host, is_check_path, is_check_user, unescape,
};
pub use keepalive::KeepaliveSpec;
pub use listener::ListenerSpec;
pub use no_backend::NoBackend;
pub use on_down::OnDown;
pub use per_source::PerSourceSpec;
pub use percent::Percent;
pub use proxy::{ProxyInSpec, ProxyVersion};
pub use queue::QueueSpec;
pub use rate::Rate;
pub use redispatch::RedispatchSpec;
pub use route::RouteSpec;
pub use size::Size;
pub use source::{SOURCES_MAX, SourceSpec};

/// The versioned part of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    #[serde(default)]
    pub listener: BTreeMap<Name, ListenerSpec>,
    #[serde(default)]
    pub pool: BTreeMap<Name, CopyOnWrite<PoolSpec>>,
}

impl Spec {
    /// Shares with `other` every pool and listener that is the same: comparing the two takes no
    /// time afterwards.
    pub fn share_with(&mut self, other: &Spec) {
        for (name, pool) in &mut self.pool {
            if let Some(same) = other.pool.get(name).filter(|same| *same == pool) {
                *pool = same.clone();
            }
        }
        for (name, listener) in &mut self.listener {
            if let Some(same) = other.listener.get(name).filter(|same| *same == listener) {
                *listener = same.clone();
            }
        }
    }
}

/// The name of a listener, a pool or a backend: 1 to 63 letters, digits, `-`, `_` or `.`, of which
/// `-` and `.` do not come first: `-x` would be an option, and `..` a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The longest name, in bytes.
    pub const LENGTH_MAX: usize = 63;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a backend that was found by DNS, as in `10.0.0.11:443`. No configured one can
    /// have it.
    #[must_use]
    pub fn of_address(address: core::net::SocketAddr) -> Name {
        Name(address.to_string())
    }

    fn of_legal_characters(text: &str) -> Result<Name, String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() > Name::LENGTH_MAX || !text.bytes().all(legal) {
            let shown: String = text.chars().take(Name::LENGTH_MAX + 1).collect();
            return Err(format!(
                "{shown:?} is not a name: use 1 to {} letters, digits, '-', '_' or '.'",
                Name::LENGTH_MAX
            ));
        }
        Ok(Name(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let name = Name::of_legal_characters(text)?;
        if text.starts_with(['-', '.']) {
            return Err(format!("{text:?} is not a name: begin it with a letter, a digit or '_'"));
        }
        Ok(name)
    }
}

impl core::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Takes the names of older versions too, which began with anything.
impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        Name::of_legal_characters(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A length of time in milliseconds, written `"500ms"`, `"2s"`, `"5m"` or `"1h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub millis: u64,
}

impl Span {
    #[must_use]
    pub const fn from_millis(millis: u64) -> Span {
        Span { millis }
    }

    #[must_use]
    pub const fn from_secs(secs: u64) -> Span {
        Span { millis: secs * 1000 }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.millis {
            0 => f.write_str("0s"),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let bad =
            || format!("{text:?} is not a duration: write \"500ms\", \"2s\", \"5m\" or \"1h\"");
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (digits, unit) = text.split_at(split);
        let scale = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let count: u64 = digits.parse().map_err(|_| bad())?;
        let millis = count.checked_mul(scale).ok_or_else(bad)?;
        Ok(Span { millis })
    }
}

/// A set of backends with its strategy, health check and timeouts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    #[serde(default)]
    pub strategy: Strategy,
    #[serde(default)]
    pub health: HealthSpec,
    #[serde(default)]
    pub timeout: TimeoutSpec,
    #[serde(default)]
    pub retry: RetrySpec,
    #[serde(default, skip_serializing_if = "RedispatchSpec::is_default")]
    pub redispatch: RedispatchSpec,
    /// Sessions that wait while every backend is full.
    #[serde(default, skip_serializing_if = "QueueSpec::is_default")]
    pub queue: QueueSpec,
    /// For the backends.
    #[serde(default, skip_serializing_if = "KeepaliveSpec::is_default")]
    pub keepalive: KeepaliveSpec,
    /// The most that the kernel keeps for one socket in one direction. Absent: it decides.
    #[serde(default, rename = "socket-buffer", skip_serializing_if = "Option::is_none")]
    pub socket_buffer: Option<Size>,
    /// Where the connections to the backends come from. Absent: the kernel decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSpec>,
    /// The header that backends get first.
    #[serde(default, rename = "proxy-protocol", skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyVersion>,
    /// With a smaller share of a priority group's weight up, the next group gets the rest. 0 %:
    /// only when the group takes none.
    #[serde(default, skip_serializing_if = "Percent::is_zero")]
    pub spill: Percent,
    #[serde(default, skip_serializing_if = "Failover::is_auto")]
    pub failover: Failover,
    /// The sessions of a backend that goes down.
    #[serde(default, rename = "on-down", skip_serializing_if = "OnDown::is_keep")]
    pub on_down: OnDown,
    /// Agents that say how much a backend may be given.
    #[serde(default, skip_serializing_if = "AgentSpec::is_default")]
    pub agent: AgentSpec,
    /// Backends that are found by DNS, beside those of `backend`.
    #[serde(default, skip_serializing_if = "DiscoverSpec::is_default")]
    pub discover: DiscoverSpec,
    #[serde(default)]
    pub backend: BTreeMap<Name, BackendSpec>,
}

impl PoolSpec {
    /// Its settings alone.
    #[must_use]
    pub fn without_backends(&self) -> PoolSpec {
        PoolSpec {
            strategy: self.strategy,
            health: self.health.clone(),
            timeout: self.timeout.clone(),
            retry: self.retry.clone(),
            redispatch: self.redispatch,
            queue: self.queue,
            keepalive: self.keepalive.clone(),
            socket_buffer: self.socket_buffer,
            source: self.source.clone(),
            proxy_protocol: self.proxy_protocol,
            spill: self.spill,
            failover: self.failover,
            on_down: self.on_down,
            agent: self.agent.clone(),
            discover: self.discover.clone(),
            backend: BTreeMap::new(),
        }
    }
}

/// How a pool picks a backend for a new session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// In turn, by weight, smoothly interleaved.
    RoundRobin,
    /// The fewest sessions per weight.
    #[default]
    LeastConn,
    /// The less loaded of two drawn at random by weight.
    TwoChoices,
    /// At random, by weight.
    Random,
    /// By the client's address, consistently (Eisenbud et al., NSDI 2016).
    Maglev,
}

impl Strategy {
    pub const ALL: [Strategy; 5] = [
        Strategy::RoundRobin,
        Strategy::LeastConn,
        Strategy::TwoChoices,
        Strategy::Random,
        Strategy::Maglev,
    ];

    /// The word that operators write.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Strategy::RoundRobin => "round-robin",
            Strategy::LeastConn => "least-conn",
            Strategy::TwoChoices => "two-choices",
            Strategy::Random => "random",
            Strategy::Maglev => "maglev",
        }
    }
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Strategy, String> {
        Strategy::ALL.into_iter().find(|strategy| strategy.word() == text).ok_or_else(|| {
            let words: Vec<_> = Strategy::ALL.iter().map(|strategy| strategy.word()).collect();
            format!("{text:?} is not a strategy: use one of {}", words.join(", "))
        })
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A pool's timeouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TimeoutSpec {
    /// For one connect to one backend.
    pub connect: Span,
    /// Nothing moved in either direction.
    pub idle: Span,
    /// One direction has ended and nothing moved in the other.
    pub half_close: Span,
    /// Bytes wait for a side and it takes none. Absent: as long as `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled: Option<Span>,
    /// Every backend is full and the session waits for one.
    #[serde(skip_serializing_if = "queue::is_default_timeout")]
    pub queue: Span,
    /// The greatest age of a session. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Span>,
}

impl Default for TimeoutSpec {
    fn default() -> TimeoutSpec {
        TimeoutSpec {
            connect: Span::from_secs(3),
            idle: Span::from_secs(3600),
            half_close: Span::from_secs(60),
            stalled: None,
            queue: queue::TIMEOUT,
            lifetime: None,
        }
    }
}

/// What happens when a connect fails, before any byte crossed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySpec {
    /// How many other backends are tried.
    pub attempts: u32,
    /// From the accept: no other backend is tried for longer. The first connect has
    /// [`TimeoutSpec::connect`] in any case.
    pub within: Span,
}

impl Default for RetrySpec {
    fn default() -> RetrySpec {
        RetrySpec { attempts: 2, within: Span::from_secs(6) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_round_trip_in_their_largest_unit() {
        for text in ["0s", "500ms", "2s", "5m", "1h", "1500ms", "90s"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span, "{text}");
        }
        assert_eq!("90s".parse::<Span>().unwrap().to_string(), "90s");
        assert_eq!("120s".parse::<Span>().unwrap().to_string(), "2m");
        for text in ["", "5", "s", "-1s", "1.5s", "1w", "99999999999999999999s", "300000000000d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        for text in ["web", "b1", "a.b-c_D9"] {
            assert_eq!(text.parse::<Name>().unwrap().as_str(), text);
        }
        for text in ["", "a/b", "a b", "ü", &"x".repeat(64), "-x", "..", ".", ".a"] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
        let read = |json: &str| serde_json::from_str::<Name>(json).is_ok();
        assert!(read(r#""-x""#) && read(r#""..""#), "a state of before is read");
        assert!(!read(r#""a b""#));
        let long = "x".repeat(100_000).parse::<Name>().unwrap_err();
        assert!(long.len() < 200, "{}", long.len());
    }
}
