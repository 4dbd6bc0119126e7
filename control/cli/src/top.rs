//! `top`: the live full-screen view. Here are the terminal and the thread that asks.

mod draw;
mod hangup;
mod model;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::layout::{Position, Rect};
use signal_hook::consts::{SIGHUP, SIGTERM};
use weir_proto::answer::Answer;
use weir_proto::request::Query;

use crate::ask::{Client, PATIENCE};
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use model::{Model, Sample};

/// From one look at weir to the next.
const REFRESH: Duration = Duration::from_secs(1);
/// How long a key may wait for the screen to notice that a sample came.
const GLANCE: Duration = Duration::from_millis(50);

/// What the asking thread sends: a sample, or why there is none.
type News = Result<Sample, String>;

/// Shows the view until the operator leaves it.
///
/// # Errors
/// Exit 2 if stdout is not a terminal; whatever keeps the first sample from coming.
pub(crate) fn run(socket: &Path, colour: bool) -> Result<Exit, Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let hint = "without one: weirctl -w status, or weirctl -o json -w stats";
        return Err(Failure::usage("top needs a terminal", hint));
    }
    // Asked before the screen is taken, so that "weir is not running" is an ordinary error.
    let mut client = connect(socket)?;
    let mut model = Model::new(sample(&mut client)?);
    let leave = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&leave)).map_err(terminal_failed)?;
    }
    hangup::watch(Arc::clone(&leave)).map_err(terminal_failed)?;
    let (stop, stopped) = channel();
    let (news, samples) = channel();
    let socket = PathBuf::from(socket);
    let feed = std::thread::Builder::new()
        .name("weirctl-top".into())
        .spawn(move || feed(&socket, client, &news, &stopped))
        .map_err(terminal_failed)?;
    // `try_init` also makes a panic give the terminal back before it is told.
    let shown = ratatui::try_init()
        .and_then(|mut terminal| show(&mut terminal, &mut model, &samples, &leave, colour));
    // Not `restore`: it prints, and panics when nobody reads that.
    let _ = ratatui::try_restore();
    drop(stop);
    // It may be waiting for a daemon that is silent; the process need not.
    if feed.is_finished() {
        let _ = feed.join();
    }
    shown.map_err(terminal_failed)?;
    Ok(Exit::Done)
}

fn terminal_failed(error: io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot use this terminal: {error}"), "weirctl -w status")
}

fn show(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    samples: &Receiver<News>,
    leave: &AtomicBool,
    colour: bool,
) -> io::Result<()> {
    let mut stale = true;
    while !leave.load(Ordering::Relaxed) {
        loop {
            match samples.try_recv() {
                Ok(news) => model.take(news),
                Err(TryRecvError::Empty) => break,
                // Only a panic ends the feed while the view is shown.
                Err(TryRecvError::Disconnected) => {
                    return Err(io::Error::other("the thread that asks weir has ended"));
                }
            }
            stale = true;
        }
        if stale {
            let size = terminal.size()?;
            model.fit(draw::backend_rows(Rect::from((Position::ORIGIN, size)), model));
            terminal.draw(|frame| draw::draw(frame, model, colour))?;
            stale = false;
        }
        if !event::poll(GLANCE)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if model.key(key) {
                    return Ok(());
                }
                stale = true;
            }
            Event::Resize(..) => stale = true,
            _ => {} // The mouse and the focus mean nothing here.
        }
    }
    Ok(())
}

/// Asks once a second; connects again when weir went away. Ends when the view has.
fn feed(socket: &Path, client: Client, news: &Sender<News>, stopped: &Receiver<()>) {
    let mut client = Some(client);
    loop {
        match stopped.recv_timeout(REFRESH) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let result = match client.as_mut() {
            Some(client) => sample(client),
            None => connect(socket).and_then(|mut fresh| {
                let sample = sample(&mut fresh)?;
                client = Some(fresh);
                Ok(sample)
            }),
        };
        if result.is_err() {
            client = None;
        }
        if news.send(result.map_err(|failure| failure.message)).is_err() {
            return;
        }
    }
}

fn connect(socket: &Path) -> Result<Client, Failure> {
    let interrupt = Interrupt::deaf().map_err(terminal_failed)?;
    Client::connect(socket, interrupt, PATIENCE)
}

fn sample(client: &mut Client) -> Result<Sample, Failure> {
    let Answer::Status(status) = client.ask(Query::Status)? else {
        return Err(Failure::unexpected());
    };
    let Answer::Stats(stats) = client.ask(Query::Stats { subject: None })? else {
        return Err(Failure::unexpected());
    };
    let Answer::Backends(backends) = client.ask(Query::BackendList { pool: None })? else {
        return Err(Failure::unexpected());
    };
    Ok(Sample { status, stats, backends: backends.backends })
}

#[cfg(test)]
mod tests;
