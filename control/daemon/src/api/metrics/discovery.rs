//! Figures of pools whose backends are found by DNS.

use weir_control_core::resolve::Fault;

use super::MetricsInput;
use super::figures::DiscoveryFigures;
use super::page::Page;

pub(super) fn discovery(page: &mut Page, input: &MetricsInput) {
    let pools = || {
        let pools = input.snapshot.pools.iter().zip(&input.pools);
        pools.filter_map(|(pool, it)| Some((pool.name.as_str(), it.discovery?)))
    };
    let help = "Backends that DNS has named for the pool, without those that have left.";
    let mut family = page.gauge("weir_pool_discovered", help);
    for (pool, figures) in pools() {
        family.row(&[("pool", pool)], figures.members);
    }
    let help = "Seconds since DNS last gave a good answer for the pool.";
    let mut family = page.gauge("weir_pool_discovery_age_seconds", help);
    for (pool, DiscoveryFigures { answered_s, .. }) in pools() {
        if let Some(since) = answered_s {
            family.row(&[("pool", pool)], since);
        }
    }
    let help = "Look-ups for the pool, by result.";
    let mut family = page.counter("weir_pool_lookups_total", help);
    for (pool, DiscoveryFigures { counts, .. }) in pools() {
        family.row(&[("pool", pool), ("result", "ok")], counts.good);
        for (label, count) in Fault::LABELS.iter().zip(counts.bad) {
            family.row(&[("pool", pool), ("result", label)], count);
        }
    }
}
