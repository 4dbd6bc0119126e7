//! Settings of a backend.

use super::super::{Effect, Form, Setting, Value};
use super::{ADMINS, STATES, required, row};
use crate::spec::{BackendSpec, Force, WEIGHT_MAX};

/// Settings of a backend: `[pool.NAME.backend]`, `NAME = { … }`.
pub static BACKEND: &[Setting<BackendSpec>] = &[
    required(row(
        ("address", "address"),
        Form::Target,
        Effect::Placement,
        (
            |it| Some(Value::Target(it.address)),
            |it, value| {
                if let Some(Value::Target(address)) = value {
                    it.address = address;
                }
            },
        ),
        "Where to connect to. Required. Another address makes it another backend: the old one is \
         shown as removed for as long as it has sessions.",
    )),
    row(
        ("weight", "weight"),
        Form::Count { min: 0, max: WEIGHT_MAX as u32 },
        Effect::Admission,
        small_count!(weight),
        "Its share beside the others'. 0 takes no new sessions.",
    ),
    row(
        ("priority", "priority"),
        Form::Count { min: 0, max: u8::MAX as u32 },
        Effect::Admission,
        small_count!(priority),
        "Backends of one priority are a group. The next group gets sessions when the ones before \
         cannot take them: a backup, or another zone. 0 is first.",
    ),
    row(
        ("state", "state"),
        STATES,
        Effect::Admission,
        word!(ADMINS, state),
        "`drain` takes no new sessions; `maint` is not checked either.",
    ),
    row(
        ("force", "force"),
        Form::Word { noun: "a forced health", words: &["up", "down"] },
        Effect::Admission,
        optional_word!(Force::ALL, force),
        "Its health by hand, until it is taken back (`force=` on a command line): checks go on and \
         are shown, and count for nothing. Absent: as checks and connects say.",
    ),
    row(
        ("max-sessions", "max_sessions"),
        Form::Count { min: 1, max: u32::MAX },
        Effect::Admission,
        optional!(Count, max_sessions),
        "The most sessions at once, over all shards, connecting ones included. A backend that has \
         them is full: others get new sessions, and these wait if all are full (`queue.size`). A \
         lower number cuts no session. No limit if absent.",
    ),
    row(
        ("connecting", "connecting_max"),
        Form::Count { min: 1, max: u32::MAX },
        Effect::Admission,
        optional!(Count, connecting),
        "The most connects on their way at once, over all shards: begun, and neither answered nor \
         given up. A backend that has them is full: others get new sessions, and these wait if \
         none has room (`queue.size`). No limit if absent.",
    ),
    row(
        ("connect-rate", "connect_rate_per_s"),
        Form::Rate,
        Effect::Admission,
        optional!(Rate, connect_rate),
        "How many connects begin in a second, over all shards: within any span of T seconds at \
         most the rate times T, and a tenth of the rate (1 at least) at once. Beyond it others get \
         new sessions, and these wait if none has room (`queue.size`). No limit if absent.",
    ),
];
