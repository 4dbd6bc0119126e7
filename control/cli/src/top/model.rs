//! The state of `top`: the figures, and the choices of the keys. Pure: news and keys in, orders
//! out; the time is an argument.

mod alerts;
mod cursor;
mod dialog;
mod history;
mod keys;
mod rows;

use std::collections::VecDeque;
use std::time::Duration;

use weir_proto::answer::{
    EventRow, Events, Live, LiveFigures, LivePoint, SessionRow, Sessions, TaskRow, TaskState,
};
use weir_proto::network::Network;
use weir_proto::session::{SessionFilter, SessionSort};

use crate::exit::Failure;
use crate::render::Tone;

use super::news::{Look, News, Order, follows};
pub(super) use alerts::Alert;
use alerts::Failures;
use cursor::Cursor;
pub(super) use dialog::{Dialog, Notice};
pub(super) use history::{Figure, History};
pub(super) use rows::{Form, Row, Sort, Subject, pool_of};

/// Events that are kept.
const EVENTS_MAX: usize = 1000;
/// Sessions in the list of them, and in the panel of the overview.
const SESSIONS_MAX: u32 = 500;
const PANEL_MAX: u32 = 40;
/// Without figures for so long weir is silent.
const SILENT: Duration = Duration::from_secs(3);

/// The part of weir that the screen is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    Sessions,
    Events,
}

impl View {
    pub(super) const ALL: [View; 3] = [View::Overview, View::Sessions, View::Events];
}

/// How weir stands to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Its figures come.
    There,
    /// It is connected and says nothing, for this time.
    Silent(Duration),
    /// It cannot be reached, for this time, and why.
    Away(Duration, String),
}

/// The sessions whose list is shown: those of one part of weir.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) pool: Option<String>,
    pub(super) backend: Option<String>,
    pub(super) listener: Option<String>,
}

impl Scope {
    /// Its words, or none.
    pub(super) fn words(&self) -> Option<String> {
        let parts =
            [("pool", &self.pool), ("backend", &self.backend), ("listener", &self.listener)];
        parts.into_iter().find_map(|(kind, name)| Some(format!("{kind} {}", name.as_ref()?)))
    }
}

/// The state of the view.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) colour: bool,
    /// `None` before the first second.
    pub(super) figures: Option<LiveFigures>,
    pub(super) history: History,
    pub(super) alerts: Vec<Alert>,
    failures: Failures,
    /// The newest last.
    pub(super) events: VecDeque<EventRow>,
    events_start: u64,
    pub(super) sessions: Result<Option<Sessions>, Failure>,
    pub(super) view: View,
    pub(super) sort: Sort,
    pub(super) session_sort: SessionSort,
    pub(super) form: Form,
    pub(super) filter: String,
    /// The filter that is being typed.
    pub(super) typing: Option<String>,
    pub(super) scope: Scope,
    pub(super) dialog: Dialog,
    pub(super) notice: Option<Notice>,
    /// The screen stays as it is.
    pub(super) is_paused: bool,
    /// Points and events that came while it was paused.
    held: Vec<LivePoint>,
    held_events: Vec<Events>,
    /// Why weir is away.
    away: Option<String>,
    /// When the last figures came; times are since the start of the view.
    fresh_at: Duration,
    now: Duration,
    /// The rows of the overview.
    pub(super) rows: Vec<Row>,
    pub(super) cursor: Cursor,
    pub(super) session_cursor: Cursor,
    pub(super) event_cursor: Cursor,
    /// There is room for sessions in the overview.
    has_panel: bool,
    /// Columns and rows.
    screen: (u16, u16),
    looked: Option<Look>,
    orders: Vec<Order>,
}

