//! Sessions of listeners that limit what each source of clients may have.

use core::net::IpAddr;

use super::{SessionId, Table};
use crate::base::clock::Now;
use crate::client_sources::{ClientSources, SourceKey, SourceLimit};
use crate::slot::ListenerSlot;

impl Table {
    /// A client from there is about to get a session: counts it, if its source may have one.
    /// `None`: its listener limits no sources, or a header has yet to tell of the client.
    ///
    /// # Errors
    /// The limit that its source has reached.
    pub fn begin_of_source(
        &mut self,
        listener: ListenerSlot,
        ip: Option<IpAddr>,
        now: Now,
    ) -> Result<Option<SourceKey>, SourceLimit> {
        let is_told_later = self.view.listeners()[listener.index()].proxy.is_some();
        match ip.filter(|_| !is_told_later) {
            Some(ip) => self.count_for_source(listener, ip, now),
            None => Ok(None),
        }
    }

    /// Counts a session of a client from there. `None`: its listener limits no sources.
    fn count_for_source(
        &mut self,
        listener: ListenerSlot,
        ip: IpAddr,
        now: Now,
    ) -> Result<Option<SourceKey>, SourceLimit> {
        let view = &self.view.listeners()[listener.index()];
        let Some(limits) = &view.per_source else { return Ok(None) };
        let key = self.client_sources.key(view.id, limits, ip);
        self.client_sources.begin(key, limits, now).map(|()| Some(key))
    }

    /// There was no slot for a client that was counted.
    pub fn end_of_source(&mut self, source: Option<SourceKey>, now: Now) {
        if let Some(source) = source {
            self.client_sources.end(source, now);
        }
    }

    /// A header has told of a session's client: counts it.
    pub(super) fn begin_told(
        &mut self,
        id: SessionId,
        listener: ListenerSlot,
        ip: IpAddr,
        now: Now,
    ) -> Result<(), SourceLimit> {
        if let Some(key) = self.count_for_source(listener, ip, now)? {
            self.source_of.note(id.slot, key);
        }
        Ok(())
    }

    /// The sources that are counted, for checkers.
    #[must_use]
    pub fn client_sources(&self) -> &ClientSources {
        &self.client_sources
    }

    /// The source of a session, if it is counted, for checkers.
    #[must_use]
    pub fn source_of(&self, id: SessionId) -> Option<SourceKey> {
        self.source_of.get(id.slot).copied()
    }
}
