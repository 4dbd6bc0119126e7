//! Configurations of nginx with stream.

use weir_tests::net::{Dialogue, Script};

use super::haproxy::by_name;
use super::stage::{Migration, PLAIN};

#[test]
fn postgresql_by_load_and_weight() {
    let case = Migration {
        file: "postgresql.conf",
        listens: &[("listen 5432", "db")],
        servers: &[
            ("10.40.0.11:5432", "pg1", PLAIN),
            ("10.40.0.12:5432", "pg2", PLAIN),
            ("10.40.0.13:5432", "pg3", PLAIN),
        ],
        edits: &[],
    };
    let mut stage = case.start();
    stage.alike("db", 60, 6);
    stage.down("pg1", "db", &["pg2"]);
}

#[test]
fn redis_has_its_backup() {
    let case = Migration {
        file: "redis.conf",
        listens: &[("listen 127.0.0.1:6379", "redis")],
        servers: &[("10.41.0.11:6379", "r1", PLAIN), ("10.41.0.12:6379", "r2", PLAIN)],
        edits: &[("10.0.0.0/8", "127.0.0.1"), ("proxy_timeout 1h30m", "proxy_timeout 1s")],
    };
    let mut stage = case.start();
    stage.alike("redis", 10, 0);
    stage.idles_for("redis", 1.0);
    let stranger = Some([127, 9, 9, 9].into());
    assert_eq!(stage.peer.ask("redis", stranger, b"WHO\n").1, "-");
    assert_eq!(stage.weir.ask("redis", stranger, b"WHO\n").1, "-");
    stage.down("r1", "redis", &["r2"]);
}

#[test]
fn mysql_by_two_choices() {
    let case = Migration {
        file: "mysql.conf",
        listens: &[
            ("listen 10.42.0.1:3306", "db"),
            ("listen [::1]:3306", "db6"),
            ("listen 80", "web"),
        ],
        servers: &[
            ("10.42.0.11:3306", "my1", PLAIN),
            ("10.42.0.12:3306", "my2", PLAIN),
            ("10.42.0.13:3306", "my3", PLAIN),
        ],
        edits: &[],
    };
    let mut stage = case.start();
    stage.alike("db", 60, 15);
    stage.alike("db6", 30, 12);
    stage.weir.settle("web", &["-"]);
    stage.down("my2", "db", &["my1", "my3"]);
}

#[test]
fn mqtt_keeps_a_client_at_its_broker() {
    let case = Migration {
        file: "mqtt.conf",
        listens: &[("listen 1883 reuseport", "mqtt"), ("listen 1883 udp", "udp")],
        servers: &[
            ("10.43.0.11:1883", "m1", PLAIN),
            ("10.43.0.12:1883", "m2", PLAIN),
            ("10.43.0.13:1883", "m3", PLAIN),
        ],
        edits: &[],
    };
    let stage = case.start();
    stage.sticky("mqtt", &["m1", "m2", "m3"]);
    stage.passes_half_closes("mqtt");
}

const MAIL: Script = Script::Answers(&Dialogue {
    greeting: b"",
    answers: &[(b"PROXY TCP4 ", b"told by v1\n"), (b" 192.0.2.7 ", b"of 192.0.2.7\n")],
});

#[test]
fn smtp_before_one_server_that_is_told_of_the_client() {
    let case = Migration {
        file: "smtp.conf",
        listens: &[
            ("listen 25", "smtp"),
            ("listen 465", "smtps"),
            ("listen 2525", "trusted"),
            ("listen 2526", "relay"),
        ],
        servers: &[("10.44.0.11:25", "mx", MAIL)],
        // No key is here.
        edits: &[
            (" ssl;", ";"),
            ("ssl_certificate", "# ssl_certificate"),
            ("10.44.0.0/24", "127.0.0.1"),
        ],
    };
    let stage = case.start();
    stage.alike("smtp", 10, 0);
    stage.alike("smtps", 10, 0);
    stage.says("smtp", b"", b"told by v1\niam:mx\n");
    stage.says("smtps", b"", b"iam:mx\n");
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.8 4000 25\r\n";
    stage.says("trusted", header, b"told by v1\nof 192.0.2.7\niam:mx\n");
    stage.says("relay", header, b"iam:mx\n");
    stage.refuses_headers_of_strangers("relay");
}

#[test]
fn ldap_with_weights_larger_than_those_of_weir() {
    let case = Migration {
        file: "ldap.conf",
        listens: &[("listen 10.45.0.1:389", "one"), ("listen 10.45.0.2:389", "two")],
        servers: &[("10.45.0.11:389", "dc1", PLAIN), ("10.45.0.12:389", "dc2", PLAIN)],
        edits: &[],
    };
    let stage = case.start();
    stage.alike("one", 60, 6);
    stage.alike("two", 60, 6);
}

#[test]
fn kubernetes_without_a_control_plane_that_is_down() {
    let case = Migration {
        file: "kubernetes.conf",
        listens: &[("listen        0.0.0.0:6443", "api")],
        servers: &[
            ("10.46.0.11:6443", "cp1", PLAIN),
            ("10.46.0.12:6443", "cp2", PLAIN),
            ("10.46.0.13:6443", "cp3", PLAIN),
        ],
        edits: &[],
    };
    let mut stage = case.start();
    stage.alike("api", 60, 6);
    stage.down("cp2", "api", &["cp1", "cp3"]);
}

#[test]
fn names_of_tls_lead_to_the_same_upstreams() {
    let case = Migration {
        file: "passthrough.conf",
        listens: &[("listen 443", "https"), ("listen 8443", "plain")],
        servers: &[
            ("10.47.0.11:443", "shop", PLAIN),
            ("10.47.0.12:443", "site1", PLAIN),
            ("10.47.0.13:443", "site2", PLAIN),
        ],
        edits: &[],
    };
    let stage = case.start();
    stage.alike("plain", 20, 4);
    for side in [&stage.peer, &stage.weir] {
        assert_eq!(by_name(side, "https", "shop.example.com"), "shop");
        assert!(by_name(side, "https", "example.com").starts_with("site"));
    }
}

#[test]
fn game_servers_at_random() {
    let case = Migration {
        file: "game.conf",
        listens: &[("listen 10.48.0.1:27015-27016", "arena")],
        servers: &[("10.48.0.11:27015", "g1", PLAIN), ("10.48.0.12:27015", "g2", PLAIN)],
        edits: &[],
    };
    let stage = case.start();
    stage.alike("arena", 200, 50);
}

#[test]
fn rabbitmq_from_an_included_file() {
    let case = Migration {
        file: "rabbitmq.conf",
        listens: &[("listen 5672", "amqp")],
        servers: &[
            ("10.49.0.11:5672", "r1", PLAIN),
            ("10.49.0.12:5672", "r2", PLAIN),
            ("rabbit3.internal:5672", "r3", PLAIN),
        ],
        edits: &[],
    };
    let stage = case.start();
    stage.alike("amqp", 60, 6);
}
