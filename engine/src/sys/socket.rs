//! Sockets by number: what the ring's operations are asked on.

use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_core::action::How;
use weir_core::event::{Errno, Leg};

/// Connections that the kernel queues for a listener (capped by net.core.somaxconn).
const BACKLOG: i32 = 4096;

/// The state of a connection that is no more (include/net/tcp_states.h).
const TCP_CLOSE: u8 = 7;

/// linux/in.h; libc has no name for it.
const IP_LOCAL_PORT_RANGE: i32 = 51;

fn last_errno() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// The ports that a connect may take (ip_local_port_range, ip(7)), as IP_LOCAL_PORT_RANGE wants
/// them: the lowest in the lower half. `None` if the kernel does not say.
pub(crate) fn local_ports() -> Option<u32> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ports = range.split_whitespace().map(|port| port.parse::<u16>().ok());
    let (lowest, highest) = (ports.next()??, ports.next()??);
    Some(u32::from(lowest) | u32::from(highest) << 16)
}

/// A TCP socket for connecting to `address`, with TCP_NODELAY. Blocking, so that the ring waits and
/// not we: io_uring answers EAGAIN on non-blocking ones.
///
/// `ports`: what [`local_ports`] says. Left to itself connect(2) tries every port of one parity
/// before it tries the other: with 20,000 of 28,232 in use it takes 0.8 ms of CPU (docs/adr/0016),
/// with a range of its own (6.3), even the whole one, it takes the next free one from anywhere.
pub(crate) fn open(address: &SocketAddr, ports: Option<u32>) -> Result<Leg, Errno> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(last_errno());
    }
    set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1i32);
    if let Some(ports) = ports {
        set(fd, libc::IPPROTO_IP, IP_LOCAL_PORT_RANGE, &ports);
    }
    Ok(Leg(fd))
}

/// Sends a FIN.
pub(crate) fn finish(leg: Leg) {
    // SAFETY: no pointers. ENOTCONN after a reset is no news: the reset is answered elsewhere.
    unsafe { libc::shutdown(leg.0, libc::SHUT_WR) };
}

/// Closes a leg; `How::Reset` makes it an RST.
pub(crate) fn close(leg: Leg, how: How) {
    if how == How::Reset {
        set(leg.0, libc::SOL_SOCKET, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 });
    }
    // SAFETY: the leg is ours and is never used after this.
    unsafe { libc::close(leg.0) };
}

/// Makes a leg answer EAGAIN where it would wait, or wait again.
pub(crate) fn set_nonblocking(leg: Leg, on: bool) {
    let mut value = i32::from(on);
    // SAFETY: FIONBIO reads one int (ioctl_socket(2)). It cannot fail on a socket.
    unsafe { libc::ioctl(leg.0, libc::FIONBIO, &raw mut value) };
}

/// Gives the peer up when it has taken nothing for so long, also while it says that its window is
/// closed (TCP_USER_TIMEOUT, RFC 5482).
pub(crate) fn set_patience(leg: Leg, milliseconds: u32) {
    set(leg.0, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, &milliseconds);
}

/// True if no connection is left behind this leg: it was reset, or both sides have ended it.
pub(crate) fn is_gone(leg: Leg) -> bool {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).expect("it is small");
    let place = info.as_mut_ptr().cast();
    // SAFETY: `info` is as long as `length` says.
    let result = unsafe {
        libc::getsockopt(leg.0, libc::IPPROTO_TCP, libc::TCP_INFO, place, &raw mut length)
    };
    // SAFETY: zeroed, then perhaps written by the kernel: every byte is initialised.
    result == 0 && unsafe { info.assume_init() }.tcpi_state == TCP_CLOSE
}

/// Starts to listen on a bound socket.
pub(crate) fn listen(socket: Leg) -> Result<(), Errno> {
    // SAFETY: no pointers.
    if unsafe { libc::listen(socket.0, BACKLOG) } == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Takes a listener out of its reuseport group at once and answers its pending accepts. close(2)
/// alone does neither while an io_uring accept is pending.
pub(crate) fn fence(listener: Leg) {
    // SAFETY: no pointers.
    unsafe { libc::shutdown(listener.0, libc::SHUT_RD) };
}

/// The other end's address.
pub(crate) fn peer(leg: Leg) -> Option<IpAddr> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).ok()?;
    // SAFETY: `storage` is as long as `length` says.
    let result = unsafe { libc::getpeername(leg.0, storage.as_mut_ptr().cast(), &raw mut length) };
    if result != 0 {
        return None;
    }
    // SAFETY: zeroed, then written by the kernel: every byte is initialised.
    let storage = unsafe { storage.assume_init() };
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in, which sockaddr_storage can hold.
            let v4 = unsafe { *(&raw const storage).cast::<libc::sockaddr_in>() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is a sockaddr_in6, which sockaddr_storage can hold.
            let v6 = unsafe { *(&raw const storage).cast::<libc::sockaddr_in6>() };
            Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

fn set<T>(fd: i32, level: i32, name: i32, value: &T) {
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
}

impl RawAddress {
    /// The kernel's form of `address`, and its length.
    pub(crate) fn new(address: &SocketAddr) -> (RawAddress, u32) {
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
    libc::sa_family_t::try_from(family).expect("AF_INET and AF_INET6 are small")
}

fn length<T>() -> u32 {
    u32::try_from(size_of::<T>()).expect("an address is small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_takes_its_port_from_the_range_that_it_was_given() {
        let whole = local_ports().expect("the kernel says");
        let (lowest, highest) = (whole & 0xffff, whole >> 16);
        assert!(lowest < highest);
        // The upper half, so that the answer can be wrong.
        let range = u32::midpoint(lowest, highest) | highest << 16;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let leg = open(&address, Some(range)).unwrap();
        let (raw, length) = RawAddress::new(&address);
        // SAFETY: `raw` is as long as `length` says.
        assert_eq!(unsafe { libc::connect(leg.0, (&raw const raw).cast(), length) }, 0);
        let (_stream, from) = listener.accept().unwrap();
        assert!((range & 0xffff..=highest).contains(&u32::from(from.port())), "{from}");
        close(leg, How::Reset);
    }
}
