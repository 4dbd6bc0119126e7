//! Requests from end to end, with shards without threads and a disk in memory.

use core::pin::pin;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use futures_lite::future::poll_once;
use weir_proto::answer::{BackendState, ListenerState, ProcessState};
use weir_proto::request::{
    ChangeOptions, ChangeRequest, Code, Command, Query, Refusal, Request, Response,
};

use super::*;
use crate::api::gate::Handler;
use crate::store::tests::{Disk, seeded_with};
use crate::store::thread::{Started, StoreThread};
use weir_control_core::control::{BACKENDS_SLICE, Setup};
use weir_control_core::fakes::{FakeShards, spec};
use weir_control_core::record::Record;
use weir_control_core::sockets::BindPlan;
use weir_proto::ids::{BackendId, IdSource, Version};
use weir_proto::settings::ShownValue;
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::Spec;

const BY: Author = Author::new(1000, 7);
const HISTORY: Query = Query::ConfigHistory { before: None, limit: None };

/// Two shards that have adopted a configuration with one listener; everything runs but the signals.
pub(crate) async fn started() -> (Rc<Shared>, FakeShards) {
    let (shared, shards, _) = started_with_disk().await;
    (shared, shards)
}

/// The same, with the disk.
async fn started_with_disk() -> (Rc<Shared>, FakeShards, Disk) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ring = move || (&ours).write_all(&[1]).unwrap();
    let shards = FakeShards::new(2).with(Box::new(ring), crate::listen::bind_plan);
    let disk = Disk::default();
    let shared = control(&shards, &spec(free()), &disk);
    start_reports(&shared, rt::Bell::from(OwnedFd::from(theirs)));
    start_ticks(&shared);
    let snapshot = shared.control().snapshot.clone();
    let bound = crate::listen::bind_plan(&BindPlan::first(&snapshot), 2);
    shared.handle(Input::Begin(bound));
    shared.adopted(snapshot.version).await.unwrap();
    shards.take_sent();
    (shared, shards, disk)
}

/// A control with version 1 on a disk, before anything was sent.
fn control(shards: &FakeShards, spec: &Spec, disk: &Disk) -> Rc<Shared> {
    let mut ids = IdSource::default();
    let snapshot = Snapshot::build(spec, Version(1), &Snapshot::empty(), &mut ids).unwrap();
    let base = Some(Arc::new(spec.clone()));
    let first = Record::new(1, "then".into(), BY, "seeded".into(), spec.clone());
    let first = first.with_base(base.clone());
    let store = seeded_with(disk, &first);
    let started = StoreThread::start(store, || 0).unwrap();
    let Started { thread, appender, versions, news, bell } = started;
    let fleet = Box::new(shards.clone());
    let slice = BACKENDS_SLICE;
    let (unconfirmed, checks_max, in_use) = (None, 100, BTreeMap::new());
    let found = BTreeMap::new();
    #[rustfmt::skip]
    let setup =
        Setup {
        fleet, versions, snapshot, base, unconfirmed, in_use, found, ids, checks_max, slice,
        legacy: None,
    };
    let shared = Shared::new(Control::new(setup, moment()), appender, None, Default::default());
    start_store_news(&shared, news, bell.into());
    // It works until the test has ended.
    core::mem::forget(thread);
    shared
}

/// Waits until the disk holds a sync, on another thread.
async fn held(disk: &Disk) {
    let disk = disk.clone();
    rt::blocking(move || disk.wait_until_held()).await;
}

/// A port of the loopback that stays free.
fn free() -> SocketAddr {
    crate::listen::tests::free("127.0.0.1")
}

fn change(change: ChangeRequest) -> Request {
    Command::Change { change, options: ChangeOptions::default() }.into()
}

async fn ask(shared: &Shared, request: impl Into<Request>) -> Response {
    let answer = match request.into() {
        Request::Query(query) => {
            shared.refresh(&query).await;
            shared.query(query).await
        }
        Request::Command(command) => shared.command(command, BY).await,
    };
    answer.map_or_else(Response::Refused, Response::Done)
}

