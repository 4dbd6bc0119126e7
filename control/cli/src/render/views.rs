//! One view for each kind of answer: what a person sees of it.

mod cut;
mod latency;
mod sessions;
mod settings;
mod stats;
mod why;

use std::borrow::Cow;

use weir_proto::answer::{
    AgentRow, Answer, Author, BackendRow, BackendState, Backends, CheckResult, ConfigText,
    DiscoveryRow, EventRow, GroupRow, History, ListenerRow, ListenerState, PoolDetail, PoolRow,
    ShardRow, Status, TaskRow, UnboundRow, Versions,
};

use super::changed::waits;
use super::human::{bytes, count, plain, seconds, share};
use super::table::{Cell, Column, Table, pairs};
use super::{Style, Tone, changed, tone_of};

use Column::{Left, Right};

/// The text of an answer. `heading`: a configuration gets a comment that names its version.
pub(crate) fn answer(answer: &Answer, heading: bool, style: Style) -> String {
    match answer {
        Answer::Status(body) => status(body, style),
        Answer::Shards(body) => shards(&body.shards, style),
        Answer::Listeners(body) => listeners(&body.listeners, style),
        Answer::Listener(body) => listener(body, style),
        Answer::Pools(body) => pools(&body.pools, style),
        Answer::Pool(body) => pool(body, style),
        Answer::Backends(body) => backends(body, style),
        Answer::Backend(body) => backend(body, style),
        Answer::Stats(body) => stats::stats(body, style),
        Answer::Latency(body) => latency::latency(body, style),
        Answer::Events(body) => body.events.iter().map(|row| event(row, style)).collect(),
        Answer::Config(body) => config(body, heading),
        Answer::History(body) => history(body, style),
        Answer::Versions(body) => versions(body, style),
        Answer::Drift(body) => {
            body.drift.iter().map(|row| format!("{}\n", plain(&row.to_string()))).collect()
        }
        Answer::Difference(body) => format!("{}\n", plain(&body.summary)),
        Answer::Changed(body) => changed::changed(body, style),
        Answer::Tasks(body) => tasks(&body.tasks, style),
        Answer::Task(body) => tasks(core::slice::from_ref(body), style),
        Answer::Sessions(body) => sessions::list(body, style),
        Answer::Session(body) => sessions::one(body, style),
        Answer::Killed(body) => sessions::killed(body, style),
        // `top` alone asks for it.
        Answer::Live(body) => status(&body.figures.status, style),
        Answer::Why(body) => why::why(body, style),
        Answer::Said(body) => format!("{}\n", plain(&body.text)),
    }
}

/// A hint below a list that is empty, or that has another page. Printed on a terminal only.
pub(crate) fn after(answer: &Answer) -> Option<Cow<'static, str>> {
    let text = match answer {
        Answer::Status(body) => {
            let lacks = |pool: &&PoolRow| pool.backends_up < pool.backends;
            let pool = &body.pools.iter().find(lacks)?.name;
            let look = "which backends are not up, and why";
            return Some(format!("{look}: weirctl backend list {}", plain(pool)).into());
        }
        Answer::History(History { next_before: Some(before), .. }) => {
            return Some(format!("older ones: weirctl config history --before {before}").into());
        }
        Answer::History(body) if body.versions.is_empty() => "no older versions are kept",
        Answer::Listeners(body) if body.listeners.is_empty() => {
            "no listeners yet; weirctl listener add web 0.0.0.0:80 --pool web"
        }
        Answer::Pools(body) if body.pools.is_empty() => "no pools yet; weirctl pool add web",
        Answer::Backends(body) if body.backends.is_empty() => {
            "no backends yet; weirctl backend add web/b1 10.0.0.11:80"
        }
        Answer::Backends(body) => return cut::after(body).map(Cow::from),
        Answer::Events(body) if body.events.is_empty() => "no events",
        Answer::Tasks(body) if body.tasks.is_empty() => "no tasks",
        Answer::Sessions(body) => return sessions::after(body),
        _ => return None,
    };
    Some(text.into())
}

