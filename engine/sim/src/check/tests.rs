//! What the ledger may expect, and what it cannot know.

use weir_proto::ids::IdSource;
use weir_proto::spec::{BackendSpec, PoolSpec, Spec};

use super::*;
use crate::operator::{name, span};

const MS: u64 = 1_000_000;

/// One pool of as many backends as names, whose shares grow for so long.
struct Config {
    spec: Spec,
    snapshot: Arc<Snapshot>,
    ids: IdSource,
}

impl Config {
    fn new() -> Config {
        let snapshot = Arc::new(Snapshot::empty());
        Config { spec: Spec::default(), snapshot, ids: IdSource::default() }
    }

    fn build(&mut self, backends: u16, slow_start_ms: usize) -> Arc<Snapshot> {
        let mut pool = PoolSpec::default();
        pool.health.slow_start = span(slow_start_ms);
        for index in 1..=backends {
            let address = SocketAddr::from(([10, 0, 0, 20], index));
            let backend = BackendSpec::new(address.into());
            pool.backend.insert(name(&format!("b{index}")), backend);
        }
        self.spec.pool.insert(name("web"), pool.into());
        let version = self.snapshot.version.next();
        let built = Snapshot::build(&self.spec, version, &self.snapshot, &mut self.ids);
        self.snapshot = Arc::new(built.unwrap());
        Arc::clone(&self.snapshot)
    }

    fn newest(&self) -> BackendId {
        self.snapshot.backends().map(|(_, backend)| backend.id).max().unwrap()
    }
}

/// A ledger of a pool with a backend that has just begun, and what there was between.
fn begun(slow_starts_ms: &[usize]) -> (Ledger, Config) {
    let (mut ledger, mut config) = (Ledger::default(), Config::new());
    ledger.adopt(config.build(1, 10_000), 0);
    for &slow_start_ms in slow_starts_ms {
        ledger.adopt(config.build(2, slow_start_ms), 0);
    }
    (ledger, config)
}

/// Gives the newest backend N sessions in a row.
fn picks(ledger: &mut Ledger, config: &Config, count: u32, now: u64) -> Result<(), String> {
    let pool = &config.snapshot.pools[0];
    (0..count).try_for_each(|_| ledger.shares.picked(pool, config.newest(), now))
}

#[test]
fn who_has_just_begun_gets_no_full_share() {
    let (mut ledger, config) = begun(&[10_000]);
    assert!(picks(&mut ledger, &config, 5, 57 * MS).is_ok());
    assert!(picks(&mut ledger, &config, 5, 57 * MS).is_err());
}

/// Seed 14704: a pick under the version between had ended the slow start.
#[test]
fn a_shorter_slow_start_between_may_have_ended_it() {
    for (between, now_ms) in [(0, 0), (0, 57), (50, 57)] {
        let (mut ledger, config) = begun(&[between, 10_000]);
        let got = picks(&mut ledger, &config, 50, now_ms * MS);
        assert_eq!(got, Ok(()), "{between} ms, {now_ms} ms after it began");
    }
    let (mut ledger, config) = begun(&[100, 10_000]);
    assert!(picks(&mut ledger, &config, 50, 57 * MS).is_err());
}

/// Seed 13562: a kill leaves open whose failures counted, so who was down is a guess.
#[test]
fn after_a_kill_nobody_knows_who_has_recovered() {
    let ramps = |own: bool, fuzzy: bool| {
        let (mut ledger, config) = begun(&[10_000]);
        let id = config.snapshot.backends().map(|(_, backend)| backend.id).min().unwrap();
        ledger.fuzzy = fuzzy;
        ledger.health.insert(id, BackendHealth::Down);
        if own {
            ledger.own_ejections.insert(id);
        }
        ledger.hear_health(vec![(id, BackendHealth::Up)], 5 * MS);
        ledger.said.expects_a_ramp(id)
    };
    assert!(ramps(false, false) && ramps(true, false) && ramps(false, true));
    assert!(!ramps(true, true));
}
