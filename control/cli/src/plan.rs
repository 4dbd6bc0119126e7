//! What a command line means: the requests to send, and what to mind before and after.

use std::path::PathBuf;
use std::time::Duration;

use weir_proto::answer::Note;
use weir_proto::answer::events::EventFilter;
use weir_proto::confirm::Confirm;
use weir_proto::request::{
    ApplyMode, ChangeOptions, ChangeRequest, Query, SessionKill, TaskRequest,
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
    /// Against a file or a version; or of what is in force against the file as it was last applied.
    Diff {
        target: Option<String>,
    },
    Drain {
        dry_run: bool,
        yes: bool,
    },
    Ready {
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
        Verb::Status { check } => {
            Plan::Read(Reading { query: Query::Status, check, heading: false })
        }
        Verb::Top => Plan::Top,
        Verb::Listener(verb) => listener(verb),
        Verb::Pool(verb) => pool(verb),
        Verb::Backend(verb) => backend(verb),
        Verb::Task(TaskVerb::List) => read(Query::TaskList),
        Verb::Task(TaskVerb::Show { id }) => read(Query::TaskShow { id }),
        Verb::Task(TaskVerb::Cancel { id }) => Plan::Task(TaskRequest::Cancel { id }),
        Verb::Session(verb) => session(verb),
        Verb::Why { session: Some(id), .. } => read(Query::WhySession { id: id.to_string() }),
        Verb::Why { pool, client, session: None } => {
            // clap asks for both.
            let (pool, client) = (pool.unwrap_or_default(), client.unwrap_or_default());
            read(Query::Why { pool, client })
        }
        Verb::Stats { subject } => read(Query::Stats { subject }),
        Verb::Events { follow, since, kind } => {
            let since_ms = since.map(|since| since.millis);
            Plan::Events { follow, filter: EventFilter { kinds: kind, since_ms } }
        }
        Verb::Config(verb) => config(verb),
        Verb::Shards => read(Query::Shards),
        Verb::Drain { dry_run, yes } => Plan::Drain { dry_run, yes },
        Verb::Ready { dry_run } => Plan::Ready { dry_run },
        Verb::Stop { drain, dry_run, yes } => Plan::Stop { drain, dry_run, yes },
        Verb::Completions { shell } => Plan::Completions(shell),
        Verb::Man => Plan::Man,
    }
}

