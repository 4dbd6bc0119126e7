//! `weir run`: from the file to the line that says it serves, each step with its way out.

mod bind;
mod doors;
mod handler;
mod page;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir_control_core::record::{Base, Record, SEEDED, Unconfirmed};
use weir_control_core::sockets::BoundSockets;
use weir_engine::{Engine, Options};
use weir_proto::ids::{IdSource, Version};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::Spec;

use crate::api::roles::Roles;
use crate::api::settings_audit;
use crate::api::token::TokenFile;
use crate::check;
use crate::fallback::{self, FallbackParts};
use crate::limits::{self, Limits};
use crate::log;
use crate::remembered::{GroupsInUse, MembersFound, RememberedFile};
use crate::rt;
use crate::serve::{
    Shared, TICK, moment, own_author, start_reports, start_signals, start_store_news, start_ticks,
    take_over,
};
use crate::session_log::SessionLog;
use crate::signals::Signals;
use crate::store::thread::{Appender, Started, StoreNews, StoreThread};
use crate::store::{Found, Opening, Store, Vacant};
use crate::upgrade::successor::{Inherited, Predecessor};
use crate::watchdog::SupervisedEngine;
use crate::{streams, systemd};
use doors::{admin, door, handed_parts, open_doors};
use weir_control_core::control::{BACKENDS_SLICE, Control, Input, Legacy, Setup};
use weir_control_core::file::{self, Settings, Shards};
use weir_control_core::planner;

/// How long an address may still be held by a weir that was killed.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is tried in that time.
const STEPS: u32 = 50;

/// What `weir run` was told.
#[derive(Debug)]
pub(crate) struct Run {
    /// `-c FILE`
    pub(crate) file: Option<PathBuf>,
    /// `--shards`, which goes before the file's.
    pub(crate) shards: Option<Shards>,
    /// `--accept-version`: the newest version of a state that has lost later ones.
    pub(crate) accept: Option<u64>,
    /// `--strict`: an address that cannot be bound ends the start.
    pub(crate) strict: bool,
    /// `--upgrade`: the process that this one takes over from.
    pub(crate) predecessor: Option<Predecessor>,
}

/// Serves until a signal or a command ends it. The exit code.
///
/// # Errors
/// What kept it from serving, for stderr.
pub(crate) fn run(run: Run) -> Result<u8, String> {
    let (settings, spec) = match run.file.as_deref().map(read_file).transpose() {
        Ok(None) => (Settings::default(), Ok(None)),
        Ok(Some(file)) => (file.settings, Ok(Some(file.spec))),
        // A state can do without the rest of the file.
        Err(why) => match run.file.as_deref().and_then(settings_alone) {
            Some(settings) => (settings, Err(why)),
            None => return Err(why),
        },
    };
    // A thread of its own, so that its end is not the end of the process.
    let parts = Arc::new(FallbackParts::default());
    let left = Arc::clone(&parts);
    let control = move || rt::run(|| serve(run, settings, spec, left));
    let thread = std::thread::Builder::new().name("weir-control".to_owned()).spawn(control);
    let thread = thread.map_err(|error| format!("control cannot have a thread: {error}"))?;
    match thread.join() {
        Ok(ended) => ended?,
        // The panic's text is in the log already.
        Err(_) => fallback::run(&parts),
    }
}

/// Reads and checks the file; what is wrong with it, for stderr.
pub(crate) fn read_file(path: &Path) -> Result<file::File, String> {
    check::read(path).map_err(|diagnostics| {
        let colour = streams::err_is_terminal();
        let texts: Vec<String> =
            diagnostics.iter().map(|diagnostic| diagnostic.render(colour)).collect();
        texts.join("\n")
    })
}

/// The settings of a file that has errors elsewhere.
fn settings_alone(path: &Path) -> Option<Settings> {
    file::settings_alone(&std::fs::read_to_string(path).ok()?)
}

/// The listeners and pools of the file, if there is one; or what is wrong with it.
type Seed = Result<Option<Spec>, String>;

/// Serves; where that fails, the process that this one takes over from hears why.
async fn serve(
    mut run: Run,
    settings: Settings,
    seed: Seed,
    parts: Arc<FallbackParts>,
) -> Result<u8, String> {
    let predecessor = run.predecessor.take().map(Rc::new);
    let served = serve_after(predecessor.clone(), run, (settings, seed), parts).await;
    if let (Err(why), Some(predecessor)) = (&served, predecessor) {
        predecessor.fail(why);
    }
    served
}

