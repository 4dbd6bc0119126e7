//! Searches among live sessions: shards are asked, and their pages become one answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weir_core::base::clock::Now;
use weir_proto::ids::ShardId;
use weir_proto::order::Order;
use weir_proto::request::{Code, Refusal, SessionKill};
use weir_proto::session::{
    LISTED_MAX, ListedSession, SearchFor, SessionFilter, SessionKey, SessionMatch, SessionName,
    SessionPage, SessionSearch, SessionSort,
};

use super::{ChangeId, Clocks, Control, Output};
use crate::planner;
use crate::sessions::{AnswerForm, FoundSessions};

/// Searches that run at the same time.
const SEARCHES_MAX: usize = 16;

/// A shard that has not answered for so long is missing from the answer.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(10);

/// A question about live sessions, or the wish to end some.
#[derive(Clone, Debug)]
pub enum SearchRequest {
    List { filter: SessionFilter, sort: SessionSort, limit: u32 },
    Show { id: String },
    Kill(SessionKill),
}

/// A search that some shard has not answered yet.
#[derive(Debug)]
pub(super) struct Search {
    id: ChangeId,
    form: AnswerForm,
    waiting: BTreeSet<ShardId>,
    missing: BTreeSet<ShardId>,
    rows: Vec<(ShardId, ListedSession)>,
    matched: u64,
    begun: Now,
}

/// The shards that are asked, each with the sessions that are named there.
type Asked = BTreeMap<ShardId, Option<Vec<SessionKey>>>;

impl Control {
    /// Live sessions are asked for, or to be ended.
    pub(super) fn on_search(&mut self, id: ChangeId, request: SearchRequest, moment: Clocks) {
        if let Err(refusal) = self.begin_search(id, request, moment.now) {
            self.outputs.push(Output::Answered { id, result: Err(refusal) });
        }
    }

    fn begin_search(
        &mut self,
        id: ChangeId,
        request: SearchRequest,
        now: Now,
    ) -> Result<(), Refusal> {
        if self.searches.len() >= SEARCHES_MAX {
            let message = format!("{SEARCHES_MAX} searches among live sessions are running");
            return Err(Refusal::new(Code::Failed, message, "try again in a moment"));
        }
        let (of, asked, want, form) = match request {
            SearchRequest::List { filter, sort, limit } if limit <= LISTED_MAX => {
                let want = SearchFor::Rows { sort, limit };
                let form = AnswerForm::List { sort, limit };
                (self.matching(&filter)?, self.every_shard(), want, form)
            }
            SearchRequest::List { limit, .. } => {
                let message = format!("{limit} sessions in one answer: at most {LISTED_MAX}");
                return Err(Refusal::new(
                    Code::Invalid,
                    message,
                    "say which ones, or --limit 1000",
                ));
            }
            SearchRequest::Show { id } => {
                let asked = self.shards_of(std::slice::from_ref(&id))?;
                (SessionMatch::default(), asked, SearchFor::Details, AnswerForm::One { name: id })
            }
            SearchRequest::Kill(SessionKill { ids, filter, dry_run }) => {
                let all = ids.is_empty() && filter == SessionFilter::default();
                if all || (!ids.is_empty() && filter != SessionFilter::default()) {
                    let message = "which sessions: name them, or filter them, and not both";
                    let hint = "weirctl session kill 0.17.3, or --backend web/b1";
                    return Err(Refusal::new(Code::Invalid, message, hint));
                }
                let asked = if ids.is_empty() { self.every_shard() } else { self.shards_of(&ids)? };
                let count = SearchFor::Rows { sort: SessionSort::Age, limit: 0 };
                let want = if dry_run { count } else { SearchFor::Kill };
                (self.matching(&filter)?, asked, want, AnswerForm::Kill { named: ids, dry_run })
            }
        };
        self.ask_shards((id, form, want), of, asked, now);
        Ok(())
    }

    fn ask_shards(
        &mut self,
        (id, form, want): (ChangeId, AnswerForm, SearchFor),
        of: SessionMatch,
        asked: Asked,
        now: Now,
    ) {
        let (mut waiting, mut missing) = (BTreeSet::new(), BTreeSet::new());
        for (shard, only) in asked {
            let search =
                SessionSearch { number: id.0, of: SessionMatch { only, ..of.clone() }, want };
            let sent = self.fleet.send(shard, Order::Search(Box::new(search))).is_ok();
            if sent {
                waiting.insert(shard)
            } else {
                missing.insert(shard)
            };
        }
        let (rows, matched) = (Vec::new(), 0);
        self.searches.push(Search { id, form, waiting, missing, rows, matched, begun: now });
        self.tell_found();
    }

