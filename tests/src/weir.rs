//! The real `weir` and `weirctl`, as processes: started, asked, stopped, quoted when a story fails.

pub mod ctl;
mod log;
mod process;
pub mod stream;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock;

pub use ctl::Ran;
use log::Log;
pub use log::Reader;
use process::Process;

/// How long weir may take to be ready.
/// The token of HTTP, once a story has written it, and the name of its file.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const TOKEN_FILE: &str = "token";
const READY_MAX: Duration = Duration::from_secs(20);

/// A binary of the workspace: from `env`, else beside the test's own directory.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn binary(name: &str, env: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(env) {
        return path.into();
    }
    let me = std::env::current_exe().expect("a test has a path");
    // target/PROFILE/deps/stories-0123 → target/PROFILE/NAME
    let path = me.ancestors().nth(2).unwrap_or(Path::new(".")).join(name);
    assert!(path.exists(), "{} is not there: `cargo build` first, or set {env}", path.display());
    path
}

/// A directory of its own, gone when dropped, unless the test fails.
#[derive(Debug)]
pub struct Dir {
    pub path: PathBuf,
}

impl Dir {
    /// Makes one.
    ///
    /// # Panics
    /// If the disk is full, or the place cannot be written.
    #[must_use]
    pub fn new() -> Dir {
        Dir::within(&std::env::temp_dir())
    }

    /// Makes one in memory where this host has such a place: a sync takes no time there.
    ///
    /// # Panics
    /// As [`Dir::new`].
    #[must_use]
    pub fn in_memory() -> Dir {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Dir::within(memory) } else { Dir::new() }
    }

    fn within(place: &Path) -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Short: the path of a Unix socket has at most 107 bytes.
        let name = format!("weir-{}-{number}", std::process::id());
        let path = place.join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory can be made");
        Dir { path }
    }

    /// The path of an entry, as text.
    #[must_use]
    pub fn entry(&self, name: &str) -> String {
        self.path.join(name).to_string_lossy().into_owned()
    }

    /// Writes a file; gives its path.
    ///
    /// # Panics
    /// If the disk is full.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.entry(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }
}

impl Default for Dir {
    fn default() -> Dir {
        Dir::new()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- kept for a look: {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// How a weir is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// RLIMIT_NOFILE of the process, if it is not the test's own.
    pub nofile: Option<u32>,
    pub shards: u16,
    /// Whether [`Weir::strike`] works; only in builds with debug assertions.
    pub failpoints: bool,
    /// Environment variables: name, value.
    pub env: Vec<(String, String)>,
    /// The state is in memory: many changes, or kills that leave the page cache alone.
    pub in_memory: bool,
    /// A file that weir's log is appended to, instead of a pipe that the test reads.
    pub log_file: Option<PathBuf>,
    /// More lines of `[weir]`; `{dir}` stands for the directory of this weir.
    pub settings: String,
}

impl Default for Start {
    fn default() -> Start {
        Start {
            nofile: None,
            shards: 2,
            failpoints: false,
            env: Vec::new(),
            in_memory: false,
            log_file: None,
            settings: String::new(),
        }
    }
}

/// A running `weir run`, with a state directory, a control socket and an admin address of its own.
#[derive(Debug)]
pub struct Weir {
    pub dir: Arc<Dir>,
    /// The address of the listener `web`, if the configuration has it at [`Weir::start`]'s address.
    pub web: SocketAddr,
    pub admin: SocketAddr,
    /// The control socket.
    pub socket: String,
    /// The file given by `-c`.
    pub file: String,
    start: Start,
    arguments: Vec<String>,
    under: Vec<String>,
    process: Option<Process>,
}

impl Weir {
    /// The pieces of a weir that is not started yet; `objects` are the listeners and pools.
    #[must_use]
    pub fn prepare(web: SocketAddr, objects: &str, start: Start) -> Weir {
        let dir = Arc::new(if start.in_memory { Dir::in_memory() } else { Dir::new() });
        let admin = crate::net::free(crate::net::own_ip());
        let socket = dir.entry("s");
        let file = dir.entry("weir.toml");
        let (arguments, under) = (Vec::new(), Vec::new());
        let weir = Weir { dir, web, admin, socket, file, start, arguments, under, process: None };
        weir.write(objects);
        weir
    }

    /// Writes the file given by `-c`: the process settings, then `objects`.
    pub fn write(&self, objects: &str) {
        self.dir.write("weir.toml", &self.with_settings(objects));
    }

    /// Makes the file of the token, which is a setting from then on. Returns its path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write_token(&self) -> String {
        let file = self.dir.write(TOKEN_FILE, &format!("{TOKEN}\n"));
        let closed = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&file, closed).expect("it is ours");
        file
    }

