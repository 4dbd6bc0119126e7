//! `session kill`: asks before many are ended, and leaves them to a task if there is a rate.

use weir_proto::answer::{Answer, Killed};
use weir_proto::request::{Command, SessionKill, TaskRequest};

use super::Console;
use crate::ask::Client;
use crate::exit::{Exit, Failure};
use crate::plan::Killing;

pub(super) fn kill(killing: &Killing, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let Killing { kill, rate, yes } = killing;
    let named = !kill.ids.is_empty();
    // Who names sessions means them; an option may mean more of them than was thought.
    if !named && !kill.dry_run && !yes {
        let count = SessionKill { dry_run: true, ..kill.clone() };
        let matched = ask(&mut console.client_before_a_question()?, count)?.matched;
        if matched > 0 {
            console.confirm(&format!("{matched} sessions would be cut"), *yes)?;
        }
    }
    let mut client = console.client()?;
    let answer = match rate {
        Some(per_s) if !kill.dry_run => {
            let (ids, filter) = (kill.ids.clone(), kill.filter.clone().into());
            client.ask(Command::Task(TaskRequest::SessionKill { ids, filter, per_s: *per_s }))?
        }
        Some(_) | None => Answer::Killed(ask(&mut client, kill.clone())?),
    };
    console.print(&answer, false)?;
    Ok(Exit::Done)
}

fn ask(client: &mut Client, kill: SessionKill) -> Result<Killed, Failure> {
    match client.ask(Command::SessionKill(kill))? {
        Answer::Killed(killed) => Ok(killed),
        _ => Err(Failure::unexpected()),
    }
}
