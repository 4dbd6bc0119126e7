//! `events`: those that are kept, then new ones as they come.

use std::time::{Duration, Instant};

use weir_proto::answer::{Answer, EventRow, Events};
use weir_proto::request::Query;
use weir_proto::spec::Span;

use super::Console;
use crate::ask::Client;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::render::human::plain;
use crate::render::{Style, json, views};

/// How often new events are asked for.
const POLL: Duration = Duration::from_millis(500);

pub(super) fn run(
    follow: bool,
    since: Option<Span>,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let mut client = console.client()?;
    let mut rows = after(0, &mut client)?;
    let last = rows.last().map_or(0, |row| row.id);
    if let Some(span) = since {
        let span = i64::try_from(span.millis).unwrap_or(i64::MAX);
        let from = clock::wall_ms().saturating_sub(span);
        // An event whose time cannot be read is shown: better one too many.
        rows.retain(|row| clock::parse_utc(&row.at).is_none_or(|at| at >= from));
    } else if follow {
        rows.clear();
    }
    if !follow {
        console.print(&Answer::Events(Events { events: rows }), false)?;
        return Ok(Exit::Done);
    }
    lines(&rows, console)?;
    Follower { client, last, answered: clock::now() }.follow(console)
}

/// Shows what comes, also after weir has been restarted.
struct Follower {
    client: Client,
    /// The number of the last event that was shown.
    last: u64,
    /// When weir answered last.
    answered: Instant,
}

impl Follower {
    fn follow(&mut self, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let mut is_gone = false;
        loop {
            if self.client.interrupt.wait(POLL) {
                return Ok(Exit::Interrupted);
            }
            let asked = if is_gone { self.reconnect(console) } else { Ok(()) };
            match asked.and_then(|()| after(self.last, &mut self.client)) {
                Ok(rows) => {
                    is_gone = false;
                    self.answered = clock::now();
                    self.last = rows.last().map_or(self.last, |row| row.id);
                    lines(&rows, console)?;
                }
                Err(failure) if failure.exit == Exit::Unreachable => {
                    if !is_gone {
                        console.say(&format!("{}; waiting for it", plain(&failure.message)));
                    }
                    is_gone = true;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Connects again. A weir that has started since it answered last numbers its events from 1.
    fn reconnect(&mut self, console: &mut Console<'_>) -> Result<(), Failure> {
        self.client.reconnect()?;
        let Answer::Status(status) = self.client.ask(Query::Status)? else {
            return Err(Failure::unexpected());
        };
        let is_another = status.uptime_s < self.answered.elapsed().as_secs_f64();
        if is_another {
            self.last = 0;
        }
        console.say(if is_another { "weir is back, restarted" } else { "weir is back" });
        Ok(())
    }
}

fn after(id: u64, client: &mut Client) -> Result<Vec<EventRow>, Failure> {
    match client.ask(Query::Events { after: id })? {
        Answer::Events(events) => Ok(events.events),
        _ => Err(Failure::unexpected()),
    }
}

/// While following, each event is a line: a document of its own in JSON.
fn lines(rows: &[EventRow], console: &mut Console<'_>) -> Result<(), Failure> {
    for row in rows {
        let text = if console.json {
            json::document(row, Style::default())
        } else {
            views::event(row, console.style)
        };
        console.write(&text)?;
    }
    Ok(())
}