async fn serve_after(
    predecessor: Option<Rc<Predecessor>>,
    run: Run,
    (settings, seed): (Settings, Seed),
    parts: Arc<FallbackParts>,
) -> Result<u8, String> {
    let cores = limits::cores();
    let shards = run.shards.as_ref().unwrap_or(&settings.shards).count(cores);
    let roles = permissions(&settings)?;
    let limits = Limits::of_this_process(shards, settings.buffers)?;
    tracing::info!("{limits}");
    warn_of_lost_clients(shards);
    let options = engine_options(&settings, &limits, (shards, cores), predecessor.as_deref());
    log::take_strays()?;
    let mut engine = Engine::start(&options).map_err(|error| limits.explain(error).to_string())?;
    let mut inherited = predecessor.as_ref().map(|it| it.hello(shards)).transpose()?;
    let state = InitialState::find(&settings, &run, seed)?;
    let session_log = settings.session_log.clone().map(SessionLog::start).transpose()?;
    let signals = Signals::take_over(run.file.clone())?;
    let _ = parts.flags.set(signals.flags());
    let _ = parts.socket.set(settings.control.clone());
    let (door, mut socket_file) = door(&settings, &mut inherited).await?;
    let admin = match settings.admin {
        Some(address) => Some(admin(address, &mut inherited).await?),
        None => None,
    };
    let bell = engine.take_bell().ok_or("the engine has no bell")?;
    let engine = SupervisedEngine::new(engine)?;
    #[cfg(debug_assertions)]
    crate::failpoint::arm(&engine)?;
    let bound = match &mut inherited {
        Some(inherited) => inherited.bind(&state.snapshot, shards),
        None => state.bind(shards, run.strict).await?,
    };
    same_version(inherited.as_ref(), &state, &settings)?;
    let legacy = inherited.as_mut().and_then(|it| it.legacy.take());
    let founded = found(state, (&engine, &settings, &limits), legacy)?;
    let Founded { control, appender, news, bell: store_bell, said, files, _thread } = founded;
    let shared = Shared::new(control, appender, session_log, files);
    if run.file.is_some() {
        let _ = shared.reloads.settings.set(settings.clone()); // it is empty
    }
    said.into_iter().for_each(|text| shared.handle(Input::StoreSaid(text)));
    start_store_news(&shared, news, store_bell.into());
    let taking_over = predecessor.zip(inherited).map(|both| (both.0, both.1, Arc::clone(&engine)));
    begin(&shared, bound, (bell.into(), signals), taking_over).await?;
    socket_file.claim();
    let (hosts, token) = (settings.admin_hosts.clone(), settings.admin_token_file.clone());
    let handed = handed_parts(&engine, (&settings, options.hash_seed), &door, admin.as_ref())?;
    let _ = shared.succession.parts.set(handed); // it is empty
    open_doors(&shared, (door, roles), admin.map(|server| (server, hosts, TokenFile(token))));
    announce(&shared);
    let _ = parts.engine.set(engine); // from here on it can serve without this thread
    let code = shared.over().await;
    shared.session_log.iter().for_each(SessionLog::finish);
    if shared.succession.is_done() {
        socket_file.leave();
    }
    tracing::info!("stopped");
    Ok(code)
}

/// Control, and what stands around it.
struct Founded {
    control: Control,
    appender: Appender,
    news: StoreNews,
    /// Rings for them.
    bell: OwnedFd,
    /// The store's news since it was opened.
    said: Vec<String>,
    files: (RememberedFile<GroupsInUse>, RememberedFile<MembersFound>),
    /// Until this is dropped: no append is under way when the process ends.
    _thread: StoreThread,
}

/// Makes a new state if it has to be, and control on it.
fn found(
    state: InitialState,
    (engine, settings, limits): (&Arc<SupervisedEngine>, &Settings, &Limits),
    legacy: Option<Box<Legacy>>,
) -> Result<Founded, String> {
    let unconfirmed = state.unconfirmed.clone();
    let ((snapshot, base, ids), mut store) = state.into_store()?;
    let said = store.take_news();
    #[cfg(debug_assertions)]
    crate::failpoint::watch(store.faults());
    let started = StoreThread::start(store, rt::wall_ms)
        .map_err(|error| format!("the state has no thread: {error}"))?;
    let Started { thread, appender, versions, news, bell } = started;
    let fleet = Box::new(Arc::clone(engine));
    // Half of the descriptors: checks that are over hold theirs a little longer.
    let checks_max = usize::try_from(limits.descriptors / 2).unwrap_or(usize::MAX);
    let slice = BACKENDS_SLICE;
    let files = (RememberedFile::of(&settings.state), RememberedFile::of(&settings.state));
    let (in_use, found) = (files.0.read(), files.1.read());
    #[rustfmt::skip]
    let setup = Setup {
        fleet, versions, snapshot, base, unconfirmed, in_use, found, ids, checks_max, slice,
        legacy,
    };
    let control = limited(Control::new(setup, moment()), settings.checks);
    Ok(Founded { control, appender, news, bell, said, files, _thread: thread })
}

