//! The first bytes of clients: headers of the PROXY protocol, which are taken, and hellos of TLS,
//! which stay. And the headers that backends get.

use std::net::{IpAddr, SocketAddr};

use weir_core::client_hello::{self, HELLO_MAX, Looked};
use weir_core::event::{Errno, HeaderRead, HelloRead, Leg};
use weir_core::pick::client_key;
use weir_core::proxy_header::{self, HEADER_MAX, Header, Parsed, ProxyVersion, Told, UniqueId};
use weir_core::session::Session;
use weir_core::table::SessionId;
use weir_proto::session::{SessionKey, SessionName};

use super::Shard;
use crate::io::Io;

impl<I: Io> Shard<I> {
    /// Looks at what a client has sent, and takes its header if that is whole.
    pub(super) fn read_header(&mut self, id: SessionId, client: Leg) {
        let mut bytes = [0; HEADER_MAX];
        let read = self.look_for_header(id, client, &mut bytes);
        let counted = match read {
            HeaderRead::Whole { told, .. } => {
                self.client_and_key(id, client, told.map(|told| told.source))
            }
            _ => (None, 0),
        };
        self.table.header_read(id, read, counted, self.now, &mut self.actions);
    }

    /// The address that counts as the client's and its hash, as far as the session goes by them.
    /// `told`: the client of a header.
    fn client_and_key(
        &mut self,
        id: SessionId,
        client: Leg,
        told: Option<SocketAddr>,
    ) -> (Option<IpAddr>, u64) {
        if !self.table.asks_for_client(id) {
            return (None, 0);
        }
        let ip = told.or_else(|| self.io.peer(client)).map(|address| address.ip());
        let key = ip.filter(|_| self.table.wants_key(id));
        (ip, key.map_or(0, |ip| client_key(self.setup.hash_seed, ip)))
    }

    fn look_for_header<'a>(
        &mut self,
        id: SessionId,
        client: Leg,
        bytes: &'a mut [u8; HEADER_MAX],
    ) -> HeaderRead<'a> {
        let count = match self.io.peek(client, bytes) {
            Ok(0) => return HeaderRead::Ended,
            Ok(count) => count,
            Err(Errno::EAGAIN) => 0,
            Err(_) => return HeaderRead::Failed,
        };
        match proxy_header::parse(&bytes[..count]) {
            Parsed::Wrong => HeaderRead::Wrong,
            Parsed::Header { length, told, fields } => {
                if self.table.session(id).is_some_and(Session::is_marked) {
                    // What follows is received as it comes.
                    self.io.wake_at(client, 1);
                }
                match self.io.discard(client, length) {
                    Ok(()) => HeaderRead::Whole { told, fields },
                    Err(_) => HeaderRead::Failed,
                }
            }
            Parsed::Need(_) if self.io.is_gone(client) => HeaderRead::Failed,
            Parsed::Need(_) if count > 0 && self.io.has_finished(client) => HeaderRead::Ended,
            Parsed::Need(wanted) => {
                self.io.wake_at(client, wanted);
                HeaderRead::NotYet
            }
        }
    }

    /// Looks for a client's hello, and leaves it where it is. The `last` look decides.
    pub(super) fn read_hello(&mut self, id: SessionId, client: Leg, last: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(HELLO_MAX, 0);
        let read = match self.io.peek(client, &mut scratch) {
            Ok(0) => HelloRead::None,
            Ok(count) => self.look_for_hello(client, &mut scratch[..count], last),
            Err(Errno::EAGAIN) => self.look_for_hello(client, &mut [], last),
            Err(_) => HelloRead::Failed,
        };
        let is_decided = matches!(read, HelloRead::Whole(_) | HelloRead::None);
        if is_decided && self.table.session(id).is_some_and(Session::is_marked) {
            // What follows is received as it comes.
            self.io.wake_at(client, 1);
        }
        let counted = if is_decided {
            let told = self.table.told_client(id);
            self.client_and_key(id, client, told)
        } else {
            (None, 0)
        };
        self.table.hello_read(id, read, counted, self.now, &mut self.actions);
        self.scratch = scratch;
    }

    fn look_for_hello<'a>(
        &mut self,
        client: Leg,
        bytes: &'a mut [u8],
        last: bool,
    ) -> HelloRead<'a> {
        match client_hello::parse(bytes) {
            Looked::Hello(hello) => HelloRead::Whole(hello),
            Looked::Other => HelloRead::None,
            Looked::Need(_) if self.io.is_gone(client) => HelloRead::Failed,
            // No more of it comes.
            Looked::Need(_) if last || self.io.has_finished(client) => HelloRead::None,
            Looked::Need(wanted) => {
                // A socket wakes for one byte anyway: most clients say their hello in one piece.
                let is_marked = wanted > 1;
                if is_marked {
                    self.io.wake_at(client, wanted);
                }
                HelloRead::NotYet { is_marked }
            }
        }
    }

    /// Tells a backend who the client is, before anything else is sent to it.
    pub(super) fn send_header(
        &mut self,
        id: SessionId,
        [client, backend]: [Leg; 2],
        version: ProxyVersion,
    ) {
        let told = self.table.told(id).or_else(|| {
            let (source, destination) = (self.io.peer(client)?, self.io.local(client)?);
            Some(Told { source, destination })
        });
        let header = match (told, self.table.session(id)) {
            (Some(told), Some(session)) => {
                let key = SessionKey { slot: id.slot, generation: id.generation };
                let session_name = SessionName { shard: self.setup.id, key };
                let made = UniqueId { session: session_name, accepted_at: session.accepted_at };
                Header::of_client(version, told.source, told.destination)
                    .with_fields(made, self.table.passed_fields(id))
            }
            // The client has gone meanwhile: nothing of it will reach the backend.
            _ => Header::local(version),
        };
        let is_sent = self.io.send_now(backend, header.bytes());
        self.table.header_sent(id, is_sent, self.now, &mut self.actions);
    }
}
