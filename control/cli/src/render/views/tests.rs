//! Answers to render, and the exact text that becomes of them.

use super::*;
use weir_proto::answer::{
    Author, BySide, Changed, CheckRow, ConnectFailures, EndRow, EventKind, Events, FirstCloses,
    Percentiles, PoolStatsRow, ProcessState, Stats, VersionRow,
};
use weir_proto::reason::{By, During, Why};
use weir_proto::settings::{LISTENER, POOL, ShownSetting, ShownSettings, ShownValue};
use weir_proto::spec::{HealthKind, ListenerSpec, PoolSpec, Span, Strategy};

const PIPE: Style = Style { human: false, colour: false };
const HUMAN: Style = Style { human: true, colour: false };

pub(crate) fn backend() -> BackendRow {
    BackendRow {
        name: "web/b1".into(),
        address: "10.0.0.11:443".into(),
        state: BackendState::Up,
        weight: 1,
        priority: 0,
        force: None,
        sessions: 12,
        connecting: 2,
        max_sessions: Some(500),
        connecting_max: Some(32),
        connect_rate_per_s: None,
        sessions_total: 123_456,
        connect_failures_total: 3,
        received_bytes_total: 1_258_291,
        sent_bytes_total: 2048,
        check: CheckRow { result: CheckResult::Ok, since_s: 7384.25, hold_s: 0.0 },
        removed: false,
        discovered: false,
        agent: None,
    }
}

pub(crate) fn backend_down() -> BackendRow {
    BackendRow {
        name: "web/b2".into(),
        address: "10.0.0.12:443".into(),
        state: BackendState::Down,
        sessions: 0,
        check: CheckRow {
            result: CheckResult::Failed("refused".into()),
            since_s: 4.5,
            hold_s: 0.0,
        },
        ..backend()
    }
}

pub(crate) fn pool() -> PoolDetail {
    let mut spec = PoolSpec::default();
    spec.health.kind = HealthKind::Http;
    spec.health.path = Some("/up".into());
    spec.timeout.stalled = Some(Span::from_secs(60));
    let mut settings = ShownSettings::of(POOL, &spec);
    settings.0.sort_by_key(|setting| setting.table() == Some("retry"));
    let backends = vec![backend(), backend_down()];
    let (detection_s, groups) = (Some(6.5), Vec::new());
    let (panic, discovery) = (false, None);
    PoolDetail { name: "web".into(), settings, panic, detection_s, groups, discovery, backends }
}

/// Those of a listener without a limit.
fn listener_settings() -> ShownSettings {
    let spec = ListenerSpec::new("web".parse().unwrap(), Vec::new());
    let mut settings = ShownSettings::of(LISTENER, &spec);
    settings.0.retain(|setting| !["bind", "pool", "state"].contains(&setting.key()));
    settings
}

pub(crate) fn status() -> Status {
    let shard =
        |id, sessions| ShardRow { id, version: 7, sessions, sessions_max: 5000, busy: 0.125 };
    Status {
        version: 7,
        drift_keys: 3,
        unconfirmed: None,
        uptime_s: 7384.5,
        program: "0.1.0".into(),
        state: ProcessState::Serving,
        sessions_max: 10_000,
        shards: vec![shard(0, 5), shard(1, 7)],
        listeners: vec![ListenerRow {
            name: "web".into(),
            bind: vec!["0.0.0.0:443".into(), "[::]:443".into()],
            pool: "web".into(),
            state: ListenerState::Open,
            sessions: 12,
            sessions_total: 123_456,
            unbound: Vec::new(),
            settings: listener_settings(),
        }],
        pools: vec![PoolRow {
            name: "web".into(),
            strategy: Strategy::LeastConn,
            backends_up: 1,
            backends: 2,
            sessions: 12,
            panic: false,
            groups: Vec::new(),
        }],
        warnings: vec!["pool api has no backend that can take sessions".into()],
    }
}

