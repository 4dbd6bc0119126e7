//! Changes: one after another, each to its end.

use super::super::change::WAITING_MAX;
use super::*;
use crate::record::Appended;

#[test]
fn a_full_disk_changes_nothing() {
    let (mut control, shards) = started();
    control.disk.set_full(true);
    assert_eq!(control.make(&weight(5), 10).unwrap_err().code, Code::Failed);
    assert_eq!(control.snapshot.version, Version(1));
    assert_eq!(shards.take_sent(), [""; 0]);
    control.disk.set_full(false);
    control.make(&weight(5), 20).unwrap();
    assert_eq!(control.snapshot.version, Version(2));
}

#[test]
fn a_change_waits_for_the_disk_and_nothing_else_does() {
    let (mut control, shards) = started();
    let id = control.ask(&weight(5), 10);
    for ms in [10, 20] {
        control.give(Input::Tick, ms);
        control.pump(ms);
        assert_eq!(control.history(None, 9).unwrap().len(), 1);
    }
    assert_eq!(control.snapshot.version, Version(1));
    assert_eq!(shards.take_sent(), [""; 0], "no shard uses what a crash would take back");
    control.give(Input::Appended(Appended { version: Version(9), outcome: Ok(()) }), 30);
    assert_eq!(control.snapshot.version, Version(1), "another one");
    control.append(40);
    assert_eq!(shards.take_sent(), ["0 adopt 2 +0", "1 adopt 2 +0"]);
    assert_eq!(control.answered(), [0; 0], "no shard has adopted it");
    control.pump(50);
    assert_eq!(control.answered(), [id]);
}

/// It needs no one who waits for it: a change whose client is gone does not stop those behind it.
#[test]
fn changes_are_one_after_another_and_each_comes_to_its_end() {
    let (mut control, _) = started();
    let ids = [5, 6, 7].map(|it| control.ask(&weight(it), 10));
    assert_eq!(control.changes_waiting(), 3);
    control.append(20);
    control.pump(30);
    assert_eq!(control.answered(), ids[..1]);
    control.append(40);
    control.pump(50);
    control.append(60);
    control.pump(70);
    assert_eq!(control.answered(), ids[1..]);
    assert_eq!((control.changes_waiting(), control.snapshot.version), (0, Version(4)));
}

#[test]
fn changes_beyond_the_most_that_may_wait_are_refused() {
    let (mut control, _) = started();
    let last = (0..=WAITING_MAX + 1).map(|_| control.ask(&weight(5), 10)).last();
    let (id, refusal) = control.answers.pop_front().unwrap();
    assert_eq!(Some(id), last, "one is under way, {WAITING_MAX} wait");
    assert_eq!(refusal.unwrap_err().message, "256 changes wait for their turn");
    assert!(control.answers.is_empty());
}

#[test]
fn a_plan_that_no_change_waits_for_is_dropped() {
    let (mut control, _) = started();
    let request = weight(5);
    let by = Author::new(0, 1);
    let ask = |id| {
        let (request, options) = (request.clone(), ChangeOptions::default());
        Input::Change(AskedChange { id: ChangeId(id), request, options, by })
    };
    let jobs = |outputs: Vec<Output>| {
        outputs.into_iter().find_map(|output| match output {
            Output::Plan(job) => Some(job),
            _ => None,
        })
    };
    let job = jobs(control.control.handle(ask(1), at(10))).unwrap();
    assert!(jobs(control.control.handle(ask(2), at(10))).is_none(), "one at a time");
    let panicked = job.on_panic()("oh");
    control.give(Input::Planned(panicked.into()), 20);
    let (id, refused) = control.answers.pop_front().unwrap();
    assert_eq!((id, refused.unwrap_err().code), (1, Code::Failed));
    control.give(Input::Planned(job.run().into()), 30);
    control.append(40);
    control.pump(50);
    assert_eq!(control.answered(), [2]);
    assert_eq!(control.snapshot.version, Version(2));
}

#[test]
fn an_append_that_takes_long_is_written_down_once() {
    let (mut control, shards) = started();
    control.ask(&weight(5), 0);
    let told = |control: &Shell| {
        let events = control.events.after(0).into_iter();
        events.filter(|event| event.subject == "state").map(|event| event.text).collect::<Vec<_>>()
    };
    control.give(Input::Tick, 4_900);
    assert_eq!(told(&control), [""; 0]);
    control.give(Input::Tick, 5_000);
    control.give(Input::Tick, 5_250);
    assert_eq!(told(&control), ["the disk has not taken version 2 yet"]);
    control.append(5_300);
    assert_eq!(shards.take_sent(), ["0 adopt 2 +0", "1 adopt 2 +0"]);
}

