//! The settings of a pool from a backend of HAProxy and the frontends before it.

use weir_proto::spec::{
    HealthKind, HealthSpec, OnDown, Percent, PoolSpec, ProxyVersion, QUEUE_SIZE_MAX,
    RETRY_ATTEMPTS_MAX, Span,
};

use super::agent;
use super::proxy::{Given, ProxySection, ProxySettings, ServerLine};
use super::server::ServerOptions;
use super::source;
use crate::init::draft::time_for_retries;
use crate::init::note::{At, Notes, Remark, note, warning};
use crate::init::units::{SPAN_MAX_MS, bounded};

/// HAProxy's own.
const INTERVAL_MS: u64 = 2000;
const RETRIES: u64 = 3;

/// The settings of the pool that `backend` becomes; `clients` are the proxies that lead to it.
pub(super) fn settings(
    backend: &ProxySection,
    clients: &[&ProxySection],
    notes: &mut Notes,
) -> PoolSpec {
    let of = &backend.settings;
    let mut pool = PoolSpec::default();
    let strategy = of.balance.as_ref();
    pool.strategy = strategy.map_or(weir_proto::spec::Strategy::RoundRobin, |(_, (it, _))| *it);
    if let Some((at, (_, Some(remark)))) = strategy {
        notes.add(at, (**remark).clone());
    }
    timeouts(backend, clients, &mut pool, notes);
    queue(backend, &mut pool, notes);
    retries(of, &mut pool, notes);
    pool.keepalive = of.server_keepalive.clone();
    pool.health = health(backend, notes);
    pool.agent = agent::of(backend, notes);
    pool.proxy_protocol = proxy_protocol(backend, notes);
    pool.on_down = on_down(backend, notes);
    pool.source = source::of(backend, notes);
    pool
}

/// A time that counts: 0 is none.
pub(super) fn counting(given: &Given<u64>) -> Option<(&At, u64)> {
    given.as_ref().map(|(at, millis)| (at, *millis)).filter(|(_, millis)| *millis > 0)
}

/// As long as weir can, with a note if that is another time.
fn span(at: &At, name: &str, millis: u64, notes: &mut Notes) -> Span {
    let (span, is_other) = bounded(millis);
    if is_other {
        let remark = note(format!("`timeout {name}` is longer than weir's longest"));
        notes.add(at, remark.because(format!("{span} is taken")));
    }
    span
}

/// The header that all servers get; none if they differ.
fn proxy_protocol(backend: &ProxySection, notes: &mut Notes) -> Option<ProxyVersion> {
    let first = backend.servers.first()?.options.proxy_protocol();
    if backend.servers.iter().all(|server| server.options.proxy_protocol() == first) {
        return first;
    }
    for server in &backend.servers {
        let Some(version) = server.options.proxy_protocol() else { continue };
        let remark = warning(format!("a server wants a PROXY header, {}", version.word()));
        let why = "others of its backend do not, and a pool sends all of its backends the same: \
                   none is sent";
        let hint = "let all servers take one version and set proxy-protocol, or make two pools";
        notes.add(&server.at, remark.because(why).instead(hint));
    }
    None
}

/// Whether the sessions of servers that go down end; they do not if only some servers say so.
fn on_down(backend: &ProxySection, notes: &mut Notes) -> OnDown {
    let cut = || backend.servers.iter().filter(|server| server.options.is_cut_when_down);
    let count = cut().count();
    if count == 0 || count == backend.servers.len() {
        return if count > 0 { OnDown::Kill } else { OnDown::Keep };
    }
    for server in cut() {
        let what = "`on-marked-down shutdown-sessions` of some servers";
        let why = "a pool of weir does the same for all of its backends: their sessions are kept";
        let hint = "set on-down = \"kill\", or make two pools";
        notes.add(&server.at, warning(what).because(why).instead(hint));
    }
    OnDown::Keep
}

