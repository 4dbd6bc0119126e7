//! `weir demo`: small backends, weir before them and some clients, on loopback, with commands to
//! try. With `--faults` three more backends, each ill in its own way.

mod backend;
mod over;
mod traffic;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::{Path, PathBuf};

use socket2::Socket;
use weir_proto::spec::{
    BackendSpec, HealthKind, HealthSpec, ListenerSpec, PoolSpec, Span, Spec, Strategy,
};

use backend::Manner;
use over::Over;

use crate::{file, streams};

/// Runs the demo, with backends that have faults if asked. `serve` is `weir run -c FILE`: it
/// returns when weir has been stopped.
///
/// # Errors
/// What kept it from starting, or what `serve` says.
pub(crate) fn run(
    faults: bool,
    serve: impl FnOnce(PathBuf) -> Result<u8, String>,
) -> Result<u8, String> {
    let say = |fault: io::Error| format!("the demo cannot start: {fault}");
    let stage = Stage::set(faults).map_err(say)?;
    traffic::start(stage.listener, &stage.over).map_err(say)?;
    // Nothing serves yet: this may wait. Whoever cannot read it does without.
    let _ = streams::out(&format!("{}\n", stage.invitation()));
    let code = serve(stage.file());
    stage.over.set();
    // Nothing in it is worth more than the demo.
    let _ = std::fs::remove_dir_all(&stage.folder);
    code
}

/// Other ports that are tried if one is taken.
const PORTS_TRIED: usize = 16;

/// What the demo stands on.
struct Stage {
    /// Holds the file, the state and the control socket.
    folder: PathBuf,
    listener: SocketAddr,
    admin: SocketAddr,
    /// Keeps both of them from other demos.
    _claimed: Vec<ClaimedAddress>,
    backends: Vec<(&'static str, SocketAddr)>,
    /// Keeps the port of the dead backend, if there is to be one.
    dead: Option<Socket>,
    over: Over,
    /// Allows changes over HTTP.
    token: String,
}

impl Stage {
    fn set(faults: bool) -> io::Result<Stage> {
        let folder = std::env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let over = Over::default();
        let start =
            |name, manner| Ok::<_, io::Error>((name, backend::start(name, manner, over.clone())?));
        let mut backends = vec![start("b1", Manner::Good)?, start("b2", Manner::Good)?];
        let mut dead = None;
        if faults {
            let (socket, address) = backend::dead()?;
            dead = Some(socket);
            backends.extend([
                ("b3", address),
                start("b4", Manner::Slow)?,
                start("b5", Manner::Resets)?,
            ]);
        }
        let claimed = [free_address(8080)?, free_address(9650)?];
        let [listener, admin] = claimed.each_ref().map(|it| it.address);
        let token = token()?;
        let _claimed = claimed.into();
        let stage = Stage { folder, listener, admin, _claimed, backends, dead, over, token };
        std::fs::write(stage.file(), stage.toml())?;
        let file =
            OpenOptions::new().mode(0o600).write(true).create_new(true).open(stage.token_file());
        file?.write_all(stage.token.as_bytes())?;
        Ok(stage)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("weir.toml")
    }

