//! Listeners that refuse clients while they have no backend.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use weir_engine::io::Io;
use weir_engine::shard::Shard;

use crate::kernel::Kernel;

/// After each turn: a socket is paused while no backend takes the clients of its listener, if that
/// is to refuse them then, and at no other time; and the kernel knows it.
///
/// # Errors
/// It is not so.
pub fn check<I: Io>(shard: &Shard<I>, kernel: &Kernel) -> Result<(), String> {
    if let Some((address, is, _)) = shard.pauses().find(|(_, is, should)| is != should) {
        let is = if is { "refuses clients that a backend would take" } else { "listens" };
        return Err(format!("{address} {is}"));
    }
    let paused: BTreeSet<SocketAddr> =
        shard.pauses().filter(|(_, is, _)| *is).map(|(address, ..)| address).collect();
    let strange = kernel.paused_at().into_iter().find(|address| !paused.contains(address));
    strange.map_or(Ok(()), |address| Err(format!("{address} is paused, which the shard forgot")))
}
