//! Clients that come all the time while something is done to weir.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::net::Peer;

/// Clients at a time, each one after the other.
const VISITORS: usize = 3;

/// Ends the visitors also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs `work` while clients come to `at`, each for a line of its backend. Returns how many came.
///
/// # Panics
/// If one of them was not served.
pub fn all_served_during(at: SocketAddr, work: impl FnOnce()) -> usize {
    let (stop, faults) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let visits: usize = std::thread::scope(|scope| {
        let stop_at_last = Stop(&stop);
        let visitors: Vec<_> =
            (0..VISITORS).map(|_| scope.spawn(|| visit(at, &stop, &faults))).collect();
        work();
        drop(stop_at_last);
        visitors.into_iter().map(|visitor| visitor.join().expect("no visitor panics")).sum()
    });
    let faults = faults.into_inner().expect("no visitor panics");
    assert!(faults.is_empty(), "{} of {visits} visits failed: {faults:?}", faults.len());
    visits
}

/// Comes to `at` until `stop`; what went wrong, and how many visits there were.
fn visit(at: SocketAddr, stop: &AtomicBool, faults: &Mutex<Vec<String>>) -> usize {
    let mut visits = 0;
    while !stop.load(Ordering::SeqCst) {
        visits += 1;
        let served = Peer::try_connect(at).and_then(|mut peer| {
            peer.try_line()?;
            peer.fin();
            Ok(())
        });
        if let Err(error) = served {
            faults.lock().expect("no visitor panics").push(error.to_string());
        }
    }
    visits
}
