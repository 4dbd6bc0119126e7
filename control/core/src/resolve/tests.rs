//! When DNS is asked, and what becomes of the answers.

use weir_proto::ids::{IdSource, Version};
use weir_proto::spec::{PoolSpec, Span, Spec};

use super::*;

fn at(ms: u64) -> Now {
    Now { nanos: ms * 1_000_000 }
}

struct ResolveRig {
    resolve: Resolve,
    ids: IdSource,
    snapshot: Snapshot,
    spec: Spec,
    now: Now,
}

impl ResolveRig {
    fn new(pools: &[&str]) -> ResolveRig {
        let mut spec = Spec::default();
        for name in pools {
            let mut pool = PoolSpec::default();
            pool.discover.dns = Some(format!("{name}.internal:443"));
            spec.pool.insert(name.parse().unwrap(), pool.into());
        }
        spec.pool.insert("plain".parse().unwrap(), PoolSpec::default().into());
        let (resolve, ids) = (Resolve::seeded(1), IdSource::default());
        let mut rig = ResolveRig { resolve, ids, snapshot: Snapshot::empty(), spec, now: at(0) };
        rig.build();
        rig
    }

    fn build(&mut self) {
        let version = Version(self.snapshot.version.0 + 1);
        let next = Snapshot::build(&self.spec, version, &self.snapshot, &mut self.ids);
        self.snapshot = next.unwrap();
        self.resolve.adopt(&self.snapshot, self.now);
    }

    fn discover(&mut self) -> &mut DiscoverSpec {
        &mut self.spec.pool.get_mut("web").unwrap().discover
    }

    /// The next look-up, at the time when it is due.
    fn next(&mut self) -> Lookup {
        self.now = self.resolve.next_due().unwrap().max(self.now);
        self.resolve.take(self.now).unwrap()
    }

    /// Answers it. Gives what people hear of it, and publishes what it has changed.
    fn answer(&mut self, lookup: &Lookup, outcome: LookupOutcome) -> Vec<String> {
        let news = self.resolve.heard(lookup, outcome, |_| true, self.now);
        while let Some((id, members)) = self.resolve.take_regrouped() {
            let place = self.snapshot.pools.iter().position(|it| it.id == id).unwrap();
            self.snapshot = self.snapshot.regroup(vec![(place, members)], &mut self.ids);
            self.resolve.adopt(&self.snapshot, self.now);
        }
        news.into_iter().map(|it| it.text).collect()
    }

    fn backends(&self) -> Vec<String> {
        let web = self.snapshot.pool("web").unwrap();
        web.backends.iter().filter(|it| it.is_member()).map(|it| it.name.to_string()).collect()
    }

    /// Milliseconds until the next look-up is due.
    fn pause(&self) -> u64 {
        u64::try_from((self.resolve.next_due().unwrap() - self.now).as_millis()).unwrap()
    }
}

fn found(addresses: &[&str], ttl_s: u32) -> LookupOutcome {
    let mut found = Found::new(ttl_s);
    found.extend(addresses.iter().map(|it| FoundAddress::new(it.parse().unwrap(), 443)));
    Ok(found)
}

#[test]
fn a_pool_is_asked_for_at_once_and_again_when_the_ttl_is_over() {
    let mut rig = ResolveRig::new(&["web"]);
    let lookup = rig.next();
    assert_eq!((rig.now, lookup.source.to_string()), (at(0), "dns web.internal:443".to_owned()));
    assert_eq!(rig.resolve.next_due(), None, "it is asked already");
    let told = rig.answer(&lookup, found(&["10.0.0.2", "10.0.0.1"], 30));
    assert_eq!(told, ["dns web.internal:443: 10.0.0.1:443, 10.0.0.2:443 joined"]);
    assert_eq!(rig.backends(), ["10.0.0.1:443", "10.0.0.2:443"]);
    assert!((27_000..=33_000).contains(&rig.pause()), "{}", rig.pause());
    for (ttl_s, least, most) in [(0, 900, 1_100), (86_400, 3_240_000, 3_960_000)] {
        let lookup = rig.next();
        assert!(rig.answer(&lookup, found(&["10.0.0.1", "10.0.0.2"], ttl_s)).is_empty());
        assert!((least..=most).contains(&rig.pause()), "{}", rig.pause());
    }
    rig.discover().refresh = Some(Span::from_secs(10));
    rig.build();
    let lookup = rig.next();
    rig.answer(&lookup, found(&["10.0.0.1", "10.0.0.2"], 86_400));
    assert!((9_000..=11_000).contains(&rig.pause()), "{}", rig.pause());
}

