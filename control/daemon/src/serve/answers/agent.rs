//! Words of agents in answers.

use weir_control_core::health::AgentStanding;
use weir_proto::answer::AgentRow;
use weir_proto::ids::BackendId;

use super::{Queries, span};

/// The most backends that warnings name one by one.
const NAMED_MAX: usize = 8;

impl Queries<'_> {
    pub(super) fn agent_row(&self, id: BackendId) -> Option<AgentRow> {
        let agent = self.control.health.agent(id)?;
        let AgentStanding { mark, down, answered, fault, counts, .. } = agent;
        Some(AgentRow {
            says: agent.words(),
            weight_percent: mark.percent,
            state: mark.admin,
            max_sessions: mark.max_sessions,
            health: down.map(|health| health.word().to_owned()),
            answered_s: answered.map(|at| (self.now - at).as_secs_f64()),
            failure: fault.clone(),
            answered_total: counts.answered,
            failed_total: counts.failed + counts.local,
        })
    }

    /// Backends that their agents have taken out of service, and agents that do not answer.
    pub(super) fn agent_warnings(&self) -> Vec<String> {
        let health = &self.control.health;
        let pools = self.control.snapshot.pools.iter();
        let asked = pools.filter(|pool| pool.spec.agent.is_asked());
        let mut warnings = Vec::new();
        for (pool, backend) in asked.flat_map(|pool| pool.backends.iter().map(move |it| (pool, it)))
        {
            let Some(agent) = health.agent(backend.id) else { continue };
            let name = format!("{}/{}", pool.name, backend.name);
            let words = agent.words().filter(|_| agent.takes_out());
            if let Some(words) = words {
                warnings.push(format!("backend {name}: its agent says {words}"));
            }
            if let Some(fault) = &agent.fault {
                let last = match agent.answered {
                    Some(at) => format!("it last did {} ago", span((self.now - at).as_secs_f64())),
                    None => "it has not since the start".to_owned(),
                };
                warnings
                    .push(format!("backend {name}: its agent does not answer: {fault}; {last}"));
            }
        }
        let more = warnings.len().saturating_sub(NAMED_MAX);
        warnings.truncate(NAMED_MAX);
        if more > 0 {
            warnings.push(format!("there is as much to say of {more} more agents"));
        }
        warnings
    }
}
