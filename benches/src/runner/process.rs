//! Programs that a run starts: a backend, or a proxy with its configuration; they end with the run.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::clock::{now_ns, pause};
use crate::load::serve::neighbour;
use crate::runner::config::{self, Route, Setup};
use crate::runner::machine;
use crate::runner::peer::{Found, Peer};
use crate::runner::{LOAD_CORE, PROXY_CORE, context, fault};
use crate::sys;

/// Longest wait for a program to serve, and to end when asked.
const PATIENCE_NS: u64 = 10_000_000_000;
/// So much of a configuration is published.
const SETTINGS_LINES: usize = 40;
/// Between two looks at a program.
const LOOK: Duration = Duration::from_millis(5);

/// A folder that is gone with its value.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-bench-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(context(path.display()))?;
        Ok(Self { path })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A program of ours on one core; it is asked to end, then killed, when the value goes.
pub struct Program {
    child: Child,
}

impl Program {
    pub fn start(command: &mut Command, core: usize) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = sys::spawn_on(command.stdin(Stdio::null()), core).map_err(context(name))?;
        Ok(Self { child })
    }

    /// CPU time so far, of it and its descendants, in ns.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        let pids = machine::family(self.child.id());
        // A descendant can end between the two looks; the program itself must not.
        let mut sum = sys::process_cpu_ns(pids[0]).map_err(context("the program has ended"))?;
        sum += pids[1..].iter().filter_map(|pid| sys::process_cpu_ns(*pid).ok()).sum::<u64>();
        Ok(sum)
    }

    /// Anonymous bytes now, of it and its descendants.
    pub fn anonymous(&self) -> io::Result<u64> {
        machine::family(self.child.id()).into_iter().map(machine::anonymous).sum()
    }

    /// Resident bytes now, of it and its descendants.
    pub fn resident(&self) -> io::Result<u64> {
        machine::family(self.child.id()).into_iter().map(machine::resident).sum()
    }

    /// The process and its descendants.
    #[must_use]
    pub fn family(&self) -> Vec<u32> {
        machine::family(self.child.id())
    }

    /// The cores that its threads may use.
    #[must_use]
    pub fn cores(&self) -> Vec<String> {
        let family = machine::family(self.child.id());
        let mut cores: Vec<String> = family.into_iter().flat_map(machine::cores_allowed).collect();
        cores.sort();
        cores.dedup();
        cores
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        sys::terminate(&self.child);
        let end = now_ns() + PATIENCE_NS;
        while now_ns() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            pause(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `weir-load` beside this program.
pub fn load_program() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    // A test's own program is in deps/, one folder below.
    let folders = own.ancestors().skip(1).take(2);
    folders.map(|folder| folder.join("weir-load")).find(|file| file.is_file()).ok_or_else(|| {
        fault("weir-load is not beside weir-bench: cargo build --release -p weir-bench")
    })
}

/// A backend on the load core.
pub struct Backend {
    pub program: Program,
    pub addresses: Vec<SocketAddr>,
}

impl Backend {
    /// Starts `weir-load serve` in a mode, on a free port of N loopback addresses; urgent:
    /// before all ordinary threads.
    pub fn start(mode: &str, addresses: u16, urgent: bool) -> io::Result<Self> {
        let mut command = Command::new(load_program()?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--mode", mode, "--seconds", "86400"]);
        command.args(["--addresses", &addresses.to_string()]);
        command.args(urgent.then_some("--before-others"));
        let mut program = Program::start(command.stdout(Stdio::piped()), LOAD_CORE)?;
        let output = program.child.stdout.take().ok_or_else(|| fault("no output"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening ").and_then(|text| text.parse().ok());
        let address = address.ok_or_else(|| fault(format!("weir-load serve said {line:?}")))?;
        let addresses = (0..addresses).map(|number| neighbour(address, number)).collect();
        Ok(Self { program, addresses })
    }

    /// Starts nginx as an HTTP backend.
    pub fn start_nginx(nginx: &Path, scratch: &Scratch) -> io::Result<Self> {
        let address = free_addresses(1)?[0];
        let file = scratch.path().join("backend.conf");
        fs::write(&file, config::nginx_backend(address, scratch.path()))?;
        let log = scratch.path().join("backend.log");
        let mut command = nginx_command(nginx, &file, scratch.path());
        let mut program =
            Program::start(command.stdout(Stdio::null()).stderr(File::create(&log)?), LOAD_CORE)?;
        wait_serving(&mut program, &[address], &log)?;
        Ok(Self { program, addresses: vec![address] })
    }
}

/// One thing that the backends offer.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: &'static str,
    pub backends: Vec<SocketAddr>,
}

/// A proxy that serves; for `Peer::None` just the backends.
pub struct Proxy {
    pub peer: Peer,
    pub program: Option<Program>,
    /// What it was told, without this machine's folders.
    pub settings: String,
    /// weir: where its metrics are.
    pub admin: Option<SocketAddr>,
    routes: Vec<Route>,
    scratch: Scratch,
}

impl Proxy {
    /// Starts the peer before these services, on this core, and waits until it takes connections.
    pub fn start(found: &Found, services: &[Service], setup: Setup) -> io::Result<Self> {
        let scratch = Scratch::new()?;
        let free = free_addresses(services.len() + 1)?;
        let admin = free[services.len()];
        let route = |(service, free): (&Service, SocketAddr)| Route {
            name: service.name,
            listen: if found.peer == Peer::None { service.backends[0] } else { free },
            backends: service.backends.clone(),
        };
        let routes: Vec<Route> = services.iter().zip(free).map(route).collect();
        let folder = scratch.path();
        let name = if found.peer == Peer::Envoy { "proxy.json" } else { "proxy.conf" };
        let file = folder.join(name);
        let mut command = Command::new(&found.program);
        let text = match found.peer {
            Peer::None => String::new(),
            Peer::Weir => {
                fs::create_dir(folder.join("state"))?;
                command.arg("run").arg("-c").arg(&file);
                command.args(["--shards", &setup.shards.to_string()]);
                config::weir(&routes, setup, folder, admin)
            }
            Peer::Haproxy => {
                command.arg("-db").arg("-f").arg(&file);
                config::haproxy(&routes, setup)
            }
            Peer::Nginx => {
                command = nginx_command(&found.program, &file, folder);
                config::nginx(&routes, setup, folder, found.module.as_deref())
            }
            Peer::Envoy => {
                command.arg("-c").arg(&file).args(["--disable-hot-restart", "-l", "warn"]);
                command.args(["--concurrency", &setup.shards.to_string()]);
                config::envoy(&routes, setup)
            }
        };
        fs::write(&file, &text)?;
        let mut program = None;
        if found.peer != Peer::None {
            let log = folder.join("proxy.log");
            let output = command.stdout(Stdio::null()).stderr(File::create(&log)?);
            let mut started = Program::start(output, PROXY_CORE)?;
            let addresses: Vec<SocketAddr> = routes.iter().map(|route| route.listen).collect();
            wait_serving(&mut started, &addresses, &log).map_err(context(found.peer.name()))?;
            program = Some(started);
        }
        let settings = published(&text, folder);
        let admin = (found.peer == Peer::Weir).then_some(admin);
        Ok(Self { peer: found.peer, program, settings, admin, routes, scratch })
    }

    /// Its folder: weir's control socket is `control.sock` there.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Where clients reach a service.
    #[must_use]
    pub fn address(&self, service: &str) -> SocketAddr {
        let route = self.routes.iter().find(|route| route.name == service);
        route.expect("a service that it was started with").listen
    }

    /// CPU time of the proxy so far, in ns; 0 for none.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        self.program.as_ref().map_or(Ok(0), Program::cpu_ns)
    }
}

/// A configuration as it may be published: without folders of this machine, and cut when long.
fn published(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "FOLDER");
    let lines = text.lines().filter(|line| !line.starts_with("load_module"));
    let mut kept: Vec<&str> = lines.take(SETTINGS_LINES + 1).collect();
    if kept.len() > SETTINGS_LINES {
        kept[SETTINGS_LINES] = "...";
    }
    kept.join("\n")
}

fn nginx_command(nginx: &Path, file: &Path, folder: &Path) -> Command {
    let mut command = Command::new(nginx);
    command.arg("-c").arg(file).arg("-p").arg(folder);
    command.args(["-e", "stderr", "-g", "daemon off;"]);
    command
}

/// Free loopback ports, found by binding port 0; all are held until the last one is known.
fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let held: io::Result<Vec<TcpListener>> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    held?.iter().map(TcpListener::local_addr).collect()
}

fn wait_serving(program: &mut Program, addresses: &[SocketAddr], log: &Path) -> io::Result<()> {
    let end = now_ns() + PATIENCE_NS;
    for address in addresses {
        while !takes_connections(*address) {
            if let Some(status) = program.child.try_wait()? {
                return Err(fault(format!("ended with {status}: {}", tail(log))));
            }
            if now_ns() > end {
                return Err(fault(format!("does not listen on {address}: {}", tail(log))));
            }
            pause(LOOK);
        }
    }
    Ok(())
}

fn takes_connections(address: SocketAddr) -> bool {
    let stream = TcpStream::connect(address);
    // While nobody listens, the kernel may pick the port itself as the source: no server, an echo.
    stream.is_ok_and(|stream| stream.local_addr().is_ok_and(|local| local != address))
}

/// The end of a log, for an error.
fn tail(log: &Path) -> String {
    let mut text = String::new();
    let _ = File::open(log).and_then(|mut file| file.read_to_string(&mut text));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
