//! Faults of the question to agents.

use super::Faults;
use crate::spec::{AgentSpec, CHECK_TEXT_MAX, PoolSpec, unescape};

pub(super) fn check_agent(at: &str, pool: &PoolSpec, faults: &mut Faults) {
    let agent = &pool.agent;
    let mut fault = |key: &str, what: String, hint: &str| {
        faults.add(format!("{at}.agent{key}"), what, hint);
    };
    if !agent.is_asked() && *agent != AgentSpec::default() {
        let what = "without port no agent is asked".to_owned();
        fault("", what, "agent = { port = 9999 }, or leave it out");
    }
    if let Some(address) = agent.address.as_ref().filter(|_| agent.host().is_none()) {
        let what = format!("{address:?} is no address of a host");
        fault(".address", what, "10.0.0.9, or leave it out: then each backend has its own agent");
    }
    let path = pool.backend.iter().find(|(_, it)| it.address.ip().is_none());
    if let Some((name, _)) = path.filter(|_| agent.is_asked() && agent.address.is_none()) {
        let what = format!("{name} is a Unix socket, behind which there is no port to ask");
        fault(".address", what, "name the host of the agent: address = \"127.0.0.1\"");
    }
    match agent.send.as_deref().map(unescape) {
        Some(None) => {
            fault(".send", "a bad escape".to_owned(), "the escapes are \\r \\n \\t \\\\ \\xNN");
        }
        Some(Some(bytes)) if bytes.len() > CHECK_TEXT_MAX => {
            let what = format!("{} bytes; at most {CHECK_TEXT_MAX} are possible", bytes.len());
            fault(".send", what, "a question is short");
        }
        Some(Some(_)) | None => {}
    }
}
