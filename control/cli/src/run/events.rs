//! `events`: those that are kept, then new ones as they come.

use std::time::Duration;

use weir_proto::answer::events::EventFilter;
use weir_proto::answer::{Answer, EventRow, Events};
use weir_proto::request::Query;

use super::Console;
use crate::ask::Client;
use crate::exit::{Exit, Failure};
use crate::render::human::plain;
use crate::render::{Style, json, views};

/// How often new events are asked for.
const POLL: Duration = Duration::from_millis(500);

pub(super) fn run(
    follow: bool,
    filter: EventFilter,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let mut client = console.client()?;
    // Without an age one follows what comes.
    let after = if follow && filter.since_ms.is_none() { u64::MAX } else { 0 };
    let page = ask(after, &filter, &mut client)?;
    if !follow {
        console.print(&Answer::Events(page), false)?;
        return Ok(Exit::Done);
    }
    lines(&page.events, console)?;
    let filter = EventFilter { since_ms: None, ..filter };
    Follower { client, filter, start: page.start, last: page.last }.follow(console)
}

/// Shows what comes, also after weir has been restarted.
struct Follower {
    client: Client,
    filter: EventFilter,
    /// The process that `last` is of.
    start: u64,
    /// The number of the last event that there was.
    last: u64,
}

impl Follower {
    fn follow(&mut self, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let mut is_gone = false;
        loop {
            if self.client.interrupt.wait(POLL) {
                return Ok(Exit::Interrupted);
            }
            let asked = if is_gone { self.client.reconnect() } else { Ok(()) };
            match asked.and_then(|()| self.next(is_gone, console)) {
                Ok(()) => is_gone = false,
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

    /// Shows what has come since, and says what cannot be shown any more. Another process numbers
    /// its events from 1.
    fn next(&mut self, was_gone: bool, console: &mut Console<'_>) -> Result<(), Failure> {
        let mut page = ask(self.last, &self.filter, &mut self.client)?;
        let is_another = page.start != self.start;
        if is_another {
            page = ask(0, &self.filter, &mut self.client)?;
            console.say("weir is back, restarted");
        } else if was_gone {
            console.say("weir is back");
        }
        match page.missing {
            0 => {}
            1 => console.say("1 event is no longer kept"),
            missing => console.say(&format!("{missing} events are no longer kept")),
        }
        (self.start, self.last) = (page.start, page.last);
        lines(&page.events, console)
    }
}

fn ask(after: u64, filter: &EventFilter, client: &mut Client) -> Result<Events, Failure> {
    match client.ask(Query::Events { after, filter: filter.clone() })? {
        Answer::Events(events) => Ok(events),
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
