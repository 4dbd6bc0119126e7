//! Searches: the shards that are asked and waited for, and the answer.

use weir_proto::answer::{Answer, Killed, Sessions};
use weir_proto::order::Report;
use weir_proto::request::SessionKill;
use weir_proto::session::{
    ListedSession, SessionFilter, SessionKey, SessionPage, SessionSort, SessionState,
};

use super::super::SearchRequest;
use super::*;

impl Shell {
    fn search(&mut self, request: SearchRequest, ms: u64) -> u64 {
        self.asked += 1;
        self.give(Input::Search { id: ChangeId(self.asked), request }, ms);
        self.asked
    }

    pub(super) fn take_answer(&mut self, number: u64) -> Option<ChangeOutcome> {
        let (id, outcome) = self.answers.pop_front()?;
        assert_eq!(id, number);
        Some(outcome)
    }

    /// A shard's whole answer.
    pub(super) fn found(
        &mut self,
        shard: u16,
        number: u64,
        rows: Vec<ListedSession>,
        matched: u64,
    ) {
        let page = Box::new(SessionPage { number, rows, matched, is_last: true });
        self.give(Input::Report(Report::Sessions { shard: ShardId(shard), page }), 20);
    }

    pub(super) fn row(&self, slot: u32, age_ms: u64) -> ListedSession {
        let (pool, backend) = self.snapshot.backends().next().unwrap();
        ListedSession {
            key: SessionKey { slot, generation: 0 },
            listener: self.snapshot.listeners[0].id,
            pool: pool.id,
            backend: Some(backend.id),
            client: Some("203.0.113.7:4000".parse().unwrap()),
            route: None,
            server_name: None,
            age_ms,
            idle_ms: 0,
            received_bytes: 1,
            sent_bytes: 2,
            rate_bytes_per_s: 0,
            state: SessionState::Relaying,
            blocked_on: None,
            blocked_ms: [0; 2],
            version: Version(1),
            legs: None,
        }
    }
}

fn list(filter: SessionFilter, limit: u32) -> SearchRequest {
    SearchRequest::List { filter, sort: SessionSort::Age, limit }
}

fn sessions(outcome: Option<ChangeOutcome>) -> Sessions {
    match outcome {
        Some(Ok(Answer::Sessions(sessions))) => sessions,
        other => panic!("{other:?}"),
    }
}

fn ids(sessions: &Sessions) -> Vec<&str> {
    sessions.sessions.iter().map(|row| row.id.as_str()).collect()
}

#[test]
fn the_answers_of_all_shards_are_one_list() {
    let (mut control, shards) = started();
    let number = control.search(list(SessionFilter::default(), 2), 10);
    assert_eq!(shards.take_sent().len(), 2);
    let rows = vec![control.row(0, 900), control.row(3, 100)];
    control.found(1, number, rows, 5);
    assert_eq!(control.take_answer(number), None, "shard 0 has not answered");
    let rows = vec![control.row(7, 500)];
    control.found(0, number, rows, 1);
    let told = sessions(control.take_answer(number));
    assert_eq!((ids(&told), told.shown, told.matched), (vec!["1.0.0", "0.7.0"], 2, 6));
    let row = &told.sessions[0];
    assert_eq!((row.listener.as_str(), row.pool.as_str()), ("web", "web"));
    assert_eq!(row.backend.as_deref(), Some("web/b1"));
    assert_eq!((row.client.as_deref(), row.age_s, row.version), (Some("203.0.113.7:4000"), 0.9, 1));
    control.found(0, number, Vec::new(), 1);
    assert_eq!(control.take_answer(number), None, "it was answered");
}

#[test]
fn a_shard_that_is_silent_is_named_and_one_that_has_ended_is_not_waited_for() {
    let (mut control, shards) = started();
    let number = control.search(list(SessionFilter::default(), 9), 10);
    control.found(0, number, Vec::new(), 0);
    control.give(Input::Tick, 10_009);
    assert_eq!(control.take_answer(number), None);
    control.give(Input::Tick, 10_010);
    assert_eq!(sessions(control.take_answer(number)).missing_shards, [1]);

    shards.set_full(&[0]);
    let number = control.search(list(SessionFilter::default(), 9), 10_100);
    control.give(Input::Report(Report::Ended { shard: ShardId(1), panic: None }), 10_200);
    assert_eq!(sessions(control.take_answer(number)).missing_shards, [0], "its mailbox is full");
}

