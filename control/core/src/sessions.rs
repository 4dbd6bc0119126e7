//! Sessions that were found, as an answer: shards know identities, people names. A hundred thousand
//! rows are work for another thread than control's.

mod names;

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_proto::answer::{Answer, BySide, Killed, SessionDetail, SessionRow, Sessions};
use weir_proto::ids::{BackendId, ListenerId, PoolId, ShardId};
use weir_proto::request::{Code, Refusal};
use weir_proto::session::{Legs, ListedSession, SessionSort};
use weir_proto::snapshot::Snapshot;

pub(crate) use names::Names;

/// The form of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    List {
        sort: SessionSort,
        limit: u32,
    },
    One {
        name: String,
    },
    /// The sessions that were named, if any were.
    Kill {
        named: Vec<String>,
        dry_run: bool,
    },
}

/// Names of what is gone from the configuration while it has sessions.
#[derive(Clone, Debug, Default)]
pub struct GoneNames {
    pub listeners: BTreeMap<ListenerId, String>,
    pub pools: BTreeMap<PoolId, String>,
    /// `pool/backend`.
    pub backends: BTreeMap<BackendId, String>,
}

/// The rows of a search, from every shard.
#[derive(Debug)]
pub struct FoundSessions {
    pub form: AnswerForm,
    /// Shards that have not answered.
    pub missing: Vec<u16>,
    pub rows: Vec<(ShardId, ListedSession)>,
    /// Sessions that matched, or were ended.
    pub matched: u64,
    pub names: GoneNames,
    /// The one in force when the last shard answered.
    pub snapshot: Arc<Snapshot>,
}

impl FoundSessions {
    /// The answer.
    ///
    /// # Errors
    /// The session that was asked for is over.
    pub fn answer(self) -> Result<Answer, Refusal> {
        let FoundSessions { form, missing, mut rows, matched, names, snapshot } = self;
        match form {
            AnswerForm::Kill { named, dry_run } => {
                if matched == 0 && !named.is_empty() && missing.is_empty() {
                    return Err(none(&named.join(", ")));
                }
                let killed = if dry_run { 0 } else { matched };
                Ok(Answer::Killed(Killed { matched, killed, dry_run, missing_shards: missing }))
            }
            AnswerForm::One { name } => {
                let Some((shard, listed)) = rows.pop() else {
                    return Err(match missing.is_empty() {
                        true => none(&name),
                        false => Refusal::new(
                            Code::Failed,
                            format!("the shard of session {name} does not answer"),
                            "weirctl status",
                        ),
                    });
                };
                let legs = listed.legs.as_deref().cloned().unwrap_or_default();
                let session = Names::of(snapshot).row(shard, listed, &names);
                let blocked_s = blocked(&legs);
                Ok(Answer::Session(SessionDetail { session, legs, blocked_s }.into()))
            }
            AnswerForm::List { sort, limit } => {
                rows.sort_by(|(_, a), (_, b)| order(a, b, sort));
                rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
                let here = Names::of(snapshot);
                let rows = rows.into_iter().map(|(shard, listed)| here.row(shard, listed, &names));
                let sessions: Vec<SessionRow> = rows.collect();
                let shown = sessions.len() as u64;
                Ok(Answer::Sessions(Sessions { sessions, shown, matched, missing_shards: missing }))
            }
        }
    }
}

/// The refusal of what is over, or never was.
pub(crate) fn none(names: &str) -> Refusal {
    let hint = "weirctl session list shows those that live";
    Refusal::new(Code::NotFound, format!("no session {names}"), hint)
}

/// The order of two rows: the same as on each shard.
fn order(a: &ListedSession, b: &ListedSession, sort: SessionSort) -> std::cmp::Ordering {
    let rank = |it: &ListedSession| match sort {
        SessionSort::Age => 0,
        SessionSort::Idle => it.idle_ms,
        SessionSort::Bytes => it.received_bytes + it.sent_bytes,
        SessionSort::Rate => it.rate_bytes_per_s,
    };
    rank(b).cmp(&rank(a)).then(b.age_ms.cmp(&a.age_ms)).then(a.key.cmp(&b.key))
}

/// The peer's window was closed while weir had bytes for it.
fn blocked(legs: &Legs) -> BySide<f64> {
    let [client, backend] = [&legs.client, &legs.backend]
        .map(|leg| leg.as_ref().map_or(0.0, |leg| leg.window_limited_s));
    BySide { client, backend }
}
