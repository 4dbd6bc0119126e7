//! The prober and its checks against listeners of this host.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;

use super::*;
use crate::serve::notify::Notify;
use weir_control_core::fakes::HealthFixture;
use weir_control_core::health::{CheckPlan, Health, Transition};
use weir_proto::spec::{BackendSpec, HealthKind, HealthSpec, Span};

fn tcp() -> HealthSpec {
    HealthSpec::default()
}

const DEADLINE: Duration = Duration::from_secs(10);

/// A backend on a thread: `serve` is called for each connection, until it gives false.
fn backend(mut serve: impl FnMut(TcpStream) -> bool + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            if !serve(socket) {
                return;
            }
        }
    });
    address
}

/// A backend that reads until `until` and answers with `answer`, in two pieces.
fn answering(until: &'static [u8], answer: &'static [u8]) -> SocketAddr {
    backend(move |mut socket| {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(until) && matches!(socket.read(&mut byte), Ok(1)) {
            seen.push(byte[0]);
        }
        let (head, tail) = answer.split_at(answer.len() / 2);
        let _ = socket.write_all(head).and_then(|()| socket.write_all(tail));
        true
    })
}

fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn outcome(spec: &HealthSpec, address: SocketAddr) -> CheckOutcome {
    let plan = CheckPlan::new(spec, address.into());
    rt::run(|| async move { check(&plan).await }).unwrap()
}

fn http(expect: Option<&str>) -> HealthSpec {
    let timeout = Span::from_secs(5);
    let (path, expect) = (Some("/health".to_owned()), expect.map(str::to_owned));
    HealthSpec { kind: HealthKind::Http, timeout, path, expect, ..HealthSpec::default() }
}

fn send_expect(send: &str, expect: &str) -> HealthSpec {
    let (send, expect) = (Some(send.to_owned()), Some(expect.to_owned()));
    let timeout = Span::from_secs(5);
    HealthSpec { kind: HealthKind::SendExpect, timeout, send, expect, ..HealthSpec::default() }
}

fn bad(why: &str) -> CheckOutcome {
    CheckOutcome::Bad(why.to_owned())
}

