//! Action → operation. Everything that is not the kernel's to do later is done here at once.

use weir_core::action::{Action, Origin, Pending};
use weir_core::event::{Leg, NotOpened, Side};
use weir_core::table::SessionId;
use weir_proto::address::Address;

use super::Shard;
use crate::io::{Io, Kind, Op, Token};

impl<I: Io> Shard<I> {
    pub(super) fn act(&mut self, id: SessionId, action: Action) {
        let token = |side, kind| Token::Session { id, side, kind };
        match action {
            Action::Connect { client, address, buffer, origin } => {
                let opened = self.connect(id, client, address, (buffer, origin));
                self.table.opened(id, opened, self.now, &mut self.actions);
            }
            Action::ReadHeader { client } => self.read_header(id, client),
            Action::ReadHello { client, last } => self.read_hello(id, client, last),
            Action::SendHeader { legs, version } => self.send_header(id, legs, version),
            Action::Receive { from, leg, how } => {
                self.io.submit(token(from, Kind::Receive), Op::Receive { leg, how });
            }
            Action::Merge { chunk, into, at } => self.io.merge(chunk, into, at),
            Action::Send { to, leg, chunk } => {
                self.io.submit(token(to, Kind::Send), Op::Send { leg, chunk });
            }
            Action::Watch { side, leg, interest } => {
                self.io.watch(token(side, Kind::Watch), leg, interest);
            }
            Action::InspectPeers { legs, closely } => {
                let [client, backend] = legs;
                let progress = [(client, closely[0]), (backend, closely[1])]
                    .map(|(leg, closely)| self.io.peer_progress(leg, closely));
                self.table.inspected(id, progress, self.now, &mut self.actions);
            }
            Action::KeepAlive { leg, keepalive } => self.io.keep_alive(leg, keepalive),
            Action::TakePipe { from, legs } => self.promote(id, from, legs),
            Action::ReturnPipe { pipe, empty } => self.io.return_pipe(pipe, empty),
            Action::SetBlocking { legs } => {
                for leg in legs {
                    self.io.set_nonblocking(leg, false);
                }
            }
            Action::Finish(leg) => self.io.finish(leg),
            Action::Cancel { side, what } => {
                let kind = match what {
                    Pending::Connect => Kind::Connect,
                    Pending::Receive => Kind::Receive,
                    Pending::Send => Kind::Send,
                };
                self.io.submit(token(side, Kind::Cancel), Op::Cancel(token(side, kind)));
            }
            Action::Release(buffer) => self.io.release(buffer),
            Action::Close { leg, how } => self.io.close(leg, how),
            // A slot is free: a listener that was full may accept again.
            Action::Free => self.sockets.touch(),
        }
    }

    fn promote(&mut self, id: SessionId, from: Side, legs: [Leg; 2]) {
        let pipe = self.io.take_pipe();
        if pipe.is_some() {
            for leg in legs {
                self.io.set_nonblocking(leg, true);
            }
        }
        let out = &mut self.actions;
        self.table.promoted(id, from, pipe, self.now, out);
    }

    /// Asks for a connect on a new leg. A client that has left gets no backend.
    fn connect(
        &mut self,
        id: SessionId,
        client: Leg,
        address: Address,
        (buffer, origin): (Option<u32>, Origin),
    ) -> Result<Leg, NotOpened> {
        if self.io.is_gone(client) {
            return Err(NotOpened::ClientGone);
        }
        let leg = self.io.open(address).map_err(|_| NotOpened::NoSocket)?;
        self.come_from(id, leg, address, origin)?;
        if let Some(bytes) = buffer {
            // Before the SYN, which offers a window of that size.
            for leg in [client, leg] {
                self.io.limit_memory(leg, bytes);
            }
        }
        let token = Token::Session { id, side: Side::Backend, kind: Kind::Connect };
        self.io.submit(token, Op::Connect(leg, address));
        Ok(leg)
    }
}
