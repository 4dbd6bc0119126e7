//! Real parts around weir: nginx, redis and PostgreSQL as backends, HAProxy and nginx in weir's
//! place, and the tools that load them.
//!
//! All are Debian's; `./scripts/test` installs what is missing. Each server has a directory, an
//! address and a process of its own, and ends with the test.

mod checked;
pub mod dns;
pub mod tls;

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::clock;
use crate::net::{free, own_ip};
use crate::weir::{Dir, Ran};

/// A server may take this long to be ready: PostgreSQL on a busy disk.
const READY_MAX: Duration = Duration::from_secs(60);

/// Where Debian's libnginx-mod-stream is.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A running server of somebody else.
#[derive(Debug)]
pub struct Server {
    /// Where it listens: the same port on each address.
    pub addresses: Vec<SocketAddr>,
    child: Child,
    dir: Dir,
}

impl Server {
    /// Starts one, and waits until it listens at these addresses.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn spawn(command: &mut Command, addresses: Vec<SocketAddr>, dir: Dir) -> Server {
        let log = File::create(dir.path.join("log")).expect("a file can be written");
        let twin = log.try_clone().expect("there is a descriptor");
        command.stdin(Stdio::null()).stdout(log).stderr(twin);
        let child = command.spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{command:?}: {error}; see ./scripts/test"));
        let mut server = Server { addresses, child, dir };
        let ready = clock::try_wait(READY_MAX, || {
            let ended = server.child.try_wait().ok().flatten().is_some();
            let up = |address: &SocketAddr| TcpStream::connect(address).is_ok();
            (ended || server.addresses.iter().all(up)).then_some(!ended)
        });
        assert_eq!(ready, Some(true), "{command:?} did not come up");
        server
    }

    /// The address of a server that has one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Everything that it has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path.join("log")).unwrap_or_default()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// nginx, one process: a small page with `name` at `/`, and `large` bytes at `/large`.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn nginx(name: &str, large: usize) -> Server {
        let dir = Dir::new();
        let address = free(own_ip());
        fs::create_dir(dir.path.join("www")).expect("a directory can be made");
        dir.write("www/index.html", &format!("{name}\n"));
        fs::write(dir.path.join("www/large"), crate::net::noise(1, large)).expect("there is room");
        let root = dir.entry("www");
        let http = format!(
            "keepalive_requests 1000000;\nserver {{ listen {address} backlog=1024; root {root}; }}"
        );
        Server::nginx_http(dir, address, &http)
    }

    /// nginx, one process, with this inside of its `http` block; it listens at `address`.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn nginx_http(dir: Dir, address: SocketAddr, http: &str) -> Server {
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths: String =
            paths.iter().map(|path| format!("{path}_temp_path {};\n", dir.entry("temp"))).collect();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log stderr;\n\
             events {{ worker_connections 2048; }}\n\
             http {{\naccess_log off;\n{paths}{http}\n}}\n",
            dir.entry("pid"),
        );
        let file = dir.write("nginx.conf", &text);
        let mut command = Command::new("nginx");
        command.args(["-p", &dir.entry(""), "-c", &file, "-e", "stderr"]);
        Server::spawn(&mut command, vec![address], dir)
    }

    /// HAProxy with the `haproxy.cfg` of a directory, in which it listens at `addresses`.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn haproxy(dir: Dir, addresses: Vec<SocketAddr>) -> Server {
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f", &dir.entry("haproxy.cfg")]);
        Server::spawn(&mut command, addresses, dir)
    }

    /// nginx, one process with its stream module, with the `nginx.conf` of a directory.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn nginx_stream(dir: Dir, addresses: Vec<SocketAddr>) -> Server {
        let globals = format!(
            "load_module {STREAM_MODULE}; daemon off; master_process off; pid {};",
            dir.entry("pid")
        );
        let mut command = Command::new("nginx");
        command.args(["-p", &dir.entry(""), "-c", &dir.entry("nginx.conf"), "-e", "stderr"]);
        command.args(["-g", &globals]);
        Server::spawn(&mut command, addresses, dir)
    }

    /// redis without persistence, on two addresses.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn redis() -> Server {
        Server::redis_at(two_addresses())
    }

    /// The same on addresses that have one port.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn redis_at(addresses: Vec<SocketAddr>) -> Server {
        let dir = Dir::new();
        let mut command = Command::new("redis-server");
        command.args(["--port", &addresses[0].port().to_string(), "--save", ""]);
        command.args(["--appendonly", "no", "--protected-mode", "no", "--dir", &dir.entry("")]);
        command.arg("--bind").args(addresses.iter().map(|address| address.ip().to_string()));
        Server::spawn(&mut command, addresses, dir)
    }

    /// A PostgreSQL cluster of its own on two addresses; as user `postgres` if the test is root.
    ///
    /// # Panics
    /// If it is not installed, or does not come up.
    #[must_use]
    pub fn postgres() -> Server {
        let dir = Dir::new();
        let addresses = two_addresses();
        let data = dir.entry("data");
        let root = fs::metadata("/proc/self").is_ok_and(|me| {
            use std::os::unix::fs::MetadataExt;
            me.uid() == 0
        });
        let as_postgres = |program: PathBuf| {
            if !root {
                return Command::new(program);
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
            command.arg(program);
            command
        };
        if root {
            let mut own = Command::new("install");
            own.args(["-d", "-o", "postgres", "-g", "postgres", "-m", "700", &data]);
            Ran::of(&mut own).expect_code(0);
        }
        let mut init = as_postgres(postgres_binary("initdb"));
        init.args(["-D", &data, "-U", "weir", "-A", "trust", "--no-sync", "--no-instructions"]);
        Ran::of(init.current_dir("/")).expect_code(0);
        let hba = dir.path.join("data/pg_hba.conf");
        fs::write(
            hba,
            "host all checker 127.0.0.0/8 scram-sha-256\nhost all all 127.0.0.0/8 trust\n",
        )
        .expect("the cluster is there");
        let listen = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>();
        let mut command = as_postgres(postgres_binary("postgres"));
        command.current_dir("/").args(["-D", &data, "-p", &addresses[0].port().to_string()]);
        command.args(["-c", &format!("listen_addresses={}", listen.join(","))]);
        command.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
        let server = Server::spawn(&mut command, addresses, dir);
        // It accepts before it answers.
        clock::wait_within(READY_MAX, "PostgreSQL to answer", || {
            let mut ask = Command::new(postgres_binary("pg_isready"));
            let (ip, port) = (server.address().ip(), server.address().port());
            // Its name is not one that the server complains of.
            ask.args([
                "-U",
                "weir",
                "-d",
                "postgres",
                "-h",
                &ip.to_string(),
                "-p",
                &port.to_string(),
            ]);
            (Ran::of(&mut ask).code == 0).then_some(())
        });
        server
    }
}

