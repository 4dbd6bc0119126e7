//! Agents of backends: who is asked when, and the mark that the answers leave.
//!
//! ```text
//! due ──▶ a check whose dialogue is one line ──▶ Said ──▶ weight, state, limit: a mark, and by it
//!                                                         the next edition of the snapshot
//!                                                 health: a word of control, as from a check
//! ```
//! An agent's word stands until its next one: silence changes nothing (ADR 0049).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use weir_core::base::clock::Now;
use weir_proto::ids::{BackendId, PoolId};
use weir_proto::snapshot::{AgentMark, Backend, Pool};
use weir_proto::spec::Admin;

use super::dialogue::{AgentAnswer, AgentHealth};
use super::plan::{CheckOutcome, CheckPlan, agent_plan};
use super::schedule::{CheckTarget, Schedule};
use super::sharing::SharedChecks;
use super::watched::{Running, WatchedBackend};
use super::{Check, Health, jittered, later};

/// The agents of all backends that have one.
#[derive(Debug, Default)]
pub(super) struct Agents {
    known: BTreeMap<BackendId, Agent>,
    pub(super) shared: SharedChecks,
    /// Pools of which agents have said something else than shards know.
    remarked: BTreeSet<PoolId>,
    news: Vec<AgentNews>,
}

/// The agent of one backend.
#[derive(Debug)]
struct Agent {
    pool: PoolId,
    /// `None`: it is not asked, since an operator has its backend in maint.
    plan: Option<Rc<CheckPlan>>,
    due: Option<Now>,
    running: Option<Running>,
    standing: AgentStanding,
    /// Of its last answer.
    unknown: String,
}

/// An agent as people see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentStanding {
    pub mark: AgentMark,
    /// It says that its backend is not up.
    pub down: Option<AgentHealth>,
    /// Behind its last word on health or state; may be empty.
    pub reason: String,
    /// When it last answered; `None`: it has not.
    pub answered: Option<Now>,
    /// Why it has given no answer, if the last question had none.
    pub fault: Option<String>,
    pub counts: AgentCounts,
}

/// Questions to an agent since its backend is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentCounts {
    pub answered: u64,
    /// No answer came, or no line.
    pub failed: u64,
    /// This host could not ask.
    pub local: u64,
}

/// Something about an agent that people hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentNews {
    /// `pool/backend`.
    pub backend: String,
    pub is_bad: bool,
    pub text: String,
}

impl AgentStanding {
    /// Takes over what an answer says. True if it says something about state, health or limit that
    /// it did not say before, or takes the weight to 0 or away from it.
    fn take(&mut self, answer: &AgentAnswer) -> bool {
        let before = (self.mark, self.down);
        if let Some(percent) = answer.percent {
            self.mark.percent = Some(percent);
        }
        if let Some(most) = answer.max_sessions {
            self.mark.max_sessions = Some(most).filter(|most| *most > 0);
        }
        if let Some(admin) = answer.admin {
            self.mark.admin = admin;
        }
        if let Some(health) = answer.health {
            self.down = Some(health).filter(|health| *health != AgentHealth::Up);
        }
        if answer.admin.is_some() || answer.health.is_some() {
            self.reason.clone_from(&answer.reason);
        }
        let news = |mark: AgentMark| (mark.admin, mark.max_sessions, mark.percent == Some(0));
        (news(before.0), before.1) != (news(self.mark), self.down)
    }

    /// True if its backend gets no new session by what it says.
    #[must_use]
    pub fn takes_out(&self) -> bool {
        let AgentMark { percent, admin, .. } = self.mark;
        percent == Some(0) || admin != Admin::Ready || self.down.is_some()
    }

    /// All that it says, as in `75%, drain, down # disk full`; `None`: nothing but the usual.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let AgentMark { percent, admin, max_sessions } = self.mark;
        let percent = percent.map(|percent| format!("{percent}%"));
        let most = max_sessions.map(|most| format!("maxconn:{most}"));
        let admin = Some(admin).filter(|it| *it != Admin::Ready).map(|it| it.word().to_owned());
        let health = self.down.map(|health| health.word().to_owned());
        let all = percent.into_iter().chain(most).chain(admin).chain(health);
        let words = all.collect::<Vec<_>>().join(", ");
        match (words.is_empty(), self.reason.is_empty()) {
            (true, _) => None,
            (false, true) => Some(words),
            (false, false) => Some(format!("{words} # {}", self.reason)),
        }
    }
}