#[test]
fn a_disk_that_is_lost_refuses_what_waits_and_what_comes() {
    let (mut control, shards) = started();
    control.ask(&weight(5), 10);
    control.disk.lose();
    control.give(Input::StoreLost, 20);
    let (_, refusal) = control.answers.pop_front().unwrap();
    let refusal = refusal.unwrap_err();
    assert!(refusal.message.contains("version 2 may be there"), "{refusal:?}");
    assert_eq!(control.make(&weight(6), 40).unwrap_err().code, Code::Failed);
    assert_eq!((control.snapshot.version, shards.take_sent()), (Version(1), vec![]));
}

#[test]
fn the_address_of_a_removed_listener_is_tried_again_for_a_moment() {
    let (mut control, shards) = started();
    // Another process has one, and the listener that is removed now the other.
    shards.set_taken(&["192.0.2.9:81", "192.0.2.9:80"].map(|it| it.parse().unwrap()));
    let add = |address: &str| ChangeRequest::ListenerAdd {
        name: "new".into(),
        bind: vec![address.to_owned()],
        pool: "web".into(),
        pairs: Vec::new(),
    };
    control.make_with_yes(&ChangeRequest::ListenerRemove { name: "web".into() }, 1_000).unwrap();
    control.pump(1_001);
    assert!(control.make(&add("192.0.2.9:81"), 2_000).is_err(), "it was never a listener's");
    // It is asked for until a second has passed; a wake that comes early does no harm.
    control.ask(&add("192.0.2.9:80"), 2_000);
    for ms in [2_000, 2_010, 2_900] {
        control.give(Input::Wake, ms);
        control.give(Input::Tick, ms);
        assert_eq!(control.changes.next_wake(), Some(at(ms + 10).now));
        assert!(control.next_wake() <= control.changes.next_wake());
        assert_eq!(control.answers.len(), 0);
    }
    control.give(Input::Wake, 3_000);
    let (_, refusal) = control.answers.pop_front().unwrap();
    assert!(refusal.unwrap_err().message.ends_with("address in use"));
    // Ten seconds after the removal nothing of it can be left.
    assert!(control.make(&add("192.0.2.9:80"), 11_000).is_err());
}

#[test]
fn what_is_removed_and_has_sessions_can_be_killed_without_a_version() {
    let (mut control, shards) = started();
    let id = control.snapshot.pool("web").unwrap().backend("b1").unwrap().id;
    let remove = |force| ChangeRequest::BackendRemove { name: "web/b1".into(), force };
    shards.set_sessions(&[(id, 2)]);
    control.give(Input::Tick, 10);
    control.pump(10);
    control.make(&remove(false), 20).unwrap();
    control.pump(20);
    shards.take_sent();
    let refusal = control.make(&remove(false), 30).unwrap_err();
    assert_eq!(refusal.code, Code::NotFound);
    assert_eq!(refusal.message, "backend \"web/b1\" is removed; sessions that run on: 4");
    assert_eq!(refusal.hint, "to reset them: weirctl backend remove web/b1 --force");
    let asked = |if_version, dry_run| {
        let options = ChangeOptions { if_version, dry_run, ..ChangeOptions::default() };
        let by = Author::new(0, 1);
        Input::Change(AskedChange { id: ChangeId(99), request: remove(true), options, by })
    };
    control.answers.clear();
    control.give(asked(Some(1), false), 40);
    assert_eq!(control.answers.pop_front().unwrap().1.unwrap_err().code, Code::Conflict);
    control.give(asked(None, true), 50);
    assert!(control.answers.pop_front().unwrap().1.is_ok());
    assert_eq!(shards.take_sent(), [""; 0], "a dry run");
    control.give(asked(None, false), 60);
    let (_, answer) = control.answers.pop_front().unwrap();
    let Ok(weir_proto::answer::Answer::Changed(changed)) = answer else { panic!("{answer:?}") };
    assert_eq!(changed.summary, "backend web/b1 was removed before; sessions reset: 4");
    assert_eq!((changed.version, control.snapshot.version), (2, Version(2)));
    assert_eq!(shards.take_sent(), [format!("0 kill {id}"), format!("1 kill {id}")]);
    assert_eq!(control.events.after(0).last().unwrap().text, changed.summary);
}
