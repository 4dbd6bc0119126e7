//! weir before real servers under real load, while backends are drained, added, removed and killed,
//! and while weir itself is upgraded.

use std::net::SocketAddr;
use std::process::Command;

use weir_tests::clock;
use weir_tests::net::{free, own_ip};
use weir_tests::real::{Load, Server, postgres_binary, wrk, wrk_result};
use weir_tests::weir::{Ran, Start, Weir};

/// Seconds of load in one story.
const SECONDS: u32 = 4;

/// A weir before these addresses: b1, b2, …
fn before(addresses: &[SocketAddr], pool: &str) -> Weir {
    let web = free(own_ip());
    let mut objects = format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"web\"\n\n[pool.web]\n{pool}\n\
         [pool.web.backend]\n"
    );
    for (index, address) in addresses.iter().enumerate() {
        objects += &format!("b{} = {{ address = \"{address}\" }}\n", index + 1);
    }
    Weir::start(web, &objects, Start::default())
}

/// Drains, brings back, removes and adds backends in turn, as long as the load runs.
/// Gives the number of rounds.
fn stir(weir: &Weir, load: &mut Load, addresses: &[SocketAddr]) -> usize {
    let mut rounds = 0;
    while load.runs() {
        weir.ok(&["backend", "drain", "web/b1"]);
        weir.ok(&["backend", "ready", "web/b1"]);
        weir.ok(&["backend", "remove", "web/b2"]);
        weir.ok(&["backend", "add", "web/b2", &addresses[1].to_string()]);
        weir.ok(&["backend", "maint", "web/b2"]);
        weir.ok(&["backend", "ready", "web/b2"]);
        rounds += 1;
        // Room for the load between two rounds.
        clock::park(std::time::Duration::from_millis(50));
    }
    rounds
}

/// Puts one weir in the place of the other, as long as the load runs. Gives how often.
fn replace(weir: &mut Weir, load: &mut Load) -> usize {
    let verbs = [&["upgrade"][..], &["shards", "3"], &["upgrade"], &["shards", "1"]];
    let mut rounds = 0;
    while load.runs() {
        weir.upgrade(verbs[rounds % verbs.len()]);
        rounds += 1;
        clock::park(std::time::Duration::from_millis(50));
    }
    rounds
}

fn curl(to: SocketAddr, path: &str, extra: &[&str]) -> Ran {
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail", "--max-time", "20"]).args(extra);
    Ran::of(command.arg(format!("http://{to}{path}")))
}

#[test]
fn nginx_under_wrk_and_curl_while_backends_come_and_go() {
    let servers = ["n1", "n2", "n3"].map(|name| Server::nginx(name, 1000));
    let addresses = servers.each_ref().map(Server::address);
    let weir = before(&addresses, "strategy = \"least-conn\"");
    for extra in [&[][..], &["-H", "Connection: close"]] {
        let mut load = wrk(weir.web, 16, SECONDS, extra);
        let rounds = std::thread::scope(|scope| {
            let curls =
                scope.spawn(|| (0..20).map(|_| curl(weir.web, "/", &[])).collect::<Vec<_>>());
            let rounds = stir(&weir, &mut load, &addresses);
            for ran in curls.join().expect("curl runs") {
                assert!(ran.expect_code(0).stdout.starts_with('n'));
            }
            rounds
        });
        let ran = load.end().expect_code(0);
        let (requests, failed) = wrk_result(&ran);
        assert_eq!(failed, 0, "of {requests} requests in {rounds} rounds: {ran}");
        assert!(requests > 500 && rounds >= 3, "{requests} requests, {rounds} rounds: {ran}");
    }
}

#[test]
fn a_download_survives_the_drain_and_the_removal_of_its_backend() {
    const LENGTH: usize = 60_000_000;
    let servers = ["n1", "n2"].map(|name| Server::nginx(name, LENGTH));
    let addresses = servers.each_ref().map(Server::address);
    let weir = before(&addresses, "");
    let url = format!("http://{}/large", weir.web);
    let mut command = Command::new("curl");
    // Three seconds, and more than all the buffers on the way hold: longer than the commands take.
    command.args(["-sS", "--fail", "--limit-rate", "20M", "-o", "/dev/null"]);
    command.args(["-w", "%{size_download}", &url]);
    let mut load = Load::start(&mut command);
    clock::wait_for("the download to begin", || weir.sessions() == 1);
    for backend in ["web/b1", "web/b2"] {
        weir.ok(&["backend", "drain", backend, "--yes"]);
        weir.ok(&["backend", "remove", backend, "--yes"]);
    }
    assert!(load.runs(), "the download was over too soon to prove anything");
    assert_eq!(load.end().expect_code(0).stdout, LENGTH.to_string());
}

