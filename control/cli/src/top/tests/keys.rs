//! Keys: what they show, what they order, and what they never do without a yes.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use weir_proto::answer::{EventKind, TaskKind, TaskRow, TaskState};
use weir_proto::change::Kind;
use weir_proto::conflict::Conflict;
use weir_proto::impact::{ChangeRow, Class};
use weir_proto::request::ChangeRequest;
use weir_proto::spec::Admin;

use super::sample::{live, model, sessions, shown};
use super::screens::text;
use crate::exit::{Exit, Failure};
use crate::render::views::tests::changed;
use crate::top::model::{Dialog, Model, Row, Sort, Subject, View};
use crate::top::news::{Deed, News, Order, Outcome, Proposal};

fn press(model: &mut Model, keys: &str) -> bool {
    let ends: Vec<bool> = keys.chars().map(|key| code(model, KeyCode::Char(key))).collect();
    ends.into_iter().any(|end| end)
}

fn code(model: &mut Model, code: KeyCode) -> bool {
    model.key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// The names of the rows, in their order.
fn names(model: &Model) -> Vec<String> {
    let figures = model.figures.as_ref().unwrap();
    let name = |row: &Row| match row.subject(figures) {
        Subject::Listener(name) => format!("→{name}"),
        Subject::Pool(name) | Subject::Backend { name, .. } => name,
    };
    model.rows.iter().map(name).collect()
}

/// A model whose cursor is on this backend.
fn on(backend: &str) -> Model {
    let mut model = model(80, 24);
    let at = names(&model).iter().position(|name| name == backend).unwrap();
    press(&mut model, &"j".repeat(at));
    model
}

fn drain() -> Proposal {
    let change = ChangeRequest::BackendState { name: "web/b1".into(), state: Admin::Drain };
    Proposal { deed: Deed::Change(change), command: "weirctl backend drain web/b1".into() }
}

/// A key that a dry run says would change.
fn row() -> ChangeRow {
    ChangeRow {
        object: "backend web/b1".into(),
        kind: Kind::Changed,
        key: "state".into(),
        before: Some("ready".into()),
        after: Some("drain".into()),
        class: Class::Drain,
    }
}

#[test]
fn q_and_ctrl_c_leave_and_nothing_else_does() {
    let mut model = model(80, 24);
    assert!(press(&mut model, "q"));
    assert!(model.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    assert!(!press(&mut model, "?"));
    assert!(!press(&mut model, "q"), "it closes the help");
    assert_eq!(model.dialog, Dialog::None);
    assert!(!code(&mut model, KeyCode::Esc));
    assert!(!press(&mut model, "/q"), "it is a letter of the filter");
    assert!(!model.key(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::CONTROL)));
}

#[test]
fn listeners_stand_above_their_pool_and_backends_below_it() {
    let mut model = model(80, 24);
    let tree = ["→api", "api", "api/a1", "→web", "web", "web/b1", "web/b2", "web/b3"];
    assert_eq!(names(&model), tree);
    press(&mut model, "t");
    assert_eq!(names(&model), ["api", "web"]);
    press(&mut model, "/b3");
    assert_eq!(names(&model), ["web"], "the pool of a backend that is meant");
    code(&mut model, KeyCode::Esc);
    press(&mut model, "t");
    assert_eq!(names(&model), ["api/a1", "web/b1", "web/b2", "web/b3"]);
    let sorted = |model: &mut Model, key: &str| {
        press(model, key);
        (model.sort, names(model).remove(0))
    };
    assert_eq!(sorted(&mut model, "s"), (Sort::State, "api/a1".into()));
    assert_eq!(sorted(&mut model, "s"), (Sort::Sessions, "web/b1".into()));
    assert_eq!(sorted(&mut model, "s"), (Sort::NewSessions, "web/b1".into()));
    assert_eq!(sorted(&mut model, "s"), (Sort::Traffic, "web/b1".into()));
    assert_eq!(sorted(&mut model, "s"), (Sort::Failures, "api/a1".into()));
    assert_eq!(sorted(&mut model, "s"), (Sort::Name, "api/a1".into()));
    assert_eq!(sorted(&mut model, "S"), (Sort::Failures, "api/a1".into()));
    assert_eq!(names(&model), ["api/a1", "web/b2", "web/b1", "web/b3"]);
    assert!(text(&model, 80, 24).contains("FAILURES▼"), "by what is seen at every width");
}

#[test]
fn a_filter_is_in_force_as_it_is_typed() {
    let mut model = model(80, 24);
    press(&mut model, "/DRAIN");
    assert_eq!(names(&model), ["→web", "web", "web/b3"]);
    assert!(text(&model, 80, 24).contains("/DRAIN"));
    code(&mut model, KeyCode::Backspace);
    code(&mut model, KeyCode::Enter);
    assert!(text(&model, 80, 24).contains("find: DRAI"));
    code(&mut model, KeyCode::Esc);
    assert_eq!((model.filter.as_str(), names(&model).len()), ("", 8));
    press(&mut model, "/api");
    assert_eq!(names(&model), ["→api", "api", "api/a1"], "a pool has all of its backends");
    press(&mut model, " nothing");
    assert_eq!(names(&model), [""; 0]);
    code(&mut model, KeyCode::Esc);
    assert_eq!((model.typing.as_ref(), names(&model).len()), (None, 8));
    press(&mut model, &format!("/{}", "x".repeat(200)));
    assert_eq!(model.filter.len(), 64);
}

#[test]
fn a_drain_is_tried_then_asked_then_done_with_its_undo_shown() {
    let mut model = on("web/b1");
    press(&mut model, "d");
    assert_eq!(model.orders(), [Order::Try(drain())]);
    assert!(text(&model, 80, 24).contains("asking weir what it would do"));
    let mut tried = changed();
    (tried.dry_run, tried.version) = (true, 7);
    tried.warnings = vec!["pool web would have no backend".into()];
    tried.changes = vec![row()];
    model.take(News::Tried(drain(), Ok(tried.into())));
    let asked = text(&model, 80, 24);
    assert!(asked.contains("state: ready → drain") && asked.contains("y: yes"), "{asked}");
    assert!(asked.contains("warning: pool web would have no backend"), "{asked}");
    assert_eq!(model.orders(), []);
    press(&mut model, "y");
    assert_eq!(model.orders(), [Order::Do(drain(), Some(7))]);
    let outcome = Outcome::Changed(changed().into());
    model.take(News::Did(drain(), Ok(outcome)));
    shown(&mut model, 80, 24);
    let done = text(&model, 80, 24);
    assert!(done.contains("version 8 on 2/2 shards: backend set web/b1"), "{done}");
    assert!(done.contains("undo: weirctl backend ready web/b1"), "{done}");
    code(&mut model, KeyCode::Esc);
    assert!(!text(&model, 80, 24).contains("undo:"));
}

#[test]
fn only_y_is_a_yes() {
    for key in [KeyCode::Char('n'), KeyCode::Enter, KeyCode::Esc, KeyCode::Char('d')] {
        let mut model = on("web/b1");
        press(&mut model, "d");
        let mut tried = changed();
        tried.changes = vec![row()];
        model.take(News::Tried(drain(), Ok(tried.into())));
        drop(model.orders());
        code(&mut model, key);
        assert_eq!((model.orders(), &model.dialog), (vec![], &Dialog::None), "{key:?}");
        assert!(text(&model, 80, 24).contains("not done: weirctl backend drain web/b1"));
    }
}

#[test]
fn a_refusal_says_why_and_what_to_do() {
    let mut model = on("web/b1");
    press(&mut model, "d");
    let denied = || Failure {
        conflicts: Vec::<Conflict>::new(),
        ..Failure::new(Exit::Denied, "this needs the role operator", "ask for it")
    };
    model.take(News::Tried(drain(), Err(denied())));
    shown(&mut model, 80, 24);
    let refused = text(&model, 80, 24);
    let wanted = "weirctl backend drain web/b1: this needs the role operator\nhint: ask for it";
    assert!(refused.contains(wanted), "{refused}");
    // Of one that was given up there is no question later.
    press(&mut model, "d");
    code(&mut model, KeyCode::Esc);
    let mut tried = changed();
    tried.changes = vec![row()];
    model.take(News::Tried(drain(), Ok(tried.into())));
    assert_eq!(model.dialog, Dialog::None);
    // What is so already is no question.
    press(&mut model, "d");
    model.take(News::Tried(drain(), Ok(changed().into())));
    assert_eq!(model.dialog, Dialog::None);
    assert!(text(&model, 80, 24).contains("it is so already"));
}

#[test]
fn nothing_is_ordered_while_weir_is_away() {
    let mut model = on("web/b1");
    drop(model.orders());
    model.take(News::Away("gone".into()));
    press(&mut model, "drmc");
    assert_eq!((model.orders(), &model.dialog), (vec![], &Dialog::None));
    press(&mut model, "d");
    assert!(text(&model, 80, 24).contains("nothing can be changed now"));
}

#[test]
fn the_cursor_stays_on_its_backend_whatever_the_order() {
    let mut model = on("web/b2");
    let mut next = live();
    next.history = None;
    next.figures.backends.retain(|backend| backend.row.name != "web/b1");
    model.take(News::Figures(next.into()));
    let named = |name: &str| Some(Subject::Backend { name: name.into(), removed: false });
    assert_eq!(model.subject(), named("web/b2"));
    press(&mut model, "m");
    let command = "weirctl backend maint web/b2";
    assert!(
        matches!(&model.orders()[..], [Order::Try(it)] if it.command == command),
        "the key is for what the mark is on"
    );
    let mut model = self::model(80, 24);
    press(&mut model, "jm");
    assert!(text(&model, 80, 24).contains("maint needs a backend"), "it is on a pool");
    press(&mut model, "kd");
    assert!(matches!(&model.dialog, Dialog::Trying(it) if it.command.contains("listener drain")));
}

#[test]
fn enter_leads_to_the_sessions_of_a_row_and_x_cuts_one() {
    let mut model = on("web/b2");
    code(&mut model, KeyCode::Enter);
    let orders = model.orders();
    let [Order::Look(Some(look))] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(look.filter.backend.as_deref(), Some("web/b2"));
    model.take(News::Listed(look.clone(), Ok(sessions())));
    assert!(text(&model, 80, 24).contains("12 of 800 of backend web/b2 by rate"));
    press(&mut model, "jx");
    let asked = text(&model, 80, 24);
    assert!(asked.contains("session 0.2.1 is cut") && asked.contains("192.0.2.2:50002"), "{asked}");
    press(&mut model, "y");
    let orders = model.orders();
    let [Order::Do(proposal, None)] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(proposal.deed, Deed::Kill("0.2.1".into()));
    model.take(News::Did(proposal.clone(), Err(Failure::usage("it has ended", ""))));
    assert!(text(&model, 80, 24).contains("it has ended"));
    code(&mut model, KeyCode::Enter);
    assert_eq!(model.orders(), [Order::Show("0.2.1".into())]);
    model.take(News::Shown("0.9.9".into(), Ok("another".into())));
    let lines = (0..40).map(|line| format!("line {line}\n")).collect::<String>();
    model.take(News::Shown("0.2.1".into(), Ok(lines)));
    shown(&mut model, 80, 24);
    let first = text(&model, 80, 24);
    assert!(first.contains("line 21") && !first.contains("line 22"), "{first}");
    for (keys, last) in [("j", 22), ("G", 39), ("j", 39), ("k", 38), ("g", 21)] {
        press(&mut model, keys);
        let shown = text(&model, 80, 24);
        assert!(shown.contains(&format!("line {last} ")), "{keys}: {shown}");
        assert!(!shown.contains(&format!("line {} ", last + 1)), "{keys}: {shown}");
    }
    code(&mut model, KeyCode::Esc);
    press(&mut model, "/192.0.2.0/24");
    let orders = model.orders();
    let [Order::Look(Some(look))] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(look.filter.client.as_deref(), Some("192.0.2.0/24"));
    code(&mut model, KeyCode::Esc);
    for _ in 0..2 {
        code(&mut model, KeyCode::Esc);
    }
    assert_eq!(model.view, View::Overview);
}

#[test]
fn a_capital_x_asks_about_each_task_and_cancels_one() {
    let mut model = model(80, 24);
    let mut next = live();
    let mut kill = next.figures.tasks[0].clone();
    (kill.id, kill.kind, kill.subject) = (5, TaskKind::SessionKill, "--pool web".into());
    let done = TaskRow { id: 6, state: TaskState::Done, ..kill.clone() };
    next.figures.tasks.extend([kill.clone(), done]);
    model.take(News::Figures(next.into()));
    press(&mut model, "X");
    let asked = text(&model, 80, 24);
    assert!(asked.contains("task 5, session kill of --pool web"), "{asked}");
    assert!(asked.contains("weirctl task cancel 5") && asked.contains("task 1 of 2"), "{asked}");
    press(&mut model, "X");
    assert!(text(&model, 80, 24).contains("task 4, backend drain of web/b3"));
    press(&mut model, "X");
    assert!(text(&model, 80, 24).contains("task 5"), "after the oldest the newest");
    press(&mut model, "Xn");
    assert!(text(&model, 80, 24).contains("not done: weirctl task cancel 4"));
    press(&mut model, "Xy");
    let orders = model.orders();
    let [.., Order::Do(proposal, None)] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(proposal.deed, Deed::Cancel(5));
    model.take(News::Did(proposal.clone(), Ok(Outcome::Cancelled(kill))));
    assert!(text(&model, 80, 24).contains("task 5 is cancelled: 150 of 200 sessions were ended"));
    let mut none = live();
    none.figures.tasks.clear();
    model.take(News::Figures(none.into()));
    press(&mut model, "X");
    assert!(text(&model, 80, 24).contains("none runs") && model.orders().is_empty());
}

#[test]
fn a_pause_holds_the_screen_and_misses_nothing() {
    let mut model = model(80, 24);
    press(&mut model, "p");
    let points = model.history.len();
    for second in 1..=3 {
        let mut next = live();
        next.history = None;
        next.figures.point = Some(super::sample::point(super::sample::NOON + f64::from(second)));
        next.figures.status.version = 99;
        model.take(News::Figures(next.into()));
    }
    let mut later = super::sample::events();
    later.events = vec![super::sample::event(4, EventKind::Health, "web/b9", "is up")];
    model.take(News::Events(later));
    let held = text(&model, 80, 24);
    assert!(held.contains("PAUSED") && !held.contains("version 99"), "{held}");
    assert!(held.contains("p go on") && !held.contains("web/b9"), "{held}");
    assert_eq!(model.history.len(), points);
    press(&mut model, " ");
    let mut next = live();
    (next.history, next.figures.point) = (None, None);
    model.take(News::Figures(next.into()));
    let newest = model.history.newest().map(|point| point.at);
    assert_eq!(newest, Some(super::sample::NOON + 3.0));
    assert!(text(&model, 80, 24).contains("web/b9"));
}

#[test]
fn alerts_and_events_are_shown_in_full() {
    let mut model = model(80, 24);
    let long = "word ".repeat(400);
    let mut next = live();
    next.figures.status.warnings = vec![format!("pool api: {long}end")];
    model.take(News::Figures(next.into()));
    press(&mut model, "a");
    let shown = text(&model, 80, 24);
    assert!(shown.contains("ALERT pool api  word") && !shown.contains("end"), "{shown}");
    press(&mut model, "G");
    let shown = text(&model, 80, 24);
    assert!(shown.contains("word end") && shown.contains("note drift"), "{shown}");
    code(&mut model, KeyCode::Esc);
    press(&mut model, "3j");
    code(&mut model, KeyCode::Enter);
    let shown = text(&model, 80, 24);
    assert!(shown.contains("2026-11-30T11:59:02.123456Z config version 7"), "{shown}");
}

#[test]
fn an_unconfirmed_version_is_kept_by_a_key() {
    let mut model = model(80, 24);
    press(&mut model, "c");
    assert!(text(&model, 80, 24).contains("no version waits"));
    let mut next = live();
    next.figures.status.unconfirmed = Some(weir_proto::answer::UnconfirmedRow {
        version: 7,
        rolls_back_to: 6,
        left_s: 12.0,
        guards: Vec::new(),
    });
    model.take(News::Figures(next.into()));
    assert!(text(&model, 80, 60).contains("rolled back to 6 in 12 s"));
    press(&mut model, "cy");
    let orders = model.orders();
    let confirm = Deed::Change(ChangeRequest::Confirm);
    assert!(
        matches!(&orders[..], [.., Order::Do(it, Some(7))] if it.deed == confirm),
        "{orders:?}"
    );
}

#[test]
fn events_are_each_shown_once_over_a_restart() {
    let mut model = model(80, 24);
    model.take(News::Events(super::sample::events()));
    assert_eq!(model.shown_events().len(), 3);
    let mut other = super::sample::events();
    (other.start, other.last) = (2, 1);
    other.events.truncate(1);
    other.events[0].at = "2026-11-30T12:00:05.000000Z".into();
    model.take(News::Events(other));
    let ids: Vec<u64> = model.shown_events().iter().map(|event| event.id).collect();
    assert_eq!(ids, [1, 3, 2, 1]);
    press(&mut model, "3/health");
    assert_eq!(model.shown_events().len(), 1);
}
