//! Requests in the words of weirctl, for the log and the events. What a client named is in them as
//! it came: a reader that prints it must escape it.

use core::fmt::{Display, Formatter, Result};

use super::{
    ApplyMode, BackendAct, ChangeRequest, Command, Pairs, Query, Request, SessionKill, TaskRequest,
};
use crate::answer::Note;
use crate::session::SessionFilter;
use crate::shell;
use crate::spec::Span;

impl Request {
    /// The words that its sender chose: names, addresses, keys and values. Not a file, and not the
    /// name of one that is applied, which may be long.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        match self {
            Request::Query(query) => query.words(),
            Request::Command(Command::Change { change, options }) => {
                let Note { message, command } = &options.note;
                let note = message.iter().chain(command).map(String::as_str);
                change.words().into_iter().chain(note).collect()
            }
            Request::Command(Command::Task(task)) => task.words(),
            Request::Command(Command::SessionKill(kill)) => {
                kill.ids.iter().map(String::as_str).chain(kill.filter.words()).collect()
            }
            Request::Command(Command::Upgrade { program, .. }) => {
                program.iter().map(String::as_str).collect()
            }
            Request::Command(Command::Drain | Command::Ready | Command::Stop { .. }) => Vec::new(),
        }
    }
}

impl Query {
    fn words(&self) -> Vec<&str> {
        match self {
            Query::ListenerShow { name }
            | Query::PoolShow { name }
            | Query::BackendShow { name } => {
                vec![name]
            }
            Query::BackendList { pool: name }
            | Query::Stats { subject: name }
            | Query::Latency { pool: name } => name.as_deref().into_iter().collect(),
            Query::ConfigDiff { origin, .. } => vec![origin],
            Query::SessionList { filter, .. } => filter.words().collect(),
            Query::SessionShow { id } | Query::WhySession { id } => vec![id],
            Query::Why { pool, client } => vec![pool, client],
            Query::WhyListener { listener, client, sni, alpn } => {
                let some = [listener, sni, alpn].into_iter().flatten();
                some.chain([client]).map(String::as_str).collect()
            }
            Query::Status
            | Query::Shards
            | Query::ListenerList
            | Query::PoolList
            | Query::Events { .. }
            | Query::ConfigExport { .. }
            | Query::ConfigDrift
            | Query::ConfigHistory { .. }
            | Query::ConfigVersions
            | Query::TaskList
            | Query::Live { .. }
            | Query::TaskShow { .. } => Vec::new(),
        }
    }
}

impl SessionFilter {
    fn words(&self) -> impl Iterator<Item = &str> {
        let SessionFilter { pool, backend, listener, client, .. } = self;
        [pool, backend, listener, client].into_iter().flatten().map(String::as_str)
    }
}

impl TaskRequest {
    fn words(&self) -> Vec<&str> {
        match self {
            TaskRequest::BackendDrain { name, .. }
            | TaskRequest::ListenerDrain { name, .. }
            | TaskRequest::PoolRebalance { name, .. } => vec![name],
            TaskRequest::Cancel { .. } => Vec::new(),
            TaskRequest::SessionKill { ids, filter, .. } => {
                ids.iter().map(String::as_str).chain(filter.words()).collect()
            }
        }
    }
}

impl ChangeRequest {
    fn words(&self) -> Vec<&str> {
        match self {
            ChangeRequest::ListenerAdd { name, bind, pool, pairs } => {
                let binds = bind.iter().map(String::as_str);
                [name.as_str(), pool].into_iter().chain(binds).chain(words_of(pairs)).collect()
            }
            ChangeRequest::PoolAdd { name, pairs }
            | ChangeRequest::ListenerSet { name, pairs }
            | ChangeRequest::ListenerPut { name, pairs }
            | ChangeRequest::PoolPut { name, pairs }
            | ChangeRequest::BackendPut { name, pairs }
            | ChangeRequest::PoolSet { name, pairs }
            | ChangeRequest::BackendSet { name, pairs } => {
                [name.as_str()].into_iter().chain(words_of(pairs)).collect()
            }
            ChangeRequest::BackendAdd { name, address, pairs } => {
                [name.as_str(), address].into_iter().chain(words_of(pairs)).collect()
            }
            ChangeRequest::ListenerRemove { name }
            | ChangeRequest::ListenerState { name, .. }
            | ChangeRequest::PoolRemove { name }
            | ChangeRequest::BackendRemove { name, .. }
            | ChangeRequest::BackendState { name, .. }
            | ChangeRequest::BackendWeight { name, .. } => vec![name],
            ChangeRequest::Backends { names, .. } => names.iter().map(String::as_str).collect(),
            ChangeRequest::Apply { .. }
            | ChangeRequest::Rollback { .. }
            | ChangeRequest::Confirm => Vec::new(),
        }
    }
}

