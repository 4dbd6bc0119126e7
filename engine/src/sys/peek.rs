//! Bytes that a client has sent, before anything is received from it: they are looked at where they
//! are, so that one who sends slowly holds no buffer.

use weir_core::event::{Errno, Leg};

use super::socket::{last_errno, set};

/// Copies what has come, and leaves it there. 0: the client has sent its FIN, and nothing else.
pub(crate) fn peek(leg: Leg, into: &mut [u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: `into` is as long as it says.
    let count = unsafe { libc::recv(leg.0, into.as_mut_ptr().cast(), into.len(), flags) };
    usize::try_from(count).map_err(|_| last_errno())
}

/// Takes bytes that were looked at; tcp(7), MSG_TRUNC: they are not copied.
pub(crate) fn discard(leg: Leg, count: usize) -> Result<(), Errno> {
    let mut left = count;
    while left > 0 {
        let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
        // SAFETY: with MSG_TRUNC nothing is written.
        let taken = unsafe { libc::recv(leg.0, std::ptr::null_mut(), left, flags) };
        match usize::try_from(taken) {
            // They were there a moment ago, and no other reads them.
            Ok(0) => return Err(Errno::ECONNRESET),
            Ok(taken) => left = left.saturating_sub(taken),
            Err(_) => return Err(last_errno()),
        }
    }
    Ok(())
}

/// Makes the leg readable only with `count` bytes, at its end or an error (socket(7),
/// SO_RCVLOWAT; 1 is as it was).
pub(crate) fn wake_at(leg: Leg, count: usize) {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    set(leg.0, libc::SOL_SOCKET, libc::SO_RCVLOWAT, &count);
}

/// True if the client's FIN or reset has come.
pub(crate) fn has_finished(leg: Leg) -> bool {
    let mut asked = libc::pollfd { fd: leg.0, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one entry, as it says.
    let ready = unsafe { libc::poll(&raw mut asked, 1, 0) };
    ready > 0
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn bytes_stay_until_they_are_taken_and_an_end_is_seen_behind_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let leg = Leg(socket.as_raw_fd());
        let mut bytes = [0; 8];
        assert_eq!(peek(leg, &mut bytes), Err(Errno::EAGAIN));
        assert!(!has_finished(leg));
        wake_at(leg, 5);
        client.write_all(b"abcde").unwrap();
        wake_at(leg, 1);
        assert_eq!((peek(leg, &mut bytes), &bytes[..5]), (Ok(5), &b"abcde"[..]));
        assert_eq!(peek(leg, &mut bytes[..2]), Ok(2));
        discard(leg, 3).unwrap();
        assert_eq!((peek(leg, &mut bytes), &bytes[..2]), (Ok(2), &b"de"[..]));
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!((peek(leg, &mut bytes), has_finished(leg)), (Ok(2), true));
        discard(leg, 2).unwrap();
        assert_eq!(peek(leg, &mut bytes), Ok(0));
    }
}
