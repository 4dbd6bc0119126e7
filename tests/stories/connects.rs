//! Between a client and its backend: who has left gets no backend, and a backend that is not there
//! is not there, whatever connect(2) says.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::namespace;
use weir_tests::net::{self, Peer, Script};
use weir_tests::story::{Plan, Set};

/// A listener whose queue is full: no SYN to it is answered before somebody accepts.
pub(crate) struct Full {
    listener: TcpListener,
    /// Who fills the queue.
    fillers: Vec<TcpStream>,
}

impl Full {
    pub(crate) fn new() -> Full {
        let ip = net::own_ip();
        let domain = Domain::for_address(SocketAddr::new(ip, 0));
        let listener = Socket::new(domain, Type::STREAM, None).expect("there is a descriptor");
        listener.bind(&SockAddr::from(SocketAddr::new(ip, 0))).expect("a port is free");
        listener.listen(0).expect("a bound socket listens");
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().expect("it is bound");
        // The one that is not answered is given up: its SYNs would race with weir's for the place
        // that an accept makes, and who loses such a race after its SYN-ACK is reset later.
        let mut fillers = Vec::new();
        while let Ok(filler) = TcpStream::connect_timeout(&address, Duration::from_millis(150)) {
            fillers.push(filler);
            assert!(fillers.len() < 16, "the queue is never full");
        }
        Full { fillers, listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// The next connection that is no filler's. Whoever is not connected yet sends a SYN again and
    /// again, at longer and longer intervals.
    fn accept_other(&self) -> Peer {
        let fillers = self.fillers.iter().filter_map(|stream| stream.local_addr().ok());
        let fillers: Vec<SocketAddr> = fillers.collect();
        loop {
            let (stream, from) = self.listener.accept().expect("a listener accepts");
            if !fillers.contains(&from) {
                return Peer::new(stream);
            }
        }
    }
}

/// Waits until a metric has this value: control asks the shards some times a second.
fn wait_count(set: &Set, name: &str, labels: &[&str], value: u64) {
    clock::wait_for(&format!("{name}{labels:?} to be {value}"), || {
        count(&set.weir.get("/metrics").body, name, labels) == value
    });
}

/// The labels of sessions that a client's reset ended before they had a backend.
const LEFT: [&str; 3] = ["by=\"client\"", "during=\"connecting\"", "why=\"reset\""];

#[test]
fn a_client_that_resets_before_it_has_a_backend_never_gets_one() {
    const LEAVE: u64 = 20;
    let full = Full::new();
    let pool = "timeout = { connect = \"120s\" }";
    let set = Plan::new(0, Script::Silent).extern_backend("b1", full.address()).pool(pool).start();
    let leaving: Vec<Peer> = (0..LEAVE).map(|_| set.client()).collect();
    // A FIN is half a close: this one has said what it wants and waits for the answer.
    let mut staying = set.client();
    staying.send(b"question").fin();
    clock::wait_for("all of them to be connecting", || set.weir.sessions() == LEAVE + 1);
    leaving.into_iter().for_each(Peer::rst);
    clock::wait_for("those who have reset to be gone", || set.weir.sessions() == 1);
    wait_count(&set, "weir_session_ends_total", &LEFT, LEAVE);
    // The backend accepts again: the first that comes, and the only one, is the one who stayed.
    let mut served = full.accept_other();
    served.expect(b"question").expect_fin().send(b"answer").fin();
    staying.expect(b"answer").expect_fin();
    clock::wait_for("the last one to be gone", || set.weir.sessions() == 0);
    full.listener.set_nonblocking(true).expect("a socket can be non-blocking");
    let fillers = full.fillers.len();
    let mut more = std::iter::from_fn(|| full.listener.accept().ok());
    assert!(more.by_ref().count() <= fillers, "a backend got a session for nobody");
    wait_count(&set, "weir_backend_sessions_total", &[], 1);
}

#[test]
fn a_client_that_resets_between_retries_is_gone_at_once() {
    // Refused by one of them, the session waits at the other, which does not answer.
    let (full, dead) = (Full::new(), net::free(net::own_ip()));
    let pool = "timeout = { connect = \"120s\" }\nretry = { attempts = 1, within = \"120s\" }";
    let plan = Plan::new(0, Script::Silent).extern_backend("b1", dead).pool(pool);
    let set = plan.extern_backend("b2", full.address()).start();
    let clients: Vec<Peer> = (0..4).map(|_| set.client()).collect();
    clock::wait_for("all of them to be connecting", || set.weir.sessions() == 4);
    clients.into_iter().for_each(Peer::rst);
    clock::wait_for("all of them to be gone", || set.weir.sessions() == 0);
    wait_count(&set, "weir_session_ends_total", &LEFT, 4);
}

/// What a client hears that says hello to a backend that is not there.
fn hello(set: &Set) -> Option<Vec<u8>> {
    // weir may have reset it before connect(2) has returned.
    let mut stream = Peer::try_connect(set.weir.web).ok()?.into_stream();
    let _ = stream.write_all(b"hello");
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    Some(heard)
}

#[test]
fn nobody_meets_himself_at_a_port_where_nobody_listens() {
    // Eight ports: about one connect in eight takes the very port that it goes to.
    let sysctls = [("ip_local_port_range", "40000 40007")];
    let name = "connects::nobody_meets_himself_at_a_port_where_nobody_listens";
    namespace::story(name, &sysctls, || {
        const CLIENTS: usize = 90;
        let dead = SocketAddr::from((Ipv4Addr::LOCALHOST, 40003));
        let mut set = Plan::new(0, Script::Silent).extern_backend("b1", dead).prepare();
        set.weir.write(&format!(
            "{}\n[pool.checked]\nhealth = {{ kind = \"tcp\", interval = \"100ms\", rise = 1 }}\n\
             [pool.checked.backend]\nc1 = {{ address = \"{dead}\" }}\n",
            set.objects
        ));
        set.weir.run();
        let heard: Vec<_> = (0..CLIENTS).map(|_| hello(&set)).collect();
        let echoed = heard.iter().flatten().filter(|bytes| !bytes.is_empty()).count();
        assert_eq!(echoed, 0, "clients got their own bytes back");
        let page = || set.weir.get("/metrics").body;
        let refused = ["backend=\"b1\"", "reason=\"refused\""];
        wait_count(&set, "weir_backend_connect_failures_total", &refused, CLIENTS as u64);
        assert_eq!(count(&page(), "weir_backend_sessions_total", &[]), 0);
        let checks =
            |result: &str| count(&page(), "weir_backend_health_checks_total", &["c1", result]);
        clock::wait_within(Duration::from_secs(60), "90 checks", || {
            (checks("failed") + checks("ok") >= 90).then_some(())
        });
        assert_eq!(checks("ok"), 0, "a check that says ok");
        // The port is its owner's as soon as he wants it: nothing of weir's holds it. A check would
        // be the first in his queue.
        set.weir.ok(&["backend", "maint", "checked/c1"]);
        let owner =
            clock::wait_within(Duration::from_secs(2), "the port", || TcpListener::bind(dead).ok());
        let mut client = set.client();
        let (stream, _) = owner.accept().expect("a listener accepts");
        Peer::new(stream).send(b"at last").fin();
        assert_eq!(client.rest().0, b"at last");
    });
}

/// A backend that says hello to everybody and keeps him, to the end of the process.
fn greeter() -> SocketAddr {
    let listener = net::listener(net::own_ip());
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            if stream.write_all(b"b1\n").is_ok() {
                kept.push(stream);
            }
        }
    });
    address
}

