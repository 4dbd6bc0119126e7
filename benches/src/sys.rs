//! The system calls of the benches that std has not: epoll, connect without waiting, pinning,
//! limits and CPU clocks. The only `unsafe` of this package.
#![expect(unsafe_code, reason = "system calls; each block says why it is sound")]

pub mod perf;

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

/// Readiness to read; hang-up and error are always told.
pub const READ: u32 = libc::EPOLLIN as u32;
/// Readiness to write.
pub const WRITE: u32 = libc::EPOLLOUT as u32;
/// Pending connections of a listener; the kernel cuts it to somaxconn.
const BACKLOG: i32 = 4_096;

/// One readiness report.
pub type Event = libc::epoll_event;

/// No report; to fill a buffer with.
#[must_use]
pub fn no_event() -> Event {
    Event { events: 0, u64: 0 }
}

/// A level-triggered epoll instance.
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is new and ours alone.
        let fd = unsafe {
            let fd = check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self { fd })
    }

    /// Watches `fd` until it is closed; reports carry `token`.
    pub fn add(&self, fd: &impl AsFd, token: usize, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    pub fn modify(&self, fd: &impl AsFd, token: usize, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    /// Watches it no more; also no hang-up or error is told.
    pub fn remove(&self, fd: &impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, op: i32, fd: &impl AsFd, token: usize, interest: u32) -> io::Result<()> {
        let mut event = Event { events: interest, u64: token as u64 };
        let (epoll, fd) = (self.fd.as_raw_fd(), fd.as_fd().as_raw_fd());
        // SAFETY: both descriptors are open for the call (borrowed); `event` outlives it.
        check(unsafe { libc::epoll_ctl(epoll, op, fd, &raw mut event) })?;
        Ok(())
    }

    /// Waits for reports, at most `timeout`; an interruption counts as no report.
    pub fn wait(&self, events: &mut [Event], timeout: Duration) -> io::Result<usize> {
        let limit = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
        };
        // SAFETY: `events` is writable for its length, `limit` outlives the call, no signal mask.
        let ready = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                events.as_mut_ptr(),
                events.len(),
                &raw const limit,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        match usize::try_from(ready) {
            Ok(ready) => Ok(ready),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }
}

/// A listener with a long queue, not blocking.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let fd = socket(address)?;
    set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1_i32)?;
    let (name, length) = encode(address);
    // SAFETY: `name` is a filled sockaddr of `length` bytes; the descriptor is open.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), length) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), BACKLOG) })?;
    Ok(TcpListener::from(fd))
}

/// Takes one pending connection, not blocking, without delay; WouldBlock when there is none.
pub fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the peer's address is not asked for; the new descriptor is ours alone.
    let fd = unsafe {
        let null = std::ptr::null_mut();
        let fd = check(libc::accept4(listener.as_raw_fd(), null, std::ptr::null_mut(), flags))?;
        OwnedFd::from_raw_fd(fd)
    };
    set_option(&fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1_i32)?;
    Ok(TcpStream::from(fd))
}

/// Starts to connect and does not wait: writable means connected, or see `connect_result`.
pub fn connect_start(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let fd = socket(target)?;
    set_option(&fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1_i32)?;
    if let Some(source) = source {
        set_option(&fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1_i32)?;
        let (name, length) = encode(SocketAddr::new(source, 0));
        // SAFETY: `name` is a filled sockaddr of `length` bytes; the descriptor is open.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), length) })?;
    }
    let (name, length) = encode(target);
    // SAFETY: as above.
    let result = check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const name).cast(), length) });
    match result {
        Ok(_) => Ok(TcpStream::from(fd)),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(error) => Err(error),
    }
}

/// Connects within `timeout`; the stream does not block.
pub fn connect(
    target: SocketAddr,
    source: Option<IpAddr>,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let stream = connect_start(target, source)?;
    let epoll = Epoll::new()?;
    epoll.add(&stream, 0, WRITE)?;
    if epoll.wait(&mut [no_event()], timeout)? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to the connect"));
    }
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

/// Lets close() send a reset instead of FIN, as the shelf's churn measurements do.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(stream, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

/// Raises the soft limit of open files to the hard one and says it.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives both calls.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))?;
    }
    Ok(limit.rlim_cur)
}

/// Makes timed waits of this thread exact to about a microsecond (the default is 50).
pub fn exact_timers() {
    // SAFETY: no pointers; a refusal only leaves the default.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}

/// Lets this thread run before all ordinary ones: a generator that measures latency must not wait
/// for a generator that makes load on the same core. Needs CAP_SYS_NICE.
pub fn before_others() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: `parameters` outlives the call; 0 is this thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameters) })?;
    Ok(())
}

/// Gives this thread a descriptor table of its own, and with it its own limit of open files.
pub fn own_files() -> io::Result<()> {
    // SAFETY: no pointers. What was open stays open in both tables.
    check(unsafe { libc::unshare(libc::CLONE_FILES) })?;
    Ok(())
}

/// Starts `command` on one core; it is terminated when this process ends.
pub fn spawn_on(command: &mut Command, core: usize) -> io::Result<Child> {
    // SAFETY: the closure runs in the child between fork and exec and makes only system calls that
    // are safe there; it captures a number.
    unsafe {
        command.pre_exec(move || {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong))?;
            let mut cores: libc::cpu_set_t = zeroed();
            libc::CPU_SET(core, &mut cores);
            check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const cores))?;
            Ok(())
        });
    }
    command.spawn()
}

/// Asks a child to end.
pub fn terminate(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // SAFETY: no pointers; the child is not yet waited for, so the number is still its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}

/// CPU time of a whole process so far, ended threads included, in ns.
pub fn process_cpu_ns(pid: u32) -> io::Result<u64> {
    let pid = i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` outlives the call.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    clock_ns(clock)
}

/// CPU time of this process so far, in ns.
#[must_use]
pub fn own_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0)
}

fn clock_ns(clock: libc::clockid_t) -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec))
}

fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the descriptor is new and ours alone.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?)) }
}

fn set_option<T>(fd: &impl AsFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    let length = socklen::<T>();
    // SAFETY: `value` is readable for `length` bytes and outlives the call.
    check(unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), length) })?;
    Ok(())
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("a small struct")
}

fn encode(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeroes is a valid sockaddr_storage.
    let mut name: libc::sockaddr_storage = unsafe { zeroed() };
    match address {
        SocketAddr::V4(v4) => {
            let value = libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_storage is large and aligned enough for every address family.
            unsafe { (&raw mut name).cast::<libc::sockaddr_in>().write(value) };
            (name, socklen::<libc::sockaddr_in>())
        }
        SocketAddr::V6(v6) => {
            let value = libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut name).cast::<libc::sockaddr_in6>().write(value) };
            (name, socklen::<libc::sockaddr_in6>())
        }
    }
}

fn check(result: i32) -> io::Result<RawFd> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn family(number: i32) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).expect("address families are small")
}
