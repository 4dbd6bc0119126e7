//! Conversations with backends that say what real ones do, however it is cut.

use std::net::SocketAddr;

use weir_proto::spec::{CheckStep, HealthKind, HealthSpec};

use super::*;
use crate::health::CheckPlan;

fn spec(kind: HealthKind) -> HealthSpec {
    let user = (kind == HealthKind::Mysql).then(|| "weir".to_owned());
    HealthSpec { kind, user, ..HealthSpec::default() }
}

fn steps(text: &str) -> HealthSpec {
    let steps = CheckStep::list(text).unwrap();
    HealthSpec { steps, ..spec(HealthKind::SendExpect) }
}

fn plan(spec: &HealthSpec) -> CheckPlan {
    CheckPlan::new(spec, SocketAddr::from(([127, 0, 0, 1], 9)).into())
}

/// Everything that was sent with its farewell, and the outcome, if the backend gives these answers,
/// each when it is waited for, in pieces of `size`, and then ends.
fn held(spec: &HealthSpec, answers: &[&[u8]], size: usize) -> (Vec<Vec<u8>>, CheckOutcome) {
    let plan = plan(spec);
    let mut dialogue = Dialogue::new(&plan.talk);
    let mut chunks = answers.iter().flat_map(|answer| answer.chunks(size));
    let mut sent = Vec::new();
    for _ in 0..10_000 {
        match dialogue.step() {
            Move::Send(bytes) => sent.push(bytes),
            Move::Receive => match chunks.next() {
                Some(chunk) => dialogue.receive(chunk),
                None => dialogue.end(),
            },
            Move::Part { outcome, farewell } => {
                assert!(matches!(dialogue.step(), Move::Part { .. }), "it stays over");
                sent.push(farewell);
                return (sent, outcome);
            }
        }
    }
    panic!("it never ends");
}

/// The same in pieces of every size, which must change nothing.
fn talk(spec: &HealthSpec, answers: &[&[u8]]) -> (Vec<Vec<u8>>, CheckOutcome) {
    let whole = held(spec, answers, usize::MAX);
    for size in 1..20 {
        assert_eq!(blunt(held(spec, answers, size)), blunt(whole.clone()), "in pieces of {size}");
    }
    whole
}

/// Without the words that were unexpected: of a piece no more than it is known.
fn blunt((sent, outcome): (Vec<Vec<u8>>, CheckOutcome)) -> (Vec<Vec<u8>>, CheckOutcome) {
    let is_unexpected =
        matches!(&outcome, CheckOutcome::Bad(why) if why.starts_with("unexpected answer"));
    (sent, if is_unexpected { bad("unexpected answer") } else { outcome })
}

fn outcome(spec: &HealthSpec, answers: &[&[u8]]) -> CheckOutcome {
    talk(spec, answers).1
}

fn bad(why: &str) -> CheckOutcome {
    CheckOutcome::Bad(why.to_owned())
}

#[test]
fn steps_are_gone_through_in_turn() {
    let spec = steps("expect 220;send EHLO a\\r\\n;expect 250;expect OK;send QUIT\\r\\n");
    let (sent, outcome) = talk(&spec, &[b"220 hello\r\n", b"250-a\r\n250 OK\r\n"]);
    assert_eq!(outcome, CheckOutcome::Good);
    assert_eq!(sent, [b"EHLO a\r\n".to_vec(), b"QUIT\r\n".to_vec(), Vec::new()]);
    // Each is looked for behind the one before it.
    assert_eq!(talk(&steps("expect ab;expect ab"), &[b"abab"]).1, CheckOutcome::Good);
    let late = talk(&steps("expect ab;expect ab"), &[b"xxab", b"no"]).1;
    assert_eq!(late, bad("unexpected answer \"no\""));
    assert_eq!(talk(&steps("expect ab;expect ab"), &[b"aba"]).1, bad("unexpected answer \"a\""));
    assert_eq!(talk(&steps("expect a;send b;expect c"), &[b"a"]).1, bad("closed"));
    let binary = steps("send \\x00\\xff;expect \\x00\\x01");
    assert_eq!(talk(&binary, &[b"\xfe\x00\x00\x01"]).1, CheckOutcome::Good);
}

#[test]
fn an_answer_without_an_end_is_given_up() {
    let endless = vec![b'x'; ANSWER_MAX + 1];
    for spec in [
        steps("expect ab"),
        spec(HealthKind::Redis),
        spec(HealthKind::Smtp),
        spec(HealthKind::Postgresql),
        spec(HealthKind::Mysql),
        spec(HealthKind::Tls),
        spec(HealthKind::Http),
    ] {
        let (_, outcome) = held(&spec, &[&endless], 4096);
        assert!(matches!(&outcome, CheckOutcome::Bad(why) if why.len() < 200), "{outcome:?}");
    }
}