fn words_of(pairs: &Pairs) -> impl Iterator<Item = &str> {
    pairs.iter().flat_map(|(key, value)| [key.as_str(), value])
}

/// Settings behind a verb.
fn write_pairs(f: &mut Formatter<'_>, pairs: &Pairs) -> Result {
    let word = |(key, value): &(String, String)| shell::word(&format!("{key}={value}"));
    pairs.iter().try_for_each(|pair| write!(f, " {}", word(pair)))
}

fn write_act(f: &mut Formatter<'_>, names: &str, act: BackendAct) -> Result {
    match act {
        BackendAct::State(state) => write!(f, "backend {} {names}", state.word()),
        BackendAct::Weight(weight) => write!(f, "backend weight {names} {weight}"),
        BackendAct::Remove { force } => {
            write!(f, "backend remove {names}{}", if force { " --force" } else { "" })
        }
    }
}

fn write_kill(f: &mut Formatter<'_>, ids: &[String], filter: &SessionFilter) -> Result {
    write!(f, "session kill{filter}")?;
    ids.iter().try_for_each(|id| write!(f, " {id}"))
}

/// A word behind a verb, if there is one.
fn behind(word: Option<impl Display>) -> String {
    word.map(|word| format!(" {word}")).unwrap_or_default()
}

impl Display for Request {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Request::Query(query) => query.fmt(f),
            Request::Command(command) => command.fmt(f),
        }
    }
}

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Query::Status => f.write_str("status"),
            Query::Shards => f.write_str("shards"),
            Query::ListenerList => f.write_str("listener list"),
            Query::ListenerShow { name } => write!(f, "listener show {name}"),
            Query::PoolList => f.write_str("pool list"),
            Query::PoolShow { name } => write!(f, "pool show {name}"),
            Query::BackendList { pool } => write!(f, "backend list{}", behind(pool.as_deref())),
            Query::BackendShow { name } => write!(f, "backend show {name}"),
            Query::Stats { subject } => write!(f, "stats{}", behind(subject.as_deref())),
            Query::Latency { pool } => write!(f, "latency{}", behind(pool.as_deref())),
            Query::Events { .. } => f.write_str("events"),
            Query::ConfigExport { version } => {
                write!(f, "config export{}", behind(version.as_ref()))
            }
            Query::ConfigHistory { .. } => f.write_str("config history"),
            Query::ConfigVersions => f.write_str("config versions"),
            Query::ConfigDrift => f.write_str("config diff"),
            Query::TaskList => f.write_str("task list"),
            Query::TaskShow { id } => write!(f, "task show {id}"),
            Query::ConfigDiff { origin, .. } => write!(f, "config diff {origin}"),
            Query::SessionList { filter, .. } => write!(f, "session list{filter}"),
            Query::SessionShow { id } => write!(f, "session show {id}"),
            Query::Live { .. } => f.write_str("live"),
            Query::Why { pool, client } => write!(f, "why {pool} --client {client}"),
            Query::WhyListener { listener, client, sni, alpn } => {
                write!(f, "why --client {client}")?;
                let some = [("listener", listener), ("sni", sni), ("alpn", alpn)];
                let mut some = some.into_iter().filter_map(|(key, it)| Some((key, it.as_ref()?)));
                some.try_for_each(|(key, it)| write!(f, " --{key} {it}"))
            }
            Query::WhySession { id } => write!(f, "why --session {id}"),
        }
    }
}

/// Its options.
impl Display for SessionFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let SessionFilter { pool, backend, listener, client, .. } = self;
        let words = [("pool", pool), ("backend", backend), ("listener", listener)];
        for (name, value) in words.into_iter().chain([("client", client)]) {
            if let Some(value) = value {
                write!(f, " --{name} {value}")?;
            }
        }
        for (name, ms) in [("older", self.older_ms), ("idle", self.idle_ms)] {
            if let Some(ms) = ms {
                write!(f, " --{name} {}", Span::from_millis(ms))?;
            }
        }
        if let Some(version) = self.version {
            write!(f, " --version {version}")?;
        }
        f.write_str(if self.stalled { " --stalled" } else { "" })
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Command::Change { change, options } => {
                write!(f, "{change}{}", if options.dry_run { " --dry-run" } else { "" })?;
                f.write_str(if options.yes { " --yes" } else { "" })?;
                if let Some(version) = options.if_version {
                    write!(f, " --if-version {version}")?;
                }
                if let Some(confirm) = &options.confirm {
                    write!(f, " {confirm}")?;
                }
                match &options.note.message {
                    Some(message) => write!(f, " -m {message:?}"),
                    None => Ok(()),
                }
            }
            Command::Drain => f.write_str("drain"),
            Command::Ready => f.write_str("ready"),
            Command::Task(task) => task.fmt(f),
            Command::SessionKill(SessionKill { ids, filter, dry_run }) => {
                write_kill(f, ids, filter)?;
                f.write_str(if *dry_run { " --dry-run" } else { "" })
            }
            Command::Upgrade { program, shards, dry_run } => {
                f.write_str(if shards.is_some() { "shards" } else { "upgrade" })?;
                if let Some(shards) = shards {
                    write!(f, " {shards}")?;
                }
                if let Some(program) = program {
                    write!(f, " --binary {program:?}")?;
                }
                f.write_str(if *dry_run { " --dry-run" } else { "" })
            }
            Command::Stop { drain_ms: None } => f.write_str("stop"),
            Command::Stop { drain_ms: Some(ms) } => write!(f, "stop --drain {ms}ms"),
        }
    }
}

