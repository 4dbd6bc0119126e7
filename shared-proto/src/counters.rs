//! Every counter, declared once: its field, its metric, how boxes add up, and its help. A new
//! counter is a row here and the line that counts.
//!
//! The rows of an object have the order that they have on the page of metrics. Gauges and
//! histograms are fields of [`crate::stats`]: each of them is read in a way of its own.

use crate::reason::{By, ConnectCap, ConnectFault, Reject, Side};

/// How a counter adds up over boxes and shards, and how it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterKind {
    /// A sum of events or bytes.
    Count,
    /// A sum of nanoseconds, shown in seconds.
    Seconds,
    /// The largest number of nanoseconds, shown in seconds: a gauge, since it has no rate.
    LongestSeconds,
}

/// The value of a label, of the n-th value.
pub type LabelValue = fn(usize) -> &'static str;

/// One row of a table.
pub struct Counter<T> {
    /// The metric's name.
    pub name: &'static str,
    pub help: &'static str,
    pub kind: CounterKind,
    /// A label, and what it says of the n-th value; `None` for a counter that has one value.
    pub label: Option<(&'static str, LabelValue)>,
    pub values: fn(&T) -> &[u64],
    values_mut: fn(&mut T) -> &mut [u64],
}

/// The counters of one kind of object.
pub trait Counts: Sized + 'static {
    const TABLE: &'static [Counter<Self>];

    /// Adds what another shard, or a later box, has counted.
    fn add(&mut self, other: &Self) {
        for counter in Self::TABLE {
            let values = (counter.values_mut)(self).iter_mut().zip((counter.values)(other));
            for (into, from) in values {
                *into = match counter.kind {
                    CounterKind::Count | CounterKind::Seconds => *into + from,
                    CounterKind::LongestSeconds => (*into).max(*from),
                };
            }
        }
    }

    /// A name for each value: the metric's, and behind a slash the label's value.
    #[must_use]
    fn value_names() -> Vec<String>
    where
        Self: Default,
    {
        let none = Self::default();
        let names = Self::TABLE.iter().flat_map(|counter| {
            let count = (counter.values)(&none).len();
            (0..count).map(|index| match counter.label {
                None => counter.name.to_owned(),
                Some((_, value)) => format!("{}/{}", counter.name, value(index)),
            })
        });
        names.collect()
    }

    /// Every value, in the order of [`Counts::value_names`]; empty if all are zero.
    #[must_use]
    fn to_values(&self) -> Vec<u64> {
        let values = Self::TABLE.iter().flat_map(|counter| (counter.values)(self));
        let values: Vec<u64> = values.copied().collect();
        if values.iter().all(|value| *value == 0) { Vec::new() } else { values }
    }

    /// The counters with these values, which another weir may have named. A name that this one does
    /// not know is left out, and a counter without a value is zero.
    #[must_use]
    fn of_values(names: &[String], values: &[u64]) -> Self
    where
        Self: Default,
    {
        let mut counts = Self::default();
        if values.is_empty() {
            return counts;
        }
        let own = Self::value_names();
        let of_own = |index: usize, name: &String| {
            let is_there = names.get(index) == Some(name);
            if is_there { Some(index) } else { names.iter().position(|it| it == name) }
        };
        let places: Vec<Option<usize>> =
            own.iter().enumerate().map(|(index, name)| of_own(index, name)).collect();
        let mut places = places.into_iter();
        for counter in Self::TABLE {
            for into in (counter.values_mut)(&mut counts) {
                let place = places.next().flatten();
                *into = place.and_then(|place| values.get(place)).copied().unwrap_or(0);
            }
        }
        counts
    }

    /// The counts since `before`, an earlier state, so that [`Counts::add`] makes this of it.
    #[must_use]
    fn since(mut self, before: &Self) -> Self {
        for counter in Self::TABLE {
            let values = (counter.values_mut)(&mut self).iter_mut().zip((counter.values)(before));
            for (now, before) in values {
                *now = match counter.kind {
                    CounterKind::Count | CounterKind::Seconds => now.saturating_sub(*before),
                    CounterKind::LongestSeconds => *now,
                };
            }
        }
        self
    }
}

