//! Messages with descriptors between the descriptor tables of two shards: SCM_RIGHTS (unix(7)) on a
//! pair of sockets that keep the bounds of messages.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt,
};
use weir_core::event::{Errno, Leg};
use weir_proto::handover::DESCRIPTORS_MAX;

/// Bytes of one message at most; a channel has room for several.
pub(crate) const MESSAGE_MAX: usize = 256 * 1024;
/// The send buffer that is asked of the kernel for a channel; it gives what net.core.wmem_max
/// allows, and the default has room for 200 KiB.
const CHANNEL_BYTES: usize = 1024 * 1024;

/// Both ends of a channel.
pub(crate) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for end in [&one, &other] {
        sockopt::set_socket_send_buffer_size(end, CHANNEL_BYTES)?;
    }
    Ok((one, other))
}

pub(crate) fn give(channel: Leg, message: &[u8], descriptors: &[Leg]) -> Result<(), Errno> {
    // SAFETY: all of them are open in this table for as long as the call takes.
    let borrowed = |leg: &Leg| unsafe { BorrowedFd::borrow_raw(leg.0) };
    let rights: Vec<BorrowedFd<'_>> = descriptors.iter().map(borrowed).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !rights.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&rights));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(borrowed(&channel), &[IoSlice::new(message)], &mut control, flags)
        .map(|_| ())
        .map_err(errno)
}

pub(crate) fn take(
    channel: Leg,
    message: &mut Vec<u8>,
    descriptors: &mut Vec<Leg>,
) -> Result<(), Errno> {
    message.resize(MESSAGE_MAX, 0);
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(message)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    // SAFETY: the channel is open in this table.
    let channel = unsafe { BorrowedFd::borrow_raw(channel.0) };
    let got = recvmsg(channel, into, &mut control, flags);
    descriptors.clear();
    let got = got.map_err(|error| {
        message.clear();
        errno(error)
    })?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights.map(|fd| Leg(fd.into_raw_fd())));
        }
    }
    message.truncate(got.bytes);
    Ok(())
}

/// Closes a descriptor and leaves the socket as it is.
pub(crate) fn let_go(leg: Leg) {
    // SAFETY: it is ours and is never used after this.
    unsafe { libc::close(leg.0) };
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno(error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, FromRawFd};

    use super::*;

    fn leg(end: &OwnedFd) -> Leg {
        Leg(end.as_raw_fd())
    }

    #[test]
    fn a_message_comes_whole_with_its_descriptors_and_the_connection_goes_on() {
        let (here, there) = channel().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = Leg(listener.accept().unwrap().0.into_raw_fd());
        give(leg(&here), b"one", &[server]).unwrap();
        give(leg(&here), &vec![7; 150 * 1024], &[]).unwrap();
        let_go(server);
        let (mut message, mut legs) = (Vec::new(), Vec::new());
        take(leg(&there), &mut message, &mut legs).unwrap();
        assert_eq!((&message[..], legs.len()), (&b"one"[..], 1));
        // SAFETY: it has just come, for this test alone.
        let mut server = unsafe { TcpStream::from_raw_fd(legs[0].0) };
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        server.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        take(leg(&there), &mut message, &mut legs).unwrap();
        assert_eq!((message.len(), legs.len()), (150 * 1024, 0));
        assert_eq!(take(leg(&there), &mut message, &mut legs), Err(Errno::EAGAIN));
        drop(here);
        assert_eq!(take(leg(&there), &mut message, &mut legs), Ok(()));
        assert!(message.is_empty(), "the other end is gone");
        assert!(give(leg(&there), b"two", &[]).is_err());
    }

    #[test]
    fn a_channel_that_is_not_read_is_full_and_does_not_wait() {
        let (here, _there) = channel().unwrap();
        let message = vec![0; 64 * 1024];
        let sent = (0..1_000).take_while(|_| give(leg(&here), &message, &[]).is_ok()).count();
        assert!((1..1_000).contains(&sent), "{sent}");
    }
}
