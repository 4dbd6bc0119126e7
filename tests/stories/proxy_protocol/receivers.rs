//! The header that backends get, as nginx and HAProxy read it.

use std::net::SocketAddr;

use serde_json::Value;
use weir_tests::net::{Peer, Script, free, own_ip};
use weir_tests::real::Server;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::Dir;

use super::{BEFORE, FROM, connect, v2};

/// Its backends answer with what they were told.
fn told_by_nginx() -> Server {
    let address = free(own_ip());
    let http = format!(
        "server {{ listen {address} proxy_protocol; \
         return 200 \"$proxy_protocol_addr $proxy_protocol_port \
         $proxy_protocol_server_addr $proxy_protocol_server_port\\n\"; }}"
    );
    Server::nginx_http(Dir::new(), address, &http)
}

/// Its answer to a client that has connected to `to`.
fn told(port: u16, to: SocketAddr) -> String {
    format!("127.7.0.1 {port} {} {}\n", to.ip(), to.port())
}

/// A page as a client at this port gets it.
fn page(client: &mut Peer) -> String {
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let (answer, _) = client.rest();
    String::from_utf8_lossy(&answer).rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

#[test]
fn nginx_is_told_of_the_client_and_checks_leave_no_error_in_its_log() {
    let nginx = told_by_nginx();
    let health = "{ kind = \"http\", interval = \"100ms\" }";
    for version in ["v1", "v2"] {
        let pool = format!("proxy-protocol = \"{version}\"");
        let set = Plan::new(0, Script::Silent).extern_backend("n1", nginx.address());
        let set = set.health(health).pool(&pool).start();
        set.weir.wait_state("web/n1", "up");
        let mut client = Peer::connect_from(BEFORE, set.weir.web);
        let port = client.source().port();
        assert_eq!(page(&mut client), told(port, set.weir.web), "{version}");
        let checks = || set.weir.backend("web/n1")["check"]["result"].clone();
        assert_eq!(checks(), Value::from("ok"));
    }
    assert_eq!(nginx.log(), "", "no error of a check");
}

/// HAProxy before weir, weir before nginx: the whole way.
#[test]
fn a_chain_from_haproxy_through_weir_to_nginx_keeps_the_client() {
    let nginx = told_by_nginx();
    let from = "proxy-protocol = { from = [\"127.0.0.0/8\"] }";
    let set = Plan::new(0, Script::Silent).extern_backend("n1", nginx.address());
    let set = set.listener(from).pool("proxy-protocol = \"v2\"").start();
    for (send, options) in
        [("send-proxy", ""), ("send-proxy-v2", "proxy-v2-options crc32c,unique-id")]
    {
        let (dir, address) = (Dir::new(), free(own_ip()));
        let text = format!(
            "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
             timeout client 10s\n  timeout server 10s\nlisten l\n  bind {address}\n  \
             unique-id-format %[uuid]\n  server weir {} {send} {options}\n",
            set.weir.web
        );
        dir.write("haproxy.cfg", &text);
        let haproxy = Server::haproxy(dir, vec![address]);
        let mut client = Peer::connect_from(BEFORE, haproxy.address());
        let port = client.source().port();
        assert_eq!(page(&mut client), told(port, haproxy.address()), "{send}");
    }
}

/// Its backend answers with what it was told: the unique id, the authority, source, destination.
fn told_by_haproxy() -> Server {
    let (dir, address) = (Dir::new(), free(own_ip()));
    let text = format!(
        "global\n  maxconn 100\ndefaults\n  mode http\n  timeout client 10s\n  \
         timeout connect 5s\n  timeout server 10s\nfrontend f\n  bind {address} accept-proxy\n  \
         http-request return status 200 content-type text/plain lf-string \
         \"%[fc_pp_unique_id] %[fc_pp_authority] %[src]:%[src_port] %[dst]:%[dst_port]\\n\"\n"
    );
    dir.write("haproxy.cfg", &text);
    Server::haproxy(dir, vec![address])
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("it is short").to_be_bytes();
    [&[kind][..], &length, value].concat()
}

/// weir behind a balancer and before this server.
fn before(server: SocketAddr) -> Set {
    let set = Plan::new(0, Script::Silent).extern_backend("h1", server);
    set.listener(FROM).health("{ kind = \"none\" }").pool("proxy-protocol = \"v2\"").start()
}

#[test]
fn haproxy_reads_what_came_and_what_was_made() {
    let haproxy = told_by_haproxy();
    let set = before(haproxy.address());
    let fields = [
        field(0x02, b"db.example.com"),
        field(0x05, b"7f3a-one"),
        field(0x04, &[0; 9]),
        field(0x20, &[1, 0, 0, 0, 0]),
        field(0xea, b"\x01vpce-1"),
    ];
    let mut client = connect(&set);
    client.send(&v2(0x21, [192, 0, 2, 7], 40_000, &fields.concat()));
    let whole = "7f3a-one db.example.com 192.0.2.7:40000 10.0.0.1:443\n";
    assert_eq!(page(&mut client), whole);
    // Without an id of its own a session gets one by its name, and both are in the log of weir.
    let mut client = connect(&set);
    client.send(b"PROXY TCP6 2001:db8::7 2001:db8::1 40001 443\r\n");
    let answer = page(&mut client);
    let words: Vec<&str> = answer.trim_end().split(' ').collect();
    let (name, nanos) = words[0].split_once('-').unwrap_or_else(|| panic!("{answer}"));
    assert!(name.split('.').count() == 3 && u64::from_str_radix(nanos, 16).is_ok(), "{answer}");
    assert_eq!(words[1..], ["", "2001:db8::7:40001", "2001:db8::1:443"], "{answer}");
}

#[test]
fn the_name_of_a_hello_is_the_authority() {
    let hello = include_bytes!("../../../engine/core/tests/hellos/chromium-156-1.bin");
    let set = Plan::new(1, Script::ByHand).pool("proxy-protocol = \"v2\"");
    let set = set.health("{ kind = \"none\" }").start();
    set.weir.ok(&["listener", "set", "web", "route=sni=*.example.com pool=web"]);
    let mut client = set.client();
    client.send(hello);
    let mut server = set.backends[0].accept();
    let start = server.take(16);
    let rest = server.take(usize::from(start[14]) * 256 + usize::from(start[15]));
    let authority = field(0x02, b"db.example.com");
    assert!(rest.windows(authority.len()).any(|part| part == authority), "{rest:?}");
    server.expect(hello);
}

#[test]
fn what_finds_no_room_is_counted() {
    let haproxy = told_by_haproxy();
    let set = before(haproxy.address());
    let large = [field(0xe0, &[7; 500]), field(0x02, b"a.example"), field(0x05, b"u")].concat();
    let mut client = connect(&set);
    client.send(&v2(0x21, [192, 0, 2, 7], 40_000, &large));
    assert_eq!(page(&mut client), "u a.example 192.0.2.7:40000 10.0.0.1:443\n");
    let count = || {
        let page = set.weir.get("/metrics").body;
        let name = "weir_shard_proxy_fields_dropped_total{";
        let lines = page.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    weir_tests::clock::wait_for("the count", || count() == 1);
}
