//! The lines for a backend with room, as they should be: first come, first served, and no session
//! waits while there is one.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::session::Phase;
use weir_core::table::{SessionId, Table};

use crate::kernel::{Kernel, Key};

/// Sessions that no backend has refused and that wait, each with the turn that first saw it wait.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: BTreeMap<Key, u64>,
    /// Sessions that had a backend after the last turn.
    served: BTreeSet<Key>,
    turns: u64,
}

impl Queue {
    /// Takes note of a turn.
    ///
    /// # Errors
    /// A session was served before one of its pool that had waited for longer, or had come before.
    pub fn saw(&mut self, table: &Table) -> Result<(), String> {
        self.turns += 1;
        let mut now = BTreeMap::new();
        let (mut served, mut new) = (BTreeSet::new(), Vec::new());
        for (id, session) in table.iter() {
            let key = (id.slot, id.generation);
            if session.route.backend.is_some() {
                served.insert(key);
                let is_new = !self.served.contains(&key) && !self.waiting.contains_key(&key);
                if is_new && session.counted_retry == Some(false) {
                    new.push((key, session.route.pool));
                }
            }
            if session.is_in_queue && session.tries() == 0 {
                let since = self.waiting.get(&key).copied().unwrap_or(self.turns);
                now.insert(key, since);
            }
        }
        let pool_of = |(slot, generation): Key| {
            let session = table.session(SessionId { slot, generation })?;
            Some((session, session.route.pool))
        };
        for (key, since) in self.waiting.iter().filter(|(key, _)| !now.contains_key(key)) {
            let Some((session, pool)) = pool_of(*key) else { continue };
            let is_served = session.is_relaying() || session.counted_retry == Some(false);
            let is_before = |(other, than): &(&Key, &u64)| {
                *than < since && pool_of(**other).is_some_and(|(_, other)| other == pool)
            };
            if let Some((other, _)) = now.iter().find(is_before).filter(|_| is_served) {
                return Err(format!("{key:?} got a backend before {other:?}, which came before"));
            }
        }
        for (key, _) in self.waiting.iter().filter(|(key, _)| now.contains_key(key)) {
            let Some((_, pool)) = pool_of(*key) else { continue };
            if let Some((other, _)) = new.iter().find(|(_, of)| *of == pool) {
                return Err(format!("{other:?} has just come and got a backend before {key:?}"));
            }
        }
        (self.waiting, self.served) = (now, served);
        Ok(())
    }
}

/// A shard that sleeps leaves no session waiting for a backend that has room, and wakes for the
/// next token of each that has none.
///
/// # Errors
/// It does.
pub(crate) fn check(table: &Table, kernel: &Kernel) -> Result<(), String> {
    let rests = kernel.wait_until.is_none_or(|until| until > kernel.now);
    if !rests || kernel.wakes() {
        return Ok(());
    }
    let token_at = table.token_at().map(|at| at.nanos);
    if let Some(at) = token_at.filter(|at| kernel.wait_until.is_none_or(|until| until > *at)) {
        return Err(format!(
            "the shard sleeps until {:?}, and a token comes at {at}",
            kernel.wait_until
        ));
    }
    if let Some(id) = table.view().sleeps_on_a_token() {
        return Err(format!("no token of backend {id} is awaited, and it has none"));
    }
    for (id, session) in table.iter().filter(|(_, session)| session.is_in_queue) {
        assert!(matches!(session.phase(), Phase::Connecting(_)), "{session:?}");
        let pool = session.route.pool;
        if session.tries() == 0 && table.view().has_room(pool) && !table.is_held(id) {
            return Err(format!("{id:?} waits, and a backend has room: {session:?}"));
        }
    }
    let mut waiting = vec![0; table.view().pools().len()];
    table.iter().filter(|it| it.1.is_in_queue).for_each(|it| waiting[it.1.route.pool.index()] += 1);
    for (slot, waiting) in waiting.into_iter().enumerate() {
        let queued = table.queued(weir_core::slot::PoolSlot::at(slot));
        if queued != waiting {
            return Err(format!("pool {slot} counts {queued} in its line; {waiting} wait"));
        }
    }
    Ok(())
}
