//! One look-up, from the name to the addresses: which question comes next. The shell asks it.
//!
//! ```text
//! host:    /etc/hosts ── else ──▶ A, AAAA of each name of the search list, until one exists
//! service: SRV of each such name ──▶ A, AAAA of the targets that came without
//! ```
//! A name that is not answered ends the look-up: the next one of the search list could be
//! another service's.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir_proto::ids::PoolId;
use weir_proto::spec::{DnsSource, WEIGHT_MAX};

use super::system::{self, ResolvConf, SystemFiles};
use super::wire::{Query, QueryKind, Records, Service};
use super::{Fault, Found, FoundAddress};

/// Targets of SRV records that are asked for one by one; what is behind more is not known.
const TARGETS_MAX: usize = 64;
/// How long what /etc/hosts says counts.
const HOSTS_TTL_S: u32 = 10;

/// A look-up for the shell: which, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub pool: PoolId,
    /// Distinguishes it from earlier ones for the pool.
    pub number: u64,
    pub source: DnsSource,
    /// `None`: those of resolv.conf.
    pub resolver: Option<SocketAddr>,
}

/// The end of a look-up.
pub type LookupOutcome = Result<Found, Fault>;

/// The next move of a look-up.
#[derive(Debug, PartialEq, Eq)]
pub enum LookupStep {
    /// Ask this server and say with [`Resolution::hear`] what came.
    Ask {
        server: SocketAddr,
        query: Query,
        timeout: Duration,
    },
    Done(LookupOutcome),
}

/// A look-up under way.
#[derive(Debug)]
pub struct Resolution {
    conf: ResolvConf,
    hosts: String,
    source: DnsSource,
    /// Names of the search list that were not asked for yet.
    candidates: VecDeque<String>,
    state: State,
    /// Of the question that is asked now: questions that went to a server and came to nothing.
    tries: usize,
    has_edns: bool,
    fault: Option<Fault>,
}

#[derive(Debug)]
enum State {
    /// The question that is asked next, of the name, and what its addresses are for.
    Host {
        name: String,
        kind: QueryKind,
        so_far: Gathered,
    },
    Service {
        name: String,
    },
    /// The targets still to be asked for.
    Targets {
        kind: QueryKind,
        left: VecDeque<(String, Vec<Service>)>,
        so_far: Gathered,
    },
    Done(LookupOutcome),
}

/// Addresses that were found so far.
#[derive(Debug, Default)]
struct Gathered {
    found: Found,
    /// Why the last question without an address had none.
    why_none: Option<Fault>,
}

impl Resolution {
    #[must_use]
    pub fn new(lookup: &Lookup, files: SystemFiles) -> Resolution {
        let mut conf = ResolvConf::read(&files.resolv_conf);
        if let Some(resolver) = lookup.resolver {
            conf.servers = vec![resolver];
        }
        let candidates = conf.candidates(lookup.source.name()).into();
        let mut resolution = Resolution {
            conf,
            hosts: files.hosts,
            source: lookup.source.clone(),
            candidates,
            state: State::Done(Err(Fault::NoDomain)),
            tries: 0,
            has_edns: true,
            fault: None,
        };
        resolution.begin();
        resolution
    }

    /// The next move. `random` is the number of a question: only who knows it can answer.
    #[must_use]
    pub fn step(&self, random: u16) -> LookupStep {
        let (name, kind) = match &self.state {
            State::Done(outcome) => return LookupStep::Done(outcome.clone()),
            State::Host { name, kind, .. } => (name, *kind),
            State::Service { name } => (name, QueryKind::Srv),
            State::Targets { kind, left, .. } => match left.front() {
                Some((name, _)) => (name, *kind),
                None => return LookupStep::Done(Err(Fault::NoData)),
            },
        };
        let server = self.conf.servers[self.tries % self.conf.servers.len()];
        let (name, has_edns) = (name.clone(), self.has_edns);
        let query = Query { id: random, name, kind, has_edns };
        LookupStep::Ask { server, query, timeout: self.conf.timeout }
    }

