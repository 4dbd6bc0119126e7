//! The addresses that connections to backends come from: by turns, of the backend's family, past
//! those that have no port left or are not on this host; of checks, too.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, channel};

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::namespace;
use weir_tests::net::{self, Peer, Script};
use weir_tests::story::{Plan, Set};
use weir_tests::weir::binary;

/// An address that no host of a story has (RFC 5737).
const ABSENT: &str = "198.51.100.77";

/// A backend that says to each client where it comes from; and the same to the story.
fn mirror(ip: IpAddr) -> (SocketAddr, Receiver<IpAddr>) {
    let listener = net::listener(ip);
    let address = listener.local_addr().expect("it is bound");
    let (says, hears) = channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((mut stream, from)) = listener.accept() {
            let _ = says.send(from.ip());
            if stream.write_all(format!("{}\n", from.ip()).as_bytes()).is_ok() {
                kept.push(stream);
            }
        }
    });
    (address, hears)
}

/// Opens N sessions; where the backend has seen each come from.
fn seen(set: &Set, sessions: usize) -> Vec<String> {
    (0..sessions).map(|_| set.client().line()).collect()
}

fn failures(set: &Set, reason: &str) -> u64 {
    let reason = format!("reason=\"{reason}\"");
    let page = set.weir.get("/metrics").body;
    count(&page, "weir_backend_connect_failures_total", &["pool=\"web\"", &reason])
}

#[test]
fn backends_see_the_addresses_of_the_pool_by_turns() {
    let [one, two, three] = [(); 3].map(|()| net::own_ip());
    let (address, _hears) = mirror(net::own_ip());
    let pool = format!("source = [\"{one}\", \"{two}\", \"fd00::5\"]");
    let set =
        Plan::new(0, Script::Silent).extern_backend("b1", address).shards(1).pool(&pool).start();
    let [one, two, three] = [one, two, three].map(|ip| ip.to_string());
    assert_eq!(seen(&set, 4), [&one, &two, &one, &two].map(String::clone));
    // A change is for the next session.
    set.weir.ok(&["pool", "set", "web", &format!("source={three}")]);
    assert_eq!(seen(&set, 2), [three.clone(), three.clone()]);
    let shown = set.weir.json(&["pool", "show", "web"]);
    assert_eq!(shown["source"], serde_json::json!([three]), "{shown}");
    assert!(set.weir.ok(&["config", "export"]).contains(&format!("source = \"{three}\"")));
    set.weir.ok(&["pool", "set", "web", "source="]);
    let left = seen(&set, 1).remove(0).parse::<IpAddr>().expect("an address");
    assert!(![&one, &two, &three].contains(&&left.to_string()), "the kernel chooses: {left}");
    set.weir.refuses(&["pool", "set", "web", "source=0.0.0.0"], "stands for every address");
    set.weir.refuses(&["pool", "set", "web", "source=10.0.0.5:80"], "is not an IP address");
}

#[test]
fn an_address_of_its_family_is_taken_and_else_the_kernel_chooses() {
    let one = net::own_ip();
    let pool = format!("source = \"{one}\"");
    let (address, _hears) = mirror("::1".parse().expect("an address"));
    let set = Plan::new(0, Script::Silent).extern_backend("b1", address).pool(&pool).start();
    assert_eq!(seen(&set, 1), ["::1"]);
    set.weir.ok(&["pool", "set", "web", &format!("source={one},::1")]);
    assert_eq!(seen(&set, 2), ["::1", "::1"]);
}

#[test]
fn checks_come_from_the_first_address_that_is_there() {
    let [one, two] = [(); 2].map(|()| net::own_ip());
    let (address, hears) = mirror(net::own_ip());
    let health = "{ kind = \"tcp\", interval = \"100ms\", slow-start = \"0s\" }";
    let pool = format!("source = [\"{ABSENT}\", \"{one}\", \"{two}\"]");
    let set = Plan::new(0, Script::Silent)
        .extern_backend("b1", address)
        .health(health)
        .pool(&pool)
        .start();
    assert_eq!(hears.recv_timeout(clock::PATIENCE), Ok(one));
    set.weir.wait_state("web/b1", "up");
    // A check is another one from elsewhere: it begins at once.
    set.weir.ok(&["pool", "set", "web", &format!("source={two}")]);
    clock::wait_for("a check from the other address", || hears.try_iter().any(|ip| ip == two));
    set.weir.ok(&["pool", "set", "web", &format!("source={ABSENT}")]);
    let check = || set.weir.backend("web/b1")["check"]["result"].clone();
    let local = format!("local: source {ABSENT} is not on this host");
    clock::wait_for("the check to tell", || check() == local.as_str());
    assert_eq!(set.weir.backend("web/b1")["state"], "up", "it says nothing about the backend");
}

