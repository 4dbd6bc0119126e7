//! The seam to glommio: the executor, timers, streams and listeners of the control thread. Nothing
//! else names it.

mod bulky;
mod connect;
pub(crate) mod turns;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use rustix::process::{Resource, Rlimit};
use weir_core::base::clock::Now;
use weir_proto::address::UnixPath;

pub(crate) use bulky::Bulky;

/// What glommio asks of RLIMIT_MEMLOCK before it starts, in bytes.
pub(crate) const MEMLOCK_MIN: u64 = 512 << 10;

/// Runs the future that `make` gives on this thread, with an executor of its own, to its end.
///
/// # Errors
/// A sentence for the operator: io_uring is unavailable, or RLIMIT_MEMLOCK is too small.
pub(crate) fn run<F>(make: impl FnOnce() -> F) -> Result<F::Output, String>
where
    F: Future,
{
    lift_memlock()?;
    // glommio panics where it gets no ring; this says what to do.
    weir_engine::probe().map_err(|complaint| complaint.to_string())?;
    // 64 KiB and 64 entries pin 192 KiB in all; the defaults would pin 30 MB.
    let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .name("control")
        .io_memory(64 << 10)
        .ring_depth(64)
        // So long at most do tasks that are ready run before sockets are looked at: 100 ms would be
        // what the next request waits for.
        .preempt_timer(Duration::from_millis(5))
        // A page in the making does not keep a change from being planned.
        .blocking_thread_pool_placement(glommio::PoolPlacement::Unbound(3))
        .make()
        .map_err(|fault| format!("the control thread cannot have io_uring: {fault}"))?;
    Ok(executor.run(async {
        // The first sleep of a process takes up to 10 ms: have it behind us before anything serves.
        sleep(Duration::from_nanos(1)).await;
        bulky::set_executor(true);
        // Seen once on a busy machine: glommio waited although a connect had ended, until a signal
        // came. weir has its ticks; a test has nothing else that comes.
        #[cfg(test)]
        spawn("heartbeat", async {
            loop {
                sleep(Duration::from_millis(500)).await;
            }
        });
        let output = make().await;
        bulky::set_executor(false);
        output
    }))
}

/// Raises the soft limit as far as the hard one allows: the shards lock memory, too.
fn lift_memlock() -> Result<(), String> {
    let limit = rustix::process::getrlimit(Resource::Memlock);
    let enough = |limit: Option<u64>| limit.is_none_or(|bytes| bytes >= MEMLOCK_MIN);
    let lifted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let is_lifted = rustix::process::setrlimit(Resource::Memlock, lifted).is_ok();
    if enough(if is_lifted { limit.maximum } else { limit.current }) {
        return Ok(());
    }
    Err(format!(
        "RLIMIT_MEMLOCK is {} KiB, the control thread needs {} KiB: \
         `ulimit -l 8192`, or LimitMEMLOCK=8M in the unit",
        limit.current.unwrap_or(0) >> 10,
        MEMLOCK_MIN >> 10
    ))
}

/// Starts `future` beside this one, on the same thread. It runs to its end or to the executor's.
/// `name` is what the log calls it if it holds the thread for long.
pub(crate) fn spawn(name: &'static str, future: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(turns::measured(name, future)).detach();
}

/// Runs `work`, which may wait for a disk or take long, on another thread; three pieces of work at
/// a time.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    glommio::executor().spawn_blocking(work).await
}

/// Runs `work` on another thread if it is long, else here.
pub(crate) async fn blocking_if<T: Send + 'static>(
    is_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if is_long { blocking(work).await } else { work() }
}

/// Ends after `time`.
pub(crate) async fn sleep(time: Duration) {
    glommio::timer::sleep(time).await;
}

/// Lets the other tasks of this thread run.
pub(crate) async fn pause() {
    futures_lite::future::yield_now().await;
}

/// Lets the other tasks of this thread run, and those whose sockets have news: between two slices
/// of a long piece of work. [`pause`] would go on before the sockets are looked at.
pub(crate) async fn give_way() {
    sleep(GIVE_WAY).await;
}

/// Long enough that the timer is not over before it is looked at.
const GIVE_WAY: Duration = Duration::from_micros(50);

/// What `future` gives, or `None` if `time` passes first; then the future is dropped.
pub(crate) async fn timeout<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let late = async {
        sleep(time).await;
        None
    };
    futures_lite::future::or(async { Some(future.await) }, late).await
}

/// The monotonic clock, which the shards read too.
pub(crate) fn now() -> Now {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Now { nanos: secs * 1_000_000_000 + nanos }
}

/// The wall clock: milliseconds since 1970, UTC.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub(crate) fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let real = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    shifted(real)
}

