//! Checks of the kinds that know a protocol, against the real servers: they see when a server does
//! not work, leave no errors in its log, and are not banned.

use std::net::SocketAddr;

use weir_tests::clock;
use weir_tests::net::{Backend, Dialogue, Script, free, own_ip};
use weir_tests::real::{Server, redis_cli};
use weir_tests::story::Plan;
use weir_tests::weir::{Start, Weir};

/// A weir with a pool `web` of one backend.
fn before(address: SocketAddr, health: &str) -> Weir {
    let web = free(own_ip());
    let objects = format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"web\"\n\n[pool.web]\nhealth = {{ {health}, \
         interval = \"50ms\", timeout = \"5s\", rise = 1, fall = 1 }}\n\n\
         [pool.web.backend]\nb1 = {{ address = \"{address}\" }}\n"
    );
    Weir::start(web, &objects, Start::default())
}

/// Checks of `web/b1` with this result.
fn checks(weir: &Weir, result: &str) -> u64 {
    let page = weir.get("/metrics").body;
    let labels = format!("pool=\"web\",backend=\"b1\",result=\"{result}\"");
    let name = "weir_backend_health_checks_total{";
    let mut lines = page.lines().filter(|line| line.starts_with(name) && line.contains(&labels));
    let value = lines.next().and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// Waits for 20 more good checks, none of which fails. One that began before a change may still.
fn expect_good(weir: &Weir) {
    let good = checks(weir, "ok");
    clock::wait_for("a good check", || checks(weir, "ok") > good);
    let (good, bad) = (checks(weir, "ok"), checks(weir, "failed"));
    clock::wait_for("twenty good checks", || checks(weir, "ok") >= good + 20);
    let row = weir.backend("web/b1");
    assert_eq!(checks(weir, "failed"), bad, "{row}");
    assert_eq!(row["state"], "up", "{row}");
}

/// Waits until the check says this.
fn expect_words(weir: &Weir, words: &str) {
    clock::wait_for(words, || {
        let row = weir.backend("web/b1");
        row["check"]["result"].as_str().is_some_and(|it| it.contains(words))
    });
    let shown = weir.ok(&["backend", "show", "web/b1"]);
    assert!(shown.contains(words), "{shown}");
}

#[test]
fn postgresql_has_no_line_of_its_checks() {
    let mut server = Server::postgres();
    // Who started it may have come too early.
    let before_checks = server.log().len();
    // One who is let in, and one who is asked for a password.
    let weir = before(server.address(), "kind = \"postgresql\", user = \"weir\"");
    expect_good(&weir);
    weir.ok(&["pool", "set", "web", "health.user=checker"]);
    expect_good(&weir);
    let log = server.log().split_off(before_checks);
    let harmful = ["FATAL", "ERROR", "WARNING", "unexpected EOF", "could not"];
    assert!(!harmful.iter().any(|word| log.contains(word)), "{log}");
    weir.ok(&["pool", "set", "web", "health.user=stranger"]);
    expect_words(&weir, "role \"stranger\" does not exist");
    weir.ok(&["pool", "set", "web", "health.user=checker"]);
    expect_good(&weir);
    server.kill();
    expect_words(&weir, "refused");
}

#[test]
fn mariadb_does_not_ban_its_checks() {
    let server = Server::mariadb();
    let weir = before(server.address(), "kind = \"mysql\", user = \"weir\"");
    expect_good(&weir);
    // Who started it came without a login, too.
    let before = server.log().len();
    expect_good(&weir);
    let log = server.log().split_off(before);
    let harmful = ["Aborted", "Access denied", "blocked", "[ERROR]"];
    assert!(!harmful.iter().any(|word| log.contains(word)), "{log}");
    weir.ok(&["pool", "set", "web", "health.user=stranger"]);
    expect_words(&weir, "Access denied");
    // More handshakes were refused than a host may leave unfinished.
    clock::wait_for("refusals", || checks(&weir, "failed") >= 10);
    weir.ok(&["pool", "set", "web", "health.user=weir"]);
    expect_good(&weir);
}

#[test]
fn redis_is_up_with_a_password_and_down_while_it_loads() {
    let server = Server::redis();
    let weir = before(server.address(), "kind = \"redis\"");
    let before = server.log();
    expect_good(&weir);
    let secret = ["config", "set", "requirepass", "secret"];
    let _ = redis_cli(server.address(), &secret).expect_code(0);
    expect_good(&weir);
    assert_eq!(server.log(), before, "no line of checks");
}

#[test]
fn an_smtp_server_hears_quit() {
    let server = Server::smtp();
    let weir = before(server.address(), "kind = \"smtp\", host = \"lb.example\"");
    expect_good(&weir);
    let log = server.log();
    assert!(log.contains("EHLO lb.example") && log.contains("QUIT"), "{log}");
    assert!(!log.contains("Traceback") && !log.contains("ERROR"), "{log}");
}

#[test]
fn tls_servers_of_either_version_have_no_error() {
    for versions in ["TLSv1.2", "TLSv1.3"] {
        let server = Server::nginx_tls(versions);
        let weir = before(server.address(), "kind = \"tls\", host = \"weir.test\"");
        expect_good(&weir);
        let log = server.log();
        let harmful = ["[error]", "[crit]", "[alert]", "[warn]"];
        assert!(!harmful.iter().any(|word| log.contains(word)), "{versions}: {log}");
    }
}

#[test]
fn a_server_without_tls_fails_a_tls_check() {
    let server = Server::nginx("plain", 10);
    let weir = before(server.address(), "kind = \"tls\"");
    expect_words(&weir, "unexpected answer");
}

#[test]
fn a_check_asks_at_its_port_by_its_method_for_its_statuses() {
    let server = Server::nginx("web", 10);
    let nowhere = free(own_ip());
    let address = SocketAddr::new(server.address().ip(), nowhere.port());
    let port = server.address().port();
    let health = format!("kind = \"http\", method = \"HEAD\", port = {port}, host = \"a.example\"");
    let weir = before(address, &health);
    expect_good(&weir);
    weir.ok(&["pool", "set", "web", "health.path=/nothing"]);
    expect_words(&weir, "status 404");
    weir.ok(&["pool", "set", "web", "health.expect=200-299,404"]);
    expect_good(&weir);
    weir.ok(&["pool", "set", "web", "health.port="]);
    expect_words(&weir, "refused");
}

/// A server that greets, and then says one thing after the other.
const STEPWISE: Script = Script::Answers(&Dialogue {
    greeting: b"\x00hello\xff",
    answers: &[(b"one\n", b"first\n"), (b"two\n", b"second\n")],
});

#[test]
fn steps_are_taken_in_turn_and_can_be_set() {
    let steps = r#"steps = ["expect hello\\xff", "send one\\n", "expect first", "send two\\n",
        "expect second"], interval = "50ms", timeout = "2s", rise = 1, fall = 1"#;
    let health = format!("{{ kind = \"send-expect\", {steps} }}");
    let set = Plan::new(1, STEPWISE).health(&health.replace('\n', " ")).start();
    set.weir.wait_state("web/b1", "up");
    expect_good(&set.weir);
    let shown = set.weir.ok(&["pool", "show", "web"]);
    assert!(shown.contains("expect first; send two"), "{shown}");
    let changed = set.weir.ok(&["pool", "set", "web", "health.steps=send one\\n;expect second"]);
    assert!(changed.contains("health.steps"), "{changed}");
    // It waits for a line that does not come.
    expect_words(&set.weir, "timeout");
    let wrong = set.weir.ctl(&["pool", "set", "web", "health.steps=say one"]);
    assert!(wrong.code != 0 && wrong.stderr.contains("send TEXT"), "{wrong}");
}