/// A row is `field: Kind, "metric", "help";`, or `field["label" Values]: …` for a value by each.
macro_rules! counters {
    (
        $(#[$about:meta])*
        $name:ident {
            $(
                $(#[$doc:meta])*
                $field:ident $([$label:literal $by:ident])?:
                    $kind:ident, $metric:literal, $help:literal;
            )*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = $help] $(#[$doc])* pub $field: counters!(@type $($by)?),)*
        }

        impl Counts for $name {
            const TABLE: &'static [Counter<$name>] = &[$(Counter {
                name: $metric,
                help: $help,
                kind: CounterKind::$kind,
                label: counters!(@label $($label $by)?),
                values: |it| counters!(@values as_slice from_ref it.$field $($by)?),
                values_mut: |it| counters!(@values as_mut_slice from_mut it.$field $($by)?),
            }),*];
        }
    };
    (@type) => { u64 };
    (@type $by:ident) => { [u64; $by::ALL.len()] };
    (@label) => { None };
    (@label $label:literal $by:ident) => { Some(($label, |index| $by::ALL[index].label())) };
    (@values $array:ident from_ref $it:ident.$field:ident) => {
        core::slice::from_ref(&$it.$field)
    };
    (@values $array:ident from_mut $it:ident.$field:ident) => {
        core::slice::from_mut(&mut $it.$field)
    };
    (@values $array:ident $one:ident $it:ident.$field:ident $by:ident) => { $it.$field.$array() };
}

counters! {
    /// The loop of one shard.
    ShardCounts {
        /// In nanoseconds.
        busy_ns: Seconds, "weir_shard_busy_seconds_total",
            "Time in which the shard's loop was not waiting.";
        /// In nanoseconds.
        turn_max_ns: LongestSeconds, "weir_shard_turn_max_seconds",
            "The longest turn since the start.";
        turns: Count, "weir_shard_turns_total", "Turns of the shard's loop.";
        slow_turns: Count, "weir_shard_slow_turns_total", "Turns of more than 50 ms.";
        enters: Count, "weir_shard_enters_total", "Calls of io_uring_enter.";
        completions: Count, "weir_shard_completions_total", "Completions that the ring gave.";
        cq_overflow: Count, "weir_shard_cq_overflow_total",
            "Completions that found the queue full.";
        starved: Count, "weir_shard_starved_total", "Receives that found no free buffer.";
        reserved: Count, "weir_shard_reserved_total",
            "Of these, those that got one of the reserve.";
        promotions: Count, "weir_shard_promotions_total",
            "Flows that became bulk and got a pipe.";
        /// It left a socket unread that was readable, as before an urgent byte.
        pipes_refused: Count, "weir_shard_pipes_refused_total",
            "Flows that left their pipe because splice moved nothing of what was there.";
        /// Its watches were then left alone for a moment.
        fruitless_watches: Count, "weir_shard_fruitless_watches_total",
            "Times that a session was ready again and again and no byte moved.";
        /// Counted as the backends' bytes are.
        spliced_bytes: Count, "weir_shard_spliced_bytes_total", "Bytes that went through pipes.";
        /// Sessions of sources are never forgotten.
        sources_forgotten: Count, "weir_shard_sources_forgotten_total",
            "Sources whose rate was forgotten, because too many came within a second.";
        /// A header for a backend has 536 bytes at most.
        proxy_fields_dropped: Count, "weir_shard_proxy_fields_dropped_total",
            "Fields of PROXY headers and hellos for which a backend's header had no room.";
    }
}

counters! {
    /// One listener.
    ListenerCounts {
        accepted: Count, "weir_listener_sessions_accepted_total",
            "Sessions that the listener has accepted.";
        rejected["reason" Reject]: Count, "weir_listener_sessions_rejected_total",
            "Connections that did not become a session, by reason.";
    }
}

counters! {
    /// One pool.
    PoolCounts {
        picks: Count, "weir_pool_picks_total", "Times that a backend was picked.";
        no_backend: Count, "weir_pool_no_backend_total",
            "Sessions for which there was no backend.";
        queued: Count, "weir_pool_queued_total",
            "Sessions that had to wait for a backend with room.";
        retries: Count, "weir_pool_retries_total", "Times that another backend was tried.";
        retry_budget_exhausted: Count, "weir_pool_retry_budget_exhausted_total",
            "Times that a retry had to wait, because there were too many at once.";
        ejections_refused: Count, "weir_pool_ejections_refused_total",
            "Times that a backend was not ejected, because half of the pool was down already.";
    }
}

