//! DNS: a zone whose addresses come and go, and a server that often does not answer as it should.
//! Only a good answer may take a backend away, and not the first one that lacks it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use weir_control_core::control::{Control, Input};
use weir_control_core::resolve::{
    Fault, Found, FoundAddress, Lookup, LookupOutcome, RememberedMembers,
};
use weir_proto::ids::PoolId;
use weir_proto::snapshot::{Backend, Member, Snapshot};
use weir_proto::spec::Spec;

use super::daemon::Daemon;
use super::{Clocks, SimProcess, StepResult, daemon};
use weir_engine_sim::net::Mode;
use weir_engine_sim::rng::Rng;

/// The addresses that the zone has, or not.
const HOSTS: u16 = 6;
/// The pools whose backends are asked for have this name.
const NAME: &str = "p0.sim.:7000";

/// The zone and its server.
#[derive(Debug)]
pub(super) struct Names {
    /// A generator of its own: the other draws of a seed are as they were without it.
    rng: Rng,
    acts: bool,
    /// It answers well, and the zone stays.
    is_calm: bool,
    zone: BTreeSet<SocketAddr>,
    /// Look-ups that were not answered yet.
    asked: Vec<Lookup>,
    /// The last good answer that this process knows of for each pool: those made like the first
    /// ask, too.
    last: BTreeMap<PoolId, BTreeSet<SocketAddr>>,
}

impl Names {
    /// `from` draws nothing.
    #[must_use]
    pub(super) fn beside(from: &Rng) -> Names {
        let mut rng = Rng::new(from.clone().draw() ^ 0x0d15);
        let acts = rng.below(4) == 0;
        let zone = (0..2).map(host).collect();
        Names { rng, acts, is_calm: false, zone, asked: Vec::new(), last: BTreeMap::new() }
    }

    /// The first pool asks for its backends, beside those that it has.
    pub(super) fn enter(&self, spec: &mut Spec) {
        if self.acts
            && let Some(pool) = spec.pool.values_mut().next()
        {
            pool.discover.dns = Some(NAME.to_owned());
        }
    }

    /// The process is another one: it has asked nothing.
    pub(super) fn forget_asked(&mut self) {
        self.asked.clear();
    }

    /// The process does not know what the one before it was answered.
    pub(super) fn forget_answers(&mut self) {
        self.last.clear();
    }

    pub(super) fn calm(&mut self) {
        self.is_calm = true;
    }

    /// Addresses come and go.
    fn change(&mut self) {
        if self.is_calm || self.rng.below(3) > 0 {
            return;
        }
        let host = host(u16::try_from(self.rng.below(usize::from(HOSTS))).unwrap_or(0));
        if !self.zone.remove(&host) {
            self.zone.insert(host);
        }
    }

    fn outcome(&mut self) -> LookupOutcome {
        self.change();
        let faults = [
            Fault::NoDomain,
            Fault::NoData,
            Fault::ServerFailure,
            Fault::Refused,
            Fault::Timeout,
            Fault::Malformed,
        ];
        let mut found = Found::new(self.rng.pick(&[0, 1, 3]));
        if !self.is_calm && self.rng.below(3) == 0 {
            // An answer without an address is none either.
            let fault = self.rng.below(faults.len() + 1);
            return faults.get(fault).map_or(Ok(found), |fault| Err(fault.clone()));
        }
        let here = self.zone.iter().map(|it| FoundAddress::new(it.ip(), it.port()));
        found.extend(here);
        Ok(found)
    }
}

fn host(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, 1 + u8::try_from(number).unwrap_or(0)], 7000))
}

impl SimProcess {
    /// The zone's hosts are there, whether it names them or not.
    pub(super) fn meet_named(&mut self) {
        if self.names.acts {
            for number in 0..HOSTS {
                self.street.net.hosts.insert(host(number), Mode::Listens);
            }
        }
    }

