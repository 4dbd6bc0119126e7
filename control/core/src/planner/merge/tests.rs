//! Each row of the table of the merge, each conflict, and what holds for any three configurations.

use std::collections::BTreeMap;

use proptest::prelude::{Just, ProptestConfig, Strategy as Generator, any, prop};
use proptest::{prop_assert_eq, prop_oneof, proptest};
use weir_proto::spec::{
    Admin, BackendSpec, CopyOnWrite, HealthKind, ListenerSpec, PoolSpec, Span, Strategy,
};

use super::*;
use crate::file;

const FILE: &str = "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"web\"\n\
                    [pool.web]\nstrategy = \"random\"\n[pool.web.backend]\n\
                    b1 = { address = \"127.0.0.1:2\" }\nb2 = { address = \"127.0.0.1:3\" }\n";
const OTHER: &str = "[pool.db]\n[pool.db.backend]\nb1 = { address = \"127.0.0.1:9\" }\n";

fn spec(toml: &str) -> Spec {
    file::parse(toml, "x").unwrap_or_else(|wrong| panic!("{}", wrong[0].render(false))).spec
}

/// A line that is replaced; nothing in the place of a line takes it away.
fn with(toml: &str, what: &str, by: &str) -> String {
    assert!(toml.contains(what), "no {what} in {toml}");
    toml.replace(what, by)
}

fn added(toml: &str, line: &str) -> String {
    format!("{toml}{line}\n")
}

const B1: &str = "b1 = { address = \"127.0.0.1:2\" }\n";

fn b1(more: &str) -> String {
    with(FILE, B1, &format!("b1 = {{ address = \"127.0.0.1:2\", {more} }}\n"))
}

/// The merge without a decision; or the conflicts, and what each decision comes to.
fn merged(base: &str, file: &str, ours: &str) -> Result<Spec, (Vec<String>, Spec, Spec)> {
    let [base, file, ours] = [base, file, ours].map(spec);
    let decided = |on| merge(&base, &file, &ours, on).unwrap();
    merge(&base, &file, &ours, OnConflict::Refuse).map_err(|conflicts| {
        let texts = conflicts.iter().map(ToString::to_string).collect();
        (texts, decided(OnConflict::Ours), decided(OnConflict::Theirs))
    })
}

#[test]
fn each_row_of_the_table_without_a_conflict() {
    let without = with(FILE, B1, "");
    let b3 = added(FILE, "b3 = { address = \"127.0.0.1:4\" }");
    let b4 = added(FILE, "b4 = { address = \"127.0.0.1:5\" }");
    let weighty = b1("weight = 7");
    let drained = b1("state = \"drain\"");
    let maglev = with(FILE, "random", "maglev");
    let table: &[(&str, [&str; 3], &str)] = &[
        ("added in the file", [FILE, &b3, FILE], &b3),
        ("added by the operator", [FILE, FILE, &b3], &b3),
        ("added by both, the same", [FILE, &b3, &b3], &b3),
        ("removed in the file", [FILE, &without, FILE], &without),
        ("drained, then removed in the file", [FILE, &without, &drained], &without),
        ("removed by the operator", [FILE, FILE, &without], &without),
        ("removed by both", [FILE, &without, &without], &without),
        ("set by the operator", [FILE, &maglev, &weighty], &with(&weighty, "random", "maglev")),
        ("set by both, the same", [FILE, &weighty, &weighty], &weighty),
        ("the file has another thing", [FILE, &maglev, &b3], &with(&b3, "random", "maglev")),
        ("both add", [FILE, &b3, &b4], &added(&b3, "b4 = { address = \"127.0.0.1:5\" }")),
        ("the file makes a pool", [FILE, &(FILE.to_owned() + OTHER), &b3], &(b3.clone() + OTHER)),
        ("nothing is known", ["", FILE, FILE], FILE),
        ("nothing is known, less in the file", ["", FILE, &b3], &b3),
        ("nothing is known, more in the file", ["", &b3, FILE], &b3),
        ("the default, and a value", ["", FILE, &weighty], &weighty),
    ];
    for (what, [base, file, ours], wanted) in table {
        assert_eq!(merged(base, file, ours), Ok(spec(wanted)), "{what}");
    }
}

