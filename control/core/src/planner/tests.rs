//! Every verb: what it makes, what it refuses, and the command that takes it back.

mod put;
mod undo;

use std::sync::Arc;

use super::*;
use crate::file;
use serde_json::{Value, json};
use weir_proto::ids::Version;
use weir_proto::request::{ApplyMode, BackendAct};
use weir_proto::spec::{Admin, BackendSpec, ListenerSpec, PoolSpec, Strategy};

/// pool web with b1 (weight 2) and b2, pool spare without backends, listener web on 0.0.0.0:443.
fn spec() -> Spec {
    let backend = |address: &str, weight| BackendSpec {
        weight,
        ..BackendSpec::new(address.parse().unwrap())
    };
    let mut web = PoolSpec::default();
    web.backend.insert("b1".parse().unwrap(), backend("10.0.0.1:80", 2));
    web.backend.insert("b2".parse().unwrap(), backend("10.0.0.2:80", 1));
    let listener = ListenerSpec::new("web".parse().unwrap(), vec!["0.0.0.0:443".parse().unwrap()]);
    Spec {
        listener: [("web".parse().unwrap(), listener)].into(),
        pool: [
            ("web".parse().unwrap(), web.into()),
            ("spare".parse().unwrap(), PoolSpec::default().into()),
        ]
        .into(),
    }
}

/// The spec above as version 7.
fn start(ids: &mut IdSource) -> Snapshot {
    Snapshot::build(&spec(), Version(7), &Snapshot::empty(), ids).unwrap()
}

fn no_past(_: u64) -> Result<(Spec, Base), Refusal> {
    Err(Refusal::new(Code::NotFound, "no such version", ""))
}

fn run(change: ChangeRequest) -> Result<Plan, Refusal> {
    let mut ids = IdSource::default();
    let current = start(&mut ids);
    decide(
        &current,
        &change,
        &ChangeOptions::default(),
        Sources { ids: &mut ids, past: &no_past, base: &None },
    )
}

fn done(change: ChangeRequest) -> Plan {
    run(change).expect("the change is good")
}

fn refused(change: ChangeRequest) -> Refusal {
    run(change).expect_err("the change is refused")
}

fn backend_add(name: &str, address: &str, weight: Option<u16>) -> ChangeRequest {
    let pairs = weight.map(|weight| ("weight".to_owned(), weight.to_string()));
    let pairs = pairs.into_iter().collect();
    ChangeRequest::BackendAdd { name: name.into(), address: address.into(), pairs }
}

fn pool_set(pairs: &[(&str, &str)]) -> ChangeRequest {
    let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ChangeRequest::PoolSet { name: "web".into(), pairs: pairs.collect() }
}

fn value(shown: &Option<ShownSettings>) -> Value {
    serde_json::to_value(shown).unwrap()
}

#[test]
fn a_backend_is_added_with_before_after_and_undo() {
    let plan = done(backend_add("web/b3", "[2001:db8::1]:80", Some(5)));
    let next = plan.snapshot.unwrap();
    assert_eq!(next.version, Version(8));
    let backend = next.pool("web").unwrap().backend("b3").unwrap();
    assert_eq!((backend.weight, backend.admin), (5, Admin::Ready));
    assert_eq!(plan.before, None);
    let after = json!({
        "name": "web/b3", "address": "[2001:db8::1]:80", "weight": 5, "priority": 0,
        "state": "ready", "force": null, "max_sessions": null,
        "connecting_max": null, "connect_rate_per_s": null
    });
    assert_eq!(value(&plan.after), after);
    assert_eq!(plan.undo, "weirctl backend remove web/b3 --if-version 8");
    assert_eq!(plan.summary, "backend add web/b3");
}

#[test]
fn a_backend_that_cannot_be_added_is_refused() {
    let code = |name: &str, address: &str| refused(backend_add(name, address, None)).code;
    assert_eq!(code("web/b1", "10.0.0.9:80"), Code::Exists);
    assert_eq!(code("web", "10.0.0.9:80"), Code::Invalid);
    assert_eq!(code("web/a/b", "10.0.0.9:80"), Code::Invalid);
    assert_eq!(code("web/b 9", "10.0.0.9:80"), Code::Invalid);
    assert_eq!(code("web/b9", "example.org:80"), Code::Invalid);
    assert_eq!(code("web/b9", "10.0.0.9"), Code::Invalid);
    assert_eq!(code("web/b9", "10.0.0.9:0"), Code::Invalid);
    let no_pool = refused(backend_add("wbe/b9", "10.0.0.9:80", None));
    assert_eq!((no_pool.code, no_pool.did_you_mean), (Code::NotFound, vec!["web".to_owned()]));
    let heavy = refused(backend_add("web/b9", "10.0.0.9:80", Some(257)));
    assert_eq!(heavy.code, Code::Invalid);
    assert!(heavy.message.starts_with("pool.web.backend.b9.weight: "), "{heavy:?}");
}

