//! Figures to show: a pool that is well and one in trouble, fifteen minutes of history.

use weir_proto::answer::{
    BackendState, EventKind, EventRow, Events, Live, LiveBackend, LiveFigures, LiveHistory,
    LiveListener, LivePercentiles, LivePoint, LivePool, PoolRow, SessionRow, Sessions, Status,
    TaskKind, TaskRow, TaskState,
};
use weir_proto::session::{BlockedOn, SessionState};
use weir_proto::spec::Strategy;

use crate::render::views::tests as rows;
use crate::top::model::Model;
use crate::top::news::{News, Order};

/// 2026-11-30T12:00:00Z.
pub(super) const NOON: f64 = 1_796_040_000.0;

pub(super) fn point(at: f64) -> LivePoint {
    let second = at - NOON + 900.0;
    let wave = (second / 120.0).sin().mul_add(0.4, 0.6);
    #[expect(clippy::cast_possible_truncation, reason = "at most 1000")]
    let sessions = (wave * 1000.0) as u64;
    let connects = !(600.0..=700.0).contains(&second);
    LivePoint {
        at,
        sessions,
        sessions_per_s: wave * 50.0,
        received_bits_per_s: wave * 8e6,
        sent_bits_per_s: wave * 1e6,
        connect_p50_s: connects.then_some(wave * 0.000_4),
        connect_p99_s: connects.then_some(wave * 0.002),
    }
}

fn history() -> LiveHistory {
    let mut history = LiveHistory { every_s: 1.0, ..LiveHistory::default() };
    (0..900).for_each(|second| history.push(point(NOON - 900.0 + f64::from(second))));
    history
}

fn backend(name: &str, state: BackendState, sessions: u64, failures: u64) -> LiveBackend {
    let number = name.bytes().last().unwrap_or(b'0') - b'0';
    let mut row = if state == BackendState::Down { rows::backend_down() } else { rows::backend() };
    (row.name, row.state) = (name.to_owned(), state);
    row.address = format!("10.0.0.1{number}:443");
    (row.sessions, row.connect_failures_total) = (sessions, failures);
    let each = sessions as f64;
    LiveBackend {
        row,
        sessions_per_s: each / 16.0,
        received_bytes_per_s: each * 1000.0,
        sent_bytes_per_s: each * 125.0,
        connect_s: None,
        first_byte_s: (sessions > 0).then_some(LivePercentiles { p50: 0.002, p99: 0.8 }),
    }
}

fn pool(name: &str, strategy: Strategy, (backends_up, backends): (u64, u64)) -> LivePool {
    LivePool {
        name: name.to_owned(),
        strategy,
        backends_up,
        backends,
        panic: false,
        groups: Vec::new(),
        sessions: 0,
        sessions_stalled: 0,
        sessions_queued: 0,
        sessions_total: 246_912,
        received_bytes_total: 1 << 30,
        sent_bytes_total: 1 << 20,
        no_backend_total: 0,
        retries_total: 2,
        retry_budget_exhausted_total: 0,
        sessions_per_s: 50.0,
        received_bytes_per_s: 800_000.0,
        sent_bytes_per_s: 100_000.0,
        connect_s: Some(LivePercentiles { p50: 0.000_3, p99: 0.001_25 }),
    }
}

pub(super) fn live() -> Live {
    let status = Status {
        pools: Vec::<PoolRow>::new(),
        warnings: vec!["pool api: no backend can take sessions: 1 down".into()],
        drift_keys: 1,
        ..rows::status()
    };
    let mut web = pool("web", Strategy::LeastConn, (2, 3));
    (web.sessions, web.sessions_stalled) = (800, 2);
    let mut api = pool("api", Strategy::RoundRobin, (0, 1));
    (api.sessions_per_s, api.received_bytes_per_s, api.sent_bytes_per_s) = (0.0, 0.0, 0.0);
    (api.sessions_total, api.connect_s) = (0, None);
    let mut listener = status.listeners[0].clone();
    listener.bind = vec!["0.0.0.0:443".into()];
    listener.sessions = 800;
    let mut second = listener.clone();
    (second.name, second.pool) = ("api".into(), "api".into());
    (second.bind, second.sessions) = (vec!["0.0.0.0:8443".into()], 0);
    let figures = LiveFigures {
        at: NOON,
        point: Some(point(NOON)),
        status,
        pools: vec![web, api],
        listeners: vec![
            LiveListener { row: listener, sessions_per_s: 50.0 },
            LiveListener { row: second, sessions_per_s: 0.0 },
        ],
        backends: vec![
            backend("web/b1", BackendState::Up, 500, 0),
            backend("web/b2", BackendState::Up, 250, 3),
            backend("web/b3", BackendState::Draining, 50, 0),
            backend("api/a1", BackendState::Down, 0, 99),
        ],
        backends_total: 4,
        tasks: vec![TaskRow {
            id: 4,
            kind: TaskKind::BackendDrain,
            subject: "web/b3".into(),
            since_s: 30.0,
            done: 150,
            total: 200,
            eta_s: Some(30.0),
            state: TaskState::Running,
        }],
        unconfirmed: None,
        last_event: 3,
    };
    Live { history: Some(history()), figures }
}

pub(super) fn event(id: u64, kind: EventKind, subject: &str, text: &str) -> EventRow {
    let at = format!("2026-11-30T11:59:{id:02}.123456Z");
    EventRow { id, at, kind, subject: subject.into(), text: text.into() }
}

pub(super) fn events() -> Events {
    let down = "is down: refused";
    let events = vec![
        event(1, EventKind::Process, "", "serving"),
        event(2, EventKind::Config, "version 7", "backend set web/b3 (state ready → drain)"),
        event(3, EventKind::Health, "api/a1", down),
    ];
    Events { events, start: 1, last: 3, missing: 0 }
}

pub(super) fn sessions() -> Sessions {
    let row = |number: u16| SessionRow {
        id: format!("{}.{number}.1", number % 2),
        listener: "web".into(),
        pool: "web".into(),
        backend: Some(format!("web/b{}", 1 + number % 3)),
        client: Some(format!("192.0.2.{number}:5{number:04}")),
        route: None,
        sni: None,
        age_s: f64::from(number) * 60.0,
        idle_s: 0.25,
        received_bytes: 1 << 20,
        sent_bytes: 2048,
        rate_bytes_per_s: 1000,
        state: SessionState::Relaying,
        blocked_on: (number == 2).then_some(BlockedOn::Client),
        version: 7,
        shard: number % 2,
    };
    let sessions = (1..=12).map(row).collect();
    Sessions { sessions, shown: 12, matched: 800, missing_shards: Vec::new() }
}

/// A model on a screen of this size that was given everything it asked for.
pub(super) fn model(width: u16, height: u16) -> Model {
    let mut model = Model::new(false);
    model.take(News::Figures(live().into()));
    model.take(News::Events(events()));
    shown(&mut model, width, height);
    model
}

/// Fits the model to a screen, and lists the sessions that it asks for.
pub(super) fn shown(model: &mut Model, width: u16, height: u16) {
    crate::top::draw::fit(model, width, height);
    for order in model.orders() {
        if let Order::Look(Some(look)) = order {
            model.take(News::Listed(look, Ok(sessions())));
        }
    }
    crate::top::draw::fit(model, width, height);
}
