//! Backends that DNS names: they follow it, and no failure of DNS takes one away. dnsmasq answers.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::{Backend, Peer, Script, free, own_ip};
use weir_tests::real::dns::Dns;
use weir_tests::weir::{Start, Weir};

/// Backends at addresses of their own, all with one port, named as what they say.
fn backends(count: usize) -> Vec<Backend> {
    let ips: Vec<_> = (0..count).map(|_| own_ip()).collect();
    let port = free(ips[0]).port();
    let start = |(place, ip): (usize, _)| {
        let address = SocketAddr::new(ip, port);
        Backend::start_at(&format!("b{}", place + 1), address, Script::Banner)
    };
    ips.into_iter().enumerate().map(start).collect()
}

/// The lines of a hosts file that give `web.test` the addresses of these.
fn hosts<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> String {
    backends.into_iter().map(|it| format!("{} web.test\n", it.address.ip())).collect()
}

/// A weir whose pool `web` asks this server every second.
fn weir(dns: SocketAddr, discover: &str, backends: &str) -> Weir {
    let web = free(own_ip());
    let objects = format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"web\"\n\n\
         [pool.web]\nstrategy = \"round-robin\"\n\
         health = {{ kind = \"none\", slow-start = \"0s\" }}\n\
         discover = {{ {discover}, resolver = \"{dns}\", refresh = \"1s\" }}\n\n\
         [pool.web.backend]\n{backends}"
    );
    Weir::start(web, &objects, Start::default())
}

fn by_host(dns: &Dns, backends: &[Backend]) -> Weir {
    let port = backends[0].address.port();
    weir(dns.address, &format!("dns = \"web.test.:{port}\""), "")
}

/// Each backend of the pool and its state.
fn states(weir: &Weir) -> Vec<(String, String)> {
    let list = weir.json(&["backend", "list", "web"]);
    let word = |row: &Value, key: &str| row[key].as_str().expect("a word").to_owned();
    let rows = list["backends"].as_array().expect("backends").iter();
    rows.map(|row| (word(row, "name"), word(row, "state"))).collect()
}

/// Waits until the pool has these and no others.
fn wait_states(weir: &Weir, wanted: &[(&Backend, &str)]) {
    let named = |(backend, state): &(&Backend, &str)| {
        (format!("web/{}", backend.address), (*state).to_owned())
    };
    let mut wanted: Vec<_> = wanted.iter().map(named).collect();
    wanted.sort();
    let mut last = Vec::new();
    let same = clock::try_wait(std::time::Duration::from_secs(60), || {
        last = states(weir);
        (last == wanted).then_some(())
    });
    assert!(same.is_some(), "{last:?}, not {wanted:?}: {}", weir.ok(&["events"]));
}

/// Waits until DNS has this fault.
fn wait_failure(weir: &Weir, words: &str) {
    clock::wait_for(words, || {
        let shown = weir.json(&["pool", "show", "web"]);
        shown["discovery"]["failure"].as_str().is_some_and(|why| why.contains(words))
    });
}

/// A client, and the name of the backend that it got.
fn session(weir: &Weir) -> (Peer, String) {
    let mut client = Peer::connect(weir.web);
    let name = client.line();
    (client, name)
}

/// Each of two backends gets sessions. A shard takes turns by itself.
fn serves_both(weir: &Weir) {
    let mut names = BTreeSet::new();
    clock::wait_for("a session for each", || {
        names.insert(session(weir).1);
        names.len() == 2
    });
}

#[test]
fn backends_follow_dns_and_sessions_stay() {
    let all = backends(3);
    let dns = Dns::start(&hosts(&all[..2]), &[]);
    let weir = by_host(&dns, &all);
    wait_states(&weir, &[(&all[0], "up"), (&all[1], "up")]);
    let (mut held, name) = session(&weir);
    let (stays, other) = if name == "b1" { (0, 1) } else { (1, 0) };
    let id = |weir: &Weir| weir.backend(&format!("web/{}", all[stays].address));
    assert_eq!(id(&weir)["discovered"], true);
    dns.know(&hosts(&all));
    wait_states(&weir, &[(&all[0], "up"), (&all[1], "up"), (&all[2], "up")]);
    // One leaves: it has a session, which goes on.
    dns.know(&hosts([&all[other], &all[2]]));
    wait_states(&weir, &[(&all[stays], "draining"), (&all[other], "up"), (&all[2], "up")]);
    held.echo(b"still there");
    for _ in 0..6 {
        assert_ne!(session(&weir).1, name, "it gets no new ones");
    }
    let why = weir.ok(&["why", "web", "--client", "192.0.2.1"]);
    assert!(why.contains(&format!("web/{}", all[stays].address)), "{why}");
    // It is back before its session has ended: it is the same backend.
    dns.know(&hosts(&all));
    wait_states(&weir, &[(&all[0], "up"), (&all[1], "up"), (&all[2], "up")]);
    held.echo(b"the same one");
    assert!(id(&weir)["sessions"].as_u64() >= Some(1), "{}", id(&weir));
    dns.know(&hosts([&all[other], &all[2]]));
    wait_states(&weir, &[(&all[stays], "draining"), (&all[other], "up"), (&all[2], "up")]);
    held.fin().expect_fin();
    wait_states(&weir, &[(&all[other], "up"), (&all[2], "up")]);
    // None of it is configuration.
    assert_eq!(weir.version(), 1);
    let exported = weir.ok(&["config", "export"]);
    assert!(!exported.contains("backend") && exported.contains("discover"), "{exported}");
    let file = weir.file("same.toml", &exported);
    assert!(weir.ok(&["config", "diff", &file]).contains("no difference"));
    weir.ok(&["config", "apply", &file]);
    assert_eq!(states(&weir).len(), 2, "a file takes none of them away");
}

