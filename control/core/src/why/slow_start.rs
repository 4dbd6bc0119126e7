//! Slow start under maglev: which backends leave a client to the next one for now.

use weir_core::base::clock::Now;
use weir_core::pick::{Candidate, Tried, goes_over};
use weir_proto::snapshot::Pool;
use weir_proto::spec::Strategy;

use crate::control::Control;

/// Takes those out of the candidates of a pool which are in slow start and whom the client with
/// this key does not get yet, as shards do. Returns the reason for each of them.
pub(super) fn passed_over(
    control: &Control,
    (pool, panic): (&Pool, bool),
    has_share: impl Fn(u8) -> bool,
    candidates: &mut [(u8, Candidate)],
    (key, now): (u64, Now),
) -> Vec<Option<String>> {
    let whole_ms = u32::try_from(pool.health.slow_start.millis).unwrap_or(u32::MAX);
    let grown_ms = |index: usize| {
        let since = control.health.ramps_since(pool.backends[index].id)?;
        let grown = now.millis().saturating_sub(since.millis());
        u32::try_from(grown).ok().filter(|grown| *grown < whole_ms)
    };
    let mut reasons = vec![None; candidates.len()];
    let has_whole = pool.backends.iter().enumerate().any(|(index, it)| {
        let serves = it.is_member() && control.health.is_up(it.id) && has_share(it.priority);
        serves && grown_ms(index).is_none()
    });
    if pool.strategy != Strategy::Maglev || panic || !has_whole {
        return reasons;
    }
    let before = candidates.to_vec();
    for (index, (_, candidate)) in candidates.iter_mut().enumerate() {
        let Some(grown) = grown_ms(index).filter(|_| candidate.usable) else { continue };
        if !goes_over(key, candidate, (grown, whole_ms)) {
            candidate.usable = false;
            let percent = u64::from(grown) * 100 / u64::from(whole_ms);
            reasons[index] = Some(format!(
                "it is in slow start, and this client is not among the {percent} % that it gets so far"
            ));
        }
    }
    let mut rest = candidates.iter().enumerate();
    if rest.any(|(index, (of, it))| has_share(*of) && it.is_eligible(index, Tried::NONE)) {
        return reasons;
    }
    // All others are full: it is served by one that grows.
    candidates.copy_from_slice(&before);
    vec![None; candidates.len()]
}
