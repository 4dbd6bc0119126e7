//! At the limit of descriptors weir stops accepting: the backlog holds, nothing spins or dies.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::story::Plan;

const CLIENTS: usize = 300;
/// weir keeps a reserve for itself (files, control, checks); what is left is some 50 sessions.
const NOFILE: u32 = 480;

/// The served clients hold their sessions until the door opens.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Door {
    fn wait(&self) {
        let open = self.open.lock().expect("no client panics inside");
        drop(self.changed.wait_while(open, |open| !*open).expect("no client panics inside"));
    }

    fn open(&self) {
        *self.open.lock().expect("no client panics inside") = true;
        self.changed.notify_all();
    }
}

#[test]
fn three_hundred_clients_on_descriptors_for_fifty() {
    let set = Plan::new(1, Script::Banner).nofile(NOFILE).start();
    let (served, done, door) = (AtomicUsize::new(0), AtomicUsize::new(0), Door::default());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            // The kernel completes the handshake; whether weir takes it up is another matter.
            let mut client = Peer::connect(set.weir.web);
            let (served, done, door) = (&served, &done, &door);
            let serve = move || {
                client.patient(Duration::from_secs(60));
                assert_eq!(client.line(), "b1");
                served.fetch_add(1, Ordering::SeqCst);
                door.wait();
                client.echo(b"to the end").fin().expect_fin();
                done.fetch_add(1, Ordering::SeqCst);
            };
            let thread = std::thread::Builder::new().stack_size(256 << 10);
            thread.spawn_scoped(scope, serve).expect("there is a thread for each client");
        }
        let full = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            clock::wait_for("the first ones to be served", || served.load(Ordering::SeqCst) >= 20);
            // Full when a whole second brings nobody in; that second is also the measurement.
            let (cpu, count) = clock::wait_within(Duration::from_secs(30), "a full weir", || {
                let (count, cpu) = (served.load(Ordering::SeqCst), set.weir.cpu());
                clock::park(Duration::from_secs(1));
                let used = set.weir.cpu().saturating_sub(cpu);
                (served.load(Ordering::SeqCst) == count).then_some((used, count))
            });
            assert!(count <= NOFILE as usize / 2, "{count} sessions on {NOFILE} descriptors");
            assert!(cpu < Duration::from_millis(200), "{cpu:?} of CPU in a second of being full");
            set.weir.ok(&["status"]);
            let row = set.weir.backend("web/b1");
            assert_eq!(row["state"], "up", "a local fault never counts against a backend: {row}");
        }));
        door.open();
        if let Err(panic) = full {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(done.load(Ordering::SeqCst), CLIENTS, "everybody was served in the end");
    clock::wait_for("weir to be empty", || set.weir.sessions() == 0);
    set.session().0.echo(b"open again");
}

#[test]
fn the_limit_is_said_once_at_the_start() {
    let set = Plan::new(1, Script::Banner).nofile(NOFILE).start();
    let log = set.weir.log();
    assert!(log.contains(&NOFILE.to_string()), "no word about RLIMIT_NOFILE in:\n{log}");
}

#[test]
fn an_idle_weir_with_idle_sessions_uses_no_cpu() {
    let set = Plan::new(1, Script::Banner).start();
    let held: Vec<_> = (0..100).map(|_| set.session()).collect();
    let before = set.weir.cpu();
    clock::park(Duration::from_secs(1));
    let used = set.weir.cpu().saturating_sub(before);
    assert!(used < Duration::from_millis(100), "{used:?} of CPU in a second of idling");
    drop(held);
}

#[test]
fn too_few_descriptors_to_serve_are_refused_at_the_start() {
    let mut set = Plan::new(1, Script::Banner).nofile(40).prepare();
    set.weir.spawn();
    assert_eq!(set.weir.wait_exit(clock::PATIENCE), 1);
    clock::wait_for("the way out", || set.weir.log().contains("descriptors"));
}
