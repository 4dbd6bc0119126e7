//! What the daemon answers to questions: the snapshot, the aggregate and the health, put together.

mod agent;
mod discovery;

use weir_core::base::clock::Now;
use weir_proto::answer::{
    Answer, BackendRow, BackendState, Backends, CheckResult, CheckRow, Latency, ListenerRow,
    ListenerState, PoolDetail, PoolRow, ProcessState, ShardRow, Shards, Stats, Status, Tasks,
    UnboundRow,
};
use weir_proto::request::{Query, Refusal};
use weir_proto::settings::{self, ShownSettings};
use weir_proto::snapshot::{Backend, Listener, Pool, Snapshot};

use weir_control_core::aggregate::{BackendTotals, Lingering};
use weir_control_core::control::{Control, Shard, ShardStatus};
use weir_control_core::{planner, why};

/// Whether the answer counts sessions: fresh figures are worth waiting for.
pub(crate) fn counts_sessions(query: &Query) -> bool {
    !matches!(
        query,
        Query::Events { .. }
            | Query::ConfigExport { .. }
            | Query::ConfigHistory { .. }
            | Query::ConfigDrift
            | Query::SessionList { .. }
            | Query::SessionShow { .. }
            | Query::Live { .. }
    )
}

/// The most backends that end sessions early and that warnings name one by one.
const EARLY_MAX: usize = 8;
/// The most backends that are forced by hand and that warnings name.
const FORCED_MAX: usize = 8;
/// The most backends that are down and that a warning names.
const DOWN_MAX: usize = 3;
/// The most addresses that warnings name one by one.
const UNBOUND_MAX: usize = 16;

/// The state at one moment. It is borrowed: a query changes nothing.
pub(crate) struct Queries<'a> {
    pub(crate) control: &'a Control,
    pub(crate) now: Now,
    /// Of clients under maglev.
    pub(crate) hash_seed: (u64, u64),
}