    /// Some look-ups are answered.
    ///
    /// # Errors
    /// A pool has lost a backend by an answer that takes none away.
    pub(super) fn answer_names(&mut self) -> StepResult {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let names = &mut self.names;
        names.asked.append(&mut daemon.lookups);
        let moment = daemon::moment(self.street.now);
        for lookup in core::mem::take(&mut names.asked) {
            if !names.is_calm && names.rng.below(4) == 0 {
                names.asked.push(lookup);
                continue;
            }
            names.answer(daemon, lookup, moment)?;
        }
        check(&daemon.control)
    }
}

impl Names {
    fn answer(&mut self, daemon: &mut Daemon, lookup: Lookup, moment: Clocks) -> StepResult {
        let pool = lookup.pool;
        let outcome = self.outcome();
        let (before, good) = (serving(&daemon.control, pool), outcome.clone());
        daemon.give(Input::Resolved { lookup, outcome }, moment);
        let after = serving(&daemon.control, pool);
        let lost: BTreeSet<_> = before.difference(&after).copied().collect();
        let found = match good {
            Ok(found) if !found.addresses.is_empty() => found,
            bad => {
                return if lost.is_empty() {
                    Ok(())
                } else {
                    Err(format!("{bad:?} has taken {lost:?} away"))
                };
            }
        };
        let now: BTreeSet<_> = found.addresses.iter().map(|it| it.address).collect();
        let last = self.last.insert(pool, now.clone());
        let too_early = lost.iter().find(|it| last.as_ref().is_none_or(|last| last.contains(it)));
        if let Some(lost) = too_early {
            return Err(format!("one answer has taken {lost} away"));
        }
        // A change under way holds members back, and a pool may be gone by then.
        let missing: Vec<_> = now.difference(&after).collect();
        let is_known = daemon.control.resolve.discovery(pool).is_some();
        if is_known && !missing.is_empty() {
            return Err(format!("{missing:?} are in an answer, and no backends"));
        }
        Ok(())
    }
}

/// The members of a pool that take sessions, as far as answers say so.
fn serving(control: &Control, pool: PoolId) -> BTreeSet<SocketAddr> {
    let Some(name) = control.snapshot.pools.iter().find(|it| it.id == pool).map(|it| &it.name)
    else {
        return BTreeSet::new();
    };
    let known = control.resolve.to_remember().remove(name.as_str());
    let members = known.into_iter().flat_map(|it| it.members);
    members.filter(|it| !it.leaves).map(|it| it.address).collect()
}

/// Members are in the snapshot and in no spec.
fn check(control: &Control) -> StepResult {
    let known = control.resolve.to_remember();
    for pool in &control.snapshot.pools {
        if let Some(name) = pool.spec.backend.keys().find(|name| name.as_str().contains(':')) {
            return Err(format!("{}/{name} was found, and is configuration", pool.name));
        }
        let serves = |it: &&Backend| it.is_discovered && it.admin.is_ready();
        let left = |it: &&Member| it.leaves;
        if let Some(it) = pool.backends.iter().filter(serves).find(|backend| {
            pool.members
                .iter()
                .filter(left)
                .any(|member| Some(member.address) == backend.address.ip())
        }) {
            return Err(format!("{}/{} has left, and gets sessions", pool.name, it.name));
        }
        let found = known.get(pool.name.as_str()).map_or(&[][..], |it| &it.members);
        if !control.resolve.has_regrouped() && pool.members != found {
            let (name, has) = (&pool.name, &pool.members);
            return Err(format!("{name} has {has:?}, and DNS has named {found:?}"));
        }
    }
    Ok(())
}

/// A start has what was found before.
///
/// # Errors
/// It has not.
pub(super) fn check_start(
    snapshot: &Snapshot,
    found: &BTreeMap<String, RememberedMembers>,
) -> StepResult {
    for pool in snapshot.pools.iter().filter(|pool| pool.spec.discover.source().is_some()) {
        let wanted = found.get(pool.name.as_str()).map_or(&[][..], |it| &it.members);
        if pool.members != wanted {
            let (name, has) = (&pool.name, &pool.members);
            return Err(format!("{name} starts with {has:?}; {wanted:?} were found before"));
        }
    }
    Ok(())
}