    fn token_file(&self) -> PathBuf {
        self.folder.join("token")
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// The file of the demo: settings by hand, the rest as weir itself writes it.
    fn toml(&self) -> String {
        let text = |path: PathBuf| toml::Value::from(path.display().to_string());
        let settings = format!(
            "[weir]\ncontrol = {}\nadmin = \"{}\"\nadmin-token-file = {}\nstate = {}\n\n",
            text(self.socket()),
            self.admin,
            text(self.token_file()),
            text(self.folder.join("state"))
        );
        settings + &file::export(&self.spec())
    }

    fn spec(&self) -> Spec {
        // Names that are written here are names.
        let name = |text: &str| text.parse().ok();
        let backend = self.backends.iter().filter_map(|(text, address)| {
            let spec = BackendSpec::new((*address).into());
            Some((name(text)?, spec))
        });
        let mut health = HealthSpec {
            kind: HealthKind::Http,
            interval: Span::from_secs(1),
            path: Some("/".to_owned()),
            ..HealthSpec::default()
        };
        if self.dead.is_some() {
            // A check that asked for more would take out the others too: these are to be found.
            (health.kind, health.path) = (HealthKind::Tcp, None);
        }
        let pool = PoolSpec {
            strategy: Strategy::RoundRobin,
            health,
            backend: backend.collect(),
            ..PoolSpec::default()
        };
        let mut spec = Spec { listener: BTreeMap::new(), pool: BTreeMap::new() };
        if let Some(web) = name("web") {
            let listener = ListenerSpec::new(web.clone(), vec![self.listener]);
            spec.listener.insert(web.clone(), listener);
            spec.pool.insert(web, pool.into());
        }
        spec
    }

    fn invitation(&self) -> String {
        let weirctl = format!("{} -s {}", client().display(), self.socket().display());
        let Stage { listener, admin, folder, .. } = self;
        let mut text = format!(
            "weir demo: {} backends, weir before them and some clients. Ctrl-C ends all.\n\n\
             {:<32} the dashboard: open it first\n{:<32} unlocks changes there\n{:<32} weir\n{:<32} metrics\n",
            if self.dead.is_some() { "five" } else { "two" },
            format!("http://{admin}/"),
            self.token,
            format!("http://{listener}/"),
            format!("http://{admin}/metrics"),
        );
        for (name, address) in &self.backends {
            text += &format!("{:<32} backend web/{name}\n", format!("http://{address}/"));
        }
        text += &format!("{:<32} the configuration and the state\n", folder.display());
        if self.dead.is_some() {
            text += "\nThree backends are ill: one is dead, one is slow, one resets its sessions.\n\
                     Which ones? On the dashboard, or in another terminal:\n";
            for (command, shows) in SEARCH {
                text += &format!("\n  # {shows}\n  {weirctl} {command}");
            }
            text.push('\n');
        }
        text += &format!(
            "\nTry, in another terminal:\n\
             \n  curl http://{listener}/\
             \n  {weirctl} status\
             \n  {weirctl} top\
             \n  {weirctl} backend list\
             \n  {weirctl} backend drain web/b1\
             \n  {weirctl} backend ready web/b1\
             \n  {weirctl} pool set web strategy=maglev\
             \n  {weirctl} pool set web strategy=round-robin\
             \n  {weirctl} config history\
             \n  curl http://{admin}/metrics\
             \n  wrk -c 64 -d 5s http://{listener}/\n"
        );
        text
    }
}

/// Commands of weirctl that find the faults, and what they show.
const SEARCH: [(&str, &str); 9] = [
    ("status", "one is down"),
    ("backend list web", "which one, since when, and why"),
    ("events --kind health", "when that was, and who ends sessions before their first byte"),
    ("why web --client 127.0.0.1", "who gets no session, and why"),
    ("session list --stalled", "sessions that wait, and for whom"),
    ("latency web", "how many wait for their first byte far longer than the others"),
    ("stats web/b4", "whose that is; for how long it reads nothing; what clients gave up on"),
    ("stats web/b5", "who closed first, each time"),
    ("stats web", "how sessions ended"),
];

/// `weirctl` as this machine finds it: beside this program, else on the PATH.
fn client() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|weir| weir.with_file_name("weirctl"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| Path::new("weirctl").to_owned())
}

/// A token that cannot be guessed: 16 random bytes, in hex.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A loopback address that no other demo takes for as long as this is held. Another program may:
/// then weir says so, and tries again.
struct ClaimedAddress {
    address: SocketAddr,
    /// A name of the kernel, of this network namespace: it is gone with the process.
    _claim: UnixListener,
}

/// `port` if it is free now, else any port that is.
fn free_address(port: u16) -> io::Result<ClaimedAddress> {
    let try_port = |port: u16| {
        let address = TcpListener::bind(("127.0.0.1", port))?.local_addr()?;
        let name = format!("weir-demo-{address}");
        let name = UnixAddress::from_abstract_name(name.as_bytes())?;
        Ok(ClaimedAddress { address, _claim: UnixListener::bind_addr(&name)? })
    };
    let ports = std::iter::once(port).chain(std::iter::repeat_n(0, PORTS_TRIED));
    let mut last = None;
    for port in ports {
        match try_port(port) {
            Ok(found) => return Ok(found),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage() -> Stage {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Stage {
            folder: PathBuf::from("/tmp/a \"b\""),
            listener: at(8080),
            admin: at(9650),
            _claimed: Vec::new(),
            backends: vec![("b1", at(4001)), ("b2", at(4002))],
            dead: None,
            over: Over::default(),
            token: "0123456789abcdef".to_owned(),
        }
    }

    #[test]
    fn the_demos_file_is_a_good_one() {
        let stage = stage();
        let file = file::parse(&stage.toml(), "demo").unwrap();
        assert_eq!(file.spec, stage.spec());
        assert_eq!(file.spec.pool["web"].backend.len(), 2);
        assert_eq!(file.settings.control, stage.socket());
        assert_eq!(file.settings.admin, Some(stage.admin));
    }

    #[test]
    fn the_invitation_names_every_address_and_a_socket() {
        let stage = stage();
        let text = stage.invitation();
        for part in ["curl http://127.0.0.1:8080/", "http://127.0.0.1:4002/", "control.sock status"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_left_alone() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let other = free_address(port).unwrap();
        assert_ne!(other.address.port(), port);
        // Nor does another demo take what has not been bound yet.
        let third = free_address(other.address.port()).unwrap();
        assert_ne!(third.address, other.address);
    }

    #[test]
    fn the_folder_is_gone_after_the_demo() {
        let mut seen = None;
        let code = run(true, |file| {
            assert!(crate::check::read(&file).is_ok());
            seen = file.parent().map(Path::to_owned);
            Ok(7)
        });
        assert_eq!(code, Ok(7));
        assert!(seen.is_some_and(|folder| !folder.exists()));
    }
}