pub(crate) fn stats() -> Stats {
    let percentiles =
        |p50, p99, p999| Percentiles { count: 9, p50: Some(p50), p99: Some(p99), p999: Some(p999) };
    let connect = percentiles(0.000_3, 0.001_25, 0.004);
    Stats {
        subject: String::new(),
        sessions: 12,
        sessions_total: 123_456,
        session_rate_per_s: 1234.5,
        received_bytes_total: 1_258_291,
        sent_bytes_total: 2048,
        received_bytes_per_s: 1024.5,
        sent_bytes_per_s: 0.0,
        connect_duration_s: Some(connect),
        connect_duration_recent_s: Some(connect),
        first_byte_duration_s: Some(Percentiles::default()),
        session_duration_s: Some(percentiles(1.0, 90.0, 100.0)),
        ends: Some(vec![EndRow {
            by: By::Client,
            during: During::HalfClosed,
            why: Why::Complete,
            code: "--".into(),
            count: 9,
        }]),
        first_closes_total: FirstCloses { client: 7, backend: 2, weir: 0, operator: 1 },
        early_closes_total: 3,
        connect_failures_total: ConnectFailures { refused: 4, ..ConnectFailures::default() },
        blocked_s_total: BySide { client: 12.5, backend: 0.0 },
        undelivered_bytes_total: BySide { client: 2048, backend: 0 },
        pools: vec![PoolStatsRow {
            name: "web".into(),
            sessions: 12,
            sessions_stalled: 3,
            sessions_queued: 4,
            sessions_total: 123_456,
            received_bytes_total: 1_258_291,
            sent_bytes_total: 2048,
            no_backend_total: 1,
            queued_total: 5,
            retries_total: 2,
            retry_budget_exhausted_total: 0,
            connect_duration_s: connect,
        }],
    }
}

/// A backend of weight 1.
fn state(word: &str) -> ShownSettings {
    let mut shown = ShownSettings::default();
    shown.put("state", ShownValue::Text(word.into()));
    shown.put("weight", ShownValue::Number(1));
    shown
}

pub(crate) fn changed() -> Changed {
    Changed {
        version: 8,
        before: Some(state("ready")),
        after: Some(state("drain")),
        summary: "backend set web/b1 (state ready → drain)".into(),
        undo: "weirctl backend ready web/b1".into(),
        dry_run: false,
        warnings: Vec::new(),
        unconfirmed: None,
        changes: Vec::new(),
        impact: None,
        shards_adopted: 2,
        shards: 2,
    }
}

#[test]
fn status_is_one_screen() {
    let wanted = "\
weir 0.1.0  serving  up 2h 3m  version 7  sessions 12 of 10000
drift: 3 keys that are not as the file last said; see weirctl config diff
warning: pool api has no backend that can take sessions

LISTENER  BIND                  POOL  STATE  SESSIONS  TOTAL  MAX
web       0.0.0.0:443,[::]:443  web   open         12   123k    -

POOL  STRATEGY    UP  BACKENDS  SESSIONS
web   least-conn   1         2        12

SHARD  VERSION  SESSIONS   MAX  BUSY
    0        7         5  5000   12%
    1        7         7  5000   12%
";
    assert_eq!(answer(&Answer::Status(status()), false, HUMAN), wanted);
}

#[test]
fn backends_in_a_pipe_have_full_numbers() {
    let list = Backends { backends: vec![backend(), backend_down()] };
    let pipe = answer(&Answer::Backends(list.clone()), false, PIPE);
    let rows: Vec<Vec<&str>> =
        pipe.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    let words = |row: &'static str| row.split(' ').collect::<Vec<_>>();
    assert_eq!(
        rows,
        [
            words("web/b1 10.0.0.11:443 up 1 12 123456 3 1258291 2048 ok 7384250ms"),
            words("web/b2 10.0.0.12:443 down 1 0 123456 3 1258291 2048 refused 4500ms"),
        ]
    );
    let human = "\
BACKEND  ADDRESS        STATE  WEIGHT  SESSIONS  TOTAL  FAILURES  RECEIVED   SENT  CHECK    SINCE
web/b1   10.0.0.11:443  up          1        12   123k         3   1.2 MiB  2 KiB  ok       2h 3m
web/b2   10.0.0.12:443  down        1         0   123k         3   1.2 MiB  2 KiB  refused   4.5s
";
    assert_eq!(answer(&Answer::Backends(list), false, HUMAN), human);
}