#[test]
fn each_conflict_is_named_and_decided_either_way() {
    let (three, seven) = (b1("weight = 3"), b1("weight = 7"));
    let without = with(FILE, B1, "");
    let both = FILE.to_owned() + OTHER;
    let b9 = added(&both, "b9 = { address = \"127.0.0.1:8\" }");
    let moved = with(FILE, "127.0.0.1:2", "127.0.0.1:7");
    let table: &[([&str; 3], &str)] = &[
        ([FILE, &three, &seven], "backend web/b1 weight: was 1, is 3 in the file and 7 in force"),
        (
            [FILE, &without, &seven],
            "backend web/b1 weight: was 1, is absent in the file and 7 in force",
        ),
        (
            [FILE, &three, &without],
            "backend web/b1: was address=127.0.0.1:2 weight=1 state=ready, is \
             address=127.0.0.1:2 weight=3 state=ready in the file and absent in force",
        ),
        (
            [&both, FILE, &b9],
            "backend db/b9: was absent, is absent in the file and address=127.0.0.1:8 weight=1 \
             state=ready in force",
        ),
        (
            ["", FILE, &moved],
            "backend web/b1 address: was absent, is 127.0.0.1:2 in the file and 127.0.0.1:7 in \
             force",
        ),
    ];
    for ([base, file, ours], wanted) in table {
        let conflict = merged(base, file, ours);
        let wanted = (vec![(*wanted).to_owned()], spec(ours), spec(file));
        assert_eq!(conflict, Err(wanted));
    }
}

#[test]
fn a_pool_that_a_listener_of_the_other_side_uses_does_not_go_unnoticed() {
    let both = FILE.to_owned() + OTHER;
    let db = "[listener.db]\nbind = \"127.0.0.1:5\"\npool = \"db\"\n";
    let listens = format!("{db}{both}");
    let conflict = merged(&both, FILE, &listens);
    let text = "pool db: was strategy=least-conn backends=1, is absent in the file and used by \
                listener db in force";
    assert_eq!(conflict, Err((vec![text.to_owned()], spec(&listens), spec(FILE))));
    let conflict = merged(&both, &listens, FILE);
    let text = "pool db: was strategy=least-conn backends=1, is used by listener db in the file \
                and absent in force";
    assert_eq!(conflict, Err((vec![text.to_owned()], spec(FILE), spec(&listens))));
    // The listener was there and changes its pool.
    let turned = with(&both, "pool = \"web\"", "pool = \"db\"");
    let conflict = merged(&both, FILE, &turned);
    assert_eq!(
        conflict.map_err(|(_, ours, theirs)| (ours, theirs)),
        Err((spec(&turned), spec(FILE)))
    );
}

#[test]
fn the_keys_of_a_check_go_together() {
    let health =
        |text: &str| with(FILE, "\"random\"", &format!("\"random\"\nhealth = {{ {text} }}"));
    let base = health("kind = \"http\", path = \"/a\"");
    let file = health("kind = \"http\", path = \"/b\"");
    let none = health("kind = \"none\"");
    let (texts, ours, theirs) = merged(&base, &file, &none).unwrap_err();
    assert_eq!(
        texts,
        [
            "pool web health.kind: was http, is http in the file and none in force",
            "pool web health.path: was /a, is /b in the file and none in force",
        ]
    );
    assert_eq!([ours, theirs], [spec(&none), spec(&file)]);
    let slow = health("kind = \"http\", path = \"/a\", interval = \"9s\"");
    let both = health("kind = \"http\", path = \"/b\", interval = \"9s\"");
    assert_eq!(merged(&base, &file, &slow), Ok(spec(&both)));
}

#[test]
fn drift_is_told_key_by_key() {
    let ours = added(&b1("weight = 7, state = \"maint\""), "b3 = { address = \"127.0.0.1:4\" }");
    let ours = with(&with(&ours, "random", "maglev"), "b2 = { address = \"127.0.0.1:3\" }\n", "");
    let texts = |file: &str, ours: &str| -> Vec<String> {
        drift(&spec(file), &spec(ours)).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        texts(FILE, &ours),
        [
            "pool web strategy: random in the file, maglev in force",
            "backend web/b1 weight: 1 in the file, 7 in force",
            "backend web/b1 state: ready in the file, maint in force",
            "backend web/b2: address=127.0.0.1:3 weight=1 state=ready in the file, absent in force",
            "backend web/b3: absent in the file, address=127.0.0.1:4 weight=1 state=ready in force",
        ]
    );
    assert_eq!(texts(FILE, FILE), [""; 0]);
    assert_eq!(texts(FILE, "").len(), 2, "an object that is gone is one row");
}

fn backend() -> impl Generator<Value = BackendSpec> {
    let state = prop_oneof![Just(Admin::Ready), Just(Admin::Drain), Just(Admin::Maint)];
    (1..3_u16, 0..3_u16, state).prop_map(|(port, weight, state)| BackendSpec {
        weight,
        state,
        ..BackendSpec::new(std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())
    })
}

