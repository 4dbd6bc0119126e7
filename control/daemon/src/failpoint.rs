//! Faults on order, for stories: WEIR_FAILPOINTS names a socket, and each datagram on it is one.
//! Compiled into builds with debug assertions only.
//!
//! `shard 1 panic 300`, `shard 1 spin 3000`, `shard 1 sleep 3000`, `shard 1 linger 3000` (in its
//! ring; all in milliseconds), `control panic`; `store mark sync 0 EIO once` (the file, the system
//! call, how many of them still work, the error or `short`, `once` or `lasting`), `store heal`;
//! `clock -86400000` (what is added to the wall clock; WEIR_TEST_CLOCK_MS does it from the start).
//! What was ordered of the store and the clock is in the log as soon as it holds.

use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use weir_engine::failpoint::Fault;
use weir_proto::ids::ShardId;

use crate::rt;
use crate::store::calls::{Call, Failure, Fault as StoreFault, Faults, Which};
use crate::watchdog::SupervisedEngine;

/// The faults of the state that is served.
static STORE: OnceLock<Faults> = OnceLock::new();
static CONTROL_PANICS: AtomicBool = AtomicBool::new(false);

/// Hears orders from now on, if the environment asks for it.
///
/// # Errors
/// The socket or the thread is unavailable.
pub(crate) fn arm(engine: &Arc<SupervisedEngine>) -> Result<(), String> {
    let Some(path) = std::env::var_os("WEIR_FAILPOINTS") else { return Ok(()) };
    let text = |error: std::io::Error| format!("WEIR_FAILPOINTS: {error}");
    let shift = std::env::var("WEIR_TEST_CLOCK_MS").ok().and_then(|text| text.parse().ok());
    rt::WALL_SHIFT_MS.store(shift.unwrap_or(0), Ordering::Release);
    // One that a weir before this one has left.
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).map_err(text)?;
    let engine = Arc::clone(engine);
    let hear = move || {
        let mut bytes = [0; 128];
        while let Ok(length) = socket.recv(&mut bytes) {
            let order = String::from_utf8_lossy(&bytes[..length]);
            if obey(&engine, &order).is_none() {
                tracing::error!("WEIR_FAILPOINTS: what is {order:?}?");
            }
        }
    };
    thread::Builder::new().name("weir-failpoint".to_owned()).spawn(hear).map_err(text)?;
    tracing::warn!("failpoints are armed: this build is for tests");
    Ok(())
}

/// Orders for the store are for this one.
pub(crate) fn watch(faults: Option<Faults>) {
    if let Some(faults) = faults {
        // There is one state in a process.
        let _ = STORE.set(faults);
    }
}

fn obey(engine: &SupervisedEngine, order: &str) -> Option<()> {
    let words: Vec<&str> = order.split_whitespace().collect();
    let (shard, fault) = match words[..] {
        ["store", ..] => {
            STORE.get()?.set(store_fault(&words)?);
            tracing::warn!("failpoint: {order}");
            return Some(());
        }
        ["clock", millis] => {
            rt::WALL_SHIFT_MS.store(millis.parse().ok()?, Ordering::Release);
            tracing::warn!("failpoint: {order}");
            return Some(());
        }
        ["control", "panic"] => {
            CONTROL_PANICS.store(true, Ordering::Release);
            return Some(());
        }
        ["shard", shard, "panic", millis] => (shard, Fault::Panic(millis.parse().ok()?)),
        ["shard", shard, "spin", millis] => (shard, Fault::Spin(millis.parse().ok()?)),
        ["shard", shard, "sleep", millis] => (shard, Fault::Sleep(millis.parse().ok()?)),
        ["shard", shard, "linger", millis] => (shard, Fault::Linger(millis.parse().ok()?)),
        _ => return None,
    };
    engine.strike(ShardId(shard.parse().ok()?), fault);
    Some(())
}

/// The fault that is ordered; `Some(None)` ends the one that there is.
fn store_fault(words: &[&str]) -> Option<Option<StoreFault>> {
    let [_, which, call, after, failure, lasts] = words else {
        return (words == ["store", "heal"]).then_some(None);
    };
    let which = match *which {
        "state" => Which::State,
        "mark" => Which::Mark,
        _ => return None,
    };
    let call = match *call {
        "read" => Call::Read,
        "write" => Call::Write,
        "resize" => Call::Resize,
        "allocate" => Call::Allocate,
        "sync" => Call::Sync,
        _ => return None,
    };
    let failure = match *failure {
        "EIO" => Failure::Errno(libc::EIO),
        "ENOSPC" => Failure::Errno(libc::ENOSPC),
        "EDQUOT" => Failure::Errno(libc::EDQUOT),
        "EROFS" => Failure::Errno(libc::EROFS),
        "EINTR" => Failure::Errno(libc::EINTR),
        "short" => Failure::Short,
        "short-ENOSPC" => Failure::ShortThen(libc::ENOSPC),
        _ => return None,
    };
    let lasts = match *lasts {
        "once" => false,
        "lasting" => true,
        _ => return None,
    };
    Some(Some(StoreFault { which, call, after: after.parse().ok()?, lasts, failure }))
}

/// Called at each tick of control.
pub(crate) fn at_tick() {
    assert!(!CONTROL_PANICS.load(Ordering::Acquire), "a test has ordered this panic");
}
