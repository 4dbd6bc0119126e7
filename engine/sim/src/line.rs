//! The line for a buffer, as it should be: first come, first served.

use std::collections::VecDeque;

use weir_core::event::Side;
use weir_core::table::{SessionId, Table};

use crate::kernel::{Key, Seen};

/// Flows that have found no buffer, the first one first.
#[derive(Debug, Default)]
pub struct Line(VecDeque<(Key, Side)>);

impl Line {
    /// What the shard heard and did in one turn.
    ///
    /// # Errors
    /// A flow that was let go on before one that waits longer, and whose session goes on.
    pub fn saw(&mut self, seen: &[Seen], table: &Table) -> Result<(), String> {
        let goes_on = |(slot, generation): Key| {
            let session = table.session(SessionId { slot, generation });
            session.is_some_and(|session| session.is_relaying())
        };
        // One whose queue is full waits for no buffer, and asks again by itself; so one that does
        // in the same turn is not counted.
        let starves = |session: Key, side, later: &[Seen]| {
            let (slot, generation) = session;
            let now = table.session(SessionId { slot, generation });
            now.is_some_and(|now| now.is_starved(side))
                && !later.contains(&Seen::Receives { session, side })
        };
        for (index, one) in seen.iter().enumerate() {
            // One whose sink takes nothing leaves the line without a buffer.
            let still = |(session, side): (Key, Side)| {
                let (slot, generation) = session;
                let now = table.session(SessionId { slot, generation });
                now.is_some_and(|now| now.is_starved(side))
                    || seen[index..].contains(&Seen::Receives { session, side })
            };
            match *one {
                Seen::Starved { session, side } if starves(session, side, &seen[index..]) => {
                    self.0.push_back((session, side));
                }
                Seen::NoRoom { session, side } => self.0.retain(|one| *one != (session, side)),
                // It has left the line, and comes back behind the others.
                Seen::Dropped { session } => self.0.retain(|one| one.0 != session),
                Seen::Receives { session, side } => {
                    let place = self.0.iter().position(|one| *one == (session, side));
                    let Some(place) = place else { continue };
                    let ahead =
                        self.0.iter().take(place).find(|ahead| goes_on(ahead.0) && still(**ahead));
                    if let Some(ahead) = ahead {
                        return Err(format!("{session:?} gets a buffer before {ahead:?}"));
                    }
                    self.0.remove(place);
                }
                _ => {}
            }
        }
        self.0.retain(|((slot, generation), side)| {
            let session = table.session(SessionId { slot: *slot, generation: *generation });
            session.is_some_and(|it| it.is_relaying() && it.is_starved(*side))
        });
        Ok(())
    }
}
