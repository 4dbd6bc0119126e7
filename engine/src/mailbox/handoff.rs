//! Listening sockets on their way from control's descriptor table to a shard's own, by SCM_RIGHTS
//! (unix(7)), beside the order that names them.
//!
//! ```text
//! control  give: some messages of many sockets ──▶ Unix socket ──▶ take: those of the order  shard
//!          then the order, with number and count ──▶ channel   ──▶
//! ```
//! An order that could not be sent leaves its messages behind; the number tells them from those of
//! the order that comes instead.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use weir_proto::bind_address::BindAddress;
use weir_proto::order::ListenerSocket;

/// The number of the order, then the place of the first socket in it.
const MESSAGE: usize = 12;
/// Sockets of one message (SCM_MAX_FD, unix(7)). A Unix socket holds some 270 messages that are not
/// taken yet: with a socket in each, an order of more could never be sent.
const SOCKETS_MAX: usize = 253;

/// What an order says of the sockets that were sent beside it.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    number: u64,
    addresses: Vec<BindAddress>,
}

/// Control's end.
#[derive(Debug)]
pub(super) struct FdSender {
    socket: UnixStream,
    number: AtomicU64,
}

/// The shard's end.
#[derive(Clone, Debug)]
pub(super) struct FdReceiver(Arc<UnixStream>);

/// Both ends for one shard.
pub(super) fn pair() -> io::Result<(FdSender, FdReceiver)> {
    let (fd_sender, fd_receiver) = UnixStream::pair()?;
    fd_sender.set_nonblocking(true)?;
    fd_receiver.set_nonblocking(true)?;
    Ok((
        FdSender { socket: fd_sender, number: AtomicU64::new(0) },
        FdReceiver(Arc::new(fd_receiver)),
    ))
}

impl FdSender {
    /// Sends the sockets; they stay the caller's as well.
    ///
    /// # Errors
    /// EAGAIN, ETOOMANYREFS: the shard does not take what it was sent.
    pub(super) fn give(&self, sockets: &[ListenerSocket]) -> io::Result<Handed> {
        let number = self.number.load(Ordering::Relaxed);
        self.number.store(number + 1, Ordering::Relaxed); // only control gives
        for (place, sockets) in (0_u32..).step_by(SOCKETS_MAX).zip(sockets.chunks(SOCKETS_MAX)) {
            let mut message = [0; MESSAGE];
            message[..8].copy_from_slice(&number.to_le_bytes());
            message[8..].copy_from_slice(&place.to_le_bytes());
            let rights: Vec<BorrowedFd<'_>> = sockets.iter().map(|it| it.socket.as_fd()).collect();
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&rights));
            let flags = SendFlags::NOSIGNAL;
            // So short that the kernel takes all of it or nothing.
            sendmsg(&self.socket, &[IoSlice::new(&message)], &mut control, flags)?;
        }
        Ok(Handed { number, addresses: sockets.iter().map(|it| it.address).collect() })
    }
}

impl FdReceiver {
    /// The sockets of one order. Fewer than were sent if this table is full: then the other shards
    /// serve those addresses.
    pub(super) fn take(&self, handed: &Handed) -> Vec<ListenerSocket> {
        let Handed { number, addresses } = handed;
        let mut sockets = Vec::with_capacity(addresses.len());
        while sockets.len() < addresses.len() {
            let Some((of, place, some)) = self.next() else { break };
            let from = usize::try_from(place).ok().and_then(|place| addresses.get(place..));
            let addresses = from.filter(|_| of == *number).unwrap_or_default();
            let named = addresses.iter().zip(some);
            sockets.extend(named.map(|(it, socket)| ListenerSocket { address: *it, socket }));
            if addresses.len() <= SOCKETS_MAX && of == *number {
                break; // that was the last message of the order
            }
        }
        sockets
    }

    /// The next message: its order, the place of its first socket there, the sockets: fewer than
    /// were sent if this table is full.
    fn next(&self) -> Option<(u64, u32, Vec<OwnedFd>)> {
        let mut message = [0; MESSAGE];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut message)];
        let got = recvmsg(&*self.0, into, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
        if got.bytes != MESSAGE {
            return None; // control is gone
        }
        let rights = control.drain().filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        });
        let sockets = rights.flatten().collect();
        let number = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
        let place = u32::from_le_bytes(message[8..].try_into().expect("4 bytes"));
        Some((number, place, sockets))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn sockets(count: u32) -> (Vec<ListenerSocket>, Vec<u16>) {
        let listeners: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = listeners.iter().map(|it| it.local_addr().unwrap().port()).collect();
        let socket = |it: TcpListener| ListenerSocket {
            address: it.local_addr().unwrap().into(),
            socket: it.into(),
        };
        (listeners.into_iter().map(socket).collect(), ports)
    }

    fn port(socket: &ListenerSocket) -> u16 {
        let copy = TcpListener::from(socket.socket.try_clone().unwrap());
        copy.local_addr().unwrap().port()
    }

    #[test]
    fn an_order_finds_its_sockets_behind_those_of_one_that_was_not_sent() {
        let (fd_sender, fd_receiver) = pair().unwrap();
        let (lost, _) = sockets(3);
        fd_sender.give(&lost).unwrap();
        let (sent, ports) = sockets(2);
        let handed = fd_sender.give(&sent).unwrap();
        let got = fd_receiver.take(&handed);
        assert_eq!(got.iter().map(|it| it.address.port()).collect::<Vec<_>>(), ports);
        assert_eq!(got.iter().map(port).collect::<Vec<_>>(), ports);
        assert!(fd_receiver.take(&handed).is_empty(), "each is taken once");
    }

    /// The largest configuration has 16,384 addresses, and a start sends all of them at once.
    #[test]
    fn an_order_of_thousands_of_sockets_is_sent_at_once() {
        let (fd_sender, fd_receiver) = pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for count in [1_u16, 252, 253, 254, 506, 4_000] {
            let some = (0..count).map(|number| ListenerSocket {
                address: std::net::SocketAddr::from(([127, 0, 0, 1], number)).into(),
                socket: listener.try_clone().unwrap().into(),
            });
            let handed = fd_sender.give(&some.collect::<Vec<_>>()).unwrap();
            let got = fd_receiver.take(&handed);
            assert!(got.iter().map(|it| it.address.port()).eq(0..count), "{count}");
            assert_eq!(fd_receiver.next().map(|(number, ..)| number), None, "none is left");
        }
    }

    #[test]
    fn a_shard_that_takes_nothing_is_an_error_and_no_wait() {
        let (fd_sender, fd_receiver) = pair().unwrap();
        let (some, _) = sockets(8);
        let refused = (0..10_000).find_map(|_| fd_sender.give(&some).err());
        assert!(refused.is_some(), "the socket is bounded");
        drop(fd_receiver);
        assert!(fd_sender.give(&some).is_err());
    }
}
