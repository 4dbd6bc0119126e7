//! The findings of DNS go to the shards as an edition, between changes, and are no version.

use super::*;
use crate::resolve::{Fault, Found, FoundAddress};

/// Control whose pool `web` has `b1` and `b2`, and what DNS finds.
fn discovering() -> (Shell, FakeShards) {
    let (mut control, shards) = started();
    let pairs = vec![("discover.dns".into(), "web.internal:443".into())];
    control.make(&ChangeRequest::PoolSet { name: "web".into(), pairs }, 5).unwrap();
    control.pump(6);
    assert_eq!(control.answered().len(), 1);
    shards.take_sent();
    control.give(Input::Wake, 7);
    assert_eq!(control.lookups.len(), 1);
    (control, shards)
}

fn found(addresses: &[&str]) -> Result<Found, Fault> {
    let mut found = Found::new(1);
    found.extend(addresses.iter().map(|it| FoundAddress::new(it.parse().unwrap(), 443)));
    Ok(found)
}

/// Answers the look-up that was asked for.
fn answer(control: &mut Shell, outcome: Result<Found, Fault>, ms: u64) {
    let lookup = control.lookups.pop_front().expect("it was asked for");
    control.give(Input::Resolved { lookup, outcome }, ms);
}

fn names(control: &Shell) -> Vec<String> {
    let pool = control.snapshot.pool("web").unwrap();
    pool.backends.iter().map(|it| it.name.to_string()).collect()
}

#[test]
fn what_is_found_is_an_edition_and_no_version() {
    let (mut control, shards) = discovering();
    let (spec, versions) = (control.snapshot.spec(), control.history(None, 9).unwrap().len());
    answer(&mut control, found(&["10.0.0.1", "10.0.0.2"]), 10);
    assert_eq!(names(&control), ["10.0.0.1:443", "10.0.0.2:443", "b1", "b2"]);
    assert_eq!(shards.take_sent().len(), 2, "each shard has it");
    control.pump(11);
    assert!(control.rollout.is_done());
    assert_eq!((control.snapshot.version, control.rollout.edition().regroupings), (Version(2), 1));
    assert_eq!(control.snapshot.spec(), spec);
    assert_eq!(control.history(None, 9).unwrap().len(), versions);
    let known = &control.remembers.as_ref().unwrap()["web"];
    assert_eq!((known.source.as_str(), known.members.len()), ("dns web.internal:443", 2));
    // A version that leaves the pool alone has them, too, with the identities that they had.
    let before = control.snapshot.pool("web").unwrap().backends.clone();
    control.make(&weight(5), 20).unwrap();
    let after = control.snapshot.pool("web").unwrap();
    assert_eq!(after.backends[..2], before[..2]);
    assert_eq!(control.past(3).unwrap().spec.pool["web"].backend.len(), 2);
}

#[test]
fn a_failure_changes_nothing_and_is_told_once() {
    let (mut control, shards) = discovering();
    answer(&mut control, found(&["10.0.0.1"]), 10);
    control.pump(11);
    shards.take_sent();
    let told = |control: &Shell| {
        let events = control.events.after(0).into_iter();
        events.filter(|row| row.kind == EventKind::Discovery).count()
    };
    assert_eq!(told(&control), 1, "it has joined");
    for ms in [2_000, 4_000, 8_000] {
        control.give(Input::Wake, ms);
        answer(&mut control, Err(Fault::Refused), ms + 1);
    }
    assert_eq!((names(&control).len(), shards.take_sent().len(), told(&control)), (3, 0, 2));
}

#[test]
fn an_edition_waits_for_the_change_that_is_under_way() {
    let (mut control, shards) = discovering();
    let change = control.ask(&weight(5), 10);
    answer(&mut control, found(&["10.0.0.1"]), 11);
    assert_eq!(names(&control), ["b1", "b2"], "its plan knows nothing of it");
    control.append(12);
    control.pump(13);
    control.give(Input::Wake, 14);
    assert_eq!(control.answered(), [change]);
    assert_eq!(names(&control), ["10.0.0.1:443", "b1", "b2"]);
    assert_eq!(control.snapshot.version, Version(3));
    let sent = shards.take_sent();
    assert!(sent.len() >= 4, "{sent:?}");
    control.pump(15);
    assert!(control.rollout.is_done());
}

#[test]
fn a_report_of_the_edition_before_is_not_one_of_this_one() {
    let (mut control, shards) = discovering();
    shards.set_deaf(&[1]);
    answer(&mut control, found(&["10.0.0.1"]), 10);
    control.pump(11);
    let before = Edition::of(Version(2));
    shards.report(Report::Adopted { shard: ShardId(1), edition: before });
    control.pump(12);
    assert_eq!(control.rollout.waiting().to_string(), "[1]");
    shards.report(Report::Adopted { shard: ShardId(1), edition: before.regrouped() });
    control.pump(13);
    assert!(control.rollout.is_done());
}

#[test]
fn nothing_of_a_discovered_backend_can_be_set_and_a_configured_one_takes_its_place() {
    let (mut control, _shards) = discovering();
    answer(&mut control, found(&["10.0.0.1", "10.0.0.2"]), 10);
    control.pump(11);
    let name = "web/10.0.0.1:443".to_owned();
    let pairs = vec![("weight".to_owned(), "2".to_owned())];
    let put = vec![("address".to_owned(), "10.0.0.1:443".to_owned())];
    let acts = [
        ChangeRequest::BackendWeight { name: name.clone(), weight: 2 },
        ChangeRequest::BackendState { name: name.clone(), state: weir_proto::spec::Admin::Drain },
        ChangeRequest::BackendRemove { name: name.clone(), force: true },
        ChangeRequest::BackendSet { name: name.clone(), pairs: pairs.clone() },
        ChangeRequest::BackendPut { name: name.clone(), pairs: put },
        ChangeRequest::Backends {
            names: vec!["web/b1".to_owned(), name],
            act: weir_proto::request::BackendAct::Weight(2),
        },
    ];
    for act in acts {
        let refusal = control.make(&act, 20).unwrap_err();
        let wanted = "web/10.0.0.1:443 is no configuration: DNS names it (dns web.internal:443)";
        assert_eq!(refusal.message, wanted, "{act}");
        assert!(refusal.hint.contains("weirctl backend add web/NAME 10.0.0.1:443"), "{act}");
    }
    let (name, address) = ("web/held".to_owned(), "10.0.0.1:443".to_owned());
    let pairs = vec![("state".to_owned(), "drain".to_owned())];
    control.make(&ChangeRequest::BackendAdd { name, address, pairs }, 30).unwrap();
    assert_eq!(names(&control), ["10.0.0.2:443", "b1", "b2", "held"]);
    let events = control.events.after(0);
    assert_eq!(events.last().unwrap().text, "backend add web/held");
}

#[test]
fn one_that_is_weir_itself_is_left_out() {
    let (mut control, _shards) = discovering();
    let mut itself = Found::new(1);
    itself.extend([FoundAddress::new("192.0.2.9".parse().unwrap(), 80)]);
    itself.extend([FoundAddress::new("10.0.0.1".parse().unwrap(), 443)]);
    answer(&mut control, Ok(itself), 10);
    assert_eq!(names(&control), ["10.0.0.1:443", "b1", "b2"]);
}
