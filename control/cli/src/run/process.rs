//! `drain`, `ready`, `upgrade` and `stop`: they are about the process and make no version.

use std::time::Duration;

use serde::Serialize;
use weir_proto::answer::{Answer, ProcessState, Said, Status};
use weir_proto::request::{Command, Query};
use weir_proto::spec::Span;

use super::Console;
use crate::ask::Client;
use crate::exit::{Exit, Failure};
use crate::render::human::plain;
use crate::render::json;

/// How much longer than its drain a stop may take.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// The JSON output of `drain`, `ready`, `upgrade` and `stop`, with the keys of every change.
#[derive(Serialize)]
struct Turned<'a> {
    version: u64,
    before: State<'a>,
    after: State<'a>,
    text: &'a str,
    dry_run: bool,
}

#[derive(Serialize)]
struct State<'a> {
    state: &'a str,
    sessions: u64,
}

pub(super) fn drain(dry_run: bool, yes: bool, console: &mut Console<'_>) -> Result<Exit, Failure> {
    if !dry_run && !yes {
        let now = status(&mut console.client_before_a_question()?)?;
        let open = now.listeners.len();
        if now.state == ProcessState::Serving && open > 0 {
            let loss = format!("{open} listeners would accept no more clients until weirctl ready");
            console.confirm(&loss, yes)?;
        }
    }
    let mut client = console.client()?;
    let before = status(&mut client)?;
    if dry_run {
        let text = format!(
            "would stop accepting on {} listeners; {} sessions would run on",
            before.listeners.len(),
            sessions(&before)
        );
        return turned(&before, ("draining", &text), true, console);
    }
    let Answer::Said(Said { text }) = client.ask(Command::Drain)? else {
        return Err(Failure::unexpected());
    };
    let text = format!("{text}\nundo: weirctl ready");
    turned(&before, ("draining", &text), false, console)
}

pub(super) fn ready(dry_run: bool, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut client = console.client()?;
    let before = status(&mut client)?;
    if dry_run {
        let text = match before.state {
            ProcessState::Serving => "weir serves already".to_owned(),
            _ => format!("would accept again on {} listeners", before.listeners.len()),
        };
        return turned(&before, ("serving", &text), true, console);
    }
    let Answer::Said(Said { text }) = client.ask(Command::Ready)? else {
        return Err(Failure::unexpected());
    };
    let text = match before.state {
        ProcessState::Serving => text,
        _ => format!("{text}\nundo: weirctl drain --yes"),
    };
    turned(&before, ("serving", &text), false, console)
}

pub(super) fn upgrade(command: Command, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let dry_run = command.is_dry_run();
    let mut client = console.client()?;
    let before = status(&mut client)?;
    if !dry_run {
        console.say("a new weir starts and takes over; sessions go on");
    }
    let Answer::Said(Said { text }) = client.ask(command)? else {
        return Err(Failure::unexpected());
    };
    turned(&before, ("serving", &text), dry_run, console)
}

pub(super) fn stop(
    drain: Option<Span>,
    dry_run: bool,
    yes: bool,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    if !dry_run && drain.is_none() && !yes {
        let open = sessions(&status(&mut console.client_before_a_question()?)?);
        if open > 0 {
            let loss = format!("{open} sessions would be cut (--drain 30s lets them end)");
            console.confirm(&loss, yes)?;
        }
    }
    let mut client = console.client()?;
    let before = status(&mut client)?;
    if dry_run {
        let open = sessions(&before);
        let text = match drain {
            Some(span) => format!("would give {open} sessions {span} to end, then leave"),
            None => format!("would cut {open} sessions and leave"),
        };
        return turned(&before, ("stopped", &text), true, console);
    }
    if let Some(span) = drain {
        console.say(&format!("stopping; time to end: {span}, sessions: {}", sessions(&before)));
    }
    let command = Command::Stop { drain_ms: drain.map(|span| span.millis) };
    let text = match client.ask(command) {
        Ok(Answer::Said(Said { text })) => text,
        Ok(_) => return Err(Failure::unexpected()),
        // It may leave before its answer is through; `wait_gone` below sees that it has.
        Err(failure) if failure.code == Client::CLOSED => String::new(),
        Err(failure) => return Err(failure),
    };
    let patience = STOP_SLACK + Duration::from_millis(drain.map_or(0, |span| span.millis));
    if !client.wait_gone(patience)? {
        let message = "weir was told to stop and is still there";
        return Err(Failure::new(Exit::TimedOut, message, "weirctl status"));
    }
    let text = if text.is_empty() { "weir has stopped".to_owned() } else { text };
    turned(&before, ("stopped", &text), false, console)
}

fn status(client: &mut Client) -> Result<Status, Failure> {
    match client.ask(Query::Status)? {
        Answer::Status(status) => Ok(status),
        _ => Err(Failure::unexpected()),
    }
}

fn sessions(status: &Status) -> u64 {
    status.shards.iter().map(|shard| shard.sessions).sum()
}

fn turned(
    before: &Status,
    (after, text): (&str, &str),
    dry_run: bool,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let sessions = sessions(before);
    if console.json {
        let left = if after == "stopped" { 0 } else { sessions };
        let body = Turned {
            version: before.version,
            before: State { state: before.state.word(), sessions },
            after: State { state: after, sessions: left },
            text: text.lines().next().unwrap_or_default(),
            dry_run,
        };
        console.write(&json::document(&body, console.style))?;
        return Ok(Exit::Done);
    }
    let mut lines = format!("weir: {} → {after}\n", before.state.word());
    for line in text.lines() {
        lines += &format!("{}\n", plain(line));
    }
    if dry_run {
        lines += "dry run: nothing was changed\n";
    }
    console.write(&lines)?;
    Ok(Exit::Done)
}