fn add(name: &str, address: &str) -> Request {
    change(ChangeRequest::BackendAdd {
        name: name.into(),
        address: address.into(),
        pairs: Vec::new(),
    })
}

async fn changed(shared: &Shared, request: impl Into<Request>) -> weir_proto::answer::Changed {
    match ask(shared, request).await {
        Response::Done(Answer::Changed(changed)) => changed,
        other => panic!("{other:?}"),
    }
}

async fn refused(shared: &Shared, request: impl Into<Request>) -> Refusal {
    match ask(shared, request).await {
        Response::Refused(refusal) => refusal,
        other @ Response::Done(_) => panic!("{other:?}"),
    }
}

#[test]
fn a_change_is_answered_when_every_shard_obeys() {
    rt::run(|| async {
        let (shared, shards) = started().await;
        let answer = changed(&shared, add("web/b3", "192.0.2.3:80")).await;
        assert_eq!((answer.version, answer.shards_adopted, answer.shards), (2, 2, 2));
        assert_eq!(answer.undo, "weirctl backend remove web/b3 --if-version 2");
        let word = "adopt 2 +0 [(BackendId(5), Unproven)]";
        assert_eq!(shards.take_sent(), [format!("0 {word}"), format!("1 {word}")]);
        // The same again is refused, and nothing is a new version.
        assert_eq!(refused(&shared, add("web/b3", "192.0.2.3:80")).await.code, Code::Exists);
        let weight = ChangeRequest::BackendWeight { name: "web/b3".into(), weight: 1 };
        assert_eq!(changed(&shared, change(weight)).await.version, 2);
        let Response::Done(Answer::History(history)) = ask(&shared, HISTORY).await else {
            panic!("no history")
        };
        assert_eq!(history.versions[0].summary, "backend add web/b3");
        assert_eq!(history.versions[0].by, BY);
        assert_eq!((history.versions.len(), history.next_before), (2, None));
    })
    .unwrap();
}

#[test]
fn history_is_read_page_by_page() {
    rt::run(|| async {
        let (shared, _) = started().await;
        for version in 2..=5 {
            assert_eq!(
                changed(&shared, add(&format!("web/n{version}"), "192.0.2.3:80")).await.version,
                version
            );
        }
        let page = async |before, limit| match ask(&shared, Query::ConfigHistory { before, limit })
            .await
        {
            Response::Done(Answer::History(page)) => {
                let versions = page.versions.iter().map(|row| row.version).collect();
                Ok::<(Vec<u64>, _), _>((versions, page.next_before))
            }
            Response::Refused(refusal) => Err((refusal.code, refusal.message)),
            other => panic!("{other:?}"),
        };
        assert_eq!(page(None, None).await.unwrap(), (vec![5, 4, 3, 2, 1], None));
        assert_eq!(page(None, Some(2)).await.unwrap(), (vec![5, 4], Some(4)));
        assert_eq!(page(Some(4), Some(2)).await.unwrap(), (vec![3, 2], Some(2)));
        assert_eq!(page(Some(2), Some(2)).await.unwrap(), (vec![1], None));
        assert_eq!(page(Some(4), Some(3)).await.unwrap(), (vec![3, 2, 1], None), "just all");
        assert_eq!(page(Some(1), None).await.unwrap(), (vec![], None));
        assert_eq!(page(Some(u64::MAX), Some(1)).await.unwrap(), (vec![5], Some(5)));
        for limit in [0, 1001, u64::MAX] {
            let (code, message) = page(None, Some(limit)).await.unwrap_err();
            assert_eq!(code, Code::Invalid);
            let wanted = format!("limit {limit}: at least 1 and at most 1000 versions");
            assert_eq!(message, wanted);
        }
        let (code, message) = page(Some(0), None).await.unwrap_err();
        assert_eq!(code, Code::Invalid);
        assert_eq!(message, "there is no version before 0: versions begin at 1");
    })
    .unwrap();
}

