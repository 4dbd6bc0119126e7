//! Live sessions as people see them.

use super::BySide;
use serde::{Deserialize, Serialize, Serializer};

use crate::session::{BlockedOn, Legs, SessionState};

/// `weirctl session list`. Its rows are of some milliseconds, not of one moment: sessions come and
/// go while they are looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    pub sessions: Vec<SessionRow>,
    /// The number of rows...
    pub shown: u64,
    /// ...of all sessions that the filter means.
    pub matched: u64,
    /// Shards that have not answered: their sessions are missing.
    pub missing_shards: Vec<u16>,
}

/// A live session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    /// As in `0.17.3`.
    pub id: String,
    pub listener: String,
    pub pool: String,
    /// `pool/backend`; `None` between two connects.
    pub backend: Option<String>,
    /// Address and port; `None` if the client has reset.
    pub client: Option<String>,
    /// The number of the listener's route that it has taken, from 1 on; `None`: the listener's
    /// pool.
    pub route: Option<u64>,
    /// The server name in the client's ClientHello, where a route asks for one.
    pub sni: Option<String>,
    pub age_s: f64,
    /// Since a byte last moved.
    pub idle_s: f64,
    /// From the backend.
    pub received_bytes: u64,
    /// To the backend.
    pub sent_bytes: u64,
    /// Both together, of about the last second.
    pub rate_bytes_per_s: u64,
    pub state: SessionState,
    /// The side for which bytes wait that it does not take.
    pub blocked_on: Option<BlockedOn>,
    /// The version under which it was accepted.
    pub version: u64,
    pub shard: u16,
}

/// `weirctl session show`. In JSON the keys of the session stand beside `legs`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SessionDetail {
    pub session: SessionRow,
    pub legs: Legs,
    /// The time in which weir had bytes for a side and its window was closed, since it connected.
    pub blocked_s: BySide<f64>,
}

/// `weirctl session kill`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// Sessions that were meant, and that a dry run would have ended.
    pub matched: u64,
    /// Sessions that were ended: 0 of a dry run.
    pub killed: u64,
    pub dry_run: bool,
    /// Shards that have not answered.
    pub missing_shards: Vec<u16>,
}

impl Serialize for SessionDetail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct FlatSession<'a> {
            #[serde(flatten)]
            session: &'a SessionRow,
            legs: &'a Legs,
            blocked_s: BySide<f64>,
        }
        let SessionDetail { session, legs, blocked_s } = self;
        if !serializer.is_human_readable() {
            return (session, legs, blocked_s).serialize(serializer);
        }
        FlatSession { session, legs, blocked_s: *blocked_s }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use crate::frame::{HEADER, decode, encode};

    fn row() -> SessionRow {
        SessionRow {
            id: "0.17.3".into(),
            listener: "web".into(),
            pool: "web".into(),
            backend: Some("web/b1".into()),
            client: None,
            route: None,
            sni: None,
            age_s: 1.5,
            idle_s: 0.0,
            received_bytes: 7,
            sent_bytes: 8,
            rate_bytes_per_s: 9,
            state: SessionState::HalfClosed,
            blocked_on: Some(BlockedOn::Client),
            version: 12,
            shard: 0,
        }
    }

    #[test]
    fn a_session_crosses_a_socket_and_its_keys_stand_together_in_json() {
        let detail =
            SessionDetail { session: row(), legs: Legs::default(), blocked_s: BySide::default() };
        let answer = Answer::Session(detail.into());
        let bytes = encode(&answer).unwrap();
        assert_eq!(decode::<Answer>(&bytes[HEADER..]).unwrap(), answer);
        let json = serde_json::to_value(match &answer {
            Answer::Session(detail) => detail,
            other => unreachable!("{other:?}"),
        });
        let json = json.unwrap();
        assert_eq!((&json["id"], &json["state"]), (&"0.17.3".into(), &"half-closed".into()));
        assert_eq!(json["blocked_on"], "client");
        assert!(json["legs"]["client"].is_null() && json["blocked_s"]["backend"] == 0.0);
    }
}
