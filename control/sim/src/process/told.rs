//! What control knows of health every shard knows too, as soon as nothing is on its way; and whose
//! sessions were to be reset has none.

use weir_core::session::Phase;
use weir_core::table::Table;
use weir_proto::ids::{BackendId, ShardId};
use weir_proto::order::BackendHealth;

use super::{SimProcess, StepResult};

impl SimProcess {
    /// Compares every shard's health with control's. A shard that has orders to take, or control
    /// one more to hand over, will hear; and control will hear of what a shard has to report.
    ///
    /// # Errors
    /// A shard that will never hear.
    pub(super) fn check_told(&self) -> StepResult {
        self.check_drained()?;
        let Some(daemon) = self.daemon.as_ref().filter(|_| self.alone.is_none()) else {
            return Ok(());
        };
        let health = &daemon.control.health;
        let wires = self.wires.borrow();
        for ((number, cell), wire) in (0..).zip(&self.cells).zip(&wires.all) {
            let told = daemon.control.has_told(ShardId(number)) && wire.is_taken();
            let Some(table) = cell.table().filter(|_| told && cell.is_known()) else { continue };
            check_killed(table, &daemon.killed)
                .map_err(|what| format!("shard {number}: {what}"))?;
            let view = table.view();
            for (pool, backend) in daemon.snapshot().backends() {
                let Some(figures) = view.figures_of(backend.id) else { continue };
                let known = health.standing(backend.id);
                // It has ejected the backend, and control does not know; or the other way round.
                let is_up = known == BackendHealth::Up;
                // A version that is not published yet has checks begin for it: shards hear with it.
                let is_next =
                    known == BackendHealth::Unproven && daemon.control.changes_waiting() > 0;
                let is_news = is_next
                    || (is_up && (cell.has_reports() || health.has_untold()))
                    || health.has_restated();
                if figures.health != known && !is_news {
                    let name = format!("{}/{}", pool.name, backend.name);
                    let its = figures.health;
                    return Err(format!("shard {number} has {name} {its:?}, control {known:?}"));
                }
            }
        }
        Ok(())
    }
}

/// Sessions of a backend that was removed by force are over, or about to be.
fn check_killed(table: &Table, killed: &[BackendId]) -> StepResult {
    if killed.is_empty() || table.is_sweeping() {
        return Ok(());
    }
    let backends = table.view().backends();
    for (id, session) in table.iter() {
        let on = session.route.backend.map(|slot| backends[slot.index()].id);
        let is_killed = on.is_some_and(|on| killed.contains(&on));
        if is_killed && !matches!(session.phase(), Phase::Closing(_)) {
            return Err(format!("{id:?} goes on after {on:?} was removed by force"));
        }
    }
    Ok(())
}