#[test]
fn a_backend_that_is_weirs_own_listener_is_refused() {
    for address in ["127.0.0.1:443", "0.0.0.0:443", "127.8.9.1:443", "[::ffff:127.0.0.1]:443"] {
        let refusal = refused(backend_add("web/b9", address, None));
        assert_eq!(refusal.code, Code::Invalid, "{address}");
        assert!(refusal.message.contains("weir's own listener web"), "{refusal:?}");
    }
    for address in ["127.0.0.1:444", "10.0.0.1:443", "[::1]:443"] {
        assert!(run(backend_add("web/b9", address, None)).is_ok(), "{address}");
    }
    // The other way round: a listener on a backend's address.
    let refusal = refused(ChangeRequest::ListenerAdd {
        name: "l".into(),
        bind: vec!["10.0.0.1:80".into()],
        pool: "spare".into(),
        pairs: Vec::new(),
    });
    assert!(refusal.message.contains("weir's own listener l"), "{refusal:?}");
}

#[test]
fn removing_a_backend_says_how_to_bring_it_back() {
    let remove = |force| ChangeRequest::BackendRemove { name: "web/b1".into(), force };
    let plan = done(remove(false));
    assert_eq!(plan.undo, "weirctl backend add web/b1 10.0.0.1:80 weight=2 --if-version 8");
    assert_eq!((plan.after, plan.kills), (None, Vec::new()));
    assert!(plan.snapshot.unwrap().pool("web").unwrap().backend("b1").is_none());
    let mut ids = IdSource::default();
    let id = start(&mut ids).pool("web").unwrap().backend("b1").unwrap().id;
    assert_eq!(done(remove(true)).kills, [id]);

    let refusal = refused(ChangeRequest::BackendRemove { name: "web/b11".into(), force: false });
    assert_eq!(refusal.code, Code::NotFound);
    assert_eq!(refusal.did_you_mean[0], "web/b1");
    assert_eq!(refusal.hint, "weirctl backend list");
}

#[test]
fn states_and_weights_keep_the_identity_and_have_an_undo() {
    let mut ids = IdSource::default();
    let before = start(&mut ids).pool("web").unwrap().backend("b1").unwrap().id;
    let name = || "web/b1".to_owned();
    let plan = done(ChangeRequest::BackendState { name: name(), state: Admin::Drain });
    assert_eq!(plan.undo, "weirctl backend ready web/b1 --if-version 8");
    assert_eq!(value(&plan.before)["state"], "ready");
    assert_eq!(value(&plan.after)["state"], "drain");
    let backend = plan.snapshot.unwrap().pool("web").unwrap().backend("b1").unwrap().clone();
    assert_eq!((backend.id, backend.admin), (before, Admin::Drain));

    let plan = done(ChangeRequest::BackendWeight { name: name(), weight: 0 });
    assert_eq!(plan.undo, "weirctl backend weight web/b1 2 --if-version 8");
    assert_eq!(value(&plan.after)["weight"], 0);
    let weight = ChangeRequest::BackendWeight { name: name(), weight: 300 };
    assert_eq!(refused(weight).code, Code::Invalid);
}

#[test]
fn several_backends_change_in_one_version_or_not_at_all() {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let several = |list: &[&str], act| ChangeRequest::Backends { names: names(list), act };
    let both = ["web/b1", "web/b2"];
    let plan = done(several(&both, BackendAct::State(Admin::Drain)));
    assert_eq!(plan.undo, "weirctl backend ready web/b1 web/b2 --if-version 8");
    let snapshot = plan.snapshot.unwrap();
    let pool = snapshot.pool("web").unwrap();
    assert!(both.iter().all(|it| pool.backend(&it[4..]).unwrap().admin == Admin::Drain));
    assert_eq!(plan.summary.matches("state ready → drain").count(), 2, "{}", plan.summary);
    // They had different weights: the way back is the version before.
    let plan = done(several(&both, BackendAct::Weight(9)));
    assert_eq!(plan.undo, "weirctl config rollback 7 --if-version 8");
    let plan = done(several(&["web/b1", "web/b1"], BackendAct::Remove { force: false }));
    assert_eq!(plan.undo, "weirctl config rollback 7 --if-version 8");
    assert!(plan.snapshot.unwrap().pool("web").unwrap().backend("b1").is_none());
    assert_eq!(plan.kills, []);
    let forced = done(several(&["web/b1", "web/b1"], BackendAct::Remove { force: true }));
    assert_eq!(forced.kills.len(), 1, "sessions are reset with the same version, each once");
    let refusal = refused(several(&["web/b1", "web/b22"], BackendAct::Remove { force: false }));
    assert_eq!((refusal.code, refusal.did_you_mean[0].as_str()), (Code::NotFound, "web/b2"));
    assert_eq!(refused(several(&[], BackendAct::Remove { force: false })).code, Code::Invalid);
    assert_eq!(refused(several(&["web/b1"], BackendAct::Weight(300))).code, Code::Invalid);
    assert!(done(several(&both, BackendAct::State(Admin::Ready))).snapshot.is_none());
}

