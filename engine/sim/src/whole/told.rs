//! What control knows of health every shard knows too, as soon as nothing is on its way.

use weir_proto::ids::ShardId;

use super::{Checked, Whole};

impl Whole {
    /// Compares every shard's health with control's. A shard that has orders to take, or control
    /// one more to hand over, will hear; and control will hear of what a shard has to report.
    ///
    /// # Errors
    /// A shard that will never hear.
    pub(super) fn check_told(&self) -> Checked {
        let Some(daemon) = self.daemon.as_ref().filter(|_| !self.frozen) else { return Ok(()) };
        let health = daemon.control.health.borrow();
        let wires = self.wires.borrow();
        for ((number, cell), wire) in (0..).zip(&self.cells).zip(&wires.all) {
            let told = daemon.control.has_told(ShardId(number)) && wire.is_taken();
            let Some(view) = cell.view().filter(|_| told && cell.is_known()) else { continue };
            for (pool, backend) in daemon.snapshot().backends() {
                let Some(figures) = view.figures_of(backend.id) else { continue };
                let up = health.is_up(backend.id);
                // It has ejected the backend, and control does not know; or the other way round.
                let is_news = up && (cell.has_reports() || health.has_untold());
                if figures.healthy != up && !is_news {
                    let name = format!("{}/{}", pool.name, backend.name);
                    let word = |up| if up { "up" } else { "down" };
                    let (its, ours) = (word(figures.healthy), word(up));
                    return Err(format!("shard {number} has {name} {its}, and control {ours}"));
                }
            }
        }
        Ok(())
    }
}
