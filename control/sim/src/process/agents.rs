//! Agents that change their minds, and often do not answer. What is in force is what an operator
//! has said, narrowed by the last words that reached weir: by plain fractions, from a ledger of its
//! own.

use std::collections::{BTreeMap, BTreeSet};

use weir_control_core::control::{Control, Input};
use weir_control_core::health::dialogue::{AgentAnswer, AgentHealth};
use weir_control_core::health::{Check, CheckOutcome};
use weir_proto::ids::BackendId;
use weir_proto::snapshot::{Backend, Pool, WEIGHT_MAX};
use weir_proto::spec::{Admin, Span, Spec};

use super::daemon::{self, Daemon};
use super::{Clocks, SimProcess, StepResult};
use weir_engine_sim::rng::Rng;

/// The agents of a world.
#[derive(Debug)]
pub(super) struct Agents {
    /// A generator of its own: the other draws of a seed are as they were without it.
    rng: Rng,
    acts: bool,
    /// They answer, and take nothing out.
    is_calm: bool,
    /// Questions that were not answered yet, each with those that it was asked for.
    asked: Vec<(Check, BTreeSet<BackendId>)>,
    /// The words that reached weir.
    ledger: BTreeMap<BackendId, Spoken>,
}

/// The last words of one agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spoken {
    percent: Option<u16>,
    most: Option<u32>,
    admin: Admin,
    down: Option<AgentHealth>,
    answers: u64,
}

impl Agents {
    /// `from` draws nothing.
    #[must_use]
    pub(super) fn beside(from: &Rng) -> Agents {
        let mut rng = Rng::new(from.clone().draw() ^ 0xa6e7);
        let acts = rng.below(4) == 0;
        Agents { rng, acts, is_calm: false, asked: Vec::new(), ledger: BTreeMap::new() }
    }

    /// The first pool asks agents.
    pub(super) fn enter(&mut self, spec: &mut Spec) {
        if self.acts
            && let Some(pool) = spec.pool.values_mut().next()
        {
            pool.agent.port = Some(9);
            pool.agent.interval = Span::from_millis(self.rng.pick(&[50, 300, 2000]));
        }
    }

    /// The process is another one: no agent has said anything to it.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
        self.ledger.clear();
    }

    pub(super) fn calm(&mut self) {
        self.is_calm = true;
    }

    fn outcome(&mut self) -> (CheckOutcome, AgentAnswer) {
        let mut answer = AgentAnswer::default();
        if self.is_calm {
            answer.percent = Some(100);
            answer.max_sessions = Some(0);
            (answer.admin, answer.health) = (Some(Admin::Ready), Some(AgentHealth::Up));
            return (CheckOutcome::Said(Box::new(answer.clone())), answer);
        }
        match self.rng.below(8) {
            0 => return (CheckOutcome::Bad("timeout".to_owned()), answer),
            1 => return (CheckOutcome::Local("no descriptors".to_owned()), answer),
            _ => {}
        }
        let rng = &mut self.rng;
        if rng.flip() {
            answer.percent = Some(rng.pick(&[0, 25, 50, 75, 100, 200]));
        }
        if rng.below(4) == 0 {
            answer.max_sessions = Some(rng.pick(&[0, 1, 3, 20]));
        }
        if rng.below(3) == 0 {
            let ready = Admin::Ready;
            answer.admin = Some(rng.pick(&[ready, ready, ready, Admin::Drain, Admin::Maint]));
        }
        if rng.below(3) == 0 {
            let up = AgentHealth::Up;
            let health = [up, up, AgentHealth::Down, AgentHealth::Failed, AgentHealth::Stopped];
            answer.health = Some(rng.pick(&health));
        }
        (CheckOutcome::Said(Box::new(answer.clone())), answer)
    }
}

impl Spoken {
    fn hear(&mut self, answer: &AgentAnswer) {
        self.percent = answer.percent.or(self.percent);
        self.admin = answer.admin.unwrap_or(self.admin);
        match answer.max_sessions {
            None => {}
            Some(0) => self.most = None,
            Some(most) => self.most = Some(most),
        }
        match answer.health {
            None => {}
            Some(AgentHealth::Up) => self.down = None,
            Some(health) => self.down = Some(health),
        }
        self.answers += 1;
    }
}

impl SimProcess {
    /// Some agents answer.
    ///
    /// # Errors
    /// Something else is in force than an operator and agents have said.
    pub(super) fn answer_agents(&mut self) -> StepResult {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let agents = &mut self.agents;
        let moment = daemon::moment(self.street.now);
        for check in core::mem::take(&mut daemon.questions) {
            let under_way = agents.asked.iter().any(|(before, _)| before.plan == check.plan);
            if under_way {
                return Err(format!("the agent at {} is asked twice at once", check.plan.address));
            }
            let all = asked_at(&daemon.control, &check);
            agents.asked.push((check, all));
        }
        for (check, asked) in core::mem::take(&mut agents.asked) {
            if !agents.is_calm && agents.rng.below(4) == 0 {
                agents.asked.push((check, asked));
                continue;
            }
            agents.answer(daemon, (check, &asked), moment)?;
        }
        agents.check(&daemon.control)
    }
}