#[test]
fn what_changes_nothing_makes_no_version() {
    let same = [
        ChangeRequest::BackendState { name: "web/b1".into(), state: Admin::Ready },
        ChangeRequest::BackendWeight { name: "web/b1".into(), weight: 2 },
        ChangeRequest::ListenerState { name: "web".into(), state: Admin::Ready },
        pool_set(&[("strategy", "least-conn"), ("timeout.idle", "60m")]),
    ];
    for change in same {
        let plan = done(change.clone());
        assert!(plan.snapshot.is_none(), "{change:?}");
        assert_eq!(plan.before, plan.after, "{change:?}");
        assert_eq!((plan.summary.as_str(), plan.undo.as_str()), ("no change", ""), "{change:?}");
    }
}

#[test]
fn pools_come_and_go() {
    let add = |name: &str, strategy: Option<&str>| ChangeRequest::PoolAdd {
        name: name.into(),
        pairs: strategy.map(|it| ("strategy".to_owned(), it.to_owned())).into_iter().collect(),
    };
    let plan = done(add("db", Some("maglev")));
    assert_eq!(plan.snapshot.unwrap().pool("db").unwrap().strategy, Strategy::Maglev);
    assert_eq!(plan.undo, "weirctl pool remove db --if-version 8");
    assert_eq!(refused(add("web", None)).code, Code::Exists);
    let refusal = refused(add("db", Some("least-con")));
    assert_eq!((refusal.code, refusal.did_you_mean[0].as_str()), (Code::Invalid, "least-conn"));

    let remove = |name: &str| ChangeRequest::PoolRemove { name: name.into() };
    assert_eq!(done(remove("spare")).undo, "weirctl pool add spare --if-version 8");
    let used = refused(remove("web"));
    assert_eq!(used.code, Code::Invalid);
    assert_eq!(used.message, "pool \"web\" is used by listener web");
    assert_eq!(used.hint, "weirctl listener remove web, or another pool for it or its routes");
    assert_eq!(refused(remove("weeb")).did_you_mean, ["web"]);
}

#[test]
fn every_key_of_a_pool_can_be_set() {
    let plan = done(pool_set(&[
        ("strategy", "two-choices"),
        ("health.kind", "http"),
        ("health.interval", "1s"),
        ("health.timeout", "250ms"),
        ("health.rise", "4"),
        ("health.fall", "5"),
        ("health.path", "/up"),
        ("health.expect", "204"),
        ("health.port", "81"),
        ("health.method", "HEAD"),
        ("health.host", "a.example"),
        ("health.fast-interval", "300ms"),
        ("health.panic", "0%"),
        ("health.slow-start", "0s"),
        ("timeout.connect", "2s"),
        ("timeout.idle", "10m"),
        ("timeout.half-close", "30s"),
        ("timeout.stalled", "45s"),
        ("timeout.lifetime", "12h"),
        ("keepalive.idle", "20s"),
        ("keepalive.interval", "2s"),
        ("keepalive.count", "4"),
        ("retry.attempts", "1"),
        ("retry.within", "4s"),
    ]));
    assert!(plan.undo.starts_with("weirctl pool set web strategy=least-conn "), "{}", plan.undo);
    let after = value(&plan.after);
    assert_eq!(after["strategy"], "two-choices");
    let health = json!({
        "kind": "http", "interval_s": 1.0, "timeout_s": 0.25, "rise": 4, "fall": 5,
        "path": "/up", "send": null, "expect": "204", "panic_percent": 0, "slow_start_s": 0.0,
        "port": 81, "method": "HEAD", "host": "a.example", "user": null, "steps": null,
        "fast_interval_s": 0.3, "down_interval_s": 1.0
    });
    assert_eq!(after["health"], health);
    let timeout = json!({
        "connect_s": 2.0, "idle_s": 600.0, "half_close_s": 30.0, "stalled_s": 45.0, "queue_s": 5.0,
        "lifetime_s": 43_200.0
    });
    assert_eq!(after["timeout"], timeout);
    assert_eq!(after["retry"], json!({ "attempts": 1, "within_s": 4.0 }));
    assert_eq!(value(&plan.before)["health"]["kind"], "tcp");
}