fn pool() -> impl Generator<Value = PoolSpec> {
    let strategy = prop_oneof![Just(Strategy::Random), Just(Strategy::Maglev)];
    let stalled = prop_oneof![Just(None), Just(Some(Span::from_secs(9)))];
    let path = prop_oneof![Just(None), Just(Some("/a".to_owned())), Just(Some("/b".to_owned()))];
    let backends =
        prop::collection::btree_map((0..3_u8).prop_map(|n| name("b", n)), backend(), 0..4);
    (strategy, stalled, path, backends).prop_map(|(strategy, stalled, path, backend)| {
        let mut pool = PoolSpec { strategy, backend, ..PoolSpec::default() };
        pool.timeout.stalled = stalled;
        pool.health.kind = if path.is_some() { HealthKind::Http } else { HealthKind::Tcp };
        pool.health.path = path;
        pool
    })
}

fn name(letter: &str, number: u8) -> Name {
    format!("{letter}{number}").parse().unwrap()
}

/// Small, so that the three sides have much in common. Each listener's pool is there.
fn whole() -> impl Generator<Value = Spec> {
    let pools = prop::collection::btree_map(
        (0..2_u8).prop_map(|n| name("p", n)),
        pool().prop_map(CopyOnWrite::from),
        1..3,
    );
    let listener = (1..3_u16, any::<prop::sample::Index>(), any::<bool>());
    let listeners =
        prop::collection::btree_map((0..2_u8).prop_map(|n| name("l", n)), listener, 0..3);
    (pools, listeners).prop_map(|(pool, listeners)| {
        let names: Vec<&Name> = pool.keys().collect();
        let listener = listeners.into_iter().map(|(listener, (port, index, drained))| {
            let bind = vec![([127, 0, 0, 1], port).into()];
            let mut it = ListenerSpec::new((*index.get(&names)).clone(), bind);
            it.state = if drained { Admin::Drain } else { Admin::Ready };
            (listener, it)
        });
        Spec { listener: listener.collect::<BTreeMap<_, _>>(), pool }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_unchanged_file_changes_nothing(base in whole(), ours in whole()) {
        prop_assert_eq!(merge(&base, &base, &ours, OnConflict::Refuse), Ok(ours));
    }

    #[test]
    fn without_acts_the_file_is_the_merge(base in whole(), file in whole()) {
        prop_assert_eq!(merge(&base, &file, &base, OnConflict::Refuse), Ok(file));
    }

    #[test]
    fn what_is_in_force_already_is_no_conflict(base in whole(), ours in whole()) {
        prop_assert_eq!(merge(&base, &ours, &ours, OnConflict::Refuse), Ok(ours));
    }

    /// Which side has changed a key makes no difference, as long as the sides do not disagree.
    #[test]
    fn the_sides_are_alike(base in whole(), file in whole(), ours in whole()) {
        let there = merge(&base, &file, &ours, OnConflict::Refuse);
        let back = merge(&base, &ours, &file, OnConflict::Refuse);
        if let (Ok(there), Ok(back)) = (there, back) {
            prop_assert_eq!(there, back);
        }
    }

    /// Every decision gives a merge, and one that no conflict needed is the same without it.
    #[test]
    fn a_decision_always_gives_a_whole(base in whole(), file in whole(), ours in whole()) {
        let [mine, theirs] = [OnConflict::Ours, OnConflict::Theirs]
            .map(|on| merge(&base, &file, &ours, on).unwrap());
        for merged in [&mine, &theirs] {
            for listener in merged.listener.values() {
                assert!(merged.pool.contains_key(&listener.pool), "{merged:?}");
            }
        }
        if let Ok(merged) = merge(&base, &file, &ours, OnConflict::Refuse) {
            prop_assert_eq!([&mine, &theirs], [&merged, &merged]);
        }
    }

    /// No act is lost: a key of a backend that the file does not change is as it is in force.
    #[test]
    fn what_the_file_does_not_change_stays(base in whole(), file in whole(), ours in whole()) {
        let merged = merge(&base, &file, &ours, OnConflict::Theirs).unwrap();
        for (pool, in_force) in &ours.pool {
            let in_both = base.pool.get(pool).zip(file.pool.get(pool));
            let Some((was, is)) = in_both else { continue };
            for (backend, in_force) in &in_force.backend {
                let (was, is) = (was.backend.get(backend), is.backend.get(backend));
                if was == is {
                    prop_assert_eq!(merged.pool[pool].backend.get(backend), Some(in_force));
                }
            }
        }
    }

    #[test]
    fn there_is_no_drift_only_between_equals(file in whole(), ours in whole()) {
        prop_assert_eq!(drift(&file, &ours).is_empty(), file == ours);
    }
}
