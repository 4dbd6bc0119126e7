//! Agents: a server beside a backend says how much the backend may be given.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::net::{Backend, Peer, Script, own_ip};
use weir_tests::story::{Plan, Set};
use weir_tests::weir::{Dir, Ran, binary};

/// An agent: says its line to each connection. It ends with its listener, when it is dropped.
struct Agent {
    address: SocketAddr,
    line: Arc<Mutex<Option<String>>>,
    /// The texts that it was sent, one for each question.
    heard: Receiver<String>,
}

impl Agent {
    fn start(ip: IpAddr, line: &str) -> Agent {
        let listener = TcpListener::bind((ip, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let line = Arc::new(Mutex::new(Some(line.to_owned())));
        let (sender, heard) = channel();
        let says = Arc::clone(&line);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let Some(text) = says.lock().expect("no holder panics").clone() else { break };
                let _ = stream.write_all(text.as_bytes());
                let mut asked = [0; 64];
                let count = stream.read(&mut asked).unwrap_or(0);
                let asked = String::from_utf8_lossy(&asked[..count]).into_owned();
                if sender.send(asked).is_err() {
                    break;
                }
            }
        });
        Agent { address, line, heard }
    }

    fn says(&self, line: &str) {
        *self.line.lock().expect("no holder panics") = Some(line.to_owned());
    }

    /// It is gone with the next question, which gets no answer.
    fn leaves(&self) {
        *self.line.lock().expect("no holder panics") = None;
    }
}

/// Two backends and one agent for both, or one that only the first is asked for.
fn world(agent: &Agent, script: Script) -> Set {
    let (ip, port) = (agent.address.ip(), agent.address.port());
    let text = "send = 'web\\n', interval = \"20ms\"";
    let pool = format!("agent = {{ port = {port}, address = \"{ip}\", {text} }}");
    Plan::new(2, script).pool(&pool).start()
}

fn agent(set: &Set) -> serde_json::Value {
    set.weir.json(&["backend", "show", "web/b1"])["agent"].clone()
}

/// Waits until weir shows that an agent says this.
fn wait_says(set: &Set, says: Option<&str>) {
    let text = format!("the agent to say {says:?}");
    clock::wait_for(&text, || agent(set)["says"].as_str() == says);
    // It is in force with the next edition, which every shard takes up within a turn or two.
    let before = agent(set)["answered_total"].as_u64();
    clock::wait_for("more answers", || {
        agent(set)["answered_total"].as_u64() > before.map(|it| it + 8)
    });
}

#[test]
fn a_backend_sets_its_own_weight_which_traffic_shows() {
    // One agent is asked for each backend, at one port of both hosts.
    let hosts = [own_ip(), own_ip()];
    let one = Agent::start(hosts[0], "up 100%\n");
    let text = format!("agent = {{ port = {}, interval = \"20ms\" }}", one.address.port());
    // b2 has no agent at its host: nothing is changed for it.
    let other = Backend::start("b2", hosts[1], Script::Banner);
    let plan = Plan::new(1, Script::Banner).ip(hosts[0]).pool(&text);
    let mut set = plan.extern_backend("b2", other.address).start();
    set.backends.push(other);
    wait_says(&set, Some("100%"));
    // Each of the two shards goes round by itself.
    let counts = set.spread(40, None);
    assert!((18..=22).contains(&counts[0]), "{counts:?}");
    one.says("33%\n");
    wait_says(&set, Some("33%"));
    let counts = set.spread(266, None);
    assert!((60..=72).contains(&counts[0]), "33 of 133: {counts:?}");
    let shown = set.weir.json(&["backend", "show", "web/b1"]);
    assert_eq!((&shown["weight"], &shown["agent"]["weight_percent"]), (&1.into(), &33.into()));
    // The part is one of another weight now.
    let version = set.weir.version();
    set.weir.ok(&["backend", "weight", "web/b1", "100"]);
    set.weir.ok(&["backend", "weight", "web/b2", "33"]);
    let counts = set.spread(100, None);
    assert!((48..=52).contains(&counts[0]), "33 of 66: {counts:?}");
    assert_eq!(set.weir.version(), version + 2, "an agent makes no version");
    assert!(!set.weir.ok(&["config", "export"]).contains("%,"));
    one.says("0%\n");
    wait_says(&set, Some("0%"));
    assert_eq!(set.spread(10, None), [0, 10]);
    let why = set.weir.json(&["why", "web", "--client", "127.0.0.1"]);
    assert_eq!(why["candidates"][0]["why_not"], "its agent says 0%");
}

