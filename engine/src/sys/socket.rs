//! Sockets by number: what the ring's operations are asked on.

use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use weir_core::action::How;
use weir_core::event::{Errno, Leg, PeerProgress};
use weir_proto::address::{Address, UnixPath};
use weir_proto::snapshot::Keepalive;

use super::memory;
use super::tcp_info::TcpInfo;

/// Connections that the kernel queues for a listener (capped by net.core.somaxconn).
const BACKLOG: i32 = 4096;

/// linux/in.h; libc has no name for it.
const IP_LOCAL_PORT_RANGE: i32 = 51;

pub(super) fn last_errno() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// IP_LOCAL_PORT_RANGE's value for "whatever ip_local_port_range is now": the kernel takes a bound
/// of the socket's own only if it lies within the system's range (ip(7)), and 1 and 65,535 never
/// narrow it. The lowest port is in the lower half.
const ANY_PORT: u32 = 1 | 65_535 << 16;

/// The ports that a connect may take at this moment (ip_local_port_range). `None` if the kernel
/// does not say.
pub(crate) fn local_ports() -> Option<RangeInclusive<u16>> {
    // Shards read it now and then, and they do not allocate.
    let mut text = [0; 32];
    let mut file = std::fs::File::open("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let length = std::io::Read::read(&mut file, &mut text).ok()?;
    let range = std::str::from_utf8(&text[..length]).ok()?;
    let mut ports = range.split_whitespace().map(|port| port.parse::<u16>().ok());
    Some(ports.next()??..=ports.next()??)
}

/// A stream socket for connecting to `address`, over TCP with TCP_NODELAY, with SO_OOBINLINE.
/// Blocking, so that the ring waits and not we: io_uring answers EAGAIN on non-blocking ones. One
/// of Unix is connected at once or the backlog there is full, and a thread of the kernel would wait
/// for each of them: it is not blocking until it is connected.
///
/// Left to itself connect(2) tries every port of one parity before it tries the other: with 20,000
/// of 28,232 in use it takes 0.8 ms of CPU (docs/adr/0016), with a range of its own (6.3), even
/// one that narrows nothing, it takes the next free one from anywhere.
pub(crate) fn open(address: Address) -> Result<Leg, Errno> {
    let family = match address {
        Address::Ip(SocketAddr::V4(_)) => libc::AF_INET,
        Address::Ip(SocketAddr::V6(_)) => libc::AF_INET6,
        Address::Unix(_) => libc::AF_UNIX,
    };
    let waits = if family == libc::AF_UNIX { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | waits, 0) };
    if fd < 0 {
        return Err(last_errno());
    }
    keep_urgent(fd);
    if family == libc::AF_UNIX {
        return Ok(Leg(fd)); // it has none of the options below
    }
    set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1i32);
    reset_unless_finished(fd);
    // Older kernels refuse the option and go on as before.
    set(fd, libc::IPPROTO_IP, IP_LOCAL_PORT_RANGE, &ANY_PORT);
    memory::limit_unsent(Leg(fd), memory::UNSENT_MIN);
    Ok(Leg(fd))
}

/// The state of a connection that is gone (tcp_states.h).
const TCP_CLOSE: u8 = 7;

/// Has the kernel reset the connection if it is closed by anything but [`close`] with [`How::Fin`]:
/// by the end of this process, whatever ends it. A stream that is cut must not look complete. What
/// a listener accepts has it, too.
pub(crate) fn reset_unless_finished(fd: i32) {
    linger(fd, true);
}

fn linger(fd: i32, on: bool) {
    let value = libc::linger { l_onoff: on.into(), l_linger: 0 };
    set(fd, libc::SOL_SOCKET, libc::SO_LINGER, &value);
}

/// Sends a FIN.
pub(crate) fn finish(leg: Leg) {
    // SAFETY: no pointers. ENOTCONN after a reset is no news: another call reports
    // the reset.
    unsafe { libc::shutdown(leg.0, libc::SHUT_WR) };
}

/// Closes a leg; `How::Reset` makes it an RST.
pub(crate) fn close(leg: Leg, how: How) {
    linger(leg.0, how == How::Reset);
    // SAFETY: the leg is ours and is never used after this.
    unsafe { libc::close(leg.0) };
}

