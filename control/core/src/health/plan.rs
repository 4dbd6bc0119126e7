//! What one check does, worked out once from the pool's spec.

use std::net::IpAddr;
use std::time::Duration;

use weir_proto::address::Address;
use weir_proto::snapshot::{Backend, Pool, Wildcards};
use weir_proto::spec::{
    CheckStep, HealthKind, HealthSpec, PoolSpec, ProxyVersion, Span, Statuses, unescape,
};

use super::dialogue::{AgentAnswer, client_hello, startup};

/// One check. Backends whose plans are equal share their checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckPlan {
    pub address: Address,
    /// weir listens at this port on every address of its host: if this is one of them, it is weir.
    pub may_be_weir: bool,
    /// The check comes from the first of them that this host has. None: the kernel chooses.
    pub sources: Vec<IpAddr>,
    pub intervals: Intervals,
    /// For the whole check.
    pub timeout: Duration,
    /// Sent before everything else: the pool's backends want a PROXY header.
    pub header: Option<ProxyVersion>,
    pub talk: Talk,
}

/// What is said after the connect, and what must come back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Talk {
    /// `send`, unless it is empty; then an agent says a line.
    Agent {
        send: Vec<u8>,
    },
    /// Nothing: a connect is enough.
    Silent,
    /// An HTTP request, and the statuses that are good.
    Http {
        request: Vec<u8>,
        expect: Statuses,
    },
    /// Bytes that are sent and expected in turn.
    Steps(Vec<TalkStep>),
    Redis,
    Postgresql {
        startup: Vec<u8>,
    },
    Mysql {
        user: String,
    },
    /// `name` is what weir calls itself.
    Smtp {
        name: String,
    },
    TlsHello {
        hello: Vec<u8>,
    },
}

/// One step of a conversation that an operator wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TalkStep {
    Send(Vec<u8>),
    /// Somewhere behind what the step before has found.
    Expect(Vec<u8>),
}

impl CheckPlan {
    /// `spec` has been checked by the snapshot: what does not parse here cannot be in it.
    pub fn new(spec: &HealthSpec, address: Address) -> CheckPlan {
        CheckPlan {
            address: checked_address(spec, address),
            may_be_weir: false,
            sources: Vec::new(),
            intervals: Intervals::of(spec),
            timeout: Duration::from_millis(spec.timeout.millis),
            header: None,
            talk: Talk::of(spec, address),
        }
    }
}

/// The question to the agent of a backend of this pool; `None`: there is none to ask.
pub(super) fn agent_plan(
    pool: &Pool,
    backend: &Backend,
    wildcards: &Wildcards,
) -> Option<CheckPlan> {
    let spec = &pool.spec.agent;
    let port = u16::try_from(spec.port?).ok()?;
    let host = spec.host().or_else(|| backend.address.ip().map(|address| address.ip()))?;
    let address = Address::Ip((host, port).into());
    let usual = Duration::from_millis(spec.interval.millis);
    Some(CheckPlan {
        address,
        may_be_weir: wildcards.takes(address),
        sources: sources(&pool.spec, address).collect(),
        intervals: Intervals { usual, fast: usual, down: usual },
        timeout: Duration::from_millis(spec.timeout.millis),
        header: None,
        talk: Talk::Agent { send: spec.send.as_deref().and_then(unescape).unwrap_or_default() },
    })
}

/// From the start of one check to the start of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Intervals {
    pub usual: Duration,
    /// While a backend's health may be about to change.
    pub fast: Duration,
    /// While it is down.
    pub down: Duration,
}

impl Intervals {
    fn of(spec: &HealthSpec) -> Intervals {
        let span = |span: Option<Span>| span.unwrap_or(spec.interval).millis;
        Intervals {
            usual: Duration::from_millis(spec.interval.millis),
            fast: Duration::from_millis(span(spec.fast_interval)),
            down: Duration::from_millis(span(spec.down_interval)),
        }
    }
}

/// The addresses that checks of a backend at `address` may come from.
pub(super) fn sources(pool: &PoolSpec, address: Address) -> impl Iterator<Item = IpAddr> {
    let ip = address.ip().map(|address| address.ip());
    let all = pool.source.iter().zip(ip);
    all.flat_map(|(source, ip)| source.towards(ip))
}

/// The address that is checked for a backend at `address`. A Unix socket has no other port.
pub(super) fn checked_address(spec: &HealthSpec, mut address: Address) -> Address {
    if let Some(port) = spec.port.and_then(|port| u16::try_from(port).ok()) {
        address.set_port(port);
    }
    address
}

impl Talk {
    fn of(spec: &HealthSpec, address: Address) -> Talk {
        match spec.kind {
            HealthKind::Tcp | HealthKind::None => Talk::Silent,
            HealthKind::Http => {
                let expect = spec.expect.as_deref().and_then(|text| text.parse().ok());
                let request = http_request(spec, address);
                Talk::Http { request, expect: expect.unwrap_or_else(Statuses::success) }
            }
            HealthKind::SendExpect => Talk::Steps(steps(spec)),
            HealthKind::Redis => Talk::Redis,
            HealthKind::Postgresql => {
                Talk::Postgresql { startup: startup(spec.user.as_deref().unwrap_or("postgres")) }
            }
            HealthKind::Mysql => Talk::Mysql { user: spec.user.clone().unwrap_or_default() },
            HealthKind::Smtp => {
                Talk::Smtp { name: spec.host.clone().unwrap_or_else(|| "weir".to_owned()) }
            }
            HealthKind::Tls => Talk::TlsHello { hello: client_hello(spec.host.as_deref()) },
        }
    }
}

fn http_request(spec: &HealthSpec, address: Address) -> Vec<u8> {
    // Behind a Unix socket there is this host.
    let authority = || checked_address(spec, address).ip().map(|address| address.to_string());
    let host = spec.host.clone().or_else(authority);
    let host = host.unwrap_or_else(|| "localhost".to_owned());
    format!(
        "{} {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: weir\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        spec.method.word(),
        spec.path.as_deref().unwrap_or("/")
    )
    .into_bytes()
}

fn steps(spec: &HealthSpec) -> Vec<TalkStep> {
    let bytes = |text: &Option<String>| text.as_deref().and_then(unescape).unwrap_or_default();
    if spec.steps.is_empty() {
        let send = bytes(&spec.send);
        let send = (!send.is_empty()).then_some(TalkStep::Send(send));
        return send.into_iter().chain([TalkStep::Expect(bytes(&spec.expect))]).collect();
    }
    let steps = spec.steps.iter().map(|step| match step {
        CheckStep::Send(_) => TalkStep::Send(step.bytes()),
        CheckStep::Expect(_) => TalkStep::Expect(step.bytes()),
    });
    steps.collect()
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    Good,
    /// `refused`, `leads back to weir`, `timeout`, `unreachable`, `closed`, `status 503`,
    /// `unexpected answer "…"`, or what the backend said.
    Bad(String),
    /// An agent's line.
    Said(Box<AgentAnswer>),
    /// This host could not make the check: it says nothing about the backend.
    Local(String),
}
