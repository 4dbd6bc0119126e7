//! The door on a real socket, with a client that speaks plain text.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use weir_proto::answer::{Answer, Author, Changed, Said, Shards};
use weir_proto::request::{Command, Query};

use super::connections::CONNECTIONS_MAX;
use super::*;
use crate::api::audit::AuditEvent;
use crate::api::roles::Roles;

struct FakeControl {
    ready: Result<(), String>,
    /// The commands that it was given.
    done: Rc<RefCell<Vec<String>>>,
}

impl Handler for FakeControl {
    async fn refresh(&self, query: &Query) {
        panic!("HTTP waits for {query}");
    }

    async fn query(&self, query: Query) -> Result<Answer, Refusal> {
        match query {
            Query::Shards => Ok(Answer::Shards(Shards { shards: Vec::new() })),
            Query::PoolShow { .. } => {
                Err(Refusal::new(Code::NotFound, "no such pool", "weirctl pool list"))
            }
            other => Ok(Answer::Said(Said { text: format!("{other:?}") })),
        }
    }

    async fn command(&self, command: Command, by: Author) -> Result<Answer, Refusal> {
        assert_eq!(by.pid, 0, "it comes from outside");
        self.done.borrow_mut().push(command.to_string());
        let summary = command.to_string();
        Ok(Answer::Changed(Changed {
            version: 2,
            before: None,
            after: None,
            summary,
            undo: "weirctl …".to_owned(),
            dry_run: command.is_dry_run(),
            warnings: Vec::new(),
            changes: Vec::new(),
            impact: None,
            unconfirmed: None,
            shards_adopted: 1,
            shards: 1,
        }))
    }

    fn version(&self) -> u64 {
        1
    }

    fn record(&self, event: AuditEvent) {
        assert!(event.subject.starts_with("http 127.0.0.1"), "{event:?}");
    }

    fn answering(&self) -> impl Sized {}

    async fn metrics(&self, _: usize) -> Arc<Bulky<String>> {
        Arc::new(Bulky::new("a 1\n".repeat(100_000)))
    }

    fn with_events<T>(&self, look: impl FnOnce(&Events) -> T) -> T {
        look(&Events::new(1))
    }

    async fn events_after(&self, _: u64) {
        futures_lite::future::pending::<()>().await;
    }

    async fn live_history(&self) -> Arc<String> {
        Arc::new("{}".to_owned())
    }

    async fn live_figures(&self) -> Arc<String> {
        Arc::new("{}".to_owned())
    }

    fn live_points(&self) -> u64 {
        0
    }

    async fn live_points_after(&self, _: u64) {
        futures_lite::future::pending::<()>().await;
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.clone()
    }
}

/// Runs `client` on a thread of its own against a door that is served meanwhile.
fn with_door<T: Send + 'static>(
    ready: Result<(), String>,
    client: impl FnOnce(SocketAddr) -> T + Send + 'static,
) -> T {
    with_token(ready, TokenFile::default(), client).0
}

/// The same with a token. Gives the commands that came through, too.
fn with_token<T: Send + 'static>(
    ready: Result<(), String>,
    token: TokenFile,
    client: impl FnOnce(SocketAddr) -> T + Send + 'static,
) -> (T, Vec<String>) {
    rt::run(|| async move {
        let server = TcpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.local_addr().unwrap();
        let done = Rc::new(RefCell::default());
        let control = FakeControl { ready, done: Rc::clone(&done) };
        let gate = Gate::new(Rc::new(control), Roles::new(None, 0).unwrap());
        rt::spawn("test", serve(Rc::new(server), Vec::new(), token, Rc::new(gate)));
        let client = std::thread::spawn(move || client(address));
        let finished = async {
            while !client.is_finished() {
                rt::sleep(Duration::from_millis(1)).await;
            }
        };
        rt::timeout(Duration::from_secs(20), finished).await.expect("the client comes to its end");
        (client.join().unwrap(), done.take())
    })
    .unwrap()
}

fn connect(door: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(door).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    socket
}

/// What the door says until it closes.
fn read_all(mut socket: TcpStream) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}

