//! Legs whose FIN has come, watched for a reset: an epoll(7) that the ring polls.
//!
//! io_uring's own poll would do, were it not that it always adds POLLRDHUP to what it is asked for,
//! and these legs have that at once. A watch holds no operation: closing the leg ends it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use weir_core::event::Leg;

use crate::io::Token;

/// Events that are taken in one look; the rest in the next.
const EVENTS_MAX: usize = 256;

/// The watched legs of one ring.
pub(super) struct Watches {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    /// Legs that were reset and not yet told of.
    news: Vec<Token>,
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

    /// Tells of a reset of `leg`, once. EPOLLERR and EPOLLHUP are reported unasked.
    pub(super) fn add(&mut self, token: Token, leg: Leg) {
        let events = libc::EPOLLONESHOT.cast_unsigned();
        let mut event = libc::epoll_event { events, u64: token.pack() };
        // SAFETY: `event` is valid for the call. If memory has run out, the half-close timeout
        // ends the session instead.
        unsafe {
            libc::epoll_ctl(self.fd(), libc::EPOLL_CTL_ADD, leg.0, &raw mut event);
        }
    }

    /// Looks which legs have news. Without EPOLLERR both directions have simply ended.
    pub(super) fn look(&mut self) {
        let most = i32::try_from(EVENTS_MAX).expect("EVENTS_MAX is small");
        // SAFETY: `events` has room for as many as are asked for.
        let count = unsafe { libc::epoll_wait(self.fd(), self.events.as_mut_ptr(), most, 0) };
        let count = usize::try_from(count).unwrap_or(0);
        for event in &self.events[..count] {
            if event.events & libc::EPOLLERR.cast_unsigned() != 0
                && let Some(token) = Token::unpack(event.u64)
            {
                self.news.push(token);
            }
        }
    }

    /// A leg that was reset.
    pub(super) fn take(&mut self) -> Option<Token> {
        self.news.pop()
    }
}
