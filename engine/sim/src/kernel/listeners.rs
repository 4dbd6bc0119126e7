//! Sockets that listen: shut down, paused, listening again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;

use weir_core::event::{Errno, Leg};
use weir_engine::io::Op;

use super::Kernel;
use super::legs::Behind;

impl Kernel {
    pub(crate) fn listen(&mut self, socket: RawFd) -> Result<Leg, Errno> {
        let Some(address) = self.bound.remove(&socket) else { return Err(Errno::EINVAL) };
        let listener = self.net.listen(address);
        self.note("listens (port)", [usize::from(address.port()), 0]);
        Ok(self.legs.open(Behind::Listener(listener)))
    }

    /// Where the shard listens, by which sockets, those included that are paused.
    #[must_use]
    pub fn listens_at(&self) -> BTreeMap<SocketAddr, BTreeSet<usize>> {
        let mut at: BTreeMap<SocketAddr, BTreeSet<usize>> = BTreeMap::new();
        for listener in self.legs.listeners() {
            if !self.net.listening[listener].is_used() {
                continue;
            }
            at.entry(self.net.listening[listener].address).or_default().insert(listener);
        }
        at
    }

    pub(super) fn listens_on(&self, leg: Leg) -> Option<SocketAddr> {
        match self.legs.behind(leg) {
            Some(Behind::Listener(listener)) => Some(self.net.listening[listener].address),
            _ => None,
        }
    }

    /// True if this leg listens and has not been shut down.
    pub(super) fn is_open(&self, leg: Leg) -> bool {
        match self.legs.behind(leg) {
            Some(Behind::Listener(listener)) => self.net.listening[listener].open,
            _ => false,
        }
    }

    pub(crate) fn shutdown_listener(&mut self, leg: Leg) {
        if self.dead {
            return;
        }
        let Some(Behind::Listener(listener)) = self.legs.behind(leg) else {
            return self.fail(format!("{leg:?} is shut down, but it does not listen"));
        };
        self.note("fenced (listener)", [listener, 0]);
        self.net.close_listener(listener, &mut self.rng);
    }

    /// As [`Kernel::shutdown_listener`], but the socket keeps its address.
    pub(crate) fn pause_listener(&mut self, leg: Leg) {
        let Some(Behind::Listener(listener)) = self.legs.behind(leg) else {
            return self.fail(format!("{leg:?} is paused, but it does not listen"));
        };
        self.note("pauses (listener)", [listener, 0]);
        self.net.close_listener(listener, &mut self.rng);
        self.net.listening[listener].paused = true;
        // Accepts that wait are answered now, whether it listens again or not.
        let mut at = 0;
        while at < self.pending.len() {
            let waits = matches!(self.pending[at].op, Op::Accept(on) if on == leg);
            if !(waits && self.attempt(at)) {
                at += 1;
            }
        }
    }

    pub(crate) fn resume_listener(&mut self, leg: Leg) {
        match self.legs.behind(leg) {
            Some(Behind::Listener(listener)) if self.net.listening[listener].paused => {
                self.note("resumes (listener)", [listener, 0]);
                self.net.listen_again(listener);
            }
            _ => self.fail(format!("{leg:?} listens again, but it is not paused")),
        }
    }

    /// Where listeners are paused.
    pub fn paused_at(&self) -> BTreeSet<SocketAddr> {
        let paused = self.legs.listeners().map(|listener| &self.net.listening[listener]);
        paused.filter(|it| it.paused).map(|it| it.address).collect()
    }
}
