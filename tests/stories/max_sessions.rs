//! A limit of sessions is exact: over all shards and addresses, never more and never fewer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weir_tests::clock;
use weir_tests::net::{Peer, free, listener, own_ip};
use weir_tests::weir::{Start, Weir};

/// For everybody to be served behind a limit of one, on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// A backend that counts: how many it serves at a time, seen at each accept.
#[derive(Clone, Default)]
pub(super) struct Counts(Arc<Mutex<Vec<usize>>>, Arc<Mutex<usize>>);

impl Counts {
    /// Serves everybody a line, until they end.
    pub(super) fn serve(&self, listener: TcpListener) {
        let counts = self.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut live = counts.1.lock().expect("nobody panics inside");
                *live += 1;
                counts.0.lock().expect("nobody panics inside").push(*live);
                let counts = counts.clone();
                std::thread::spawn(move || counts.session(stream));
            }
        });
    }

    fn session(&self, mut stream: TcpStream) {
        let _ = stream.write_all(b"hello\n");
        while stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        // Before its own FIN: weir's session is not over yet.
        *self.1.lock().expect("nobody panics inside") -= 1;
    }

    pub(super) fn live(&self) -> usize {
        *self.1.lock().expect("nobody panics inside")
    }

    /// How many there were after each accept.
    pub(super) fn at_accepts(&self) -> Vec<usize> {
        self.0.lock().expect("nobody panics inside").clone()
    }
}

/// A weir with one listener on three addresses.
struct ThreeAddresses {
    weir: Weir,
    addresses: [SocketAddr; 3],
    backend: SocketAddr,
    counts: Counts,
}

impl ThreeAddresses {
    fn start(most: usize) -> ThreeAddresses {
        let backends = listener(own_ip());
        let backend = backends.local_addr().expect("it is bound");
        let counts = Counts::default();
        counts.serve(backends);
        let addresses = [own_ip(), own_ip(), own_ip()].map(free);
        let text = objects(&addresses, backend, most);
        ThreeAddresses {
            weir: Weir::start(addresses[0], &text, Start::default()),
            addresses,
            backend,
            counts,
        }
    }

    fn set_limit(&self, most: usize) {
        let text = objects(&self.addresses, self.backend, most);
        let file = self.weir.file("next.toml", &text);
        self.weir.ok(&["config", "apply", &file]);
    }
}

fn objects(addresses: &[SocketAddr], backend: SocketAddr, most: usize) -> String {
    let bind: Vec<String> = addresses.iter().map(|it| format!("\"{it}\"")).collect();
    format!(
        "[listener.web]\nbind = [{}]\npool = \"web\"\nmax-sessions = {most}\n\
         [pool.web]\nhealth = {{ kind = \"none\" }}\n\
         [pool.web.backend]\nb1 = {{ address = \"{backend}\" }}\n",
        bind.join(", ")
    )
}

/// `clients` come at once; each holds its session until as many as fit have one.
fn never_more_and_everybody(most: usize, clients: usize) {
    let set = ThreeAddresses::start(most);
    let open = Mutex::new(false);
    let opened = std::sync::Condvar::new();
    std::thread::scope(|scope| {
        let mut all = Vec::new();
        for number in 0..clients {
            let mut client = Peer::connect(set.addresses[number % 3]);
            let (open, opened) = (&open, &opened);
            all.push(scope.spawn(move || {
                client.patient(LIMIT);
                assert_eq!(client.line(), "hello");
                let open = open.lock().expect("no client panics inside");
                drop(opened.wait_while(open, |open| !*open).expect("no client panics inside"));
                client.fin().expect_fin();
            }));
        }
        let full = clock::try_wait(LIMIT, || (set.counts.live() == most).then_some(()));
        let waiting = set.weir.json(&["listener", "show", "web"]);
        *open.lock().expect("no client panics inside") = true;
        opened.notify_all();
        assert!(full.is_some(), "{} of {most} are served: {waiting}", set.counts.live());
    });
    let seen = set.counts.at_accepts();
    assert_eq!(seen.len(), clients, "each client has had its session");
    assert_eq!(seen.iter().max(), Some(&most), "{seen:?}");
}

#[test]
fn one_at_a_time() {
    never_more_and_everybody(1, 12);
}

#[test]
fn four_at_a_time() {
    never_more_and_everybody(4, 24);
}

#[test]
fn forty_eight_at_once() {
    never_more_and_everybody(48, 48);
    never_more_and_everybody(48, 60);
}

#[test]
fn a_lower_limit_cuts_nobody_and_a_higher_one_is_used_at_once() {
    let set = ThreeAddresses::start(4);
    let mut clients: Vec<Peer> =
        (0..12).map(|number| Peer::connect(set.addresses[number % 3])).collect();
    let mut served = Vec::new();
    take_served(&mut clients, &mut served, 4);
    set.set_limit(2);
    // Two of the four leave: there are as many as may be. After that one comes for each that goes.
    for (left, accepts) in [(3, 4), (2, 4), (2, 5), (2, 6)] {
        let mut client: Peer = served.remove(0);
        client.fin().expect_fin();
        clock::wait_for("the next state", || {
            set.counts.live() == left && set.counts.at_accepts().len() == accepts
        });
        take_served(&mut clients, &mut served, left);
    }
    assert_eq!(set.counts.at_accepts()[4..], [2, 2], "nobody came in above the lower limit");
    set.set_limit(8);
    clock::wait_for("eight to be served", || set.counts.live() == 8);
    assert_eq!(set.counts.at_accepts().iter().max(), Some(&8));
}

/// Moves clients that have their line to `served`, until it has `count` of them.
fn take_served(clients: &mut Vec<Peer>, served: &mut Vec<Peer>, count: usize) {
    clock::wait_for("clients to be served", || {
        for mut client in std::mem::take(clients) {
            if client.hears_within(Duration::from_millis(5)) {
                assert_eq!(client.line(), "hello");
                served.push(client);
            } else {
                clients.push(client);
            }
        }
        served.len() == count
    });
}