    /// A whole file: this weir's process settings, then `objects`.
    #[must_use]
    pub fn with_settings(&self, objects: &str) -> String {
        let (state, token) = (self.dir.entry("state"), self.dir.entry(TOKEN_FILE));
        let token = if fs::exists(&token).is_ok_and(|there| there) {
            format!("admin-token-file = {token:?}\n")
        } else {
            String::new()
        };
        let more = self.start.settings.replace("{dir}", &self.dir.path.display().to_string());
        let (shards, socket, admin) = (self.start.shards, &self.socket, self.admin.to_string());
        format!(
            "[weir]\nshards = {shards}\ncontrol = {socket:?}\nadmin = {admin:?}\n\
             state = {state:?}\n{token}{more}\n{objects}"
        )
    }

    /// Writes such a file, to be applied; its path.
    pub fn file(&self, name: &str, objects: &str) -> String {
        self.dir.write(name, &self.with_settings(objects))
    }

    /// More arguments of `weir run`, from the next start on.
    pub fn arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
    }

    /// A command that becomes the one that follows it, as `prlimit --as=N` does, from the next
    /// start on.
    pub fn under(&mut self, words: &[&str]) {
        self.under = words.iter().map(ToString::to_string).collect();
    }

    /// Starts the process without waiting for anything.
    ///
    /// # Panics
    /// If it runs already, or cannot be started.
    pub fn spawn(&mut self) {
        let gone = self.process.as_mut().is_none_or(|process| process.poll().is_some());
        assert!(gone, "weir runs already");
        let weir = binary("weir", "WEIR_BIN");
        // prlimit becomes the command it is given: the process id stays.
        let limit = self.start.nofile.map(|limit| format!("--nofile={limit}:{limit}"));
        let limits = limit.into_iter().flat_map(|limit| ["prlimit".to_owned(), limit]);
        let mut words: VecDeque<OsString> =
            limits.chain(self.under.iter().cloned()).map(OsString::from).collect();
        words.push_back(weir.into());
        let mut command = Command::new(words.pop_front().expect("weir is there at least"));
        command.args(words);
        command.args(["run", "-c", &self.file]).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("NOTIFY_SOCKET").env_remove("WEIR_SOCKET");
        // As under a service manager: making one takes a second, in which the shard is away.
        command.env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
        command.envs(self.start.env.iter().cloned());
        command.env_remove("WEIR_FAILPOINTS");
        if self.start.failpoints {
            command.env("WEIR_FAILPOINTS", self.dir.entry("f"));
        }
        if let Some(path) = &self.start.log_file {
            let file = fs::OpenOptions::new().append(true).create(true).open(path);
            command.stderr(file.expect("the log's file can be opened"));
        }
        let mut child = command.spawn().expect("weir can be started");
        let log = Arc::new(Log::default());
        if let Some(stderr) = child.stderr.take() {
            log.follow(stderr);
        }
        if let Some(stdout) = child.stdout.take() {
            log.follow(stdout);
        }
        self.process = Some(Process::new(child, log));
    }

    /// Starts the process and waits until it says that it serves.
    ///
    /// # Panics
    /// If it does not.
    pub fn run(&mut self) {
        self.spawn();
        let ready = clock::try_wait(READY_MAX, || {
            // Looked at in this order: what it said is read to the end once it is gone.
            let gone = self.exited();
            (gone.is_some() || self.says_ready()).then_some(gone)
        });
        match ready {
            Some(None) => {}
            Some(Some(status)) => panic!("weir ended with {status} before it was ready"),
            None => panic!("weir was not ready within {READY_MAX:?}"),
        }
    }

    fn says_ready(&self) -> bool {
        self.log()
            .lines()
            .any(|line| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == "ready"))
            && std::os::unix::net::UnixStream::connect(&self.socket).is_ok()
    }

    /// [`Weir::prepare`] and [`Weir::run`].
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start(web: SocketAddr, objects: &str, start: Start) -> Weir {
        let mut weir = Weir::prepare(web, objects, start);
        weir.run();
        weir
    }

    /// `weirctl upgrade` or `weirctl shards N`: this is the new process from then on, and the old
    /// one has ended.
    ///
    /// # Panics
    /// If it fails, or the old one has not ended 2 s later, or not well.
    pub fn upgrade(&mut self, verb: &[&str]) -> Ran {
        Process::adopt_orphans();
        let ran = self.ctl(verb).expect_code(0);
        self.follow(&ran.stdout);
        ran
    }

    /// The same by SIGUSR2.
    ///
    /// # Panics
    /// As [`Weir::upgrade`].
    pub fn upgrade_by_signal(&mut self) {
        Process::adopt_orphans();
        self.signal(Signal::USR2);
        clock::wait_for("the new weir", || self.log().contains("serves as process "));
        self.follow(&self.log());
    }

    /// Another process has taken over, as this text says last.
    fn follow(&mut self, text: &str) {
        let pid = text.rsplit("as process ").next();
        let pid = pid.and_then(|rest| rest.split(':').next()?.parse().ok());
        let process = self.process.as_mut().expect("weir was started");
        let old =
            clock::wait_within(Duration::from_secs(2), "the old weir's end", || process.ended());
        assert_eq!(old.code(), Some(0), "the old weir has ended well: {}", process.log.text());
        process.follow(pid.expect("it says which process serves"));
    }

    /// Orders a fault, as failpoint.rs of the daemon reads it: `shard 1 panic 0`.
    ///
    /// # Panics
    /// If this weir was not started with failpoints.
    pub fn strike(&self, order: &str) {
        let socket = std::os::unix::net::UnixDatagram::unbound().expect("there is a descriptor");
        let sent = socket.send_to(order.as_bytes(), self.dir.entry("f"));
        assert_eq!(sent.expect("failpoints are armed"), order.len());
    }

    /// What the process has said so far, on stdout and stderr.
    #[must_use]
    pub fn log(&self) -> String {
        let read = self.process.as_ref().map(|process| process.log.text()).unwrap_or_default();
        let file = self.start.log_file.as_ref().filter(|path| path.is_file());
        read + &file.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
    }

    /// What becomes of the log from now on. Once weir says something more.
    pub fn read_log(&self, how: Reader) {
        if let Some(process) = &self.process {
            process.log.set(how);
        }
    }

    /// The process id.
    ///
    /// # Panics
    /// If it was never started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("weir was started").id()
    }

    /// Sends a signal to this process.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has an id"), signal).expect("weir runs");
    }

    /// Stops the process (SIGSTOP) and comes back when none of its threads runs any more: until
    /// then they take what comes. SIGCONT lets it go on.
    ///
    /// # Panics
    /// If it is gone.
    pub fn halt(&self) {
        self.signal(Signal::STOP);
        let is_halted = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('T'))
        };
        clock::wait_for("weir to stand still", || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("weir runs");
            tasks.flatten().all(is_halted)
        });
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::poll)
    }

    /// Waits for its end; gives its exit code, or minus the signal that killed it.
    ///
    /// # Panics
    /// If it has not ended within `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> i32 {
        let status = clock::wait_within(limit, "weir's end", || self.exited());
        status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }

    /// CPU time that the process has used, user and system together.
    ///
    /// # Panics
    /// If the process is gone.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("weir runs");
        // The name in round brackets may hold anything: count from its end.
        let fields: Vec<&str> =
            stat.rsplit_once(')').expect("a stat line").1.split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<u64>().expect("ticks are a number");
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Time in which threads of the process could run and the kernel did not let them: the machine
    /// was busy with others, and what took longer for it is not weir's doing.
    ///
    /// # Panics
    /// If the process is gone.
    #[must_use]
    pub fn kept_waiting(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("weir runs");
        let waited = |path: PathBuf| -> Option<u64> {
            let text = fs::read_to_string(path.join("schedstat")).ok()?;
            text.split_whitespace().nth(1)?.parse().ok()
        };
        Duration::from_nanos(tasks.flatten().filter_map(|task| waited(task.path())).sum())
    }

    /// What the descriptors of weir are (`socket:[4711]`, a path): those of the main thread, and
    /// those of each shard's thread, which has a table of its own.
    ///
    /// # Panics
    /// If the process is gone.
    #[must_use]
    pub fn descriptors(&self) -> Vec<String> {
        let mut all = Vec::new();
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("weir runs");
        for task in tasks.flatten() {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let is_main = task.file_name().to_string_lossy() == self.pid().to_string();
            if !is_main && !name.starts_with("weir-shard") {
                continue;
            }
            // A descriptor may be gone between the two looks.
            let entries = fs::read_dir(task.path().join("fd")).into_iter().flatten().flatten();
            let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
            all.extend(targets.map(|target| target.to_string_lossy().into_owned()));
        }
        all
    }

    /// Resident bytes of the process.
    ///
    /// # Panics
    /// If the process is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("weir runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let kib = line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number");
        kib * 1024
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let status = self.exited();
        self.kill();
        if std::thread::panicking() {
            let end = status.map_or("still running".to_owned(), |status| status.to_string());
            eprintln!("--- weir ({end}) said:\n{}\n--- end of weir", self.log());
        }
    }
}