#[test]
fn a_silent_shard_is_named_after_five_seconds_and_the_next_change_goes_on() {
    rt::run(|| async {
        let (shared, shards) = started().await;
        shards.set_deaf(&[1]);
        let refusal = refused(&shared, add("web/b3", "192.0.2.3:80")).await;
        assert_eq!(refusal.code, Code::Failed);
        assert_eq!(refusal.message, "durable as version 2 but shards [1] have not adopted it yet");
        shards.set_deaf(&[]);
        assert_eq!(changed(&shared, add("web/b4", "192.0.2.4:80")).await.version, 3);
    })
    .unwrap();
}

/// Changes that wait for a disk hold up nothing but later changes.
#[test]
fn a_slow_disk_delays_no_probe_query_or_figure() {
    rt::run(|| async {
        let (shared, shards, disk) = started_with_disk().await;
        let backend = rt::TcpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = backend.local_addr().unwrap().to_string();
        assert_eq!(changed(&shared, add("web/live", &address)).await.version, 2);
        shards.take_sent();
        disk.hold();
        let mut first = pin!(changed(&shared, add("web/b3", "192.0.2.3:80")));
        let mut second = pin!(changed(&shared, add("web/b4", "192.0.2.4:80")));
        assert!(poll_once(first.as_mut()).await.is_none());
        held(&disk).await;
        assert!(poll_once(second.as_mut()).await.is_none());
        // Probes are made and count.
        start_wakes(&shared);
        drop(backend.accept().await);
        let id = shared.control().snapshot.backends().last().unwrap().1.id;
        let is_up = || shared.control().health.is_up(id).then_some(());
        shared.notify.until(is_up).await;
        // Queries, those that read the disk too, are answered by what is durable.
        let status = ask(&shared, Query::Status).await;
        assert!(matches!(status, Response::Done(Answer::Status(status)) if status.version == 2));
        let history = ask(&shared, HISTORY).await;
        assert!(
            matches!(history, Response::Done(Answer::History(list)) if list.versions.len() == 2)
        );
        shared.tick();
        let page = Handler::metrics(&*shared, 0).await;
        assert!(page.contains("weir_config_version 2\n"));
        let sent = shards.take_sent();
        assert!(sent.iter().all(|word| !word.contains("adopt")), "it is not durable: {sent:?}");
        assert!(poll_once(first.as_mut()).await.is_none());
        disk.release();
        assert_eq!(first.await.version, 3);
        assert_eq!(second.await.version, 4);
    })
    .unwrap();
}

/// A client may go at any moment: its change comes to its end, and the next one has its turn.
#[test]
fn a_change_whose_client_is_gone_goes_on() {
    rt::run(|| async {
        let (shared, shards, disk) = started_with_disk().await;
        disk.hold();
        let mut gone = Box::pin(changed(&shared, add("web/b3", "192.0.2.3:80")));
        assert!(poll_once(gone.as_mut()).await.is_none());
        let mut waits = pin!(changed(&shared, add("web/b4", "192.0.2.4:80")));
        assert!(poll_once(waits.as_mut()).await.is_none());
        held(&disk).await;
        drop(gone);
        drop(Box::pin(changed(&shared, add("web/b5", "192.0.2.5:80"))));
        let mut also_gone = Box::pin(changed(&shared, add("web/b6", "192.0.2.6:80")));
        assert!(poll_once(also_gone.as_mut()).await.is_none());
        drop(also_gone);
        disk.release();
        assert_eq!(waits.await.version, 3);
        assert_eq!(changed(&shared, add("web/b7", "192.0.2.7:80")).await.version, 5);
        let names: Vec<_> = shared.control().snapshot.pools[0].backends[2..]
            .iter()
            .map(|backend| backend.name.to_string())
            .collect();
        assert_eq!(names, ["b3", "b4", "b6", "b7"], "b5 was never asked for");
        assert!(shared.outcomes.borrow().is_empty(), "no outcome is waited for");
        assert!(shards.take_sent().iter().any(|word| word.contains("adopt 4")));
    })
    .unwrap();
}