#[test]
fn an_address_that_is_not_there_is_passed_over_and_never_blames_the_backend() {
    let one = net::own_ip();
    let (address, _hears) = mirror(net::own_ip());
    let pool = format!("source = [\"{ABSENT}\", \"{one}\"]");
    let set = Plan::new(0, Script::Silent).extern_backend("b1", address).pool(&pool).start();
    assert_eq!(seen(&set, 5), vec![one.to_string(); 5]);
    assert_eq!(failures(&set, "source"), 0);
    set.weir.ok(&["pool", "set", "web", &format!("source={ABSENT}"), "retry.attempts=0"]);
    for _ in 0..5 {
        assert!(visit(set.weir.web).is_none(), "no connection can be made");
    }
    clock::wait_for("failures of the source", || failures(&set, "source") == 5);
    assert_eq!(failures(&set, "local") + failures(&set, "unreachable"), 0);
    assert_eq!(set.weir.backend("web/b1")["state"], "up");
    let stats = set.weir.json(&["stats", "web/b1"]);
    assert_eq!(stats["connect_failures_total"]["source"], 5, "{stats}");
    let ends = count(&set.weir.get("/metrics").body, "weir_session_ends_total", &["why=\"local\""]);
    assert_eq!(ends, 5);
}

/// A client, and the line that it got; a reset may come before connect(2) has returned.
fn visit(to: SocketAddr) -> Option<(Peer, String)> {
    let mut client = Peer::try_connect(to).ok()?;
    let line = client.try_line().ok()?;
    Some((client, line))
}

#[test]
fn ports_that_are_used_up_at_one_address_leave_those_of_the_other() {
    let name = "sources::ports_that_are_used_up_at_one_address_leave_those_of_the_other";
    namespace::story(name, &[("ip_local_port_range", "40000 40039")], || {
        let [one, two, server] = [1, 2, 9].map(|last| IpAddr::V4(Ipv4Addr::new(127, 9, 0, last)));
        let (address, _hears) = mirror(server);
        let pool = format!("source = \"{one}\"\nretry = {{ attempts = 0 }}");
        let plan = Plan::new(0, Script::Silent).extern_backend("b1", address);
        let mut set = plan.shards(1).pool(&pool).prepare();
        // Clients' own ports are not what runs out.
        let doors = [(); 4].map(|()| net::free(net::own_ip()));
        let mut objects = set.objects.clone();
        for (number, door) in doors.iter().enumerate() {
            objects += &format!("\n[listener.l{number}]\nbind = \"{door}\"\npool = \"web\"\n");
        }
        set.weir.write(&objects);
        set.weir.run();
        let mut kept = Vec::new();
        let mut fill = |from: IpAddr| {
            let before = kept.len();
            while let Some((client, line)) = visit(doors[kept.len() % doors.len()]) {
                assert_eq!(line, from.to_string());
                kept.push(client);
                assert!(kept.len() <= 80, "void: more sessions than ports");
            }
            kept.len() - before
        };
        let first = fill(one);
        assert!(first > 20, "void: {first} sessions with 40 ports");
        clock::wait_for("the failure to count", || failures(&set, "local") == 1);
        // Each session whose turn is with the first address goes on from the second.
        set.weir.ok(&["pool", "set", "web", &format!("source={one},{two}")]);
        let second = fill(two);
        assert!(second.abs_diff(first) <= 2, "{first} sessions from one, {second} from the other");
        clock::wait_for("the failure to count", || failures(&set, "local") == 2);
        assert_eq!(failures(&set, "source"), 0);
        assert_eq!(set.weir.backend("web/b1")["state"], "up");
    });
}

#[test]
fn the_checker_of_files_says_what_is_wrong_with_an_address() {
    let run = |source: &str| {
        let text = format!(
            "[listener.web]\nbind = \"127.0.0.1:8080\"\npool = \"web\"\n[pool.web]\n\
             source = {source}\n[pool.web.backend]\nb1 = {{ address = \"127.0.0.1:81\" }}\n"
        );
        let dir = weir_tests::weir::Dir::new();
        let file = dir.write("weir.toml", &text);
        let mut command = std::process::Command::new(binary("weir", "WEIR_BIN"));
        weir_tests::weir::Ran::of(command.args(["check", &file]))
    };
    for (source, words) in [
        ("\"10.0.0.300\"", "\"10.0.0.300\" is not an IP address"),
        ("\"10.0.0.5:80\"", "\"10.0.0.5:80\" is not an IP address"),
        ("\"0.0.0.0\"", "0.0.0.0 stands for every address"),
        ("\"224.0.0.1\"", "224.0.0.1 is the address of a group of hosts"),
        ("[\"10.0.0.5\", \"10.0.0.5\"]", "10.0.0.5 stands there twice"),
        ("[]", "an empty list"),
        ("\"client\"", "the client's own address (IP_TRANSPARENT) is not built yet"),
    ] {
        let ran = run(source).expect_code(1);
        assert!(ran.stderr.contains(words), "{source}: {ran}");
    }
    let ran = run(&format!("[\"{ABSENT}\", \"fd00::77\"]")).expect_code(0);
    assert!(ran.stderr.contains(&format!("{ABSENT} of pool web is not on this host")), "{ran}");
    let ran = run("\"::1\"").expect_code(0);
    assert!(ran.stderr.contains("no address of IPv4 is in it, and b1 is reached by IPv4"), "{ran}");
}