/// One request on a connection of its own.
fn ask(door: SocketAddr, line: &str, headers: &str) -> String {
    let mut socket = connect(door);
    let head = format!("{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    read_all(socket)
}

fn get(door: SocketAddr, path: &str) -> String {
    ask(door, &format!("GET {path}"), "Host: localhost\r\n")
}

fn status_of(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn head(answer: &str) -> String {
    answer.split_once("\r\n\r\n").map_or(answer, |(head, _)| head).to_ascii_lowercase()
}

#[test]
fn answers_are_json_with_a_schema() {
    with_door(Ok(()), |door| {
        let shards = get(door, "/api/v1/shards");
        assert_eq!(status_of(&shards), "200");
        assert_eq!(body(&shards), "{\"schema\":\"weir/v1\",\"shards\":[]}\n");
        for header in [
            "content-type: application/json",
            "content-security-policy: default-src 'self'",
            "x-content-type-options: nosniff",
        ] {
            assert!(head(&shards).contains(header), "{shards}");
        }
        assert!(!head(&shards).contains("access-control"), "{shards}");
        let events = get(door, "/api/v1/events?after=7");
        assert!(body(&events).contains("Events { after: 7, filter"), "{events}");
        let missing = get(door, "/api/v1/pools/wbe");
        assert_eq!(status_of(&missing), "404");
        let start = "{\"schema\":\"weir/v1\",\"error\":{\"code\":\"not_found\",";
        assert!(body(&missing).starts_with(start), "{missing}");
        let nowhere = get(door, "/api/v2");
        assert_eq!(status_of(&nowhere), "404");
        assert!(body(&nowhere).starts_with(start), "{nowhere}");
    });
}

#[test]
fn plain_pages() {
    with_door(Ok(()), |door| {
        let health = get(door, "/healthz");
        assert_eq!((status_of(&health), body(&health)), ("200", "ok\n"));
        let ready = get(door, "/readyz");
        assert_eq!((status_of(&ready), body(&ready)), ("200", "ready\n"));
        let metrics = get(door, "/metrics");
        assert_eq!((status_of(&metrics), body(&metrics).len()), ("200", 400_000));
        assert!(head(&metrics).contains("content-type: text/plain; version=0.0.4"), "{metrics}");
        assert!(body(&get(door, "/")).contains("/api/v1/status"));
        let browser = "Host: localhost\r\nAccept: text/html,*/*;q=0.8\r\n";
        let page = ask(door, "GET /", browser);
        assert!(
            head(&page).contains("text/html") && head(&page).contains("vary: accept"),
            "{page}"
        );
        let path = body(&page).split('"').find(|word| word.ends_with("/main.js"));
        let script = get(door, &format!("/{}", path.expect("the page has a script")));
        assert!(head(&script).contains("immutable") && !head(&script).contains("no-store"));
        assert!(head(&script).contains("default-src 'self'"), "{script}");
        let head_only = ask(door, "HEAD /metrics", "Host: localhost\r\n");
        assert!(head(&head_only).contains("content-length: 400000"), "{head_only}");
        assert_eq!((status_of(&head_only), body(&head_only)), ("200", ""));
    });
}

#[test]
fn who_is_not_ready_says_why() {
    let ready = with_door(Err("pool web has no backend".to_owned()), |door| get(door, "/readyz"));
    assert_eq!((status_of(&ready), body(&ready)), ("503", "pool web has no backend\n"));
}

#[test]
fn other_methods_hosts_and_sizes_are_refused() {
    with_door(Ok(()), |door| {
        let local = "Host: localhost\r\n";
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let answer = ask(door, &format!("{method} /api/v1/shards"), local);
            assert_eq!(status_of(&answer), "405", "{answer}");
            assert!(head(&answer).contains("allow: get, head"), "{answer}");
            assert!(body(&answer).contains("\"code\":\"not_permitted\""), "{answer}");
        }
        let rebound = ["Host: evil.example\r\n", "", "Host: localhost\r\nHost: localhost\r\n"];
        for headers in rebound {
            let answer = ask(door, "GET /api/v1/shards", headers);
            assert!(["421", "400"].contains(&status_of(&answer)), "{headers}: {answer}");
            assert!(!answer.contains("shards\":[]"), "{answer}");
        }
        let absolute = ask(door, "GET http://evil.example/healthz", local);
        assert_eq!(status_of(&absolute), "421");
        let exact = format!("Host: {door}\r\n");
        assert_eq!(status_of(&ask(door, "GET /healthz", &exact)), "200");
        let big = "Host: localhost\r\nContent-Length: 65537\r\n";
        let answer = ask(door, "GET /api/v1/shards", big);
        assert_eq!(status_of(&answer), "413", "{answer}");
        let long = format!("{local}X: {}\r\n", "x".repeat(HEAD_MAX));
        let answer = ask(door, "GET /healthz", &long);
        assert_eq!(status_of(&answer), "431", "{answer}");
    });
}

#[test]
fn a_change_needs_the_token_and_its_body_is_read_only_with_it() {
    let folder = std::env::temp_dir().join(format!("weir-http-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("token");
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let token = TokenFile(Some(path));
    let ((), done) = with_token(Ok(()), token, |door| {
        let send = |line: &str, headers: &str, body: &str| {
            let mut socket = connect(door);
            let length = body.len();
            let head = format!(
                "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n"
            );
            socket.write_all(head.as_bytes()).unwrap();
            // What is refused early is not read to its end.
            let _ = socket.write_all(body.as_bytes());
            read_all(socket)
        };
        let bearer = "Authorization: Bearer 0123456789abcdef\r\n";
        let line = "PATCH /api/v1/backends/web/b1?dry-run=true&yes=true";
        let body = "{\"weight\": 2}";
        let answer = send(line, bearer, body);
        assert_eq!(status_of(&answer), "200", "{answer}");
        assert!(head(&answer).contains("etag: \"2\""), "{answer}");
        let answer = send(line, "", body);
        assert_eq!(status_of(&answer), "401", "{answer}");
        assert!(head(&answer).contains("www-authenticate: bearer"), "{answer}");
        let answer = send(line, "Authorization: Bearer 0123456789abcdee\r\n", body);
        assert_eq!(status_of(&answer), "401", "{answer}");
        let matched = format!("{bearer}If-Match: \"7\"\r\n");
        let answer = send("POST /api/v1/backends/web/b1/drain", &matched, "");
        assert_eq!(status_of(&answer), "200", "{answer}");
        let answer = send("PUT /api/v1/pools/web", bearer, "{}");
        assert_eq!(status_of(&answer), "201", "it was not there: {answer}");
        for (line, body, status) in [
            ("PATCH /api/v1/pools/web", "{", "400"),
            ("PATCH /api/v1/pools/web?dry-run=1", "{}", "400"),
            ("PATCH /api/v1/pools/web/x", "{}", "404"),
        ] {
            let answer = send(line, bearer, body);
            assert_eq!(status_of(&answer), status, "{answer}");
            assert!(head(&answer).contains("application/problem+json"), "{answer}");
        }
        let answer = send("PATCH /api/v1/pools/web", bearer, &" ".repeat(body::SETTINGS_MAX + 1));
        assert_eq!(status_of(&answer), "413", "{answer}");
    });
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(
        done,
        [
            "backend set web/b1 weight=2 --dry-run --yes",
            "backend drain web/b1 --if-version 7",
            "pool put web",
        ]
    );
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    rt::run(|| async {
        let soon = Duration::from_millis(1);
        type Piece = Result<hyper::body::Frame<Bytes>, Infallible>;
        let silence = http_body_util::StreamBody::new(futures_lite::stream::pending::<Piece>());
        let refused = body::read(silence, 9, Some("application/json"), soon).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::REQUEST_TIMEOUT);
    })
    .unwrap();
}

#[test]
fn a_probe_of_http_1_0_needs_no_host() {
    let answer = with_door(Ok(()), |door| {
        let mut socket = connect(door);
        socket.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
        read_all(socket)
    });
    assert_eq!(status_of(&answer), "200", "{answer}");
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    with_door(Ok(()), |door| {
        let mut socket = connect(door);
        for _ in 0..3 {
            socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut text = String::new();
            while !text.ends_with("\r\n\r\nok\n") {
                let mut bytes = [0; 256];
                let length = socket.read(&mut bytes).unwrap();
                assert!(length > 0, "closed after {text:?}");
                text.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
            }
            assert_eq!(status_of(&text), "200");
        }
    });
}

#[test]
fn idle_connections_do_not_shut_others_out() {
    with_door(Ok(()), |door| {
        let head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut bytes = [0; 12];
        // More than there are places; each has had an answer and keeps its connection.
        let mut open = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            let mut socket = connect(door);
            socket.write_all(head).unwrap();
            socket.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"HTTP/1.1 200");
            open.push(socket);
        }
        // The oldest had to go, the newest are as they were.
        let mut rest = Vec::new();
        let ended = open[0].read_to_end(&mut rest);
        let reset = |fault: &std::io::Error| fault.kind() == ErrorKind::ConnectionReset;
        assert!(ended.is_ok() || ended.is_err_and(|fault| reset(&fault)));
        let newest = open.last_mut().unwrap();
        newest.write_all(head).unwrap();
        newest.read_exact(&mut bytes).unwrap();
    });
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let answer = with_door(Ok(()), |door| {
        let mut socket = connect(door);
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").unwrap();
        let mut bytes = [0; 64];
        socket.read(&mut bytes)
    });
    // 15 s would have been WouldBlock: the client's own patience.
    let reset = |fault: &std::io::Error| fault.kind() == ErrorKind::ConnectionReset;
    assert!(matches!(&answer, Ok(0)) || answer.as_ref().is_err_and(reset), "{answer:?}");
}