/// Makes a leg answer EAGAIN where it would wait, or wait again.
pub(crate) fn set_nonblocking(leg: Leg, on: bool) {
    let mut value = i32::from(on);
    // SAFETY: FIONBIO reads one int (ioctl_socket(2)). It cannot fail on a socket.
    unsafe { libc::ioctl(leg.0, libc::FIONBIO, &raw mut value) };
}

/// Has the kernel ask an idle peer whether it is there (SO_KEEPALIVE, socket(7), tcp(7)).
pub(crate) fn keep_alive(leg: Leg, keepalive: Keepalive) {
    let Keepalive { idle_s, interval_s, count } = keepalive;
    let options = [
        (libc::TCP_KEEPIDLE, i32::from(idle_s)),
        (libc::TCP_KEEPINTVL, i32::from(interval_s)),
        (libc::TCP_KEEPCNT, i32::from(count)),
    ];
    for (name, value) in options {
        set(leg.0, libc::IPPROTO_TCP, name, &value);
    }
    set(leg.0, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &1i32);
}

/// The error that nobody was told of yet (SO_ERROR, which tells it once).
pub(crate) fn error(leg: Leg) -> Option<Errno> {
    let mut error = 0_i32;
    let mut length = libc::socklen_t::try_from(size_of::<i32>()).expect("it is small");
    let place = (&raw mut error).cast();
    // SAFETY: `error` is as long as `length` says.
    let result = unsafe {
        libc::getsockopt(leg.0, libc::SOL_SOCKET, libc::SO_ERROR, place, &raw mut length)
    };
    (result == 0 && error != 0).then_some(Errno(error))
}

/// How the peer stands: SIOCOUTQ (tcp(7)), and TCP_INFO if bytes wait and it is looked at closely.
pub(crate) fn peer_progress(leg: Leg, closely: bool) -> PeerProgress {
    let mut unacked = 0_i32;
    // SAFETY: SIOCOUTQ writes one int. It cannot fail on a connected socket.
    unsafe { libc::ioctl(leg.0, libc::TIOCOUTQ, &raw mut unacked) };
    let unacked = u32::try_from(unacked).unwrap_or(0);
    let info = if closely && unacked > 0 { TcpInfo::of(leg) } else { None };
    let (silent_ms, unanswered, closed) = info.map_or((0, 0, false), |info| {
        // Retransmissions of what the window takes, or probes of a closed one. A probe that was
        // answered is not counted any more, whatever the answer.
        let unanswered = info.retransmits.max(info.probes);
        (info.last_ack_recv, unanswered, info.state == TCP_CLOSE)
    });
    PeerProgress { unacked, silent_ms, unanswered, closed }
}

/// Keeps an urgent byte (MSG_OOB) in its place among the others. Without that the kernel takes it
/// out of the stream, and a receive never sees it. What a listener accepts has it, too.
fn keep_urgent(fd: i32) {
    set(fd, libc::SOL_SOCKET, libc::SO_OOBINLINE, &1i32);
}

/// Connections that wait at a listener: of a listening socket `tcpi_unacked` is the length of its
/// queue (tcp_get_info in net/ipv4/tcp.c).
pub(crate) fn queued(listener: Leg) -> u32 {
    TcpInfo::of(listener).map_or(0, |info| info.unacked)
}

