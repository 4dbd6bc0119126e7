//! The limits of each source of clients at a listener of a snapshot.

use crate::spec::{PerSourceSpec, Rate};

/// The limits of each source, of which there is one at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerSource {
    /// The most sessions at once.
    pub sessions: Option<u32>,
    /// New sessions; a second's may begin at once.
    pub rate: Option<Rate>,
    /// The lengths of the prefixes that are a source.
    pub ipv4: u32,
    pub ipv6: u32,
}

impl PerSource {
    /// `None` if sources are not limited.
    #[must_use]
    pub fn of(spec: &PerSourceSpec) -> Option<PerSource> {
        let PerSourceSpec { sessions, rate, ipv4, ipv6 } = *spec;
        spec.is_limited().then_some(PerSource { sessions, rate, ipv4, ipv6 })
    }

    pub(super) fn spec(&self) -> PerSourceSpec {
        let PerSource { sessions, rate, ipv4, ipv6 } = *self;
        PerSourceSpec { sessions, rate, ipv4, ipv6 }
    }

    /// The bits of an IPv4 address that tell sources apart.
    #[must_use]
    pub fn mask_v4(&self) -> u32 {
        u32::MAX.checked_shl(32_u32.saturating_sub(self.ipv4)).unwrap_or(0)
    }

    /// The same of an IPv6 address.
    #[must_use]
    pub fn mask_v6(&self) -> u128 {
        u128::MAX.checked_shl(128_u32.saturating_sub(self.ipv6)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_the_bits_of_the_prefix() {
        let with = |ipv4, ipv6| PerSource { sessions: Some(1), rate: None, ipv4, ipv6 };
        assert_eq!(with(24, 64).mask_v4(), 0xffff_ff00);
        assert_eq!(with(24, 64).mask_v6(), u128::MAX << 64);
        assert_eq!((with(32, 128).mask_v4(), with(32, 128).mask_v6()), (u32::MAX, u128::MAX));
        assert_eq!((with(0, 0).mask_v4(), with(0, 0).mask_v6()), (0, 0));
    }
}
