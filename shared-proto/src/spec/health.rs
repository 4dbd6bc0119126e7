//! Health checks in a configuration.

mod statuses;
mod step;
mod texts;

use serde::{Deserialize, Serialize};

use super::{Percent, Span};

pub use statuses::Statuses;
pub use step::{CHECK_STEPS_MAX, CHECK_TEXT_MAX, CheckStep, unescape};
pub use texts::{is_check_host, is_check_path, is_check_user};

/// The conversation of a health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthKind {
    /// A connect that succeeds is healthy.
    #[default]
    Tcp,
    /// `path` answered with the expected status (any 2xx or 3xx if `expect` is absent).
    Http,
    /// After `send`, the answer must contain `expect`; or several `steps` of both.
    SendExpect,
    /// `PING` answered with `+PONG`, or with the demand for a password.
    Redis,
    /// A startup packet answered with a request for authentication, or with none needed.
    Postgresql,
    /// A login without a password, then `COM_QUIT`.
    Mysql,
    /// A greeting, `EHLO`, `QUIT`.
    Smtp,
    /// A ClientHello answered with a ServerHello or an alert.
    Tls,
    /// No active checks; only failed connects count.
    None,
}

impl HealthKind {
    pub const ALL: [HealthKind; 9] = [
        HealthKind::Tcp,
        HealthKind::Http,
        HealthKind::SendExpect,
        HealthKind::Redis,
        HealthKind::Postgresql,
        HealthKind::Mysql,
        HealthKind::Smtp,
        HealthKind::Tls,
        HealthKind::None,
    ];

    /// The word that operators write.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            HealthKind::Tcp => "tcp",
            HealthKind::Http => "http",
            HealthKind::SendExpect => "send-expect",
            HealthKind::Redis => "redis",
            HealthKind::Postgresql => "postgresql",
            HealthKind::Mysql => "mysql",
            HealthKind::Smtp => "smtp",
            HealthKind::Tls => "tls",
            HealthKind::None => "none",
        }
    }
}

/// The method of an HTTP check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    #[default]
    Get,
    Head,
    Options,
}

impl HttpMethod {
    pub const ALL: [HttpMethod; 3] = [HttpMethod::Get, HttpMethod::Head, HttpMethod::Options];

    /// The word that operators write, and that is sent.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Head => "HEAD",
            HttpMethod::Options => "OPTIONS",
        }
    }

    fn is_default(&self) -> bool {
        *self == HttpMethod::default()
    }
}

/// How a pool checks the health of its backends, and what it makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct HealthSpec {
    pub kind: HealthKind,
    /// From the start of one check to the start of the next; jittered by ±10 %.
    pub interval: Span,
    /// The interval while results speak against the backend's state, and before the first one.
    /// Absent: `interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fast_interval: Option<Span>,
    /// The interval while the backend is down. Absent: `interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_interval: Option<Span>,
    pub timeout: Span,
    /// Successes in a row that bring a backend up.
    pub rise: u32,
    /// Failures in a row that take a backend down.
    pub fall: u32,
    /// The port that is checked at the backend's address. Absent: the backend's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// For `http`.
    #[serde(skip_serializing_if = "HttpMethod::is_default")]
    pub method: HttpMethod,
    /// For `http`: the path to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The name that the backend is called: Host of `http`, SNI of `tls`; for `smtp` that of weir.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// For `mysql` and `postgresql`: who logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// For `send-expect`: the bytes to send, as text with `\r`, `\n`, `\t`, `\\` and `\xNN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// For `http` the statuses; for `send-expect` the bytes that the answer must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// For `send-expect`, instead of `send` and `expect`: what is sent and expected in turn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<CheckStep>,
    /// With fewer of the pool's backends up than this share, health is ignored. 0 %: never.
    pub panic: Percent,
    /// How long a backend that has recovered takes to get its full share. 0: it has it at once.
    pub slow_start: Span,
}

impl Default for HealthSpec {
    fn default() -> HealthSpec {
        HealthSpec {
            kind: HealthKind::Tcp,
            interval: Span::from_secs(2),
            fast_interval: None,
            down_interval: None,
            timeout: Span::from_millis(500),
            rise: 2,
            fall: 3,
            port: None,
            method: HttpMethod::Get,
            path: None,
            host: None,
            user: None,
            send: None,
            expect: None,
            steps: Vec::new(),
            panic: Percent::HALF,
            slow_start: Span::from_secs(10),
        }
    }
}
