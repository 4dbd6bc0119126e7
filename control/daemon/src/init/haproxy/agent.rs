//! `agent-check` of servers: the agents of a pool.

use std::net::IpAddr;

use weir_proto::spec::{AgentSpec, CHECK_TEXT_MAX};

use super::checks::escaped;
use super::pools::counting;
use super::proxy::{ProxySection, ServerLine};
use crate::init::note::{Notes, note, quoted, warning};
use crate::init::units::bounded;

/// HAProxy's own.
const INTERVAL_MS: u64 = 2000;

/// The words of a server about its agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AgentOptions {
    pub(super) is_asked: bool,
    pub(super) port: Option<u64>,
    pub(super) address: Option<String>,
    pub(super) inter_ms: Option<u64>,
    pub(super) send: Option<String>,
}

/// The agents of a pool's backends, as the first server has them.
pub(super) fn of(backend: &ProxySection, notes: &mut Notes) -> AgentSpec {
    let agent = |server: &ServerLine| server.options.agent.clone();
    let asked = || backend.servers.iter().filter(|server| server.options.agent.is_asked);
    let Some(first) = asked().next() else { return AgentSpec::default() };
    let AgentOptions { port, address, inter_ms, send, .. } = agent(first);
    let Some(port) = port.and_then(|port| u32::try_from(port).ok()) else {
        let remark = warning("`agent-check` without `agent-port`");
        notes.add(&first.at, remark.because("there is no port to ask at"));
        return AgentSpec::default();
    };
    if let Some(name) = address.as_deref().filter(|it| it.parse::<IpAddr>().is_err()) {
        let remark = warning(format!("`agent-addr {}`", quoted(name)));
        notes.add(
            &first.at,
            remark
                .because("weir asks an agent by its address")
                .instead("set agent.port and agent.address of the pool, with an address"),
        );
        return AgentSpec::default();
    }
    for server in asked().filter(|server| agent(server) != agent(first)) {
        let remark = warning("the agent of a server differs from the first one's");
        let why = "a pool of weir has one port, address, interval and text for all";
        notes.add(&server.at, remark.because(why).instead("give the server a pool of its own"));
    }
    for server in backend.servers.iter().filter(|server| !server.options.agent.is_asked) {
        let remark = note("a server without `agent-check`");
        let why = "weir asks the agent of every backend of a pool; one that gives no answer \
                   changes nothing";
        notes.add(&server.at, remark.because(why));
    }
    let send = send.map(|text| escaped(text.as_bytes()));
    if let Some(text) = send.as_ref().filter(|text| text.len() > CHECK_TEXT_MAX) {
        let remark = warning(format!("`agent-send` of {} bytes", text.len()));
        notes.add(&first.at, remark.because(format!("weir sends {CHECK_TEXT_MAX} at most")));
    }
    let interval = inter_ms.filter(|it| *it > 0).unwrap_or(INTERVAL_MS);
    let timeout = counting(&backend.settings.timeouts.check).map_or(interval, |(_, check)| check);
    AgentSpec {
        port: Some(port),
        address,
        interval: bounded(interval).0,
        timeout: bounded(timeout).0,
        send: send.filter(|text| text.len() <= CHECK_TEXT_MAX),
    }
}
