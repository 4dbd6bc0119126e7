//! Servers with agents.

use super::*;

#[test]
fn the_agents_of_servers_are_those_of_the_pool() {
    for (words, wanted) in [
        ("agent-check agent-port 9999", "agent = { port = 9999, timeout = \"2s\" }"),
        (
            "agent-check agent-port 9999 agent-inter 5s agent-addr 10.0.0.9 agent-send web\\n",
            "agent = { port = 9999, address = \"10.0.0.9\", interval = \"5s\", timeout = \"5s\", \
             send = \"web\\\\n\" }",
        ),
    ] {
        let line = format!("default-server {words}\nserver z 10.0.0.2:80");
        let made = converted(&listen("", &line));
        expect_toml(&made, &[wanted]);
    }
    let off =
        converted(&listen("", "server z 10.0.0.2:80 agent-check agent-port 9 no-agent-check"));
    assert!(!off.toml.unwrap().contains("agent"));
}

#[test]
fn an_agent_that_weir_cannot_ask_is_told() {
    for (line, wanted) in [
        ("server z 10.0.0.2:80 agent-check", "7: warning: `agent-check` without `agent-port`"),
        (
            "server z 10.0.0.2:80 agent-check agent-port 9 agent-addr agents.internal",
            "7: warning: `agent-addr",
        ),
        (
            "server z 10.0.0.2:80 agent-check agent-port 9\n\
             server z2 10.0.0.3:80 agent-check agent-port 9 agent-send z2",
            "8: warning: the agent of a server differs from the first one's",
        ),
        (
            "server z 10.0.0.2:80 agent-check agent-port 0",
            "7: warning: `agent-port` of a server: `0` is no value",
        ),
    ] {
        expect_note(&listen("", line), wanted);
    }
}