/// Starts to listen on a bound socket. What it accepts has SO_OOBINLINE from birth, so that an
/// urgent byte that is there before the accept is not lost either.
pub(crate) fn listen(socket: Leg) -> Result<(), Errno> {
    keep_urgent(socket.0);
    reset_unless_finished(socket.0);
    memory::limit_unsent(socket, memory::UNSENT_MIN);
    // SAFETY: no pointers.
    if unsafe { libc::listen(socket.0, BACKLOG) } == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The next client of a non-blocking listener. Its leg is blocking, like those of the ring's
/// accepts.
pub(crate) fn accept(listener: Leg) -> Result<Leg, Errno> {
    let (nowhere, no_length) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: accept4(2) takes null for an address that nobody wants.
    let fd = unsafe { libc::accept4(listener.0, nowhere, no_length, libc::SOCK_CLOEXEC) };
    if fd < 0 { Err(last_errno()) } else { Ok(Leg(fd)) }
}

/// Takes a listener out of its reuseport group at once and answers its pending accepts. close(2)
/// alone does neither while an io_uring accept is pending. It stays bound, and [`listen`] takes it
/// back (tcp_disconnect keeps a port that bind(2) has chosen).
pub(crate) fn shutdown_listener(listener: Leg) {
    // SAFETY: no pointers.
    unsafe { libc::shutdown(listener.0, libc::SHUT_RD) };
}

/// Hands bytes to the kernel at once. False if it did not take all of them, or the peer has gone.
pub(crate) fn send_now(leg: Leg, bytes: &[u8]) -> bool {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` is as long as it says.
    let sent = unsafe { libc::send(leg.0, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent) == Ok(bytes.len())
}

/// The other end's address.
pub(crate) fn peer(leg: Leg) -> Option<SocketAddr> {
    address_by(libc::getpeername, leg)
}

/// weir's own address and port of a connected leg.
pub(crate) fn own(leg: Leg) -> Option<SocketAddr> {
    address_by(libc::getsockname, leg)
}

/// True if a connected leg's own address is its peer's, whose port is `port`.
pub(crate) fn is_its_own_peer(leg: Leg, port: u16) -> bool {
    let own = own(leg).filter(|own| own.port() == port);
    own.is_some() && own == peer(leg)
}

/// True if a connected leg's peer is at an address of this host: the kernel connects from the very
/// address that it connects to (and to 127.0.0.0/8 from 127.0.0.1).
pub(crate) fn stays_here(leg: Leg) -> bool {
    let peer = peer(leg).map(|peer| peer.ip());
    peer.is_some_and(|ip| ip.to_canonical().is_loopback())
        || (peer.is_some() && peer == own(leg).map(|own| own.ip()))
}

/// getsockname(2) or getpeername(2).
type AskName =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn address_by(ask: AskName, leg: Leg) -> Option<SocketAddr> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).ok()?;
    // SAFETY: `storage` is as long as `length` says.
    if unsafe { ask(leg.0, storage.as_mut_ptr().cast(), &raw mut length) } != 0 {
        return None;
    }
    // SAFETY: zeroed, then written by the kernel: every byte is initialised.
    let storage = unsafe { storage.assume_init() };
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in, which sockaddr_storage can hold.
            let v4 = unsafe { *(&raw const storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is a sockaddr_in6, which sockaddr_storage can hold.
            let v6 = unsafe { *(&raw const storage).cast::<libc::sockaddr_in6>() };
            // An IPv4 client of a socket of both families is one of IPv4 from here on.
            let ip = IpAddr::from(v6.sin6_addr.s6_addr).to_canonical();
            Some(SocketAddr::from((ip, u16::from_be(v6.sin6_port))))
        }
        _ => None,
    }
}

/// Binds a socket to an address; port 0 leaves the port to the kernel.
pub(super) fn bind(socket: i32, address: &SocketAddr) -> Result<(), Errno> {
    let (raw, length) = RawAddress::of_ip(address);
    // SAFETY: `raw` is as long as `length` says.
    let result = unsafe { libc::bind(socket, (&raw const raw).cast(), length) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// connect(2) on a leg of ours. Shards connect by their ring.
#[cfg(test)]
pub(super) fn connect(leg: Leg, address: Address) -> Result<(), Errno> {
    let (raw, length) = RawAddress::new(address);
    // SAFETY: `raw` is as long as `length` says.
    let result = unsafe { libc::connect(leg.0, (&raw const raw).cast(), length) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// True if a leg that was connected is so no more: it was reset. getpeername(2) is the cheapest way
/// to ask, and it leaves the error where it is.
pub(crate) fn is_unconnected(leg: Leg) -> bool {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::uninit();
    let mut length = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>())
        .expect("an address is small");
    // SAFETY: `storage` is as long as `length` says; what is written there is not read.
    let result = unsafe { libc::getpeername(leg.0, storage.as_mut_ptr().cast(), &raw mut length) };
    result != 0 && last_errno().0 == libc::ENOTCONN
}

pub(super) fn set<T>(fd: i32, level: i32, name: i32, value: &T) {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    // SAFETY: `value` is as long as `length` says. A failure (a socket that is reset already) is no
    // news.
    unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), length) };
}

/// An address as connect(2) wants it.
#[derive(Clone, Copy)]
pub(crate) union RawAddress {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    unix: libc::sockaddr_un,
}

impl RawAddress {
    /// The kernel's form of `address`, and its length.
    pub(crate) fn new(address: Address) -> (RawAddress, u32) {
        match address {
            Address::Ip(address) => RawAddress::of_ip(&address),
            Address::Unix(path) => RawAddress::of_path(path),
        }
    }

    fn of_path(path: UnixPath) -> (RawAddress, u32) {
        let mut unix = libc::sockaddr_un { sun_family: family(libc::AF_UNIX), sun_path: [0; 108] };
        // The path is shorter than the place, which ends with a NUL so.
        for (place, byte) in unix.sun_path.iter_mut().zip(path.as_str().bytes()) {
            *place = libc::c_char::from_ne_bytes([byte]);
        }
        (RawAddress { unix }, length::<libc::sockaddr_un>())
    }

    pub(crate) fn of_ip(address: &SocketAddr) -> (RawAddress, u32) {
        match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: family(libc::AF_INET),
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                (RawAddress { v4: raw }, length::<libc::sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: family(libc::AF_INET6),
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                (RawAddress { v6: raw }, length::<libc::sockaddr_in6>())
            }
        }
    }
}

fn family(family: i32) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).expect("families are small")
}

fn length<T>() -> u32 {
    u32::try_from(size_of::<T>()).expect("an address is small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_takes_its_port_from_the_range_of_the_system() {
        let range = local_ports().expect("the kernel says");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let leg = open(address.into()).unwrap();
        connect(leg, address.into()).unwrap();
        let (_stream, from) = listener.accept().unwrap();
        assert!(range.contains(&from.port()), "{from}");
        assert!(!is_its_own_peer(leg, address.port()));
        assert_eq!(peer(leg), Some(address));
        assert!(stays_here(leg));
        close(leg, How::Reset);
    }

    #[test]
    fn a_leg_to_a_unix_socket_has_no_address_of_ip_and_the_kernel_says_its_room() {
        let path = std::env::temp_dir().join(format!("weir-leg-{}.sock", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let address: Address = format!("unix:{}", path.display()).parse().unwrap();
        let leg = open(address).unwrap();
        connect(leg, address).unwrap();
        let (_stream, _) = listener.accept().unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!((peer(leg), own(leg), is_unconnected(leg)), (None, None, false));
        assert!(!stays_here(leg) && memory::room(leg) > 32 * 1024, "{}", memory::room(leg));
        assert!(send_now(leg, b"12345"));
        assert!(peer_progress(leg, true).unacked >= 5, "until the other end reads them");
        close(leg, How::Reset);
    }

    #[test]
    fn a_socket_that_is_connected_to_itself_is_known() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let any: SocketAddr = any.parse().unwrap();
            let leg = open(any.into()).unwrap();
            bind(leg.0, &any).unwrap();
            let own = address_by(libc::getsockname, leg).unwrap();
            connect(leg, own.into()).expect("a socket can be its own peer");
            assert!(is_its_own_peer(leg, own.port()), "{own}");
            close(leg, How::Reset);
        }
    }

    #[test]
    fn a_peer_that_has_reset_is_gone_and_one_that_has_only_ended_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for how in [How::Fin, How::Reset] {
            let leg = open(address.into()).unwrap();
            connect(leg, address.into()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            let accepted = Leg(std::os::fd::IntoRawFd::into_raw_fd(stream));
            assert!(!is_unconnected(accepted));
            close(leg, how);
            // On loopback close(2) returns when the other end has its FIN or RST.
            assert_eq!(is_unconnected(accepted), how == How::Reset, "{how:?}");
            close(accepted, How::Reset);
        }
    }
}
