//! Limits that all shards share: never more sessions, and never more credits, than there may be.

use std::collections::BTreeMap;

use weir_control_core::control::Control;
use weir_control_core::leases::Leased;
use weir_proto::order::Limited;

use super::SimShard;

/// What there was of each limit a step ago.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Sessions, credits that shards hold, and clients that were let in so far.
    before: BTreeMap<Limited, (u64, u64, Option<u64>)>,
    leased: BTreeMap<Limited, Leased>,
    /// The version that every shard used.
    everywhere: Option<u64>,
}

impl Limits {
    /// Once every shard uses the version of control no listener and no backend has more than its
    /// limit; one that had more before only gets less.
    ///
    /// # Errors
    /// One has too many.
    pub(super) fn check(&mut self, control: &Control, cells: &[SimShard]) -> Result<(), String> {
        let version = control.snapshot.version.0;
        let mut live = cells.iter().filter(|cell| cell.is_live());
        let now = live.all(|cell| cell.version == version).then_some(version);
        let everywhere = now.is_some() && std::mem::replace(&mut self.everywhere, now) == now;
        self.everywhere = now;
        let mut before = BTreeMap::new();
        let listeners = control.snapshot.listeners.iter();
        let listeners = listeners
            .map(|it| (format!("listener {}", it.name), Limited::Listener(it.id), it.max_sessions));
        let backends = control.snapshot.backends().map(|(pool, it)| {
            (format!("backend {}/{}", pool.name, it.name), Limited::Backend(it.id), it.max_sessions)
        });
        for (name, of, most) in listeners.chain(backends) {
            let Some(most) = most.map(u64::from) else { continue };
            let each = cells.iter().map(|cell| match of {
                Limited::Listener(id) => cell.of_listener(id),
                Limited::Backend(id) => cell.of_backend(id),
            });
            let (used, held) = each.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
            let let_in: Option<u64> = match of {
                Limited::Listener(id) => cells.iter().map(|it| it.ledger.admitted(id)).sum(),
                Limited::Backend(_) => None,
            };
            let was = self.before.get(&of).copied().unwrap_or_default();
            let came = let_in.is_some_and(|now| was.2.is_some_and(|was| now > was));
            if everywhere && used > most && (used > was.0 || came) {
                return Err(format!("{used} sessions of {name}; {most} are allowed"));
            }
            if everywhere && held > most && held > was.1 {
                return Err(format!("{held} credits of {name}; there are {most}"));
            }
            before.insert(of, (used, held, let_in));
        }
        self.before = before;
        self.check_ledger(control)
    }

    /// Control has given no more than there is.
    fn check_ledger(&mut self, control: &Control) -> Result<(), String> {
        let now: BTreeMap<Limited, Leased> =
            control.leases.leased().map(|leased| (leased.of, leased)).collect();
        for (of, leased) in &now {
            if self.leased.get(of).is_some_and(|before| leased.is_broken(before)) {
                return Err(format!("more credits are given than there are: {leased:?}"));
            }
        }
        self.leased = now;
        Ok(())
    }
}