    /// The server has to be asked without EDNS.
    pub fn leave_edns(&mut self) {
        self.has_edns = false;
    }

    /// The answer to the question of the last [`LookupStep::Ask`], or why there is none.
    pub fn hear(&mut self, answer: Result<Records, Fault>) {
        if let Err(fault) = &answer
            && !fault.is_about_the_name()
        {
            let kept = self.fault.take().filter(|before| *before != Fault::Timeout);
            self.fault = Some(kept.unwrap_or_else(|| fault.clone()));
            (self.tries, self.has_edns) = (self.tries + 1, true);
            if self.tries < self.conf.servers.len() * self.conf.attempts {
                return;
            }
        }
        let answer = answer.map_err(|fault| self.fault.take().unwrap_or(fault));
        (self.tries, self.has_edns, self.fault) = (0, true, None);
        let state = std::mem::replace(&mut self.state, State::Done(Err(Fault::NoDomain)));
        match state {
            State::Host { name, kind, so_far } => self.on_host((name, kind), so_far, answer),
            State::Service { .. } => self.on_services(answer),
            State::Targets { kind, left, so_far } => self.on_target(kind, left, so_far, answer),
            State::Done(_) => self.state = state,
        }
    }

    /// Begins with the source as it is written, which /etc/hosts may know.
    fn begin(&mut self) {
        if let DnsSource::Host { name, port } = &self.source {
            let known = system::hosts(&self.hosts, name);
            if !known.is_empty() {
                let mut found = Found::new(HOSTS_TTL_S);
                found.extend(known.into_iter().map(|ip| FoundAddress::new(ip, *port)));
                return self.state = State::Done(Ok(found));
            }
        }
        self.next_candidate(Fault::NoDomain);
    }

    /// Goes on with the next name of the search list, or ends with the last one's fault.
    fn next_candidate(&mut self, fault: Fault) {
        self.state = match (self.candidates.pop_front(), &self.source) {
            (None, _) => State::Done(Err(fault)),
            (Some(name), DnsSource::Host { .. }) => {
                State::Host { name, kind: QueryKind::A, so_far: Gathered::default() }
            }
            (Some(name), DnsSource::Service { .. }) => State::Service { name },
        };
    }

    fn on_host(
        &mut self,
        (name, kind): (String, QueryKind),
        mut so_far: Gathered,
        answer: Result<Records, Fault>,
    ) {
        let DnsSource::Host { port, .. } = self.source else { return };
        let is_silent = answer == Err(Fault::Timeout);
        so_far.take(kind, answer, |ip| vec![FoundAddress::new(ip, port)]);
        // Who says nothing to the first question says nothing to the second.
        if kind == QueryKind::A && !is_silent {
            self.state = State::Host { name, kind: QueryKind::Aaaa, so_far };
            return;
        }
        match so_far.outcome() {
            Err(fault) if fault.is_about_the_name() => self.next_candidate(fault),
            outcome => self.state = State::Done(outcome),
        }
    }

