//! Recipes of docs/operating.md and docs/recipes.md do what they say.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use weir_tests::net::{Dialogue, Peer, Script, free, own_ip};
use weir_tests::real::tls::{TlsService, certify};
use weir_tests::real::{Server, redis_cli};
use weir_tests::story::{Plan, Set};
use weir_tests::weir::{Dir, Ran};
use weir_tests::{clock, namespace, source};

/// The first block of code behind these words in this document.
fn block(document: &str, words: &str) -> String {
    let file = source::root().join(document);
    let text = std::fs::read_to_string(file).expect("it is there");
    let behind = text.split(words).nth(1).unwrap_or_else(|| panic!("no {words:?}"));
    let block = behind.split("```").nth(1).expect("a block");
    block.trim_start_matches("toml").trim_start().to_owned()
}

/// weir with the file of a recipe: its listener is the set's, its backends are these.
fn run(set: &mut Set, heading: &str, backends: &[SocketAddr]) {
    run_at(set, heading, &[set.weir.web], backends, &[]);
}

/// The same with these listeners, and with other `words` in place of what the recipe has.
fn run_at(
    set: &mut Set,
    heading: &str,
    binds: &[SocketAddr],
    backends: &[SocketAddr],
    words: &[(&str, &str)],
) {
    let file = block("docs/recipes.md", &format!("## {heading}\n"));
    let (mut binds, mut backends) = (binds.iter(), backends.iter());
    let line = |line: &str| {
        let address = match line {
            line if line.starts_with("bind = ") => {
                binds.next().expect("an address for each listener").to_string()
            }
            line if line.contains("{ address = ") => {
                backends.next().expect("an address for each backend").to_string()
            }
            line => return format!("{line}\n"),
        };
        let (before, rest) = line.split_once('"').expect("an address");
        let (_, behind) = rest.split_once('"').expect("its end");
        format!("{before}\"{address}\"{behind}\n")
    };
    let mut text: String = file.lines().map(line).collect();
    assert_eq!((binds.next(), backends.next()), (None, None), "{text}");
    // The balancers of a recipe are where a story can be.
    for (recipe, story) in words.iter().chain(&[("10.1.0.0/16", "127.7.0.0/16")]) {
        text = text.replace(recipe, story);
    }
    set.weir.write(&text);
    set.weir.run();
}

fn addresses(set: &Set) -> Vec<SocketAddr> {
    set.backends.iter().map(|backend| backend.address).collect()
}

/// Takes these rules in place of those before.
fn load(set: &Set, rules: &str) {
    let file = set.weir.dir.write("rules", &format!("flush ruleset\n{rules}"));
    let ran = Ran::of(Command::new("nft").args(["-f", &file]));
    assert_eq!(ran.code, 0, "{ran}");
}

/// As many sessions at once from this source; what becomes of each.
fn clients(set: &Set, last: u8, count: usize) -> Vec<io::Result<Peer>> {
    let source = IpAddr::V4(Ipv4Addr::new(127, 9, 0, last));
    let wait = Duration::from_millis(300);
    (0..count).map(|_| Peer::try_connect_from(source, set.weir.web, wait)).collect()
}

fn connected(all: &[io::Result<Peer>]) -> usize {
    all.iter().filter(|it| it.is_ok()).count()
}

#[test]
fn nftables_hold_each_source_to_its_limits() {
    let name = "recipes::nftables_hold_each_source_to_its_limits";
    namespace::story(name, &[], || {
        let set = Plan::new(1, Script::Banner).start();
        let rules = block("docs/operating.md", "**Limit each source**");
        // This port, and limits that a story reaches.
        let port = set.weir.web.port().to_string();
        let rules = rules.replace("80, 443", &port).replace("10.0.0.0/24", "127.9.0.9/32");
        let few = rules.replace("count over 200", "count over 5");
        assert!(rules.contains(&port) && rules.contains("127.9.0.9") && few != rules, "{rules}");
        load(&set, &few);
        let held = clients(&set, 1, 8);
        assert_eq!(connected(&held), 5, "{held:?}");
        let refused = held.iter().filter_map(|it| it.as_ref().err()).map(io::Error::kind);
        assert!(refused.into_iter().all(|kind| kind == io::ErrorKind::ConnectionRefused));
        assert_eq!(connected(&clients(&set, 2, 1)), 1, "another source is served beside it");
        assert_eq!(connected(&clients(&set, 9, 8)), 8, "a trusted one is not limited");
        drop(held);
        let slow = rules.replace("rate over 50/second burst 100", "rate over 1/minute burst 3");
        assert_ne!(slow, rules);
        load(&set, &slow);
        let fresh = clients(&set, 3, 6);
        assert!((3..=4).contains(&connected(&fresh)), "{fresh:?}");
        assert_eq!(connected(&clients(&set, 9, 6)), 6, "a trusted one is not limited");
    });
}

