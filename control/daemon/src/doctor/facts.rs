//! What this host says of itself.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use weir_proto::complaint::Complaint;
use weir_proto::spec::Spec;

use super::ports;
use crate::limits::cores;
use crate::listen::is_own_address;
use crate::sources;
use weir_control_core::file::Settings;

/// Everything that `weir doctor` looks at.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) release: String,
    pub(super) uring_disabled: Option<u64>,
    pub(super) ring: Result<(), Complaint>,
    /// A seccomp filter is on.
    pub(super) seccomp: bool,
    /// As many as would be started.
    pub(super) shards: u16,
    /// CAP_IPC_LOCK is held: RLIMIT_MEMLOCK does not count.
    pub(super) ipc_lock: bool,
    /// The hard limit in bytes, for weir raises the soft one. `None` is unlimited.
    pub(super) memlock: Option<u64>,
    /// The hard limit, for weir raises the soft one. `None` is unlimited.
    pub(super) nofile: Option<u64>,
    pub(super) somaxconn: Option<u64>,
    pub(super) migrate_req: Option<u64>,
    pub(super) ports: Option<(u64, u64)>,
    /// ip_local_reserved_ports, as the kernel writes it.
    pub(super) reserved: String,
    pub(super) tw_reuse: Option<u64>,
    /// Ports of listeners and of backends on this host, in order, each once.
    pub(super) own_ports: Vec<u16>,
    /// This is root: limits of pipes do not hold.
    pub(super) privileged: bool,
    /// fs.pipe-user-pages-soft, in pages of all pipes of a user.
    pub(super) pipe_pages: Option<u64>,
    /// The second number of net.ipv4.tcp_mem, in pages.
    pub(super) tcp_pressure: Option<u64>,
    /// In bytes.
    pub(super) rmem_max: Option<u64>,
    /// Addresses that pools connect from, and that are not here.
    pub(super) absent_sources: Vec<String>,
    pub(super) folders: Vec<Folder>,
}

/// A folder that weir writes to.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    pub(super) access: Access,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Writable,
    /// It is not there, but can be made.
    Creatable,
    /// `nearest` is what stands in the way: the folder, or the nearest one above it that is there.
    Denied {
        nearest: PathBuf,
    },
}

impl Facts {
    pub(super) fn of_this_host(settings: &Settings, spec: &Spec) -> Facts {
        let status = text("/proc/self/status").unwrap_or_default();
        let uname = rustix::system::uname();
        let control = settings.control.parent().unwrap_or(Path::new("."));
        Facts {
            release: uname.release().to_string_lossy().into_owned(),
            uring_disabled: number("/proc/sys/kernel/io_uring_disabled"),
            ring: weir_engine::probe(),
            shards: settings.shards.count(cores()),
            ipc_lock: has_ipc_lock(&status),
            seccomp: has_seccomp_filter(&status),
            memlock: getrlimit(Resource::Memlock).maximum,
            nofile: getrlimit(Resource::Nofile).maximum,
            somaxconn: number("/proc/sys/net/core/somaxconn"),
            migrate_req: number("/proc/sys/net/ipv4/tcp_migrate_req"),
            ports: text("/proc/sys/net/ipv4/ip_local_port_range").as_deref().and_then(pair),
            reserved: text("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default(),
            tw_reuse: number("/proc/sys/net/ipv4/tcp_tw_reuse"),
            own_ports: ports::own(settings, spec, is_own_address),
            privileged: rustix::process::geteuid().is_root(),
            pipe_pages: number("/proc/sys/fs/pipe-user-pages-soft"),
            tcp_pressure: text("/proc/sys/net/ipv4/tcp_mem")
                .as_deref()
                .and_then(pair)
                .map(|it| it.1),
            rmem_max: number("/proc/sys/net/core/rmem_max"),
            absent_sources: sources::absent(spec),
            folders: vec![folder("state", &settings.state), folder("control", control)],
        }
    }
}

fn folder(name: &'static str, path: &Path) -> Folder {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    Folder { name, path: path.to_owned(), access: access(path) }
}

/// Whether this process can write to the folder at `path`, or make it.
pub(super) fn access(path: &Path) -> Access {
    let there = path
        .ancestors()
        .map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let nearest = there.into_iter().find(|above| above.exists()).unwrap_or(Path::new("/"));
    let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if !nearest.is_dir() || rustix::fs::access(nearest, wanted).is_err() {
        return Access::Denied { nearest: nearest.to_owned() };
    }
    if nearest == path { Access::Writable } else { Access::Creatable }
}

fn text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn number(path: &str) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// Two numbers with white space between them.
pub(super) fn pair(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Reads the effective capabilities of `/proc/self/status`: CAP_IPC_LOCK is bit 14
/// (capabilities(7)).
pub(super) fn has_ipc_lock(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits & 1 << 14 != 0)
}

/// Reads `/proc/self/status`.
pub(super) fn has_seccomp_filter(status: &str) -> bool {
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}
