//! Configurations of HAProxy.

use weir_tests::net::{Dialogue, Script};

use super::stage::{Migration, PLAIN, Program};

/// The answer to HAProxy's check, and to a question about the role.
const PRIMARY: Script =
    Script::Answers(&Dialogue { greeting: b"", answers: &[PG_READY, (b"ROLE\r\n", b"primary")] });
const STANDBY: Script =
    Script::Answers(&Dialogue { greeting: b"", answers: &[PG_READY, (b"ROLE\r\n", b"standby")] });
const PG_READY: (&[u8], &[u8]) = (b"haproxy_check\0", b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I");

#[test]
fn postgresql_by_role_and_by_load() {
    let case = Migration {
        file: "postgresql.cfg",
        listens: &[("bind *:5433", "read"), ("bind 10.20.0.1:5432", "write")],
        servers: &[
            ("10.20.0.11:5432", "pg1", PRIMARY),
            ("10.20.0.12:5432", "pg2", STANDBY),
            ("10.20.0.13:5432", "pg3", STANDBY),
        ],
        edits: &[],
    };
    let mut stage = case.start();
    stage.settle("write", &["pg1"]);
    stage.alike("write", 20, 0);
    stage.alike("read", 60, 6);
    stage.down("pg3", "read", &["pg2"]);
    stage.up("pg3");
    stage.settle("read", &["pg2", "pg3"]);
}

/// The check at another port says who the leader is.
#[test]
fn patroni_is_asked_who_leads() {
    let case = Migration {
        file: "patroni.cfg",
        listens: &[("bind *:5000", "db"), ("bind *:7000", "page")],
        servers: &[
            ("10.21.0.10:5432", "leader", PLAIN),
            ("port 8008", "leader's api", Script::Http),
            ("10.21.0.11:5432", "replica", PLAIN),
            ("port 8008", "replica's api", Script::Http),
        ],
        edits: &[],
    };
    let stage = case.start();
    stage.backends["replica's api"].set_status(503);
    for program in [&stage.peer, &stage.weir] {
        program.settle("db", &["leader"]);
    }
    stage.backends["replica's api"].set_status(200);
    stage.backends["leader's api"].set_status(503);
    for program in [&stage.peer, &stage.weir] {
        program.settle("db", &["replica"]);
    }
}

const REDIS_PRIMARY: Script = Script::Answers(&Dialogue {
    greeting: b"",
    answers: &[
        (b"PING\r\n", b"+PONG\r\n"),
        (b"info replication\r\n", b"$20\r\nrole:master\r\n"),
        (b"QUIT\r\n", b"+OK\r\n"),
    ],
});
const REDIS_REPLICA: Script = Script::Answers(&Dialogue {
    greeting: b"",
    answers: &[
        (b"PING\r\n", b"+PONG\r\n"),
        (b"info replication\r\n", b"$20\r\nrole:slave\r\n"),
        (b"QUIT\r\n", b"+OK\r\n"),
    ],
});

#[test]
fn redis_by_its_role_with_short_timeouts() {
    let case = Migration {
        file: "redis.cfg",
        listens: &[("bind 10.22.0.1:6379", "redis")],
        servers: &[
            ("10.22.0.11:6379", "r1", REDIS_REPLICA),
            ("10.22.0.12:6380", "r2", REDIS_PRIMARY),
            ("10.22.0.13:6381", "r3", REDIS_REPLICA),
        ],
        edits: &[
            ("timeout server 6s", "timeout server 2s"),
            ("timeout client 6s", "timeout client 1s"),
        ],
    };
    let stage = case.start();
    stage.settle("redis", &["r2"]);
    stage.alike("redis", 10, 0);
    stage.idles_for("redis", 1.0);
}

const GALERA: Script = Script::Answers(&Dialogue {
    greeting: b"\x17\0\0\0\x0a8.0.36\0\x01\0\0\0salt1234\0\xff\xf7",
    answers: &[(b"haproxy\0", b"\x07\0\0\x02\0\0\0\x02\0\0\0")],
});

#[test]
fn galera_has_its_backups() {
    let case = Migration {
        file: "galera.cfg",
        listens: &[("bind 10.23.0.1:3306", "db")],
        servers: &[
            ("10.23.0.11:3306", "node1", GALERA),
            ("10.23.0.12:3306", "node2", GALERA),
            ("10.23.0.13:3306", "node3", GALERA),
        ],
        edits: &[],
    };
    let mut stage = case.start();
    stage.settle("db", &["node1"]);
    stage.alike("db", 10, 0);
    stage.down("node1", "db", &["node2"]);
}

#[test]
fn mqtt_keeps_a_client_at_its_broker() {
    let case = Migration {
        file: "mqtt.cfg",
        listens: &[("bind *:1883", "mqtt"), ("bind :::1883", "mqtt6")],
        servers: &[
            ("10.24.0.11:1883", "emqx1", PLAIN),
            ("10.24.0.12:1883", "emqx2", PLAIN),
            ("10.24.0.13:1883", "emqx3", PLAIN),
        ],
        edits: &[(" v6only", "")],
    };
    let stage = case.start();
    stage.sticky("mqtt", &["emqx1", "emqx2", "emqx3"]);
}

const MAIL: Script = Script::Answers(&Dialogue {
    greeting: b"220 mx ESMTP\r\n",
    answers: &[
        (b"\r\nQUIT\n\x21\x11", b"told by v2\n"),
        (b"\xc0\0\x02\x07", b"of 192.0.2.7\n"),
        (b"HELO ", b"250 mx\r\n"),
        (b"EHLO ", b"250 mx\r\n"),
        (b"QUIT\r\n", b"221 bye\r\n"),
    ],
});

#[test]
fn smtp_before_two_servers_that_are_told_of_the_client() {
    let case = Migration {
        file: "smtp.cfg",
        listens: &[
            ("bind *:25", "smtp"),
            ("bind *:587", "submission"),
            ("bind *:2525", "trusted"),
            ("bind *:2526", "relay"),
        ],
        servers: &[("10.25.0.11:25", "mx1", MAIL), ("10.25.0.12:25", "mx2", MAIL)],
        edits: &[("10.25.0.0/24", "127.0.0.1")],
    };
    let mut stage = case.start();
    stage.settle("smtp", &["mx1", "mx2"]);
    stage.alike("smtp", 20, 4);
    stage.alike("submission", 20, 4);
    stage.says("smtp", b"", b"220 mx ESMTP\r\ntold by v2\n");
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.8 4000 25\r\n";
    stage.says("trusted", header, b"220 mx ESMTP\r\ntold by v2\nof 192.0.2.7\n");
    stage.says("relay", header, b"220 mx ESMTP\r\ntold by v2\nof 192.0.2.7\n");
    stage.refuses_headers_of_strangers("relay");
    stage.down("mx1", "submission", &["mx2"]);
}

const DIRECTORY: Script = Script::Answers(&Dialogue {
    greeting: b"",
    answers: &[
        (b"\x30\x0c\x02\x01\x01\x60", b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0"),
        // An alert is an answer of TLS, too.
        (b"\x16\x03", b"\x15\x03\0\0\x02\x02\x28"),
    ],
});

#[test]
fn ldap_without_the_one_that_is_disabled() {
    let case = Migration {
        file: "ldap.cfg",
        listens: &[("bind 10.26.0.1:389", "ldap"), ("bind 10.26.0.1:636", "ldaps")],
        servers: &[
            ("10.26.0.11:389", "dc1", DIRECTORY),
            ("10.26.0.12:389", "dc2", DIRECTORY),
            ("10.26.0.13:389", "dc3", DIRECTORY),
            ("10.26.0.11:636", "dc1s", DIRECTORY),
            ("10.26.0.12:636", "dc2s", DIRECTORY),
        ],
        edits: &[],
    };
    let mut stage = case.start();
    stage.settle("ldap", &["dc1", "dc2"]);
    stage.alike("ldap", 30, 4);
    stage.alike("ldaps", 30, 4);
    stage.down("dc2s", "ldaps", &["dc1s"]);
}

#[test]
fn rabbitmq_by_weight() {
    let case = Migration {
        file: "rabbitmq.cfg",
        listens: &[("bind *:5672", "amqp"), ("bind *:15672", "management")],
        servers: &[
            ("10.27.0.11:5672", "rabbit1", PLAIN),
            ("10.27.0.12:5672", "rabbit2", PLAIN),
            ("10.27.0.11:15672", "page", Script::Http),
        ],
        edits: &[],
    };
    let stage = case.start();
    stage.settle("amqp", &["rabbit1", "rabbit2"]);
    stage.alike("amqp", 80, 6);
    // The listen in mode http is left out.
    stage.weir.settle("management", &["-"]);
}

#[test]
fn kubernetes_without_a_control_plane_that_is_down() {
    let case = Migration {
        file: "kubernetes.cfg",
        listens: &[("bind *:6443", "api")],
        servers: &[
            ("10.28.0.11:6443", "cp1", PLAIN),
            ("10.28.0.12:6443", "cp2", PLAIN),
            ("10.28.0.13:6443", "cp3", PLAIN),
        ],
        edits: &[],
    };
    let mut stage = case.start();
    stage.alike("api", 60, 6);
    stage.passes_half_closes("api");
    stage.down("cp2", "api", &["cp1", "cp3"]);
    stage.up("cp2");
    stage.settle("api", &["cp1", "cp2", "cp3"]);
}

#[test]
fn game_servers_by_source_and_at_random() {
    let case = Migration {
        file: "game.cfg",
        listens: &[("bind 10.29.0.1:27015-27017", "arena"), ("bind 10.29.0.1:27100", "lobby")],
        servers: &[
            ("10.29.0.11:27015", "arena1", PLAIN),
            ("10.29.0.12:27015", "arena2", PLAIN),
            ("10.29.0.21", "lobby1", PLAIN),
            ("10.29.0.22", "lobby2", PLAIN),
        ],
        edits: &[],
    };
    let stage = case.start();
    stage.sticky("arena", &["arena1", "arena2"]);
    stage.alike("lobby", 60, 20);
}

/// A ClientHello for a name, and no more than a reader of names needs.
pub(super) fn client_hello(name: &str) -> Vec<u8> {
    let length = |count: usize| u16::try_from(count).expect("it is short").to_be_bytes();
    let host = name.as_bytes();
    let entry = [&[0], &length(host.len())[..], host].concat();
    let list = [&length(entry.len())[..], &entry].concat();
    let extension = [&[0, 0], &length(list.len())[..], &list].concat();
    let extensions = [&length(extension.len())[..], &extension].concat();
    let hello = [&[3, 3], &[7; 32][..], &[0, 0, 2, 0x13, 1, 1, 0], &extensions].concat();
    let handshake = [&[1, 0], &length(hello.len())[..], &hello].concat();
    [&[0x16, 3, 1], &length(handshake.len())[..], &handshake].concat()
}

/// Who gets a client that asks for a name.
pub(super) fn by_name(side: &Program, listen: &str, name: &str) -> String {
    side.ask(listen, None, &[&client_hello(name)[..], b"WHO\n"].concat()).1
}

#[test]
fn names_of_tls_lead_to_the_same_backends() {
    let case = Migration {
        file: "passthrough.cfg",
        listens: &[("bind *:443", "https")],
        servers: &[
            ("10.30.0.11:443", "site1", PLAIN),
            ("10.30.0.12:443", "site2", PLAIN),
            ("10.30.0.21:443", "shop", PLAIN),
            ("mail1.internal:443", "mail", PLAIN),
        ],
        edits: &[],
    };
    let stage = case.start();
    for side in [&stage.peer, &stage.weir] {
        assert_eq!(by_name(side, "https", "shop.example.com"), "shop");
        assert_eq!(by_name(side, "https", "a.mail.example.com"), "mail");
        assert!(by_name(side, "https", "example.com").starts_with("site"));
    }
}

/// `balance first` is round-robin, as the notes say. A weight of 0 is one on both.
#[test]
fn sftp_is_spread_where_haproxy_fills_the_first() {
    let case = Migration {
        file: "sftp.cfg",
        listens: &[("bind \"*:2222\"", "sftp")],
        servers: &[
            ("10.31.0.11:${SFTP_PORT}", "s1", PLAIN),
            ("10.31.0.12:${SFTP_PORT}", "s2", PLAIN),
            ("10.31.0.13:${SFTP_PORT}", "s3", PLAIN),
        ],
        edits: &[],
    };
    let mut stage = case.start();
    stage.peer.settle("sftp", &["s1"]);
    stage.weir.settle("sftp", &["s1", "s2"]);
    stage.down("s1", "sftp", &["s2"]);
}

#[test]
fn web_is_relayed_as_tcp() {
    let case = Migration {
        file: "web.cfg",
        listens: &[("bind *:80", "web")],
        servers: &[
            ("10.32.0.11:8080", "app1", Script::Http),
            ("10.32.0.12:8080", "app2", Script::Http),
        ],
        edits: &[],
    };
    let stage = case.start();
    stage.alike("web", 40, 4);
    stage.backends["app1"].set_status(500);
    stage.settle("web", &["app2"]);
}