fn read(query: Query) -> Plan {
    Plan::Read(Reading { query, check: false, heading: false })
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
    let state = |name, state, args| changing(ChangeRequest::BackendState { name, state }, args);
    match verb {
        BackendVerb::List { pool } => read(Query::BackendList { pool }),
        BackendVerb::Show { name } => read(Query::BackendShow { name }),
        BackendVerb::Add { name, address, weight, mut pairs, change } => {
            pairs.splice(..0, weight.map(|weight| pair("weight", weight.to_string())));
            changing(ChangeRequest::BackendAdd { name, address, pairs }, change)
        }
        BackendVerb::Set { name, pairs, change } => {
            changing(ChangeRequest::BackendSet { name, pairs }, change)
        }
        BackendVerb::Remove { name, force, change } => {
            changing(ChangeRequest::BackendRemove { name, force }, change)
        }
        BackendVerb::Drain { name, wait, over, change } => {
            let task = over.map(|over| {
                let (name, over_ms) = (name.clone(), over.millis);
                TaskRequest::BackendDrain { name, over_ms }
            });
            let drain = ChangeRequest::BackendState { name, state: Admin::Drain };
            draining(drain, change, (wait, task))
        }
        BackendVerb::Maint { name, change } => state(name, Admin::Maint, change),
        BackendVerb::Ready { name, change } => state(name, Admin::Ready, change),
        BackendVerb::Weight { name, weight, change } => {
            changing(ChangeRequest::BackendWeight { name, weight }, change)
        }
    }
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
        ConfigVerb::Show => Plan::Read(Reading {
            query: Query::ConfigExport { version: None },
            check: false,
            heading: true,
        }),
        ConfigVerb::Export { version } => read(Query::ConfigExport { version }),
        ConfigVerb::History { limit, before } => read(Query::ConfigHistory { before, limit }),
        ConfigVerb::Versions => read(Query::ConfigVersions),
        ConfigVerb::Diff { target } => Plan::Diff { target },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, join_watch};
    use clap::Parser;

    fn planned(line: &str) -> Result<(Plan, Option<Duration>), Failure> {
        let words = std::iter::once("weirctl").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(join_watch(words.map(Into::into))).unwrap();
        plan(cli.verb, cli.output, cli.watch)
    }

    fn query(line: &str) -> Query {
        match planned(line).unwrap().0 {
            Plan::Read(reading) => reading.query,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn change(line: &str) -> (ChangeRequest, ChangeOptions) {
        match planned(line).unwrap().0 {
            Plan::Change(changing) => (changing.change, changing.options),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn reading_verbs_become_queries() {
        let name = |text: &str| text.to_owned();
        let table = [
            ("status", Query::Status),
            ("shards", Query::Shards),
            ("listener list", Query::ListenerList),
            ("listener show web", Query::ListenerShow { name: name("web") }),
            ("pool list", Query::PoolList),
            ("pool show web", Query::PoolShow { name: name("web") }),
            ("backend list", Query::BackendList { pool: None }),
            ("backend list web", Query::BackendList { pool: Some(name("web")) }),
            ("backend show web/b1", Query::BackendShow { name: name("web/b1") }),
            ("stats", Query::Stats { subject: None }),
            ("stats web/b1", Query::Stats { subject: Some(name("web/b1")) }),
            ("config export", Query::ConfigExport { version: None }),
            ("config export 3", Query::ConfigExport { version: Some(3) }),
            ("config history", Query::ConfigHistory { before: None, limit: None }),
            ("config versions", Query::ConfigVersions),
            (
                "config history --limit 20 --before 7",
                Query::ConfigHistory { before: Some(7), limit: Some(20) },
            ),
            ("task list", Query::TaskList),
            ("why web --client ::1", Query::Why { pool: name("web"), client: name("::1") }),
            ("why --session 0.1.2", Query::WhySession { id: name("0.1.2") }),
            ("task show 7", Query::TaskShow { id: 7 }),
            ("session show 0.17.3", Query::SessionShow { id: name("0.17.3") }),
        ];
        for (line, wanted) in table {
            assert_eq!(query(line), wanted, "{line}");
        }
    }

    #[test]
    fn changing_verbs_become_changes() {
        let name = || "web/b1".to_owned();
        let web = || "web".to_owned();
        let state = |state| ChangeRequest::BackendState { name: name(), state };
        let listener = |state| ChangeRequest::ListenerState { name: web(), state };
        let bind = vec!["0.0.0.0:80".to_owned(), "[::]:80".to_owned()];
        let pairs = vec![("strategy".to_owned(), "maglev".to_owned())];
        let table = [
            (
                "listener add web 0.0.0.0:80 [::]:80 max-sessions=5 --pool web",
                ChangeRequest::ListenerAdd {
                    name: web(),
                    bind,
                    pool: web(),
                    pairs: vec![pair("max-sessions", "5")],
                },
            ),
            (
                "listener set web pool=web max-sessions=",
                ChangeRequest::ListenerSet {
                    name: web(),
                    pairs: vec![pair("pool", "web"), pair("max-sessions", "")],
                },
            ),
            ("listener remove web", ChangeRequest::ListenerRemove { name: web() }),
            ("listener drain web", listener(Admin::Drain)),
            ("listener ready web", listener(Admin::Ready)),
            (
                "pool add web retry.attempts=1 --strategy random",
                ChangeRequest::PoolAdd {
                    name: web(),
                    pairs: vec![pair("strategy", "random"), pair("retry.attempts", "1")],
                },
            ),
            ("pool remove web", ChangeRequest::PoolRemove { name: web() }),
            ("pool set web strategy=maglev", ChangeRequest::PoolSet { name: web(), pairs }),
            (
                "backend add web/b1 [::1]:80 --weight 2 state=drain",
                ChangeRequest::BackendAdd {
                    name: name(),
                    address: "[::1]:80".into(),
                    pairs: vec![pair("weight", "2"), pair("state", "drain")],
                },
            ),
            (
                "backend set web/b1 address=[::1]:81",
                ChangeRequest::BackendSet {
                    name: name(),
                    pairs: vec![pair("address", "[::1]:81")],
                },
            ),
            (
                "backend remove web/b1 --force",
                ChangeRequest::BackendRemove { name: name(), force: true },
            ),
            ("backend drain web/b1", state(Admin::Drain)),
            ("backend maint web/b1", state(Admin::Maint)),
            ("backend ready web/b1", state(Admin::Ready)),
            ("backend weight web/b1 7", ChangeRequest::BackendWeight { name: name(), weight: 7 }),
            ("config rollback 3", ChangeRequest::Rollback { version: 3 }),
        ];
        for (line, wanted) in table {
            let given = ChangeOptions { dry_run: true, if_version: Some(9), ..Default::default() };
            let line = format!("{line} --dry-run --if-version 9");
            assert_eq!(change(&line), (wanted, given), "{line}");
        }
    }

    #[test]
    fn a_file_is_merged_unless_it_is_to_replace() {
        for (flags, mode, force) in [
            ("", ApplyMode::Merge, false),
            ("--ours", ApplyMode::Ours, false),
            ("--theirs --force", ApplyMode::Theirs, true),
            ("--replace --yes", ApplyMode::Replace, false),
            ("--partial", ApplyMode::Partial, false),
        ] {
            let options = ChangeOptions { yes: flags.contains("yes"), ..ChangeOptions::default() };
            let wanted = Plan::Apply { file: "w.toml".into(), mode, force, options };
            assert_eq!(planned(&format!("config apply w.toml {flags}")).unwrap().0, wanted);
        }
        let options = ChangeOptions { if_version: Some(7), ..ChangeOptions::default() };
        let edit = Plan::Edit { force: true, options };
        assert_eq!(planned("config edit --force --if-version 7").unwrap().0, edit);
        let drift = Plan::Diff { target: None };
        assert_eq!(planned("config diff").unwrap().0, drift);
    }

    #[test]
    fn a_paced_drain_is_a_change_and_a_task() {
        let name = "web/b1".to_owned();
        let task = TaskRequest::BackendDrain { name, over_ms: 600_000 };
        match planned("backend drain web/b1 --over 10m").unwrap().0 {
            Plan::Change(changing) => assert_eq!(changing.task, Some(task)),
            other => panic!("{other:?}"),
        }
        let rebalance = |to, rate| {
            let name = "web".to_owned();
            Plan::Task(TaskRequest::PoolRebalance { name, spread: to, per_s: rate })
        };
        for (line, plan) in [
            ("pool rebalance web", rebalance(10, 10)),
            ("pool rebalance web --to 5% --rate 100/s", rebalance(5, 100)),
            ("pool rebalance web --to 0 --rate 1", rebalance(0, 1)),
            ("task cancel 3", Plan::Task(TaskRequest::Cancel { id: 3 })),
        ] {
            assert_eq!(planned(line).unwrap().0, plan, "{line}");
        }
    }

    #[test]
    fn only_reading_verbs_can_be_watched() {
        assert_eq!(planned("-w 3 stats").unwrap().1, Some(Duration::from_secs(3)));
        for line in ["-w drain", "-w top", "backend ready web/b1 -w", "events -w"] {
            assert_eq!(planned(line).unwrap_err().exit as u8, 2, "{line}");
        }
        assert_eq!(planned("-o json top").unwrap_err().exit as u8, 2);
    }
}
