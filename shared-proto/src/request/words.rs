//! Requests in the words of weirctl, for the log and the events. What a client named is in them as
//! it came: a reader that prints it must escape it.

use core::fmt::{Display, Formatter, Result};

use super::{ChangeRequest, Command, Query, Request};

impl Request {
    /// The words that its sender chose: names, addresses, keys and values. Not a file, and not the
    /// name of one that is applied, which may be long.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        match self {
            Request::Query(query) => query.words(),
            Request::Command(Command::Change { change, .. }) => change.words(),
            Request::Command(Command::Drain | Command::Stop { .. }) => Vec::new(),
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
            Query::BackendList { pool: name } | Query::Stats { subject: name } => {
                name.as_deref().into_iter().collect()
            }
            Query::ConfigDiff { origin, .. } => vec![origin],
            Query::Status
            | Query::Shards
            | Query::ListenerList
            | Query::PoolList
            | Query::Events { .. }
            | Query::ConfigExport { .. }
            | Query::ConfigHistory => Vec::new(),
        }
    }
}

impl ChangeRequest {
    fn words(&self) -> Vec<&str> {
        match self {
            ChangeRequest::ListenerAdd { name, bind, pool } => {
                let binds = bind.iter().map(String::as_str);
                [name.as_str(), pool].into_iter().chain(binds).collect()
            }
            ChangeRequest::PoolAdd { name, strategy } => {
                strategy.iter().chain([name]).map(String::as_str).collect()
            }
            ChangeRequest::PoolSet { name, pairs } => {
                let pairs = pairs.iter().flat_map(|(key, value)| [key.as_str(), value]);
                pairs.chain([name.as_str()]).collect()
            }
            ChangeRequest::BackendAdd { name, address, .. } => vec![name, address],
            ChangeRequest::ListenerRemove { name }
            | ChangeRequest::ListenerState { name, .. }
            | ChangeRequest::PoolRemove { name }
            | ChangeRequest::BackendRemove { name, .. }
            | ChangeRequest::BackendState { name, .. }
            | ChangeRequest::BackendWeight { name, .. } => vec![name],
            ChangeRequest::Apply { .. } | ChangeRequest::Rollback { .. } => Vec::new(),
        }
    }
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
            Query::Events { .. } => f.write_str("events"),
            Query::ConfigExport { version } => {
                write!(f, "config export{}", behind(version.as_ref()))
            }
            Query::ConfigHistory => f.write_str("config history"),
            Query::ConfigDiff { origin, .. } => write!(f, "config diff {origin}"),
        }
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Command::Change { change, options } => {
                write!(f, "{change}{}", if options.dry_run { " --dry-run" } else { "" })?;
                f.write_str(if options.yes { " --yes" } else { "" })?;
                match options.if_version {
                    Some(version) => write!(f, " --if-version {version}"),
                    None => Ok(()),
                }
            }
            Command::Drain => f.write_str("drain"),
            Command::Stop { drain_ms: None } => f.write_str("stop"),
            Command::Stop { drain_ms: Some(ms) } => write!(f, "stop --drain {ms}ms"),
        }
    }
}

impl Display for ChangeRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            ChangeRequest::ListenerAdd { name, bind, pool } => {
                write!(f, "listener add {name} {} --pool {pool}", bind.join(" "))
            }
            ChangeRequest::ListenerRemove { name } => write!(f, "listener remove {name}"),
            ChangeRequest::ListenerState { name, state } => {
                write!(f, "listener {} {name}", state.word())
            }
            ChangeRequest::PoolAdd { name, strategy: None } => write!(f, "pool add {name}"),
            ChangeRequest::PoolAdd { name, strategy: Some(strategy) } => {
                write!(f, "pool add {name} --strategy {strategy}")
            }
            ChangeRequest::PoolRemove { name } => write!(f, "pool remove {name}"),
            ChangeRequest::PoolSet { name, pairs } => {
                write!(f, "pool set {name} ")?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key}={value}", if index == 0 { "" } else { " " })?;
                }
                Ok(())
            }
            ChangeRequest::BackendAdd { name, address, weight: None } => {
                write!(f, "backend add {name} {address}")
            }
            ChangeRequest::BackendAdd { name, address, weight: Some(weight) } => {
                write!(f, "backend add {name} {address} --weight {weight}")
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
            ChangeRequest::Apply { origin, .. } => write!(f, "config apply {origin}"),
            ChangeRequest::Rollback { version } => write!(f, "config rollback {version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::ChangeOptions;
    use crate::spec::Admin;

    #[test]
    fn requests_read_like_the_command_line() {
        let change = |change, dry_run| {
            let options = ChangeOptions { dry_run, if_version: None, yes: false };
            Request::from(Command::Change { change, options })
        };
        let name = || "web".to_owned();
        let pairs = vec![("strategy".into(), "random".into()), ("a".into(), "b".into())];
        let bind = vec!["[::1]:80".into(), "[::1]:81".into()];
        let table = [
            (Query::ListenerShow { name: name() }.into(), "listener show web"),
            (Query::BackendList { pool: Some(name()) }.into(), "backend list web"),
            (Query::BackendList { pool: None }.into(), "backend list"),
            (Query::ConfigExport { version: Some(7) }.into(), "config export 7"),
            (
                change(
                    ChangeRequest::PoolAdd { name: name(), strategy: Some("random".into()) },
                    false,
                ),
                "pool add web --strategy random",
            ),
            (
                change(
                    ChangeRequest::BackendAdd {
                        name: "web/b1".into(),
                        address: "[::1]:80".into(),
                        weight: Some(7),
                    },
                    false,
                ),
                "backend add web/b1 [::1]:80 --weight 7",
            ),
            (Command::Drain.into(), "drain"),
            (Command::Stop { drain_ms: Some(10) }.into(), "stop --drain 10ms"),
            (
                change(ChangeRequest::PoolSet { name: name(), pairs }, false),
                "pool set web strategy=random a=b",
            ),
            (
                change(ChangeRequest::ListenerAdd { name: name(), bind, pool: name() }, false),
                "listener add web [::1]:80 [::1]:81 --pool web",
            ),
            (
                change(ChangeRequest::BackendState { name: name(), state: Admin::Drain }, true),
                "backend drain web --dry-run",
            ),
        ];
        for (request, words) in table {
            assert_eq!(request.to_string(), words);
        }
        let options = ChangeOptions { if_version: Some(7), ..ChangeOptions::default() };
        let command = Command::Change { change: ChangeRequest::Rollback { version: 3 }, options };
        assert_eq!(command.to_string(), "config rollback 3 --if-version 7");
    }
}