#[test]
fn redis_answers_a_ping() {
    let redis = spec(HealthKind::Redis);
    assert_eq!(talk(&redis, &[b"+PONG\r\n"]).0[0], b"PING\r\n");
    assert_eq!(outcome(&redis, &[b"+PONG\r\n"]), CheckOutcome::Good);
    let locked = b"-NOAUTH Authentication required.\r\n";
    assert_eq!(outcome(&redis, &[locked]), CheckOutcome::Good);
    let loading = b"-LOADING Redis is loading the dataset in memory\r\n";
    let why = "LOADING Redis is loading the dataset in memory";
    assert_eq!(outcome(&redis, &[loading]), bad(why));
    assert_eq!(outcome(&redis, &[b"HTTP/1.1 400 Bad\r\n"]), bad(UNEXPECTED_HTTP));
    assert_eq!(outcome(&redis, &[]), bad("closed"));
}

const UNEXPECTED_HTTP: &str = "unexpected answer \"HTTP/1.1 400 Bad\"";

#[test]
fn smtp_is_greeted_and_left_with_quit() {
    let smtp = HealthSpec { host: Some("lb.example".to_owned()), ..spec(HealthKind::Smtp) };
    let (sent, end) = talk(&smtp, &[b"220-hello\r\n220 mail ESMTP\r\n", b"250-mail\r\n250 OK\r\n"]);
    assert_eq!(sent, [b"EHLO lb.example\r\n".to_vec(), b"QUIT\r\n".to_vec()]);
    assert_eq!(end, CheckOutcome::Good);
    let (sent, end) = talk(&smtp, &[b"421 too many connections\r\n"]);
    assert_eq!((sent, end), (vec![b"QUIT\r\n".to_vec()], bad("421 too many connections")));
    assert_eq!(outcome(&smtp, &[b"220 a\r\n", b"502 no\r\n"]), bad("502 no"));
    assert_eq!(outcome(&smtp, &[b"SSH-2.0-x\r\n"]), bad("unexpected answer \"SSH-2.0-x\""));
    assert_eq!(outcome(&smtp, &[b"220 a\r\n"]), bad("closed"));
}