#[test]
fn a_backend_that_is_gone_is_removed() {
    let gone = BackendRow { state: BackendState::Removed, removed: true, ..backend() };
    let text = answer(&Answer::Backend(gone), false, PIPE);
    assert!(text.contains("state             removed\n"), "{text}");
}

#[test]
fn a_pool_shows_its_settings_and_backends() {
    let wanted = "\
name            web
strategy        least-conn
health          http path=\"/up\" every 2s, timeout 500ms, rise 2, fall 3
agent           -
timeout         connect 3s, idle 1h 0m, half-close 1m 0s, stalled 1m 0s, queue 5s, lifetime -
queue           size 1000
redispatch      while nothing was sent
keepalive       after 1m 0s, every 10s, 6 times
socket buffer   -
source          -
proxy protocol  -
spill           never
failover        auto
on down         keep
discover        -
retry           attempts 2, within 6s
panic           below 50% up
detection       of a failure within 6.5s
slow start      10s

BACKEND  ADDRESS";
    let text = answer(&Answer::Pool(pool()), false, HUMAN);
    assert!(text.starts_with(wanted), "{text}");
    let mut panics = pool();
    panics.panic = true;
    panics.settings.put("health.slow_start_s", ShownValue::Seconds(0.0));
    panics.settings.put("spill_percent", ShownValue::Number(70));
    let text = answer(&Answer::Pool(panics), false, HUMAN);
    assert!(text.contains("panic           below 50% up (now: health is ignored)\n"), "{text}");
    assert!(text.contains("slow start      off\n"), "{text}");
    assert!(text.contains("spill           below 70% of a group's weight up\n"), "{text}");
    let mut state = status();
    state.pools[0].panic = true;
    assert!(answer(&Answer::Status(state), false, PIPE).contains(" 1 panic "));
}

#[test]
fn a_setting_without_a_sentence_is_shown_under_its_name() {
    let mut new = pool();
    let port = ShownSetting { name: "health.new".into(), value: Some(ShownValue::Number(80)) };
    new.settings.0.insert(2, port);
    new.settings.put("queue.longest_wait_s", ShownValue::Seconds(2.0));
    let text = answer(&Answer::Pool(new), false, HUMAN);
    assert!(text.contains(", rise 2, fall 3, new 80\n"), "{text}");
    assert!(text.contains("\nqueue           longest-wait 2s\n"), "{text}");
}

