//! Who is measured: no proxy, weir, HAProxy, nginx; where their programs are and what version.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::runner::{context, fault};

/// One column of a table.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// The generator talks to the backend directly.
    None,
    Weir,
    Haproxy,
    Nginx,
    Envoy,
}

impl Peer {
    pub const ALL: [Self; 5] = [Self::None, Self::Weir, Self::Haproxy, Self::Nginx, Self::Envoy];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Weir => "weir",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }

    /// How to get the program.
    fn hint(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Weir => "cargo build --release (or --weir FILE)",
            Self::Haproxy => "apt install haproxy (or --haproxy FILE)",
            Self::Nginx => "apt install nginx libnginx-mod-stream (or --nginx FILE)",
            Self::Envoy => "a release from envoyproxy.io (or --envoy FILE)",
        }
    }
}

/// Where the programs are, and which are wanted; the options that all runs share.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// The weir program.
    #[arg(long, env = "WEIR", default_value = "target/release/weir")]
    pub weir: PathBuf,
    /// The HAProxy program.
    #[arg(long, env = "HAPROXY", default_value = "haproxy")]
    pub haproxy: PathBuf,
    /// The nginx program.
    #[arg(long, env = "NGINX", default_value = "nginx")]
    pub nginx: PathBuf,
    /// The Envoy program.
    #[arg(long, env = "ENVOY", default_value = "envoy")]
    pub envoy: PathBuf,
    /// Which columns to measure.
    #[arg(
        long,
        value_delimiter = ',',
        default_values = ["none", "weir", "haproxy", "nginx", "envoy"]
    )]
    pub peers: Vec<Peer>,
    /// A program that is missing is an error; else its column is left out.
    #[arg(long)]
    pub require_peers: bool,
}

/// A proxy (or none) that can be started.
#[derive(Clone, Debug)]
pub struct Found {
    pub peer: Peer,
    pub program: PathBuf,
    pub version: String,
    /// nginx: its stream module, when that is a file of its own.
    pub module: Option<PathBuf>,
}

/// Finds the wanted programs; says on stderr which are left out.
pub fn find(wanted: &Wanted) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for peer in Peer::ALL.into_iter().filter(|peer| wanted.peers.contains(peer)) {
        let name = match peer {
            Peer::None => {
                let (program, version) = (PathBuf::new(), String::new());
                found.push(Found { peer, program, version, module: None });
                continue;
            }
            Peer::Weir => &wanted.weir,
            Peer::Haproxy => &wanted.haproxy,
            Peer::Nginx => &wanted.nginx,
            Peer::Envoy => &wanted.envoy,
        };
        match identify(peer, name) {
            Ok(one) => found.push(one),
            Err(error) if wanted.require_peers => return Err(error),
            Err(error) => eprintln!("weir-bench: {error}; its column is left out"),
        }
    }
    Ok(found)
}

fn identify(peer: Peer, name: &Path) -> io::Result<Found> {
    let program = locate(name)
        .ok_or_else(|| fault(format!("no program {}: {}", name.display(), peer.hint())))?;
    let flag = match peer {
        Peer::Weir | Peer::Envoy => "--version",
        _ => "-v",
    };
    let version = first_line(&program, flag)?;
    let module = if peer == Peer::Nginx { stream_module(&program)? } else { None };
    Ok(Found { peer, program, version, module })
}

/// A program by its path, or by its name on PATH and where Debian keeps servers.
#[must_use]
pub fn locate(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return name.is_file().then(|| name.to_path_buf());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The first line that a program says of itself, on either output.
pub fn first_line(program: &Path, flag: &str) -> io::Result<String> {
    let output = Command::new(program).arg(flag).output();
    let output = output.map_err(context(program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // Envoy says `PATH  version: …`.
    let line = lines.next().unwrap_or("unknown");
    Ok(line.rsplit_once("  version:").map_or(line, |(_, version)| version.trim()).to_string())
}

/// Debian builds nginx's stream as a module file of its own package.
fn stream_module(nginx: &Path) -> io::Result<Option<PathBuf>> {
    let output = Command::new(nginx).arg("-V").output().map_err(context(nginx.display()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match module_folder(&text) {
        StreamModule::BuiltIn => Ok(None),
        StreamModule::File(file) if file.is_file() => Ok(Some(file)),
        StreamModule::File(_) | StreamModule::Absent => {
            Err(fault("nginx has no stream module: apt install libnginx-mod-stream"))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum StreamModule {
    BuiltIn,
    File(PathBuf),
    Absent,
}

fn module_folder(build_flags: &str) -> StreamModule {
    let mut flags = build_flags.split_whitespace();
    if flags.clone().any(|flag| flag == "--with-stream") {
        return StreamModule::BuiltIn;
    }
    if !flags.clone().any(|flag| flag == "--with-stream=dynamic") {
        return StreamModule::Absent;
    }
    match flags.find_map(|flag| flag.strip_prefix("--modules-path=")) {
        Some(folder) => StreamModule::File(Path::new(folder).join("ngx_stream_module.so")),
        None => StreamModule::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_flags_say_where_stream_is() {
        assert_eq!(module_folder("a --with-stream --x"), StreamModule::BuiltIn);
        assert_eq!(module_folder("a --with-stream_ssl_module"), StreamModule::Absent);
        assert_eq!(
            module_folder("--modules-path=/m --with-stream=dynamic"),
            StreamModule::File(PathBuf::from("/m/ngx_stream_module.so"))
        );
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = identify(Peer::Haproxy, Path::new("no-such-haproxy")).expect_err("missing");
        let text = error.to_string();
        assert!(text.contains("no-such-haproxy") && text.contains("apt install haproxy"), "{text}");
        let mut wanted = Wanted {
            weir: PathBuf::from("/no/weir"),
            haproxy: PathBuf::from("/no/haproxy"),
            nginx: PathBuf::from("/no/nginx"),
            envoy: PathBuf::from("/no/envoy"),
            peers: Peer::ALL.to_vec(),
            require_peers: false,
        };
        let found = find(&wanted).expect("columns are left out");
        assert_eq!(found.iter().map(|one| one.peer).collect::<Vec<_>>(), [Peer::None]);
        wanted.require_peers = true;
        assert!(find(&wanted).is_err());
    }
}
