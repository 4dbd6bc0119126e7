//! The control thread at work: it starts everything in order, then turns reports, ticks, signals
//! and requests into orders.

pub(crate) mod answers;
mod change;
pub(crate) mod hand_over;
mod live;
pub(crate) mod notify;
mod past;
mod perform;
mod reload;
mod shared_page;
pub(crate) mod slices;
pub(crate) mod take_over;

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeSet;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use weir_proto::answer::{Answer, Author, LiveFigures, Said};
use weir_proto::order::Report;
use weir_proto::request::{Command, Query, Refusal};
use weir_proto::snapshot::Snapshot;

use crate::remembered::{GroupsInUse, MembersFound, RememberedFile};
use crate::rt::{self, Bulky};
use crate::session_log::SessionLog;
use crate::signals::{Signal, Signals};
use crate::store::IN_USE_MAX;
use crate::store::thread::{Appender, StoreEvent, StoreNews};
use crate::systemd;
use change::Outcomes;
use hand_over::{Succession, UpgradeOptions};
use live::OncePerPoint;
use notify::Notify;
pub(crate) use reload::Reloads;
use shared_page::SharedPage;
use weir_control_core::control::{Clocks, Control, Input, Phase, SearchRequest};

/// How often figures are asked for and deadlines are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// Ticks between two times that the store hears which versions have sessions.
const IN_USE_TICKS: u64 = 4;
/// How long sessions get to end after SIGTERM.
const DRAIN_DEFAULT: Duration = Duration::from_secs(30);
/// How long an answer waits for figures of this moment.
const FRESH_MAX: Duration = Duration::from_millis(25);
/// How long the end of the process waits for its last answers to leave.
const ANSWERS_MAX: Duration = Duration::from_secs(1);

/// Who makes the changes that nobody asked for over the socket.
pub(crate) fn own_author() -> Author {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    Author::new(rustix::process::getuid().as_raw(), pid)
}

/// The control thread's one state, for its tasks and doors. Never borrowed across an await.
pub(crate) struct Shared {
    control: RefCell<Control>,
    /// Itself, for the tasks that outputs begin.
    own: Weak<Shared>,
    pub(crate) appender: Appender,
    /// Rung after every input.
    notify: Notify,
    /// Rung with every event.
    news: Notify,
    /// Changes whose outcome somebody waits for.
    outcomes: RefCell<Outcomes>,
    /// The text of [`crate::api::metrics`].
    pub(crate) metrics_page: SharedPage<Bulky<String>>,
    /// Texts for those who look on.
    live_history: OncePerPoint<String>,
    live_figures: OncePerPoint<String>,
    live_values: OncePerPoint<LiveFigures>,
    /// Answers that are being made or written.
    answers: Cell<usize>,
    /// The settings of the file at the start, and how often SIGHUP has applied or been refused.
    pub(crate) reloads: Reloads,
    /// The way to the session log, if there is one.
    pub(crate) session_log: Option<SessionLog>,
    /// The priority groups in use, for the next start.
    pub(crate) groups: RememberedFile<GroupsInUse>,
    /// The findings of DNS, for the next start.
    pub(crate) members: RememberedFile<MembersFound>,
    /// systemd wants to hear that this thread lives (WatchdogSec=).
    is_watched: bool,
    /// The end of this process by an upgrade.
    pub(crate) succession: Succession,
}

/// An answer that has not left yet.
pub(crate) struct Answering<'a>(&'a Shared);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.answers.set(self.0.answers.get() - 1);
        self.0.notify.ring();
    }
}

impl Shared {
    /// The state for tasks and doors.
    pub(crate) fn new(
        control: Control,
        appender: Appender,
        session_log: Option<SessionLog>,
        (groups, members): (RememberedFile<GroupsInUse>, RememberedFile<MembersFound>),
    ) -> Rc<Shared> {
        Rc::new_cyclic(|own| Shared {
            control: RefCell::new(control),
            own: own.clone(),
            appender,
            notify: Notify::default(),
            news: Notify::default(),
            outcomes: RefCell::default(),
            metrics_page: SharedPage::default(),
            live_history: OncePerPoint::default(),
            live_figures: OncePerPoint::default(),
            live_values: OncePerPoint::default(),
            answers: Cell::new(0),
            reloads: Reloads::default(),
            session_log,
            groups,
            members,
            is_watched: systemd::wants_pings(),
            succession: Succession::default(),
        })
    }