#[test]
fn postgresql_asks_for_a_password_or_lets_in_or_says_why_not() {
    let postgresql = HealthSpec { user: Some("u".to_owned()), ..spec(HealthKind::Postgresql) };
    let asked = talk(&postgresql, &[b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"]);
    let startup = b"\0\0\0\x38\0\x03\0\0user\0u\0database\0postgres\0application_name\0weir\0\0";
    assert_eq!(asked, (vec![startup.to_vec(), Vec::new()], CheckOutcome::Good));
    assert_eq!(startup.len(), 0x38);
    let let_in = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x09a\0b\0\0";
    let ready: &[u8] = b"K\0\0\0\x0c\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I";
    let (sent, end) = talk(&postgresql, &[let_in, ready]);
    assert_eq!((sent[1].as_slice(), end), (&b"X\0\0\0\x04"[..], CheckOutcome::Good));
    assert!(matches!(outcome(&postgresql, &[ready]), CheckOutcome::Bad(_)), "not let in");
    let error = b"E\0\0\0\x3bSFATAL\0C57P03\0Mthe database system is starting up\0Fx\0\0";
    let mut error = error.to_vec();
    error[4] = u8::try_from(error.len() - 1).unwrap();
    assert_eq!(outcome(&postgresql, &[&error]), bad("the database system is starting up"));
    assert_eq!(outcome(&postgresql, &[let_in, &error]), bad("the database system is starting up"));
    let negotiated: &[u8] = b"v\0\0\0\x0c\0\0\0\0\0\0\0\0R\0\0\0\x08\0\0\0\x05";
    assert_eq!(outcome(&postgresql, &[negotiated]), CheckOutcome::Good);
    assert_eq!(outcome(&postgresql, &[b"HTTP"]), bad("unexpected answer \"HTTP\""));
    assert_eq!(outcome(&postgresql, &[b"R\0\0\0\x01"]), bad("unexpected answer \"R····\""));
    assert_eq!(outcome(&postgresql, &[]), bad("closed"));
}

/// The greeting of a server with these capabilities.
fn greeting(capabilities: u32) -> Vec<u8> {
    let [a, b, c, d] = capabilities.to_le_bytes();
    let mut packet = b"\x0a8.0.36\0\x01\0\0\0challeng\0".to_vec();
    packet.extend([a, b, 33, 2, 0, c, d, 21]);
    packet.extend([0; 10]);
    packet.extend(b"challenge-2\0\0caching_sha2_password\0");
    server_packet(0, &packet)
}

fn server_packet(number: u8, packet: &[u8]) -> Vec<u8> {
    let length = u8::try_from(packet.len()).unwrap();
    [&[length, 0, 0, number][..], packet].concat()
}

#[test]
fn mysql_is_logged_in_to_and_left() {
    let mysql = spec(HealthKind::Mysql);
    let ok = server_packet(2, b"\0\0\0\x02\0\0\0");
    let (sent, end) = talk(&mysql, &[&greeting(0x8_8200), &ok]);
    assert_eq!(end, CheckOutcome::Good);
    let login = &sent[0];
    assert_eq!(usize::from(login[0]), login.len() - 4);
    assert_eq!(login[3..8], [1, 0x00, 0x82, 0x08, 0x00], "second packet, three capabilities");
    assert!(login.ends_with(b"weir\0\0mysql_native_password\0"), "{login:?}");
    assert_eq!(sent[1], b"\x01\0\0\0\x01", "COM_QUIT");
    let (sent, _) = talk(&mysql, &[&greeting(0x8200), &ok]);
    assert!(sent[0].ends_with(b"weir\0\0"), "an old server names no method: {:?}", sent[0]);
    // MySQL 8: the user has another method, and no password there either.
    let other = server_packet(2, b"\xfecaching_sha2_password\0challenge\0");
    let ok = server_packet(4, b"\0\0\0\x02\0\0\0");
    let (sent, end) = talk(&mysql, &[&greeting(0x8_8200), &other, &ok]);
    assert_eq!((sent[1].as_slice(), end), (&b"\x01\0\0\x03\0"[..], CheckOutcome::Good));
    let native = server_packet(2, b"\xfemysql_native_password\0challenge\0");
    let (sent, end) = talk(&mysql, &[&greeting(0x8_8200), &native, &ok]);
    assert_eq!((sent[1].as_slice(), end), (&b"\0\0\0\x03"[..], CheckOutcome::Good));
    let full = server_packet(4, b"\x01\x04");
    assert_eq!(outcome(&mysql, &[&greeting(0x8_8200), &other, &full]), bad(HAS_A_PASSWORD));
    let again = server_packet(4, b"\xfemysql_native_password\0x\0");
    assert_eq!(outcome(&mysql, &[&greeting(0x8_8200), &other, &again]), bad(HAS_A_PASSWORD));
    let kerberos = server_packet(2, b"\xfeauth_gssapi_client\0x\0");
    let why = "the user logs in by auth_gssapi_client";
    assert_eq!(outcome(&mysql, &[&greeting(0x8_8200), &kerberos]), bad(why));
}

const HAS_A_PASSWORD: &str = "the user has a password";

#[test]
fn mysql_says_why_not() {
    let mysql = spec(HealthKind::Mysql);
    let banned = server_packet(0, b"\xff\x69\x04Host '10.0.0.1' is blocked");
    assert_eq!(outcome(&mysql, &[&banned]), bad("error 1129: Host '10.0.0.1' is blocked"));
    let denied = server_packet(2, b"\xff\x15\x04#28000Access denied for user 'weir'");
    let why = "error 1045: Access denied for user 'weir'";
    assert_eq!(outcome(&mysql, &[&greeting(0x8200), &denied]), bad(why));
    assert_eq!(outcome(&mysql, &[&greeting(0)]), bad("a server older than MySQL 4.1"));
    for answer in [&b"HTTP/1.1 400\r\n"[..], b"\0\0\0\0", &server_packet(0, b"\x0ax")] {
        let outcome = outcome(&mysql, &[answer]);
        let is_bad = matches!(&outcome, CheckOutcome::Bad(why) if why.starts_with("unexpected"));
        assert!(is_bad, "{outcome:?}");
    }
    assert_eq!(outcome(&mysql, &[]), bad("closed"));
}

#[test]
fn tls_answers_by_a_server_hello_or_an_alert() {
    let tls = HealthSpec { host: Some("db.example".to_owned()), ..spec(HealthKind::Tls) };
    let (sent, end) = talk(&tls, &[b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"]);
    assert_eq!((sent[1].as_slice(), end), (CLOSE_NOTIFY, CheckOutcome::Good));
    let hello = &sent[0];
    assert_eq!(hello[..3], [22, 3, 1]);
    assert_eq!(usize::from(hello[3]) << 8 | usize::from(hello[4]), hello.len() - 5);
    assert!(hello.windows(10).any(|window| window == b"db.example"));
    assert_eq!(outcome(&tls, &[b"\x15\x03\x03\x00\x02\x02\x28"]), CheckOutcome::Good);
    assert_eq!(outcome(&tls, &[b"HTTP/1.1 400 Bad\r\n"]), bad(UNEXPECTED_HTTP));
    for wrong in [&b"\x16\x03\x03\x00\x7a\x01"[..], b"\x16\x03\x03\xff\xff\x02", b"\x17\x03\x03"] {
        let outcome = outcome(&tls, &[wrong]);
        let is_bad = matches!(&outcome, CheckOutcome::Bad(why) if why.starts_with("unexpected"));
        assert!(is_bad, "{outcome:?}");
    }
    assert_eq!(outcome(&tls, &[]), bad("closed"));
}

const CLOSE_NOTIFY: &[u8] = b"\x15\x03\x03\x00\x02\x01\x00";

#[test]
fn http_expects_statuses() {
    let expect = |text: &str| HealthSpec { expect: Some(text.into()), ..spec(HealthKind::Http) };
    let answer: &[u8] = b"HTTP/1.1 401 Unauthorized\r\n\r\n";
    assert_eq!(outcome(&expect("200-299,401"), &[answer]), CheckOutcome::Good);
    assert_eq!(outcome(&expect("200-400"), &[answer]), bad("status 401"));
    assert_eq!(outcome(&spec(HealthKind::Http), &[answer]), bad("status 401"));
    assert_eq!(outcome(&spec(HealthKind::Http), &[b"HTTP/1.1 2"]), bad("closed"));
    let whole = HealthSpec {
        method: weir_proto::spec::HttpMethod::Head,
        host: Some("a.example:8080".into()),
        port: Some(81),
        ..spec(HealthKind::Http)
    };
    let request = String::from_utf8(talk(&whole, &[answer]).0[0].clone()).unwrap();
    assert!(request.starts_with("HEAD / HTTP/1.1\r\nHost: a.example:8080\r\n"), "{request}");
    assert_eq!(plan(&whole).address.port(), Some(81));
}

/// The outcome of an agent that says this in pieces of `size`, and then ends; how many of its bytes
/// were read.
fn asked(line: &[u8], size: usize) -> (CheckOutcome, usize) {
    let talk = Talk::Agent { send: b"web\n".to_vec() };
    let mut dialogue = Dialogue::new(&talk);
    assert_eq!(dialogue.step(), Move::Send(b"web\n".to_vec()));
    let (mut chunks, mut read) = (line.chunks(size), 0);
    loop {
        match dialogue.step() {
            Move::Send(bytes) => panic!("it says {bytes:?} again"),
            Move::Receive => match chunks.next() {
                Some(chunk) => {
                    read += chunk.len();
                    dialogue.receive(chunk);
                }
                None => dialogue.end(),
            },
            Move::Part { outcome, farewell } => {
                assert!(farewell.is_empty());
                return (outcome, read);
            }
        }
    }
}

#[test]
fn an_agent_says_one_line_however_it_is_cut_and_no_more_is_read() {
    let said = |line: &[u8]| CheckOutcome::Said(Box::new(AgentAnswer::read(line)));
    let bad = |why: &str| CheckOutcome::Bad(why.to_owned());
    for size in [1, 2, 3, 7, 100] {
        for (line, outcome) in [
            (&b"75% up\n"[..], said(b"75% up")),
            (b"75% up\r\ndrain\n", said(b"75% up")),
            (b"75% up\rdrain", said(b"75% up")),
            (b"75% up", said(b"75% up")),
            (b"\n", said(b"")),
            (b"\ndown\n", said(b"")),
            (b"\0\0up\n", said(b"\0\0up")),
            (b"", bad("closed")),
        ] {
            assert_eq!(asked(line, size).0, outcome, "{} by {size}", line.escape_ascii());
        }
    }
    let endless = vec![b'u'; 1 << 20];
    for size in [1, 1000, 2048] {
        let (outcome, read) = asked(&endless, size);
        assert_eq!(outcome, bad("no end of a line within 1024 bytes"));
        assert!(read < AGENT_LINE_MAX + size, "{read} bytes");
    }
    let mut long = vec![b' '; AGENT_LINE_MAX - 3];
    long.extend(b"up\n");
    assert_eq!(asked(&long, 7).0, said(b"up"), "the longest");
    long.insert(0, b' ');
    assert_eq!(asked(&long, 7).0, bad("no end of a line within 1024 bytes"));
}
