//! A process that exits cleanly may hand over to the next one what its control knows. The next one
//! has shards of its own; its control must not be told from the one before it.

use serde_json::Value;
use weir_control_core::control::{Control, Input, Legacy, Remainder};
use weir_engine_sim::rng::mix;
use weir_proto::ids::Version;

use super::daemon::{self, Daemon};
use super::{MS, SimProcess, drained};

/// The state that goes from one process to the next, as it was written.
#[derive(Debug)]
pub(super) struct HandedOver {
    legacy: Vec<u8>,
    rest: Vec<u8>,
}

impl SimProcess {
    /// Takes what the next process gets, in every second end.
    pub(super) fn hand_over(&mut self) -> Option<HandedOver> {
        let is_chosen = mix(self.street.now / MS).is_multiple_of(2);
        if !is_chosen || self.alone.is_some() || self.is_draining() {
            return None;
        }
        let moment = daemon::moment(self.street.now);
        let daemon = self.daemon.as_mut()?;
        if daemon.waiting() > 0 || !daemon.control.is_serving() {
            return None;
        }
        daemon.give(Input::HandOverBegins { id: drained::READY }, moment);
        if !daemon.control.is_handing_over() {
            return None;
        }
        let legacy = daemon.control.legacy();
        daemon.give(Input::Tick, moment);
        let rest = daemon.control.legacy_remainder(&legacy).to_json();
        self.street.note("hands over", [0, 0]);
        Some(HandedOver { legacy: legacy.to_json(), rest })
    }
}

impl HandedOver {
    /// The state that control begins with, if it is of that version.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn legacy(&self, version: Version) -> Result<Option<Box<Legacy>>, String> {
        let legacy = Legacy::of_json(&self.legacy)?;
        Ok((legacy.version() == version).then(|| legacy.into()))
    }

    /// Compares the next process with the one before it, and gives it the rest.
    ///
    /// # Errors
    /// They can be told from each other.
    pub(super) fn check(&self, daemon: &mut Daemon, now: u64) -> Result<(), String> {
        let read = |text: &[u8]| serde_json::from_slice::<Value>(text).map_err(|it| it.to_string());
        let (before, after) = (read(&self.legacy)?, read(&daemon.control.legacy().to_json())?);
        for key in CARRIED {
            let [before, after] = [&before, &after].map(|it| it[key].to_string());
            if before != after {
                return Err(format!("{key} of the process before was {before}; now {after}"));
            }
        }
        check_health(&before, &after)?;
        check_events(&before, &daemon.control)?;
        let rest = Remainder::of_json(&self.rest)?;
        daemon.give(Input::Inherit(Some(rest.into())), daemon::moment(now));
        Ok(())
    }
}

/// The fields that are the same at the start of the next process.
const CARRIED: [&str; 14] = [
    "version",
    "serves_since",
    "ids",
    "listeners",
    "pools",
    "is_draining",
    "aggregate",
    "live",
    "panicking",
    "unconfirmed",
    "rolled_back",
    "records_dropped",
    "limits",
    "fullness",
];

/// Each backend is what it was; only a check that was under way is begun again.
fn check_health(before: &Value, after: &Value) -> Result<(), String> {
    let rows = |of: &Value| -> Vec<Value> {
        let rows = of["health"]["watched"].as_array().cloned().unwrap_or_default();
        let without_due = |mut row: Value| {
            row.as_object_mut().map(|row| row.remove("due"));
            row
        };
        rows.into_iter().map(without_due).collect()
    };
    let (before, after) = (rows(before), rows(after));
    let other = before.iter().zip(&after).find(|(before, after)| before != after);
    match other {
        Some((before, after)) => Err(format!("a backend was {before}; now it is {after}")),
        None if before.len() == after.len() => Ok(()),
        None => Err(format!("{} backends were watched, now {}", before.len(), after.len())),
    }
}

/// No event is missing, and none has another number.
fn check_events(before: &Value, control: &Control) -> Result<(), String> {
    let last = before["events"]["last"].as_u64().unwrap_or_default();
    if control.events.last() < last {
        let now = control.events.last();
        return Err(format!("event {last} was the last one, now it is {now}"));
    }
    Ok(())
}
