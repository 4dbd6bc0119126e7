//! Limits of each client: `limit_conn` of a zone by the client's address.

use weir_proto::spec::PerSourceSpec;

use super::parser::NginxDirective;

/// The limits of each client of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientLimits {
    /// Zones by the client's address.
    zones: Vec<String>,
    /// The lowest `limit_conn` of one.
    sessions: Option<u32>,
}

impl ClientLimits {
    /// `limit_conn_zone $binary_remote_addr zone=addr:10m`, and `limit_conn addr 10`. False if it
    /// counts by something else.
    pub(super) fn take(&mut self, directive: &NginxDirective) -> bool {
        let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["limit_conn_zone", "$binary_remote_addr" | "$remote_addr", zone] => {
                let name = zone.strip_prefix("zone=").and_then(|zone| zone.split(':').next());
                self.zones.extend(name.map(str::to_owned));
                name.is_some()
            }
            ["limit_conn", zone, count] if self.zones.iter().any(|it| it == zone) => {
                let count = count.parse::<u32>().ok().filter(|count| *count > 0);
                self.sessions = self.sessions.into_iter().chain(count).min();
                count.is_some()
            }
            _ => false,
        }
    }

    /// The same as weir has it. nginx counts by the whole address.
    pub(super) fn spec(&self) -> PerSourceSpec {
        let ipv6 = if self.sessions.is_some() { 128 } else { 64 };
        PerSourceSpec { sessions: self.sessions, ipv6, ..PerSourceSpec::default() }
    }
}
