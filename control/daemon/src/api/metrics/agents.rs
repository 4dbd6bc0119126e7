//! Figures of backends that have agents.

use weir_control_core::health::AgentCounts;
use weir_proto::snapshot::Backend;
use weir_proto::spec::Admin;

use super::BackendRow;
use super::page::Page;

/// Of backends whose agents are asked.
pub(super) fn agents(page: &mut Page, rows: &[BackendRow<'_>]) {
    let live = || {
        let live = rows.iter().filter_map(|row| Some((row, row.live?.0, row.agent?)));
        live.map(|(row, backend, counts): (_, &Backend, AgentCounts)| (row, backend, counts))
    };
    let help = "The part of the backend's weight that its agent names, 1 is all of it.";
    let mut family = page.gauge("weir_backend_agent_weight_ratio", help);
    for (row, backend, _) in live() {
        let percent = backend.mark.percent.unwrap_or(100);
        family.row(&row.labels(), f64::from(percent) / 100.0);
    }
    let help = "1 for the state that the backend's agent names, 0 for the others.";
    let mut family = page.gauge("weir_backend_agent_state", help);
    for (row, backend, _) in live() {
        let [pool, name] = row.labels();
        for state in [Admin::Ready, Admin::Drain, Admin::Maint] {
            let is_now = u8::from(backend.mark.admin == state);
            family.row(&[pool, name, ("state", state.word())], is_now);
        }
    }
    let help = "Questions to the backend's agent, by result.";
    let mut family = page.counter("weir_backend_agent_checks_total", help);
    for (row, _, counts) in live() {
        let [pool, name] = row.labels();
        let AgentCounts { answered, failed, local } = counts;
        for (result, count) in [("ok", answered), ("fail", failed), ("local", local)] {
            family.row(&[pool, name, ("result", result)], count);
        }
    }
}
