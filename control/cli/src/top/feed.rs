//! The thread that asks weir: figures once a second, what the view orders at once, and again after
//! weir was away.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use weir_proto::answer::events::EventFilter;
use weir_proto::answer::{Answer, Changed};
use weir_proto::request::{ChangeOptions, Command, Query, SessionKill, TaskRequest};

use super::news::{Deed, Look, News, Order, Outcome, Proposal};
use crate::ask::{Client, PATIENCE};
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::render::{Style, views};

/// From one look at weir to the next.
const REFRESH: Duration = Duration::from_secs(1);
/// The least time from one list of sessions to the next.
const LIST_PAUSE: Duration = Duration::from_secs(2);
/// How much longer than its making the pause after a list is: it costs weir 2 % of a core at most.
const LIST_SHARE: u32 = 50;
/// Events that are asked for at the start.
const EVENTS_FIRST: u64 = 200;

/// The connection to weir, and how far it has been read.
pub(super) struct Link {
    socket: PathBuf,
    /// `None` while weir is away.
    client: Option<Client>,
    /// The history was given since the last connect.
    has_history: bool,
    /// The process whose events were given, and the newest of them.
    events: Option<u64>,
    look: Option<Look>,
    /// When sessions are listed next.
    list_at: Instant,
}

impl Link {
    /// Connects, so that "weir is not running" is an ordinary error before the screen is taken.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub(super) fn open(socket: &Path) -> Result<Link, Failure> {
        Ok(Link {
            socket: socket.to_owned(),
            client: Some(connect(socket)?),
            has_history: false,
            events: None,
            look: None,
            list_at: clock::now(),
        })
    }

    /// Answers orders and looks at weir until the view is gone.
    pub(super) fn run(mut self, news: &Sender<News>, orders: &Receiver<Order>) {
        let mut due = clock::now() + REFRESH;
        loop {
            let more = match orders.recv_timeout(due.saturating_duration_since(clock::now())) {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {
                    due = clock::now() + REFRESH;
                    self.look()
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if more.into_iter().any(|more| news.send(more).is_err()) {
                return;
            }
        }
    }

    /// Asks for what is new: the figures of this second first.
    pub(super) fn look(&mut self) -> Vec<News> {
        let mut found = Vec::new();
        if let Err(failure) = self.look_into(&mut found) {
            self.lost();
            found.push(News::Away(failure.message));
        }
        found
    }

    fn look_into(&mut self, found: &mut Vec<News>) -> Result<(), Failure> {
        let history = !self.has_history;
        let Answer::Live(live) = self.ask(Query::Live { history })? else {
            return Err(Failure::unexpected());
        };
        self.has_history = true;
        let newest = live.figures.last_event;
        found.push(News::Figures(live));
        if self.events.is_none_or(|seen| seen != newest) {
            let after = self.events.unwrap_or(newest.saturating_sub(EVENTS_FIRST));
            let Answer::Events(events) =
                self.ask(Query::Events { after, filter: EventFilter::default() })?
            else {
                return Err(Failure::unexpected());
            };
            self.events = Some(events.last);
            found.push(News::Events(events));
        }
        if clock::now() >= self.list_at {
            found.extend(self.list());
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) -> Vec<News> {
        let news = match order {
            Order::Look(look) => {
                self.look = look;
                return self.list().into_iter().collect();
            }
            Order::Try(proposal) => {
                let tried = self.try_out(&proposal);
                News::Tried(proposal, tried)
            }
            Order::Do(proposal, version) => {
                let outcome = self.carry_out(&proposal, version);
                let did = News::Did(proposal, outcome);
                // The list shows it at once.
                return std::iter::once(did).chain(self.list()).collect();
            }
            Order::Show(id) => {
                let text = self.ask(Query::SessionShow { id: id.clone() }).map(|answer| {
                    views::answer(&answer, false, Style { human: true, colour: false })
                });
                News::Shown(id, text)
            }
        };
        vec![news]
    }

    fn list(&mut self) -> Option<News> {
        let look = self.look.clone()?;
        let Look { filter, sort, limit } = look.clone();
        let before = clock::now();
        let listed = match self.ask(Query::SessionList { filter, sort, limit }) {
            Ok(Answer::Sessions(sessions)) => Ok(sessions),
            Ok(_) => Err(Failure::unexpected()),
            Err(failure) => Err(failure),
        };
        let now = clock::now();
        self.list_at = now + LIST_PAUSE.max((now - before) * LIST_SHARE);
        Some(News::Listed(look, listed))
    }

    fn try_out(&mut self, proposal: &Proposal) -> Result<Box<Changed>, Failure> {
        let options = ChangeOptions { dry_run: true, ..ChangeOptions::default() };
        self.change(proposal, options)
    }

    fn carry_out(
        &mut self,
        proposal: &Proposal,
        if_version: Option<u64>,
    ) -> Result<Outcome, Failure> {
        let answer = match &proposal.deed {
            Deed::Change(_) => {
                // What would be lost was in the question.
                let mut options =
                    ChangeOptions { if_version, yes: true, ..ChangeOptions::default() };
                options.note.command = Some(proposal.command.clone());
                return self.change(proposal, options).map(Outcome::Changed);
            }
            Deed::Kill(id) => {
                let kill = SessionKill { ids: vec![id.clone()], ..SessionKill::default() };
                self.ask(Command::SessionKill(kill))?
            }
            Deed::Cancel(id) => self.ask(Command::Task(TaskRequest::Cancel { id: *id }))?,
        };
        match answer {
            Answer::Killed(killed) => Ok(Outcome::Killed(killed)),
            Answer::Task(task) => Ok(Outcome::Cancelled(task)),
            _ => Err(Failure::unexpected()),
        }
    }

    fn change(
        &mut self,
        proposal: &Proposal,
        options: ChangeOptions,
    ) -> Result<Box<Changed>, Failure> {
        let Deed::Change(change) = proposal.deed.clone() else {
            return Err(Failure::usage("only a change can be tried", ""));
        };
        match self.ask(Command::Change { change, options })? {
            Answer::Changed(changed) => Ok(Box::new(changed)),
            _ => Err(Failure::unexpected()),
        }
    }

    /// Asks, after a connect where weir was away.
    fn ask(&mut self, request: impl Into<weir_proto::request::Request>) -> Result<Answer, Failure> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(connect(&self.socket)?),
        };
        let answer = client.ask(request);
        if answer.as_ref().is_err_and(|why| why.exit == Exit::Unreachable) {
            self.lost();
        }
        answer
    }

    /// Forgets the connection: the next one may be to another process.
    fn lost(&mut self) {
        self.client = None;
        self.has_history = false;
        self.events = None;
    }
}

fn connect(socket: &Path) -> Result<Client, Failure> {
    let broken = |error: io::Error| {
        Failure::new(Exit::Failed, format!("cannot make a socket pair: {error}"), "weirctl status")
    };
    Client::connect(socket, Interrupt::deaf().map_err(broken)?, PATIENCE)
}
