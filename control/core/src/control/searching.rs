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

use super::handover::upgrading;
use super::{ChangeId, Clocks, Control, Output};
use crate::planner;
use crate::sessions::{AnswerForm, FoundSessions};
use crate::tasks;

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

/// The use of what a search finds.
#[derive(Debug)]
enum Purpose {
    Answer(AnswerForm),
    /// A task ends them.
    Kill(PacedKill),
}

/// A kill that begins as soon as its sessions are known.
#[derive(Debug)]
pub(super) struct PacedKill {
    pub(super) of: SessionMatch,
    pub(super) subject: String,
    pub(super) per_s: u32,
    /// Sessions were named: at least one of them is to be there.
    pub(super) is_named: bool,
}

/// A search that some shard has not answered yet.
#[derive(Debug)]
pub(super) struct Search {
    id: ChangeId,
    purpose: Purpose,
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
        if let Err(refusal) = self.begin_search(id, request, moment) {
            self.outputs.push(Output::Answered { id, result: Err(refusal) });
        }
    }

    /// Looks for the sessions that a task is to end.
    pub(super) fn search_for_kill(
        &mut self,
        id: ChangeId,
        (ids, filter): (&[String], &SessionFilter),
        per_s: u32,
        moment: Clocks,
    ) -> Result<(), Refusal> {
        self.room_for_search()?;
        let asked = self.chosen(ids, filter)?;
        let of = self.matching(filter)?;
        let subject = match ids {
            [] => filter.to_string().trim_start().to_owned(),
            [only] => only.clone(),
            [first, others @ ..] => format!("{first} and {} more", others.len()),
        };
        let is_named = !ids.is_empty();
        let purpose = Purpose::Kill(PacedKill { of: of.clone(), subject, per_s, is_named });
        let want = SearchFor::Rows { sort: SessionSort::Idle, limit: u32::MAX };
        self.ask_shards((id, purpose, want), of, asked, moment);
        Ok(())
    }

    /// Gives up the searches for sessions that a task was to end.
    pub(super) fn refuse_kills(&mut self) {
        let is_kill = |it: &mut Search| matches!(it.purpose, Purpose::Kill(_));
        for Search { id, .. } in self.searches.extract_if(.., is_kill) {
            self.outputs.push(Output::Answered { id, result: Err(upgrading()) });
        }
    }

    fn room_for_search(&self) -> Result<(), Refusal> {
        if self.searches.len() < SEARCHES_MAX {
            return Ok(());
        }
        let message = format!("{SEARCHES_MAX} searches among live sessions are running");
        Err(Refusal::new(Code::Failed, message, "try again in a moment"))
    }

    /// The shards to ask for the sessions of a kill.
    fn chosen(&self, ids: &[String], filter: &SessionFilter) -> Result<Asked, Refusal> {
        let is_filtered = *filter != SessionFilter::default();
        if ids.is_empty() != is_filtered {
            let message = "which sessions: name them, or filter them, and not both";
            let hint = "weirctl session kill 0.17.3, or --backend web/b1";
            return Err(Refusal::new(Code::Invalid, message, hint));
        }
        if is_filtered { Ok(self.every_shard()) } else { self.shards_of(ids) }
    }

    fn begin_search(
        &mut self,
        id: ChangeId,
        request: SearchRequest,
        moment: Clocks,
    ) -> Result<(), Refusal> {
        self.room_for_search()?;
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
            SearchRequest::Kill(SessionKill { dry_run: false, .. }) if self.is_handing_over() => {
                return Err(upgrading());
            }
            SearchRequest::Kill(SessionKill { ids, filter, dry_run }) => {
                let asked = self.chosen(&ids, &filter)?;
                let count = SearchFor::Rows { sort: SessionSort::Age, limit: 0 };
                let want = if dry_run { count } else { SearchFor::Kill };
                (self.matching(&filter)?, asked, want, AnswerForm::Kill { named: ids, dry_run })
            }
        };
        self.ask_shards((id, Purpose::Answer(form), want), of, asked, moment);
        Ok(())
    }

    fn ask_shards(
        &mut self,
        (id, purpose, want): (ChangeId, Purpose, SearchFor),
        of: SessionMatch,
        asked: Asked,
        moment: Clocks,
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
        let (rows, matched, begun) = (Vec::new(), 0, moment.now);
        self.searches.push(Search { id, purpose, waiting, missing, rows, matched, begun });
        self.tell_found(moment);
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
    pub(super) fn on_found(&mut self, shard: ShardId, page: SessionPage, moment: Clocks) {
        if let Some(task) = tasks::task_of(page.number) {
            if page.is_last {
                self.tasks.killed(task, shard, page.matched);
            }
            return;
        }
        let search = self.searches.iter_mut().find(|search| search.id.0 == page.number);
        // The answer to a search that is over comes to nothing.
        let Some(search) = search.filter(|search| search.waiting.contains(&shard)) else { return };
        search.rows.extend(page.rows.into_iter().map(|row| (shard, row)));
        if page.is_last {
            search.matched += page.matched;
            search.waiting.remove(&shard);
            self.tell_found(moment);
        }
    }

    /// A shard that has ended holds no sessions.
    pub(super) fn searched_shard_ended(&mut self, shard: ShardId, moment: Clocks) {
        self.tasks.shard_ended(shard);
        for search in &mut self.searches {
            search.waiting.remove(&shard);
            search.rows.retain(|(of, _)| *of != shard);
        }
        self.tell_found(moment);
    }

    /// Waits no longer for shards that are silent.
    pub(super) fn watch_searches(&mut self, moment: Clocks) {
        let is_late = |it: &&mut Search| moment.now - it.begun >= SEARCH_TIME_MAX;
        for search in self.searches.iter_mut().filter(is_late) {
            search.missing.append(&mut search.waiting);
        }
        self.tell_found(moment);
    }

    /// Hands over what no shard is waited for any more.
    fn tell_found(&mut self, moment: Clocks) {
        let done = self.searches.extract_if(.., |search| search.waiting.is_empty());
        for search in done.collect::<Vec<_>>() {
            let Search { id, purpose, missing, rows, matched, .. } = search;
            let missing: Vec<u16> = missing.into_iter().map(|shard| shard.0).collect();
            match purpose {
                Purpose::Answer(form) => {
                    let names = self.aggregate.gone_names();
                    let snapshot = Arc::clone(&self.snapshot);
                    let found = FoundSessions { form, missing, rows, matched, names, snapshot };
                    self.outputs.push(Output::Found { id, found: Box::new(found) });
                }
                Purpose::Kill(kill) => self.begin_kill(id, kill, (&rows, &missing), moment),
            }
        }
    }
}
