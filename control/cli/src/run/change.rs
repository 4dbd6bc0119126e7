//! Mutations: ask if traffic would be lost, change, show before → after, and wait for a drain.

use std::time::Duration;

use weir_proto::answer::Answer;
use weir_proto::request::{ChangeRequest, Request};
use weir_proto::spec::Span;

use super::{Desk, unless_interrupted};
use crate::ask::Client;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::plan::Changing;

/// How often a drain's last sessions are counted.
const POLL: Duration = Duration::from_millis(200);

pub(super) fn run(changing: &Changing, desk: &mut Desk<'_>) -> Result<Exit, Failure> {
    let dry_run = changing.options.dry_run;
    if !dry_run
        && !changing.yes
        && let Some(loss) = loss(&changing.change, desk)?
    {
        desk.confirm(&loss, changing.yes)?;
    }
    let mut client = desk.client()?;
    let request =
        Request::Change { change: changing.change.clone(), options: changing.options.clone() };
    made(&client.ask(&request)?, desk)?;
    match (&changing.change, changing.wait) {
        (ChangeRequest::BackendState { name, .. }, Some(wait)) if !dry_run => {
            wait_drained(name, wait, &mut client, desk)
        }
        _ => Ok(Exit::Done),
    }
}

/// Prints what a change did, and warns of shards that have not adopted it.
pub(super) fn made(answer: &Answer, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let Answer::Changed(changed) = answer else { return Err(Failure::unexpected()) };
    desk.print(answer, false)?;
    if !changed.dry_run && changed.shards_adopted < changed.shards {
        let late = changed.shards - changed.shards_adopted;
        desk.say(&format!("warning: {late} shards are late; see weirctl shards"));
    }
    Ok(())
}

/// What would be lost, if anything.
fn loss(change: &ChangeRequest, desk: &Desk<'_>) -> Result<Option<String>, Failure> {
    Ok(match change {
        ChangeRequest::BackendRemove { name, force: true } => {
            Some(format!("the sessions of backend {name} would be reset"))
        }
        ChangeRequest::PoolRemove { name } => {
            Some(format!("pool {name} and its backends would be removed"))
        }
        ChangeRequest::ListenerRemove { name } => {
            let request = Request::ListenerShow { name: name.clone() };
            let answer = desk.client_before_a_question()?.ask(&request)?;
            let Answer::Listener(listener) = answer else { return Err(Failure::unexpected()) };
            let sessions = listener.sessions;
            (sessions > 0)
                .then(|| format!("listener {name} has {sessions} sessions and would take no more"))
        }
        _ => None,
    })
}

/// Waits until the backend has no session. The drain stays in force however this ends.
fn wait_drained(
    name: &str,
    wait: Span,
    client: &mut Client,
    desk: &mut Desk<'_>,
) -> Result<Exit, Failure> {
    let start = clock::now();
    let wait = Duration::from_millis(wait.millis);
    let mut told = None;
    loop {
        let sessions = sessions_of(name, client)?;
        let spent = start.elapsed();
        tell(name, sessions, spent, told.replace(sessions), desk);
        if sessions == 0 {
            return Ok(Exit::Done);
        }
        let Some(left) = wait.checked_sub(spent).filter(|left| !left.is_zero()) else {
            if desk.progress {
                desk.say("");
            }
            return Err(Failure::new(
                Exit::TimedOut,
                format!("{sessions} sessions are left on {name}; it goes on draining"),
                format!(
                    "weirctl backend show {name}; to end them: weirctl backend remove {name} --force"
                ),
            ));
        };
        let came = client.interrupt.wait(POLL.min(left));
        if came && desk.progress {
            desk.say("");
        }
        unless_interrupted(came, &format!("{name} goes on draining"))?;
    }
}

/// A backend that is gone has no sessions.
fn sessions_of(name: &str, client: &mut Client) -> Result<u64, Failure> {
    match client.ask(&Request::BackendShow { name: name.to_owned() }) {
        Ok(Answer::Backend(backend)) => Ok(backend.sessions),
        Ok(_) => Err(Failure::unexpected()),
        Err(failure) if failure.exit == Exit::NotFound => Ok(0),
        Err(failure) if failure.exit == Exit::Interrupted => {
            unless_interrupted(true, &format!("{name} goes on draining")).map(|()| 0)
        }
        Err(failure) => Err(failure),
    }
}

/// Progress: one line rewritten on a terminal, one line for each change otherwise.
fn tell(name: &str, sessions: u64, spent: Duration, told: Option<u64>, desk: &mut Desk<'_>) {
    if desk.json && !desk.progress {
        return;
    }
    let state = if sessions == 0 { "drained" } else { "draining" };
    let line = format!("{name} {state}: {sessions} sessions left");
    if desk.progress {
        let end = if sessions == 0 { "\n" } else { "" };
        let _ = write!(desk.err, "\r\x1b[K{line}, {} s{end}", spent.as_secs());
        let _ = desk.err.flush();
    } else if told != Some(sessions) {
        desk.say(&line);
    }
}