/// The state is the one that the process before this one serves.
fn same_version(
    inherited: Option<&Inherited>,
    state: &InitialState,
    settings: &Settings,
) -> Result<(), String> {
    let own = state.snapshot.version.0;
    match inherited.map(|it| it.version).filter(|served| *served != own) {
        None => Ok(()),
        Some(served) => Err(format!(
            "{} is at version {own}, and the weir that serves at {served}",
            settings.state.display()
        )),
    }
}

fn engine_options(
    settings: &Settings,
    limits: &Limits,
    (shards, cores): (u16, u16),
    predecessor: Option<&Predecessor>,
) -> Options {
    Options {
        shards,
        sessions_max: limits.sessions_per_shard,
        pipes_max: limits.pipes_per_shard,
        buffers: limits.buffers_per_shard,
        pin: shards <= cores,
        hash_seed: predecessor.map_or_else(|| settings.hash_key.seed(), |it| it.hash_seed),
        seed: RandomState::new().build_hasher().finish(),
        session_log: settings.session_log.as_ref().map(|log| log.logging),
    }
}

/// At most this many checks begin in a second.
fn limited(mut control: Control, checks: Option<u32>) -> Control {
    control.health.limit_rate(checks);
    control
}

/// A fenced shard's waiting clients go to the others only if the kernel is told to move them. It
/// must be before the listeners are there.
fn warn_of_lost_clients(shards: u16) {
    let path = "/proc/sys/net/ipv4/tcp_migrate_req";
    let is_off = std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0");
    if is_off && shards > 1 {
        tracing::warn!(
            "clients that wait at a shard which stops or is stuck are reset: \
             sysctl -w net.ipv4.tcp_migrate_req=1, then start weir again"
        );
    }
}

/// Who may do what on the control socket. Warns of what the settings lay open.
///
/// # Errors
/// A secret that everybody can read, or a user or group that this host does not know.
fn permissions(settings: &Settings) -> Result<Roles, String> {
    for warning in settings_audit::warnings(settings) {
        tracing::warn!("{warning}");
    }
    if let Some(fault) = settings_audit::faults(settings).first() {
        return Err(format!("{}: {}", fault.at, fault.complaint));
    }
    let own = rustix::process::geteuid().as_raw();
    Roles::new(settings.control_roles.as_deref(), own).map_err(|unknown| {
        let unknown = unknown.join("\n");
        format!("{unknown}\nhint: make it, or take the entry away; see who there is: getent group")
    })
}

/// Sends the first version to every shard and waits for them. Where this process takes over it
/// accepts nothing before it is its turn.
async fn begin(
    shared: &Rc<Shared>,
    bound: BoundSockets,
    (bell, signals): (rt::Bell, Signals),
    taking_over: Option<(Rc<Predecessor>, Inherited, Arc<SupervisedEngine>)>,
) -> Result<(), String> {
    let shards = u16::try_from(bound.sockets.len()).unwrap_or(u16::MAX);
    let (first, later) = match &taking_over {
        Some(_) => (BoundSockets::nothing(shards), Some(bound)),
        None => (bound, None),
    };
    shared.handle(Input::Begin(first));
    start_reports(shared, bell);
    start_ticks(shared);
    start_signals(shared, signals);
    let version = shared.control().snapshot.version;
    shared.adopted(version).await.map_err(|refusal| refusal.message)?;
    let (Some((predecessor, mut inherited, engine)), Some(bound)) = (taking_over, later) else {
        return Ok(());
    };
    predecessor.ready().await?;
    shared.handle(Input::Listen(bound));
    let givers = inherited.givers();
    inherited.take(&engine).await;
    rt::spawn("upgrade", take_over::finish(shared.clone(), predecessor, givers));
    Ok(())
}

/// The line that people and scripts wait for, and systemd's READY=1.
fn announce(shared: &Rc<Shared>) {
    let control = shared.control();
    let (snapshot, shards) = (&control.snapshot, control.shards.len());
    let (listeners, version) = (snapshot.listeners.len(), snapshot.version);
    let unbound = match control.unbound() {
        0 => String::new(),
        1 => ", 1 address is not bound".to_owned(),
        count => format!(", {count} addresses are not bound"),
    };
    tracing::info!("ready: version {version}, shards {shards}, listeners {listeners}{unbound}");
    rt::spawn("systemd", tell_systemd());
}

