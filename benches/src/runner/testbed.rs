//! A stand: backends, and all peers started before them, measured in turn.

use std::collections::BTreeMap;
use std::io;

use crate::runner::config::Setup;
use crate::runner::counters::{Counting, Source};
use crate::runner::fault;
use crate::runner::peer::Found;
use crate::runner::probe::{Meter, Outcome};
use crate::runner::process::{Backend, Proxy, Service};
use crate::runner::report::Sample;

/// Peers that serve before the same backends.
pub struct Testbed {
    pub proxies: Vec<Proxy>,
    pub services: Vec<Service>,
    pub setup: Setup,
    /// Peers that did not start, and why.
    pub left_out: Vec<String>,
    backends: Vec<Backend>,
    baseline: f64,
}

impl Testbed {
    /// Starts all of these peers that will; `baseline` is how many cores are busy without any work.
    pub fn start(
        peers: &[&Found],
        named: Vec<(&'static str, Backend)>,
        setup: Setup,
        baseline: f64,
    ) -> io::Result<Self> {
        let services: Vec<Service> = named
            .iter()
            .map(|(name, backend)| Service { name, backends: backend.addresses.clone() })
            .collect();
        let (mut proxies, mut left_out) = (Vec::new(), Vec::new());
        for found in peers {
            match Proxy::start(found, &services, setup) {
                Ok(proxy) => proxies.push(proxy),
                Err(error) => left_out.push(error.to_string()),
            }
        }
        let backends = named.into_iter().map(|(_, backend)| backend).collect();
        Ok(Self { proxies, services, setup, left_out, backends, baseline })
    }

    /// Does one work through each proxy; each round begins with another one, so that none is always
    /// the first after a pause.
    pub fn round(
        &self,
        round: u32,
        work: &str,
        run: impl Fn(&Proxy) -> io::Result<Outcome>,
    ) -> io::Result<Vec<Sample>> {
        let count = self.proxies.len();
        let order = (0..count).map(|at| &self.proxies[(at + round as usize) % count]);
        order
            .map(|proxy| {
                let meter = Meter { proxy, backends: &self.backends, baseline: self.baseline };
                meter.sample(round, work, || run(proxy))
            })
            .collect()
    }

    /// One pass through each proxy with the kernel's counters on.
    pub fn count(
        &self,
        work: &str,
        source: Source,
        run: impl Fn(&Proxy) -> io::Result<Outcome>,
    ) -> io::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for proxy in &self.proxies {
            let Some(counting) = Counting::start(proxy, source)? else { continue };
            let outcome = run(proxy)
                .map_err(|error| fault(format!("{work} through {}: {error}", proxy.peer.name())))?;
            let values = counting.finish(outcome.units)?;
            let (peer, units) = (proxy.peer, outcome.units);
            samples.push(Sample { round: 0, work: work.to_string(), peer, units, values });
        }
        Ok(samples)
    }

    /// The cores that each proxy's threads may use: shows that pinning held.
    #[must_use]
    pub fn cores(&self) -> BTreeMap<&'static str, Vec<String>> {
        let cores = self.proxies.iter().map(|proxy| {
            let cores = proxy.program.as_ref().map(|program| program.cores());
            (proxy.peer.name(), cores.unwrap_or_default())
        });
        cores.collect()
    }
}
