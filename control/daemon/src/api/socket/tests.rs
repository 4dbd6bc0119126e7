//! The door against clients that behave, and that do not.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::api::clients::CLIENTS_MAX;
use crate::api::roles::Roles;
use crate::serve::tests::started;
use crate::store::tests::Directory;
use weir_proto::answer::events::EventFilter;
use weir_proto::answer::{Answer, EventKind};
use weir_proto::request::{Command, Query};

/// A client on a thread of its own.
struct TestClient(UnixStream);

impl TestClient {
    fn connect(path: &Path) -> TestClient {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        TestClient(stream)
    }

    fn greeted(path: &Path) -> TestClient {
        let mut client = TestClient::connect(path);
        client.say(&Hello { protocol: PROTOCOL, program: "test".into() });
        let welcome: Welcome = client.hear();
        assert_eq!(welcome.protocol, PROTOCOL);
        client
    }

    fn say<T: Serialize>(&mut self, value: &T) {
        self.0.write_all(&frame::encode(value).unwrap()).unwrap();
    }

    fn hear<T: DeserializeOwned>(&mut self) -> T {
        let mut header = [0; frame::HEADER];
        self.0.read_exact(&mut header).unwrap();
        let mut body = vec![0; frame::body_length(header).unwrap()];
        self.0.read_exact(&mut body).unwrap();
        frame::decode(&body).unwrap()
    }

    fn ask(&mut self, request: impl Into<Request>) -> Response {
        self.say(&request.into());
        self.hear()
    }

    /// The daemon closes without another word.
    fn expect_cut_off(mut self) {
        let mut rest = Vec::new();
        // A reset is a close too: bytes were left unread.
        let _ = self.0.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
}

/// Runs `client` on a thread beside a serving daemon, in which it is an admin.
fn with_door(name: &str, client: impl FnOnce(&Path) + Send + 'static) {
    let own = rustix::process::geteuid().as_raw();
    with_roles(name, Roles::new(None, own).unwrap(), client);
}

fn with_roles(name: &str, roles: Roles, client: impl FnOnce(&Path) + Send + 'static) {
    let directory = Directory::new(name);
    let path = directory.0.join("run").join("control.sock");
    rt::run(|| async {
        let (shared, _shards) = started().await;
        let (door, _file) = Door::open(&path).unwrap();
        rt::spawn("test", Rc::new(door).serve(Rc::new(Gate::new(shared, roles))));
        let (done, bell) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            // Dropped at the end, also by a panic: that rings the bell.
            let _done = done;
            client(&path);
        });
        rt::Bell::from(std::os::fd::OwnedFd::from(bell)).wait().await;
        thread.join().unwrap();
    })
    .unwrap();
}

/// The umask of this process, read without changing it.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(line.trim(), 8).unwrap()
}

#[test]
fn a_client_is_greeted_and_answered() {
    with_door("door-answers", |path| {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let mode = std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750 & !umask());
        let mut client = TestClient::greeted(path);
        for _ in 0..3 {
            let response = client.ask(Query::Status);
            assert!(matches!(response, Response::Done(Answer::Status(_))), "{response:?}");
        }
        let missing = client.ask(Query::PoolShow { name: "wbe".into() });
        assert!(matches!(missing, Response::Refused(_)), "{missing:?}");
    });
}

#[test]
fn a_change_carries_who_made_it() {
    use weir_proto::request::{ChangeOptions, ChangeRequest};
    with_door("door-author", |path| {
        let mut client = TestClient::greeted(path);
        let change = ChangeRequest::BackendWeight { name: "web/b1".into(), weight: 7 };
        let options = ChangeOptions::default();
        let response = client.ask(Command::Change { change, options });
        assert!(matches!(response, Response::Done(Answer::Changed(_))), "{response:?}");
        let Response::Done(Answer::History(history)) =
            client.ask(Query::ConfigHistory { before: None, limit: None })
        else {
            panic!("no history")
        };
        let by = history.versions[0].by;
        assert_eq!(by.uid, rustix::process::getuid().as_raw());
        assert_eq!(by.pid, i32::try_from(std::process::id()).unwrap());
    });
}

