//! What a weir holds at rest: descriptors, sessions, buffers. After a story it must hold the same.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock;
use crate::weir::Weir;

/// Descriptors and gauges at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// Open descriptors by what they are: `socket`, `pipe`, `anon_inode:[eventpoll]`, …
    pub descriptors: BTreeMap<String, usize>,
    pub sessions: u64,
    pub buffers_free: u64,
}

/// The sum of all samples of a metric whose line has all of these labels.
#[must_use]
pub fn sum(page: &str, name: &str, labels: &[&str]) -> f64 {
    let fits = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|l| line.contains(l))
    };
    page.lines().filter(fits).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// [`sum`] of a counter, as a whole number.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole")]
pub fn count(page: &str, name: &str, labels: &[&str]) -> u64 {
    sum(page, name, labels) as u64
}

impl Baseline {
    /// What `weir` holds at rest: two looks that agree.
    ///
    /// # Panics
    /// If weir is gone, or does not come to rest.
    #[must_use]
    pub fn of(weir: &Weir) -> Baseline {
        let mut last = Baseline::look(weir);
        clock::wait_within(clock::PATIENCE, "two looks that agree", || {
            let before = std::mem::replace(&mut last, Baseline::look(weir));
            // The shards tell of their buffers when they are first asked.
            (before == last && last.buffers_free > 0).then(|| last.clone())
        })
    }

    /// What `weir` holds now. Pipes are not counted: weir keeps those that it has made.
    fn look(weir: &Weir) -> Baseline {
        let page = weir.get("/metrics").body;
        let mut descriptors = BTreeMap::new();
        for target in weir.descriptors() {
            let kind = target.split(":[").next().unwrap_or(&target).to_owned();
            if kind != "pipe" {
                *descriptors.entry(kind).or_default() += 1;
            }
        }
        let sessions = count(&page, "weir_shard_sessions", &[]);
        Baseline {
            descriptors,
            sessions,
            buffers_free: count(&page, "weir_shard_buffers_free", &[]),
        }
    }

    /// Waits until `weir` holds what it held before, and every session that was accepted has ended.
    ///
    /// # Panics
    /// If it does not get there.
    pub fn expect_again(&self, weir: &Weir) {
        let limit = Duration::from_secs(10);
        if clock::try_wait(limit, || (Baseline::look(weir) == *self).then_some(())).is_none() {
            assert_eq!(Baseline::look(weir), *self, "(what is held now, what was held before)");
        }
        let page = weir.get("/metrics").body;
        let accepted = count(&page, "weir_listener_sessions_accepted_total", &[]);
        let ended = count(&page, "weir_session_ends_total", &[]);
        assert_eq!(accepted, ended + self.sessions, "accepted = ended + open in\n{page}");
    }
}

/// The p-th of these values, `p` from 0 to 1.
///
/// # Panics
/// If there are none.
pub fn percentile(values: &mut [Duration], p: f64) -> Duration {
    values.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small index")]
    #[expect(clippy::cast_precision_loss, reason = "few values")]
    let index = (values.len() as f64 * p) as usize;
    *values.get(index.min(values.len().saturating_sub(1))).expect("there are values")
}
