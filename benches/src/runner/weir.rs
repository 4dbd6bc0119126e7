//! A weir that holds many sessions, and how to talk to it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::clock::{now_ns, pause};
use crate::load::crr;
use crate::runner::config::Setup;
use crate::runner::fault;
use crate::runner::peer::{self, Found};
use crate::runner::probe;
use crate::runner::process::{Program, Proxy, Service};
use crate::runner::work::words;

/// Time for a change to be used everywhere, in ns.
const ADOPTED_NS: u64 = 10_000_000_000;
/// Between two looks at weir.
const LOOK: Duration = Duration::from_millis(20);

/// weir, and how to talk to it.
pub struct Weir {
    pub proxy: Proxy,
    ctl: PathBuf,
}

impl Weir {
    /// Starts it before these backends, with room for N sessions.
    pub fn start(
        found: &Found,
        backends: &[SocketAddr],
        shards: u16,
        sessions: usize,
        logs_sessions: bool,
    ) -> io::Result<Self> {
        let service = Service { name: "echo", backends: backends.to_vec() };
        // A tenth more than asked for: each shard has its part of the limit, and the kernel does
        // not spread evenly.
        let sessions_max = sessions * 11 / 10 + 1_000;
        let setup = Setup { shards, sessions_max, logs_sessions, ..Setup::default() };
        let proxy = Proxy::start(found, &[service], setup)?;
        let ctl = found.program.with_file_name("weirctl");
        let ctl = peer::locate(&ctl)
            .or_else(|| peer::locate(Path::new("weirctl")))
            .ok_or_else(|| fault("no weirctl beside weir nor on PATH"))?;
        Ok(Self { proxy, ctl })
    }

    /// Its process.
    pub fn program(&self) -> io::Result<&Program> {
        self.proxy.program.as_ref().ok_or_else(|| fault("weir is a program"))
    }

    /// weirctl on its socket.
    #[must_use]
    pub fn weirctl(&self) -> Command {
        let mut command = Command::new(&self.ctl);
        command.arg("-s").arg(self.proxy.folder().join("control.sock"));
        command
    }

    /// The JSON that weirctl answers.
    pub fn ctl(&self, arguments: &[&str]) -> io::Result<Value> {
        let text = probe::tool(self.weirctl().args(["-o", "json"]).args(arguments))?;
        serde_json::from_str(&text).map_err(|error| fault(format!("weirctl: {text:?}: {error}")))
    }

    /// Sessions that stand.
    pub fn sessions(&self) -> io::Result<u64> {
        let status = self.ctl(&["status"])?;
        let shards = status["shards"].as_array().cloned().unwrap_or_default();
        Ok(shards.iter().filter_map(|shard| shard["sessions"].as_u64()).sum())
    }

    /// Makes a change and waits until every shard uses it: ns of the command, and of both.
    pub fn change(&self) -> io::Result<(u64, u64)> {
        let start = now_ns();
        let answer = self.ctl(&["backend", "weight", "echo/b0", "2"])?;
        let told = now_ns() - start;
        let version = answer["version"].as_u64().ok_or_else(|| fault("no version"))?;
        loop {
            let status = self.ctl(&["status"])?;
            let shards = status["shards"].as_array().cloned().unwrap_or_default();
            let used = |shard: &Value| shard["version"].as_u64() >= Some(version);
            if !shards.is_empty() && shards.iter().all(used) {
                return Ok((told, now_ns() - start));
            }
            if now_ns() - start > ADOPTED_NS {
                return Err(fault(format!("version {version} is not used everywhere: {status}")));
            }
            pause(LOOK);
        }
    }

    /// The latency of new connections, one after another: connect, one round trip, reset.
    pub fn new_connections(&self, count: u32) -> io::Result<crr::CrrReport> {
        let target = self.proxy.address("echo");
        let line = format!("crr --target {target} --concurrency 1 --count {count}");
        probe::load(&words(&line))
    }

    /// Waits until it has at most N sessions.
    pub fn wait_sessions(&self, most: u64, end_ns: u64) -> io::Result<()> {
        loop {
            let sessions = self.sessions()?;
            if sessions <= most {
                return Ok(());
            }
            if now_ns() >= end_ns {
                return Err(fault(format!("{sessions} sessions stand after all were closed")));
            }
            pause(LOOK);
        }
    }
}
