//! Limits that all shards share: never more sessions, and never more credits, than there may be.

mod per_source;

use std::collections::BTreeMap;

use weir_control_core::control::Control;
use weir_control_core::leases::{Leased, limits_of_backend};
use weir_engine_sim::check::rates::RateBuckets;
use weir_proto::ids::Edition;
use weir_proto::order::Limited;
use weir_proto::spec::Rate;

use weir_engine_sim::kernel::Kernel;

use super::SimShard;
use per_source::SourcesEverywhere;

/// What there was of each limit a step ago.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Sessions, credits that shards hold, and clients that were let in so far.
    before: BTreeMap<Limited, (u64, u64, Option<u64>)>,
    leased: BTreeMap<Limited, Leased>,
    rates: Rates,
    sources: SourcesEverywhere,
    /// The edition that every shard used.
    everywhere: Option<Edition>,
}

impl Limits {
    /// Once every shard uses the version of control no listener and no backend has more than its
    /// limit; one that had more before only gets less.
    ///
    /// # Errors
    /// One has too many.
    pub(super) fn check(
        &mut self,
        control: Option<&Control>,
        cells: &[SimShard],
        street: &Kernel,
    ) -> Result<(), String> {
        let Some(control) = control else {
            *self = Limits::default();
            return Ok(());
        };
        self.rates.check(control, cells, street.now)?;
        self.sources.check(control, cells, street)?;
        self.check_credits(control, cells)
    }

    fn check_credits(&mut self, control: &Control, cells: &[SimShard]) -> Result<(), String> {
        let version = control.snapshot.version.0;
        let mut live = cells.iter().filter(|cell| cell.is_live());
        // A mark of an agent changes limits under the same version.
        let edition = control.snapshot.edition();
        let uses_it = |cell: &SimShard| {
            let view = cell.table().map(|table| table.view().edition);
            cell.version == version && view.is_none_or(|view| view == edition)
        };
        let now = live.all(uses_it).then_some(edition);
        let everywhere = now.is_some() && std::mem::replace(&mut self.everywhere, now) == now;
        self.everywhere = now;
        let mut before = BTreeMap::new();
        let listeners = control.snapshot.listeners.iter();
        let listeners = listeners
            .map(|it| (format!("listener {}", it.name), Limited::Listener(it.id), it.max_sessions));
        let backends = control.snapshot.backends().flat_map(|(pool, it)| {
            let name = format!("backend {}/{}", pool.name, it.name);
            limits_of_backend(it).map(|(of, most)| (format!("{of:?} of {name}"), of, most))
        });
        let rates = control.snapshot.listeners.iter().map(|it| {
            let burst = it.rate.map(Rate::burst);
            (format!("the rate of listener {}", it.name), Limited::Rate(it.id), burst)
        });
        for (name, of, most) in listeners.chain(backends).chain(rates) {
            let Some(most) = most.map(u64::from) else { continue };
            let each = cells.iter().map(|cell| match of {
                Limited::Listener(id) => cell.of_listener(id),
                Limited::Backend(id) | Limited::Connecting(id) | Limited::ConnectRate(id) => {
                    cell.of_backend(id, of)
                }
                Limited::Rate(id) => (0, cell.of_rate(id)),
            });
            let (used, held) = each.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
            let let_in: Option<u64> = match of {
                Limited::Listener(id) => cells.iter().map(|it| it.ledger.admitted(id)).sum(),
                Limited::Backend(_) | Limited::Rate(_) => None,
                Limited::Connecting(_) | Limited::ConnectRate(_) => None,
            };
            let was = self.before.get(&of).copied().unwrap_or_default();
            let came = let_in.is_some_and(|now| was.2.is_some_and(|was| now > was));
            if everywhere && used > most && (used > was.0 || came) {
                return Err(format!("{used} are used of {name}; {most} are allowed"));
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

/// Sessions that begin under the rates of listeners, and connects under those of backends.
#[derive(Debug, Default)]
struct Rates {
    allowed: RateBuckets<Limited>,
    /// The count of each shard a step ago.
    before: BTreeMap<(usize, Limited), u64>,
}

impl Rates {
    /// While every shard that has clients uses the version of control, no more begins than a rate
    /// allows: also while shards end and are built again.
    fn check(&mut self, control: &Control, cells: &[SimShard], now: u64) -> Result<(), String> {
        let version = control.snapshot.version.0;
        let mut live = cells.iter().filter(|cell| cell.is_live() && cell.version > 0);
        let listeners = control.snapshot.listeners.iter();
        let listeners = listeners.filter_map(|it| Some((Limited::Rate(it.id), it.rate?)));
        let backends = control.snapshot.backends();
        let backends =
            backends.filter_map(|(_, it)| Some((Limited::ConnectRate(it.id), it.connect_rate?)));
        let rates: Vec<_> = listeners.chain(backends).collect();
        let fits = live.all(|cell| cell.version == version);
        self.allowed.retain(|of| fits && rates.iter().any(|(it, _)| *it == of));
        for (of, rate) in rates {
            let (mut began, mut is_known) = (0, true);
            for (number, cell) in cells.iter().enumerate() {
                let Some(count) = begun(cell, of) else {
                    is_known = false;
                    continue;
                };
                let before = self.before.insert((number, of), count).unwrap_or(0);
                // One that was built again begins at 0.
                began += count.checked_sub(before).unwrap_or(count);
            }
            if fits && is_known {
                self.allowed.began((of, rate), began, now)?;
            }
        }
        Ok(())
    }
}

/// The count so far, at a shard, of that which a rate limits; `None` if it is not known exactly.
fn begun(cell: &SimShard, of: Limited) -> Option<u64> {
    match of {
        Limited::Rate(id) => cell.ledger.admitted(id),
        Limited::ConnectRate(id) => Some(cell.ledger.connects_begun(id)),
        Limited::Listener(_) | Limited::Backend(_) | Limited::Connecting(_) => None,
    }
}