#[test]
fn a_drain_keeps_sessions_and_an_agent_that_is_gone_keeps_its_word() {
    let one = Agent::start(own_ip(), "ready\n");
    let mut set = world(&one, Script::Echo);
    clock::wait_for("an answer", || agent(&set)["answered_total"].as_u64() > Some(0));
    assert_eq!(one.heard.recv().expect("it is asked"), "web\n");
    let mut kept: Vec<Peer> = (0..4).map(|_| set.client()).collect();
    for client in &mut kept {
        client.send(b"hello").expect(b"hello");
    }
    one.says("drain # nightly\n");
    wait_says(&set, Some("drain # nightly"));
    assert_eq!(set.weir.backend("web/b1")["state"], "draining");
    for client in &mut kept {
        client.send(b"again").expect(b"again");
    }
    let why = set.weir.json(&["why", "web", "--client", "127.0.0.1"]);
    assert_eq!(why["candidates"][0]["why_not"], "its agent says drain # nightly");
    // A reset that comes before connect(2) has returned is its error.
    match Peer::try_connect(set.weir.web) {
        Ok(mut client) => {
            client.expect_rst();
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    let status = set.weir.ctl(&["status", "--check"]);
    assert!(status.stdout.contains("its agent says drain # nightly"), "{}", status.stdout);
    one.leaves();
    clock::wait_for("it to be missed", || agent(&set)["failure"].is_string());
    assert_eq!(agent(&set)["says"], "drain # nightly");
    let page = set.weir.get("/metrics").body;
    assert!(count(&page, "weir_backend_agent_checks_total", &["result=\"fail\""]) > 0);
    let drained = ["backend=\"b1\"", "state=\"drain\""];
    assert_eq!(count(&page, "weir_backend_agent_state", &drained), 1);
    let events = set.weir.ok(&["events", "--kind", "health"]);
    assert!(events.contains("its agent says drain # nightly"), "{events}");
    assert!(events.contains("its agent does not answer"), "{events}");
    // A start begins with no word of it.
    for client in kept {
        client.rst();
    }
    set.weir.kill();
    set.weir.run();
    assert_eq!(agent(&set)["says"], serde_json::Value::Null);
    let mut client = set.client();
    client.send(b"hello").expect(b"hello");
}

#[test]
fn an_operator_wins_and_a_pool_that_asks_no_more_forgets() {
    let one = Agent::start(own_ip(), "ready up\n");
    let set = world(&one, Script::Banner);
    set.weir.ok(&["backend", "drain", "web/b1"]);
    clock::wait_for("answers", || agent(&set)["answered_total"].as_u64() > Some(5));
    assert_eq!(set.spread(6, None), [0, 6], "ready is the agent's word, not the operator's");
    set.weir.ok(&["backend", "ready", "web/b1"]);
    one.says("stopped # disk full\n");
    wait_says(&set, Some("stopped # disk full"));
    set.weir.wait_state("web/b1", "down");
    set.weir.ok(&["backend", "set", "web/b1", "force=up"]);
    assert_eq!(set.spread(6, None), [6, 0], "forced up");
    set.weir.ok(&["backend", "set", "web/b1", "force="]);
    one.says("maint maxconn:1 up\n");
    wait_says(&set, Some("maxconn:1, maint"));
    assert_eq!(set.weir.backend("web/b1")["state"], "maint");
    let exported = set.weir.ok(&["config", "export"]);
    assert!(!exported.contains("maint") && exported.contains("agent"), "{exported}");
    let pairs = ["agent.port=", "agent.address=", "agent.interval=", "agent.send="];
    set.weir.ok(&[&["pool", "set", "web"][..], &pairs].concat());
    assert_eq!(agent(&set), serde_json::Value::Null);
    let counts = set.spread(6, None);
    assert!((2..=4).contains(&counts[0]), "{counts:?}");
}

#[test]
fn a_limit_of_an_agent_is_exact_and_no_higher_than_its_operators() {
    let one = Agent::start(own_ip(), "maxconn:2\n");
    let set = world(&one, Script::Banner);
    wait_says(&set, Some("maxconn:2"));
    let (mut held, mut waiting) = (Vec::new(), Vec::new());
    let counts = set.spread(4, Some(&mut held));
    assert_eq!(counts, [2, 2]);
    for _ in 0..4 {
        waiting.push(set.client());
    }
    let queued = || set.weir.json(&["stats"])["pools"][0]["sessions_queued"].as_u64();
    clock::wait_for("four to wait", || queued() == Some(4));
    let why = set.weir.json(&["why", "web", "--client", "127.0.0.1"]);
    let full = "it is full: 2 sessions, and its agent says maxconn:2";
    assert_eq!(why["candidates"][0]["why_not"], full);
    one.says("maxconn:4\n");
    for client in &mut waiting {
        client.line();
    }
    assert_eq!(set.weir.sessions(), 8);
    set.weir.ok(&["backend", "set", "web/b1", "max-sessions=3"]);
    assert_eq!(set.weir.backend("web/b1")["max_sessions"], 3);
}

#[test]
fn haproxys_agents_are_carried_over() {
    let one = Agent::start(own_ip(), "drain\n");
    let dir = Dir::new();
    let (port, ip) = (one.address.port(), one.address.ip());
    let text = format!(
        "defaults\n mode tcp\n timeout connect 1s\n timeout client 1m\n timeout server 1m\n\
         listen web\n bind 127.0.0.1:1\n server b1 {ip}:2 agent-check agent-port {port} \
         agent-inter 20 agent-send hello\\n\n"
    );
    let file = dir.write("haproxy.cfg", &text);
    let mut command = std::process::Command::new(binary("weir", "WEIR_BIN"));
    let made = Ran::of(command.args(["init", "--from", &file])).expect_code(0).stdout;
    let line = made.lines().find(|line| line.starts_with("agent = ")).expect("an agent");
    let to = SocketAddr::new(ip, 2);
    let set = Plan::new(0, Script::Silent).extern_backend("b1", to).pool(line).start();
    wait_says(&set, Some("drain"));
    assert_eq!(one.heard.recv().expect("it is asked"), "hello\n");
}