fn timeouts(
    backend: &ProxySection,
    clients: &[&ProxySection],
    pool: &mut PoolSpec,
    notes: &mut Notes,
) {
    let of = &backend.settings.timeouts;
    let mut missing = Vec::new();
    match counting(&of.connect) {
        Some((at, millis)) => pool.timeout.connect = span(at, "connect", millis, notes),
        None => missing.push(format!("`timeout connect` (weir: {})", pool.timeout.connect)),
    }
    let client = |it: &&ProxySection| it.settings.timeouts.client.clone();
    let mut idles: Vec<(&str, At, u64)> = Vec::new();
    for given in clients.iter().map(client).chain([None]) {
        idles.extend(counting(&given).map(|(at, millis)| ("client", at.clone(), millis)));
    }
    idles.extend(counting(&of.server).map(|(at, millis)| ("server", at.clone(), millis)));
    if let Some((at, millis)) = counting(&of.tunnel) {
        // It takes the place of both once a session is established.
        idles = vec![("tunnel", at.clone(), millis)];
    }
    let shortest = idles.iter().min_by_key(|(_, _, millis)| *millis).cloned();
    let Some((name, at, millis)) = shortest else {
        pool.timeout.idle = Span::from_millis(SPAN_MAX_MS);
        pool.timeout.half_close = pool.timeout.idle;
        missing.push("`timeout client` and `timeout server` (weir: 168h)".to_owned());
        return missing_timeouts(&backend.at, &missing, notes);
    };
    pool.timeout.idle = span(&at, name, millis, notes);
    for (other, at, _) in idles.iter().filter(|(_, _, other)| *other > millis) {
        let remark = note(format!("`timeout {other}` is longer than `timeout {name}`"));
        let why = "weir has one timeout for both directions, the shorter";
        notes.add(at, remark.because(why));
    }
    let fins = clients.iter().filter_map(|it| counting(&it.settings.timeouts.client_fin));
    let fins = fins.map(|(at, millis)| ("client-fin", at, millis));
    let fin = counting(&of.server_fin).map(|(at, millis)| ("server-fin", at, millis));
    let fin = fins.chain(fin).min_by_key(|(_, _, millis)| *millis);
    // Without one HAProxy waits for the other direction as before.
    pool.timeout.half_close =
        fin.map_or(pool.timeout.idle, |(name, at, millis)| span(at, name, millis, notes));
    missing_timeouts(&backend.at, &missing, notes);
}

/// The line for servers that have a limit. Without a time of its own HAProxy's is that of connects.
fn queue(backend: &ProxySection, pool: &mut PoolSpec, notes: &mut Notes) {
    let of = &backend.settings.timeouts;
    if backend.servers.iter().all(|server| server.options.max_sessions().is_none()) {
        return;
    }
    match counting(&of.queue) {
        Some((at, millis)) => pool.timeout.queue = span(at, "queue", millis, notes),
        None if counting(&of.connect).is_some() => pool.timeout.queue = pool.timeout.connect,
        None => {}
    }
    let sizes = backend.servers.iter().map(|server| server.options.maxqueue.filter(|it| *it > 0));
    if let Some(sizes) = sizes.collect::<Option<Vec<u64>>>().filter(|sizes| !sizes.is_empty()) {
        let sum = sizes.into_iter().fold(0, u64::saturating_add);
        pool.queue.size = u32::try_from(sum).unwrap_or(u32::MAX).min(QUEUE_SIZE_MAX);
    }
}

fn missing_timeouts(at: &At, missing: &[String], notes: &mut Notes) {
    if !missing.is_empty() {
        let what = format!("no {}", missing.join(", no "));
        notes.add(at, note(what).because("HAProxy has no limit then, and weir has one"));
    }
}

fn retries(of: &ProxySettings, pool: &mut PoolSpec, notes: &mut Notes) {
    let most = u64::from(RETRY_ATTEMPTS_MAX);
    match (&of.retries, of.redispatches) {
        (Some((_, 0)), _) => pool.retry.attempts = 0,
        (Some((at, retries)), false) => {
            let why = "HAProxy tries the same server again, weir others";
            let remark = note(format!("`retries {retries}` without redispatch")).because(why);
            notes.add(at, remark.instead("retry = { attempts = 0 } tries none"));
        }
        (None, false) => {}
        (retries, true) => {
            let wanted = retries.as_ref().map_or(RETRIES, |(_, retries)| *retries);
            pool.retry.attempts = u32::try_from(wanted.min(most)).unwrap_or(0);
            if let Some((at, _)) = retries.as_ref().filter(|_| wanted > most) {
                let why = format!("weir tries {most} other backends at most");
                notes.add(at, note(format!("`retries {wanted}`")).because(why));
            }
        }
    }
    time_for_retries(&pool.timeout, &mut pool.retry);
}

