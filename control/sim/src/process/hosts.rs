//! The hosts of backends.

use super::SimProcess;
use weir_engine_sim::net::Mode;

impl SimProcess {
    /// A host fails, or recovers.
    pub(super) fn host_trouble(&mut self) {
        let hosts: Vec<_> = self.street.net.hosts.keys().copied().collect();
        let host = self.rng.pick(&hosts);
        let mode = if self.rng.hits((self.swarm.host_faults * 4).min(900)) {
            self.rng.pick(&[Mode::Refuses, Mode::Refuses, Mode::Silent, Mode::Unreachable])
        } else {
            Mode::Listens
        };
        if self.street.net.hosts.insert(host, mode) != Some(mode) {
            self.street.note("host changes (port, mode)", [host.port().into(), mode as usize]);
        }
    }
}
