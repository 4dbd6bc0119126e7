//! `top`: the live full-screen view. Here are the terminal and the loop; [`model`] knows, [`draw`]
//! shows, [`feed`] asks.

mod draw;
mod feed;
mod hangup;
mod model;
mod news;
mod wrap;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGTERM};

use crate::clock;
use crate::exit::{Exit, Failure};
use feed::Link;
use model::Model;
use news::{News, Order};

/// How long a key may wait for the screen to notice that something came.
const GLANCE: Duration = Duration::from_millis(50);

/// Shows the view until the operator leaves it.
///
/// # Errors
/// Exit 2 if stdout is not a terminal; whatever keeps the first figures from coming.
pub(crate) fn run(socket: &Path, colour: bool) -> Result<Exit, Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let hint = "without one: weirctl -w status, or weirctl -o json -w stats";
        return Err(Failure::usage("top needs a terminal", hint));
    }
    let mut link = Link::open(socket)?;
    let mut model = Model::new(colour);
    for first in link.look() {
        if let News::Away(why) = first {
            return Err(Failure::new(Exit::Unreachable, why, "weirctl status"));
        }
        model.take(first);
    }
    let leave = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&leave)).map_err(terminal_failed)?;
    }
    hangup::watch(Arc::clone(&leave)).map_err(terminal_failed)?;
    let (orders, ordered) = channel();
    let (reports, news) = channel();
    let feed = std::thread::Builder::new()
        .name("weirctl-top".into())
        .spawn(move || link.run(&reports, &ordered))
        .map_err(terminal_failed)?;
    // `try_init` also makes a panic give the terminal back before it is told.
    let shown = ratatui::try_init()
        .and_then(|mut terminal| show(&mut terminal, &mut model, &news, &orders, &leave));
    // Not `restore`: it prints, and panics when nobody reads that.
    let _ = ratatui::try_restore();
    drop(orders);
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
    news: &Receiver<News>,
    orders: &Sender<Order>,
    leave: &AtomicBool,
) -> io::Result<()> {
    let start = clock::now();
    let mut stale = true;
    while !leave.load(Ordering::Relaxed) {
        loop {
            match news.try_recv() {
                Ok(news) => model.take(news),
                Err(TryRecvError::Empty) => break,
                // Only a panic ends the feed while the view is shown.
                Err(TryRecvError::Disconnected) => {
                    return Err(io::Error::other("the thread that asks weir has ended"));
                }
            }
            stale = true;
        }
        stale |= model.tick(start.elapsed());
        if stale {
            let size = terminal.size()?;
            draw::fit(model, size.width, size.height);
            terminal.draw(|frame| draw::draw(frame, model))?;
            stale = false;
        }
        for order in model.orders() {
            // If the thread has ended, the loop above notices it.
            let _ = orders.send(order);
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

#[cfg(test)]
mod tests;