impl Display for TaskRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            TaskRequest::BackendDrain { name, over_ms } => {
                write!(f, "backend drain {name} --over {}", Span::from_millis(*over_ms))
            }
            TaskRequest::ListenerDrain { name, over_ms } => {
                write!(f, "listener drain {name} --over {}", Span::from_millis(*over_ms))
            }
            TaskRequest::PoolRebalance { name, spread, per_s } => {
                write!(f, "pool rebalance {name} --to {spread} --rate {per_s}/s")
            }
            TaskRequest::Cancel { id } => write!(f, "task cancel {id}"),
            TaskRequest::SessionKill { ids, filter, per_s } => {
                write_kill(f, ids, filter)?;
                write!(f, " --rate {per_s}/s")
            }
        }
    }
}

impl Display for ChangeRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            ChangeRequest::ListenerAdd { name, bind, pool, pairs } => {
                write!(f, "listener add {name} {}", bind.join(" "))?;
                write_pairs(f, pairs)?;
                write!(f, " --pool {pool}")
            }
            ChangeRequest::ListenerSet { name, pairs } => {
                write!(f, "listener set {name}")?;
                write_pairs(f, pairs)
            }
            ChangeRequest::ListenerPut { name, pairs } => {
                write!(f, "listener put {name}")?;
                write_pairs(f, pairs)
            }
            ChangeRequest::ListenerRemove { name } => write!(f, "listener remove {name}"),
            ChangeRequest::ListenerState { name, state } => {
                write!(f, "listener {} {name}", state.word())
            }
            ChangeRequest::PoolAdd { name, pairs } => {
                write!(f, "pool add {name}")?;
                write_pairs(f, pairs)
            }
            ChangeRequest::PoolPut { name, pairs } => {
                write!(f, "pool put {name}")?;
                write_pairs(f, pairs)
            }
            ChangeRequest::PoolRemove { name } => write!(f, "pool remove {name}"),
            ChangeRequest::PoolSet { name, pairs } => {
                write!(f, "pool set {name}")?;
                write_pairs(f, pairs)
            }
            ChangeRequest::BackendAdd { name, address, pairs } => {
                write!(f, "backend add {name} {address}")?;
                write_pairs(f, pairs)
            }
            ChangeRequest::BackendSet { name, pairs } => {
                write!(f, "backend set {name}")?;
                write_pairs(f, pairs)
            }
            ChangeRequest::BackendPut { name, pairs } => {
                write!(f, "backend put {name}")?;
                write_pairs(f, pairs)
            }
            ChangeRequest::BackendRemove { name, force } => {
                write!(f, "backend remove {name}{}", if *force { " --force" } else { "" })
            }
            ChangeRequest::BackendState { name, state } => {
                write!(f, "backend {} {name}", state.word())
            }
            ChangeRequest::BackendWeight { name, weight } => {
                write!(f, "backend weight {name} {weight}")
            }
            ChangeRequest::Apply { mode: ApplyMode::Edit, force, .. } => {
                write!(f, "config edit{}", if *force { " --force" } else { "" })
            }
            ChangeRequest::Apply { origin, mode, force, .. } => {
                write!(f, "config apply {origin}{mode}{}", if *force { " --force" } else { "" })
            }
            ChangeRequest::Rollback { version } => write!(f, "config rollback {version}"),
            ChangeRequest::Confirm => f.write_str("config confirm"),
            ChangeRequest::Backends { names, act } => write_act(f, &names.join(" "), *act),
        }
    }
}