impl Agents {
    /// It is asked at `at`, and not before the end of a question that others have begun.
    fn set_due(&mut self, id: BackendId, at: Now, now: Now, schedule: &mut Schedule) {
        let Some(agent) = self.known.get_mut(&id) else { return };
        let Some(plan) = &agent.plan else { return };
        let waits = self.shared.leader(plan).map(|leader| Running::new(leader, now));
        agent.running = agent.running.or(waits);
        match &mut agent.running {
            Some(running) => running.next = Some(at),
            None => agent.set((id, Some(at)), schedule),
        }
    }
}

impl Agent {
    fn set(&mut self, (id, due): (BackendId, Option<Now>), schedule: &mut Schedule) {
        let asked = CheckTarget { backend: id, is_agent: true };
        schedule.set((self.pool, asked), self.due.take(), due);
        self.due = due;
    }
}

impl Health {
    /// Follows a pool of the next version: its agents are asked by its settings from now on, and
    /// all that they have said is forgotten if none is.
    pub(super) fn follow_agent(
        &mut self,
        (pool, backend): (&Pool, &Backend),
        watched: &mut WatchedBackend,
        spread: u64,
        now: Now,
    ) {
        let id = backend.id;
        if !pool.spec.agent.is_asked() {
            watched.is_called_down = false;
            return self.forget_agent(id);
        }
        let is_asked = backend.configured.admin != Admin::Maint;
        let plan = agent_plan(pool, backend, &self.wildcards).filter(|_| is_asked);
        let Health { agents, schedule, prng, .. } = self;
        let agent = agents.known.entry(id).or_insert_with(|| Agent {
            pool: pool.id,
            plan: None,
            due: None,
            running: None,
            standing: AgentStanding::default(),
            unknown: String::new(),
        });
        if agent.plan.as_deref() == plan.as_ref() {
            return;
        }
        if let Some(old) = agent.plan.take() {
            agents.shared.leave(&old, id);
            let is_own = |running: &Running| running.leader == id;
            agent.running = agent.running.filter(is_own);
            agent.set((id, None), schedule);
        }
        let Some(plan) = plan else { return };
        agent.plan = Some(agents.shared.join(plan, id));
        let at = later(now, prng.next_u64() % spread);
        agents.set_due(id, at, now, schedule);
    }

    /// It is gone, or no agent is asked.
    pub(super) fn forget_agent(&mut self, id: BackendId) {
        let Some(mut gone) = self.agents.known.remove(&id) else { return };
        gone.set((id, None), &mut self.schedule);
        if let Some(plan) = gone.plan.take() {
            self.agents.shared.leave(&plan, id);
        }
    }

    /// The question to an agent that is due.
    pub(super) fn begin_agent(&mut self, id: BackendId, now: Now) -> Check {
        let Health { agents, schedule, .. } = self;
        let agent = agents.known.get_mut(&id).expect("only who is known is due");
        let plan = agent.plan.clone().expect("only who is asked is due");
        let pool = agent.pool;
        agent.due = None;
        agent.running = Some(Running::new(id, now));
        for other in agents.shared.begin(&plan, id) {
            let other = (other, agents.known.get_mut(&other));
            if let (other, Some(agent)) = other
                && agent.running.is_none()
            {
                agent.set((other, None), schedule);
                agent.running = Some(Running::new(id, now));
            }
        }
        Check { id, pool, is_agent: true, plan }
    }

    /// A question to an agent has ended: all of its plan hear of it.
    pub(super) fn on_agent_asked(&mut self, check: &Check, outcome: &CheckOutcome, now: Now) {
        let mut ended = Vec::new();
        for id in self.agents.shared.end(&check.plan, check.id).into_iter().chain([check.id]) {
            let Some(agent) = self.agents.known.get_mut(&id) else { continue };
            let is_its = |running: &mut Running| running.leader == check.id;
            let Some(running) = agent.running.take_if(is_its) else { continue };
            ended.push((id, running));
            let is_current = agent.plan.as_ref().is_some_and(|plan| **plan == *check.plan);
            if running.next.is_none() && is_current {
                self.hear_agent(id, outcome, now);
            }
        }
        let interval = jittered(check.plan.intervals.usual, &mut self.prng);
        for (id, running) in ended {
            let next = running.next.unwrap_or_else(|| later(running.started, interval));
            self.agents.set_due(id, next.max(now), now, &mut self.schedule);
        }
    }

