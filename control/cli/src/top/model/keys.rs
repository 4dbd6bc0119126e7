//! Keys and their effects on the view.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use weir_proto::answer::{SessionRow, TaskRow};
use weir_proto::request::ChangeRequest;
use weir_proto::session::SessionSort;
use weir_proto::spec::Admin;

use super::{Dialog, Form, Model, Notice, Reach, Scope, Sort, Subject, View, running};
use crate::render::human::seconds;
use crate::render::{Style, Tone};
use crate::top::news::{Deed, Order, Proposal};
use crate::top::wrap::room;

const HUMAN: Style = Style { human: true, colour: false };
/// Letters of a filter.
const FILTER_MAX: usize = 64;

/// The one after `now`, or before it; after the last one comes the first.
fn next<T: Copy + PartialEq, const N: usize>(all: [T; N], now: T, step: isize) -> T {
    let at = all.iter().position(|it| *it == now).unwrap_or(0);
    all[(at + N).saturating_add_signed(step) % N]
}

impl Model {
    /// Obeys a key. True if it ends the view.
    pub(in crate::top) fn key(&mut self, key: KeyEvent) -> bool {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return key.code == KeyCode::Char('c');
        }
        if self.typing.is_some() {
            self.type_filter(key.code);
        } else if self.dialog != Dialog::None {
            self.answer(key.code);
        } else {
            match key.code {
                KeyCode::Char('q') => return true,
                code => self.command(code),
            }
        }
        self.settle();
        false
    }

    /// The filter is in force as it is typed.
    fn type_filter(&mut self, code: KeyCode) {
        let Some(typed) = &mut self.typing else { return };
        match code {
            KeyCode::Enter => {
                self.typing = None;
                return;
            }
            KeyCode::Esc => {
                (self.typing, self.filter) = (None, String::new());
                return;
            }
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Char(letter) if typed.chars().count() < FILTER_MAX => typed.push(letter),
            _ => return,
        }
        self.filter.clone_from(typed);
    }

    /// A key while a dialog is open. Only `y` is a yes.
    fn answer(&mut self, code: KeyCode) {
        let room = room(self.screen);
        let far = isize::try_from(room.1).unwrap_or(isize::MAX);
        let by = match code {
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::PageUp => -far,
            KeyCode::PageDown => far,
            KeyCode::Home | KeyCode::Char('g') => isize::MIN,
            KeyCode::End | KeyCode::Char('G') => isize::MAX,
            _ => 0,
        };
        if by != 0 && self.dialog.scroll(by, room) {
            return;
        }
        match std::mem::take(&mut self.dialog) {
            Dialog::Question { proposal, version, .. } if code == KeyCode::Char('y') => {
                self.orders.push(Order::Do(proposal.clone(), version));
                self.dialog = Dialog::Doing(proposal);
            }
            Dialog::Question { proposal: Proposal { deed: Deed::Cancel(id), .. }, .. }
                if code == KeyCode::Char('X') =>
            {
                self.cancel_task(Some(id));
            }
            Dialog::Question { proposal, .. } => {
                let text = format!("not done: {}", proposal.command);
                self.notice = Some(Notice::new(Tone::Plain, text));
            }
            dialog @ (Dialog::Trying(_) | Dialog::Doing(_))
                if !matches!(code, KeyCode::Esc | KeyCode::Char('q')) =>
            {
                self.dialog = dialog;
            }
            Dialog::Doing(proposal) => {
                let text = format!("{}: it goes on", proposal.command);
                self.notice = Some(Notice::new(Tone::Warn, text));
            }
            Dialog::None | Dialog::Help | Dialog::Trying(_) | Dialog::Detail { .. } => {}
        }
    }

    fn command(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.dialog = Dialog::Help,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => self.typing = Some(self.filter.clone()),
            KeyCode::Char('s') => self.sort_by(1),
            KeyCode::Char('S') => self.sort_by(-1),
            KeyCode::Char('t') if self.view == View::Overview => {
                self.form = next(Form::ALL, self.form, 1);
                self.cursor.home();
            }
            KeyCode::Tab => self.turn(1),
            KeyCode::BackTab => self.turn(-1),
            KeyCode::Char(digit @ '1'..='3') => {
                let index = usize::from(digit == '2') + 2 * usize::from(digit == '3');
                self.show(View::ALL[index]);
            }
            KeyCode::Esc => self.back(),
            KeyCode::Enter => self.enter(),
            KeyCode::Char('d') => self.admin("drain", Admin::Drain),
            KeyCode::Char('r') => self.admin("ready", Admin::Ready),
            KeyCode::Char('m') => self.admin("maint", Admin::Maint),
            KeyCode::Char('x') => self.kill(),
            KeyCode::Char('X') => self.cancel_task(None),
            KeyCode::Char('c') => self.confirm(),
            KeyCode::Char('a') => self.show_alerts(),
            code => self.steer(code),
        }
    }

    fn steer(&mut self, code: KeyCode) {
        let cursor = self.shown_cursor();
        match code {
            KeyCode::Up | KeyCode::Char('k') => cursor.step(-1),
            KeyCode::Down | KeyCode::Char('j') => cursor.step(1),
            KeyCode::PageUp => cursor.step_page(false),
            KeyCode::PageDown => cursor.step_page(true),
            KeyCode::Home | KeyCode::Char('g') => cursor.home(),
            KeyCode::End | KeyCode::Char('G') => cursor.step(isize::MAX),
            _ => {} // Other keys mean nothing.
        }
    }

    fn sort_by(&mut self, step: isize) {
        match self.view {
            View::Overview => {
                self.sort = next(Sort::ALL, self.sort, step);
                self.cursor.home();
            }
            View::Sessions => {
                self.session_sort = next(SessionSort::ALL, self.session_sort, step);
                self.session_cursor.home();
            }
            View::Events => {}
        }
    }

    fn turn(&mut self, step: isize) {
        self.show(next(View::ALL, self.view, step));
    }

    /// A filter belongs to its view.
    fn show(&mut self, view: View) {
        if self.view != view {
            (self.view, self.scope) = (view, Scope::default());
            self.filter.clear();
            self.sessions = Ok(None);
        }
    }

    /// Takes back the last thing that narrows the view.
    fn back(&mut self) {
        if self.notice.take().is_some() {
        } else if !self.filter.is_empty() {
            self.filter.clear();
        } else {
            self.show(View::Overview);
        }
    }

    /// Looks into what the cursor is on.
    fn enter(&mut self) {
        match self.view {
            View::Overview => {
                self.cursor.hold();
                let mut scope = Scope::default();
                match self.subject() {
                    Some(Subject::Listener(name)) => scope.listener = Some(name),
                    Some(Subject::Pool(name)) => scope.pool = Some(name),
                    Some(Subject::Backend { name, .. }) => scope.backend = Some(name),
                    None => return,
                }
                self.show(View::Sessions);
                self.scope = scope;
                self.session_cursor.home();
            }
            View::Sessions => {
                self.session_cursor.hold();
                let Some(id) = self.session().map(|row| row.id.clone()) else { return };
                self.dialog = Dialog::of_session(&id);
                self.orders.push(Order::Show(id));
            }
            View::Events => {
                self.event_cursor.hold();
                let shown = self.shown_events();
                let Some(event) = shown.get(self.event_cursor.index()) else { return };
                let about = format!("{} {} {}", event.at, event.kind.word(), event.subject);
                self.dialog = Dialog::detail("Event", vec![about, event.text.clone()]);
            }
        }
    }

    /// Everything that is wrong, in full.
    fn show_alerts(&mut self) {
        let lines = self.alerts.iter();
        let lines = lines.map(|it| format!("{} {}  {}", it.word(), it.subject, it.text));
        let mut lines: Vec<String> = lines.collect();
        if lines.is_empty() {
            lines.push("nothing is wrong".to_owned());
        }
        self.dialog = Dialog::detail("Alerts", lines);
    }

    /// The session under the cursor.
    fn session(&self) -> Option<&SessionRow> {
        self.listed().get(self.session_cursor.index()).copied()
    }

    fn admin(&mut self, word: &str, state: Admin) {
        self.cursor.hold();
        let (object, name, change) = match self.subject().filter(|_| self.view == View::Overview) {
            Some(Subject::Backend { name, removed: false }) => {
                let change = ChangeRequest::BackendState { name: name.clone(), state };
                ("backend", name, change)
            }
            Some(Subject::Listener(name)) if state != Admin::Maint => {
                let change = ChangeRequest::ListenerState { name: name.clone(), state };
                ("listener", name, change)
            }
            _ => {
                let on =
                    if state == Admin::Maint { "a backend" } else { "a backend or a listener" };
                let text = format!("{word} needs {on} under the cursor (j, k; 1 is the overview)");
                self.notice = Some(Notice::new(Tone::Warn, text));
                return;
            }
        };
        let command = format!("weirctl {object} {word} {name}");
        self.try_out(Proposal { deed: Deed::Change(change), command });
    }

    fn kill(&mut self) {
        self.session_cursor.hold();
        let row = self.session().filter(|_| self.view == View::Sessions);
        let Some(SessionRow { id, client, pool, backend, age_s, .. }) = row.cloned() else {
            let text = "x ends a session: choose one (2 is the list of them)";
            self.notice = Some(Notice::new(Tone::Warn, text));
            return;
        };
        let command = format!("weirctl session kill {id}");
        let who = client.unwrap_or_else(|| "a client that has reset".to_owned());
        let lines = vec![
            format!("session {id} is cut: both sides are reset"),
            format!("it is of {who} with {}", backend.unwrap_or(pool)),
            format!("and {} old", seconds(age_s, HUMAN)),
        ];
        self.ask(Proposal { deed: Deed::Kill(id), command }, lines, None);
    }

    /// Asks about the newest task that runs, or about the one that began before `after`; after the
    /// oldest comes the newest again.
    fn cancel_task(&mut self, after: Option<u64>) {
        let running = self.figures.as_ref().map(running).unwrap_or_default();
        let before = running.iter().position(|it| after.is_some_and(|after| it.id < after));
        let at = before.unwrap_or(0);
        let Some(TaskRow { id, kind, subject, done, total, .. }) = running.get(at).copied() else {
            let text = "X cancels a task: none runs";
            self.notice = Some(Notice::new(Tone::Plain, text));
            return;
        };
        let kind = kind.word().replace('_', " ");
        let mut lines = vec![
            format!("task {id}, {kind} of {subject}: no more of its sessions are ended"),
            format!("{done} of {total} have ended; that stays as it is"),
        ];
        if running.len() > 1 {
            let (place, all) = (at + 1, running.len());
            lines.push(format!("this is task {place} of {all}, the newest first: X is the next"));
        }
        let (deed, command) = (Deed::Cancel(*id), format!("weirctl task cancel {id}"));
        self.ask(Proposal { deed, command }, lines, None);
    }

    fn confirm(&mut self) {
        let terms = self.figures.as_ref().and_then(|it| it.status.unconfirmed.as_ref());
        let Some(terms) = terms else {
            let text = "no version waits for its confirmation";
            self.notice = Some(Notice::new(Tone::Plain, text));
            return;
        };
        let lines = vec![format!(
            "version {} stays; it is not rolled back to {}",
            terms.version, terms.rolls_back_to
        )];
        let deed = Deed::Change(ChangeRequest::Confirm);
        let version = Some(terms.version);
        self.ask(Proposal { deed, command: "weirctl config confirm".to_owned() }, lines, version);
    }

    fn try_out(&mut self, proposal: Proposal) {
        if self.is_reached() {
            self.orders.push(Order::Try(proposal.clone()));
            self.dialog = Dialog::Trying(proposal);
        }
    }

    /// `version`: the one that was looked at, if it matters.
    fn ask(&mut self, proposal: Proposal, lines: Vec<String>, version: Option<u64>) {
        if self.is_reached() {
            self.dialog = Dialog::Question { proposal, lines, version };
        }
    }

    /// Says that nothing can be done while weir is away.
    fn is_reached(&mut self) -> bool {
        let is_there = self.reach() == Reach::There;
        if !is_there {
            let text = "weir does not answer: nothing can be changed now";
            self.notice = Some(Notice::new(Tone::Bad, text));
        } else {
            self.notice = None;
        }
        is_there
    }
}