#[test]
fn a_bad_key_or_value_of_a_pool_is_refused() {
    let refusal = refused(pool_set(&[("healt.interval", "1s")]));
    assert_eq!(
        (refusal.code, refusal.did_you_mean[0].as_str()),
        (Code::Invalid, "health.interval")
    );
    let bad = [
        ("strategy", "fastest"),
        ("health.kind", "udp"),
        ("health.interval", "1"),
        ("health.interval", "0s"),
        ("health.rise", "-1"),
        ("health.fall", "101"),
        ("retry.attempts", "256"),
        ("retry.attempts", "4"),
        ("retry.within", "0s"),
        ("health.panic", "101%"),
        ("health.panic", "0.5"),
        ("health.slow-start", "8d"),
        ("health.path", "/only-for-http"),
    ];
    for (key, text) in bad {
        assert_eq!(refused(pool_set(&[(key, text)])).code, Code::Invalid, "{key}={text}");
    }
    assert_eq!(refused(pool_set(&[])).code, Code::Invalid);
}

#[test]
fn a_new_kind_of_check_drops_the_old_ones_words() {
    let mut ids = IdSource::default();
    let first = start(&mut ids);
    let http = pool_set(&[("health.kind", "http"), ("health.path", "/"), ("health.expect", "200")]);
    let options = ChangeOptions::default();
    let plan =
        decide(&first, &http, &options, Sources { ids: &mut ids, past: &no_past, base: &None })
            .unwrap();
    let second = plan.snapshot.unwrap();
    let tcp = pool_set(&[("health.kind", "tcp")]);
    let plan =
        decide(&second, &tcp, &options, Sources { ids: &mut ids, past: &no_past, base: &None })
            .unwrap();
    assert_eq!(plan.snapshot.unwrap().spec(), first.spec());
}

#[test]
fn listeners_come_and_go() {
    let add = |name: &str, bind: &[&str], pool: &str| ChangeRequest::ListenerAdd {
        name: name.into(),
        bind: bind.iter().map(|text| (*text).to_owned()).collect(),
        pool: pool.into(),
        pairs: Vec::new(),
    };
    let plan = done(add("db", &["127.0.0.1:5432", "[::1]:5432"], "spare"));
    assert_eq!(plan.undo, "weirctl listener remove db --if-version 8");
    assert_eq!(value(&plan.after)["bind"], json!(["127.0.0.1:5432", "[::1]:5432"]));
    assert_eq!(plan.snapshot.unwrap().listener("db").unwrap().bind.len(), 2);
    assert_eq!(refused(add("web", &["1.2.3.4:1"], "web")).code, Code::Exists);
    assert_eq!(refused(add("db", &["1.2.3.4:1"], "spar")).did_you_mean, ["spare"]);
    assert_eq!(refused(add("db", &["0.0.0.0:443"], "web")).code, Code::Invalid, "bound already");
    assert_eq!(refused(add("db", &[], "web")).code, Code::Invalid);
    let short = refused(add("db", &[":8080"], "web"));
    assert!(short.hint.contains("0.0.0.0:8080"), "{short:?}");

    let plan = done(ChangeRequest::ListenerRemove { name: "web".into() });
    assert_eq!(plan.undo, "weirctl listener add web 0.0.0.0:443 --pool web --if-version 8");
    let drain = ChangeRequest::ListenerState { name: "web".into(), state: Admin::Drain };
    let plan = done(drain);
    assert_eq!(value(&plan.after)["state"], "draining");
    assert_eq!(plan.undo, "weirctl listener ready web --if-version 8");
    assert!(!plan.snapshot.unwrap().listener("web").unwrap().accepting);
    let maint = ChangeRequest::ListenerState { name: "web".into(), state: Admin::Maint };
    assert_eq!(refused(maint).code, Code::Invalid);
}

#[test]
fn another_version_than_the_expected_one_is_a_conflict() {
    let mut ids = IdSource::default();
    let current = start(&mut ids);
    let mut decide_if = |version| {
        let options = ChangeOptions {
            if_version: Some(version),
            dry_run: false,
            yes: false,
            ..ChangeOptions::default()
        };
        let change = ChangeRequest::BackendWeight { name: "web/b1".into(), weight: 9 };
        decide(&current, &change, &options, Sources { ids: &mut ids, past: &no_past, base: &None })
    };
    let refusal = decide_if(6).unwrap_err();
    assert_eq!(refusal.code, Code::Conflict);
    assert_eq!(refusal.message, "the configuration is at version 7, not 6");
    assert!(decide_if(7).is_ok());
}

