//! `session kill`: asks before many are ended, and ends them at a rate if one is wanted.

use std::time::Duration;

use weir_proto::answer::{Answer, Killed, Sessions};
use weir_proto::request::{Command, Query, SessionKill};
use weir_proto::session::{LISTED_MAX, SessionSort};

use super::Console;
use crate::ask::Client;
use crate::exit::{Exit, Failure};
use crate::plan::Killing;

/// Sessions that one request names at most.
const NAMES_MAX: u32 = 500;
/// The pause between two requests while there is a rate.
const PACE: Duration = Duration::from_millis(250);

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
    let killed = match rate {
        Some(per_s) if !kill.dry_run => paced(kill, *per_s, &mut client, console)?,
        _ => ask(&mut client, kill.clone())?,
    };
    console.print(&Answer::Killed(killed), false)?;
    Ok(Exit::Done)
}

fn ask(client: &mut Client, kill: SessionKill) -> Result<Killed, Failure> {
    match client.ask(Command::SessionKill(kill))? {
        Answer::Killed(killed) => Ok(killed),
        _ => Err(Failure::unexpected()),
    }
}

/// Ends those that there are now, the ones that were idle for longest first.
fn paced(
    kill: &SessionKill,
    per_s: u32,
    client: &mut Client,
    console: &mut Console<'_>,
) -> Result<Killed, Failure> {
    let mut ids = kill.ids.clone();
    if ids.is_empty() {
        let (filter, sort) = (kill.filter.clone(), SessionSort::Idle);
        let Answer::Sessions(Sessions { sessions, .. }) =
            client.ask(Query::SessionList { filter, sort, limit: LISTED_MAX })?
        else {
            return Err(Failure::unexpected());
        };
        ids.extend(sessions.into_iter().map(|row| row.id));
    }
    let all = ids.len();
    let mut sum = Killed { matched: 0, killed: 0, dry_run: false, missing_shards: Vec::new() };
    // Whole sessions: of 10 a second 2 or 3 at a time.
    let (mut owed, pace) = (0.0, PACE.as_secs_f64());
    while !ids.is_empty() {
        owed = f64::min(owed + f64::from(per_s) * pace, f64::from(NAMES_MAX)).max(0.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most NAMES_MAX
        let count = (owed as usize).min(ids.len());
        if count > 0 {
            owed -= f64::from(u32::try_from(count).unwrap_or(NAMES_MAX));
            let some = SessionKill { ids: ids.drain(..count).collect(), ..SessionKill::default() };
            match ask(client, some) {
                Ok(Killed { matched, killed, missing_shards, .. }) => {
                    sum.matched += matched;
                    sum.killed += killed;
                    sum.missing_shards = missing_shards;
                }
                // They have ended by themselves.
                Err(failure) if failure.exit == Exit::NotFound => {}
                Err(failure) => return Err(failure),
            }
            if console.progress && !console.json {
                let left = ids.len();
                console.say(&format!("{} of {all} ended, {left} left", sum.killed));
            }
        }
        if !ids.is_empty() && client.interrupt.wait(PACE) {
            let left = format!("{} of {all} were ended, the others live on", sum.killed);
            return Err(Failure::new(Exit::Interrupted, left, ""));
        }
    }
    Ok(sum)
}
