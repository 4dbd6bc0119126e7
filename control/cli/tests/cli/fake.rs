//! A daemon of one thread that answers as the test says, and the binary beside it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_proto::answer::{
    Answer, BackendRow, BackendState, Changed, CheckResult, CheckRow, Note, PoolRow, ProcessState,
    ShardRow, Status,
};
use weir_proto::frame::{self, HEADER};
use weir_proto::request::{self, Code, Hello, PROTOCOL, Refusal, Request, Response, Welcome};
use weir_proto::settings::{ShownSettings, ShownValue};
use weir_proto::spec::Strategy;

/// The daemon. It leaves with the value.
pub(crate) struct Daemon {
    place: PathBuf,
    asked: Arc<Mutex<Vec<Request>>>,
    leave: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the binary did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl Daemon {
    /// Answers with what `answer` makes of each request. `None` closes the connection.
    pub(crate) fn new(
        mut answer: impl FnMut(&Request) -> Option<Response> + Send + 'static,
    ) -> Daemon {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weirctl-cli-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&place).unwrap();
        let listener = UnixListener::bind(place.join("s")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let leave = Arc::new(AtomicBool::new(false));
        let (log, left) = (Arc::clone(&asked), Arc::clone(&leave));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if left.load(Ordering::Relaxed) {
                    return;
                }
                serve(stream.unwrap(), &mut answer, &log);
            }
        });
        Daemon { place, asked, leave, thread: Some(thread) }
    }

    /// One that gives the same answer to everything.
    pub(crate) fn saying(answer: Answer) -> Daemon {
        Daemon::new(move |_| Some(Response::Done(answer.clone())))
    }

    pub(crate) fn refusing(code: Code) -> Daemon {
        Daemon::new(move |_| {
            let mut refusal = Refusal::new(code, "there is no pool wbe", "weirctl pool list");
            refusal.did_you_mean = vec!["web".into()];
            Some(Response::Refused(refusal))
        })
    }

    /// A path in the daemon's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// The requests received so far, without the client's command lines.
    pub(crate) fn asked(&self) -> Vec<Request> {
        let mut asked = self.asked.lock().unwrap().clone();
        for request in &mut asked {
            if let Request::Command(request::Command::Change { options, .. }) = request {
                options.note.command = None;
            }
        }
        asked
    }

    /// The notes of the changes that it was asked for.
    pub(crate) fn notes(&self) -> Vec<Note> {
        let asked = self.asked.lock().unwrap();
        let notes = asked.iter().filter_map(|request| match request {
            Request::Command(request::Command::Change { options, .. }) => Some(&options.note),
            _ => None,
        });
        notes.cloned().collect()
    }

    pub(crate) fn spawn(&self, line: &str) -> Child {
        Command::new(env!("CARGO_BIN_EXE_weirctl"))
            .args(line.split_whitespace())
            .env_remove("CLICOLOR_FORCE")
            .env("WEIR_SOCKET", self.path("s"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_with(line, "")
    }

    /// Runs the binary with this on its stdin.
    pub(crate) fn run_with(&self, line: &str, input: &str) -> Ran {
        let mut child = self.spawn(line);
        let wrote = child.stdin.take().unwrap().write_all(input.as_bytes());
        assert!(wrote.is_ok() || input.is_empty(), "it did not read its stdin");
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Relaxed);
        // Wakes the thread from its accept.
        let _ = UnixStream::connect(self.path("s"));
        let ended = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_dir_all(&self.place);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn serve(
    mut stream: UnixStream,
    answer: &mut impl FnMut(&Request) -> Option<Response>,
    log: &Mutex<Vec<Request>>,
) {
    let Some(Hello { protocol, .. }) = read(&mut stream) else { return };
    assert_eq!(protocol, PROTOCOL);
    let program = env!("CARGO_PKG_VERSION").to_owned();
    let welcome = Welcome { protocol: PROTOCOL, program };
    stream.write_all(&frame::encode(&welcome).unwrap()).unwrap();
    while let Some(request) = read::<Request>(&mut stream) {
        log.lock().unwrap().push(request.clone());
        let Some(response) = answer(&request) else { return };
        let bytes = frame::encode_message(&response, frame::ANSWER_MAX).unwrap();
        let written = stream.write_all(&bytes);
        // The binary was interrupted, or the daemon was told to leave.
        let stopped = matches!(request, Request::Command(request::Command::Stop { .. }));
        if written.is_err() || stopped {
            return;
        }
    }
}

/// The next frame, or `None` when the binary has left.
fn read<T: DeserializeOwned>(stream: &mut UnixStream) -> Option<T> {
    let mut header = [0; HEADER];
    match stream.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
        result => result.unwrap(),
    }
    let mut body = vec![0; frame::body_length(header).unwrap()];
    stream.read_exact(&mut body).unwrap();
    Some(frame::decode(&body).unwrap())
}

pub(crate) fn done(answer: Answer) -> Option<Response> {
    Some(Response::Done(answer))
}

pub(crate) fn status(backends_up: u64) -> Status {
    let shard = ShardRow { id: 0, version: 7, sessions: 4, sessions_max: 100, busy: 0.0 };
    Status {
        version: 7,
        drift_keys: 0,
        unconfirmed: None,
        uptime_s: 1.5,
        program: env!("CARGO_PKG_VERSION").into(),
        state: ProcessState::Serving,
        sessions_max: 100,
        shards: vec![shard],
        listeners: Vec::new(),
        pools: vec![PoolRow {
            name: "web".into(),
            strategy: Strategy::LeastConn,
            backends_up,
            backends: 2,
            sessions: 4,
            panic: false,
            groups: Vec::new(),
        }],
        warnings: Vec::new(),
    }
}

pub(crate) fn backend(sessions: u64) -> BackendRow {
    BackendRow {
        name: "web/b1".into(),
        address: "10.0.0.1:80".into(),
        state: BackendState::Draining,
        weight: 1,
        priority: 0,
        force: None,
        sessions,
        connecting: 0,
        max_sessions: None,
        connecting_max: None,
        connect_rate_per_s: None,
        sessions_total: 9,
        connect_failures_total: 0,
        received_bytes_total: 0,
        sent_bytes_total: 0,
        check: CheckRow { result: CheckResult::Ok, since_s: 1.0, hold_s: 0.0 },
        removed: false,
        discovered: false,
        agent: None,
    }
}

/// A subject of one setting.
pub(crate) fn shown(name: &str, value: ShownValue) -> ShownSettings {
    let mut shown = ShownSettings::default();
    shown.put(name, value);
    shown
}

pub(crate) fn changed() -> Changed {
    Changed {
        version: 8,
        before: Some(shown("state", ShownValue::Text("ready".into()))),
        after: Some(shown("state", ShownValue::Text("drain".into()))),
        summary: "backend set web/b1 (state ready → drain)".into(),
        undo: "weirctl backend ready web/b1".into(),
        dry_run: false,
        warnings: Vec::new(),
        unconfirmed: None,
        changes: Vec::new(),
        impact: None,
        shards_adopted: 2,
        shards: 2,
    }
}