#[test]
fn a_rollback_is_a_new_version_with_the_old_content() {
    let mut ids = IdSource::default();
    let current = start(&mut ids);
    let mut old = current.spec();
    old.pool.get_mut("web").unwrap().strategy = Strategy::Random;
    let file = Some(Arc::new(Spec::default()));
    let past = |version: u64| match version {
        3 => Ok((old.clone(), file.clone())),
        version => no_past(version),
    };
    let mut rollback = |version| {
        let change = ChangeRequest::Rollback { version };
        decide(
            &current,
            &change,
            &ChangeOptions::default(),
            Sources { ids: &mut ids, past: &past, base: &None },
        )
    };
    let plan = rollback(3).unwrap();
    let next = plan.snapshot.unwrap();
    assert_eq!((next.version, next.spec()), (Version(8), old.clone()));
    assert_eq!(plan.base, file, "the file of then is the last one again");
    assert_eq!(next.pools[1].id, current.pools[1].id, "identities are carried over");
    assert_eq!(plan.undo, "weirctl config rollback 7 --if-version 8");
    assert_eq!(plan.summary, "rollback to 3: pool set web (strategy least-conn → random)");
    assert_eq!(value(&plan.before), json!({ "version": 7 }));
    let changes = json!(["pool set web (strategy least-conn → random)"]);
    assert_eq!(value(&plan.after), json!({ "version": 8, "changes": changes }));
    assert_eq!(rollback(99).unwrap_err().code, Code::NotFound);
}

#[test]
fn a_file_becomes_one_new_version() {
    let toml = "[listener.web]\nbind = \"0.0.0.0:443\"\npool = \"web\"\n\n[pool.web]\n\n\
                [pool.web.backend]\nb1 = { address = \"10.0.0.1:80\" }\n";
    let apply = |toml: &str, origin: &str| {
        let (toml, origin, mode) = (toml.into(), origin.into(), ApplyMode::Replace);
        ChangeRequest::Apply { toml, origin, mode, force: true }
    };
    let plan = done(apply(toml, "w.toml"));
    let next = plan.snapshot.unwrap();
    assert_eq!(next.pools.len(), 1);
    assert_eq!(plan.undo, "weirctl config rollback 7 --if-version 8");
    assert!(plan.summary.starts_with("apply w.toml: pool remove spare; "), "{}", plan.summary);
    let origin = format!("w\n2026-01-01 INFO audit: done\u{9b}2J{}", "x".repeat(1 << 20));
    let forged = done(apply(toml, &origin)).summary;
    assert!(forged.starts_with("apply w·2026-01-01 INFO audit: done·2Jxxx"), "{forged}");
    assert!(forged.len() <= SUMMARY_MAX + 3 && forged.contains("x…: pool remove"), "{forged}");
    let refusal = refused(apply("[pool.web]\nstrategie = \"maglev\"\n", "w.toml"));
    assert_eq!(refusal.code, Code::Invalid);
    assert!(refusal.message.contains("strategie"), "{refusal:?}");
    let refusal = refused(apply(&toml.replace("10.0.0.1:80", "127.0.0.1:443"), "w.toml"));
    assert!(refusal.message.contains("weir's own listener web"), "{refusal:?}");
}

#[test]
fn a_file_that_was_exported_makes_no_difference_and_another_is_shown_as_toml() {
    let mut ids = IdSource::default();
    let current = start(&mut ids);
    let exported = file::export(&current.spec());
    let base = Some(Arc::new(current.spec()));
    let of =
        |toml: &str| difference(&current, ids.clone(), (toml, "w.toml"), &base, &Load::default());
    let same = of(&exported).unwrap();
    assert_eq!((same.version, same.current.as_str()), (7, exported.as_str()));
    assert_eq!(same.current, same.proposed);
    let other = of(&exported.replace("10.0.0.2:80", "10.0.0.3:80")).unwrap();
    assert!(other.proposed.contains("10.0.0.3:80"), "{}", other.proposed);
    assert!(other.summary.contains("web/b2"), "{}", other.summary);
    assert_eq!(of("[pool.web]\nno-such = 1\n").unwrap_err().code, Code::Invalid);
    let looped = of(&exported.replace("10.0.0.2:80", "127.0.0.1:443")).unwrap_err();
    assert!(looped.message.contains("weir's own listener web"), "{looped:?}");
}