fn status(status: &Status, style: Style) -> String {
    let sessions: u64 = status.shards.iter().map(|shard| shard.sessions).sum();
    let mut text = format!(
        "weir {}  {}  up {}  version {}  sessions {} of {}\n",
        plain(&status.program),
        style.paint(status.state.word(), tone_of(status.state.word())),
        seconds(status.uptime_s, style),
        status.version,
        count(sessions, style),
        count(status.sessions_max, style),
    );
    if status.drift_keys > 0 {
        let keys = status.drift_keys;
        let what = "keys that are not as the file last said; see weirctl config diff";
        text += &format!("drift: {keys} {what}\n");
    }
    if let Some(terms) = &status.unconfirmed {
        let line = plain(&waits(terms));
        text += &format!("{} {line}\n", style.paint("not confirmed:", Tone::Warn));
    }
    for warning in &status.warnings {
        text += &format!("{} {}\n", style.paint("warning:", Tone::Warn), plain(warning));
    }
    let is_shut = |row: &ListenerRow| row.state != ListenerState::Open;
    let rows = (&status.listeners[..], cut::ROWS_MAX);
    let (rows, more) = cut::cut(rows, is_shut, "weirctl listener list", style);
    text += &format!("\n{}{more}", listeners(&rows, style));
    let lacks_some = |row: &PoolRow| row.backends_up < row.backends;
    let rows = (&status.pools[..], cut::ROWS_MAX);
    let (rows, more) = cut::cut(rows, lacks_some, "weirctl pool list", style);
    text += &format!("\n{}{more}", pools(&rows, style));
    let rows = (&status.shards[..], cut::ROWS_MAX);
    let (rows, more) = cut::cut(rows, |_| false, "weirctl shards", style);
    text + &format!("\n{}{more}", shards(&rows, style))
}

fn shards(shards: &[ShardRow], style: Style) -> String {
    let columns =
        [Right("SHARD"), Right("VERSION"), Right("SESSIONS"), Right("MAX"), Right("BUSY")];
    let mut table = Table::new(&columns);
    for shard in shards {
        table.row(vec![
            shard.id.to_string().into(),
            shard.version.to_string().into(),
            count(shard.sessions, style).into(),
            count(shard.sessions_max, style).into(),
            share(shard.busy, style).into(),
        ]);
    }
    table.print(style)
}

fn listeners(listeners: &[ListenerRow], style: Style) -> String {
    let columns = [
        Left("LISTENER"),
        Left("BIND"),
        Left("POOL"),
        Left("STATE"),
        Right("SESSIONS"),
        Right("TOTAL"),
        Right("MAX"),
    ];
    let mut table = Table::new(&columns);
    for listener in listeners {
        table.row(vec![
            (&listener.name).into(),
            listener.bind.join(",").into(),
            (&listener.pool).into(),
            Cell::state(listener.state.word()),
            count(listener.sessions, style).into(),
            count(listener.sessions_total, style).into(),
            settings::max_sessions(listener).into(),
        ]);
    }
    table.print(style)
}

fn listener(listener: &ListenerRow, style: Style) -> String {
    let mut rows = vec![
        ("name".to_owned(), (&listener.name).into()),
        ("bind".to_owned(), listener.bind.join(", ").into()),
        ("pool".to_owned(), (&listener.pool).into()),
        ("state".to_owned(), Cell::state(listener.state.word())),
    ];
    for UnboundRow { address, why, since_s } in &listener.unbound {
        let text = format!("{address}: {why}, for {}", seconds(*since_s, style));
        rows.push(("not bound".to_owned(), text.into()));
    }
    rows.extend([
        ("sessions".to_owned(), count(listener.sessions, style).into()),
        ("sessions total".to_owned(), count(listener.sessions_total, style).into()),
    ]);
    rows.extend(settings::rows(&listener.settings, style));
    pairs(&rows, style)
}

fn pools(pools: &[PoolRow], style: Style) -> String {
    let columns =
        [Left("POOL"), Left("STRATEGY"), Right("UP"), Right("BACKENDS"), Right("SESSIONS")];
    let mut table = Table::new(&columns);
    for pool in pools {
        table.row(vec![
            (&pool.name).into(),
            pool.strategy.word().into(),
            up_of(pool).into(),
            pool.backends.to_string().into(),
            count(pool.sessions, style).into(),
        ]);
    }
    table.print(style)
}

/// As in `priority 1` and `in use: 100 % of the sessions; 2 of 2 backends up, weight 4 of 4`.
fn group_row(group: &GroupRow, style: Style) -> (String, Cell) {
    let GroupRow { priority, share: part, backends_up, backends, weight_up, weight } = group;
    let use_of_it = match *part {
        0.0 => "not in use".to_owned(),
        part => format!("in use: {} of the sessions", share(part, style)),
    };
    let up = format!("{backends_up} of {backends} backends up, weight {weight_up} of {weight}");
    (format!("priority {priority}"), format!("{use_of_it}; {up}").into())
}