#[test]
fn a_disk_that_fails_is_a_refusal_and_nothing_has_changed() {
    rt::run(|| async {
        let (shared, shards, disk) = started_with_disk().await;
        disk.set_full(true);
        let refusal = refused(&shared, add("web/b3", "192.0.2.3:80")).await;
        assert_eq!(refusal.code, Code::Failed);
        assert!(refusal.hint.starts_with("nothing has changed"), "{refusal:?}");
        assert_eq!(shared.control().snapshot.version, Version(1));
        assert_eq!(shards.take_sent(), [""; 0]);
        disk.set_full(false);
        assert_eq!(changed(&shared, add("web/b3", "192.0.2.3:80")).await.version, 2);
    })
    .unwrap();
}

#[test]
fn a_dry_run_changes_nothing_and_binds_nothing() {
    rt::run(|| async {
        let (shared, shards) = started().await;
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = |bind: std::net::SocketAddr, dry_run| Command::Change {
            change: ChangeRequest::ListenerAdd {
                name: "db".into(),
                bind: vec![bind.to_string()],
                pool: "web".into(),
                pairs: Vec::new(),
            },
            options: ChangeOptions {
                dry_run,
                if_version: None,
                yes: false,
                ..ChangeOptions::default()
            },
        };
        let taken_address = taken.local_addr().unwrap();
        let answer = changed(&shared, listener(taken_address, true)).await;
        let impact = answer.impact.unwrap();
        assert_eq!(impact.listeners.open, ["db"]);
        let warning = format!("not tried before it is made: whether {taken_address} can be bound");
        assert_eq!(impact.warnings, [warning]);
        assert_eq!(answer.changes.len(), 1);
        let refusal = refused(&shared, listener(taken_address, false)).await;
        assert!(refusal.message.ends_with("address in use"), "{refusal:?}");
        let bind = free();
        let answer = changed(&shared, listener(bind, true)).await;
        assert_eq!((answer.version, answer.dry_run), (1, true));
        assert_eq!(shards.take_sent(), [""; 0]);
        let answer = changed(&shared, listener(bind, false)).await;
        assert_eq!((answer.version, answer.dry_run, answer.impact), (2, false, None));
        assert_eq!(shards.take_sent(), ["0 adopt 2 +1", "1 adopt 2 +1"]);
    })
    .unwrap();
}

#[test]
fn changes_from_many_clients_are_one_after_another() {
    rt::run(|| async {
        let (shared, _shards) = started().await;
        let done = Rc::new(RefCell::new(Vec::new()));
        for n in 3..13 {
            let (shared, done) = (shared.clone(), done.clone());
            rt::spawn("test", async move {
                let request = add(&format!("web/b{n}"), &format!("192.0.2.{n}:80"));
                let version = changed(&shared, request).await.version;
                done.borrow_mut().push(version);
                shared.notify.ring();
            });
        }
        let all = || (done.borrow().len() == 10).then_some(());
        shared.notify.until(all).await;
        let versions = done.borrow().clone();
        assert_eq!(versions, (2..12).collect::<Vec<u64>>());
        assert_eq!(shared.control().snapshot.pools[0].backends.len(), 12);
    })
    .unwrap();
}