#[test]
fn a_listener_shows_its_settings() {
    let row = status().listeners.remove(0);
    let wanted = "\
name             web
bind             0.0.0.0:443, [::]:443
pool             web
state            open
sessions         12
sessions total   123k
freebind         no
v6only           yes
interface        -
max sessions     -
rate             -
allow            -
deny             -
no backend       reset
keepalive        after 1m 0s, every 10s, 6 times
per source       -
proxy protocol   -
inspect timeout  3s
route            -
";
    assert_eq!(answer(&Answer::Listener(row.clone()), false, HUMAN), wanted);
    let unbound =
        UnboundRow { address: "[::]:443".into(), why: "address in use".into(), since_s: 90.0 };
    let row = ListenerRow { state: ListenerState::Unbound, unbound: vec![unbound], ..row };
    let text = answer(&Answer::Listener(row), false, HUMAN);
    let wanted =
        "\nstate            unbound\nnot bound        [::]:443: address in use, for 1m 30s\n";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn stats_show_rates_percentiles_and_ends() {
    let wanted = "\
subject         all
sessions        12
sessions total  123k
session rate    1.23k/s
received        1.2 MiB
received rate   1 KiB/s
sent            2 KiB
sent rate       0 B/s

SIDE      CLOSED-FIRST  BLOCKED  UNDELIVERED
client               7    12.5s        2 KiB
backend              2       0s          0 B
weir                 0        -            -
operator             1        -            -

BACKEND-FAILED                    COUNT
closed before its first byte          3
the same, another was tried           0
connect refused                       4
connect timed out                     0
unreachable                           0
this host was short of something      0
its source is not on this host        0

DURATION    COUNT    P50     P99   P99.9
connect         9  300µs  1.25ms     4ms
first-byte      0      -       -       -
session         9     1s  1m 30s  1m 40s

ENDED-BY  DURING       WHY       CODE  COUNT
client    half_closed  complete  --        9

POOL  SESSIONS  STALLED  QUEUED  TOTAL  RECEIVED   SENT  NO-BACKEND  RETRIES    P50     P99  P99.9
web         12        3       4   123k   1.2 MiB  2 KiB           1        2  300µs  1.25ms    4ms
";
    assert_eq!(answer(&Answer::Stats(stats()), false, HUMAN), wanted);
}

#[test]
fn events_history_and_configuration_are_lines() {
    let row = EventRow {
        id: 1,
        at: "2026-01-01T00:00:00Z".into(),
        kind: EventKind::Health,
        subject: "web/b1".into(),
        text: "up → down (\u{1b}refused)".into(),
    };
    let process = EventRow { subject: String::new(), text: "ready".into(), ..row.clone() };
    let events = Events { events: vec![row, process], start: 1, last: 2, missing: 0 };
    assert_eq!(
        answer(&Answer::Events(events), false, PIPE),
        "2026-01-01T00:00:00Z  health   web/b1  up → down (\\u{1b}refused)\n\
         2026-01-01T00:00:00Z  health   ready\n"
    );
    let by = Author { login: Some(1000), ..Author::new(0, 42) };
    let row = VersionRow {
        version: 12,
        at: "then".into(),
        by,
        summary: "pool add web".into(),
        message: Some("for the shop".into()),
        claimed_command: Some("weirctl pool add web".into()),
        parent: Some(11),
    };
    assert_eq!(
        answer(
            &Answer::History(History { versions: vec![row.clone()], next_before: None }),
            false,
            PIPE
        ),
        "VERSION  AT    BY                         SUMMARY       MESSAGE\n     12  then  \
         uid 0 (login 1000) pid 42  pool add web  for the shop\n"
    );
    let by = Author { from: "192.0.2.7".parse().ok(), ..by };
    let row = VersionRow { by, message: None, ..row };
    let shown =
        answer(&Answer::History(History { versions: vec![row], next_before: None }), false, PIPE);
    assert!(shown.contains("then  http 192.0.2.7  pool add web"), "{shown}");
    let text = Answer::Config(ConfigText { version: 7, toml: "[pool.web]".into() });
    assert_eq!(answer(&text, false, PIPE), "[pool.web]\n");
    assert_eq!(answer(&text, true, PIPE), "# version 7\n[pool.web]\n");
}

#[test]
fn an_empty_list_says_how_to_fill_it() {
    let empty = Answer::Backends(Backends { backends: Vec::new() });
    assert!(after(&empty).unwrap().contains("weirctl backend add"));
    let lacks = after(&Answer::Status(status())).unwrap();
    assert!(lacks.ends_with("weirctl backend list web"), "{lacks}");
    let mut whole = status();
    whole.pools[0].backends_up = whole.pools[0].backends;
    assert_eq!(after(&Answer::Status(whole)), None);
}

#[test]
fn a_page_of_history_says_how_to_see_the_next_one() {
    let page = |versions, next_before| {
        after(&Answer::History(History { versions, next_before })).map(|hint| hint.into_owned())
    };
    let row = VersionRow {
        version: 12,
        at: "then".into(),
        by: Author::new(0, 1),
        summary: "pool add web".into(),
        message: None,
        claimed_command: None,
        parent: Some(11),
    };
    let older = page(vec![row.clone()], Some(12));
    assert_eq!(older.as_deref(), Some("older ones: weirctl config history --before 12"));
    assert_eq!(page(vec![row], None), None);
    assert_eq!(page(Vec::new(), None).as_deref(), Some("no older versions are kept"));
}
