//! Addresses at which a connect of weir's own arrives at weir.

use core::net::SocketAddr;

use crate::address::Address;

/// Where weir listens on every address of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wildcards {
    /// Port, and whether it is IPv4. In order.
    taken: Vec<(u16, bool)>,
}

impl Wildcards {
    /// True if one of them takes a connect to `address`, should that be one of this host's. A
    /// connect to `::ffff:a.b.c.d` is one to `a.b.c.d`.
    #[must_use]
    pub fn takes(&self, address: Address) -> bool {
        let Address::Ip(address) = address else { return false };
        self.taken.binary_search(&Wildcards::key(address)).is_ok()
    }

    /// Those at which weir listens.
    pub(super) fn of(every: impl Iterator<Item = SocketAddr>) -> Wildcards {
        let mut taken: Vec<_> = every.map(Wildcards::key).collect();
        taken.sort_unstable();
        taken.dedup();
        Wildcards { taken }
    }

    fn key(address: SocketAddr) -> (u16, bool) {
        (address.port(), address.ip().to_canonical().is_ipv4())
    }
}