impl Display for ApplyMode {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            ApplyMode::Merge => Ok(()),
            other => write!(f, " --{}", other.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::ChangeOptions;
    use crate::spec::Admin;

    fn change(change: ChangeRequest, dry_run: bool) -> Request {
        let options = ChangeOptions { dry_run, ..ChangeOptions::default() };
        Request::from(Command::Change { change, options })
    }

    fn name() -> String {
        "web".to_owned()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn requests_read_like_the_command_line() {
        let drained = ChangeRequest::BackendState { name: "web/b1".into(), state: Admin::Drain };
        let table = [
            (Query::ListenerShow { name: name() }.into(), "listener show web"),
            (Query::BackendList { pool: Some(name()) }.into(), "backend list web"),
            (Query::BackendList { pool: None }.into(), "backend list"),
            (Query::ConfigExport { version: Some(7) }.into(), "config export 7"),
            (Command::Drain.into(), "drain"),
            (Command::Ready.into(), "ready"),
            (Query::TaskShow { id: 7 }.into(), "task show 7"),
            (
                Command::Task(TaskRequest::BackendDrain { name: name(), over_ms: 600_000 }).into(),
                "backend drain web --over 10m",
            ),
            (
                Command::Task(TaskRequest::PoolRebalance { name: name(), spread: 10, per_s: 5 })
                    .into(),
                "pool rebalance web --to 10 --rate 5/s",
            ),
            (Command::Task(TaskRequest::Cancel { id: 7 }).into(), "task cancel 7"),
            (
                Command::Task(TaskRequest::SessionKill {
                    ids: Vec::new(),
                    filter: SessionFilter { pool: Some(name()), ..SessionFilter::default() }.into(),
                    per_s: 10,
                })
                .into(),
                "session kill --pool web --rate 10/s",
            ),
            (Command::Stop { drain_ms: Some(10) }.into(), "stop --drain 10ms"),
            (change(drained, true), "backend drain web/b1 --dry-run"),
        ];
        for (request, words) in table {
            assert_eq!(request.to_string(), words);
        }
        let (toml, origin) = (String::new(), "w.toml".to_owned());
        let apply = ChangeRequest::Apply { toml, origin, mode: ApplyMode::Replace, force: true };
        let words = "config apply w.toml --replace --force --dry-run";
        assert_eq!(change(apply, true).to_string(), words);
        let (toml, origin) = (String::new(), "/tmp/x".to_owned());
        let edit = ChangeRequest::Apply { toml, origin, mode: ApplyMode::Edit, force: false };
        assert_eq!(change(edit, false).to_string(), "config edit");
        let options = ChangeOptions { if_version: Some(7), ..ChangeOptions::default() };
        let command = Command::Change { change: ChangeRequest::Rollback { version: 3 }, options };
        assert_eq!(command.to_string(), "config rollback 3 --if-version 7");
        let note = Note { message: Some("as \"before\"".into()), command: Some("x".into()) };
        let options = ChangeOptions { note, ..ChangeOptions::default() };
        let command = Command::Change { change: ChangeRequest::Rollback { version: 3 }, options };
        assert_eq!(command.to_string(), "config rollback 3 -m \"as \\\"before\\\"\"");
        assert_eq!(Request::from(command).words(), ["as \"before\"", "x"]);
    }

    #[test]
    fn so_do_requests_with_settings() {
        let b1 = || "web/b1".to_owned();
        let bind = vec!["[::1]:80".into(), "[::1]:81".into()];
        let pairs = vec![pair("freebind", "true")];
        let table = [
            (
                ChangeRequest::ListenerAdd { name: name(), bind, pool: name(), pairs },
                "listener add web [::1]:80 [::1]:81 freebind=true --pool web",
            ),
            (
                ChangeRequest::ListenerSet { name: name(), pairs: vec![pair("pool", "b")] },
                "listener set web pool=b",
            ),
            (
                ChangeRequest::PoolAdd { name: name(), pairs: vec![pair("strategy", "random")] },
                "pool add web strategy=random",
            ),
            (
                ChangeRequest::PoolSet {
                    name: name(),
                    pairs: vec![pair("strategy", "random"), pair("a", "b")],
                },
                "pool set web strategy=random a=b",
            ),
            (
                ChangeRequest::BackendAdd {
                    name: b1(),
                    address: "[::1]:80".into(),
                    pairs: vec![pair("weight", "7")],
                },
                "backend add web/b1 [::1]:80 weight=7",
            ),
            (
                ChangeRequest::BackendSet { name: b1(), pairs: vec![pair("address", "[::1]:81")] },
                "backend set web/b1 'address=[::1]:81'",
            ),
        ];
        for (request, words) in table {
            assert_eq!(change(request, false).to_string(), words);
        }
    }
}