#[test]
fn a_canary_gets_one_session_in_a_hundred() {
    let mut set = Plan::new(4, Script::Banner).shards(1).prepare();
    let backends = addresses(&set);
    run(&mut set, "A canary of 1 %", &backends);
    for name in ["web1", "web2", "web3", "canary"] {
        set.weir.wait_state(&format!("web/{name}"), "up");
    }
    for canary in [1, 11] {
        set.weir.ok(&["backend", "weight", "web/canary", &canary.to_string()]);
        let counts = set.spread(2 * (99 + canary), None);
        // The turns of a shard begin anywhere.
        assert!(counts[3].abs_diff(2 * canary) <= 1, "{counts:?}");
    }
    set.weir.ok(&["backend", "drain", "web/canary"]);
    assert_eq!(set.spread(100, None)[3], 0);
}

/// A CONNACK for a CONNECT, and PINGRESP for PINGREQ (MQTT 3.1.1).
const BROKER: Dialogue =
    Dialogue { greeting: b"", answers: &[(b"MQTT\x04", b"\x20\x02\0\0"), (b"\xc0\0", b"\xd0\0")] };

#[test]
fn mqtt_clients_are_spread_over_the_brokers_that_answer() {
    // One shard: two know of each other's sessions a moment later only.
    let plan = Plan::new(3, Script::Answers(&BROKER)).script(2, Script::Silent).shards(1);
    let mut set = plan.prepare();
    let backends = addresses(&set);
    run(&mut set, "MQTT brokers with 100,000 clients", &backends);
    set.weir.wait_state("brokers/b1", "up");
    set.weir.wait_state("brokers/b2", "up");
    set.weir.wait_state("brokers/b3", "down");
    let clients: Vec<Peer> = (0..20)
        .map(|_| {
            let mut client = set.client();
            client.send(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a").expect(b"\x20\x02\0\0");
            client.send(b"\xc0\0").expect(b"\xd0\0");
            client
        })
        .collect();
    let sessions = |name: &str| set.weir.backend(name)["sessions"].clone();
    assert_eq!((sessions("brokers/b1"), sessions("brokers/b2")), (10.into(), 10.into()));
    set.weir.ok(&["backend", "drain", "brokers/b1", "--over", "1s"]);
    clock::wait_for("its clients to be sent away", || sessions("brokers/b1") == 0);
    assert_eq!(sessions("brokers/b2"), 10, "others keep their broker");
    drop(clients);
}

#[test]
fn a_client_behind_a_balancer_is_the_one_that_it_tells_of() {
    let mut set = Plan::new(2, Script::Banner).prepare();
    let backends = addresses(&set);
    run(&mut set, "Behind a network load balancer or HAProxy", &backends);
    let before = IpAddr::V4(Ipv4Addr::new(127, 7, 0, 1));
    let mut client = Peer::connect_from(before, set.weir.web);
    client.send(b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n");
    client.line();
    let list = set.weir.json(&["session", "list"]);
    assert_eq!(list["sessions"][0]["client"], "192.0.2.7:40000", "{list}");
    // Who is no balancer is refused; the reset may come before connect(2) returns.
    let (other, wait) = (IpAddr::V4(Ipv4Addr::new(127, 8, 0, 1)), Duration::from_secs(5));
    match Peer::try_connect_from(other, set.weir.web, wait) {
        Ok(mut other) => drop(other.expect_rst()),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

/// nginx that terminates TLS and says who it was told of.
fn terminator() -> Server {
    let (dir, address) = (Dir::new(), free(own_ip()));
    let [key, certificate] = certify(&dir, "localhost");
    let http = format!(
        "server {{ listen {address} ssl proxy_protocol; ssl_certificate {certificate}; \
         ssl_certificate_key {key}; return 200 \"$proxy_protocol_addr\"; }}"
    );
    Server::nginx_http(dir, address, &http)
}

#[test]
fn tls_terminators_learn_the_clients_address() {
    let servers = [terminator(), terminator()];
    let lines = || servers.iter().map(|server| server.log().lines().count()).sum::<usize>();
    // The story itself has looked whether they listen, without a header.
    clock::wait_for("a line of each", || lines() == 2);
    let mut set = Plan::new(0, Script::Silent).prepare();
    run(&mut set, "Before TLS terminators", &servers.each_ref().map(Server::address));
    set.weir.wait_state("tls/t1", "up");
    set.weir.wait_state("tls/t2", "up");
    for last in 1..=4 {
        let (source, port) = (format!("127.9.0.{last}"), set.weir.web.port());
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--max-time", "10", "--interface", &source]);
        let ran = Ran::of(curl.arg(format!("https://{}:{port}/", set.weir.web.ip())));
        assert_eq!(ran.stdout, source, "{ran}");
    }
    assert_eq!(lines(), 2, "no error of a check");
}

#[test]
fn one_port_leads_to_tls_services_by_their_names() {
    let names = ["www.example.com", "db.example.com", "mx1.mail.example.com"];
    let services = names.map(TlsService::start);
    let mut set = Plan::new(0, Script::Silent).prepare();
    let backends = services.each_ref().map(|it| it.server.address());
    run(&mut set, "TLS services by name on one port", &backends);
    for backend in ["web/w1", "db/d1", "mail/m1"] {
        set.weir.wait_state(backend, "up");
    }
    for (name, service) in names.iter().zip(&services) {
        let page = service.page(name, set.weir.web).expect_code(0);
        assert_eq!(page.stdout, format!("{name}\n"));
        let why = set.weir.json(&["why", "--client", "192.0.2.1", "--sni", name]);
        assert!(why["chosen"].is_string(), "{why}");
    }
}

/// The REST API of Patroni on two servers, by which pools find the primary and its replicas.
struct Patroni {
    api: Server,
    dir: std::path::PathBuf,
}

impl Patroni {
    /// At these addresses, the first of which is the primary's.
    fn start(at: [SocketAddr; 2]) -> Patroni {
        let dir = Dir::new();
        let path = dir.path.clone();
        let server = |(number, at): (usize, SocketAddr)| {
            let role =
                |role| format!("if (-f {}/{role}-{number}) {{ return 200; }}", path.display());
            format!(
                "server {{ listen {at}; location = /primary {{ {} return 503; }}\n\
                 location = /replica {{ {} return 503; }} }}\n",
                role("primary"),
                role("replica"),
            )
        };
        let http: String = (0..).zip(at).map(server).collect();
        let patroni = Patroni { api: Server::nginx_http(dir, at[0], &http), dir: path };
        patroni.is(["primary", "replica"]);
        patroni
    }

    fn is(&self, roles: [&str; 2]) {
        for (number, role) in roles.iter().enumerate() {
            for old in ["primary", "replica"] {
                let _ = std::fs::remove_file(self.dir.join(format!("{old}-{number}")));
            }
            let file = self.dir.join(format!("{role}-{number}"));
            std::fs::write(file, "").expect("there is room");
        }
    }
}

/// The address of the server that answers there.
fn server_at(at: SocketAddr) -> String {
    let mut psql = Command::new("psql");
    psql.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string(), "-U", "weir"]);
    psql.args(["-d", "postgres", "-Atc", "select host(inet_server_addr())"]);
    Ran::of(&mut psql).stdout.trim().to_owned()
}

#[test]
fn postgresql_writes_go_to_the_primary_and_reads_to_the_replicas() {
    // One server at two addresses stands for two: its clients see which they have reached.
    let server = Server::postgres();
    let [one, two] = [server.addresses[0], server.addresses[1]];
    let api = free(one.ip());
    let at = [one, two].map(|it| SocketAddr::new(it.ip(), api.port()));
    let patroni = Patroni::start(at);
    let replicas = free(own_ip());
    let mut set = Plan::new(0, Script::Silent).prepare();
    let port = format!("port = {}", api.port());
    let (binds, words) = ([set.weir.web, replicas], [("port = 8008", port.as_str())]);
    let heading = "PostgreSQL: a primary and its replicas";
    run_at(&mut set, heading, &binds, &[one, two, one, two], &words);
    let expect = |primary: SocketAddr, replica: SocketAddr| {
        clock::wait_for("the primary", || server_at(set.weir.web) == primary.ip().to_string());
        clock::wait_for("a replica", || server_at(replicas) == replica.ip().to_string());
        for _ in 0..5 {
            assert_eq!(server_at(set.weir.web), primary.ip().to_string());
            assert_eq!(server_at(replicas), replica.ip().to_string());
        }
    };
    expect(one, two);
    patroni.is(["replica", "primary"]);
    set.weir.wait_state("primary/pg1", "down");
    set.weir.wait_state("replicas/pg2", "down");
    expect(two, one);
    assert!(!patroni.api.log().contains("[error]"), "{}", patroni.api.log());
}

fn redis(at: SocketAddr, words: &[&str]) -> String {
    redis_cli(at, words).stdout.trim().to_owned()
}

#[test]
fn redis_has_one_writer_also_when_two_say_that_they_are() {
    let (mut first, second) = (Server::redis(), Server::redis());
    let [one, two] = [&first, &second].map(Server::address);
    redis(two, &["REPLICAOF", &one.ip().to_string(), &one.port().to_string()]);
    let mut set = Plan::new(0, Script::Silent).prepare();
    run(&mut set, "Redis with a single writer", &[one, two]);
    let wrote = |value: &str| redis(set.weir.web, &["SET", "key", value]) == "OK";
    clock::wait_for("the writer", || wrote("1"));
    set.weir.wait_state("redis/r2", "down");
    let addresses = first.addresses.clone();
    first.kill();
    redis(two, &["REPLICAOF", "NO", "ONE"]);
    clock::wait_for("the next writer", || wrote("2"));
    assert_eq!(redis(two, &["GET", "key"]), "2");
    // The old one comes back, and still says that it is the master.
    let _first = Server::redis_at(addresses);
    set.weir.wait_state("redis/r1", "up");
    for value in ["3", "4", "5"] {
        assert!(wrote(value));
        assert_eq!(redis(two, &["GET", "key"]), value);
    }
    assert_eq!(redis(one, &["GET", "key"]), "");
}
