//! Who is let in with what, and what is written down of it.

use std::cell::RefCell;

use super::*;
use crate::rt::{self, Bulky};
use weir_proto::answer::Said;
use weir_proto::request::{ChangeOptions, ChangeRequest};

const UID: u32 = 1000;

fn peer(role: Option<Role>) -> Principal {
    Principal::Peer {
        cred: PeerCred { uid: UID, gid: 7, groups: Vec::new(), pid: 42, login: Some(501) },
        role,
    }
}

fn http(bearer: Bearer) -> Principal {
    Principal::Http { bearer, from: [192, 0, 2, 9].into() }
}

fn change(change: ChangeRequest) -> Request {
    Command::Change { change, options: ChangeOptions::default() }.into()
}

fn weight() -> Request {
    change(ChangeRequest::BackendWeight { name: "web/b1".into(), weight: 2 })
}

fn rollback() -> Request {
    change(ChangeRequest::Rollback { version: 1 })
}

/// An outcome in a table.
#[derive(Debug, PartialEq, Eq)]
enum Gets {
    Answer,
    CarriedOut,
    Tried,
    Refused(Role),
}

#[test]
fn each_principal_gets_what_its_role_allows() {
    use Gets::{Answer, CarriedOut, Refused, Tried};
    use Role::{Admin, Operator, Viewer};
    // Not even a dry run: its body would be read.
    let stranger = || [Answer, Refused(Operator), Refused(Admin), Refused(Admin), Refused(Viewer)];
    let table = [
        (
            peer(None),
            [Refused(Viewer), Refused(Operator), Refused(Admin), Refused(Admin), Refused(Viewer)],
        ),
        (peer(Some(Viewer)), [Answer, Refused(Operator), Refused(Admin), Refused(Admin), Tried]),
        (peer(Some(Operator)), [Answer, CarriedOut, Refused(Admin), Refused(Admin), Tried]),
        (peer(Some(Admin)), [Answer, CarriedOut, CarriedOut, CarriedOut, Tried]),
        (http(Bearer::Off), stranger()),
        (http(Bearer::Missing), stranger()),
        (http(Bearer::Wrong), stranger()),
        (http(Bearer::Unreadable), stranger()),
        (http(Bearer::Right), [Answer, CarriedOut, CarriedOut, CarriedOut, Tried]),
    ];
    let dry = ChangeOptions { dry_run: true, ..ChangeOptions::default() };
    let dry = Command::Change { change: ChangeRequest::Rollback { version: 1 }, options: dry };
    for (principal, wanted) in table {
        let status = Query::Status.into();
        let dry = dry.clone().into();
        let requests = [status, weight(), rollback(), Command::Drain.into(), dry];
        for (request, wanted) in requests.into_iter().zip(wanted) {
            let gets = match decide(&principal, request.clone()) {
                Decision::Answer(query) => {
                    assert_eq!(request, query.into());
                    Answer
                }
                Decision::CarryOut(command, by) => {
                    assert_eq!(request, command.into());
                    let role = principal.role();
                    match principal {
                        Principal::Peer { .. } => {
                            let author = Author { login: Some(501), role, ..Author::new(UID, 42) };
                            assert_eq!(by, author);
                        }
                        Principal::Http { from, .. } => {
                            assert_eq!((by.pid, by.role, by.from), (0, role, Some(from)));
                        }
                    }
                    CarriedOut
                }
                Decision::Try(command, _) => {
                    assert_eq!(request, command.into());
                    Tried
                }
                Decision::Refuse(refused, needed) => {
                    assert_eq!(request, refused);
                    Refused(needed)
                }
                Decision::TooLong(refusal) => panic!("{request}: {refusal:?}"),
            };
            assert_eq!(gets, wanted, "{principal:?}: {request}");
        }
    }
}

/// Writes down all that the gate asks of it.
#[derive(Default)]
struct Recorder(RefCell<Vec<String>>);

impl Recorder {
    fn note(&self, text: String) {
        self.0.borrow_mut().push(text);
    }
}

impl Handler for Recorder {
    async fn refresh(&self, query: &Query) {
        self.note(format!("refresh for {query}"));
    }

    async fn query(&self, query: Query) -> Result<Answer, Refusal> {
        self.note(format!("answer {query}"));
        Ok(Answer::Said(Said { text: String::new() }))
    }

    async fn command(&self, command: Command, by: Author) -> Result<Answer, Refusal> {
        self.note(format!("do {command} by {}", by.uid));
        match command {
            Command::Drain | Command::Ready => Ok(Answer::Said(Said { text: String::new() })),
            _ => Err(Refusal::new(Code::NotFound, "there is no web/b1", "")),
        }
    }

    fn version(&self) -> u64 {
        3
    }

    fn record(&self, event: AuditEvent) {
        self.note(format!("event: {}: {}", event.subject, event.text));
    }

    fn answering(&self) -> impl Sized {}

    async fn metrics(&self, _: usize) -> Arc<Bulky<String>> {
        Arc::new(Bulky::new(String::new()))
    }

    fn with_events<T>(&self, look: impl FnOnce(&Events) -> T) -> T {
        look(&Events::new(1))
    }