    /// Control, to look at. Only [`Shared::handle`] changes it.
    pub(crate) fn control(&self) -> Ref<'_, Control> {
        self.control.borrow()
    }

    /// Asks the shards for figures as they are now. A shard that is slow to answer is not waited
    /// for: its last figures count. Queries that count no sessions do not need them.
    pub(crate) async fn refresh(&self, query: &Query) {
        if answers::counts_sessions(query) {
            self.fresh_figures().await;
        }
    }

    /// Ends when there is an event after number `last`.
    pub(crate) async fn events_after(&self, last: u64) {
        let is_newer = || (self.control().events.last() > last).then_some(());
        self.news.until(is_newer).await;
    }

    /// Waits for figures as they are now, a moment at most.
    async fn fresh_figures(&self) {
        self.handle(Input::WantFigures);
        let fresh = || self.control().has_fresh().then_some(());
        let _ = rt::timeout(FRESH_MAX, self.notify.until(fresh)).await;
    }

    /// Carries out a command. A change is answered when every live shard has adopted it.
    pub(crate) async fn command(&self, command: Command, by: Author) -> Result<Answer, Refusal> {
        if !command.is_dry_run() {
            self.control().refuse_while_handing_over()?;
        }
        match command {
            Command::Upgrade { program, shards, dry_run } => {
                let program = program.map(std::path::PathBuf::from);
                self.upgrade(UpgradeOptions { program, shards, dry_run }, &by).await
            }
            Command::Change { change, options } => {
                if options.dry_run {
                    self.fresh_figures().await;
                }
                // Questions over HTTP take the figures that there are: who drains a backend and
                // looks whether it is empty must see those who were there at that time.
                let is_polled = by.from.is_some() && !options.dry_run;
                let is_file = change.is_whole_file() && !options.dry_run;
                let answer = self.change(change, options, by).await;
                if is_file && answer.is_ok() {
                    self.reloads.applied(rt::wall_ms());
                }
                if is_polled {
                    self.fresh_figures().await;
                }
                answer
            }
            Command::Task(request) => self.task(request).await,
            Command::SessionKill(kill) => self.search(SearchRequest::Kill(kill)).await,
            Command::Drain => Ok(self.drain()),
            Command::Ready => self.ready().await,
            Command::Stop { drain_ms } => Ok(self.stop(drain_ms.unwrap_or(0)).await),
        }
    }

    fn drain(&self) -> Answer {
        self.handle(Input::Drain { until: None });
        let sessions = self.control().aggregate.sessions();
        said(format!("draining: no new sessions are accepted, {sessions} are open"))
    }

    /// Drains for `drain_ms` at most, then stops. Answers when the sessions are at their end; the
    /// process waits for that answer to leave.
    async fn stop(&self, drain_ms: u64) -> Answer {
        let until = later(moment(), Duration::from_millis(drain_ms));
        self.handle(Input::Drain { until: Some(until) });
        let ended = || match self.control().phase {
            Phase::Serving | Phase::Draining { .. } => None,
            Phase::Stopping { .. } | Phase::Over { .. } => Some(()),
        };
        self.notify.until(ended).await;
        match self.control().aggregate.sessions() {
            0 => said("stopped: no session was left".to_owned()),
            left => said(format!("stopped: {left} sessions were reset")),
        }
    }

    /// Waits until `look` finds something; it is asked after every input.
    pub(crate) fn until<'a, T: 'a>(
        &'a self,
        look: impl FnMut() -> Option<T> + 'a,
    ) -> impl Future<Output = T> + 'a {
        self.notify.until(look)
    }

    /// Wakes all who wait for something.
    pub(crate) fn ring(&self) {
        self.notify.ring();
    }

    /// Says that an answer is being made: the process does not end before it has left.
    pub(crate) fn answering(&self) -> Answering<'_> {
        self.answers.set(self.answers.get() + 1);
        Answering(self)
    }

    /// Reports that are there now.
    async fn take_reports(&self) {
        loop {
            let report = self.control().take_report();
            let Some(report) = report else { return };
            match report {
                // Freeing a large one takes as long as a turn may.
                Report::Retired(snapshot) => retire(snapshot),
                // Many shards may report at once.
                Report::Stats(_) => {
                    self.handle(Input::Report(report));
                    rt::pause().await;
                }
                _ => self.handle(Input::Report(report)),
            }
        }
    }

    fn tick(&self) {
        #[cfg(debug_assertions)]
        crate::failpoint::at_tick();
        self.handle(Input::Tick);
        if self.is_watched {
            // One that is missed is no harm: systemd waits for several ticks.
            let _ = systemd::tell(systemd::ALIVE);
        }
    }

    /// The version in force, and those under which sessions live.
    fn in_use(&self) -> BTreeSet<u64> {
        let control = self.control();
        let held = control.aggregate.held_by_version().into_keys().rev().take(IN_USE_MAX);
        held.chain([control.snapshot.version]).map(|version| version.0).collect()
    }

    /// Ends when control wants to be woken, or at another time than so far.
    async fn wait_until_wake(&self) {
        let next = self.control().next_wake();
        let due = async {
            match next {
                // Due already: the next slice of something. The others have their turns before it.
                Some(at) if at <= rt::now() => rt::give_way().await,
                Some(at) => rt::sleep(at - rt::now()).await,
                None => futures_lite::future::pending().await,
            }
        };
        let is_other = || (self.control().next_wake() != next).then_some(());
        futures_lite::future::or(self.notify.until(is_other), due).await;
    }

    /// Waits until the process is to end and its last answers have left; the exit code.
    pub(crate) async fn over(&self) -> u8 {
        let code = || match self.control().phase {
            Phase::Over { code } => Some(code),
            Phase::Serving | Phase::Draining { .. } | Phase::Stopping { .. } => None,
        };
        let code = self.notify.until(code).await;
        let left = self.notify.until(|| (self.answers.get() == 0).then_some(()));
        // A client that does not read its answer must not keep the process.
        let _ = rt::timeout(ANSWERS_MAX, left).await;
        code
    }
}

