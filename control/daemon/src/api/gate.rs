//! The one way in. Asks who it is, what role they have, and what the request needs; writes down
//! commands and refusals; hands on.
//!
//! ```text
//! socket ─┐                    ┌─ query ───▶ answered from what is known, changes nothing
//!         ├──▶ who? ─▶ role? ──┼─ command ─▶ audited, carried out, audited
//! HTTP  ──┘                    └─ neither ─▶ audited, refused
//! ```

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use weir_control_core::events::Events;
use weir_proto::answer::{Answer, Author};
use weir_proto::request::{Code, Command, Query, Refusal, Request, Response, WORD_MAX, WORDS_MAX};

use super::audit::{self, Audit, AuditEvent};
use super::refusals::{Cause, REPORT_EVERY, RefusalBudget};
use super::roles::{self, Role, Roles};
use crate::rt::{self, Bulky, PeerCred};
use crate::serve::own_author;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// A process on this host, by SO_PEERCRED, and its role; `None` if it has none.
    Peer { cred: PeerCred, role: Option<Role> },
    /// A request on the admin address. HTTP does not know who sends it, so it may read; with the
    /// token it may change things.
    Http { bearer: Bearer, from: IpAddr },
}

/// The token of a request on the admin address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearer {
    /// There is no token: HTTP only reads.
    Off,
    /// There is one, and it was not sent.
    Missing,
    Wrong,
    /// The file of the token cannot be used; the log says why.
    Unreadable,
    Right,
}

impl Principal {
    /// A request that only reads: no token is looked for.
    pub(crate) fn reader(from: IpAddr) -> Principal {
        Principal::Http { bearer: Bearer::Missing, from }
    }

    /// The highest role that it has.
    pub(crate) fn role(&self) -> Option<Role> {
        match self {
            Principal::Peer { role, .. } => *role,
            Principal::Http { bearer: Bearer::Right, .. } => Some(Role::Admin),
            Principal::Http { .. } => Some(Role::Viewer),
        }
    }

    /// The author of what it changes; `None` if it has no name.
    fn author(&self) -> Option<Author> {
        match self {
            Principal::Peer { cred, role } => {
                let known = Author::new(cred.uid, cred.pid);
                Some(Author { login: cred.login, role: *role, ..known })
            }
            // The token is weir's own; there is no process that weir could name.
            Principal::Http { bearer: Bearer::Right, from } => {
                let (role, from) = (self.role(), Some(*from));
                Some(Author { pid: 0, role, from, ..own_author() })
            }
            Principal::Http { .. } => None,
        }
    }

    /// Its uid, gid and pid, if it has them.
    pub(crate) fn numbers(&self) -> (Option<u32>, Option<u32>, Option<i32>) {
        match self {
            Principal::Peer { cred, .. } => (Some(cred.uid), Some(cred.gid), Some(cred.pid)),
            Principal::Http { .. } => (None, None, None),
        }
    }

    /// Who logged in, if that is known.
    pub(crate) fn login(&self) -> Option<u32> {
        match self {
            Principal::Peer { cred, .. } => cred.login,
            Principal::Http { .. } => None,
        }
    }

    /// Where it comes from, if that is an address.
    pub(crate) fn from(&self) -> Option<IpAddr> {
        match self {
            Principal::Peer { .. } => None,
            Principal::Http { from, .. } => Some(*from),
        }
    }

    /// The refusal of a request that needs the role `needed`.
    fn refusal(&self, needed: Role) -> Refusal {
        match self {
            Principal::Peer { cred, role } => roles::refusal(needed, *role, cred.uid),
            Principal::Http { bearer, .. } => bearer.refusal(needed),
        }
    }
}

impl Bearer {
    fn refusal(self, needed: Role) -> Refusal {
        let needed = needed.word();
        let (message, hint) = match self {
            Bearer::Off => (
                "HTTP only reads: there is no [weir] admin-token-file".to_owned(),
                "set it and restart weir, or use weirctl on this host",
            ),
            Bearer::Missing => (
                format!("this needs the role {needed}: send the token"),
                "Authorization: Bearer TOKEN, the text of [weir] admin-token-file",
            ),
            Bearer::Wrong => (
                "this is not the token".to_owned(),
                "Authorization: Bearer TOKEN, the text of [weir] admin-token-file",
            ),
            Bearer::Unreadable => (
                "the file of the token cannot be used".to_owned(),
                "weir's log says why: journalctl -u weir",
            ),
            Bearer::Right => (
                format!("over HTTP nothing is done that needs the role {needed}"),
                "use weirctl on this host",
            ),
        };
        Refusal::new(Code::Denied, message, hint)
    }
}