/// How many backends are up, and the word if so few are that it does not count.
fn up_of(pool: &PoolRow) -> String {
    let up = pool.backends_up.to_string();
    if pool.panic { format!("{up} panic") } else { up }
}

fn pool(pool: &PoolDetail, style: Style) -> String {
    let mut rows = vec![("name".to_owned(), (&pool.name).into())];
    rows.extend(settings::rows(&pool.settings, style));
    let ignored = if pool.panic { " (now: health is ignored)" } else { "" };
    rows.extend(pool.groups.iter().map(|group| group_row(group, style)));
    if let Some(row) = &pool.discovery {
        rows.push(("members".to_owned(), members(row, style).into()));
    }
    let panic = format!("{}{ignored}", settings::panic(&pool.settings));
    rows.push(("panic".to_owned(), panic.into()));
    let detection = pool.detection_s.map_or_else(
        || "by failed connects of sessions".to_owned(),
        |within| format!("of a failure within {}", seconds(within, style)),
    );
    rows.push(("detection".to_owned(), detection.into()));
    rows.push(("slow start".to_owned(), settings::slow_start(&pool.settings, style).into()));
    let command = format!("weirctl backend list {}", pool.name);
    let is_ill = |row: &BackendRow| row.state != BackendState::Up;
    let backends = (&pool.backends[..], cut::BACKENDS_MAX);
    let (backends, more) = cut::cut(backends, is_ill, &command, style);
    format!("{}\n{}{more}", pairs(&rows, style), backend_table(&backends, style))
}

/// As in `3 by DNS, answered 4s ago, asked again in 26s`.
fn members(row: &DiscoveryRow, style: Style) -> String {
    let mut text = format!("{} by DNS", row.members);
    if let Some(failure) = &row.failure {
        text += &format!(", not answered now: {failure}");
    }
    match row.answered_s {
        Some(since) => text += &format!(", last answered {} ago", seconds(since, style)),
        None => text += ", not answered since the start",
    }
    if let Some(next) = row.next_s {
        text += &format!(", asked again in {}", seconds(next, style));
    }
    text
}

fn backends(backends: &Backends, style: Style) -> String {
    backend_table(&backends.backends, style)
}

/// The one word for a backend's state.
pub(crate) fn state_of(backend: &BackendRow) -> &'static str {
    backend.state.word()
}

fn backend_table(backends: &[BackendRow], style: Style) -> String {
    let columns = [
        Left("BACKEND"),
        Left("ADDRESS"),
        Left("STATE"),
        Right("WEIGHT"),
        Right("SESSIONS"),
        Right("TOTAL"),
        Right("FAILURES"),
        Right("RECEIVED"),
        Right("SENT"),
        Left("CHECK"),
        Right("SINCE"),
    ];
    let mut table = Table::new(&columns);
    for backend in backends {
        table.row(vec![
            (&backend.name).into(),
            (&backend.address).into(),
            Cell::state(state_of(backend)),
            backend.weight.to_string().into(),
            count(backend.sessions, style).into(),
            count(backend.sessions_total, style).into(),
            count(backend.connect_failures_total, style).into(),
            bytes(backend.received_bytes_total, style).into(),
            bytes(backend.sent_bytes_total, style).into(),
            check_cell(backend),
            seconds(backend.check.since_s, style).into(),
        ]);
    }
    table.print(style)
}

/// As in `ok`, `held 7s`, `refused, held 7s`, `forced up (refused)`, or `ok; agent: 75%, drain`.
fn check_cell(backend: &BackendRow) -> Cell {
    let check = &backend.check;
    let rest = check.hold_s.ceil();
    if let Some(force) = backend.force {
        return Cell::state(&format!("forced {} ({})", force.word(), check.result.as_str()));
    }
    if let Some(says) = backend.agent.as_ref().and_then(|agent| agent.says.as_ref()) {
        return Cell::state(&format!("{}; agent: {says}", check.result.as_str()));
    }
    match &check.result {
        result if rest == 0.0 => Cell::state(result.as_str()),
        CheckResult::Held => Cell::state(&format!("held {rest}s")),
        result => Cell::state(&format!("{}, held {rest}s", result.as_str())),
    }
}

