//! Ports that somebody on this host has for himself, and how the kernel writes lists of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use weir_proto::spec::Spec;

use weir_control_core::file::Settings;

/// The ports of the listeners, of the admin address and of the backends on this host.
pub(super) fn own(
    settings: &Settings,
    spec: &Spec,
    is_here: impl Fn(SocketAddr) -> bool,
) -> Vec<u16> {
    let binds = spec.listener.values().flat_map(|listener| listener.bind.iter().copied());
    let backends = spec.pool.values().flat_map(|pool| pool.backend.values());
    let by_ip = backends.filter_map(|backend| backend.address.ip());
    let here = by_ip.filter(|address| is_here(*address));
    let all = binds.chain(settings.admin).chain(here).map(|address| address.port());
    all.collect::<BTreeSet<u16>>().into_iter().collect()
}

/// Reads `80,8000-8010`. What is no port is left out.
pub(super) fn parse(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some(low.trim().parse().ok()?..=high.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}

/// Writes ranges so that the kernel reads them, in order.
pub(super) fn text(ranges: impl Iterator<Item = RangeInclusive<u16>>) -> String {
    let ordered: BTreeSet<(u16, u16)> = ranges.map(RangeInclusive::into_inner).collect();
    let texts = ordered
        .into_iter()
        .map(|(low, high)| if low == high { low.to_string() } else { format!("{low}-{high}") });
    texts.collect::<Vec<_>>().join(",")
}
