//! What one check does, worked out once from the pool's spec.

use std::net::SocketAddr;
use std::time::Duration;

use weir_proto::snapshot::unescape;
use weir_proto::spec::{HealthKind, HealthSpec, ProxyVersion};

/// One check of one backend.
#[derive(Debug)]
pub struct CheckPlan {
    pub address: SocketAddr,
    /// weir listens at this port on every address of its host: if this is one of them, it is weir.
    pub may_be_weir: bool,
    pub interval: Duration,
    /// For the whole check.
    pub timeout: Duration,
    /// Sent before everything else: the pool's backends want a PROXY header.
    pub header: Option<ProxyVersion>,
    pub talk: Talk,
}

/// What is said after the connect, and what must come back.
#[derive(Debug)]
pub enum Talk {
    /// Nothing: a connect is enough.
    Silent,
    /// An HTTP request; `expect` is the status, or any 2xx or 3xx.
    Http { request: Vec<u8>, expect: Option<u16> },
    /// Bytes, of which the answer must contain `expect`.
    Bytes { send: Vec<u8>, expect: Vec<u8> },
}

impl CheckPlan {
    /// `spec` has been checked by the snapshot: what does not parse here cannot be in it.
    pub fn new(spec: &HealthSpec, address: SocketAddr) -> CheckPlan {
        let bytes = |text: &Option<String>| text.as_deref().and_then(unescape).unwrap_or_default();
        let talk = match spec.kind {
            HealthKind::Tcp | HealthKind::None => Talk::Silent,
            HealthKind::Http => Talk::Http {
                request: format!(
                    "GET {} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: weir\r\nAccept: */*\r\n\
                     Connection: close\r\n\r\n",
                    spec.path.as_deref().unwrap_or("/")
                )
                .into_bytes(),
                expect: spec.expect.as_deref().and_then(|text| text.parse().ok()),
            },
            HealthKind::SendExpect => {
                Talk::Bytes { send: bytes(&spec.send), expect: bytes(&spec.expect) }
            }
        };
        CheckPlan {
            address,
            may_be_weir: false,
            interval: Duration::from_millis(spec.interval.millis),
            timeout: Duration::from_millis(spec.timeout.millis),
            header: None,
            talk,
        }
    }
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    Good,
    /// `refused`, `leads back to weir`, `timeout`, `unreachable`, `closed`, `status 503`,
    /// `unexpected answer`.
    Bad(String),
    /// This host could not make the check: it says nothing about the backend.
    Local(String),
}
