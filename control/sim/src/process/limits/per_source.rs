//! Sources of clients over all shards: while the sockets of an address are the same, and steered,
//! no source has more sessions at it than its listener allows.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use weir_control_core::control::Control;
use weir_core::steering::Steering;
use weir_engine_sim::kernel::Kernel;
use weir_proto::ids::ListenerId;
use weir_proto::snapshot::PerSource;

use super::super::SimShard;

/// The addresses as they were a step ago.
#[derive(Debug, Default)]
pub(super) struct SourcesEverywhere {
    steady: BTreeMap<SocketAddr, Steady>,
    counts: BTreeMap<(SocketAddr, IpAddr), usize>,
}

/// An address whose clients are steered, since then.
#[derive(Clone, Debug)]
struct Steady {
    listener: ListenerId,
    limits: PerSource,
    sockets: Vec<usize>,
    steering: Option<Steering>,
    since: u64,
}

impl Steady {
    fn is_as(&self, other: &Steady) -> bool {
        let same = (self.listener, self.limits) == (other.listener, other.limits);
        same && self.sockets == other.sockets && self.steering == other.steering
    }
}

impl SourcesEverywhere {
    /// Who came before the sockets were those that there are may be counted elsewhere.
    ///
    /// # Errors
    /// A source has more sessions.
    pub(super) fn check(
        &mut self,
        control: &Control,
        cells: &[SimShard],
        street: &Kernel,
    ) -> Result<(), String> {
        let version = control.snapshot.version.0;
        let all = cells.iter().all(|cell| cell.is_live() && cell.version == version);
        let mut now = BTreeMap::new();
        for listener in control.snapshot.listeners.iter().filter(|_| all) {
            let Some(limits) = listener.per_source else { continue };
            for address in &listener.bind {
                let Some((sockets, steering)) = street.net.groups.get(address) else { continue };
                if sockets.len() != cells.len() {
                    continue;
                }
                if steering.is_none() && cells.len() > 1 {
                    return Err(format!("clients of {address} are not brought to their shards"));
                }
                let (sockets, steering) = (sockets.clone(), *steering);
                let (listener, since) = (listener.id, street.now);
                let fresh = Steady { listener, limits, sockets, steering, since };
                let before = self.steady.remove(address).filter(|it| it.is_as(&fresh));
                now.insert(*address, before.unwrap_or(fresh));
            }
        }
        self.steady = now;
        let mut counts: BTreeMap<(SocketAddr, IpAddr), usize> = BTreeMap::new();
        for it in cells.iter().flat_map(|cell| &cell.sourced) {
            let steady = self.steady.get(&it.at).filter(|steady| it.arrived_at > steady.since);
            if steady
                .is_some_and(|steady| (steady.listener, steady.limits) == (it.listener, it.limits))
            {
                *counts.entry((it.at, it.source)).or_default() += 1;
            }
        }
        for ((at, source), count) in &counts {
            let most = self.steady.get(at).and_then(|steady| steady.limits.sessions);
            let before = self.counts.get(&(*at, *source)).copied().unwrap_or(0);
            if most.is_some_and(|most| *count > most as usize) && *count > before {
                return Err(format!("{count} sessions of {source} at {at}; {most:?} are allowed"));
            }
        }
        self.counts = counts;
        Ok(())
    }
}
