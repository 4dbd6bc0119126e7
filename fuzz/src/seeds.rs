//! First inputs: real frames, real files, real answers. `weir-fuzz seeds` writes them.

use weir_proto::answer::events::EventFilter;
use weir_proto::frame::{HEADER, encode};
use weir_proto::request::{
    ChangeOptions, ChangeRequest, Code, Command, Hello, PROTOCOL, Query, Refusal, Request,
    Response, Welcome,
};
use weir_proto::spec::Admin;

const FULL: &str = r#"[weir]
shards = 2
admin = "127.0.0.1:9650"

[listener.front]
bind = ["0.0.0.0:80", "[::]:80"]
pool = "web"
max-sessions = 100

[pool.web]
strategy = "two-choices"

[pool.web.health]
kind = "http"
path = "/healthz"
interval = "500ms"
rise = 2

[pool.web.timeout]
idle = "1h"

[pool.web.backend.b1]
address = "10.0.0.1:80"
weight = 3
state = "drain"

[pool.redis.health]
kind = "send-expect"
send = "PING\\r\\n"
expect = "+PONG\\x0d"
"#;

/// weir would go round in itself.
const LOOP: &str = r#"[listener.a]
bind = "127.0.0.1:80"
pool = "a"

[pool.a.backend.b]
address = "127.0.0.1:80"
"#;

/// Every seed: target, name, bytes.
#[must_use]
pub fn all() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, bytes: Vec<u8>| seeds.push((target, name.to_owned(), bytes));
    frames(&mut add);
    add("config", "full", FULL.into());
    add("config", "loop", LOOP.into());
    add("config", "broken", b"[pool.a\nx = \"\"\"".to_vec());
    add("store", "whole", vec![0]);
    add("store", "open", vec![1]);
    add("store", "slot", vec![0, 0, 9, 0, 0, 0]);
    add("store", "cut", vec![0, 5, 0, 0x40, 0, 0]);
    add("store", "stale-page", vec![0, 9, 0, 0x20, 0, 3]);
    add("store", "arbitrary", b"\x07redb\x1a\n\xa9\r\n".to_vec());
    dns_answers(&mut add);
    let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\nx";
    add("proxy_header", "line", line.to_vec());
    let v2 = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[7; 12], b"x"].concat();
    add("proxy_header", "v2", v2);
    let hello = include_bytes!("../../engine/core/tests/hellos/openssl-3.0.bin");
    add("client_hello", "openssl", hello.to_vec());
    let (first, second) = hello[5..].split_at(100);
    let first = [b"\x16\x03\x01\0\x64", first].concat();
    let length = u16::try_from(second.len()).unwrap_or(0).to_be_bytes();
    let second = [b"\x16\x03\x01", &length[..], second].concat();
    add("client_hello", "two-records", [first, second].concat());
    let hello = include_bytes!("../../engine/core/tests/hellos/chromium-156-1.bin");
    add("client_hello", "chromium", hello.to_vec());
    add("agent_answer", "all", b"\x05\x0875%, maxconn:30 drain up # nightly\r\n".to_vec());
    add("agent_answer", "unknown", b"\x02\x01hello\t0% down#disk full".to_vec());
    add("reply", "ok", b"\x05+PONGHTTP/1.1 200 OK\r\n\r\n".to_vec());
    add("reply", "pong", b"\x07+PONG\r\n+PO+PONG\r\n".to_vec());
    add("reply", "overlap", b"\x06aabaaaaabaaabaabaaa".to_vec());
    for number in 0..4_u8 {
        let tape = (0..200_u8).map(|at| at.wrapping_mul(37 + 2 * number).rotate_left(3));
        add("shard", &format!("tape-{number}"), tape.collect());
    }
    add(
        "metrics",
        "quotes",
        b"\x0c0.1\"} 1\n\\n\"x\x02\x03web\x02\x02b1\x00\x02b2\x01\x05front".to_vec(),
    );
    add("metrics", "plain", b"\x050.1.0\x01\x01a\x01\x01b\x02\x01l\x02".to_vec());
    add("init", "haproxy", [b"\x01", HAPROXY].concat());
    add("init", "http", [b"\x82", HAPROXY].concat());
    add("init", "nginx", [b"\x02", NGINX].concat());
    add("init", "unknown", [b"\0", NGINX].concat());
    let words = ["127.0.0.1:80", "[fe80::1%3]:443", "500ms", "0s", "web/b1", "maglev", "\\x0d\\n"];
    for (number, word) in words.iter().enumerate() {
        add("address", &format!("word-{number}"), word.as_bytes().to_vec());
    }
    seeds
}