    /// Those that hold sessions and answer.
    fn every_shard(&self) -> Asked {
        let shards = self.shards.iter().filter(|shard| shard.has_thread());
        shards.map(|shard| (shard.id, None)).collect()
    }

    fn shards_of(&self, names: &[String]) -> Result<Asked, Refusal> {
        let mut asked = Asked::new();
        let every = self.every_shard();
        for text in names {
            let hint = "weirctl session list shows the names";
            let name: SessionName = text
                .parse()
                .map_err(|why| Refusal::new(Code::NotFound, format!("{text:?}: {why}"), hint))?;
            // A shard that is not there has no sessions: the search finds none.
            if every.contains_key(&name.shard) {
                let keys = asked.entry(name.shard).or_default().get_or_insert_default();
                if !keys.contains(&name.key) {
                    keys.push(name.key);
                }
            }
        }
        Ok(asked)
    }

    /// A filter by identities.
    fn matching(&self, filter: &SessionFilter) -> Result<SessionMatch, Refusal> {
        let (snapshot, gone) = (&self.snapshot, &self.aggregate);
        let pool = filter.pool.as_deref().map(|name| {
            let pool = snapshot.pool(name).map(|pool| pool.id);
            let pool = pool.or_else(|| gone.removed_pool(name));
            pool.ok_or_else(|| planner::no_pool(snapshot, name))
        });
        let listener = filter.listener.as_deref().map(|name| {
            let listener = snapshot.listener(name).map(|listener| listener.id);
            let listener = listener.or_else(|| gone.removed_listener(name));
            listener.ok_or_else(|| planner::no_listener(snapshot, name))
        });
        let backends = filter.backend.as_deref().map(|name| {
            let (pool, backend) = planner::split(name)?;
            let here = snapshot.pool(pool).and_then(|pool| pool.backend(backend));
            let all = here.map(|it| it.id).into_iter().chain(gone.removed_named(name));
            let all: Vec<_> = all.collect();
            if all.is_empty() { Err(planner::no_backend(snapshot, name)) } else { Ok(all) }
        });
        let client = filter.client.as_deref().map(|text| {
            let hint = "--client 203.0.113.7, or --client 10.0.0.0/8";
            text.parse().map_err(|why: String| Refusal::new(Code::Invalid, why, hint))
        });
        Ok(SessionMatch {
            only: None,
            pool: pool.transpose()?,
            backends: backends.transpose()?,
            listener: listener.transpose()?,
            client: client.transpose()?,
            older_ms: filter.older_ms.unwrap_or(0),
            idle_ms: filter.idle_ms.unwrap_or(0),
            version: filter.version.map(weir_proto::ids::Version),
            stalled: filter.stalled,
        })
    }

    /// Part of a shard's answer has come.
    pub(super) fn on_found(&mut self, shard: ShardId, page: SessionPage) {
        let search = self.searches.iter_mut().find(|search| search.id.0 == page.number);
        // The answer to a search that is over comes to nothing.
        let Some(search) = search.filter(|search| search.waiting.contains(&shard)) else { return };
        search.rows.extend(page.rows.into_iter().map(|row| (shard, row)));
        if page.is_last {
            search.matched += page.matched;
            search.waiting.remove(&shard);
            self.tell_found();
        }
    }

    /// A shard that has ended holds no sessions.
    pub(super) fn searched_shard_ended(&mut self, shard: ShardId) {
        for search in &mut self.searches {
            search.waiting.remove(&shard);
        }
        self.tell_found();
    }

    /// Waits no longer for shards that are silent.
    pub(super) fn watch_searches(&mut self, now: Now) {
        for search in self.searches.iter_mut().filter(|it| now - it.begun >= SEARCH_TIME_MAX) {
            search.missing.append(&mut search.waiting);
        }
        self.tell_found();
    }

    /// Hands over what no shard is waited for any more.
    fn tell_found(&mut self) {
        let done = self.searches.extract_if(.., |search| search.waiting.is_empty());
        for search in done.collect::<Vec<_>>() {
            let Search { id, form, missing, rows, matched, .. } = search;
            let missing = missing.into_iter().map(|shard| shard.0).collect();
            let names = self.aggregate.gone_names();
            let snapshot = Arc::clone(&self.snapshot);
            let found = FoundSessions { form, missing, rows, matched, names, snapshot };
            self.outputs.push(Output::Found { id, found: Box::new(found) });
        }
    }
}