#[test]
fn what_is_not_there_is_refused_with_its_name() {
    let (mut control, shards) = started();
    let named = |name: &str| Some(name.to_owned());
    let none = SessionFilter::default;
    let cases = [
        (SessionFilter { pool: named("wbe"), ..none() }, Code::NotFound),
        (SessionFilter { listener: named("wbe"), ..none() }, Code::NotFound),
        (SessionFilter { backend: named("web/b9"), ..none() }, Code::NotFound),
        (SessionFilter { client: named("10.0.0.0/33"), ..none() }, Code::Invalid),
    ];
    for (filter, code) in cases {
        let number = control.search(list(filter.clone(), 9), 10);
        let refusal = control.take_answer(number).unwrap().unwrap_err();
        assert_eq!(refusal.code, code, "{filter:?}: {refusal}");
    }
    let many = control.search(list(none(), weir_proto::session::LISTED_MAX + 1), 10);
    assert_eq!(control.take_answer(many).unwrap().unwrap_err().code, Code::Invalid);
    let everybody = control.search(SearchRequest::Kill(SessionKill::default()), 10);
    assert_eq!(control.take_answer(everybody).unwrap().unwrap_err().code, Code::Invalid);
    let odd = control.search(SearchRequest::Show { id: "0.1".into() }, 10);
    assert_eq!(control.take_answer(odd).unwrap().unwrap_err().code, Code::NotFound);
    assert_eq!(shards.take_sent(), [""; 0]);
    let gone = control.search(SearchRequest::Show { id: "7.1.1".into() }, 10);
    assert_eq!(control.take_answer(gone).unwrap().unwrap_err().code, Code::NotFound);
}

#[test]
fn a_session_is_asked_for_where_it_is_and_may_be_over() {
    let (mut control, shards) = started();
    let number = control.search(SearchRequest::Show { id: "1.4.2".into() }, 10);
    let sent = shards.take_sent();
    assert!(sent.len() == 1 && sent[0].starts_with("1 search"), "{sent:?}");
    control.found(1, number, Vec::new(), 0);
    assert_eq!(control.take_answer(number).unwrap().unwrap_err().code, Code::NotFound);
    let number = control.search(SearchRequest::Show { id: "1.4.2".into() }, 10);
    let row = control.row(4, 1);
    control.found(1, number, vec![row], 1);
    let Some(Ok(Answer::Session(detail))) = control.take_answer(number) else {
        panic!("no answer")
    };
    assert_eq!(detail.session.id, "1.4.0");
}

#[test]
fn a_kill_says_how_many_and_a_dry_run_kills_none() {
    let (mut control, shards) = started();
    for dry_run in [true, false] {
        let filter = SessionFilter { backend: Some("web/b1".into()), ..SessionFilter::default() };
        let kill = SessionKill { ids: Vec::new(), filter, dry_run };
        let number = control.search(SearchRequest::Kill(kill), 10);
        let sent = shards.take_sent();
        assert_eq!(
            sent.iter().filter(|it| it.contains("Kill")).count(),
            if dry_run { 0 } else { 2 }
        );
        control.found(0, number, Vec::new(), 3);
        control.found(1, number, Vec::new(), 4);
        let killed = if dry_run { 0 } else { 7 };
        let wanted = Killed { matched: 7, killed, dry_run, missing_shards: Vec::new() };
        assert_eq!(control.take_answer(number), Some(Ok(Answer::Killed(wanted))));
    }
}

#[test]
fn searches_beyond_the_most_are_refused() {
    let (mut control, _) = started();
    let last =
        (0..17).map(|_| control.search(list(SessionFilter::default(), 9), 10)).last().unwrap();
    assert_eq!(control.take_answer(last).unwrap().unwrap_err().code, Code::Failed);
}