#[test]
fn a_killed_nginx_costs_only_what_was_in_flight_on_it() {
    const CONNECTIONS: u32 = 16;
    let mut servers = ["n1", "n2", "n3"].map(|name| Server::nginx(name, 1000));
    let addresses = servers.each_ref().map(Server::address);
    let health = "health = { kind = \"tcp\", interval = \"200ms\", timeout = \"200ms\" }";
    let weir = before(&addresses, health);
    let load = wrk(weir.web, CONNECTIONS, SECONDS, &["-H", "Connection: close"]);
    clock::wait_for("the load to arrive", || {
        weir.backend("web/b1")["sessions_total"].as_u64() > Some(20)
    });
    servers[0].kill();
    weir.wait_state("web/b1", "down");
    let ran = load.end().expect_code(0);
    let (requests, failed) = wrk_result(&ran);
    let most = u64::from(CONNECTIONS);
    assert!(failed <= most, "{failed} of {requests} failed, at most {most} were in flight: {ran}");
    assert!(requests > 200, "{ran}");
    for _ in 0..20 {
        let page = curl(weir.web, "/", &[]).expect_code(0);
        assert!(!page.stdout.starts_with("n1"), "{page}");
    }
}

#[test]
fn redis_under_redis_benchmark_while_backends_come_and_go() {
    let redis = Server::redis();
    let weir = before(&redis.addresses, "");
    // Connections that last, and a new one for each request (-k 0).
    for (requests, keep) in [("60000", "1"), ("4000", "0")] {
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", &weir.web.ip().to_string(), "-p", &weir.web.port().to_string()]);
        command.args(["-n", requests, "-c", "16", "-k", keep, "-t", "set,get", "--csv"]);
        let mut load = Load::start(&mut command);
        let rounds = stir(&weir, &mut load, &redis.addresses);
        let ran = load.end().expect_code(0);
        assert!(ran.stdout.contains("\"SET\"") && ran.stdout.contains("\"GET\""), "{ran}");
        let said = ran.stderr.to_lowercase();
        assert!(!said.contains("error") && !said.contains("closed"), "{rounds} rounds: {ran}");
    }
}

/// `pgbench` through weir.
fn pgbench(weir: &Weir, arguments: &[&str]) -> Command {
    let mut command = Command::new(postgres_binary("pgbench"));
    command.args(["-h", &weir.web.ip().to_string(), "-p", &weir.web.port().to_string()]);
    command.args(["-U", "weir"]).args(arguments).arg("postgres");
    command
}

#[test]
fn postgres_under_pgbench_while_backends_come_and_go() {
    let postgres = Server::postgres();
    let weir = before(&postgres.addresses, "strategy = \"two-choices\"");
    Ran::of(&mut pgbench(&weir, &["-i", "-s", "1", "-q"])).expect_code(0);
    let seconds = SECONDS.to_string();
    // Four connections that last, then a new one for each transaction.
    for extra in [&[][..], &["-C"]] {
        let mut arguments = vec!["-n", "-c", "4", "-T", &seconds];
        arguments.extend(extra);
        let mut load = Load::start(&mut pgbench(&weir, &arguments));
        let rounds = stir(&weir, &mut load, &postgres.addresses);
        let ran = load.end().expect_code(0);
        assert!(ran.stdout.contains("number of failed transactions: 0"), "{ran}");
        assert!(!ran.stderr.contains("error") && !ran.stderr.contains("abort"), "{ran}");
        assert!(rounds >= 3, "{rounds} rounds: {ran}");
    }
}

/// Connections that last, and a new one for each transaction, through one weir after the other.
#[test]
fn postgres_under_pgbench_while_weir_is_upgraded() {
    let postgres = Server::postgres();
    let mut weir = before(&postgres.addresses, "");
    Ran::of(&mut pgbench(&weir, &["-i", "-s", "1", "-q"])).expect_code(0);
    let seconds = SECONDS.to_string();
    for extra in [&[][..], &["-C"]] {
        let mut arguments = vec!["-n", "-c", "4", "-T", &seconds];
        arguments.extend(extra);
        let mut load = Load::start(&mut pgbench(&weir, &arguments));
        let rounds = replace(&mut weir, &mut load);
        let ran = load.end().expect_code(0);
        assert!(ran.stdout.contains("number of failed transactions: 0"), "{ran}");
        assert!(!ran.stderr.contains("error") && !ran.stderr.contains("abort"), "{ran}");
        assert!(rounds >= 2, "{rounds} upgrades: {ran}");
    }
}

#[test]
fn redis_under_redis_benchmark_while_weir_is_upgraded() {
    let redis = Server::redis();
    let mut weir = before(&redis.addresses, "");
    let mut rounds = 0;
    for (requests, keep) in [("60000", "1"), ("4000", "0")] {
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", &weir.web.ip().to_string(), "-p", &weir.web.port().to_string()]);
        command.args(["-n", requests, "-c", "16", "-k", keep, "-t", "set,get", "--csv"]);
        let mut load = Load::start(&mut command);
        rounds += replace(&mut weir, &mut load);
        let ran = load.end().expect_code(0);
        assert!(ran.stdout.contains("\"SET\"") && ran.stdout.contains("\"GET\""), "{ran}");
        let said = ran.stderr.to_lowercase();
        assert!(!said.contains("error") && !said.contains("closed"), "{ran}");
    }
    assert!(rounds >= 2, "{rounds} upgrades");
}