/// Two pools with a backend each, at one address.
fn two_pools(address: SocketAddr, start: Start) -> Weir {
    let web = free(own_ip());
    let pool = |name: &str| {
        format!(
            "[pool.{name}]\nhealth = {{ interval = \"50ms\", timeout = \"5s\" }}\n\n\
             [pool.{name}.backend]\nb1 = {{ address = \"{address}\" }}\n\n"
        )
    };
    let listener = format!("[listener.web]\nbind = \"{web}\"\npool = \"web\"\n\n");
    Weir::start(web, &[listener, pool("web"), pool("other")].concat(), start)
}

#[test]
fn two_pools_share_the_checks_of_an_address() {
    let mut backend = Backend::start("b1", own_ip(), Script::Banner);
    let weir = two_pools(backend.address, Start::default());
    clock::wait_for("forty checks", || checks(&weir, "ok") >= 40);
    let (heard, made) = (checks(&weir, "ok"), backend.count());
    assert!(made as u64 <= heard + heard / 2, "{heard} checks of one pool, {made} were made");
    backend.die();
    for name in ["web/b1", "other/b1"] {
        weir.wait_state(name, "down");
    }
}

#[test]
fn a_cap_on_checks_holds_and_is_shown() {
    let backend = Backend::start("b1", own_ip(), Script::Banner);
    let start = Start { settings: "checks = \"4/s\"".to_owned(), ..Start::default() };
    let weir = two_pools(backend.address, start);
    let said = weir.json(&["status"])["warnings"].to_string();
    assert!(said.contains("20 checks a second are wanted, and [weir] checks allows 4"), "{said}");
    let shown = weir.json(&["pool", "show", "web"]);
    let within = shown["detection_s"].as_f64().expect("it is checked");
    assert!((5.8..5.9).contains(&within), "three of 0.25 s, 10 % late, and 5 s: {shown}");
    let uptime = || weir.json(&["status"])["uptime_s"].as_f64().expect("a number");
    clock::wait_for("ten checks", || checks(&weir, "ok") >= 10);
    // Each of them was counted before this.
    let (made, uptime) = (checks(&weir, "ok") as f64, uptime());
    assert!(made <= uptime * 4.0 + 2.0, "{made} checks in {uptime} s");
    weir.ok(&["pool", "set", "web", "health.interval=1s"]);
    weir.ok(&["pool", "set", "other", "health.interval=1s"]);
    assert_eq!(weir.json(&["status"])["warnings"], serde_json::json!([]));
}
