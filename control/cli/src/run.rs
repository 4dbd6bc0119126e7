//! Carries out a plan: asks the daemon, prints the answer, decides the exit code.

mod change;
mod config;
mod edit;
mod events;
mod lines;
mod process;
mod sessions;
mod several;

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Duration;

use weir_proto::answer::{Answer, Status};
use weir_proto::request::Command;

use crate::ask::{Client, PATIENCE, interrupted};
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::plan::{Plan, Reading};
use crate::render::human::plain;
use crate::render::{Style, json, views};

/// The operator's end: where answers, talk and questions go, and how they are dressed.
pub(crate) struct Console<'a> {
    /// Data.
    pub(crate) out: &'a mut dyn Write,
    /// Talk: errors, progress, questions.
    pub(crate) err: &'a mut dyn Write,
    pub(crate) input: &'a mut dyn BufRead,
    /// Of stdout.
    pub(crate) style: Style,
    pub(crate) json: bool,
    /// stderr is a terminal.
    pub(crate) progress: bool,
    /// stdin and stderr are a terminal: questions can be asked.
    pub(crate) interactive: bool,
    pub(crate) socket: &'a Path,
    /// The command line, for the history.
    pub(crate) typed: &'a str,
}

impl Console<'_> {
    /// A client that notices Ctrl-C.
    fn client(&mut self) -> Result<Client, Failure> {
        let interrupt = Interrupt::install().map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot watch for Ctrl-C: {error}"), "")
        })?;
        let client = Client::connect(self.socket, interrupt, PATIENCE)?;
        let own = env!("CARGO_PKG_VERSION");
        if self.progress && !self.json && client.program != own {
            let other = plain(&client.program);
            self.say(&format!("note: this is weirctl {own}, that is weir {other}"));
        }
        Ok(client)
    }

    /// A client for a question that is asked before Ctrl-C must mean anything else than "end".
    fn client_before_a_question(&self) -> Result<Client, Failure> {
        let interrupt = Interrupt::deaf().map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot make a socket pair: {error}"), "")
        })?;
        Client::connect(self.socket, interrupt, PATIENCE)
    }

    fn print(&mut self, answer: &Answer, heading: bool) -> Result<(), Failure> {
        let text = if self.json {
            json::answer(answer, self.style)
        } else {
            views::answer(answer, heading, self.style)
        };
        self.write(&text)?;
        match views::after(answer) {
            Some(hint) if self.progress && !self.json => self.say(&hint),
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()?;
        Ok(())
    }

    /// A line on stderr. That nobody can read it stops nothing.
    fn say(&mut self, line: &str) {
        let _ = writeln!(self.err, "{line}");
    }

    /// Asks before traffic is lost.
    ///
    /// # Errors
    /// Exit 2 if the answer is not yes, or if there is nobody to ask.
    fn confirm(&mut self, what: &str, yes: bool) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if !self.interactive {
            let message = format!("{what}; there is no terminal to ask on");
            return Err(Failure::usage(message, "add --yes to do it, or --dry-run to see"));
        }
        let _ = write!(self.err, "{}. Go on? [y/N] ", plain(what));
        let _ = self.err.flush();
        let mut line = String::new();
        let read = self.input.read_line(&mut line);
        if read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
        Err(Failure::usage("not done", ""))
    }
}

/// Carries out `plan`, again every `watch` if that is given.
///
/// # Errors
/// Everything that keeps the plan from being done, with its exit code.
pub(crate) fn run(
    plan: Plan,
    watch: Option<Duration>,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    match plan {
        Plan::Read(reading) => read(&reading, watch, console),
        Plan::Top => crate::top::run(console.socket, console.style.colour),
        Plan::Events { follow, filter } => events::run(follow, filter, console),
        Plan::Change(changing) => change::run(&changing, console),
        Plan::Several(asked) => several::run(&asked, console),
        Plan::Task(request) => change::task(request, console),
        Plan::Kill(killing) => sessions::kill(&killing, console),
        Plan::Apply { file, mode, force, options } => {
            config::apply(&file, (mode, force), options, console)
        }
        Plan::Edit { force, options } => edit::run(force, options, console),
        Plan::Diff { target, to } => config::diff(target.as_deref(), to, console),
        Plan::Drain { dry_run, yes } => process::drain(dry_run, yes, console),
        Plan::Ready { dry_run } => process::ready(dry_run, console),
        Plan::Upgrade { program, shards, dry_run } => {
            process::upgrade(Command::Upgrade { program, shards, dry_run }, console)
        }
        Plan::Stop { drain, dry_run, yes } => process::stop(drain, dry_run, yes, console),
        Plan::Completions(shell) => {
            console.write(&crate::complete::script(&shell.to_string())?).map(done)
        }
        Plan::Man => console.write(&crate::manual::page()).map(done),
    }
}

fn done((): ()) -> Exit {
    Exit::Done
}

fn read(
    reading: &Reading,
    watch: Option<Duration>,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let mut client = console.client()?;
    let Some(pause) = watch else {
        let answer = ask(reading, &mut client)?;
        console.print(&answer, reading.heading)?;
        return verdict(reading, &answer);
    };
    let screen = console.style.human && !console.json;
    let mut first = true;
    loop {
        let answer = ask(reading, &mut client)?;
        if screen {
            // Home, and clear below: the screen before stays in the scroll-back.
            console.write(if first { "\x1b[2J\x1b[H" } else { "\x1b[H\x1b[J" })?;
        } else if !first && !console.json {
            console.write("\n")?;
        }
        console.print(&answer, reading.heading)?;
        if screen {
            console.write(&format!("\nevery {} s; Ctrl-C ends\n", pause.as_secs_f64()))?;
        }
        first = false;
        if client.interrupt.wait(pause) {
            return Ok(Exit::Interrupted);
        }
    }
}

/// The answer, of backends those in the states that were asked for.
fn ask(reading: &Reading, client: &mut Client) -> Result<Answer, Failure> {
    let mut answer = client.ask(reading.query.clone())?;
    if let Answer::Backends(body) = &mut answer
        && !reading.states.is_empty()
    {
        body.backends.retain(|row| reading.states.contains(&row.state));
    }
    Ok(answer)
}

/// `status --check` says no with its exit code, and why on stderr.
fn verdict(reading: &Reading, answer: &Answer) -> Result<Exit, Failure> {
    match answer {
        Answer::Status(status) if reading.check => match empty_pools(status).as_slice() {
            [] => Ok(Exit::Done),
            pools => Err(Failure::new(
                Exit::No,
                format!("no backend can take sessions in: {}", pools.join(", ")),
                format!("weirctl backend list {}", pools[0]),
            )),
        },
        _ => Ok(Exit::Done),
    }
}

fn empty_pools(status: &Status) -> Vec<&str> {
    let empty = status.pools.iter().filter(|pool| pool.backends_up == 0);
    empty.map(|pool| pool.name.as_str()).collect()
}

/// The failure that Ctrl-C makes of a wait, if it came.
fn unless_interrupted(came: bool, goes_on: &str) -> Result<(), Failure> {
    if came { Err(interrupted(goes_on)) } else { Ok(()) }
}