#[test]
fn a_change_and_its_author_are_an_event() {
    use weir_proto::request::{ChangeOptions, ChangeRequest};
    with_door("door-audit", |path| {
        let mut client = TestClient::greeted(path);
        let mut change = |name: &str, weight| {
            let change = ChangeRequest::BackendWeight { name: name.into(), weight };
            client.ask(Command::Change { change, options: ChangeOptions::default() })
        };
        assert!(matches!(change("web/b1", 7), Response::Done(_)));
        assert!(matches!(change("web/b1", 7), Response::Done(_)));
        assert!(matches!(change("web/b9", 7), Response::Refused(_)));
        let Response::Done(Answer::Events(events)) =
            client.ask(Query::Events { after: 0, filter: EventFilter::default() })
        else {
            panic!("no events")
        };
        let audit: Vec<_> =
            events.events.iter().filter(|row| row.kind == EventKind::Audit).collect();
        let texts: Vec<&str> = audit.iter().map(|row| row.text.as_str()).collect();
        assert_eq!(texts[0], "backend weight web/b1 7: done: version 1 → 2");
        assert_eq!(texts[1], "backend weight web/b1 7: done: version 2 → 2");
        assert!(texts[2].starts_with("backend weight web/b9 7: refused: version 2 → 2: "));
        assert_eq!(texts.len(), 3, "{texts:?}");
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let by = format!("uid {uid} gid {gid} pid {}", std::process::id());
        assert_eq!(audit[0].subject, by);
    });
}

#[test]
fn another_protocol_is_told_ours_and_cut_off() {
    with_door("door-skew", |path| {
        let mut client = TestClient::connect(path);
        client.say(&Hello { protocol: PROTOCOL + 1, program: "9.9".into() });
        let welcome: Welcome = client.hear();
        assert_eq!(welcome.protocol, PROTOCOL);
        client.expect_cut_off();
    });
}

#[test]
fn a_bad_client_expect_cut_off_and_nobody_else() {
    with_door("door-bad", |path| {
        let mut good = TestClient::greeted(path);
        let mut http = TestClient::connect(path);
        http.0.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        http.expect_cut_off();
        let mut long = TestClient::greeted(path);
        long.0.write_all(&u32::MAX.to_le_bytes()).unwrap();
        long.expect_cut_off();
        let mut garbled = TestClient::greeted(path);
        garbled.0.write_all(&[4, 0, 0, 0, 255, 255, 255, 255]).unwrap();
        garbled.expect_cut_off();
        let mut short = TestClient::greeted(path);
        short.0.write_all(&[9, 0]).unwrap();
        drop(short);
        drop(TestClient::connect(path));
        let response = good.ask(Query::Shards);
        assert!(matches!(response, Response::Done(Answer::Shards(_))), "{response:?}");
    });
}

#[test]
fn a_frame_that_stops_in_the_middle_is_given_up_after_its_deadline() {
    with_door("door-slow", |path| {
        let mut slow = TestClient::greeted(path);
        slow.0.write_all(&[9, 0, 0]).unwrap();
        slow.expect_cut_off();
    });
}

#[test]
fn one_client_too_many_is_turned_away() {
    with_door("door-many", |path| {
        let mut clients: Vec<TestClient> =
            (0..CLIENTS_MAX).map(|_| TestClient::greeted(path)).collect();
        TestClient::connect(path).expect_cut_off();
        assert!(matches!(clients[0].ask(Query::Shards), Response::Done(_)));
        drop(clients.pop());
        // The place is free as soon as the daemon has seen the other one leave.
        let again = (0..1000).any(|_| {
            let mut client = TestClient::connect(path);
            let hello = Hello { protocol: PROTOCOL, program: "test".into() };
            let said = client.0.write_all(&frame::encode(&hello).unwrap());
            said.is_ok() && matches!(client.0.read(&mut [0]), Ok(1))
        });
        assert!(again);
    });
}

#[test]
fn only_a_socket_that_nobody_answers_on_is_replaced() {
    let directory = Directory::new("door-stale");
    let path = directory.0.join("control.sock");
    std::fs::create_dir_all(&directory.0).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = Door::open(&path).err().unwrap();
    assert!(error.contains("another weir answers there"), "{error}");
    drop(listener);
    let (_door, file) = Door::open(&path).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    drop(file);
    assert!(!path.exists());
    std::fs::write(&path, "a note").unwrap();
    let error = Door::open(&path).err().unwrap();
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"a note");
    let link = directory.0.join("link.sock");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = Door::open(&link).err().unwrap();
    assert!(error.contains("link.sock is a symbolic link"), "{error}");
    let link = directory.0.join("run");
    std::os::unix::fs::symlink(&directory.0, &link).unwrap();
    let error = Door::open(&link.join("s.sock")).err().unwrap();
    assert!(error.contains("run is a symbolic link"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"a note");
}

#[test]
fn those_who_connect_and_say_nothing_keep_nobody_out() {
    with_door("door-silent", |path| {
        let silent: Vec<TestClient> =
            (0..4 * CLIENTS_MAX).map(|_| TestClient::connect(path)).collect();
        let mut honest = TestClient::greeted(path);
        assert!(matches!(honest.ask(Query::Shards), Response::Done(_)));
        for client in silent {
            client.expect_cut_off();
        }
        assert!(matches!(honest.ask(Query::Shards), Response::Done(_)));
    });
}