/// The control thread, as the gate sees it.
pub(crate) trait Handler {
    /// Waits a moment for the figures that the answer to `query` needs.
    async fn refresh(&self, query: &Query);
    /// Answers from what is known now. Long answers are made a slice at a time.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn query(&self, query: Query) -> Result<Answer, Refusal>;
    /// Carries out a command of `by`. A change is answered when every live shard has adopted it.
    ///
    /// # Errors
    /// Why it was not done.
    async fn command(&self, command: Command, by: Author) -> Result<Answer, Refusal>;
    /// The version in force.
    fn version(&self) -> u64;
    /// Keeps an event about a command.
    fn record(&self, event: AuditEvent);
    /// While this is held, the process does not end: an answer is being made or written.
    fn answering(&self) -> impl Sized;
    /// The page of [`super::metrics::render`], at most a tenth of a second old, with the number of
    /// open streams over HTTP.
    async fn metrics(&self, http_streams: usize) -> Arc<Bulky<String>>;
    /// Looks at the events that are kept.
    fn with_events<T>(&self, look: impl FnOnce(&Events) -> T) -> T;
    /// Ends when there is an event after number `last`.
    async fn events_after(&self, last: u64);
    /// Fifteen minutes of figures and those of this second, each a document of JSON that is made
    /// once a second at most.
    async fn live_history(&self) -> Arc<String>;
    async fn live_figures(&self) -> Arc<String>;
    /// Points of that history so far; the second one ends when there are more than `seen`.
    fn live_points(&self) -> u64;
    async fn live_points_after(&self, seen: u64);
    /// Whether new sessions can be served.
    ///
    /// # Errors
    /// Why not: it drains, or a pool that a listener uses has no backend that can take a session.
    fn ready(&self) -> Result<(), String>;
}

/// The outcome for one request of one principal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    /// A query is answered and not written down.
    Answer(Query),
    /// A command is carried out in this name, and written down with its end.
    CarryOut(Command, Author),
    /// A dry run is answered and not written down.
    Try(Command, Author),
    /// It needs this role and an author; it is written down.
    Refuse(Request, Role),
    /// A word of it is longer than anything that has a meaning. It is looked at no further.
    TooLong(Refusal),
}

fn too_long(request: &Request) -> Option<Refusal> {
    let words = request.words();
    let long = words.iter().map(|word| word.len()).find(|length| *length > WORD_MAX);
    let message = match long {
        Some(length) => format!("a word of {length} bytes; the longest may have {WORD_MAX}"),
        None if words.len() > WORDS_MAX => {
            format!("{} words in one request; the most are {WORDS_MAX}", words.len())
        }
        None => return None,
    };
    Some(Refusal::new(Code::Invalid, message, "put it into a file: weirctl config apply FILE"))
}

fn decide(principal: &Principal, request: Request) -> Decision {
    let needed = roles::needed(&request);
    if principal.role() < Some(needed) {
        return Decision::Refuse(request, needed);
    }
    if let Some(refusal) = too_long(&request) {
        return Decision::TooLong(refusal);
    }
    match (request, principal.author()) {
        (Request::Query(query), _) => Decision::Answer(query),
        (Request::Command(command), Some(by)) if command.is_dry_run() => Decision::Try(command, by),
        (Request::Command(command), Some(by)) => Decision::CarryOut(command, by),
        (request @ Request::Command(_), None) => Decision::Refuse(request, needed),
    }
}

/// The gate before a handler.
pub(crate) struct Gate<H> {
    handler: Rc<H>,
    roles: Roles,
    refusals: Rc<Refusals>,
}

/// Lines about requests that come to nothing.
#[derive(Debug, Default)]
struct Refusals {
    budget: RefCell<RefusalBudget>,
    /// A task waits to tell of those that were not written down.
    is_reported: Cell<bool>,
}