/// Milliseconds that a test adds to the wall clock.
#[cfg(debug_assertions)]
pub(crate) static WALL_SHIFT_MS: std::sync::atomic::AtomicI64 =
    std::sync::atomic::AtomicI64::new(0);

#[cfg(debug_assertions)]
fn shifted(real_ms: u64) -> u64 {
    real_ms.saturating_add_signed(WALL_SHIFT_MS.load(std::sync::atomic::Ordering::Acquire))
}

#[cfg(not(debug_assertions))]
const fn shifted(real_ms: u64) -> u64 {
    real_ms
}

/// A connected stream socket, TCP or Unix. Closing it (`AsyncWriteExt::close`) sends a FIN and
/// keeps it readable; dropping it closes the descriptor.
pub(crate) struct Stream {
    // glommio only polls, receives and sends on the descriptor, so its TCP type serves Unix sockets
    // too.
    socket: glommio::net::TcpStream,
}

impl Stream {
    fn new(socket: OwnedFd) -> Stream {
        let socket = socket2::Socket::from(TcpStream::from(socket));
        Stream { socket: glommio::net::TcpStream::from(socket) }
    }

    /// True if the peer of a TCP connection is at an address of this host.
    pub(crate) fn stays_here(&self) -> bool {
        let peer = self.socket.peer_addr().ok().map(|address| address.ip());
        let own = self.socket.local_addr().ok().map(|address| address.ip());
        peer.is_some_and(|ip| ip.to_canonical().is_loopback() || own == Some(ip))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

/// Connects to `address` within `time`, from the first of `sources` that this host has; from an
/// address of the kernel's choice if there are none.
///
/// # Errors
/// What connect(2) or socket(2) said; `TimedOut` after `time`; `ConnectionRefused` also where
/// nothing listens there and the connect became a TCP self-connect; `Other` if this host has none
/// of `sources`.
pub(crate) async fn connect_tcp(
    address: SocketAddr,
    sources: &[IpAddr],
    time: Duration,
) -> io::Result<Stream> {
    let socket = match sources {
        [] => glommio::net::TcpStream::connect_timeout(address, time).await?,
        some => connect::from(some, address, time).await?.socket,
    };
    // One that was reset at once has no peer any more, and has met somebody anyway.
    let met_itself = has_met_itself(socket.local_addr().ok(), socket.peer_addr().ok());
    let mut stream = Stream { socket };
    if met_itself {
        // A socket that is closed with bytes unread resets: no TIME_WAIT keeps the port from its
        // owner.
        let _ = stream.write_all(b"!").await;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// The reason in words if a connect has failed by this host's own fault, which says nothing about
/// the peer.
pub(crate) fn local_fault(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE => Some("no file descriptors left"),
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE | Errno::AGAIN => Some("no local ports left"),
        Errno::NOMEM | Errno::NOBUFS => Some("no memory"),
        Errno::PERM | Errno::ACCESS => Some("this host's firewall forbids it"),
        _ => None,
    }
}

/// Connects to the Unix socket at `path`, at once.
///
/// # Errors
/// The error of connect(2) or socket(2): `NotFound` if no such file exists, `PermissionDenied` if
/// weir has no write access to it; `ConnectionRefused` if no program accepts there, or its backlog
/// is full.
pub(crate) fn connect_unix(path: UnixPath) -> io::Result<Stream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_str())?) {
        Ok(()) => Ok(Stream::new(socket)),
        // Its backlog is full. The kernel tells that at once, as it refuses a connect.
        Err(Errno::AGAIN) => Err(io::ErrorKind::ConnectionRefused.into()),
        Err(fault) => Err(fault.into()),
    }
}

/// A UDP socket that sends to `address` and hears of no other. Each read is one datagram.
///
/// # Errors
/// That of bind(2) or connect(2).
pub(crate) fn connect_udp(address: SocketAddr) -> io::Result<Stream> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    Ok(Stream::new(socket.into()))
}

fn has_met_itself(own: Option<SocketAddr>, peer: Option<SocketAddr>) -> bool {
    own.is_some() && own == peer
}

/// How many Unix connections wait to be accepted.
const BACKLOG: i32 = 1024;

/// Who is on the other side of a Unix socket (SO_PEERCRED).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerCred {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The supplementary groups (SO_PEERGROUPS).
    pub(crate) groups: Vec<u32>,
    pub(crate) pid: i32,
    /// Who logged in, whatever user the peer has become since (loginuid); `None` if it has none, or
    /// /proc does not show it.
    pub(crate) login: Option<u32>,
}

/// The login user of a process. It may have ended since it connected, and another may have its pid:
/// this is for people to read, and decides nothing.
fn login(pid: i32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|uid| *uid != u32::MAX)
}