    /// Takes over what the agent of a backend has answered, or that it has not.
    fn hear_agent(&mut self, id: BackendId, outcome: &CheckOutcome, now: Now) {
        let Some(watched) = self.watched.get(&id) else { return };
        let backend = format!("{}/{}", watched.pool, watched.name);
        let Agents { known, remarked, news, .. } = &mut self.agents;
        let Some(Agent { standing, unknown, pool, .. }) = known.get_mut(&id) else { return };
        let mut tell = |is_bad, text| {
            news.push(AgentNews { backend: backend.clone(), is_bad, text });
        };
        let answer = match outcome {
            CheckOutcome::Said(answer) => answer,
            CheckOutcome::Local(why) => {
                standing.counts.local += 1;
                standing.fault = Some(format!("local: {why}"));
                return;
            }
            CheckOutcome::Bad(why) => {
                standing.counts.failed += 1;
                if standing.fault.is_none() {
                    let text = format!("its agent does not answer: {why}; its last word stands");
                    tell(true, text);
                }
                standing.fault = Some(why.clone());
                return;
            }
            CheckOutcome::Good => return, // no line was asked for
        };
        standing.counts.answered += 1;
        standing.answered = Some(now);
        if standing.fault.take().is_some() {
            tell(false, "its agent answers".to_owned());
        }
        if *unknown != answer.unknown {
            unknown.clone_from(&answer.unknown);
            if !unknown.is_empty() {
                tell(true, format!("its agent says what weir does not know: {unknown}"));
            }
        }
        let before = standing.mark;
        if standing.take(answer) {
            let words = standing.words().unwrap_or_else(|| "ready, up".to_owned());
            tell(standing.down.is_some(), format!("its agent says {words}"));
        }
        if standing.mark != before {
            remarked.insert(*pool);
        }
        let (down, reason) = (standing.down, standing.reason.clone());
        self.call_down(id, down, &reason, now);
    }

    /// An agent's word on the health of its backend. It stands beside that of checks: a backend is
    /// up if neither says otherwise.
    fn call_down(&mut self, id: BackendId, down: Option<AgentHealth>, reason: &str, now: Now) {
        if self.watched.get(&id).is_none_or(|it| it.is_called_down == down.is_some()) {
            return;
        }
        let transition = self.change(id, |watched| {
            let was_up = watched.is_up();
            watched.is_called_down = down.is_some();
            let word = down.unwrap_or(AgentHealth::Up).word();
            let reason = if reason.is_empty() { "" } else { &format!(", {reason}") };
            let text = format!("its agent says {word}{reason}");
            (watched.is_up() != was_up).then(|| watched.transition(&text, now))
        });
        self.untold.extend(transition);
        if let Some(pool) = self.watched.get(&id).map(|it| it.pool_id) {
            self.relieve(pool, now);
        }
    }

    /// The agent of a backend, if it has one.
    #[must_use]
    pub fn agent(&self, id: BackendId) -> Option<&AgentStanding> {
        self.agents.known.get(&id).map(|agent| &agent.standing)
    }

    /// An agent that is to be asked, and no question to it is due or under way: none, or there is a
    /// bug. For the simulator.
    #[must_use]
    pub fn unasked_agent(&self) -> Option<BackendId> {
        let is_lost = |it: &Agent| it.plan.is_some() && it.due.is_none() && it.running.is_none();
        self.agents.known.iter().find(|(_, agent)| is_lost(agent)).map(|(id, _)| *id)
    }

    /// True if agents have said what shards do not know.
    #[must_use]
    pub fn has_remarked(&self) -> bool {
        !self.agents.remarked.is_empty()
    }

    /// Takes a pool of which agents have said something else than shards may know.
    pub(crate) fn take_remarked(&mut self) -> Option<PoolId> {
        self.agents.remarked.pop_first()
    }

    /// Takes what people have not been told of agents.
    pub(crate) fn take_agent_news(&mut self) -> Vec<AgentNews> {
        std::mem::take(&mut self.agents.news)
    }
}