/// One command of redis-cli at this server.
pub fn redis_cli(at: SocketAddr, words: &[&str]) -> Ran {
    let mut cli = Command::new("redis-cli");
    cli.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string()]).args(words);
    Ran::of(&mut cli)
}

impl Drop for Server {
    fn drop(&mut self) {
        // PostgreSQL takes SIGINT as "stop at once, in order": its own children go with it.
        if let Some(pid) =
            i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
            clock::try_wait(Duration::from_secs(10), || self.child.try_wait().ok().flatten());
        }
        self.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path.join("log")).unwrap_or_default();
            eprintln!("--- a server at {:?} said:\n{log}\n---", self.addresses);
        }
    }
}

/// Two addresses of this test with the same port, free on both.
fn two_addresses() -> Vec<SocketAddr> {
    let ips: [IpAddr; 2] = [own_ip(), own_ip()];
    let port = free(ips[0]).port();
    ips.map(|ip| SocketAddr::new(ip, port)).to_vec()
}

/// A program of the newest PostgreSQL that is installed: Debian keeps them out of PATH.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn postgres_binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|entry| entry.path().join("bin").join(name)).filter(|p| p.exists());
    let version = |path: &PathBuf| {
        let name = path.ancestors().nth(2).and_then(|path| path.file_name());
        name.and_then(|name| name.to_string_lossy().parse::<u32>().ok())
    };
    found.max_by_key(version).unwrap_or_else(|| PathBuf::from(name))
}

/// A load tool that runs while the test does something else.
#[derive(Debug)]
pub struct Load {
    child: Child,
    typed: String,
    /// The tool's output goes to a file: a full pipe would stop it.
    dir: Dir,
}

impl Load {
    /// Starts the tool.
    ///
    /// # Panics
    /// If it is not installed.
    #[must_use]
    pub fn start(command: &mut Command) -> Load {
        let dir = Dir::new();
        let file = |name: &str| File::create(dir.path.join(name)).expect("a file can be written");
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let typed = format!("{command:?}");
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{typed}: {error}; see ./scripts/test"));
        Load { child, typed, dir }
    }

    /// Whether it is still at work.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, at most a minute.
    ///
    /// # Panics
    /// If it takes longer.
    #[must_use]
    pub fn end(mut self) -> Ran {
        let status = clock::wait_within(Duration::from_secs(60), "the load tool's end", || {
            self.child.try_wait().ok().flatten()
        });
        let read = |name: &str| fs::read_to_string(self.dir.path.join(name)).unwrap_or_default();
        Ran {
            command: self.typed.clone(),
            code: status.code().unwrap_or(-1),
            stdout: read("stdout"),
            stderr: read("stderr"),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `wrk` against `http://to/`, some seconds long; `extra` are more arguments.
#[must_use]
pub fn wrk(to: SocketAddr, connections: u32, seconds: u32, extra: &[&str]) -> Load {
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", &connections.to_string(), "-d", &format!("{seconds}s")]);
    command.args(extra).arg(format!("http://{to}/"));
    Load::start(&mut command)
}

/// What `wrk` saw: requests, and those that failed in any way.
///
/// # Panics
/// If it is not the output of wrk.
#[must_use]
pub fn wrk_result(ran: &Ran) -> (u64, u64) {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let lines = || ran.stdout.lines().map(str::trim);
    let requests = lines().find_map(|line| number(line.split_once(" requests in ")?.0));
    let requests = requests.unwrap_or_else(|| panic!("no number of requests: {ran}"));
    let mut failed = 0;
    for line in lines() {
        if let Some(errors) = line.strip_prefix("Socket errors:") {
            let counts = errors.split(',').filter_map(|part| number(part.rsplit(' ').next()?));
            failed += counts.sum::<u64>();
        }
        if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            failed += number(count).unwrap_or(1);
        }
    }
    (requests, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_wrk_is_understood() {
        let ran = |stdout: &str| Ran {
            command: String::new(),
            code: 0,
            stdout: stdout.to_owned(),
            stderr: String::new(),
        };
        let good = "Running 1s test\n  1234 requests in 1.00s, 1.00MB read\nRequests/sec: 1.0\n";
        assert_eq!(wrk_result(&ran(good)), (1234, 0));
        let bad = "  10 requests in 1.00s, 1MB read\n  \
                   Socket errors: connect 1, read 20, write 0, timeout 3\n  \
                   Non-2xx or 3xx responses: 4\n";
        assert_eq!(wrk_result(&ran(bad)), (10, 28));
    }
}
