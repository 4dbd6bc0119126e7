//! Messages with descriptors between the process that serves and the one that takes over: frames
//! cut into packets of a socket that keeps their bounds, with up to 250 descriptors beside each.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_core::base::clock::Now;
use weir_proto::frame::{self, Incoming};

use crate::rt;

/// Bytes and descriptors of one packet at most: SCM_MAX_FD is 253 (unix(7)), and 200 KiB fit by
/// the kernel's defaults.
const PACKET_BYTES: usize = 64 * 1024;
const PACKET_DESCRIPTORS: usize = 250;
/// The longest message, in bytes: the counters of a hundred thousand backends.
const MESSAGE_MAX: usize = 256 << 20;
/// How long one packet may wait for the other side to read.
const SEND_MAX: Duration = Duration::from_secs(10);

/// The first byte of a packet: is it the last one of its message?
const LAST: u8 = 1;
const MORE: u8 = 0;

/// One end of the conversation. Its calls wait: they are for threads that may.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Both ends; the second one is for the other process.
    pub(crate) fn pair() -> io::Result<(Channel, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Channel(here), there))
    }

    /// The end that another process has given.
    pub(crate) fn of(end: OwnedFd) -> Channel {
        Channel(end)
    }

    /// The same end again, for another thread.
    pub(crate) fn again(&self) -> io::Result<Channel> {
        self.0.try_clone().map(Channel)
    }

    /// Sends a message with copies of these descriptors.
    ///
    /// # Errors
    /// The other end is gone, or does not read.
    pub(crate) fn send<T: Serialize>(
        &self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), String> {
        let bytes = frame::encode_message(message, MESSAGE_MAX).map_err(|it| it.to_string())?;
        let mut rest = bytes.as_slice();
        let mut rights = descriptors;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(PACKET_BYTES));
            let (some, others) = rights.split_at(rights.len().min(PACKET_DESCRIPTORS));
            let is_last = after.is_empty() && others.is_empty();
            let kind = if is_last { LAST } else { MORE };
            self.send_packet(kind, piece, some).map_err(|error| error.to_string())?;
            if is_last {
                return Ok(());
            }
            (rest, rights) = (after, others);
        }
    }

    fn send_packet(&self, kind: u8, piece: &[u8], rights: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(PACKET_DESCRIPTORS))];
        let deadline = rt::now() + SEND_MAX;
        loop {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !rights.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(rights));
            }
            let parts = [IoSlice::new(std::slice::from_ref(&kind)), IoSlice::new(piece)];
            match sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                // The other end has to take what is in flight (ETOOMANYREFS: of this user's).
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => self.wait(PollFlags::OUT, deadline)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next message, which must be whole within that time.
    ///
    /// # Errors
    /// It was not, the other end is gone, or it is no message of this kind.
    pub(crate) fn receive<T: DeserializeOwned>(
        &self,
        within: Duration,
    ) -> Result<(T, Vec<OwnedFd>), String> {
        let deadline = rt::now() + within;
        let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
        let mut packet = vec![0; PACKET_BYTES + 1];
        loop {
            let count = self
                .receive_packet(&mut packet, &mut descriptors, deadline)
                .map_err(|error| error.to_string())?;
            let Some((kind, piece)) = packet[..count].split_first() else {
                return Err("the channel is closed".to_owned());
            };
            bytes.extend_from_slice(piece);
            if bytes.len() > MESSAGE_MAX + MESSAGE_MAX / 64 {
                return Err("it sends more than a message may have".to_owned());
            }
            if *kind == LAST {
                return Ok((decode(&bytes)?, descriptors));
            }
        }
    }

    fn receive_packet(
        &self,
        packet: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
        deadline: Now,
    ) -> io::Result<usize> {
        loop {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(PACKET_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let into = &mut [IoSliceMut::new(packet)];
            match recvmsg(&self.0, into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) => {
                    for part in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(rights) = part {
                            descriptors.extend(rights);
                        }
                    }
                    return Ok(got.bytes);
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline)?,
                // What was sent before comes behind it.
                Err(Errno::CONNRESET) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(&self, what: PollFlags, deadline: Now) -> io::Result<()> {
        let left = deadline - rt::now();
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let left = rustix::time::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.0, what)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads the frames of one message.
fn decode<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, String> {
    let mut incoming = Incoming::new(MESSAGE_MAX);
    while incoming.has_more() {
        let cut = || "a message is cut short".to_owned();
        let (header, rest) = bytes.split_first_chunk::<{ frame::HEADER }>().ok_or_else(cut)?;
        let body = incoming.next(*header).map_err(|error| error.to_string())?;
        let (here, after) = rest.split_at_checked(body.len()).ok_or_else(cut)?;
        body.copy_from_slice(here);
        bytes = after;
    }
    frame::decode(&incoming.into_body()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_long_message_with_many_descriptors_comes_whole() {
        let (here, there) = Channel::pair().unwrap();
        let there = Channel::of(there);
        let text = "x".repeat(3 << 20);
        let file = std::fs::File::open("/dev/null").unwrap();
        let sent = text.clone();
        let sender = std::thread::spawn(move || {
            here.send(&sent, &[file.as_fd(); 600]).unwrap();
            here.send(&7_u32, &[]).unwrap();
        });
        let (got, descriptors) = there.receive::<String>(SOON).unwrap();
        assert!(got == text);
        assert_eq!(descriptors.len(), 600);
        assert_eq!(there.receive::<u32>(SOON).unwrap().0, 7);
        sender.join().unwrap();
        assert_eq!(there.receive::<u32>(SOON).unwrap_err(), "the channel is closed");
    }

    #[test]
    fn silence_and_nonsense_are_errors() {
        let (here, there) = Channel::pair().unwrap();
        let there = Channel::of(there);
        let late = there.receive::<u32>(Duration::from_millis(1)).unwrap_err();
        assert_eq!(late, "timed out");
        here.send(&"a text".to_owned(), &[]).unwrap();
        assert!(there.receive::<u32>(SOON).is_err());
        drop(there);
        assert!(here.send(&1_u32, &[]).is_err());
    }
}