/// Both clocks, now.
pub(crate) fn moment() -> Clocks {
    Clocks { now: rt::now(), wall_ms: rt::wall_ms() }
}

pub(crate) fn later(moment: Clocks, by: Duration) -> weir_core::base::clock::Now {
    let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
    weir_core::base::clock::Now { nanos: moment.now.nanos.saturating_add(nanos) }
}

fn said(text: String) -> Answer {
    Answer::Said(Said { text })
}

/// Hears the engine's bell for as long as the process lives.
pub(crate) fn start_reports(shared: &Rc<Shared>, mut bell: rt::Bell) {
    let state = shared.clone();
    rt::spawn("reports", async move {
        loop {
            bell.wait().await;
            state.take_reports().await;
        }
    });
}

/// Frees a snapshot on another thread, if no shard uses it any more.
fn retire(snapshot: Arc<Snapshot>) {
    if let Some(snapshot) = Arc::into_inner(snapshot) {
        rt::spawn("retired", rt::blocking(move || drop(snapshot)));
    }
}

/// Hears the disk's bell for as long as the process lives.
pub(crate) fn start_store_news(shared: &Rc<Shared>, news: StoreNews, mut bell: rt::Bell) {
    let state = shared.clone();
    rt::spawn("store", async move {
        loop {
            bell.wait().await;
            while let Some(event) = news.next() {
                state.handle(match event {
                    StoreEvent::Appended(appended) => Input::Appended(appended),
                    StoreEvent::Said(text) => Input::StoreSaid(text),
                    StoreEvent::Lost => Input::StoreLost,
                });
            }
        }
    });
}

pub(crate) fn start_ticks(shared: &Rc<Shared>) {
    let state = shared.clone();
    rt::spawn("tick", async move {
        for tick in 1_u64.. {
            rt::sleep(TICK).await;
            state.tick();
            if tick.is_multiple_of(IN_USE_TICKS) {
                state.appender.in_use(state.in_use());
            }
        }
    });
}

/// Wakes control when it wants to be woken: from now on checks are made.
pub(crate) fn start_wakes(shared: &Rc<Shared>) {
    let state = shared.clone();
    rt::spawn("checks", async move {
        loop {
            state.handle(Input::Wake);
            state.wait_until_wake().await;
        }
    });
}

pub(crate) fn start_signals(shared: &Rc<Shared>, mut signals: Signals) {
    let state = shared.clone();
    rt::spawn("signals", async move {
        loop {
            let signal = signals.next().await;
            reload::tell(signal, state.session_log.is_some());
            match signal {
                Signal::Reload => {
                    // Beside this task: a signal to stop must not wait for it.
                    let (state, file) = (state.clone(), signals.file.clone());
                    rt::spawn("reload", async move { state.reload(file.as_deref()).await });
                }
                Signal::Interrupt => state.handle(Input::Stop),
                Signal::Terminate | Signal::Quit => {
                    let most = if signal == Signal::Quit { Duration::MAX } else { DRAIN_DEFAULT };
                    state.handle(Input::Drain { until: Some(later(moment(), most)) });
                }
                Signal::Reopen => state.session_log.iter().for_each(SessionLog::reopen),
                Signal::Upgrade => {
                    let state = state.clone();
                    rt::spawn("upgrade", async move {
                        // Its end is in the log.
                        let _ = state.upgrade(UpgradeOptions::default(), &own_author()).await;
                    });
                }
            }
        }
    });
}

#[cfg(test)]
pub(crate) mod tests;
