//! The process that takes over, once it serves: the last sessions come.

use std::rc::Rc;

use weir_control_core::control::{Input, Remainder};

use crate::rt;
use crate::serve::Shared;
use crate::upgrade::successor::Predecessor;
use crate::upgrade::{FromSuccessor, GIVE_MAX, READY_MAX, ToSuccessor};

/// How often figures are asked for until all are of after the last session. Two of each shard are
/// needed.
const FIGURES_MAX: u32 = 40;

/// Waits for the last session, and says that all have come.
pub(crate) async fn finish(shared: Rc<Shared>, predecessor: Rc<Predecessor>, givers: u32) {
    let all = || (shared.control().handovers.taken().ended >= givers).then_some(());
    let is_whole = rt::timeout(GIVE_MAX + READY_MAX, shared.until(all)).await.is_some();
    let taken = shared.control().handovers.taken();
    let heard = predecessor.hear().await;
    let rest = match heard {
        Ok(ToSuccessor::Remainder(rest)) => Remainder::of_json(&rest),
        Ok(_) => Err("it says something else than was expected".to_owned()),
        Err(why) => Err(why),
    };
    if let Err(why) = &rest {
        tracing::warn!("the weir before this one has ended too early: {why}");
    }
    if taken.broken > 0 || !is_whole {
        tracing::error!("some sessions of the weir before this one have not come");
    }
    tracing::info!("has taken {} sessions over", taken.sessions);
    shared.handle(Input::Inherit(rest.ok().map(Box::new)));
    // Only what has heard from each shard can be upgraded itself, which may follow at once. A shard
    // that stands still does not keep the old process alive.
    for _ in 0..FIGURES_MAX {
        if !shared.control().is_taking_over() {
            break;
        }
        shared.fresh_figures().await;
    }
    predecessor.say(FromSuccessor::Done { sessions: taken.sessions }).await;
}
