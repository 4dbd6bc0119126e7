//! What a weir holds at rest: descriptors, sessions, buffers. After a story it must hold the same.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock;
use crate::weir::Weir;

/// Looks at a weir at rest, and what lies between two of them.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Descriptors and gauges at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// Open descriptors by what they are: `socket`, `pipe`, `anon_inode:[eventpoll]`, …
    pub descriptors: BTreeMap<String, usize>,
    pub sessions: u64,
    /// Of each shard.
    pub buffers_free: Vec<u64>,
}

/// The samples of a metric whose line has all of these labels, as the page has them.
fn values<'a>(page: &'a str, name: &'a str, labels: &'a [&str]) -> impl Iterator<Item = f64> + 'a {
    let fits = move |line: &&str| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|l| line.contains(l))
    };
    page.lines().filter(fits).filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

/// [`sum`]'s summands, of a metric that counts.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole")]
fn samples<'a>(page: &'a str, name: &'a str, labels: &'a [&str]) -> impl Iterator<Item = u64> + 'a {
    values(page, name, labels).map(|value| value as u64)
}

/// The sum of all samples of a metric whose line has all of these labels.
#[must_use]
pub fn sum(page: &str, name: &str, labels: &[&str]) -> f64 {
    values(page, name, labels).sum()
}

/// [`sum`] of a metric that counts.
#[must_use]
pub fn count(page: &str, name: &str, labels: &[&str]) -> u64 {
    samples(page, name, labels).sum()
}

impl Baseline {
    /// What `weir` holds at rest: the least of several looks, each of which is itself a connection
    /// that weir may not have closed when the next one begins.
    ///
    /// # Panics
    /// If weir is gone, or a shard does not tell of itself.
    #[must_use]
    pub fn of(weir: &Weir) -> Baseline {
        // A shard tells of its buffers when it is first asked; at rest it has some.
        clock::wait_for("each shard's buffers", || {
            let free = Baseline::look(weir).buffers_free;
            !free.is_empty() && !free.contains(&0)
        });
        let looks = (0..LOOKS).map(|_| {
            clock::park(BETWEEN_LOOKS);
            Baseline::look(weir)
        });
        looks.min_by_key(|look| look.descriptors.values().sum::<usize>()).expect("LOOKS is not 0")
    }

    /// What `weir` holds now. Pipes are not counted: weir keeps those that it has made.
    fn look(weir: &Weir) -> Baseline {
        let mut descriptors = BTreeMap::new();
        for target in weir.descriptors() {
            let kind = target.split(":[").next().unwrap_or(&target).to_owned();
            if kind != "pipe" {
                *descriptors.entry(kind).or_default() += 1;
            }
        }
        let page = weir.get("/metrics").body;
        let sessions = count(&page, "weir_shard_sessions", &[]);
        let buffers_free = samples(&page, "weir_shard_buffers_free", &[]).collect();
        Baseline { descriptors, sessions, buffers_free }
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
