//! The address that a connection comes from: bind(2) without a port.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::RawFd;

use weir_core::event::{Errno, Leg};

use super::socket::{self, peer, set};

/// Has a connect of `socket` to `address` come from `source`, of the same family. The port is
/// chosen by connect(2), among those that no connection from `source` to `address` has
/// (IP_BIND_ADDRESS_NO_PORT): bind(2) would keep it from every other backend, too.
pub(crate) fn bind(socket: RawFd, source: IpAddr, address: &SocketAddr) -> Result<(), Errno> {
    // Of sockets of IPv6 it is an option of IPPROTO_IP as well.
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1_i32);
    socket::bind(socket, &as_seen_by(source, address))
}

/// The source as a socket of the family of `address` writes it, without a port. A link-local one is
/// on the link of `address`.
fn as_seen_by(source: IpAddr, address: &SocketAddr) -> SocketAddr {
    match (source, address) {
        (IpAddr::V4(v4), SocketAddr::V6(_)) => SocketAddr::from((v4.to_ipv6_mapped(), 0)),
        (IpAddr::V6(v6), SocketAddr::V6(to)) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, 0, 0, to.scope_id()).into()
        }
        _ => SocketAddr::from((source, 0)),
    }
}

/// True if the peer of a leg is at an address of this host: a connect to it that is left to the
/// kernel would come from that very address (and to 127.0.0.0/8 from 127.0.0.1).
pub(crate) fn leads_here(leg: Leg) -> bool {
    peer(leg).is_some_and(is_own)
}

fn is_own(address: SocketAddr) -> bool {
    let any = SocketAddr::from((
        if address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) },
        0,
    ));
    // connect(2) of a datagram socket looks up the route, and sends nothing.
    let own = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(address)?;
        socket.local_addr()
    });
    address.ip().to_canonical().is_loopback() || own.is_ok_and(|own| own.ip() == address.ip())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use weir_core::action::How;

    use super::super::socket::{close, connect, open, own};
    use super::*;

    #[test]
    fn a_connect_comes_from_the_address_that_it_was_bound_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mapped =
            SocketAddr::from((std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped(), address.port()));
        let source = IpAddr::from([127, 44, 5, 6]);
        for to in [address, mapped] {
            let leg = open(to.into()).unwrap();
            bind(leg.0, source, &to).unwrap();
            assert_eq!(own(leg).unwrap().port(), 0, "no port is taken before the connect");
            // It may be bound again as long as it has none.
            bind(leg.0, IpAddr::from([127, 44, 5, 7]), &to).unwrap();
            bind(leg.0, source, &to).unwrap();
            connect(leg, to.into()).unwrap();
            let (_stream, from) = listener.accept().unwrap();
            assert_eq!(from.ip(), source);
            assert!(leads_here(leg));
            close(leg, How::Reset);
        }
    }

    #[test]
    fn an_address_of_another_host_is_refused() {
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        let leg = open(to.into()).unwrap();
        let refused = bind(leg.0, IpAddr::from([192, 0, 2, 77]), &to);
        assert_eq!(refused, Err(Errno::EADDRNOTAVAIL));
        close(leg, How::Reset);
        assert!(is_own(SocketAddr::from(([127, 99, 0, 1], 9))));
        assert!(!is_own(SocketAddr::from(([192, 0, 2, 77], 9))));
    }
}