    async fn events_after(&self, _: u64) {}

    async fn live_history(&self) -> Arc<String> {
        Arc::new("{}".to_owned())
    }

    async fn live_figures(&self) -> Arc<String> {
        Arc::new("{}".to_owned())
    }

    fn live_points(&self) -> u64 {
        0
    }

    async fn live_points_after(&self, _: u64) {
        futures_lite::future::pending::<()>().await;
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn commands_and_refusals_are_audited_and_queries_are_not() {
    let admin = || peer(Some(Role::Admin));
    let by = "event: uid 1000 gid 7 pid 42 login 501: ";
    let table: [(Principal, Request, Vec<String>); 6] = [
        (admin(), Query::Shards.into(), vec!["refresh for shards".into(), "answer shards".into()]),
        (http(Bearer::Missing), Query::Shards.into(), vec!["answer shards".into()]),
        (
            admin(),
            Command::Drain.into(),
            vec!["do drain by 1000".into(), format!("{by}drain: done: version 3 → 3")],
        ),
        (
            admin(),
            weight(),
            vec![
                "do backend weight web/b1 2 by 1000".into(),
                format!("{by}backend weight web/b1 2: refused: version 3 → 3: there is no web/b1"),
            ],
        ),
        (
            peer(None),
            Query::Shards.into(),
            vec![format!("{by}shards: not permitted: it needs viewer, the peer has none")],
        ),
        (
            http(Bearer::Missing),
            Command::Drain.into(),
            vec![
                "event: http 192.0.2.9: drain: not permitted: it needs admin, the peer has viewer"
                    .into(),
            ],
        ),
    ];
    rt::run(|| async {
        for (principal, request, wanted) in table {
            let recorder = Rc::new(Recorder::default());
            let gate = Gate::new(recorder.clone(), Roles::new(None, 0).unwrap());
            let response = gate.ask(&principal, request.clone()).await;
            assert_eq!(*recorder.0.borrow(), wanted, "{principal:?}: {request}");
            let is_denied =
                matches!(response, Response::Refused(Refusal { code: Code::Denied, .. }));
            let not_permitted = wanted[0].contains("not permitted");
            assert_eq!(is_denied, not_permitted, "{principal:?}: {request}: {response:?}");
        }
    })
    .unwrap();
}

#[test]
fn a_peer_has_the_role_of_its_credentials() {
    let gate = Gate::new(Rc::new(Recorder::default()), Roles::new(None, 0).unwrap());
    let cred = |uid| PeerCred { uid, gid: 7, groups: Vec::new(), pid: 42, login: Some(501) };
    assert_eq!(gate.peer(cred(0)).role(), Some(Role::Admin));
    assert_eq!(gate.peer(cred(UID)).role(), Some(Role::Operator));
}

#[test]
fn a_word_that_means_nothing_is_looked_at_no_further() {
    let admin = peer(Some(Role::Admin));
    let set = |value: String| {
        let pairs = vec![("health.send".to_owned(), value)];
        change(ChangeRequest::PoolSet { name: "web".into(), pairs })
    };
    let is_too_long = |request| matches!(decide(&admin, request), Decision::TooLong(_));
    assert!(!is_too_long(set("x".repeat(WORD_MAX))));
    assert!(is_too_long(set("x".repeat(WORD_MAX + 1))));
    assert!(is_too_long(Query::PoolShow { name: "x".repeat(1 << 20) }.into()));
    let add = |count| {
        let bind = vec!["127.0.0.1:1".to_owned(); count];
        change(ChangeRequest::ListenerAdd {
            name: "web".into(),
            bind,
            pool: "web".into(),
            pairs: Vec::new(),
        })
    };
    assert!(!is_too_long(add(WORDS_MAX - 2)));
    assert!(is_too_long(add(WORDS_MAX)));
    // A file may be long, and the name of one is cut where it is shown.
    let (toml, origin) = ("x".repeat(1 << 20), "x".repeat(1 << 20));
    assert!(!is_too_long(change(ChangeRequest::apply(toml, origin))));
}

#[test]
fn a_flood_of_refusals_is_a_burst_of_lines_and_a_count() {
    rt::run(|| async {
        let recorder = Rc::new(Recorder::default());
        let gate = Gate::new(recorder.clone(), Roles::new(None, 0).unwrap());
        for _ in 0..5_000 {
            let response = gate.ask(&peer(None), Query::Status.into()).await;
            assert!(matches!(response, Response::Refused(Refusal { code: Code::Denied, .. })));
        }
        // A test's machine may take a second for them.
        let written = recorder.0.borrow().len();
        assert!((20..=30).contains(&written), "{written} of 5,000 were written down");
        let unwritten = gate.refusals.budget.borrow_mut().take_unwritten();
        assert_eq!(unwritten, [(Cause::Uid(UID), 5_000 - written as u64)]);
        gate.ask(&peer(Some(Role::Admin)), Command::Drain.into()).await;
        assert_eq!(recorder.0.borrow().len(), written + 2, "what is done is always written down");
    })
    .unwrap();
}