#[test]
fn tcp_checks() {
    assert_eq!(outcome(&tcp(), closed_port()), bad("refused"));
    let (tell, told) = std::sync::mpsc::channel();
    let address = backend(move |mut socket| {
        // A greeting that nobody reads must not turn the close into a reset.
        socket.write_all(b"220 hello\r\n").unwrap();
        let end = socket.read(&mut [0; 8]).map_err(|fault| fault.kind());
        tell.send(end).unwrap();
        true
    });
    let end = rt::run(|| async move {
        assert_eq!(check(&CheckPlan::new(&tcp(), address.into())).await, CheckOutcome::Good);
        // The parting runs on this executor, beside this.
        let heard = async {
            loop {
                match told.try_recv() {
                    Ok(end) => break end,
                    Err(_) => rt::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        rt::timeout(DEADLINE, heard).await
    });
    assert_eq!(end.unwrap(), Some(Ok(0)), "a FIN, not a reset");
}

#[test]
fn http_checks() {
    let end = b"\r\n\r\n";
    let ok = answering(end, b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(outcome(&http(None), ok), CheckOutcome::Good);
    assert_eq!(outcome(&http(Some("204")), ok), CheckOutcome::Good);
    assert_eq!(outcome(&http(Some("200")), ok), bad("status 204"));
    let sick = answering(end, b"HTTP/1.1 503 Sorry\r\nRetry-After: 9\r\n\r\n");
    assert_eq!(outcome(&http(None), sick), bad("status 503"));
    assert_eq!(outcome(&http(Some("503")), sick), CheckOutcome::Good);
    let foreign = outcome(&http(None), answering(end, b"-ERR what?\r\n"));
    let is_foreign = matches!(&foreign, CheckOutcome::Bad(why) if why.starts_with(FOREIGN));
    assert!(is_foreign, "{foreign:?}");
    assert_eq!(outcome(&http(None), answering(end, b"")), bad("closed"));
    assert_eq!(outcome(&http(None), answering(end, b"HTTP/1.1 2")), bad("closed"));
    assert_eq!(outcome(&http(None), closed_port()), bad("refused"));
}

#[test]
fn an_http_check_asks_as_it_should() {
    let (tell, told) = std::sync::mpsc::channel();
    let address = backend(move |mut socket| {
        let mut bytes = [0; 512];
        let count = socket.read(&mut bytes).unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        tell.send(String::from_utf8(bytes[..count].to_vec()).unwrap()).unwrap();
        true
    });
    assert_eq!(outcome(&http(None), address), CheckOutcome::Good);
    let request = told.recv_timeout(DEADLINE).unwrap();
    assert!(request.starts_with("GET /health HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nHost: {address}\r\n")), "{request}");
    assert!(request.contains("\r\nConnection: close\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n"), "{request}");
}

#[test]
fn send_expect_checks() {
    let redis = send_expect(r"PING\r\n", "+PONG");
    assert_eq!(outcome(&redis, answering(b"PING\r\n", b"+PONG\r\n")), CheckOutcome::Good);
    let sick = answering(b"PING\r\n", b"-LOADING dataset\r\n");
    let loading = outcome(&redis, sick);
    assert_eq!(loading, bad("unexpected answer \"-LOADING dataset\""));
    assert_eq!(outcome(&redis, answering(b"PING\r\n", b"")), bad("closed"));
    let endless = backend(|mut socket| {
        while socket.write_all(&[b'x'; 4096]).is_ok() {}
        true
    });
    let endless = outcome(&redis, endless);
    let is_foreign = matches!(&endless, CheckOutcome::Bad(why) if why.starts_with(FOREIGN));
    assert!(is_foreign, "{endless:?}");
}

const FOREIGN: &str = "unexpected answer \"";

#[test]
fn the_timeout_covers_the_whole_check() {
    let silent = backend(|socket| {
        // Kept until the check has left, then dropped.
        let _ = (&socket).read(&mut [0; 4096]).and_then(|_| (&socket).read(&mut [0; 8]));
        true
    });
    let spec = HealthSpec { timeout: Span::from_millis(30), ..http(None) };
    assert_eq!(outcome(&spec, silent), bad("timeout"));

    // A backlog that is full drops SYNs: the connect itself is what takes too long.
    let deaf = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&deaf, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&deaf, 0).unwrap();
    let deaf = TcpListener::from(deaf);
    let address = deaf.local_addr().unwrap();
    let waiting: Vec<_> = (0..4)
        .map_while(|_| TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok())
        .collect();
    assert!(waiting.len() < 4, "the backlog never filled");
    let spec = HealthSpec { timeout: Span::from_millis(50), ..tcp() };
    assert_eq!(outcome(&spec, address), bad("timeout"));
}

/// Health without a control.
struct Source {
    health: RefCell<Health>,
    told: RefCell<Vec<Transition>>,
    notify: Notify,
}

impl Source {
    fn hear(&self) {
        let untold = self.health.borrow_mut().take_untold();
        self.told.borrow_mut().extend(untold);
    }
}

/// Begins the checks that are due, and waits until others are.
async fn probe_all(source: Rc<Source>) {
    loop {
        let due = source.health.borrow_mut().take_due(rt::now());
        source.hear();
        for check in due {
            let source = source.clone();
            rt::spawn("test", async move {
                let started = rt::now();
                let outcome = probe(&check).await;
                source.health.borrow_mut().on_checked(&check, outcome, started, rt::now());
                source.hear();
                source.notify.ring();
            });
        }
        let is_due = || {
            let next = source.health.borrow().next_due();
            next.is_some_and(|at| at <= rt::now()).then_some(())
        };
        source.notify.until(is_due).await;
    }
}

/// Runs the prober until `done` says so of what it has told.
fn probe_until(
    world: &HealthFixture,
    done: impl Fn(&[Transition], &mut Health) -> bool,
) -> Vec<Transition> {
    rt::run(|| async {
        let health = RefCell::new(Health::seeded(1));
        health.borrow_mut().adopt(&world.snapshot, rt::now());
        let source = Source { health, told: RefCell::default(), notify: Notify::default() };
        let source = Rc::new(source);
        rt::spawn("test", probe_all(source.clone()));
        let until = async {
            while !done(&source.told.borrow(), &mut source.health.borrow_mut()) {
                rt::sleep(Duration::from_millis(1)).await;
                source.notify.ring();
            }
        };
        rt::timeout(DEADLINE, until).await.expect("the prober tells in time");
        source.told.take()
    })
    .unwrap()
}

#[test]
fn the_prober_takes_down_the_dead_and_brings_them_back() {
    let address = closed_port();
    let alive = backend(|_| true);
    let spec = HealthSpec { interval: Span::from_millis(20), ..tcp() };
    let world = HealthFixture::new(spec, &[alive, address]);
    let risen = RefCell::new(None);
    let told = probe_until(&world, |told, _| {
        if told.len() == 1 {
            risen.borrow_mut().get_or_insert_with(|| TcpListener::bind(address).unwrap());
        }
        told.len() == 2
    });
    let story: Vec<_> =
        told.iter().map(|c| (c.backend.as_str(), c.up, c.reason.as_str())).collect();
    assert_eq!(story, [("b2", false, "refused"), ("b2", true, "ok")]);
}

#[test]
fn a_backend_that_comes_later_is_checked_at_once() {
    let alive = backend(|_| true);
    // So long an interval that only a wake-up can explain the second check.
    let spec = HealthSpec { interval: Span::from_secs(3600), ..tcp() };
    let mut world = HealthFixture::new(spec.clone(), &[alive]);
    let first = HealthFixture::new(spec, &[alive]);
    let later = BackendSpec::new(backend(|_| true).into());
    world.snapshot = first.snapshot.clone();
    world.change(|pool| {
        pool.backend.insert("b2".parse().unwrap(), later);
    });
    let added = Cell::new(false);
    let told = probe_until(&first, |told, health| {
        let checked = health.counters(first.id("b1")).unwrap().ok == 1;
        if checked && !added.replace(true) {
            health.adopt(&world.snapshot, rt::now());
        }
        told.len() == 1
    });
    assert_eq!((told[0].backend.as_str(), told[0].up), ("b2", true));
}

#[test]
fn more_backends_than_fit_at_once_are_all_checked() {
    let alive = backend(|_| true);
    let spec = HealthSpec {
        interval: Span::from_secs(3600),
        timeout: Span::from_secs(5),
        ..HealthSpec::default()
    };
    let world = HealthFixture::new(spec, &[alive; 600]);
    let told = probe_until(&world, |_, health| {
        let all = world.snapshot.pools[0].backends.iter();
        let done = all.filter_map(|backend| health.counters(backend.id));
        done.map(|counters| counters.ok + counters.fail).sum::<u64>() == 600
    });
    assert_eq!(told, []);
}

#[test]
fn a_check_that_outlived_a_standstill_says_nothing_bad() {
    let ms = Duration::from_millis;
    assert!(!outlived(ms(1000), ms(1000)) && !outlived(ms(1499), ms(1000)));
    assert!(outlived(ms(1500), ms(1000)));
    assert!(matches!(excuse(CheckOutcome::Bad("timeout".into())), CheckOutcome::Local(_)));
    assert_eq!(excuse(CheckOutcome::Good), CheckOutcome::Good);
}
