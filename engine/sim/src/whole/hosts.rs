//! The hosts of backends.

use super::Whole;
use crate::net::Mode;

impl Whole {
    /// A host fails, or recovers.
    pub(super) fn host_trouble(&mut self) {
        let hosts: Vec<_> = self.street.net.hosts.keys().copied().collect();
        let host = self.chance.pick(&hosts);
        let mode = if self.chance.hits((self.swarm.host_faults * 4).min(900)) {
            self.chance.pick(&[Mode::Refuses, Mode::Refuses, Mode::Silent, Mode::Unreachable])
        } else {
            Mode::Listens
        };
        if self.street.net.hosts.insert(host, mode) != Some(mode) {
            self.street.note("host changes (port, mode)", [host.port().into(), mode as usize]);
        }
    }
}