/// A listening Unix socket.
pub(crate) struct UnixServer {
    listener: UnixListener,
}

impl UnixServer {
    /// Binds `path`, for its owner and group (0660) from its first moment on. Whatever is at `path`
    /// is left alone.
    ///
    /// # Errors
    /// What bind(2) said; `AddrInUse` if something is there.
    pub(crate) fn bind(path: &Path) -> io::Result<UnixServer> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The file gets the mode of the socket, less the umask. A chmod by name would come after a
        // moment in which the file is there with another mode, and would follow a symbolic link
        // that was put in its place. The umask is the whole process's: nobody else makes files
        // while this thread starts.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o660))?;
        let address = SocketAddrUnix::new(path)?;
        let umask = rustix::process::umask(Mode::from_raw_mode(0o007));
        let bound = bind(&socket, &address);
        rustix::process::umask(umask);
        bound?;
        listen(&socket, BACKLOG)?;
        Ok(UnixServer { listener: UnixListener::from(socket) })
    }

    /// One that listens already.
    pub(crate) fn of(socket: OwnedFd) -> UnixServer {
        UnixServer { listener: socket.into() }
    }

    /// The same socket once more.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// The next connection. Waits out a want of descriptors.
    pub(crate) async fn accept(&self) -> (Stream, PeerCred) {
        let (socket, cred) = accept(self.listener.as_fd(), || {
            let (socket, _) = self.listener.accept()?;
            // Not rustix: its type has no room for pid 0, a peer in a PID namespace that is not
            // ours.
            let cred = getsockopt(&socket, PeerCredentials)?;
            // Whose groups are not available is in none.
            let groups = weir_engine::peer_groups(socket.as_fd()).unwrap_or_default();
            Ok((OwnedFd::from(socket), (cred, groups)))
        })
        .await;
        let (cred, groups) = cred;
        let (uid, gid, pid) = (cred.uid(), cred.gid(), cred.pid());
        let cred = PeerCred { uid, gid, groups, pid, login: login(pid) };
        (Stream::new(socket), cred)
    }
}

/// A listening TCP socket.
pub(crate) struct TcpServer {
    listener: TcpListener,
}

impl TcpServer {
    /// Binds `address`; port 0 takes any free one.
    ///
    /// # Errors
    /// What bind(2) said.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpServer> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(TcpServer { listener })
    }

    /// One that listens already.
    pub(crate) fn of(socket: OwnedFd) -> TcpServer {
        TcpServer { listener: socket.into() }
    }

    /// The same socket once more.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// What getsockname(2) said.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection, with TCP_NODELAY. Waits out a want of descriptors.
    pub(crate) async fn accept(&self) -> (Stream, SocketAddr) {
        let (socket, peer) = accept(self.listener.as_fd(), || {
            let (socket, peer) = self.listener.accept()?;
            socket.set_nodelay(true)?;
            Ok((OwnedFd::from(socket), peer))
        })
        .await;
        (Stream::new(socket), peer)
    }
}

/// Tries `take` on a listening socket until it gives something.
async fn accept<T>(listener: BorrowedFd<'_>, mut take: impl FnMut() -> io::Result<T>) -> T {
    loop {
        match take() {
            Ok(taken) => return taken,
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                if readable(listener).await.is_err() {
                    sleep(ACCEPT_PAUSE).await;
                }
            }
            // The client had left again: the next one may be there.
            Err(fault) if fault.kind() == io::ErrorKind::ConnectionAborted => {}
            // EMFILE, ENFILE, ENOMEM, ENOBUFS: the backlog holds them; trying at once would spin.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// How long an accept that failed for want of something waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Ends when the socket is readable. glommio has no such call and builds a listener from no
/// descriptor, but a read first polls: on a listener it ends with ENOTCONN once somebody is there.
async fn readable(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut stream = Stream::new(socket.try_clone_to_owned()?);
    // ENOTCONN is what is waited for, whatever else comes is seen by the accept that follows.
    let _ = stream.read(&mut [0]).await;
    Ok(())
}

/// The end of a stream socket to which somebody on another thread writes a byte to be heard.
pub(crate) struct Bell {
    stream: Stream,
    silent: bool,
}

impl From<OwnedFd> for Bell {
    fn from(socket: OwnedFd) -> Bell {
        Bell { stream: Stream::new(socket), silent: false }
    }
}

impl Bell {
    /// Ends when bytes have come, and takes them. When the other end is closed it ends once more
    /// and then never again.
    pub(crate) async fn wait(&mut self) {
        if self.silent {
            return futures_lite::future::pending().await;
        }
        let mut bytes = [0; 256];
        self.silent = matches!(self.stream.read(&mut bytes).await, Ok(0) | Err(_));
    }
}

#[cfg(test)]
mod tests;
