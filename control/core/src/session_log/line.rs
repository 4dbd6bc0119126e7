//! One line of the session log, in each of its forms.

use std::fmt::Write;

use serde_json::{Value, json};
use weir_core::base::clock::Now;
use weir_proto::answer::SessionRow;
use weir_proto::ids::ShardId;
use weir_proto::reason::{By, CloseReason, SessionEnd, Why};
use weir_proto::session_log::{SessionEvent, SessionRecord};

use crate::sessions::{GoneNames, Names};
use crate::timestamp::rfc3339;

/// One record with names and times that people can read.
pub(super) struct LoggedLine {
    event: SessionEvent,
    wall_ms: u64,
    session: SessionRow,
    /// Of a backend that the version in force has.
    backend_address: Option<String>,
    connect_us: Option<u32>,
    blocked_ms: [u64; 2],
}

impl LoggedLine {
    pub(super) fn of(
        shard: ShardId,
        record: SessionRecord,
        (names, gone): (&Names, &GoneNames),
        (now, wall_ms): (Now, u64),
    ) -> LoggedLine {
        let SessionRecord { event, at_nanos, session, connect_us } = record;
        let since = now.nanos.saturating_sub(at_nanos) / 1_000_000;
        let backend = session.backend.and_then(|id| names.backend(id));
        LoggedLine {
            event,
            wall_ms: wall_ms.saturating_sub(since),
            backend_address: backend.map(|backend| backend.address.to_string()),
            blocked_ms: session.blocked_ms,
            session: names.row(shard, session, gone),
            connect_us,
        }
    }