fn health(backend: &ProxySection, notes: &mut Notes) -> HealthSpec {
    let mut health = HealthSpec::default();
    let checked: Vec<_> =
        backend.servers.iter().filter(|server| server.options.is_checked).collect();
    let slow_start = backend.servers.iter().find_map(|server| server.options.slow_start_ms);
    if let Some(millis) = slow_start {
        health.slow_start = Span::from_millis(millis.min(SPAN_MAX_MS));
    }
    let Some(first) = checked.first() else {
        health.kind = HealthKind::None;
        return health;
    };
    for server in backend.servers.iter().filter(|server| !server.options.is_checked) {
        let remark = note("a server without `check`");
        notes.add(&server.at, remark.because("weir checks every backend of a pool, or none"));
    }
    let interval = |options: &ServerOptions| options.inter_ms.unwrap_or(INTERVAL_MS);
    let others = |options: &ServerOptions| (options.fastinter_ms, options.downinter_ms);
    let same = |options: &ServerOptions| {
        (interval(options), options.rise.unwrap_or(2), options.fall.unwrap_or(3))
    };
    let (interval, rise, fall) = same(&first.options);
    let differs = |options: &ServerOptions| {
        same(options) != (interval, rise, fall) || others(options) != others(&first.options)
    };
    for server in checked.iter().filter(|server| differs(&server.options)) {
        let remark = note("`inter`, `rise` or `fall` of a server differ from the first one's");
        notes.add(&server.at, remark.because("a pool of weir has one of each, the first"));
    }
    let in_a_row = |count: u64| u32::try_from(count.clamp(1, 100)).unwrap_or(100);
    (health.rise, health.fall) = (in_a_row(rise), in_a_row(fall));
    health.interval = bounded(interval).0;
    let (fast, down) = others(&first.options);
    let counting = |millis: Option<u64>| millis.filter(|it| *it > 0).map(|it| bounded(it).0);
    (health.fast_interval, health.down_interval) = (counting(fast), counting(down));
    let taken = (health.interval.millis, u64::from(health.rise), u64::from(health.fall));
    if taken != (interval, rise, fall) {
        let remark = note("`inter`, `rise` or `fall` of a server is beyond what weir takes");
        let why = "`inter` is 7 days at most, `rise` and `fall` are 1 to 100";
        notes.add(&first.at, remark.because(why));
    }
    // HAProxy has no panic: a server that is down gets nothing, whatever the others are.
    health.panic = Percent::ZERO;
    let mut remarks: Vec<(At, Remark)> = Vec::new();
    backend.settings.check.talk(&mut health, &mut remarks);
    let mut health = placed(backend, &checked, health, &mut remarks);
    health.timeout = check_timeout(&backend.settings, interval, health.kind);
    notes.extend(&remarks);
    health
}

/// The check at the port that all servers are checked at; one that cannot go where HAProxy's does
/// only connects.
fn placed(
    backend: &ProxySection,
    checked: &[&ServerLine],
    mut health: HealthSpec,
    remarks: &mut Vec<(At, Remark)>,
) -> HealthSpec {
    let Some(first) = checked.first() else { return health };
    let elsewhere = checked.iter().find_map(|server| server.options.check_elsewhere.as_ref());
    let elsewhere = elsewhere.or(backend.settings.check.elsewhere());
    let is_tls = |options: &ServerOptions| options.is_checked_over_tls || options.is_tls;
    let over_tls = checked.iter().find(|server| is_tls(&server.options));
    let talks = health.kind != HealthKind::Tcp;
    let port = |options: &ServerOptions| options.check_port.and_then(|it| u32::try_from(it).ok());
    health.port = backend.settings.check.port().or_else(|| port(&first.options));
    let other_port = checked.iter().find(|server| {
        backend.settings.check.port().is_none() && port(&server.options) != health.port
    });
    if let Some(at) = elsewhere.or(other_port.map(|server| &server.at)) {
        let why = "weir checks every backend of a pool at its own address, at one port";
        let hint = "if the check says which server may take sessions, as Patroni's does, do not \
                    use this pool yet";
        let hint = if talks { hint } else { "" };
        remarks.push((at.clone(), warning("checks elsewhere").because(why).instead(hint)));
        health = plain(health, HealthKind::Tcp);
        health.port = None;
    } else if let Some(server) = over_tls {
        if talks && health.kind != HealthKind::Tls {
            let why = "weir's checks see that TLS is answered, and nothing inside";
            remarks.push((server.at.clone(), warning("checks over TLS").because(why)));
        }
        let host = health.host.take().filter(|host| !host.contains([':', '[']));
        health = HealthSpec { host, ..plain(health, HealthKind::Tls) };
    }
    health
}

/// The same times and counts for a check that says nothing of its own.
fn plain(health: HealthSpec, kind: HealthKind) -> HealthSpec {
    let plain = HealthSpec::default();
    let HealthSpec { method, path, host, user, send, expect, steps, .. } = plain;
    HealthSpec { kind, method, path, host, user, send, expect, steps, ..health }
}

/// For a whole check: HAProxy has one time for its connect and one for the answer.
fn check_timeout(of: &ProxySettings, interval: u64, kind: HealthKind) -> Span {
    let connect = counting(&of.timeouts.connect).map_or(interval, |(_, connect)| connect);
    let connect = connect.min(interval);
    let whole = match counting(&of.timeouts.check) {
        _ if kind == HealthKind::Tcp => connect,
        Some((_, check)) => connect.saturating_add(check),
        None => interval,
    };
    bounded(whole).0
}
