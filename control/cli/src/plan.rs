//! What a command line means: the requests to send, and what to mind before and after.

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use weir_proto::answer::events::EventFilter;
use weir_proto::answer::{BackendState, Note};
use weir_proto::confirm::Confirm;
use weir_proto::request::{
    ApplyMode, BackendAct, ChangeOptions, ChangeRequest, Query, SessionKill, TaskRequest,
};
use weir_proto::spec::{Admin, Span};

use crate::args::{
    BackendVerb, ChangeArgs, ConfigVerb, ConfirmArgs, ListenerVerb, MergeArgs, Output, PoolVerb,
    SessionVerb, TaskVerb, Verb,
};
use crate::exit::Failure;

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Plan {
    /// One question and its answer, once or again and again.
    Read(Reading),
    Top,
    Events {
        follow: bool,
        filter: EventFilter,
    },
    Change(Changing),
    /// The same for several backends.
    Several(Several),
    Task(TaskRequest),
    Kill(Killing),
    /// The text of a file becomes the change.
    Apply {
        file: PathBuf,
        mode: ApplyMode,
        force: bool,
        options: ChangeOptions,
    },
    /// Takes what is in force through an editor.
    Edit {
        force: bool,
        options: ChangeOptions,
    },
    /// Against a file or a version, or of two versions; or of what is in force against the file as
    /// it was last applied.
    Diff {
        target: Option<String>,
        to: Option<u64>,
    },
    Drain {
        dry_run: bool,
        yes: bool,
    },
    Ready {
        dry_run: bool,
    },
    Upgrade {
        program: Option<String>,
        shards: Option<u16>,
        dry_run: bool,
    },
    Stop {
        drain: Option<Span>,
        dry_run: bool,
        yes: bool,
    },
    Completions(clap_complete::Shell),
    Man,
}

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) query: Query,
    /// `status --check`.
    pub(crate) check: bool,
    /// A configuration is shown with a heading; an export is the bare text.
    pub(crate) heading: bool,
    /// Backends are shown only in these states, or in all if there is none.
    pub(crate) states: Vec<BackendState>,
}

/// A command that makes a version.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Changing {
    pub(crate) change: ChangeRequest,
    pub(crate) options: ChangeOptions,
    pub(crate) yes: bool,
    /// `backend drain --wait`.
    pub(crate) wait: Option<Span>,
    /// `drain --over`: the task that follows.
    pub(crate) task: Option<TaskRequest>,
}

/// A change of several backends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Several {
    /// Names and patterns, as they were typed.
    pub(crate) names: Vec<String>,
    pub(crate) act: BackendAct,
    pub(crate) options: ChangeOptions,
    /// `backend drain --wait`.
    pub(crate) wait: Option<Span>,
    /// `backend drain --over`.
    pub(crate) over: Option<Span>,
}

/// Sessions to end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Killing {
    pub(crate) kill: SessionKill,
    /// Sessions a second.
    pub(crate) rate: Option<u32>,
    pub(crate) yes: bool,
}

/// What a command line means.
///
/// # Errors
/// Exit 2 if `--watch` or `-o json` does not go with the verb.
pub(crate) fn plan(
    verb: Verb,
    output: Output,
    watch: Option<f64>,
) -> Result<(Plan, Option<Duration>), Failure> {
    let plan = plan_of(verb);
    if watch.is_some() && !matches!(plan, Plan::Read(_)) {
        let hint = "-w is for verbs that read: weirctl -w status";
        return Err(Failure::usage("this verb cannot be watched", hint));
    }
    if plan == Plan::Top && output == Output::Json {
        let hint = "weirctl -o json -w stats";
        return Err(Failure::usage("top is a screen; it has no JSON", hint));
    }
    Ok((plan, watch.map(Duration::from_secs_f64)))
}