    fn word(&self) -> &'static str {
        match self.event {
            SessionEvent::Open => "open",
            SessionEvent::Update => "update",
            SessionEvent::Close(_) => "close",
        }
    }

    fn end(&self) -> Option<SessionEnd> {
        match self.event {
            SessionEvent::Close(end) => Some(end),
            SessionEvent::Open | SessionEvent::Update => None,
        }
    }

    fn reason(&self) -> Option<CloseReason> {
        self.end().map(|end| end.reason)
    }

    /// Who is to be asked about the end, beside its reason.
    fn blame(&self) -> Vec<(&'static str, Value)> {
        let Some(end) = self.end() else { return Vec::new() };
        let [client, backend] = self.blocked_ms.map(|ms| ms as f64 / 1e3);
        let [to_client, to_backend] = end.undelivered_bytes;
        vec![
            ("closed_first", json!(end.first)),
            ("blocked_client_s", json!(client)),
            ("blocked_backend_s", json!(backend)),
            ("undelivered_client_bytes", json!(to_client)),
            ("undelivered_backend_bytes", json!(to_backend)),
        ]
    }

    /// Every key with its value, in the order of a line. Keys without a value are left out.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let session = &self.session;
        let mut fields = vec![
            ("at", json!(rfc3339(self.wall_ms))),
            ("event", json!(self.word())),
            ("id", json!(session.id)),
            ("listener", json!(session.listener)),
            ("pool", json!(session.pool)),
            ("backend", json!(session.backend)),
            ("backend_address", json!(self.backend_address)),
            ("client", json!(session.client)),
            ("route", json!(session.route)),
            ("sni", json!(session.sni)),
            ("version", json!(session.version)),
            ("shard", json!(session.shard)),
            ("age_s", json!(session.age_s)),
            ("connect_s", json!(self.connect_us.map(|us| f64::from(us) / 1e6))),
            ("received_bytes", json!(session.received_bytes)),
            ("sent_bytes", json!(session.sent_bytes)),
        ];
        if self.event == SessionEvent::Update {
            fields.extend([
                ("state", json!(session.state)),
                ("idle_s", json!(session.idle_s)),
                ("rate_bytes_per_s", json!(session.rate_bytes_per_s)),
                ("blocked_on", json!(session.blocked_on)),
            ]);
        }
        if let Some(reason) = self.reason() {
            fields.extend([
                ("code", json!(reason.code_text())),
                ("by", json!(reason.by)),
                ("during", json!(reason.during)),
                ("why", json!(reason.why)),
            ]);
            fields.extend(self.blame());
        }
        fields.retain(|(_, value)| !value.is_null());
        fields
    }

    pub(super) fn json(&self, text: &mut String) {
        object(text, self.fields());
    }

    pub(super) fn logfmt(&self, text: &mut String) {
        for (number, (key, value)) in self.fields().into_iter().enumerate() {
            text.push_str(if number == 0 { "" } else { " " });
            let plain = match &value {
                Value::String(word) if !word.contains([' ', '"', '=', '\\']) => word.clone(),
                other => other.to_string(),
            };
            let _ = write!(text, "{key}={plain}"); // a String takes everything
        }
    }

    /// Field names of the Elastic Common Schema, with dots in the keys
    /// (<https://www.elastic.co/docs/reference/ecs>). What it has no name for is below `weir`.
    pub(super) fn ecs(&self, text: &mut String) {
        let session = &self.session;
        let began_ms = self.wall_ms.saturating_sub(millis(session.age_s));
        let (kind, end) = match self.event {
            SessionEvent::Open => ("start", None),
            SessionEvent::Update => ("info", None),
            SessionEvent::Close(_) => ("end", Some(rfc3339(self.wall_ms))),
        };
        let outcome = self.reason().map(outcome);
        let split = |address: &Option<String>| {
            let (ip, port) = address.as_ref()?.rsplit_once(':')?;
            Some((ip.trim_matches(['[', ']']).to_owned(), port.parse::<u16>().ok()?))
        };
        let (source, destination) = (split(&session.client), split(&self.backend_address));
        let mut fields = vec![
            ("@timestamp", json!(rfc3339(self.wall_ms))),
            ("ecs.version", json!("8.11.0")),
            ("event.kind", json!("event")),
            ("event.category", json!(["network"])),
            ("event.type", json!(["connection", kind])),
            ("event.action", json!(format!("session-{}", self.word()))),
            ("event.outcome", json!(outcome)),
            ("event.reason", json!(self.reason().map(|reason| reason.why))),
            ("event.start", json!(rfc3339(began_ms))),
            ("event.end", json!(end)),
            ("event.duration", json!(millis(session.age_s).saturating_mul(1_000_000))),
            ("source.ip", json!(source.as_ref().map(|(ip, _)| ip))),
            ("source.port", json!(source.as_ref().map(|(_, port)| port))),
            ("source.bytes", json!(session.sent_bytes)),
            ("destination.ip", json!(destination.as_ref().map(|(ip, _)| ip))),
            ("destination.port", json!(destination.as_ref().map(|(_, port)| port))),
            ("destination.bytes", json!(session.received_bytes)),
            ("network.transport", json!("tcp")),
            ("network.bytes", json!(session.received_bytes + session.sent_bytes)),
            ("observer.product", json!("weir")),
            ("observer.type", json!("load-balancer")),
            ("weir.session", json!(session.id)),
            ("weir.listener", json!(session.listener)),
            ("weir.pool", json!(session.pool)),
            ("weir.backend", json!(session.backend)),
            ("weir.version", json!(session.version)),
            ("weir.code", json!(self.reason().map(CloseReason::code_text))),
            ("weir.by", json!(self.reason().map(|reason| reason.by))),
            ("weir.during", json!(self.reason().map(|reason| reason.during))),
            ("weir.closed_first", json!(self.end().map(|end| end.first))),
        ];
        fields.retain(|(_, value)| !value.is_null());
        object(text, fields);
    }

    /// `FIELD=value` lines. No value has a newline: names and addresses have none.
    pub(super) fn datagram(&self) -> Vec<u8> {
        let session = &self.session;
        let mut text = String::from("MESSAGE=");
        let client = session.client.as_deref().unwrap_or("a client");
        let backend = session.backend.as_deref().unwrap_or("no backend");
        let _ = write!(text, "session {} {}: {client} to {backend}", session.id, self.word());
        if let Some(reason) = self.reason() {
            let _ = write!(text, ", {} by {}", reason.why.label(), reason.by.label());
        }
        text.push_str("\nPRIORITY=6\nSYSLOG_IDENTIFIER=weir\n");
        for (key, value) in self.fields() {
            let value = match value {
                Value::String(word) => word,
                other => other.to_string(),
            };
            let _ = writeln!(text, "WEIR_{}={value}", key.to_ascii_uppercase());
        }
        text.into_bytes()
    }
}

fn object(text: &mut String, fields: Vec<(&'static str, Value)>) {
    text.push('{');
    for (number, (key, value)) in fields.into_iter().enumerate() {
        text.push_str(if number == 0 { "" } else { "," });
        let _ = write!(text, "\"{key}\":{value}");
    }
    text.push('}');
}

/// An end that its client or its backend wanted is a success.
fn outcome(reason: CloseReason) -> &'static str {
    match (reason.why, reason.by) {
        (Why::Complete, _) | (Why::Reset, By::Client) => "success",
        _ => "failure",
    }
}

/// Seconds that were made of whole milliseconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // neither negative nor large
fn millis(seconds: f64) -> u64 {
    (seconds * 1e3).round() as u64
}
