//! Settings of checks that mean something to some kinds of checks only.

use crate::spec::HealthKind::{self, Http, Mysql, Postgresql, SendExpect, Smtp, Tls};

/// The settings below `health` that are for some kinds only, and the kinds.
pub const OF_KINDS: &[(&str, &[HealthKind])] = &[
    ("health.method", &[Http]),
    ("health.path", &[Http]),
    ("health.host", &[Http, Tls, Smtp]),
    ("health.user", &[Mysql, Postgresql]),
    ("health.send", &[SendExpect]),
    ("health.expect", &[Http, SendExpect]),
    ("health.steps", &[SendExpect]),
];