#[test]
fn no_failure_of_dns_takes_a_backend_away() {
    let all = backends(2);
    let mut dns = Dns::start(&hosts(&all), &[]);
    let weir = by_host(&dns, &all);
    let both = [(&all[0], "up"), (&all[1], "up")];
    wait_states(&weir, &both);
    let serves = || {
        assert_eq!(states(&weir).len(), 2);
        serves_both(&weir);
    };
    dns.know("");
    wait_failure(&weir, "NXDOMAIN");
    serves();
    dns.stand_still(true);
    wait_failure(&weir, "no answer in time");
    serves();
    assert!(weir.ok(&["status"]).contains("pool web: dns web.test.:"));
    dns.stand_still(false);
    let address = dns.address;
    drop(dns);
    wait_failure(&weir, "cannot be reached");
    serves();
    // It knows no name, and has no one to ask.
    dns = Dns::start_at(address, "", &[]);
    wait_failure(&weir, "REFUSED");
    serves();
    drop(dns);
    dns = Dns::start_at(address, "", &["--local=/test/", "--txt-record=web.test,hello"]);
    wait_failure(&weir, "NODATA");
    serves();
    drop(dns);
    let _dns = Dns::start_at(address, &hosts(&all), &["--local=/test/"]);
    let events = || weir.ok(&["events", "--kind", "discovery"]);
    clock::wait_for("an answer", || events().contains("is answered again"));
    wait_states(&weir, &both);
    let page = weir.get("/metrics").body;
    for result in ["nxdomain", "nodata", "timeout", "unreachable", "refused"] {
        let none = format!("weir_pool_lookups_total{{pool=\"web\",result=\"{result}\"}} 0\n");
        assert!(!page.contains(&none), "{result}: {page}");
    }
}

#[test]
fn a_restart_while_dns_is_away_serves_at_once() {
    let all = backends(2);
    let dns = Dns::start(&hosts(&all), &[]);
    let mut weir = by_host(&dns, &all);
    wait_states(&weir, &[(&all[0], "up"), (&all[1], "up")]);
    clock::wait_for("the file", || {
        let text = std::fs::read_to_string(weir.dir.entry("state/weir.members"));
        text.is_ok_and(|text| all.iter().all(|it| text.contains(&it.address.to_string())))
    });
    dns.stand_still(true);
    weir.kill();
    weir.run();
    assert_eq!(states(&weir).len(), 2);
    serves_both(&weir);
    dns.stand_still(false);
    dns.know(&hosts(&all[..1]));
    wait_states(&weir, &[(&all[0], "up")]);
}

#[test]
fn an_answer_that_does_not_fit_comes_over_tcp() {
    let addresses: String = (1..=60).map(|last| format!("127.99.0.{last} web.test\n")).collect();
    let dns = Dns::start(&addresses, &["--edns-packet-max=512"]);
    let weir = weir(dns.address, "dns = \"web.test.:9\"", "");
    clock::wait_for("all of them", || states(&weir).len() >= 60);
    let told = weir.ok(&["events", "--kind", "discovery"]);
    assert!(told.contains("127.99.0.3:9 and 57 more joined"), "all at once: {told}");
}

#[test]
fn services_have_their_ports_priorities_and_weights() {
    let first = Backend::start("b1", own_ip(), Script::Banner);
    let backup = Backend::start("b2", own_ip(), Script::Banner);
    let service = |name: &str, backend: &Backend, priority: u16, weight: u16| {
        let port = backend.address.port();
        format!("--srv-host=_web._tcp.test,{name}.test,{port},{priority},{weight}")
    };
    let options = [service("one", &first, 0, 3), service("two", &backup, 10, 1)];
    let names = format!("{} one.test\n{} two.test\n", first.address.ip(), backup.address.ip());
    let dns = Dns::start(&names, &options.each_ref().map(String::as_str));
    let weir = weir(dns.address, "srv = \"_web._tcp.test.\"", "");
    wait_states(&weir, &[(&first, "up"), (&backup, "up")]);
    let row = |it: &Backend| weir.backend(&format!("web/{}", it.address));
    assert_eq!(
        (row(&first)["priority"].as_u64(), row(&first)["weight"].as_u64()),
        (Some(0), Some(3))
    );
    assert_eq!(row(&backup)["priority"].as_u64(), Some(10));
    for _ in 0..4 {
        assert_eq!(session(&weir).1, "b1", "the other one is a backup");
    }
}

#[test]
fn an_operator_configures_one_in_the_place_of_one_that_dns_names() {
    let all = backends(2);
    let dns = Dns::start(&hosts(&all), &[]);
    let weir = by_host(&dns, &all);
    wait_states(&weir, &[(&all[0], "up"), (&all[1], "up")]);
    let name = format!("web/{}", all[0].address);
    for act in [&["backend", "drain", &name][..], &["backend", "weight", &name, "7"]] {
        weir.refuses(act, "is no configuration: DNS names it (dns web.test.:");
    }
    let address = all[0].address.to_string();
    weir.ok(&["backend", "add", "web/held", &address, "state=drain"]);
    let mut names: Vec<String> = states(&weir).into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, [format!("web/{}", all[1].address), "web/held".to_owned()]);
    assert_eq!(session(&weir).1, "b2");
    weir.ok(&["backend", "remove", "web/held"]);
    wait_states(&weir, &[(&all[0], "up"), (&all[1], "up")]);
}

#[test]
fn a_name_in_etc_hosts_needs_no_dns() {
    let silent = free(own_ip());
    let weir = weir(silent, "dns = \"localhost:9\"", "");
    clock::wait_for("the backend", || {
        states(&weir).iter().any(|(name, _)| name == "web/127.0.0.1:9")
    });
}