impl Model {
    pub(super) fn new(colour: bool) -> Model {
        Model {
            colour,
            figures: None,
            history: History::default(),
            alerts: Vec::new(),
            failures: Failures::default(),
            events: VecDeque::new(),
            events_start: 0,
            sessions: Ok(None),
            view: View::Overview,
            sort: Sort::Name,
            session_sort: SessionSort::Rate,
            form: Form::Tree,
            filter: String::new(),
            typing: None,
            scope: Scope::default(),
            dialog: Dialog::None,
            notice: None,
            is_paused: false,
            held: Vec::new(),
            held_events: Vec::new(),
            away: None,
            fresh_at: Duration::ZERO,
            now: Duration::ZERO,
            rows: Vec::new(),
            cursor: Cursor::default(),
            session_cursor: Cursor::default(),
            event_cursor: Cursor::default(),
            has_panel: false,
            screen: (0, 0),
            looked: None,
            orders: Vec::new(),
        }
    }

    /// Takes in the time since the start of the view. True if a second has begun: what says "for
    /// how long" is no longer right.
    pub(super) fn tick(&mut self, now: Duration) -> bool {
        let before = std::mem::replace(&mut self.now, now);
        before.as_secs() != now.as_secs()
    }

    /// The orders since the last call.
    pub(super) fn orders(&mut self) -> Vec<Order> {
        let look = self.look();
        if self.looked != look {
            self.looked.clone_from(&look);
            self.orders.push(Order::Look(look));
        }
        std::mem::take(&mut self.orders)
    }

