//! A kill at a rate: it is a search first, and a task from then on.

use weir_proto::answer::{Answer, TaskRow, TaskState};
use weir_proto::order::Report;
use weir_proto::request::TaskRequest;
use weir_proto::session::SessionFilter;

use super::*;

impl Shell {
    fn kill(&mut self, ids: &[&str], filter: SessionFilter, per_s: u32, ms: u64) -> u64 {
        self.asked += 1;
        let ids = ids.iter().map(ToString::to_string).collect();
        let request = TaskRequest::SessionKill { ids, filter: filter.into(), per_s };
        self.give(Input::Task { id: ChangeId(self.asked), request }, ms);
        self.asked
    }

    fn task_row(&mut self, number: u64) -> TaskRow {
        match self.take_answer(number) {
            Some(Ok(Answer::Task(row))) => row,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, number: u64) -> Code {
        self.take_answer(number).expect("an answer").unwrap_err().code
    }
}

fn of_b1() -> SessionFilter {
    SessionFilter { backend: Some("web/b1".into()), ..SessionFilter::default() }
}

/// The searches among what was sent.
fn searches(shards: &FakeShards) -> Vec<String> {
    shards.take_sent().into_iter().filter(|it| it.contains("search")).collect()
}

#[test]
fn its_sessions_are_looked_for_then_a_task_ends_them() {
    let (mut control, shards) = started();
    control.give(Input::Tick, 5);
    shards.take_sent();
    let number = control.kill(&[], of_b1(), 4, 10);
    let sent = searches(&shards);
    assert!(sent.len() == 2 && sent.iter().all(|it| it.contains("Idle")), "{sent:?}");
    let rows = vec![control.row(4, 500), control.row(5, 600)];
    control.found(0, number, rows, 2);
    assert_eq!(control.take_answer(number), None, "shard 1 has not answered");
    control.found(1, number, Vec::new(), 0);
    let row = control.task_row(number);
    assert_eq!((row.subject.as_str(), row.total), ("--backend web/b1", 2));
    control.give(Input::Tick, 260);
    control.pump(260);
    control.give(Input::Tick, 510);
    let sent = searches(&shards);
    assert!(sent.len() == 1 && sent[0].contains("Kill"), "{sent:?}");
    // The older of two that were idle for as long; and what it is of is said once more.
    assert!(sent[0].contains("slot: 5") && sent[0].contains("backends: Some"), "{sent:?}");
    let task = crate::tasks::search_of(row.id);
    control.found(0, task, Vec::new(), 1);
    control.give(Input::Tick, 760);
    assert_eq!(searches(&shards).len(), 1);
    control.found(0, task, Vec::new(), 1);
    control.give(Input::Tick, 1_010);
    let row = control.tasks.get(row.id).unwrap().row(at(1_010).now);
    assert_eq!((row.done, row.state), (2, TaskState::Done));
}

#[test]
fn what_cannot_begin_is_refused_and_begins_nothing() {
    let (mut control, shards) = started();
    let none = SessionFilter::default;
    for (ids, filter, per_s, code) in [
        (&[][..], none(), 5, Code::Invalid),
        (&["0.1.0"], of_b1(), 5, Code::Invalid),
        (&[], of_b1(), 0, Code::Invalid),
        (&[], of_b1(), 100_001, Code::Invalid),
        (&["0.1"], none(), 5, Code::NotFound),
        (&[], SessionFilter { pool: Some("wbe".into()), ..none() }, 5, Code::NotFound),
    ] {
        let number = control.kill(ids, filter.clone(), per_s, 10);
        assert_eq!(control.refused(number), code, "{ids:?} {filter:?} {per_s}");
    }
    assert_eq!(searches(&shards), [""; 0]);
    // Those that were named are over.
    let number = control.kill(&["0.1.0", "0.2.0"], none(), 5, 10);
    control.found(0, number, Vec::new(), 0);
    assert_eq!(control.refused(number), Code::NotFound);
    // A shard that does not answer may have some of them.
    let number = control.kill(&[], of_b1(), 5, 20);
    control.found(0, number, Vec::new(), 0);
    control.give(Input::Tick, 10_020);
    assert_eq!(control.refused(number), Code::Failed);
    assert_eq!(control.tasks.iter().count(), 0);
}

#[test]
fn the_sessions_of_a_shard_that_ends_are_over() {
    let (mut control, _) = started();
    let number = control.kill(&["0.4.0", "0.5.0"], SessionFilter::default(), 5, 10);
    let rows = vec![control.row(4, 500), control.row(5, 600)];
    control.found(0, number, rows, 2);
    let row = control.task_row(number);
    assert_eq!((row.subject.as_str(), row.total), ("0.4.0 and 1 more", 2));
    control.give(Input::Report(Report::Ended { shard: ShardId(0), panic: None }), 20);
    control.give(Input::Tick, 30);
    assert_eq!(control.tasks.get(row.id).unwrap().state, TaskState::Done);
}