impl Queries<'_> {
    /// The answer to one query.
    ///
    /// # Errors
    /// There is no such object, or the disk could not be read.
    pub(crate) fn answer(&self, query: Query) -> Result<Answer, Refusal> {
        let control = self.control;
        Ok(match query {
            Query::Shards => Answer::Shards(self.shards()),
            Query::ListenerShow { name } => Answer::Listener(self.listener(&name)?),
            Query::PoolShow { name } => Answer::Pool(self.pool(&name)?),
            Query::BackendList { pool } => Answer::Backends(self.backends(pool.as_deref())?),
            Query::BackendShow { name } => Answer::Backend(self.backend(&name)?),
            Query::Stats { subject } => Answer::Stats(self.stats(subject.as_deref())?),
            Query::Latency { pool } => Answer::Latency(self.latency(pool.as_deref())?),
            Query::Events { after, filter } => {
                Answer::Events(control.events.page(after, &filter, crate::rt::wall_ms()))
            }
            Query::TaskList => {
                let mut tasks = self.tasks();
                tasks.tasks.extend(control.confirmation(self.now));
                Answer::Tasks(tasks)
            }
            Query::TaskShow { id } => Answer::Task(control.task(id, self.now)?),
            Query::Why { pool, client } => {
                Answer::Why(why::of_client(control, (&pool, &client), self.moment())?.into())
            }
            Query::WhyListener { listener, client, sni, alpn } => {
                let about = (listener.as_deref(), client.as_str());
                let hello = (sni.as_deref(), alpn.as_deref());
                Answer::Why(why::of_listener(control, about, hello, self.moment())?.into())
            }
            Query::Status
            | Query::ListenerList
            | Query::PoolList
            | Query::ConfigDiff { .. }
            | Query::ConfigExport { .. }
            | Query::ConfigHistory { .. }
            | Query::ConfigDrift
            | Query::ConfigVersions
            | Query::SessionList { .. }
            | Query::SessionShow { .. }
            | Query::Live { .. }
            | Query::WhySession { .. } => {
                unreachable!("`Shared::query` answers it")
            }
        })
    }

    /// `weirctl task list`, without the wait for a confirmation, which a status has.
    pub(super) fn tasks(&self) -> Tasks {
        Tasks { tasks: self.control.tasks.iter().map(|task| task.row(self.now)).collect() }
    }

    /// A status that has no rows of listeners and pools yet.
    pub(super) fn status(&self) -> Status {
        let control = self.control;
        let serving = control.is_serving();
        Status {
            version: control.snapshot.version.0,
            uptime_s: (self.now - control.serves_since.now).as_secs_f64(),
            drift_keys: u64::try_from(control.drift_keys).unwrap_or(u64::MAX),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            state: if serving { ProcessState::Serving } else { ProcessState::Draining },
            sessions_max: control.shards.iter().map(|shard| u64::from(shard.sessions_max)).sum(),
            shards: self.shards().shards,
            listeners: Vec::new(),
            pools: Vec::new(),
            warnings: self.warnings(),
            unconfirmed: control.unconfirmed(self.now),
        }
    }

    /// `weirctl shards`
    fn shards(&self) -> Shards {
        let row = |shard: &Shard| {
            let totals = self.control.aggregate.shard(shard.id);
            ShardRow {
                id: shard.id.0,
                version: shard.version.0,
                sessions: totals.sessions,
                sessions_max: u64::from(shard.sessions_max),
                busy: totals.busy,
            }
        };
        Shards { shards: self.control.shards.iter().map(row).collect() }
    }

    /// `weirctl listener show NAME`
    fn listener(&self, name: &str) -> Result<ListenerRow, Refusal> {
        let snapshot = &self.control.snapshot;
        let found = snapshot.listener(name).map(|it| self.listener_row(snapshot, it));
        found.ok_or_else(|| planner::no_listener(snapshot, name))
    }

    /// `weirctl pool show NAME`
    fn pool(&self, name: &str) -> Result<PoolDetail, Refusal> {
        let (control, snapshot) = (self.control, &self.control.snapshot);
        let pool = snapshot.pool(name).ok_or_else(|| planner::no_pool(snapshot, name))?;
        let mut settings = ShownSettings::of(settings::POOL, &pool.spec);
        // Answers have always shown it last; the rows of the file keep their order too.
        settings.0.sort_by_key(|setting| setting.table() == Some("retry"));
        Ok(PoolDetail {
            name: name.to_owned(),
            settings,
            panic: control.is_in_panic(pool),
            groups: control.group_rows(pool),
            detection_s: control.health.detection(&pool.health).map(|it| it.as_secs_f64()),
            discovery: self.discovery_row(pool),
            backends: self.backends_of(Some(name)),
        })
    }

    /// `weirctl backend list [POOL]`
    fn backends(&self, pool: Option<&str>) -> Result<Backends, Refusal> {
        let snapshot = &self.control.snapshot;
        if let Some(name) = pool
            && snapshot.pool(name).is_none()
        {
            return Err(planner::no_pool(snapshot, name));
        }
        Ok(Backends { backends: self.backends_of(pool) })
    }

    /// `weirctl backend show P/B`
    fn backend(&self, name: &str) -> Result<BackendRow, Refusal> {
        let snapshot = &self.control.snapshot;
        let (pool, backend) = planner::split(name)?;
        let here = snapshot.pool(pool).and_then(|pool| Some((pool, pool.backend(backend)?)));
        if let Some((pool, backend)) = here {
            return Ok(self.backend_row(pool, backend));
        }
        let gone = self.control.aggregate.lingering().find(|gone| gone.name == name);
        gone.map(gone_row).ok_or_else(|| planner::no_backend(snapshot, name))
    }

    /// `weirctl stats [P|P/B]`
    fn stats(&self, subject: Option<&str>) -> Result<Stats, Refusal> {
        let snapshot = &self.control.snapshot;
        let subject = subject.filter(|subject| !subject.is_empty());
        let stats = self.control.aggregate.stats(snapshot, subject);
        stats.ok_or_else(|| match subject {
            Some(name) if name.contains('/') => planner::no_backend(snapshot, name),
            name => planner::no_pool(snapshot, name.unwrap_or_default()),
        })
    }

    /// `weirctl latency [POOL]`
    fn latency(&self, pool: Option<&str>) -> Result<Latency, Refusal> {
        let snapshot = &self.control.snapshot;
        let latency = self.control.aggregate.latency(snapshot, pool);
        latency.ok_or_else(|| planner::no_pool(snapshot, pool.unwrap_or_default()))
    }

    /// True if no backend of the pool can take a session: its clients are turned away.
    pub(crate) fn is_empty(&self, pool: &Pool) -> bool {
        self.takers(pool) == 0
    }

    fn warnings(&self) -> Vec<String> {
        let control = self.control;
        let mut warnings: Vec<String> =
            control.fullness.get().iter().map(ToString::to_string).collect();
        warnings.extend(self.unbound_warnings());
        for pool in control.snapshot.pools.iter().filter(|pool| self.is_empty(pool)) {
            let count = pool.backends.len();
            let why = if count == 0 { "it has none".to_owned() } else { self.why_empty(pool) };
            warnings.push(format!("pool {}: no backend can take sessions: {why}", pool.name));
        }
        for pool in control.snapshot.pools.iter().filter(|pool| control.is_in_panic(pool)) {
            warnings.push(format!("pool {}: {}", pool.name, control.panic_text(pool)));
        }
        for pool in control.snapshot.pools.iter().filter(|it| !control.is_first_group_enough(it)) {
            warnings.push(format!("pool {}: {}", pool.name, control.groups_text(pool)));
        }
        warnings.extend(self.forced_warnings());
        warnings.extend(self.early_warnings());
        warnings.extend(self.checks_warning());
        warnings.extend(self.discovery_warnings());
        warnings.extend(self.agent_warnings());
        if control.rollout.is_late() {
            let (waiting, version) = (control.rollout.waiting(), control.rollout.edition());
            warnings.push(format!("shards {waiting} have not adopted version {version} yet"));
        }
        for shard in control.shards.iter().filter(|shard| shard.status == ShardStatus::Ended) {
            warnings.push(format!("shard {} has ended", shard.id));
        }
        for shard in control.shards.iter().filter(|shard| shard.status == ShardStatus::Fenced) {
            warnings.push(format!("shard {} is stuck: the others take its clients", shard.id));
        }
        warnings
    }

    /// As in `listener web: cannot bind 0.0.0.0:80: address in use; …`.
    fn unbound_warnings(&self) -> Vec<String> {
        let control = self.control;
        let listeners = control.snapshot.listeners.iter();
        let unbound = listeners.flat_map(|listener| {
            control.unbound_of(listener).map(|(address, it)| {
                let (why, hint) = it.error.why();
                let name = &listener.name;
                format!("listener {name}: cannot bind {address}: {why}; it is tried again; {hint}")
            })
        });
        let mut warnings: Vec<String> = unbound.take(UNBOUND_MAX).collect();
        if let Some(more) = control.unbound().checked_sub(UNBOUND_MAX).filter(|more| *more > 0) {
            warnings.push(format!("{more} more addresses cannot be bound"));
        }
        warnings
    }

    /// More checks are wanted than there may be.
    fn checks_warning(&self) -> Option<String> {
        let health = &self.control.health;
        let (wanted, most) = health.excess()?;
        let pools = self.control.snapshot.pools.iter();
        let late = pools.filter_map(|pool| Some((health.detection(&pool.health)?, &pool.name)));
        let (late, name) = late.max()?;
        Some(format!(
            "{wanted:.0} checks a second are wanted, and [weir] checks allows {most}: a failure is \
             noticed within {:.0} s in pool {name}, the slowest",
            late.as_secs_f64().ceil()
        ))
    }

    /// A backend that takes sessions and ends them at once looks healthy to a check.
    fn early_warnings(&self) -> Vec<String> {
        let (count, names) = self.control.aggregate.ending_early(EARLY_MAX);
        let say = |name: &&str| {
            format!("backend {name} ends most of its sessions before their first byte")
        };
        let mut warnings: Vec<String> = names.iter().map(say).collect();
        if let Some(more) = count.checked_sub(EARLY_MAX).filter(|more| *more > 0) {
            warnings.push(format!("{more} more backends end most of their sessions early"));
        }
        warnings
    }

    /// As in `backend web/b1 is forced up by hand for 5 min; its own check: refused`.
    fn forced_warnings(&self) -> Vec<String> {
        let Control { health, aggregate, .. } = self.control;
        let mut warnings: Vec<String> = health
            .forced()
            .filter_map(|(id, force, _)| {
                let CheckRow { result, since_s, .. } = health.row(id, self.now);
                let (name, word) = (aggregate.name_of(id)?, force.word());
                let (since, result) = (span(since_s), result.as_str());
                Some(format!("backend {name} is forced {word} by hand, {word} for {since}; its own check: {result}"))
            })
            .take(FORCED_MAX)
            .collect();
        if let Some(more) = health.forced().count().checked_sub(FORCED_MAX).filter(|more| *more > 0)
        {
            warnings.push(format!("{more} more backends are forced by hand"));
        }
        warnings
    }

    /// As in `backends are down: web/b1 for 5 min (refused), web/b2 for 12 s (timeout)`.
    pub(super) fn down_warning(&self) -> Option<String> {
        let Control { health, aggregate, .. } = self.control;
        let named = health.down().filter_map(|id| {
            let CheckRow { result, since_s, .. } = health.row(id, self.now);
            Some(format!("{} for {} ({})", aggregate.name_of(id)?, span(since_s), result.as_str()))
        });
        let named: Vec<String> = named.take(DOWN_MAX).collect();
        let all = health.down().count();
        let rest = all.saturating_sub(named.len());
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let are = if all == 1 { "backend is" } else { "backends are" };
        (all > 0).then(|| format!("{all} {are} down: {}{more}", named.join(", ")))
    }

    /// As in `2 down, 1 draining`.
    fn why_empty(&self, pool: &Pool) -> String {
        let states: Vec<_> = pool.backends.iter().map(|backend| self.state(backend)).collect();
        let count = |state| states.iter().filter(|it| **it == state).count();
        use BackendState::{Down, Draining, Maint, Up};
        let counts = [Down, Draining, Maint, Up].map(|state| (count(state), state));
        let shown = counts.iter().filter(|(count, _)| *count > 0).map(|(count, state)| {
            // An `up` one that takes nothing has weight 0.
            let word = if *state == Up { "of weight 0" } else { state.word() };
            format!("{count} {word}")
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn listener_row(&self, of: &Snapshot, listener: &Listener) -> ListenerRow {
        let totals = self.control.aggregate.listener(listener.id);
        let open = listener.accepting && self.control.is_serving();
        let spec = of.listener_spec(listener);
        let mut settings = ShownSettings::of(settings::LISTENER, &spec);
        settings.0.retain(|setting| !["bind", "pool", "state"].contains(&setting.key()));
        let unbound: Vec<UnboundRow> =
            if open { self.unbound_rows(listener).collect() } else { Vec::new() };
        let state = match ListenerState::of(open) {
            ListenerState::Open if !unbound.is_empty() => ListenerState::Unbound,
            state => state,
        };
        ListenerRow {
            name: listener.name.to_string(),
            bind: listener.bind.iter().map(ToString::to_string).collect(),
            pool: of.pools[listener.pool].name.to_string(),
            state,
            sessions: totals.sessions,
            sessions_total: totals.counts.accepted,
            unbound,
            settings,
        }
    }

    fn unbound_rows<'a>(&'a self, listener: &'a Listener) -> impl Iterator<Item = UnboundRow> + 'a {
        self.control.unbound_of(listener).map(|(address, it)| UnboundRow {
            address: address.to_string(),
            why: it.error.why().0,
            since_s: (self.now - it.since).as_secs_f64(),
        })
    }

    pub(super) fn pool_row(&self, pool: &Pool) -> PoolRow {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        PoolRow {
            name: pool.name.to_string(),
            strategy: pool.strategy,
            backends_up: count(self.takers(pool)),
            backends: count(pool.backends.len()),
            sessions: self.control.aggregate.pool_sessions(pool.id),
            panic: self.control.is_in_panic(pool),
            groups: self.control.group_rows(pool),
        }
    }

    /// The backends of one pool, or of all, then those that are gone and still have sessions.
    fn backends_of(&self, name: Option<&str>) -> Vec<BackendRow> {
        let snapshot = &self.control.snapshot;
        let mut rows: Vec<BackendRow> = match name {
            Some(name) => {
                snapshot.pool(name).into_iter().flat_map(|pool| self.pool_rows(pool)).collect()
            }
            None => snapshot.pools.iter().flat_map(|pool| self.pool_rows(pool)).collect(),
        };
        rows.extend(self.gone_rows(name));
        rows
    }

    fn pool_rows<'a>(&'a self, pool: &'a Pool) -> impl Iterator<Item = BackendRow> + 'a {
        pool.backends.iter().map(move |backend| self.backend_row(pool, backend))
    }

    /// The backends that are gone and still have sessions: of one pool, or of all.
    pub(super) fn gone_rows(&self, pool: Option<&str>) -> impl Iterator<Item = BackendRow> {
        let lingering = self.control.aggregate.lingering();
        let of_pool = |gone: &Lingering, pool: &str| {
            gone.name.split_once('/').is_some_and(|(name, _)| name == pool)
        };
        let wanted = move |gone: &Lingering| pool.is_none_or(|pool| of_pool(gone, pool));
        lingering.filter(wanted).map(gone_row)
    }

    pub(super) fn backend_row(&self, pool: &Pool, backend: &Backend) -> BackendRow {
        BackendRow {
            name: format!("{}/{}", pool.name, backend.name),
            address: backend.address.to_string(),
            state: self.state(backend),
            weight: backend.configured.weight,
            priority: backend.priority,
            force: backend.force,
            max_sessions: backend.max_sessions,
            connecting_max: backend.connecting,
            connect_rate_per_s: backend.connect_rate.map(weir_proto::spec::Rate::events),
            discovered: backend.is_discovered,
            agent: self.agent_row(backend.id),
            check: self.control.health.row(backend.id, self.now),
            ..counted(self.control.aggregate.backend(backend.id))
        }
    }

    /// The key of clients' hashes, and the time, by which a client's backend follows.
    fn moment(&self) -> ((u64, u64), Now) {
        (self.hash_seed, self.now)
    }

    fn state(&self, backend: &Backend) -> BackendState {
        BackendState::of(backend.admin, self.control.health.is_up(backend.id))
    }

    /// How many backends of the pool can take sessions: they are ready, have a weight and are up.
    fn takers(&self, pool: &Pool) -> usize {
        self.control.health.members(pool.id).0
    }
}

/// A backend that is gone from the configuration: it only keeps its last sessions.
pub(super) fn gone_row(gone: Lingering) -> BackendRow {
    BackendRow {
        name: gone.name,
        address: gone.address.to_string(),
        removed: true,
        ..counted(gone.totals)
    }
}

/// Seconds as people say them, in whole units.
fn span(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min", whole / 60),
        3_600..86_400 => format!("{} h", whole / 3_600),
        _ => format!("{} d", whole / 86_400),
    }
}

/// A row with its numbers, and no more.
fn counted(totals: BackendTotals) -> BackendRow {
    BackendRow {
        name: String::new(),
        address: String::new(),
        state: BackendState::Removed,
        weight: 0,
        priority: 0,
        force: None,
        sessions: totals.sessions,
        connecting: totals.connecting,
        max_sessions: None,
        connecting_max: None,
        connect_rate_per_s: None,
        sessions_total: totals.counts.sessions,
        connect_failures_total: totals.connect_failures_total(),
        received_bytes_total: totals.counts.received_bytes,
        sent_bytes_total: totals.counts.sent_bytes,
        check: CheckRow { result: CheckResult::Off, since_s: 0.0, hold_s: 0.0 },
        removed: false,
        discovered: false,
        agent: None,
    }
}
