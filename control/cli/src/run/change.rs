//! Mutations: ask if traffic would be lost, change, show before → after, and wait for a drain.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use weir_proto::answer::{Answer, Changed, TaskRow};
use weir_proto::request::{ChangeOptions, ChangeRequest, Command, Query, TaskRequest};
use weir_proto::spec::Span;

use super::{Console, unless_interrupted};
use crate::ask::Client;
use crate::clock;
use crate::exit::{Exit, Failure, NEEDS_YES};
use crate::plan::Changing;
use crate::render::json;

/// How often a drain's last sessions are counted.
const POLL: Duration = Duration::from_millis(200);

pub(super) fn run(changing: &Changing, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut options = changing.options.clone();
    let dry_run = options.dry_run;
    if let ChangeRequest::BackendRemove { name, force: true } = &changing.change {
        let names = (core::slice::from_ref(name), format!("of backend {name}"));
        options = agreed((names.0, &names.1), &changing.change, options, console)?;
    }
    if let Some(request) = changing.task.as_ref().filter(|_| !dry_run) {
        return paced(changing, request, console);
    }
    let (answer, mut client) = ask(&changing.change, &options, console)?;
    made(&answer, console)?;
    match (&changing.change, changing.wait) {
        (ChangeRequest::BackendState { name, .. }, Some(wait)) if !dry_run => {
            wait_drained(core::slice::from_ref(name), wait, &mut client, console)
        }
        _ => Ok(Exit::Done),
    }
}

/// A paced drain as JSON: the change, and the task that began with it.
#[derive(Serialize)]
struct Paced<'a> {
    #[serde(flatten)]
    changed: &'a Changed,
    task: &'a TaskRow,
}

/// Drains, then has the sessions ended at a pace. What was removed is drained already.
fn paced(
    changing: &Changing,
    request: &TaskRequest,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let (changed, mut client) = match ask(&changing.change, &changing.options, console) {
        Ok((answer, client)) => (Ok(answer), client),
        Err(failure) if failure.exit == Exit::NotFound => (Err(failure), console.client()?),
        Err(failure) => return Err(failure),
    };
    let begun = client.ask(Command::Task(request.clone()));
    let changed = match changed {
        Ok(changed) => changed,
        Err(missing) => {
            let begun = begun.map_err(|why| if why.exit == Exit::NotFound { missing } else { why });
            return console.print(&begun?, false).map(|()| Exit::Done);
        }
    };
    match (begun, &changed) {
        (Ok(Answer::Task(task)), Answer::Changed(changed)) if console.json => {
            let text = json::document(&Paced { changed, task: &task }, console.style);
            console.write(&text)?;
        }
        (begun, _) => {
            made(&changed, console)?;
            console.print(&begun?, false)?;
        }
    }
    Ok(Exit::Done)
}

/// Begins or cancels a task.
pub(super) fn task(request: TaskRequest, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let answer = console.client()?.ask(Command::Task(request))?;
    console.print(&answer, false).map(|()| Exit::Done)
}

/// Asks weir for a change, and the operator first where weir wants a yes.
pub(super) fn ask(
    change: &ChangeRequest,
    options: &ChangeOptions,
    console: &mut Console<'_>,
) -> Result<(Answer, Client), Failure> {
    let mut options = options.clone();
    options.note.command = Some(console.typed.to_owned());
    let command = |options: &ChangeOptions| Command::Change {
        change: change.clone(),
        options: options.clone(),
    };
    if console.interactive && !options.yes && !options.dry_run {
        let mut client = console.client_before_a_question()?;
        match client.ask(command(&options)) {
            Err(failure) if failure.code == NEEDS_YES => {
                console.confirm(&failure.message, options.yes)?;
            }
            answer => return Ok((answer?, console.client()?)),
        }
        options.yes = true;
    }
    let mut client = console.client()?;
    Ok((client.ask(command(&options))?, client))
}

/// Prints what a change did, and warns of shards that have not adopted it.
pub(super) fn made(answer: &Answer, console: &mut Console<'_>) -> Result<(), Failure> {
    let Answer::Changed(changed) = answer else { return Err(Failure::unexpected()) };
    console.print(answer, false)?;
    if !changed.dry_run && changed.shards_adopted < changed.shards {
        let late = changed.shards - changed.shards_adopted;
        console.say(&format!("warning: shards that are late: {late}; see weirctl shards"));
    }
    Ok(())
}