fn plan_of(verb: Verb) -> Plan {
    match verb {
        Verb::Status { check } => Plan::Read(Reading { check, ..reading(Query::Status) }),
        Verb::Top => Plan::Top,
        Verb::Listener(verb) => listener(verb),
        Verb::Pool(verb) => pool(verb),
        Verb::Backend(verb) => backend(verb),
        Verb::Task(TaskVerb::List) => read(Query::TaskList),
        Verb::Task(TaskVerb::Show { id }) => read(Query::TaskShow { id }),
        Verb::Task(TaskVerb::Cancel { id }) => Plan::Task(TaskRequest::Cancel { id }),
        Verb::Session(verb) => session(verb),
        Verb::Why { session: Some(id), .. } => read(Query::WhySession { id: id.to_string() }),
        Verb::Why { pool, listener, client, sni, alpn, session: None } => {
            // clap asks for it.
            let client = client.unwrap_or_default();
            read(match pool {
                Some(pool) => Query::Why { pool, client },
                None => Query::WhyListener { listener, client, sni, alpn },
            })
        }
        Verb::Stats { subject } => read(Query::Stats { subject }),
        Verb::Latency { pool } => read(Query::Latency { pool }),
        Verb::Events { follow, since, kind } => {
            let since_ms = since.map(|since| since.millis);
            Plan::Events { follow, filter: EventFilter { kinds: kind, since_ms } }
        }
        Verb::Config(verb) => config(verb),
        Verb::Shards { count: None, .. } => read(Query::Shards),
        Verb::Shards { count, dry_run } => Plan::Upgrade { program: None, shards: count, dry_run },
        Verb::Upgrade { check: dry_run, binary: program } => {
            Plan::Upgrade { program, shards: None, dry_run }
        }
        Verb::Drain { dry_run, yes } => Plan::Drain { dry_run, yes },
        Verb::Ready { dry_run } => Plan::Ready { dry_run },
        Verb::Stop { drain, dry_run, yes } => Plan::Stop { drain, dry_run, yes },
        Verb::Completions { shell } => Plan::Completions(shell),
        Verb::Man => Plan::Man,
    }
}

fn read(query: Query) -> Plan {
    Plan::Read(reading(query))
}

fn reading(query: Query) -> Reading {
    Reading { query, check: false, heading: false, states: Vec::new() }
}

fn changing(change: ChangeRequest, args: ChangeArgs) -> Plan {
    draining(change, args, (None, None))
}

/// A change that is followed by waiting or by a task.
fn draining(
    change: ChangeRequest,
    args: ChangeArgs,
    (wait, task): (Option<Span>, Option<TaskRequest>),
) -> Plan {
    let (yes, options) = (args.yes, options(args));
    Plan::Change(Changing { change, options, yes, wait, task })
}

fn options(args: ChangeArgs) -> ChangeOptions {
    let ChangeArgs { dry_run, if_version, yes, message } = args;
    ChangeOptions { dry_run, if_version, yes, confirm: None, note: Note { message, command: None } }
}

fn pair(key: impl Into<String>, value: impl Into<String>) -> (String, String) {
    (key.into(), value.into())
}

fn listener(verb: ListenerVerb) -> Plan {
    match verb {
        ListenerVerb::List => read(Query::ListenerList),
        ListenerVerb::Show { name } => read(Query::ListenerShow { name }),
        ListenerVerb::Add { name, bind, pool, change } => {
            // An address has no equals sign.
            let (pairs, bind): (Vec<_>, _) = bind.into_iter().partition(|word| word.contains('='));
            let pair = |word: String| word.split_once('=').map(|(key, value)| pair(key, value));
            let pairs = pairs.into_iter().filter_map(pair).collect();
            changing(ChangeRequest::ListenerAdd { name, bind, pool, pairs }, change)
        }
        ListenerVerb::Set { name, pairs, change } => {
            changing(ChangeRequest::ListenerSet { name, pairs }, change)
        }
        ListenerVerb::Remove { name, change } => {
            changing(ChangeRequest::ListenerRemove { name }, change)
        }
        ListenerVerb::Drain { name, over, change } => {
            let task = over.map(|over| {
                let (name, over_ms) = (name.clone(), over.millis);
                TaskRequest::ListenerDrain { name, over_ms }
            });
            let drain = ChangeRequest::ListenerState { name, state: Admin::Drain };
            draining(drain, change, (None, task))
        }
        ListenerVerb::Ready { name, change } => {
            changing(ChangeRequest::ListenerState { name, state: Admin::Ready }, change)
        }
    }
}

fn pool(verb: PoolVerb) -> Plan {
    match verb {
        PoolVerb::List => read(Query::PoolList),
        PoolVerb::Show { name } => read(Query::PoolShow { name }),
        PoolVerb::Add { name, strategy, mut pairs, change } => {
            pairs.splice(..0, strategy.map(|strategy| pair("strategy", strategy)));
            changing(ChangeRequest::PoolAdd { name, pairs }, change)
        }
        PoolVerb::Remove { name, change } => changing(ChangeRequest::PoolRemove { name }, change),
        PoolVerb::Rebalance { name, to, rate } => {
            Plan::Task(TaskRequest::PoolRebalance { name, spread: to, per_s: rate })
        }
        PoolVerb::Set { name, pairs, change } => {
            changing(ChangeRequest::PoolSet { name, pairs }, change)
        }
    }
}