/// The backends whose agent a question goes to.
fn asked_at(control: &Control, check: &Check) -> BTreeSet<BackendId> {
    let (to, port) = (check.plan.address.ip().map(|it| it.ip()), check.plan.address.port());
    let is_asked = |(pool, it): &(&Pool, &Backend)| {
        let agent_port = pool.spec.agent.port.and_then(|port| u16::try_from(port).ok());
        agent_port == port && it.address.ip().map(|it| it.ip()) == to
    };
    control.snapshot.backends().filter(is_asked).map(|(_, it)| it.id).collect()
}

impl Agents {
    fn answer(
        &mut self,
        daemon: &mut Daemon,
        (check, asked): (Check, &BTreeSet<BackendId>),
        moment: Clocks,
    ) -> StepResult {
        let (outcome, answer) = self.outcome();
        let is_answer = matches!(outcome, CheckOutcome::Said(_));
        let candidates: BTreeSet<_> = asked_at(&daemon.control, &check);
        daemon.give(Input::Checked { check, outcome, started: moment.now }, moment);
        for id in candidates {
            let Some(standing) = daemon.control.health.agent(id) else { continue };
            let spoken = self.ledger.entry(id).or_default();
            if standing.counts.answered == spoken.answers {
                continue; // it had another question by then, or no answer came
            }
            if !is_answer || !asked.contains(&id) {
                return Err(format!("{id} has heard what was not for it"));
            }
            spoken.hear(&answer);
        }
        Ok(())
    }

    /// In force is what has been said.
    fn check(&mut self, control: &Control) -> StepResult {
        if let Some(id) = control.health.unasked_agent() {
            return Err(format!("the agent of {id} will not be asked again, ever"));
        }
        let mut known = BTreeSet::new();
        for pool in &control.snapshot.pools {
            for backend in &pool.backends {
                let agent = control.health.agent(backend.id);
                if pool.spec.agent.is_asked() && agent.is_some() {
                    known.insert(backend.id);
                }
            }
        }
        let changes = control.changes_waiting() > 0;
        if !changes {
            self.ledger.retain(|id, _| known.contains(id));
        }
        for pool in &control.snapshot.pools {
            let spoken = |it: &Backend| self.ledger.get(&it.id).copied().unwrap_or_default();
            for backend in &pool.backends {
                let name = format!("{}/{}", pool.name, backend.name);
                let (said, agent) = (spoken(backend), control.health.agent(backend.id));
                if let Some(agent) = agent
                    && (agent.mark.percent, agent.mark.max_sessions, agent.mark.admin, agent.down)
                        != (said.percent, said.most, said.admin, said.down)
                {
                    return Err(format!("the agent of {name} has said {said:?}; weir: {agent:?}"));
                }
                let is_called_down = agent.is_some() && said.down.is_some();
                let is_forced = backend.force.is_some();
                if is_called_down && !changes && !is_forced && control.health.is_up(backend.id) {
                    return Err(format!("{name} is up, and its agent says {:?}", said.down));
                }
            }
            if !changes && !control.health.has_remarked() {
                check_in_force(pool, spoken)?;
            }
        }
        Ok(())
    }
}

/// Weight, state and limit of a pool's backends, from what is configured and what was said.
fn check_in_force(pool: &Pool, spoken: impl Fn(&Backend) -> Spoken) -> StepResult {
    let is_asked = pool.spec.agent.is_asked();
    let said = |it: &Backend| if is_asked { spoken(it) } else { Spoken::default() };
    let part = |it: &Backend| {
        let own = pool.spec.backend.get(&it.name).map_or(it.configured.weight, |own| own.weight);
        let hundredths = u64::from(own) * u64::from(said(it).percent.unwrap_or(100));
        hundredths.min(u64::from(WEIGHT_MAX) * 100)
    };
    for it in &pool.backends {
        let (name, said) = (format!("{}/{}", pool.name, it.name), said(it));
        if let Some(own) = pool.spec.backend.get(&it.name) {
            let admin = if own.state == Admin::Ready { said.admin } else { own.state };
            if it.admin != admin {
                let (is, own) = (it.admin, own.state);
                return Err(format!("{name} is {is:?}: operator {own:?}, agent {said:?}"));
            }
            let most = match (own.max_sessions, said.most) {
                (Some(own), Some(said)) => Some(own.min(said)),
                (own, said) => own.or(said),
            };
            if it.max_sessions != most {
                let is = it.max_sessions;
                return Err(format!("{name} may have {is:?}; {most:?} was said: {said:?}"));
            }
        }
        // Shares: each weight is to the greatest as their parts are, or as near as 256 allows.
        let greatest = pool.backends.iter().map(&part).max().unwrap_or(0);
        let most = pool.backends.iter().map(|it| u64::from(it.weight)).max().unwrap_or(0);
        let (has, wants) = (u64::from(it.weight) * greatest, part(it) * most);
        let is_rounded = most == u64::from(WEIGHT_MAX) && has.abs_diff(wants) * 2 <= greatest;
        let is_least = most == u64::from(WEIGHT_MAX) && it.weight == 1 && 0 < wants && wants < has;
        if has != wants && !is_rounded && !is_least {
            let (is, part) = (it.weight, part(it));
            return Err(format!("{name} has weight {is} beside {most}: {part} beside {greatest}"));
        }
    }
    Ok(())
}
