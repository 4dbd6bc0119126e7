//! Clients that go away at any moment of weir's connect: nothing dies, nothing stays behind, and
//! every client that was accepted is counted to its end.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use weir_tests::baseline::{Baseline, count};
use weir_tests::clock;
use weir_tests::net::{self, Peer, Script};
use weir_tests::payload::Dice;
use weir_tests::size;
use weir_tests::story::Plan;

/// Accepts some at once and some late, keeps a few, closes the rest.
fn accept_oddly(listener: &TcpListener, stop: &AtomicBool) {
    let mut kept: VecDeque<TcpStream> = VecDeque::new();
    let mut dice = Dice::new(1);
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        kept.extend(stream);
        if kept.len() > 32 {
            kept.pop_front();
        }
        if dice.once_in(200) {
            clock::park(Duration::from_millis(dice.below(20)));
        }
    }
}

/// An address whose queue is full: a SYN to it is not answered. It is so while the sockets live.
fn black_hole(ip: std::net::IpAddr) -> (SocketAddr, Vec<Socket>) {
    let new = || {
        let socket = Socket::new(Domain::for_address(SocketAddr::new(ip, 0)), Type::STREAM, None);
        socket.expect("there is a descriptor")
    };
    let listener = new();
    listener.bind(&SockAddr::from(SocketAddr::new(ip, 0))).expect("a port is free");
    listener.listen(0).expect("a bound socket listens");
    let address = listener.local_addr().ok().and_then(|address| address.as_socket());
    let address = address.expect("it is bound");
    let mut held = vec![listener];
    for _ in 0..4 {
        let filler = new();
        filler.set_nonblocking(true).expect("a socket can be non-blocking");
        let _ = filler.connect(&SockAddr::from(address)); // EINPROGRESS: it waits for ever
        held.push(filler);
    }
    (address, held)
}

/// Connects, waits up to a millisecond, and goes away in one of four ways.
fn come_and_go(to: SocketAddr, dice: &mut Dice) {
    // A pool without a backend resets at once, now and then before connect(2) has returned.
    let Ok(peer) = Peer::try_connect(to) else { return };
    let mut stream = peer.into_stream();
    let moment = Duration::from_micros(dice.below(1_000) * dice.below(2));
    let end = clock::now() + moment;
    while clock::now() < end {
        std::hint::spin_loop();
    }
    let way = dice.below(4);
    if way >= 2 {
        // The backend may be gone already: that is its right.
        let _ = stream.write(b"hello");
    }
    if way.is_multiple_of(2) {
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

#[test]
fn clients_that_leave_while_weir_connects() {
    let _alone = size::alone();
    let ip = net::own_ip();
    let odd = Arc::new(net::listener(ip));
    let (hole, _held) = black_hole(ip);
    let address = odd.local_addr().expect("it is bound");
    let into_the_hole = net::free(ip);
    let mut set = Plan::new(0, Script::Silent).extern_backend("b1", address).prepare();
    let objects = format!(
        "{}\n[listener.hole]\nbind = \"{into_the_hole}\"\npool = \"hole\"\n[pool.hole]\n\
         health = {{ kind = \"none\" }}\ntimeout = {{ connect = \"2s\" }}\n\
         [pool.hole.backend]\nh1 = {{ address = \"{hole}\" }}\n",
        set.objects
    );
    set.weir.write(&objects);
    set.weir.run();
    let before = Baseline::of(&set.weir);
    let stop = Arc::new(AtomicBool::new(false));
    let accepting = {
        let (odd, stop) = (Arc::clone(&odd), Arc::clone(&stop));
        std::thread::spawn(move || accept_oddly(&odd, &stop))
    };
    let mut dice = Dice::new(11);
    let tries = size::ABORTS.get();
    for _ in 0..tries {
        let to = if dice.once_in(4) { into_the_hole } else { set.weir.web };
        come_and_go(to, &mut dice);
    }
    stop.store(true, Ordering::SeqCst);
    let _ = TcpStream::connect(address); // wakes accept(2)
    accepting.join().expect("the backend's thread ends");
    drop(odd); // whoever waits in its queue is reset, and does not keep a session half closed
    before.expect_again(&set.weir);
    let page = set.weir.get("/metrics").body;
    let accepted = count(&page, "weir_listener_sessions_accepted_total", &[]);
    // One that resets in the queue may never be accepted: that is the kernel's to decide.
    assert!(accepted <= tries && accepted > tries / 2, "void: {accepted} of {tries} accepted");
    let faults = count(&page, "weir_backend_connect_failures_total", &["local"]);
    assert_eq!(faults, 0, "a client that leaves is no fault of this host");
    for (name, labels) in [("b1", ["pool=\"web\""]), ("h1", ["pool=\"hole\""])] {
        eprintln!("{name}: {} sessions", count(&page, "weir_backend_sessions_total", &labels));
    }
}
