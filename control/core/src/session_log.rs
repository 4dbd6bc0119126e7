//! The session log: what is logged and where to, and what a line says. Shards make records (see
//! [`SessionRecord`]), control hands them on, and another thread makes lines of them.

mod line;

use std::path::PathBuf;
use std::sync::Arc;

use weir_core::base::clock::Now;
use weir_proto::ids::ShardId;
use weir_proto::session_log::{SessionLogging, SessionRecord};
use weir_proto::snapshot::Snapshot;

use crate::sessions::{GoneNames, Names};
use line::LoggedLine;

/// The session log, as `[weir] session-log` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLogSettings {
    pub to: LogTarget,
    pub format: LogFormat,
    pub logging: SessionLogging,
}

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Between the lines of weir's own log.
    Stderr,
    /// systemd-journald, with a field for each key.
    Journald,
    /// A file that is appended to, and opened again at SIGUSR1.
    File(PathBuf),
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// An object with weir's keys.
    #[default]
    Json,
    /// `key=value`
    Logfmt,
    /// An object with the keys of the Elastic Common Schema.
    Ecs,
}

impl LogFormat {
    pub const ALL: [LogFormat; 3] = [LogFormat::Json, LogFormat::Logfmt, LogFormat::Ecs];

    /// Its word in the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            LogFormat::Json => "json",
            LogFormat::Logfmt => "logfmt",
            LogFormat::Ecs => "ecs",
        }
    }
}

/// Records of one shard, with all that it takes to read them.
#[derive(Debug)]
pub struct LoggedSessions {
    pub shard: ShardId,
    pub rows: Vec<SessionRecord>,
    /// The version in force, and the names that it does not have.
    pub snapshot: Arc<Snapshot>,
    pub gone: GoneNames,
    /// The moment at which control took them, by both clocks: the second one is Unix time.
    pub taken_at: (Now, u64),
}

/// Makes lines of records.
#[derive(Debug)]
pub struct LineMaker {
    format: LogFormat,
    /// Those of the version that the last records had: there are a hundred thousand of them.
    names: Option<Names>,
}

impl LineMaker {
    #[must_use]
    pub fn new(format: LogFormat) -> LineMaker {
        LineMaker { format, names: None }
    }

    /// The lines of some records, each with its newline.
    pub fn lines(&mut self, logged: LoggedSessions) -> String {
        let format = self.format;
        let mut text = String::new();
        self.each(logged, |line| {
            match format {
                LogFormat::Json => line.json(&mut text),
                LogFormat::Logfmt => line.logfmt(&mut text),
                LogFormat::Ecs => line.ecs(&mut text),
            }
            text.push('\n');
        });
        text
    }