#[test]
fn questions_are_answered_from_the_snapshot() {
    rt::run(|| async {
        let (shared, _shards) = started().await;
        let known = async |query: Query| match ask(&shared, query).await {
            Response::Done(answer) => answer,
            Response::Refused(refusal) => panic!("{refusal:?}"),
        };
        let Answer::Status(status) = known(Query::Status).await else { panic!("no status") };
        assert_eq!((status.version, status.state), (1, ProcessState::Serving));
        assert_eq!(status.shards.iter().map(|row| row.version).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(status.listeners[0].state, ListenerState::Open);
        assert_eq!((status.pools[0].backends, status.pools[0].name.as_str()), (2, "web"));
        let maint = |name: &str| {
            let state = weir_proto::spec::Admin::Maint;
            let change = ChangeRequest::BackendState { name: name.into(), state };
            let options = ChangeOptions { yes: true, ..ChangeOptions::default() };
            Command::Change { change, options }
        };
        changed(&shared, maint("web/b1")).await;
        changed(&shared, maint("web/b2")).await;
        let Answer::Pool(pool) = known(Query::PoolShow { name: "web".into() }).await else {
            panic!("no pool")
        };
        assert_eq!(pool.backends[0].state, BackendState::Maint);
        assert_eq!(pool.settings.get("health.kind"), Some(&ShownValue::Text("tcp".to_owned())));
        assert_eq!(pool.settings.get("timeout.connect_s"), Some(&ShownValue::Seconds(3.0)));
        let Answer::Status(status) = known(Query::Status).await else { panic!("no status") };
        assert_eq!(status.pools[0].backends_up, 0);
        assert_eq!(status.warnings, ["pool web: no backend can take sessions: 2 maint"]);
        let show = Query::BackendShow { name: "web/b9".into() };
        let refusal = refused(&shared, show).await;
        assert_eq!((refusal.code, refusal.did_you_mean.len()), (Code::NotFound, 2));
        let list = Query::BackendList { pool: Some("wbe".into()) };
        assert_eq!(refused(&shared, list).await.did_you_mean, ["web"]);
        let export = Query::ConfigExport { version: Some(9) };
        assert_eq!(refused(&shared, export).await.code, Code::NotFound);
        let Answer::Config(text) = known(Query::ConfigExport { version: Some(1) }).await else {
            panic!("no text")
        };
        assert!(text.toml.contains("192.0.2.1:80"), "{}", text.toml);
    })
    .unwrap();
}

#[test]
fn a_removed_backend_is_listed_until_its_last_session_is_gone() {
    rt::run(|| async {
        let (shared, shards) = started().await;
        let id: BackendId = shared.control().snapshot.pools[0].backends[0].id;
        shards.set_sessions(&[(id, 2)]);
        let rows = async || {
            let list = Query::BackendList { pool: None };
            let Response::Done(Answer::Backends(list)) = ask(&shared, list).await else {
                panic!("no list")
            };
            list.backends
        };
        shared.tick();
        shared.notify.until(|| (shared.control().aggregate.sessions() == 4).then_some(())).await;
        let remove = ChangeRequest::BackendRemove { name: "web/b1".into(), force: false };
        changed(&shared, change(remove)).await;
        let all = rows().await;
        let gone = all.last().unwrap();
        assert_eq!((all.len(), gone.name.as_str(), gone.removed), (2, "web/b1", true));
        assert_eq!((gone.state, gone.sessions), (BackendState::Removed, 4));
        shards.set_sessions(&[]);
        shared.notify.until(|| (shared.control().aggregate.sessions() == 0).then_some(())).await;
        assert_eq!(rows().await.len(), 1);
    })
    .unwrap();
}

#[test]
fn a_stop_answers_first_and_ends_with_0() {
    rt::run(|| async {
        let (shared, shards) = started().await;
        let stop = Command::Stop { drain_ms: Some(60_000) };
        assert!(matches!(ask(&shared, stop).await, Response::Done(Answer::Said(_))));
        assert!(!shared.control().is_serving());
        assert_eq!(shared.over().await, 0);
        assert_eq!(shards.take_sent(), ["0 drain", "1 drain", "0 stop", "1 stop"]);
    })
    .unwrap();
}