fn backend(backend: &BackendRow, style: Style) -> String {
    let check = &backend.check;
    let mut rows = vec![
        ("name", (&backend.name).into()),
        ("address", (&backend.address).into()),
        ("state", Cell::state(state_of(backend))),
        ("weight", backend.weight.to_string().into()),
        ("priority", backend.priority.to_string().into()),
        ("sessions", of_most(backend.sessions, backend.max_sessions, style).into()),
        ("connecting", of_most(backend.connecting, backend.connecting_max, style).into()),
        (
            "connect rate",
            backend.connect_rate_per_s.map_or("-".into(), |it| format!("{it}/s")).into(),
        ),
        ("sessions total", count(backend.sessions_total, style).into()),
        ("connect failures", count(backend.connect_failures_total, style).into()),
        ("received", bytes(backend.received_bytes_total, style).into()),
        ("sent", bytes(backend.sent_bytes_total, style).into()),
        ("force", backend.force.map_or("-", |force| force.word()).into()),
        ("check", check_cell(backend)),
        ("check since", seconds(check.since_s, style).into()),
    ];
    rows.extend(backend.agent.as_ref().map(|it| ("agent", agent(it, style).into())));
    pairs(&rows, style)
}

/// As in `75%, drain, answered 1s ago`.
fn agent(row: &AgentRow, style: Style) -> String {
    let mut text = row.says.clone().unwrap_or_else(|| "nothing".to_owned());
    if let Some(failure) = &row.failure {
        text += &format!(", does not answer now: {failure}");
    }
    match row.answered_s {
        Some(since) => text += &format!(", answered {} ago", seconds(since, style)),
        None => text += ", not answered since the start",
    }
    text
}

/// As in `12 of 500`, or `12` without a limit.
fn of_most(now: u64, most: Option<u32>, style: Style) -> String {
    let now = count(now, style);
    most.map_or_else(|| now.clone(), |most| format!("{now} of {}", count(most.into(), style)))
}

/// One event, one line.
pub(crate) fn event(event: &EventRow, style: Style) -> String {
    let (at, kind) = (plain(&event.at), event.kind.word());
    let (subject, text) = (plain(&event.subject), plain(&event.text));
    let at = style.paint(&at, Tone::Dim);
    if subject.is_empty() {
        return format!("{at}  {kind:<7}  {text}\n");
    }
    format!("{at}  {kind:<7}  {subject}  {text}\n")
}

fn config(config: &ConfigText, heading: bool) -> String {
    let heading = if heading { format!("# version {}\n", config.version) } else { String::new() };
    let end = if config.toml.is_empty() || config.toml.ends_with('\n') { "" } else { "\n" };
    format!("{heading}{}{end}", config.toml)
}

fn history(history: &History, style: Style) -> String {
    let columns = [Right("VERSION"), Left("AT"), Left("BY"), Left("SUMMARY"), Left("MESSAGE")];
    let mut table = Table::new(&columns);
    for row in &history.versions {
        table.row(vec![
            row.version.to_string().into(),
            (&row.at).into(),
            author(&row.by).into(),
            (&row.summary).into(),
            row.message.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.print(style)
}

fn versions(versions: &Versions, style: Style) -> String {
    let columns = [Right("VERSION"), Right("SESSIONS"), Left("AT"), Left("SUMMARY")];
    let mut table = Table::new(&columns);
    for row in &versions.versions {
        let current = if row.current { "current: " } else { "" };
        let summary = row.summary.as_deref().unwrap_or("not kept in the history");
        table.row(vec![
            row.version.to_string().into(),
            count(row.sessions, style).into(),
            row.at.as_deref().unwrap_or("-").into(),
            format!("{current}{summary}").into(),
        ]);
    }
    table.print(style)
}

/// `uid 0 (login 1000) pid 42`, or `http 127.0.0.1`
fn author(by: &Author) -> String {
    if let Some(from) = by.from {
        return format!("http {from}");
    }
    let login = by.login.filter(|login| *login != by.uid);
    let login = login.map_or_else(String::new, |login| format!(" (login {login})"));
    format!("uid {}{login} pid {}", by.uid, by.pid)
}

fn tasks(tasks: &[TaskRow], style: Style) -> String {
    let columns = [
        Right("TASK"),
        Left("KIND"),
        Left("SUBJECT"),
        Left("STATE"),
        Right("DONE"),
        Right("OF"),
        Right("SINCE"),
        Right("LEFT"),
    ];
    let mut table = Table::new(&columns);
    for task in tasks {
        table.row(vec![
            task.id.to_string().into(),
            task.kind.word().into(),
            (&task.subject).into(),
            Cell::state(task.state.word()),
            count(task.done, style).into(),
            count(task.total, style).into(),
            seconds(task.since_s, style).into(),
            task.eta_s.map_or_else(|| "-".to_owned(), |left| seconds(left, style)).into(),
        ]);
    }
    table.print(style)
}

#[cfg(test)]
pub(crate) mod tests;
