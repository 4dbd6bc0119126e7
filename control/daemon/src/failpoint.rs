//! Faults on order, for stories: WEIR_FAILPOINTS names a socket, and each datagram on it is one.
//! Compiled into builds with debug assertions only.
//!
//! `shard 1 panic 300`, `shard 1 spin 3000`, `shard 1 sleep 3000`, `shard 1 linger 3000` (in its
//! ring; all in milliseconds), `control panic`

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use weir_engine::failpoint::Fault;
use weir_proto::ids::ShardId;

use crate::watchdog::SupervisedEngine;

static CONTROL_PANICS: AtomicBool = AtomicBool::new(false);

/// Hears orders from now on, if the environment asks for it.
///
/// # Errors
/// The socket or the thread is unavailable.
pub(crate) fn arm(engine: &Arc<SupervisedEngine>) -> Result<(), String> {
    let Some(path) = std::env::var_os("WEIR_FAILPOINTS") else { return Ok(()) };
    let text = |error: std::io::Error| format!("WEIR_FAILPOINTS: {error}");
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

fn obey(engine: &SupervisedEngine, order: &str) -> Option<()> {
    let words: Vec<&str> = order.split_whitespace().collect();
    let (shard, fault) = match words[..] {
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

/// Called at each tick of control.
pub(crate) fn at_tick() {
    assert!(!CONTROL_PANICS.load(Ordering::Acquire), "a test has ordered this panic");
}