counters! {
    /// One backend.
    BackendCounts {
        sessions: Count, "weir_backend_sessions_total", "Sessions that connected to the backend.";
        connect_failures["reason" ConnectFault]: Count, "weir_backend_connect_failures_total",
            "Connects to the backend that failed, by reason.";
        /// By the credits of one shard, which are a part of the limit.
        capped["limit" ConnectCap]: Count, "weir_backend_capped_total",
            "Times that a shard had no further connect to the backend for the moment, by limit.";
        early_closes: Count, "weir_backend_early_closes_total",
            "Sessions that the backend ended before it had sent a byte.";
        received_bytes: Count, "weir_backend_received_bytes_total", "Bytes from the backend.";
        sent_bytes: Count, "weir_backend_sent_bytes_total", "Bytes to the backend.";
        /// In nanoseconds.
        blocked_ns["on" Side]: Seconds, "weir_backend_blocked_seconds_total",
            "Time in which bytes waited for a side of a session and it took none.";
        /// The side whose FIN or reset came first; if neither did, who ended the session.
        first_closes["by" By]: Count, "weir_backend_first_closes_total",
            "Sessions of the backend that are over, by who closed first.";
        undelivered_bytes["to" Side]: Count, "weir_backend_undelivered_bytes_total",
            "Bytes that a side had not acknowledged when its session ended: they are lost.";
    }
}

impl BackendCounts {
    /// Connects that failed by this host's own fault.
    #[must_use]
    pub fn host_faults(&self) -> u64 {
        let faults = ConnectFault::ALL.into_iter().zip(self.connect_failures);
        faults.filter(|(fault, _)| fault.is_local()).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each value of `table` gets another number: a row that reads another row's field is seen.
    fn numbered<T: Counts + Default>() -> T {
        let mut counts = T::default();
        let mut next = 1_u64;
        for counter in T::TABLE {
            for value in (counter.values_mut)(&mut counts) {
                (*value, next) = (next, next + 1);
            }
        }
        counts
    }

    #[test]
    fn rows_add_up_by_their_kind() {
        let mut sum: ShardCounts = numbered();
        sum.add(&ShardCounts { busy_ns: 10, turn_max_ns: 1, turns: 5, ..ShardCounts::default() });
        assert_eq!((sum.busy_ns, sum.turn_max_ns, sum.turns, sum.spliced_bytes), (11, 2, 8, 13));
        sum.add(&ShardCounts { turn_max_ns: 7, ..ShardCounts::default() });
        assert_eq!(sum.turn_max_ns, 7);
    }

    #[test]
    fn counters_are_carried_by_their_names() {
        let counts: BackendCounts = numbered();
        let (mut names, mut values) = (BackendCounts::value_names(), counts.to_values());
        assert_eq!(
            (names[1].as_str(), names.len()),
            ("weir_backend_connect_failures_total/refused", values.len())
        );
        assert_eq!(BackendCounts::of_values(&names, &values), counts);
        // Another weir has them in another order, one more, and lacks the first.
        names.reverse();
        values.reverse();
        names.insert(0, "wishes_total".to_owned());
        values.insert(0, 77);
        names.pop();
        values.pop();
        let other = BackendCounts::of_values(&names, &values);
        assert_eq!(other, BackendCounts { sessions: 0, ..counts });
        assert_eq!(BackendCounts::default().to_values(), [0; 0]);
        assert_eq!(BackendCounts::of_values(&names, &[]), BackendCounts::default());
    }

    #[test]
    fn a_difference_added_to_what_was_is_what_is() {
        let before: ShardCounts = numbered();
        let mut after = before;
        after.add(&numbered());
        let mut sum = before;
        sum.add(&after.since(&before));
        assert_eq!(sum, after);
    }

    #[test]
    fn reasons_have_a_value_and_a_label_each() {
        let mut sum: BackendCounts = numbered();
        sum.add(&sum.clone());
        assert_eq!((sum.sessions, sum.connect_failures), (2, [4, 6, 8, 10, 12, 14]));
        let (label, of) = BackendCounts::TABLE[1].label.expect("it has reasons");
        assert_eq!((label, of(0), of(3)), ("reason", "refused", "local"));
        assert!(PoolCounts::TABLE.iter().all(|it| it.label.is_none()));
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        fn check<T: Counts>(object: &str) {
            for it in T::TABLE {
                let end = match it.kind {
                    CounterKind::Count => "_total",
                    CounterKind::Seconds => "_seconds_total",
                    CounterKind::LongestSeconds => "_max_seconds",
                };
                let start = format!("weir_{object}_");
                let named = it.name.starts_with(&start) && it.name.ends_with(end);
                assert!(named && it.help.ends_with('.'), "{}: {}", it.name, it.help);
            }
        }
        check::<ShardCounts>("shard");
        check::<ListenerCounts>("listener");
        check::<PoolCounts>("pool");
        check::<BackendCounts>("backend");
    }
}
