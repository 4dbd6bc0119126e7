//! `events`: those that are kept, then new ones as they come.

use std::time::Duration;

use weir_proto::answer::{Answer, EventRow, Events};
use weir_proto::request::Query;
use weir_proto::spec::Span;

use super::Console;
use crate::ask::Client;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::render::{Style, json, views};

/// How often new events are asked for.
const POLL: Duration = Duration::from_millis(500);
/// How many old events `-f` begins with.
const TAIL: usize = 10;

pub(super) fn run(
    follow: bool,
    since: Option<Span>,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let mut client = console.client()?;
    let mut rows = after(0, &mut client)?;
    let mut last = rows.last().map_or(0, |row| row.id);
    if let Some(span) = since {
        let span = i64::try_from(span.millis).unwrap_or(i64::MAX);
        let from = clock::wall_ms().saturating_sub(span);
        // An event whose time cannot be read is shown: better one too many.
        rows.retain(|row| clock::parse_utc(&row.at).is_none_or(|at| at >= from));
    } else if follow && rows.len() > TAIL {
        rows.drain(..rows.len() - TAIL);
    }
    if !follow {
        console.print(&Answer::Events(Events { events: rows }), false)?;
        return Ok(Exit::Done);
    }
    loop {
        for row in &rows {
            line(row, console)?;
        }
        if client.interrupt.wait(POLL) {
            return Ok(Exit::Interrupted);
        }
        rows = after(last, &mut client)?;
        last = rows.last().map_or(last, |row| row.id);
    }
}

fn after(id: u64, client: &mut Client) -> Result<Vec<EventRow>, Failure> {
    match client.ask(Query::Events { after: id })? {
        Answer::Events(events) => Ok(events.events),
        _ => Err(Failure::unexpected()),
    }
}

/// While following, each event is a line: a document of its own in JSON.
fn line(row: &EventRow, console: &mut Console<'_>) -> Result<(), Failure> {
    let text = if console.json {
        json::document(row, Style::default())
    } else {
        views::event(row, console.style)
    };
    console.write(&text)
}