/// READY=1, for as long as there is no room for it.
async fn tell_systemd() {
    loop {
        match systemd::tell(systemd::READY) {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                rt::sleep(TICK).await;
            }
            Err(error) => return tracing::warn!("systemd was not told: {error}"),
        }
    }
}

/// The configuration to begin with, and where it is kept.
struct InitialState {
    snapshot: Snapshot,
    /// The file as it was last applied.
    base: Base,
    /// The terms of the version, if it waits for a confirmation.
    unconfirmed: Option<Unconfirmed>,
    ids: IdSource,
    kept: Kept,
}

enum Kept {
    /// It is the newest version of this state.
    Here(Box<Store>),
    /// It becomes version 1 once listeners are bound.
    Seed(Vacant, String),
}

impl InitialState {
    /// Opens the state directory. What is in it is the truth; the file seeds an empty one.
    fn find(settings: &Settings, run: &Run, seed: Seed) -> Result<InitialState, String> {
        let mut ids = IdSource::default();
        let opening = Opening { retention: settings.history, accept: run.accept };
        match Store::open(&settings.state, opening).map_err(|error| error.to_string())? {
            Found::State(found) => {
                let (mut store, record) = *found;
                compare_with_file(&mut store, &record, run, seed);
                let snapshot = rebuild(&record, settings, &mut ids)?;
                let (base, unconfirmed, kept) =
                    (record.base, record.unconfirmed, Kept::Here(Box::new(store)));
                Ok(InitialState { snapshot, base, unconfirmed, ids, kept })
            }
            Found::Empty(vacant) => {
                let origin = match &run.file {
                    Some(path) => format!("{SEEDED}{}", path.display()),
                    None => "an empty configuration".to_owned(),
                };
                let seed = seed?;
                let base = seed.clone().map(Arc::new);
                let spec = seed.unwrap_or_default();
                let built = planner::build(&spec, &Snapshot::empty(), &mut ids);
                let snapshot = built.map_err(|refusal| refusal.to_string())?;
                let (unconfirmed, kept) = (None, Kept::Seed(vacant, origin));
                Ok(InitialState { snapshot, base, unconfirmed, ids, kept })
            }
        }
    }

    /// Makes a new state of the file, if it has to be. To be called when listeners are bound: a
    /// file of which nothing can be served must not become the state that counts.
    fn into_store(self) -> Result<((Snapshot, Base, IdSource), Store), String> {
        let InitialState { snapshot, base, ids, kept, .. } = self;
        let store = match kept {
            Kept::Here(store) => *store,
            Kept::Seed(vacant, summary) => {
                let said = seeding(&vacant, &summary);
                let at = weir_control_core::timestamp::rfc3339(rt::wall_ms());
                let spec = snapshot.spec();
                let first = Record::new(snapshot.version.0, at, own_author(), summary, spec);
                let first = first.with_base(base.clone());
                let mut store = vacant.seed(&first).map_err(|error| error.to_string())?;
                store.say(said);
                store
            }
        };
        Ok(((snapshot, base, ids), store))
    }
}

/// Says whether the file has changed since it was last applied. The state counts.
fn compare_with_file(store: &mut Store, record: &Record, run: &Run, seed: Seed) {
    let Some(path) = &run.file else { return };
    let (path, version) = (path.display(), record.version);
    match seed {
        Err(why) => {
            tracing::warn!("{why}");
            store.say(format!(
                "{path} has errors: the state, which is at version {version}, is served; \
                 see them: weir check {path}"
            ));
        }
        Ok(Some(spec)) if spec == record.spec || record.base.as_deref() == Some(&spec) => {}
        Ok(Some(_)) => tracing::warn!(
            "{path} has changed since it was last applied, and the state, which is at version \
             {version}, counts; to use the file: weirctl config apply {path}"
        ),
        Ok(None) => {}
    }
}

/// A state that begins is said aloud: an operator who knows of one that was here must see that
/// it is gone.
fn seeding(vacant: &Vacant, summary: &str) -> String {
    let path = vacant.path().display();
    match vacant.lost() {
        None => format!("{path} has no state: version 1 is {summary}"),
        Some(lost) => format!(
            "{path} has no state, but one at version {lost} was there and is gone: \
             version 1 is {summary}"
        ),
    }
}

/// The newest version of the state, as it was.
fn rebuild(record: &Record, settings: &Settings, ids: &mut IdSource) -> Result<Snapshot, String> {
    let version = Version(record.version);
    Snapshot::build(&record.spec, version, &Snapshot::empty(), ids).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        format!(
            "version {version} in {} is not a configuration that this weir takes: {}\n\
             hint: start the weir that wrote it and change what is named here, \
             or move the directory away and seed a new one with weir run -c FILE",
            settings.state.display(),
            lines.join("; ")
        )
    })
}
