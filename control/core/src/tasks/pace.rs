//! Arithmetic of a pace: what is earned in a while, and how it is divided. In whole numbers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One session, in the units of a [`Credit`].
const MILLION: u64 = 1_000_000;

/// Sessions that may be ended, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Credit {
    millionths: u64,
}

impl Credit {
    /// The worth of `spent` at a rate of `count` in `span`.
    pub(super) fn earned(count: u64, span: Duration, spent: Duration) -> Credit {
        let whole = u128::from(count) * u128::from(MILLION) * spent.as_nanos();
        let millionths = whole / span.as_nanos().max(1);
        Credit { millionths: u64::try_from(millionths).unwrap_or(u64::MAX) }
    }

    /// Adds what was earned; at most one session more than that is kept from before, so that a
    /// pause is never made up for. Returns how many sessions that is.
    pub(super) fn earn(&mut self, earned: Credit) -> u64 {
        let most = earned.millionths.saturating_add(MILLION);
        self.millionths = self.millionths.saturating_add(earned.millionths).min(most);
        self.millionths / MILLION
    }

    /// Takes off the sessions that were ended.
    pub(super) fn spend(&mut self, count: u64) {
        self.millionths = self.millionths.saturating_sub(count.saturating_mul(MILLION));
    }

    /// Puts back those that could not be ended after all.
    pub(super) fn give_back(&mut self, count: u64) {
        self.millionths = self.millionths.saturating_add(count.saturating_mul(MILLION));
    }
}

/// Divides `count`, in proportion to what there is: by the largest remainder, and none gets more
/// than there is, as long as `count` is no more than all of it.
pub(super) fn apportion(count: u64, of: &[u64]) -> Vec<u64> {
    let all: u128 = of.iter().map(|it| u128::from(*it)).sum();
    let count = u128::from(count).min(all);
    if all == 0 {
        return vec![0; of.len()];
    }
    let mut parts: Vec<u64> = of
        .iter()
        .map(|it| u64::try_from(u128::from(*it) * count / all).unwrap_or(u64::MAX))
        .collect();
    let rest = count - parts.iter().map(|it| u128::from(*it)).sum::<u128>();
    let mut order: Vec<usize> = (0..of.len()).collect();
    order.sort_by_key(|at| core::cmp::Reverse(u128::from(of[*at]) * count % all));
    for at in order.into_iter().take(usize::try_from(rest).unwrap_or(usize::MAX)) {
        parts[at] += 1;
    }
    parts
}

/// The most sessions of a backend with this weight of all weights, if `sessions` are divided
/// fairly and `spread` percent more are no harm. Rounded up.
pub(super) fn fair_share(sessions: u64, (weight, all): (u16, u64), spread: u16) -> u64 {
    let fair = u128::from(sessions) * u128::from(weight) * (100 + u128::from(spread));
    let most = fair.div_ceil(u128::from(all.max(1)) * 100);
    u64::try_from(most).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_in_proportion_and_never_more_than_there_is() {
        for (count, of, parts) in [
            (0, &[3, 4][..], &[0, 0][..]),
            (1, &[3, 4], &[0, 1]),
            (3, &[10, 10, 10], &[1, 1, 1]),
            (5, &[10, 0, 1], &[5, 0, 0]),
            (7, &[3, 4], &[3, 4]),
            (9, &[3, 4], &[3, 4]),
            (2, &[1, 1, 1], &[1, 1, 0]),
            (4, &[], &[]),
        ] {
            assert_eq!(apportion(count, of), parts, "{count} of {of:?}");
        }
    }

    #[test]
    fn a_fair_share_follows_the_weight() {
        assert_eq!(fair_share(100, (1, 4), 0), 25);
        assert_eq!(fair_share(10, (1, 3), 10), 4);
        assert_eq!(fair_share(10, (0, 3), 10), 0);
        assert_eq!(fair_share(u64::MAX, (256, 256), 100), u64::MAX);
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let second = Duration::from_secs(1);
        let quarter = || Credit::earned(10, second, Duration::from_millis(250));
        let mut credit = Credit::default();
        let mut ended = Vec::new();
        for _ in 0..4 {
            let count = credit.earn(quarter());
            credit.spend(count);
            ended.push(count);
        }
        assert_eq!(ended, [2, 3, 2, 3]);
        // Nothing is left to end for a while, then there is.
        for _ in 0..100 {
            credit.earn(quarter());
        }
        assert_eq!(credit.earn(quarter()), 3);
        assert_eq!(Credit::earned(1, Duration::from_secs(60), second).earn_alone(), 0);
    }

    impl Credit {
        fn earn_alone(mut self) -> u64 {
            let none = Credit::default();
            self.earn(none)
        }
    }
}
