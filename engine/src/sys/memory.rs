//! What the kernel may keep for a socket, and how much it would still take.

use std::mem::size_of;

use weir_core::event::Leg;

use super::tcp_info::TcpInfo;

/// linux/socket.h: what `sock_diag` calls SK_MEMINFO, without netlink (Linux 4.12).
const SO_MEMINFO: i32 = 55;

/// Places in what SO_MEMINFO answers (linux/sock_diag.h).
const SNDBUF: usize = 3;
const WMEM_QUEUED: usize = 5;
const WMEM_ALLOC: usize = 2;

/// What the kernel charges for a segment besides its bytes, rounded up: the structure, its head,
/// and the rest of a page.
const OVERHEAD: u64 = 1536;

/// The smallest segment that the kernel makes, whatever the peer's window (net/ipv4/tcp.c,
/// `tcp_bound_to_half_wnd`).
const SEGMENT_MIN: u32 = 48;

/// Bytes that a socket holds unsent, and no more (TCP_NOTSENT_LOWAT): from birth...
pub(crate) const UNSENT_MIN: u32 = 128 * 1024;

/// ...and at most, for bulk whose reader reads.
pub(crate) const UNSENT_MAX: u32 = 4 * 1024 * 1024;

/// What SO_RCVBUF is asked for where bulk is received from; the kernel doubles it. By itself it
/// goes up to tcp_rmem's 32 MiB (6 MiB before 6.16) once a connection was read fast.
const RECEIVED_MAX: u32 = 2 * 1024 * 1024;

/// socket.h: which buffers' sizes the kernel must not change (Linux 5.14). libc has no name for it.
const SO_BUF_LOCK: i32 = 72;

/// socket.h, in the answer of SO_BUF_LOCK: the receive buffer has a size of its own.
const SOCK_RCVBUF_LOCK: u32 = 2;

/// A leg takes no more once N bytes of it are unsent. A listener's clients inherit it.
pub(crate) fn limit_unsent(leg: Leg, bytes: u32) {
    set(leg, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, bytes);
}

/// Fixes the memory that the kernel keeps for a leg, about `bytes` in each direction; it doubles
/// what it is asked for (socket(7)), and takes no more than net.core.rmem_max and wmem_max.
pub(crate) fn limit(leg: Leg, bytes: u32) {
    set(leg, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes / 2);
    set(leg, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes / 2);
    if bytes < UNSENT_MIN {
        limit_unsent(leg, bytes);
    }
}

/// The size of a leg's receive buffer, if it was fixed ([`limit`], [`limit_received`]).
pub(crate) fn fixed_received(leg: Leg) -> Option<u32> {
    let [locks]: [u32; 1] = get(leg, libc::SOL_SOCKET, SO_BUF_LOCK);
    if locks & SOCK_RCVBUF_LOCK == 0 {
        return None;
    }
    let [bytes]: [u32; 1] = get(leg, libc::SOL_SOCKET, libc::SO_RCVBUF);
    Some(bytes)
}

/// The receive buffer of a leg does not grow any more. Where net.core.rmem_max allows too little
/// for that (before 6.16), it stays the kernel's.
pub(crate) fn limit_received(leg: Leg) {
    set(leg, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVED_MAX);
    let [bytes]: [u32; 1] = get(leg, libc::SOL_SOCKET, libc::SO_RCVBUF);
    if bytes < 2 * RECEIVED_MAX {
        set(leg, libc::SOL_SOCKET, SO_BUF_LOCK, 0);
    }
}

fn set(leg: Leg, level: i32, name: i32, value: u32) {
    let length = libc::socklen_t::try_from(size_of::<u32>()).expect("four");
    let place = (&raw const value).cast();
    // SAFETY: `value` is as long as `length` says. A failure (a socket that is reset already, an
    // older kernel) is no news: the kernel's own limit holds.
    unsafe { libc::setsockopt(leg.0, level, name, place, length) };
}

/// Bytes that a send to this leg takes at once, at least about; 0 if it is not writable (less than
/// a third of its send buffer is free, or TCP_NOTSENT_LOWAT says no). 1 if it is unknown, or if
/// the send would fail.
pub(crate) fn room(leg: Leg) -> u32 {
    if !is_writable(leg) {
        return 0;
    }
    let memory: [u32; 9] = get(leg, libc::SOL_SOCKET, SO_MEMINFO);
    let Some(info) = TcpInfo::of(leg) else {
        // A Unix socket: each buffer costs at most as much again as the bytes in it.
        return (memory[SNDBUF].saturating_sub(memory[WMEM_ALLOC]) / 2).max(1);
    };
    let [lowat]: [u32; 1] = get(leg, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT);
    let lowat = if lowat == 0 { u32::MAX } else { lowat };
    let free = u64::from(memory[SNDBUF].saturating_sub(memory[WMEM_QUEUED]));
    room_of(free, lowat.saturating_sub(info.notsent_bytes), (info.snd_mss, info.snd_wnd))
}

/// `free`: bytes of memory that the socket may still take; `unsent`: bytes until TCP_NOTSENT_LOWAT;
/// then the peer's largest segment and its window. A peer with tiny segments makes the kernel pay
/// more for each byte.
fn room_of(free: u64, unsent: u32, (segment, window): (u32, u32)) -> u32 {
    let segment = u64::from((window / 2).min(segment).max(SEGMENT_MIN));
    let bytes = free * segment / (segment + OVERHEAD);
    u32::try_from(bytes).unwrap_or(u32::MAX).min(unsent).max(1)
}

fn is_writable(leg: Leg) -> bool {
    let mut poll = libc::pollfd { fd: leg.0, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid entry, and no wait.
    let result = unsafe { libc::poll(&raw mut poll, 1, 0) };
    // What cannot be asked is tried.
    result != 0
}

/// An option of several words; those that the kernel does not fill in stay 0.
fn get<const N: usize>(leg: Leg, level: i32, name: i32) -> [u32; N] {
    let mut words = [0_u32; N];
    let mut length = libc::socklen_t::try_from(N * size_of::<u32>()).expect("options are small");
    let place = words.as_mut_ptr().cast();
    // SAFETY: `words` is as long as `length` says, and any bits are a u32.
    unsafe { libc::getsockopt(leg.0, level, name, place, &raw mut length) };
    words
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn room_counts_what_each_segment_costs() {
        for (free, unsent, peer, room) in [
            (1 << 20, u32::MAX, (65_483, 1 << 20), 1_024_543),
            (1 << 20, 4_096, (65_483, 1 << 20), 4_096),
            (15_000, u32::MAX, (1_460, 65_535), 7_309),
            (15_000, u32::MAX, (48, 65_535), 454),
            (15_000, u32::MAX, (1_460, 0), 454),
            (0, u32::MAX, (1_460, 65_535), 1),
        ] {
            assert_eq!(room_of(free, unsent, peer), room, "{free} {unsent} {peer:?}");
        }
    }

    #[test]
    fn a_socket_takes_what_it_has_room_for_until_it_has_none() {
        let (mut near, _far) = pair();
        near.set_nonblocking(true).unwrap();
        let leg = Leg(near.as_raw_fd());
        let bytes = vec![0; 16 * 1024];
        for sent in 0..10_000 {
            let wanted = bytes.len().min(room(leg) as usize);
            if wanted == 0 {
                return assert!(sent > 0, "an empty socket has room");
            }
            assert_eq!(near.write(&bytes[..wanted]).ok(), Some(wanted), "after {sent} sends");
        }
        panic!("a peer that does not read fills up");
    }
}