/// Asks once about everything that a forced removal takes away: live sessions, and what weir itself
/// wants a yes for. The options with that yes.
pub(super) fn agreed(
    (names, whose): (&[String], &str),
    change: &ChangeRequest,
    options: ChangeOptions,
    console: &mut Console<'_>,
) -> Result<ChangeOptions, Failure> {
    if options.dry_run || options.yes {
        return Ok(options);
    }
    let mut client = console.client_before_a_question()?;
    let sessions = sessions_of(names, "nothing was done", &mut client)?;
    if sessions == 0 {
        return Ok(options);
    }
    let trial = ChangeOptions { dry_run: true, ..options.clone() };
    let mut loss = format!("{sessions} sessions {whose} would be reset");
    match client.ask(Command::Change { change: change.clone(), options: trial })? {
        Answer::Changed(tried) => loss.extend(tried.warnings.iter().map(|it| format!("; {it}"))),
        _ => return Err(Failure::unexpected()),
    }
    console.confirm(&loss, false)?;
    Ok(ChangeOptions { yes: true, ..options })
}

/// Waits until the backends have no session. The drain stays in force however this ends.
pub(super) fn wait_drained(
    names: &[String],
    wait: Span,
    client: &mut Client,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let start = clock::now();
    let wait = Duration::from_millis(wait.millis);
    let who = match names {
        [name] => name.clone(),
        names => format!("{} backends", names.len()),
    };
    let goes_on = format!("{who} {} on draining", if names.len() == 1 { "goes" } else { "go" });
    let mut told = None;
    loop {
        let sessions = sessions_of(names, &goes_on, client)?;
        let spent = start.elapsed();
        tell(&who, sessions, spent, told.replace(sessions), console);
        if sessions == 0 {
            return Ok(Exit::Done);
        }
        let Some(left) = wait.checked_sub(spent).filter(|left| !left.is_zero()) else {
            if console.progress {
                console.say("");
            }
            return Err(Failure::new(
                Exit::TimedOut,
                match names {
                    [name] => {
                        format!("{sessions} sessions are left on {name}; it goes on draining")
                    }
                    _ => format!("{sessions} sessions are left; {goes_on}"),
                },
                format!("to end them: weirctl backend remove {} --force", names.join(" ")),
            ));
        };
        let came = client.interrupt.wait(POLL.min(left));
        if came && console.progress {
            console.say("");
        }
        unless_interrupted(came, &goes_on)?;
    }
}

/// All sessions of these, by one question. A backend that is gone has none.
fn sessions_of(names: &[String], goes_on: &str, client: &mut Client) -> Result<u64, Failure> {
    let query = match names {
        [name] => Query::BackendShow { name: name.clone() },
        names => Query::BackendList { pool: pool_of(names) },
    };
    match client.ask(query) {
        Ok(Answer::Backend(backend)) => Ok(backend.sessions),
        Ok(Answer::Backends(body)) => {
            let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            let rows = body.backends.iter().filter(|row| wanted.contains(row.name.as_str()));
            Ok(rows.map(|row| row.sessions).sum())
        }
        Ok(_) => Err(Failure::unexpected()),
        Err(failure) if failure.exit == Exit::NotFound => Ok(0),
        Err(failure) if failure.exit == Exit::Interrupted => {
            unless_interrupted(true, goes_on).map(|()| 0)
        }
        Err(failure) => Err(failure),
    }
}

/// The pool that all of them are of, if it is one.
fn pool_of(names: &[String]) -> Option<String> {
    let mut pools = names.iter().map(|name| name.split_once('/').map(|(pool, _)| pool));
    let first = pools.next()??;
    pools.all(|pool| pool == Some(first)).then(|| first.to_owned())
}

/// Progress: one line rewritten on a terminal, one line for each change otherwise.
fn tell(name: &str, sessions: u64, spent: Duration, told: Option<u64>, console: &mut Console<'_>) {
    if console.json && !console.progress {
        return;
    }
    let state = if sessions == 0 { "drained" } else { "draining" };
    let line = format!("{name} {state}, sessions left: {sessions}");
    if console.progress {
        let end = if sessions == 0 { "\n" } else { "" };
        let _ = write!(console.err, "\r\x1b[K{line}, {} s{end}", spent.as_secs());
        let _ = console.err.flush();
    } else if told != Some(sessions) {
        console.say(&line);
    }
}