impl<H: Handler + 'static> Gate<H> {
    /// A gate where peers have these roles.
    pub(crate) fn new(handler: Rc<H>, roles: Roles) -> Gate<H> {
        Gate { handler, roles, refusals: Rc::default() }
    }

    /// A peer of the control socket, with its role.
    pub(crate) fn peer(&self, cred: PeerCred) -> Principal {
        let role = self.roles.of(&cred);
        Principal::Peer { cred, role }
    }

    /// Answers one request, if the principal may ask it.
    pub(crate) async fn ask(&self, principal: &Principal, request: Request) -> Response {
        let version = self.handler.version();
        let answer = match decide(principal, request) {
            Decision::Answer(query) => self.query(principal, query).await,
            Decision::Try(command, by) => self.handler.command(command, by).await,
            Decision::CarryOut(command, by) => {
                let audit = Audit::begin(principal, &command, version);
                let answer = self.handler.command(command, by).await;
                let now = self.handler.version();
                if !audit::came_to_nothing(&answer, (version, now)) || self.may_write(principal) {
                    self.handler.record(audit.end(&answer, now));
                }
                answer
            }
            Decision::Refuse(request, needed) => {
                if self.may_write(principal) {
                    let audit = Audit::begin(principal, &request, version);
                    self.handler.record(audit.not_permitted(needed));
                }
                Err(principal.refusal(needed))
            }
            Decision::TooLong(refusal) => Err(refusal),
        };
        answer.map_or_else(Response::Refused, Response::Done)
    }

    /// Lets in who may change something, before the change is read. Others are refused, which is
    /// written down as `what`.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn admit_change(&self, principal: &Principal, what: &str) -> Result<(), Refusal> {
        // The least that a command needs; the change itself is asked of the gate after that.
        let needed = Role::Operator;
        if principal.role() >= Some(needed) {
            return Ok(());
        }
        if self.may_write(principal) {
            let audit = Audit::begin(principal, &what, self.version());
            self.handler.record(audit.not_permitted(needed));
        }
        Err(principal.refusal(needed))
    }

    /// The version in force.
    pub(crate) fn version(&self) -> u64 {
        self.handler.version()
    }

    /// True if one more line about something of this principal that came to nothing may be written.
    /// Otherwise it is counted, and the count is written soon.
    pub(crate) fn may_write(&self, principal: &Principal) -> bool {
        let cause = principal.numbers().0.map_or(Cause::Http, Cause::Uid);
        let may = self.refusals.budget.borrow_mut().allows(cause, rt::now());
        if !may && !self.refusals.is_reported.replace(true) {
            let (refusals, handler) = (self.refusals.clone(), self.handler.clone());
            rt::spawn("unwritten", async move {
                rt::sleep(REPORT_EVERY).await;
                refusals.is_reported.set(false);
                let unwritten = refusals.budget.borrow_mut().take_unwritten();
                for (cause, count) in unwritten {
                    handler.record(audit::unwritten(cause, count));
                }
            });
        }
        may
    }

    /// The socket waits for figures of this moment. HTTP is polled and takes those of the last
    /// tick.
    async fn query(&self, principal: &Principal, query: Query) -> Result<Answer, Refusal> {
        match principal {
            Principal::Peer { .. } => self.handler.refresh(&query).await,
            Principal::Http { .. } => {}
        }
        self.handler.query(query).await
    }

    /// See [`Handler::answering`].
    pub(crate) fn answering(&self) -> impl Sized {
        self.handler.answering()
    }

    /// See [`Handler::metrics`].
    pub(crate) async fn metrics(&self, http_streams: usize) -> Arc<Bulky<String>> {
        self.handler.metrics(http_streams).await
    }

    /// See [`Handler::with_events`].
    pub(crate) fn with_events<T>(&self, look: impl FnOnce(&Events) -> T) -> T {
        self.handler.with_events(look)
    }

    /// See [`Handler::events_after`].
    pub(crate) async fn events_after(&self, last: u64) {
        self.handler.events_after(last).await;
    }

    /// See [`Handler::live_history`].
    pub(crate) async fn live_history(&self) -> Arc<String> {
        self.handler.live_history().await
    }

    /// See [`Handler::live_figures`].
    pub(crate) async fn live_figures(&self) -> Arc<String> {
        self.handler.live_figures().await
    }

    /// See [`Handler::live_points`].
    pub(crate) fn live_points(&self) -> u64 {
        self.handler.live_points()
    }

    /// See [`Handler::live_points_after`].
    pub(crate) async fn live_points_after(&self, seen: u64) {
        self.handler.live_points_after(seen).await;
    }

    /// See [`Handler::ready`].
    ///
    /// # Errors
    /// Why no new session can be served.
    pub(crate) fn ready(&self) -> Result<(), String> {
        self.handler.ready()
    }
}

#[cfg(test)]
mod tests;