    fn on_services(&mut self, answer: Result<Records, Fault>) {
        let (services, beside, ttl_s) = match answer {
            Ok(Records::Services { services, beside, ttl_s }) => (services, beside, ttl_s),
            Ok(Records::Addresses { .. }) => {
                return self.state = State::Done(Err(Fault::Malformed));
            }
            Err(fault) if fault.is_about_the_name() => return self.next_candidate(fault),
            Err(fault) => return self.state = State::Done(Err(fault)),
        };
        let mut so_far = Gathered { found: Found::new(ttl_s), why_none: None };
        let mut targets: BTreeMap<String, Vec<Service>> = BTreeMap::new();
        let weight_max = services.iter().map(|it| it.weight).max().unwrap_or(0);
        for mut service in services {
            // "." says that there is decidedly no such service (RFC 2782).
            if !service.target.is_empty() && service.port > 0 {
                service.weight = scaled(service.weight, weight_max);
                targets.entry(service.target.clone()).or_default().push(service);
            }
        }
        let mut left = VecDeque::new();
        for (target, services) in targets {
            let known = system::hosts(&self.hosts, &target);
            let given = beside.iter().filter(|(name, ..)| *name == target);
            let given: Vec<(IpAddr, u32)> = if known.is_empty() {
                given.map(|(_, ip, ttl_s)| (*ip, *ttl_s)).collect()
            } else {
                known.into_iter().map(|ip| (ip, HOSTS_TTL_S)).collect()
            };
            if given.is_empty() {
                left.push_back((target, services));
                continue;
            }
            for (ip, ttl_s) in given {
                so_far.found.shorten(ttl_s);
                so_far.found.extend(at(&services, ip));
            }
        }
        if left.len() > TARGETS_MAX {
            left.truncate(TARGETS_MAX);
            so_far.found.is_whole = [false; 2];
        }
        self.next_target(left, so_far);
    }

    fn on_target(
        &mut self,
        kind: QueryKind,
        mut left: VecDeque<(String, Vec<Service>)>,
        mut so_far: Gathered,
        answer: Result<Records, Fault>,
    ) {
        let Some((_, services)) = left.front() else { return };
        let is_silent = answer == Err(Fault::Timeout);
        so_far.take(kind, answer, |ip| at(services, ip));
        if is_silent {
            // The others would not be answered either.
            so_far.found.is_whole = [false; 2];
            return self.state = State::Done(so_far.outcome());
        }
        if kind == QueryKind::A {
            return self.state = State::Targets { kind: QueryKind::Aaaa, left, so_far };
        }
        left.pop_front();
        self.next_target(left, so_far);
    }

    fn next_target(&mut self, left: VecDeque<(String, Vec<Service>)>, so_far: Gathered) {
        self.state = if left.is_empty() {
            State::Done(so_far.outcome())
        } else {
            State::Targets { kind: QueryKind::A, left, so_far }
        };
    }
}

impl Gathered {
    /// Takes in the answer about addresses of one family.
    fn take(
        &mut self,
        kind: QueryKind,
        answer: Result<Records, Fault>,
        at: impl Fn(IpAddr) -> Vec<FoundAddress>,
    ) {
        let family = usize::from(kind == QueryKind::Aaaa);
        match answer {
            Ok(Records::Addresses { addresses, ttl_s }) => {
                self.found.shorten(ttl_s);
                self.found.extend(addresses.into_iter().flat_map(at));
            }
            Ok(Records::Services { .. }) => self.found.is_whole[family] = false,
            Err(fault) => {
                if !fault.is_about_the_name() {
                    self.found.is_whole[family] = false;
                }
                // A failure says more than a family without addresses.
                let known = self.why_none.take().filter(|known| !known.is_about_the_name());
                self.why_none = Some(known.unwrap_or(fault));
            }
        }
    }

    fn outcome(self) -> LookupOutcome {
        let Gathered { found, why_none } = self;
        if found.addresses.is_empty() { Err(why_none.unwrap_or(Fault::NoData)) } else { Ok(found) }
    }
}

/// The backends that services have at one address.
fn at(services: &[Service], ip: IpAddr) -> Vec<FoundAddress> {
    let backend = |it: &Service| FoundAddress {
        address: SocketAddr::new(ip, it.port),
        weight: it.weight,
        priority: u8::try_from(it.priority).unwrap_or(u8::MAX),
    };
    services.iter().map(backend).collect()
}

/// A weight of weir's: those of SRV go up to 65,535, and one of 0 still gets a little.
fn scaled(weight: u16, greatest: u16) -> u16 {
    if greatest <= WEIGHT_MAX {
        return weight.max(1);
    }
    let scaled = u32::from(weight) * u32::from(WEIGHT_MAX) / u32::from(greatest);
    u16::try_from(scaled).unwrap_or(WEIGHT_MAX).max(1)
}

#[cfg(test)]
mod tests;
