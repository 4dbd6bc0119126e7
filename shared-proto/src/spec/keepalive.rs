//! How an idle peer is asked whether it is still there.

use serde::{Deserialize, Serialize};

use super::Span;

/// TCP keepalive on the legs of a listener's clients or of a pool's backends, and with it how long
/// a peer is believed that acknowledges nothing of what is sent to it: `interval` times `count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeepaliveSpec {
    /// How long nothing comes from a peer before it is asked; whole seconds, 1s to 9h.
    pub idle: Span,
    /// Between two questions; whole seconds, 1s to 9h.
    pub interval: Span,
    /// Questions without an answer after which it has vanished, 1 to 127.
    pub count: u32,
}

impl KeepaliveSpec {
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == KeepaliveSpec::default()
    }
}

impl Default for KeepaliveSpec {
    fn default() -> KeepaliveSpec {
        KeepaliveSpec { idle: Span::from_secs(60), interval: Span::from_secs(10), count: 6 }
    }
}
