//! The addresses that the pools of a world connect from.

use weir_proto::spec::SourceSpec;

use crate::faults::Swarm;
use crate::rng::Rng;

/// Where connects come from; with IPv6 alone the kernel chooses, since every backend is of IPv4.
pub(crate) fn sources(swarm: &Swarm, rng: &mut Rng) -> Option<SourceSpec> {
    const LISTS: [&str; 5] = [
        "10.0.9.1",
        "fd00::9",
        "10.0.9.1,10.0.9.2",
        "10.0.9.3,fd00::9,10.0.9.2,10.0.9.1",
        "10.0.9.1,10.0.9.2,10.0.9.3,10.0.9.4,10.0.9.5,10.0.9.6",
    ];
    let list = (swarm.sources && rng.below(6) > 0).then(|| rng.pick(&LISTS))?;
    Some(list.parse().expect("addresses"))
}
