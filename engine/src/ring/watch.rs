//! Watched legs: an epoll(7) that the ring polls. It waits where an operation would cost more: for
//! a session in which nothing moves, for a pipe's legs, for the reset of a side whose FIN has come.
//!
//! io_uring's own poll would do, were it not that it always adds POLLRDHUP to what it is asked for:
//! a leg whose peer has sent its FIN has that at once, whatever it waits for. A watch holds no
//! operation: closing the leg ends it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use weir_core::event::{Interest, Leg, Ready};

use crate::io::Token;

/// Events that are taken in one look; the rest in the next.
const EVENTS_MAX: usize = 256;

/// The watched legs of one ring.
pub(super) struct Watches {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    /// Legs that have news and were not yet told of.
    news: Vec<(Token, Ready)>,
}

impl Watches {
    pub(super) fn new() -> io::Result<Watches> {
        // SAFETY: no pointers; the result is checked before it is used.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just given us this descriptor; nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
        Ok(Watches { epoll, events, news: Vec::with_capacity(EVENTS_MAX) })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Tells of `leg` once. EPOLLERR and EPOLLHUP are reported unasked.
    pub(super) fn add(&mut self, token: Token, leg: Leg, interest: Interest) {
        let mut events = libc::EPOLLONESHOT;
        if interest.readable {
            events |= libc::EPOLLIN;
        }
        if interest.writable {
            events |= libc::EPOLLOUT;
        }
        let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: token.pack() };
        // A leg that was watched before is still known. SAFETY: `event` is valid for the calls. If
        // memory has run out, a timeout ends the session instead.
        unsafe {
            let event = &raw mut event;
            if libc::epoll_ctl(self.fd(), libc::EPOLL_CTL_MOD, leg.0, event) != 0 {
                libc::epoll_ctl(self.fd(), libc::EPOLL_CTL_ADD, leg.0, event);
            }
        }
    }

    /// Tells of `leg` no more. Closing it would do if no other table had its socket.
    pub(super) fn remove(&mut self, leg: Leg) {
        let none = std::ptr::null_mut();
        // SAFETY: a removal reads no event (Linux 2.6.9). One that was never watched is no news.
        unsafe { libc::epoll_ctl(self.fd(), libc::EPOLL_CTL_DEL, leg.0, none) };
    }

    /// Looks which legs have news.
    pub(super) fn look(&mut self) {
        let most = i32::try_from(EVENTS_MAX).expect("EVENTS_MAX is small");
        // SAFETY: `events` has room for as many as are asked for.
        let count = unsafe { libc::epoll_wait(self.fd(), self.events.as_mut_ptr(), most, 0) };
        let count = usize::try_from(count).unwrap_or(0);
        for event in &self.events[..count] {
            let has = |bits: i32| event.events & bits.cast_unsigned() != 0;
            let Some(token) = Token::unpack(event.u64) else { continue };
            let ready = Ready {
                readable: has(libc::EPOLLIN | libc::EPOLLHUP),
                writable: has(libc::EPOLLOUT),
                reset: has(libc::EPOLLERR),
                error: None,
            };
            self.news.push((token, ready));
        }
    }

    /// True if some leg's news was not taken.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// A leg that has news.
    pub(super) fn take(&mut self) -> Option<(Token, Ready)> {
        self.news.pop()
    }
}