#[test]
fn no_failure_takes_a_backend_away_however_often_it_comes() {
    let mut rig = ResolveRig::new(&["web"]);
    let lookup = rig.next();
    rig.answer(&lookup, found(&["10.0.0.1", "10.0.0.2"], 1));
    let faults = [
        Fault::NoDomain,
        Fault::NoData,
        Fault::TooManyAliases,
        Fault::ServerFailure,
        Fault::Refused,
        Fault::Timeout,
        Fault::Unreachable,
        Fault::Malformed,
        Fault::Local("no sockets".to_owned()),
    ];
    for fault in &faults {
        for nth in 0..50 {
            let lookup = rig.next();
            let told = rig.answer(&lookup, Err(fault.clone()));
            assert_eq!(told.len(), usize::from(nth == 0), "it is told once: {told:?}");
            assert!(rig.pause() <= 33_000, "{}", rig.pause());
        }
    }
    let lookup = rig.next();
    rig.answer(&lookup, found(&[], 60));
    assert_eq!(rig.backends(), ["10.0.0.1:443", "10.0.0.2:443"]);
    let lookup = rig.next();
    let told = rig.answer(&lookup, found(&["10.0.0.1", "10.0.0.2"], 60));
    assert_eq!(told, ["dns web.internal:443 is answered again"]);
    let known = rig.resolve.discovery(lookup.pool).unwrap();
    assert_eq!((known.counts.good, known.counts.bad[Fault::Refused.index()]), (2, 50));
    assert_eq!((known.members, known.fault), (2, None));
}

#[test]
fn the_last_answer_is_given_up_where_that_is_wanted() {
    let mut rig = ResolveRig::new(&["web"]);
    rig.discover().keep_last = Some(Span::from_secs(60));
    rig.build();
    let lookup = rig.next();
    rig.answer(&lookup, found(&["10.0.0.1"], 1));
    let begun = rig.now;
    while rig.now - begun < Duration::from_secs(60) {
        assert_eq!(rig.backends(), ["10.0.0.1:443"]);
        let lookup = rig.next();
        rig.answer(&lookup, Err(Fault::Timeout));
    }
    assert!(rig.backends().is_empty());
    let lookup = rig.next();
    rig.answer(&lookup, found(&["10.0.0.1"], 1));
    assert_eq!(rig.backends(), ["10.0.0.1:443"]);
}

#[test]
fn another_name_leaves_the_backends_until_it_is_answered() {
    let mut rig = ResolveRig::new(&["web"]);
    let first = rig.next();
    rig.answer(&first, found(&["10.0.0.1", "10.0.0.2"], 60));
    let late = {
        rig.now = at(100_000);
        rig.next()
    };
    rig.discover().dns = Some("other.internal:443".to_owned());
    rig.build();
    assert!(rig.answer(&late, found(&["10.0.0.66"], 60)).is_empty(), "it answers the old name");
    assert_eq!(rig.backends(), ["10.0.0.1:443", "10.0.0.2:443"]);
    let lookup = rig.next();
    assert_eq!(lookup.source.name(), "other.internal");
    rig.answer(&lookup, found(&["10.0.0.2", "10.0.0.3"], 60));
    assert_eq!(rig.backends(), ["10.0.0.2:443", "10.0.0.3:443"]);
    *rig.discover() = DiscoverSpec::default();
    rig.build();
    assert!(rig.backends().is_empty() && rig.resolve.next_due().is_none());
}

#[test]
fn what_was_found_before_a_restart_serves_until_there_is_an_answer() {
    let mut rig = ResolveRig::new(&["web"]);
    let lookup = rig.next();
    rig.answer(&lookup, found(&["10.0.0.1", "10.0.0.2"], 60));
    let remembered = rig.resolve.to_remember();
    assert_eq!(remembered["web"].members, rig.snapshot.pool("web").unwrap().members);
    for (source, left) in [("web", 2), ("other", 1)] {
        let mut next = ResolveRig::new(&[]);
        next.spec = rig.spec.clone();
        next.discover().dns = Some(format!("{source}.internal:443"));
        next.resolve.remember(remembered.clone());
        let version = Version(9);
        let built = Snapshot::build(&next.spec, version, &Snapshot::empty(), &mut next.ids);
        let built = built.unwrap();
        let place = built.pools.iter().position(|it| it.name.as_str() == "web").unwrap();
        let members = remembered["web"].members.clone();
        next.snapshot = built.regroup(vec![(place, members)], &mut next.ids);
        next.resolve.adopt(&next.snapshot, next.now);
        assert_eq!(next.backends().len(), 2);
        let lookup = next.next();
        next.answer(&lookup, Err(Fault::Timeout));
        assert_eq!(next.backends().len(), 2);
        let lookup = next.next();
        next.answer(&lookup, found(&["10.0.0.1"], 60));
        assert_eq!(next.backends().len(), left, "{source}");
    }
}

#[test]
fn only_some_pools_are_asked_for_at_a_time() {
    let names: Vec<String> = (0..40).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut rig = ResolveRig::new(&names);
    let mut asked: Vec<Lookup> = std::iter::from_fn(|| rig.resolve.take(at(0))).collect();
    assert_eq!(asked.len(), IN_FLIGHT_MAX);
    assert_eq!(rig.resolve.next_due(), None);
    let first = asked.pop().unwrap();
    rig.answer(&first, Err(Fault::Timeout));
    assert!(rig.resolve.take(at(0)).is_some() && rig.resolve.take(at(0)).is_none());
    // An answer is taken once.
    assert!(rig.answer(&first, found(&["10.0.0.1"], 1)).is_empty());
}
