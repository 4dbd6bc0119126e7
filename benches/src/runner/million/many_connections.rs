//! The herd and its pasture as processes of the runner: started, told steps, ended.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::load::many_connections::{ManyConnectionsReport, THREAD_LINKS_MAX};
use crate::runner::process::load_program;
use crate::runner::{LOAD_CORE, fault};
use crate::sys;

/// A process that is killed with its value. It also ends by itself, and with this process.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The backends.
pub struct EchoServers {
    _child: Killed,
    pub addresses: Vec<SocketAddr>,
}

impl EchoServers {
    /// Room for N connections, with a fifth to spare: proxies do not spread evenly.
    pub fn start(connections: usize, seconds: f64) -> io::Result<Self> {
        Self::start_threads((connections * 6 / 5).div_ceil(THREAD_LINKS_MAX).max(1), seconds)
    }

    /// Starts it with four addresses a thread.
    pub fn start_threads(threads: usize, seconds: f64) -> io::Result<Self> {
        let mut command = Command::new(load_program()?);
        command.args(["echo-servers", "--threads", &threads.to_string()]);
        command.args(["--seconds", &seconds.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = Killed(sys::spawn_on(&mut command, LOAD_CORE)?);
        let output = child.0.stdout.take().ok_or_else(|| fault("no output"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let addresses: Option<Vec<SocketAddr>> = line
            .trim()
            .strip_prefix("listening ")
            .and_then(|all| all.split(',').map(|one| one.parse().ok()).collect());
        let addresses =
            addresses.ok_or_else(|| fault(format!("weir-load echo-servers said {line:?}")))?;
        Ok(Self { _child: child, addresses })
    }
}

/// The clients.
pub struct ManyConnections {
    child: Killed,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl ManyConnections {
    /// Starts it; nothing is open yet.
    pub fn start(targets: &[SocketAddr], connections: usize, seconds: f64) -> io::Result<Self> {
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let mut command = Command::new(load_program()?);
        command.args(["many-connections", "--target", &targets.join(",")]);
        command.args(["--connections", &connections.to_string()]);
        command.args(["--seconds", &seconds.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = Killed(sys::spawn_on(&mut command, LOAD_CORE)?);
        let input = child.0.stdin.take();
        let output = child.0.stdout.take().ok_or_else(|| fault("no output"))?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// Takes a step and waits for its report; an error in it is an error here.
    pub fn step(&mut self, step: &str) -> io::Result<ManyConnectionsReport> {
        let input = self.input.as_mut().ok_or_else(|| fault("it has ended"))?;
        writeln!(input, "{step}")?;
        input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let report: ManyConnectionsReport = serde_json::from_str(&line)
            .map_err(|error| fault(format!("{step}: weir-load said {line:?}: {error}")))?;
        match &report.first_error {
            Some(first) if report.errors > 0 => {
                Err(fault(format!("{step}: {} lost, the first: {first}", report.errors)))
            }
            _ => Ok(report),
        }
    }

    /// Ends it.
    pub fn end(mut self) -> io::Result<()> {
        drop(self.input.take());
        let status = self.child.0.wait()?;
        if status.success() { Ok(()) } else { Err(fault(format!("weir-load herd: {status}"))) }
    }
}