fn frames(add: &mut impl FnMut(&'static str, &str, Vec<u8>)) {
    let body = |frame: Result<Vec<u8>, _>| {
        let frame: Vec<u8> = frame.expect("a seed fits into a frame");
        frame[HEADER..].to_vec()
    };
    let hello = body(encode(&Hello { protocol: PROTOCOL, program: "0.1.0".into() }));
    let welcome = body(encode(&Welcome { protocol: PROTOCOL, program: "0.1.0".into() }));
    let refusal = Refusal::new(Code::NotFound, "there is no pool \"wep\"", "weirctl pool list");
    add("frame", "hello", [&[0], hello.as_slice()].concat());
    add("frame", "welcome", [&[1], welcome.as_slice()].concat());
    add("frame", "refused", [vec![3], body(encode(&Response::Refused(refusal)))].concat());
    add("frame", "header", vec![4, 1, 0, 16, 0]);
    let mut talk = vec![0];
    let length = |body: &[u8]| u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes();
    talk.extend([&length(&hello)[..], &hello].concat());
    for (number, request) in requests().iter().enumerate() {
        let body = body(encode(request));
        add("frame", &format!("request-{number}"), [&[2], body.as_slice()].concat());
        talk.push(0);
        talk.extend([&length(&body)[..], &body].concat());
    }
    add("session", "talk", talk);
    let made = (0..240_u8).map(|at| at.wrapping_mul(29) ^ 0x55).map(|byte| byte | 1);
    add("session", "made", made.collect());
}

/// A conversation that builds something up and takes it down again.
fn requests() -> Vec<Request> {
    let change =
        |change| Request::from(Command::Change { change, options: ChangeOptions::default() });
    let name = |name: &str| name.to_owned();
    vec![
        Query::Status.into(),
        Query::BackendShow { name: name("web/b1") }.into(),
        Query::Events { after: 7, filter: EventFilter::default() }.into(),
        change(ChangeRequest::PoolAdd {
            name: name("web"),
            pairs: vec![(name("strategy"), name("maglev"))],
        }),
        change(ChangeRequest::BackendAdd {
            name: name("web/b1"),
            address: name("[::1]:80"),
            pairs: vec![(name("weight"), name("2"))],
        }),
        change(ChangeRequest::ListenerAdd {
            name: name("front"),
            bind: vec![name("127.0.0.1:81"), name("[::1]:81")],
            pool: name("web"),
            pairs: vec![(name("freebind"), name("true"))],
        }),
        change(ChangeRequest::ListenerSet {
            name: name("front"),
            pairs: vec![(name("bind"), name("127.0.0.1:82")), (name("max-sessions"), name("7"))],
        }),
        change(ChangeRequest::PoolSet {
            name: name("web"),
            pairs: vec![(name("health.interval"), name("1s")), (name("strategy"), name("random"))],
        }),
        change(ChangeRequest::BackendSet {
            name: name("web/b1"),
            pairs: vec![(name("address"), name("[::1]:81"))],
        }),
        change(ChangeRequest::BackendState { name: name("web/b1"), state: Admin::Drain }),
        change(ChangeRequest::BackendWeight { name: name("web/b1"), weight: 0 }),
        change(ChangeRequest::apply(FULL, "weir.toml")),
        change(ChangeRequest::Rollback { version: 2 }),
        change(ChangeRequest::BackendRemove { name: name("web/b1"), force: true }),
        change(ChangeRequest::ListenerRemove { name: name("front") }),
        change(ChangeRequest::PoolRemove { name: name("web") }),
        Command::Stop { drain_ms: Some(1000) }.into(),
    ]
}

/// Most of what a file of HAProxy has.
const HAPROXY: &[u8] = b"global
 nbthread 2
defaults d
 mode tcp
 retries 2
 option redispatch
 timeout connect 5s
 timeout client 1m
 timeout server 1m
 timeout check 2s
frontend f from d
 bind :::443 v6only,127.0.0.1:1-3
 maxconn 9
 use_backend b if { src 10.0.0.1 }
 default_backend b
backend b
 balance source
 option tcp-check
 tcp-check send PING\\r\\n
 tcp-check expect string +PONG
 default-server inter 1s
 server s1 \"${X}\" check weight 2 # x
 server s2 10.0.0.2:80 check backup send-proxy
listen w
 mode http
 bind *:80
 option httpchk GET /up
 server a 10.0.0.3:80 check port 81
";

/// Most of what a file of nginx has.
const NGINX: &[u8] = b"worker_processes 2;
events { }
stream {
 proxy_connect_timeout 1s;
 upstream u {
  hash $remote_addr consistent;
  server 10.0.0.1:80 weight=2 max_fails=3;
  server 10.0.0.2:80 backup;
  server db:80 down;
 }
 server {
  listen [::]:80-82 so_keepalive=30m::10;
  proxy_pass u;
  proxy_timeout 1h30m;
  allow 10.0.0.0/8;
 }
 include two;
}
http { }
";

/// Answers to `a.test`: two addresses, an alias, two services with the address of one, a refusal,
/// and one that was cut.
fn dns_answers(add: &mut impl FnMut(&'static str, &str, Vec<u8>)) {
    let answer = |first: u8, kind: u8, (flags, counts): ([u8; 2], [u8; 3]), records: &[u8]| {
        let [answers, names, more] = counts;
        let header = [0, 7, flags[0], flags[1], 0, 1, 0, answers, 0, names, 0, more];
        let question = b"\x01a\x04test\0";
        [&[first][..], &header, question, &[0, kind, 0, 1], records].concat()
    };
    let good = [0x81, 0x80];
    let a = |last: u8| [192, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, last];
    add("dns_answer", "addresses", answer(0, 1, (good, [2, 0, 0]), &[a(1), a(2)].concat()));
    let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x09\0\x04\x01b\xc0\x0e\xc0\x24\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x03";
    add("dns_answer", "alias", answer(0, 1, (good, [2, 0, 0]), alias));
    let six = [&[192, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16][..], &[0xfd; 16]].concat();
    add("dns_answer", "six", answer(1, 28, (good, [1, 0, 0]), &six));
    let srv = b"\xc0\x0c\0\x21\0\x01\0\0\0\x3c\0\x0a\0\x01\0\x05\x01\xbb\x01b\xc0\x0e";
    let beside = b"\xc0\x2a\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x04";
    add("dns_answer", "services", answer(2, 33, (good, [1, 0, 1]), &[&srv[..], beside].concat()));
    add("dns_answer", "refused", answer(0, 1, ([0x81, 0x85], [0, 0, 0]), &[]));
    add("dns_answer", "cut", answer(0, 1, ([0x83, 0x80], [2, 0, 0]), &a(1)));
}
