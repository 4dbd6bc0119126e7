//! Backends on Unix sockets: bytes both ways, ends, servers that are not there, checks, changes.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::net::{Peer, Script, noise};
use weir_tests::real::{Server, redis_cli};
use weir_tests::story::{Plan, Set};
use weir_tests::weir::Dir;

/// A socket in a directory of its own, and the connections that come in there.
struct UnixServer {
    dir: Dir,
    accepted: Receiver<UnixStream>,
}

impl UnixServer {
    fn open() -> UnixServer {
        let dir = Dir::new();
        let listener = UnixListener::bind(dir.entry("app.sock")).expect("it can be bound");
        let (give, accepted) = channel();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
                if give.send(stream).is_err() {
                    return;
                }
            }
        });
        UnixServer { dir, accepted }
    }

    fn address(&self) -> String {
        format!("unix:{}", self.dir.entry("app.sock"))
    }

    fn next(&self) -> UnixStream {
        self.accepted.recv_timeout(Duration::from_secs(20)).expect("weir connects")
    }
}

fn plan(door: &UnixServer) -> Plan {
    Plan::new(0, Script::Silent).extern_backend("b1", door.address())
}

fn state(set: &Set) -> String {
    let rows = set.weir.json(&["backend", "list", "web"]);
    rows["backends"][0]["state"].as_str().unwrap_or_default().to_owned()
}