fn backend(verb: BackendVerb) -> Plan {
    match verb {
        BackendVerb::List { pool, state } => {
            Plan::Read(Reading { states: state, ..reading(Query::BackendList { pool }) })
        }
        BackendVerb::Show { name } => read(Query::BackendShow { name }),
        BackendVerb::Add { name, address, weight, mut pairs, change } => {
            pairs.splice(..0, weight.map(|weight| pair("weight", weight.to_string())));
            changing(ChangeRequest::BackendAdd { name, address, pairs }, change)
        }
        BackendVerb::Set { name, pairs, change } => {
            changing(ChangeRequest::BackendSet { name, pairs }, change)
        }
        BackendVerb::Remove { name, force, change } => match one(name) {
            Ok(name) => changing(ChangeRequest::BackendRemove { name, force }, change),
            Err(names) => Plan::Several(several(names, BackendAct::Remove { force }, change)),
        },
        BackendVerb::Drain { name, wait, over, change } => match one(name) {
            Ok(name) => {
                let task = over.map(|over| {
                    let (name, over_ms) = (name.clone(), over.millis);
                    TaskRequest::BackendDrain { name, over_ms }
                });
                let drain = ChangeRequest::BackendState { name, state: Admin::Drain };
                draining(drain, change, (wait, task))
            }
            Err(names) => {
                let act = BackendAct::State(Admin::Drain);
                Plan::Several(Several { wait, over, ..several(names, act, change) })
            }
        },
        BackendVerb::Maint { name, change } => state(name, Admin::Maint, change),
        BackendVerb::Ready { name, change } => state(name, Admin::Ready, change),
        BackendVerb::Weight { name, weight, change } => match one(name) {
            Ok(name) => changing(ChangeRequest::BackendWeight { name, weight }, change),
            Err(names) => Plan::Several(several(names, BackendAct::Weight(weight), change)),
        },
    }
}

fn state(names: Vec<String>, state: Admin, change: ChangeArgs) -> Plan {
    match one(names) {
        Ok(name) => changing(ChangeRequest::BackendState { name, state }, change),
        Err(names) => Plan::Several(several(names, BackendAct::State(state), change)),
    }
}

/// The only name, or all of them if there are more or one is a pattern.
fn one(names: Vec<String>) -> Result<String, Vec<String>> {
    match <[String; 1]>::try_from(names) {
        Ok([name]) if !name.contains('*') => Ok(name),
        Ok(pattern) => Err(pattern.into()),
        Err(names) => Err(names),
    }
}

fn several(names: Vec<String>, act: BackendAct, change: ChangeArgs) -> Several {
    let options = options(change);
    Several { names, act, options, wait: None, over: None }
}

fn session(verb: SessionVerb) -> Plan {
    match verb {
        SessionVerb::List { filter, sort, limit } => {
            read(Query::SessionList { filter: filter.into(), sort, limit })
        }
        SessionVerb::Show { id } => read(Query::SessionShow { id: id.to_string() }),
        SessionVerb::Kill { id, filter, rate, dry_run, yes } => {
            let ids = id.iter().map(ToString::to_string).collect();
            let kill = SessionKill { ids, filter: filter.into(), dry_run };
            Plan::Kill(Killing { kill, rate, yes })
        }
    }
}

fn config(verb: ConfigVerb) -> Plan {
    match verb {
        ConfigVerb::Show => {
            let query = Query::ConfigExport { version: None };
            Plan::Read(Reading { heading: true, ..reading(query) })
        }
        ConfigVerb::Export { version } => read(Query::ConfigExport { version }),
        ConfigVerb::History { limit, before } => read(Query::ConfigHistory { before, limit }),
        ConfigVerb::Versions => read(Query::ConfigVersions),
        ConfigVerb::Diff { target, to } => Plan::Diff { target, to },
        ConfigVerb::Apply { file, merge, confirm: ConfirmArgs { confirm, guard }, change } => {
            let confirm = confirm.map(|it| Confirm { within_ms: it.millis, guards: guard });
            let options = ChangeOptions { confirm, ..options(change) };
            Plan::Apply { file, mode: mode(merge), force: merge.force, options }
        }
        ConfigVerb::Confirm { change } => changing(ChangeRequest::Confirm, change),
        ConfigVerb::Edit { force, change } => Plan::Edit { force, options: options(change) },
        ConfigVerb::Rollback { version, change } => {
            changing(ChangeRequest::Rollback { version }, change)
        }
    }
}

fn mode(args: MergeArgs) -> ApplyMode {
    match args {
        MergeArgs { partial: true, .. } => ApplyMode::Partial,
        MergeArgs { replace: true, .. } => ApplyMode::Replace,
        MergeArgs { theirs: true, .. } => ApplyMode::Theirs,
        MergeArgs { ours: true, .. } => ApplyMode::Ours,
        MergeArgs { .. } => ApplyMode::Merge,
    }
}