    /// The same as datagrams of journald's native protocol, one for each record
    /// (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).
    pub fn datagrams(&mut self, logged: LoggedSessions) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::with_capacity(logged.rows.len());
        self.each(logged, |line| datagrams.push(line.datagram()));
        datagrams
    }

    fn each(&mut self, logged: LoggedSessions, mut write: impl FnMut(&LoggedLine)) {
        let LoggedSessions { shard, rows, snapshot, gone, taken_at } = logged;
        if !self.names.as_ref().is_some_and(|names| names.is_of(&snapshot)) {
            self.names = Some(Names::of(snapshot));
        }
        let Some(names) = &self.names else { return };
        for record in rows {
            write(&LoggedLine::of(shard, record, (names, &gone), taken_at));
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_proto::ids::{BackendId, IdSource, ListenerId, PoolId, Version};
    use weir_proto::reason::{By, CloseReason, During, SessionEnd, Why};
    use weir_proto::session::{ListedSession, SessionKey, SessionState};
    use weir_proto::session_log::SessionEvent;

    use super::*;
    use crate::file;

    fn version() -> Arc<Snapshot> {
        let text = "[listener.l]\nbind = \"127.0.0.1:80\"\npool = \"web\"\n[pool.web.backend]\n\
                    b1 = { address = \"[2001:db8::1]:443\" }\n";
        let spec = file::parse(text, "weir.toml").expect("it is sound").spec;
        let mut ids = IdSource::default();
        Snapshot::build(&spec, Version(3), &Snapshot::empty(), &mut ids).expect("sound").into()
    }

    fn record(event: SessionEvent, snapshot: &Snapshot) -> SessionRecord {
        let (pool, backend) = snapshot.backends().next().expect("one");
        SessionRecord {
            event,
            at_nanos: 9_000_000_000,
            session: ListedSession {
                key: SessionKey { slot: 17, generation: 3 },
                listener: snapshot.listeners[0].id,
                pool: pool.id,
                backend: Some(backend.id),
                client: "192.0.2.7:5000".parse().ok(),
                route: None,
                server_name: None,
                age_ms: 1_500,
                idle_ms: 20,
                received_bytes: 5,
                sent_bytes: 7,
                rate_bytes_per_s: 11,
                state: SessionState::Relaying,
                blocked_on: None,
                blocked_ms: [0, 2_500],
                version: Version(2),
                legs: None,
            },
            connect_us: Some(1_250),
        }
    }

    const END: SessionEvent = SessionEvent::Close(SessionEnd {
        reason: CloseReason { by: By::Backend, during: During::Relaying, why: Why::Reset },
        first: By::Client,
        undelivered_bytes: [0, 42],
    });

    fn logged(rows: Vec<SessionRecord>, snapshot: &Arc<Snapshot>) -> LoggedSessions {
        let taken_at = (Now::from_nanos(9_250_000_000), 1_000_250);
        let (snapshot, gone) = (Arc::clone(snapshot), GoneNames::default());
        LoggedSessions { shard: ShardId(0), rows, snapshot, gone, taken_at }
    }

    fn text(format: LogFormat, event: SessionEvent) -> String {
        let snapshot = version();
        LineMaker::new(format).lines(logged(vec![record(event, &snapshot)], &snapshot))
    }

    #[test]
    fn a_line_has_every_key_that_has_a_value() {
        let common = "\"id\":\"0.17.3\",\"listener\":\"l\",\"pool\":\"web\",\"backend\":\"web/b1\",\
                      \"backend_address\":\"[2001:db8::1]:443\",\"client\":\"192.0.2.7:5000\",\
                      \"version\":2,\"shard\":0,\"age_s\":1.5,\"connect_s\":0.00125,\
                      \"received_bytes\":5,\"sent_bytes\":7";
        let at = "{\"at\":\"1970-01-01T00:16:40.000Z\",";
        assert_eq!(
            text(LogFormat::Json, SessionEvent::Open),
            format!("{at}\"event\":\"open\",{common}}}\n")
        );
        assert_eq!(
            text(LogFormat::Json, SessionEvent::Update),
            format!(
                "{at}\"event\":\"update\",{common},\"state\":\"relaying\",\"idle_s\":0.02,\
                 \"rate_bytes_per_s\":11}}\n"
            )
        );
        assert_eq!(
            text(LogFormat::Json, END),
            format!(
                "{at}\"event\":\"close\",{common},\"code\":\"SD\",\"by\":\"backend\",\
                 \"during\":\"relaying\",\"why\":\"reset\",\"closed_first\":\"client\",\
                 \"blocked_client_s\":0.0,\"blocked_backend_s\":2.5,\
                 \"undelivered_client_bytes\":0,\"undelivered_backend_bytes\":42}}\n"
            )
        );
    }

    #[test]
    fn logfmt_quotes_what_needs_it() {
        let line = text(LogFormat::Logfmt, END);
        let begin = "at=1970-01-01T00:16:40.000Z event=close id=0.17.3 listener=l pool=web ";
        assert!(
            line.starts_with(begin) && line.ends_with(" undelivered_backend_bytes=42\n"),
            "{line}"
        );
        assert!(line.contains(" age_s=1.5 connect_s=0.00125 "), "{line}");
    }

    #[test]
    fn ecs_has_its_own_keys() {
        let line = text(LogFormat::Ecs, END);
        let value: serde_json::Value = serde_json::from_str(&line).expect("an object");
        for (key, wanted) in [
            ("@timestamp", "1970-01-01T00:16:40.000Z"),
            ("event.start", "1970-01-01T00:16:38.500Z"),
            ("event.end", "1970-01-01T00:16:40.000Z"),
            ("event.action", "session-close"),
            ("event.outcome", "failure"),
            ("source.ip", "192.0.2.7"),
            ("destination.ip", "2001:db8::1"),
            ("weir.code", "SD"),
        ] {
            assert_eq!(value[key], wanted, "{key} of {line}");
        }
        assert_eq!(value["event.duration"], 1_500_000_000_u64);
        assert_eq!((&value["source.bytes"], &value["destination.port"]), (&7.into(), &443.into()));
        let open = text(LogFormat::Ecs, SessionEvent::Open);
        assert!(!open.contains("event.end") && !open.contains("event.outcome"), "{open}");
    }

    #[test]
    fn what_is_gone_keeps_its_name() {
        let snapshot = version();
        let mut row = record(END, &snapshot);
        (row.session.pool, row.session.listener) = (PoolId(90), ListenerId(91));
        row.session.backend = Some(BackendId(92));
        let mut logged = logged(vec![row], &snapshot);
        logged.gone.pools.insert(PoolId(90), "old".to_owned());
        logged.gone.listeners.insert(ListenerId(91), "former".to_owned());
        logged.gone.backends.insert(BackendId(92), "old/b9".to_owned());
        let line = LineMaker::new(LogFormat::Logfmt).lines(logged);
        assert!(line.contains(" listener=former pool=old backend=old/b9 client="), "{line}");
    }

    #[test]
    fn a_datagram_has_a_line_for_each_field() {
        let snapshot = version();
        let rows = vec![record(SessionEvent::Open, &snapshot), record(END, &snapshot)];
        let datagrams = LineMaker::new(LogFormat::Json).datagrams(logged(rows, &snapshot));
        let last = String::from_utf8(datagrams[1].clone()).expect("text");
        let message = "MESSAGE=session 0.17.3 close: 192.0.2.7:5000 to web/b1, reset by backend\n";
        assert!(datagrams.len() == 2 && last.starts_with(message), "{last}");
        assert!(last.contains("\nWEIR_SENT_BYTES=7\n") && last.contains("\nWEIR_WHY=reset\n"));
        assert!(last.ends_with("\nWEIR_UNDELIVERED_BACKEND_BYTES=42\n"), "{last}");
    }
}