/// A client is reset, perhaps before its connect returns.
fn is_reset(set: &Set) {
    match Peer::try_connect(set.weir.web) {
        Ok(mut client) => {
            client.expect_rst();
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

fn failures(set: &Set, reason: &str) -> u64 {
    let reason = format!("reason=\"{reason}\"");
    let page = set.weir.get("/metrics").body;
    count(&page, "weir_backend_connect_failures_total", &["pool=\"web\"", &reason])
}

fn heard(server: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    server.read_exact(&mut bytes).expect("they come");
    bytes
}

#[test]
fn bytes_go_both_ways_and_each_end_is_passed_on() {
    let door = UnixServer::open();
    let set = plan(&door).start();
    let mut client = set.client();
    let mut server = door.next();
    client.send(b"hello");
    assert_eq!(heard(&mut server, 5), b"hello");
    server.write_all(b"welcome").expect("weir reads");
    client.expect(b"welcome").fin();
    assert_eq!(server.read(&mut [0; 1]).expect("an end"), 0, "the client's FIN");
    server.write_all(b"bye").expect("weir reads");
    drop(server);
    client.expect(b"bye").expect_fin();
    clock::wait_for("the session to end", || set.weir.sessions() == 0);
    let row = &set.weir.json(&["backend", "show", "web/b1"]);
    assert_eq!(row["address"], door.address(), "{row}");
    assert_eq!((&row["received_bytes_total"], &row["sent_bytes_total"]), (&10.into(), &5.into()));
}

/// Enough of it that weir moves it through pipes.
#[test]
fn bulk_goes_through_unharmed_in_both_directions() {
    let door = UnixServer::open();
    let set = plan(&door).start();
    let mut client = set.client();
    let mut server = door.next();
    let (up, down) = (noise(1, 24 << 20), noise(2, 24 << 20));
    std::thread::scope(|scope| {
        let (mut sender, mut writer) = (client.twin(), server.try_clone().expect("a twin"));
        let (up, down) = (&up, &down);
        scope.spawn(move || {
            sender.send(up).fin();
        });
        scope.spawn(move || {
            writer.write_all(down).expect("weir reads");
            writer.shutdown(Shutdown::Write).expect("it is open");
        });
        let read = scope.spawn(move || {
            let mut all = Vec::new();
            server.read_to_end(&mut all).expect("it comes to its end");
            all
        });
        assert!(client.take(down.len()) == *down, "down");
        assert!(read.join().expect("it reads") == *up, "up");
    });
    client.expect_fin();
}

#[test]
fn a_client_that_resets_ends_the_backends_side_and_the_other_way_round() {
    let door = UnixServer::open();
    let set = plan(&door).start();
    let client = set.client();
    let mut server = door.next();
    client.rst();
    // Nothing unread is lost with it, so a Unix socket says no more than that it is over.
    assert_eq!(server.read(&mut [0; 1]).expect("an end"), 0);
    drop(server);
    clock::wait_for("the session to end", || set.weir.sessions() == 0);
    let mut client = set.client();
    let server = door.next();
    client.send(b"unread");
    let waiting = || rustix::io::ioctl_fionread(&server).unwrap_or(0);
    clock::wait_for("the bytes", || waiting() == 6);
    drop(server);
    client.expect_rst();
    clock::wait_for("the session to end", || set.weir.sessions() == 0);
}

#[test]
fn who_is_not_there_is_down_by_its_check_and_by_connects() {
    let dir = Dir::new();
    let path = dir.entry("late.sock");
    let set = Plan::new(0, Script::Silent)
        .extern_backend("b1", format!("unix:{path}"))
        .health("{ kind = \"tcp\", interval = \"100ms\", timeout = \"100ms\", rise = 1, fall = 1 }")
        .start();
    let result = |set: &Set| {
        let row = set.weir.json(&["backend", "show", "web/b1"]);
        row["check"]["result"].as_str().unwrap_or_default().to_owned()
    };
    clock::wait_for("the check to fail", || result(&set) == "no such file");
    is_reset(&set);
    clock::wait_for("the failures to be counted", || failures(&set, "unreachable") > 0);
    let listener = UnixListener::bind(&path).expect("it can be bound");
    clock::wait_for("it to be up", || state(&set) == "up");
    let _kept = set.client();
    // The file stays behind a server that has ended.
    drop(listener);
    clock::wait_for("the check to be refused", || result(&set) == "refused");
}

#[test]
fn a_full_backlog_is_a_refusal_and_no_thread_waits_for_it() {
    const CLIENTS: usize = 32;
    let dir = Dir::new();
    let path = dir.entry("full.sock");
    let flags = SocketFlags::CLOEXEC;
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("one");
    bind(&listener, &SocketAddrUnix::new(&path).expect("it is short")).expect("it can be bound");
    listen(&listener, 0).expect("it is bound");
    let set = Plan::new(0, Script::Silent).extern_backend("b1", format!("unix:{path}")).start();
    let _taken = set.client();
    clock::wait_for("the place in the backlog to be taken", || {
        let row = set.weir.json(&["backend", "show", "web/b1"]);
        row["sessions_total"] == 1
    });
    (0..CLIENTS).for_each(|_| is_reset(&set));
    let tasks = std::fs::read_dir(format!("/proc/{}/task", set.weir.pid())).expect("it runs");
    let names =
        tasks.flatten().filter_map(|it| std::fs::read_to_string(it.path().join("comm")).ok());
    let workers: Vec<String> = names.filter(|name| name.starts_with("iou-wrk")).collect();
    // The kernel lets one look once more; none stays for a client.
    assert!(workers.len() < CLIENTS / 4, "{workers:?}");
    clock::wait_for("the failures to be counted", || failures(&set, "refused") > 0);
}

#[test]
fn redis_answers_over_its_unix_socket() {
    let dir = Dir::new();
    let path = dir.entry("redis.sock");
    let address = weir_tests::net::free(weir_tests::net::own_ip());
    let mut command = Command::new("redis-server");
    command.args(["--port", &address.port().to_string(), "--bind", &address.ip().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--dir", &dir.entry("")]);
    command.args(["--unixsocket", &path, "--protected-mode", "no"]);
    let _redis = Server::spawn(&mut command, vec![address], Dir::new());
    let set = Plan::new(0, Script::Silent)
        .extern_backend("b1", format!("unix:{path}"))
        .health("{ kind = \"redis\", interval = \"200ms\", timeout = \"200ms\" }")
        .start();
    clock::wait_for("it to be up", || state(&set) == "up");
    let ran = redis_cli(set.weir.web, &["set", "key", &"x".repeat(100_000)]);
    assert!(ran.stdout.contains("OK"), "{ran}");
    let ran = redis_cli(set.weir.web, &["strlen", "key"]);
    assert!(ran.stdout.contains("100000"), "{ran}");
}

#[test]
fn it_is_changed_at_run_time_like_any_other() {
    let (one, other) = (UnixServer::open(), UnixServer::open());
    let set = plan(&one).start();
    set.weir.ok(&["backend", "add", "web/b2", &other.address()]);
    set.weir.ok(&["backend", "drain", "web/b1"]);
    let mut client = set.client();
    let mut server = other.next();
    client.send(b"x");
    assert_eq!(heard(&mut server, 1), b"x");
    set.weir.ok(&["backend", "set", "web/b2", &format!("address={}", one.address())]);
    let mut moved = set.client();
    moved.send(b"y");
    assert_eq!(heard(&mut one.next(), 1), b"y");
    client.send(b"z");
    assert_eq!(heard(&mut server, 1), b"z", "it stays where it was");
    let export = set.weir.ok(&["config", "export"]);
    assert!(export.contains(&format!("b2 = {{ address = \"{}\" }}", one.address())), "{export}");
    let why = set.weir.ok(&["why", "web", "--client", "192.0.2.1"]);
    assert!(why.contains("b2"), "{why}");
    set.weir.refuses(&["backend", "add", "web/b3", "unix:app.sock"], "does not begin with /");
    let long = format!("unix:/{}", "x".repeat(108));
    set.weir.refuses(&["backend", "add", "web/b3", &long], "at most 107 bytes");
}

/// A header tells who the client is, who has an address of IP.
#[test]
fn a_header_tells_it_of_the_client() {
    let door = UnixServer::open();
    let set = plan(&door).pool("proxy-protocol = \"v1\"").start();
    let client: Peer = set.client();
    let mut server = door.next();
    let from = client.source();
    let expected = format!("PROXY TCP4 {} {} ", from.ip(), set.weir.web.ip());
    let said = heard(&mut server, expected.len());
    assert_eq!(String::from_utf8_lossy(&said), expected);
}