#[test]
fn a_range_of_ports_that_is_widened_is_used_at_once() {
    let name = "connects::a_range_of_ports_that_is_widened_is_used_at_once";
    namespace::story(name, &[("ip_local_port_range", "40000 40019")], || {
        let mut set = Plan::new(0, Script::Silent).extern_backend("b1", greeter()).prepare();
        // Clients' own ports are not what runs out.
        let two = net::free(net::own_ip());
        set.weir
            .write(&format!("{}\n[listener.two]\nbind = \"{two}\"\npool = \"web\"\n", set.objects));
        set.weir.run();
        let mut held = Vec::new();
        let mut refused = false;
        while !refused {
            let to = if held.len() % 2 == 0 { set.weir.web } else { two };
            // A reset may come before connect(2) has returned.
            let client = Peer::try_connect(to).map(|mut client| (client.try_line(), client));
            match client {
                Ok((Ok(line), client)) if line == "b1" => held.push(client),
                _ => refused = true,
            }
            assert!(held.len() <= 20, "void: more sessions than ports");
        }
        let local = ["reason=\"local\""];
        wait_count(&set, "weir_backend_connect_failures_total", &local, 1);
        namespace::set("ip_local_port_range", "40000 40999");
        let served = (0..20).filter(|_| Peer::connect(two).try_line().is_ok_and(|it| it == "b1"));
        assert_eq!(served.count(), 20, "new sessions with 980 ports free");
    });
}

#[test]
fn an_end_is_told_from_a_reset_for_who_waits() {
    // The first story says that a FIN leaves the session alone; this one that a client which has
    // ended and then resets is gone anyway.
    let full = Full::new();
    let pool = "timeout = { connect = \"120s\" }";
    let set = Plan::new(0, Script::Silent).extern_backend("b1", full.address()).pool(pool).start();
    let mut client = set.client();
    client.send(b"question").fin();
    clock::wait_for("it to be connecting", || set.weir.sessions() == 1);
    let stream = client.into_stream();
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it is open");
    drop(stream);
    clock::wait_for("it to be gone", || set.weir.sessions() == 0);
}