    /// Takes in a report. A pause holds what is shown, and misses nothing of the history.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Figures(live) => self.take_figures(*live),
            News::Events(events) => self.take_events(events),
            News::Away(why) => self.away = Some(why),
            News::Listed(look, listed) => {
                // An older one may come after the next order.
                if Some(&look) == self.looked.as_ref() && !self.is_paused {
                    self.sessions = listed.map(Some);
                    self.settle();
                }
            }
            News::Tried(proposal, tried) => {
                // It was given up meanwhile.
                if self.dialog != Dialog::Trying(proposal.clone()) {
                    return;
                }
                self.dialog = Dialog::None;
                match tried {
                    Ok(changed) if changed.changes.is_empty() => {
                        let text = format!("{}: it is so already", proposal.command);
                        self.notice = Some(Notice::new(Tone::Plain, text));
                    }
                    Ok(changed) => self.dialog = Dialog::question(proposal, &changed),
                    Err(failure) => self.notice = Some(Notice::refused(&proposal, failure)),
                }
            }
            News::Did(proposal, outcome) => {
                if self.dialog == Dialog::Doing(proposal.clone()) {
                    self.dialog = Dialog::None;
                }
                self.notice = Some(Notice::of(&proposal, outcome));
            }
            News::Shown(id, text) => self.dialog.shown(&id, text),
        }
    }

    fn take_figures(&mut self, live: Live) {
        (self.away, self.fresh_at) = (None, self.now);
        if let Some(kept) = &live.history {
            self.history.begin(kept);
            self.held.clear();
        }
        self.failures.watch(&live.figures);
        if self.is_paused && self.figures.is_some() {
            self.held.extend(live.figures.point);
            let most = history::POINTS_MAX;
            self.held.drain(..self.held.len().saturating_sub(most));
            return;
        }
        let points = std::mem::take(&mut self.held).into_iter().chain(live.figures.point);
        points.for_each(|point| self.history.push(point));
        for events in std::mem::take(&mut self.held_events) {
            self.take_events(events);
        }
        self.alerts = alerts::alerts(&live.figures, &self.failures);
        self.figures = Some(live.figures);
        self.settle();
    }

    fn take_events(&mut self, events: Events) {
        if self.is_paused {
            let held = |all: &[Events]| all.iter().map(|it| it.events.len()).sum::<usize>();
            self.held_events.push(events);
            // More are not kept otherwise either.
            while held(&self.held_events) > EVENTS_MAX {
                self.held_events.remove(0);
            }
            return;
        }
        if !follows(&events, self.events.back(), self.events_start) {
            // Another process: what its predecessor said stays above.
            self.events_start = events.start;
        }
        for row in events.events {
            let is_known = |it: &EventRow| it.id == row.id && it.at == row.at;
            if self.events.iter().rev().take(EVENTS_MAX).any(is_known) {
                continue;
            }
            if self.events.len() == EVENTS_MAX {
                self.events.pop_front();
            }
            self.events.push_back(row);
        }
        self.settle();
    }

    /// How weir stands to us now.
    pub(super) fn reach(&self) -> Reach {
        let since = self.now.saturating_sub(self.fresh_at);
        match &self.away {
            Some(why) => Reach::Away(since, why.clone()),
            None if since > SILENT => Reach::Silent(since),
            None => Reach::There,
        }
    }

    /// Takes in the size of the screen, the rows of the shown table, and whether sessions fit, too.
    pub(super) fn fit(&mut self, screen: (u16, u16), page: usize, has_panel: bool) {
        (self.screen, self.has_panel) = (screen, has_panel);
        self.shown_cursor().fit(page);
        self.settle();
    }

    /// Finds the rows again, and the cursor among them.
    pub(super) fn settle(&mut self) {
        if let Some(figures) = &self.figures {
            self.rows = rows::rows(figures, self.sort, self.form, &self.filter);
            let subjects = self.rows.iter().map(|row| row.subject(figures));
            self.cursor.settle(subjects.map(|it| format!("{it:?}")).collect());
        }
        let ids: Vec<String> = self.listed().iter().map(|row| row.id.clone()).collect();
        self.session_cursor.settle(ids);
        let events: Vec<String> =
            self.shown_events().iter().map(|row| format!("{} {}", row.at, row.id)).collect();
        self.event_cursor.settle(events);
    }

    fn shown_cursor(&mut self) -> &mut Cursor {
        match self.view {
            View::Overview => &mut self.cursor,
            View::Sessions => &mut self.session_cursor,
            View::Events => &mut self.event_cursor,
        }
    }

    /// The row under the cursor.
    pub(super) fn subject(&self) -> Option<Subject> {
        let row = self.rows.get(self.cursor.index())?;
        Some(row.subject(self.figures.as_ref()?))
    }

    /// The sessions that the view needs.
    fn look(&self) -> Option<Look> {
        let Scope { pool, backend, listener } = self.scope.clone();
        match self.view {
            View::Sessions => {
                let client = self.filter.parse::<Network>().is_ok().then(|| self.filter.clone());
                let filter =
                    SessionFilter { pool, backend, listener, client, ..SessionFilter::default() };
                Some(Look { filter, sort: self.session_sort, limit: SESSIONS_MAX })
            }
            View::Overview if self.has_panel => {
                let (filter, sort) = (SessionFilter::default(), SessionSort::Rate);
                Some(Look { filter, sort, limit: PANEL_MAX })
            }
            View::Overview | View::Events => None,
        }
    }

    /// The sessions that are shown. weir chooses those of a client, the view those with a text.
    pub(super) fn listed(&self) -> Vec<&SessionRow> {
        let Ok(Some(sessions)) = &self.sessions else { return Vec::new() };
        let needle = self.filter.to_lowercase();
        let is_asked = self.view != View::Sessions || self.filter.parse::<Network>().is_ok();
        let has = |text: Option<&str>| text.is_some_and(|it| it.to_lowercase().contains(&needle));
        let meant = |row: &&SessionRow| {
            is_asked
                || has(Some(&row.id))
                || has(row.client.as_deref())
                || has(Some(&row.listener))
                || has(row.backend.as_deref().or(Some(&row.pool)))
                || has(Some(row.state.word()))
        };
        sessions.sessions.iter().filter(meant).collect()
    }

    /// The events that are shown, the newest first.
    pub(super) fn shown_events(&self) -> Vec<&EventRow> {
        let needle =
            if self.view == View::Events { self.filter.to_lowercase() } else { String::new() };
        let has = |text: &str| text.to_lowercase().contains(&needle);
        let meant = |row: &&EventRow| {
            needle.is_empty() || has(row.kind.word()) || has(&row.subject) || has(&row.text)
        };
        self.events.iter().rev().filter(meant).collect()
    }
}

/// The tasks that run, the newest first. How one ended is an event.
pub(super) fn running(figures: &LiveFigures) -> Vec<&TaskRow> {
    let is_running = |task: &&TaskRow| task.state == TaskState::Running;
    let mut tasks: Vec<&TaskRow> = figures.tasks.iter().filter(is_running).collect();
    tasks.sort_by_key(|task| std::cmp::Reverse(task.id));
    tasks
}
