//! Channels between shards, and what goes through them: messages with copies of descriptors, as
//! SOCK_SEQPACKET carries them (unix(7)).
//!
//! A connection that is handed over has several legs for a while. It is used by one of them only:
//! by the giver's until that was given, by the taker's from its acknowledgement on, and by the
//! giver's again if the channel has broken before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::RawFd;

use weir_core::action::How;
use weir_core::event::{BufferId, Chunk, Errno, Leg, Side};
use weir_proto::frame;
use weir_proto::handover::HandoverMessage;

use super::legs::{Behind, Holder};
use super::{Kernel, Key, Seen};
use crate::net::{Conn, ConnId};

/// Messages that wait in one direction at most.
const MESSAGES_MAX: usize = 3;

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Message {
    bytes: Vec<u8>,
    /// The objects of its descriptors, and whether each answers EAGAIN where it would wait.
    behind: Vec<(Behind, bool)>,
}

/// One end of a channel; the other one is beside it.
#[derive(Clone, Debug, Default)]
struct ChannelEnd {
    /// Messages that were sent to it.
    queue: VecDeque<Message>,
    closed: bool,
    /// The other end has gone with something unread: that comes before what it has sent.
    reset: bool,
    /// All descriptors of what it takes come.
    roomy: bool,
}

/// One that takes sessions from a giver and passes them on, until it dies. What it has acknowledged
/// has been passed on.
#[derive(Clone, Copy, Debug)]
struct Relay {
    from: usize,
    to: usize,
    /// It dies after that many messages.
    left: usize,
}

/// All channels of one shard's world.
#[derive(Clone, Debug, Default)]
pub(super) struct Channels {
    ends: Vec<ChannelEnd>,
    /// Ends that orders bring, by the number of the descriptor that stands for them.
    bound: BTreeMap<RawFd, usize>,
    /// Connections that were given, at any time.
    handed: BTreeSet<ConnId>,
    /// Those of them whose session's new name is not known.
    unnamed: BTreeSet<ConnId>,
    /// Those who stand between a giver and a taker.
    relays: Vec<Relay>,
    /// Closed by the taker while the giver has it, too: how, once that has let go.
    late: BTreeMap<ConnId, How>,
}

impl Channels {
    /// True if no relay is left.
    pub(super) fn is_still(&self) -> bool {
        self.relays.is_empty()
    }

    /// True if descriptors of this are on their way.
    fn carries(&self, behind: Behind) -> bool {
        let messages = self.ends.iter().flat_map(|end| &end.queue);
        messages.flat_map(|message| &message.behind).any(|it| it.0 == behind)
    }
}

/// The meaning of a message.
fn parsed(bytes: &[u8]) -> Option<HandoverMessage> {
    let (header, rest) = bytes.split_first_chunk::<{ frame::HEADER }>()?;
    let (body, _) = rest.split_at_checked(frame::body_length(*header).ok()?)?;
    frame::decode(body).ok()
}

fn written(message: &HandoverMessage) -> Message {
    let bytes = frame::encode(message).expect("it is short");
    Message { bytes, behind: Vec::new() }
}

impl Kernel {
    /// A new channel: its ends.
    pub fn make_channel(&mut self) -> [usize; 2] {
        let first = self.channels.ends.len();
        self.channels.ends.extend([ChannelEnd::default(), ChannelEnd::default()]);
        [first, first + 1]
    }

    /// An order brings this end.
    pub fn bind_channel(&mut self, fd: RawFd, end: usize) {
        self.channels.bound.insert(fd, end);
    }

    /// The order was not sent.
    pub fn unbind_channel(&mut self, fd: RawFd) {
        if let Some(end) = self.channels.bound.remove(&fd) {
            self.close_end(end);
        }
    }

    pub(crate) fn channel(&mut self, fd: RawFd) -> Leg {
        let Some(end) = self.channels.bound.remove(&fd) else {
            self.fail("an order has brought no channel");
            return Leg(-1);
        };
        self.legs.open(Behind::Channel(end))
    }

    fn end_of(&mut self, channel: Leg) -> Option<usize> {
        match self.legs.behind(channel) {
            Some(Behind::Channel(end)) => Some(end),
            other => {
                self.fail(format!("{channel:?} is no channel: {other:?}"));
                None
            }
        }
    }

    pub(crate) fn give(
        &mut self,
        channel: Leg,
        message: &[u8],
        descriptors: &[Leg],
    ) -> Result<(), Errno> {
        let Some(end) = self.end_of(channel) else { return Err(Errno::EPIPE) };
        self.relay_now();
        for conn in descriptors.iter().filter_map(|leg| self.legs.conn(*leg)) {
            self.channels.handed.insert(conn);
            self.channels.unnamed.insert(conn);
        }
        let other = end ^ 1;
        let acknowledges = matches!(parsed(message), Some(HandoverMessage::Taken { .. }));
        if self.channels.ends[other].closed {
            // A giver that is gone takes nothing back.
            if acknowledges {
                self.legs.own(Holder::Come(end));
            }
            return Err(Errno::EPIPE);
        }
        if self.channels.ends[other].queue.len() >= MESSAGES_MAX
            || self.rng.hits(self.swarm.full_channels)
        {
            self.note("channel: no room (end)", [end, 0]);
            let others = [Errno::EAGAIN, Errno::ENOBUFS, Errno::ETOOMANYREFS];
            let count = if descriptors.is_empty() { 2 } else { 3 };
            return Err(self.rng.pick(&others[..count]));
        }
        let mut behind = Vec::new();
        for leg in descriptors {
            let Some(it) = self.legs.behind(*leg) else {
                self.fail(format!("{leg:?} is given, and is not open"));
                continue;
            };
            if self.legs.inflight(*leg) > 0 {
                self.fail(format!("{leg:?} is given with something in flight"));
            }
            if self.legs.holder(*leg) != Some(Holder::Own) {
                self.fail(format!("{leg:?} is given, and is not its own"));
            }
            behind.push((it, self.legs.is_nonblocking(*leg)));
            self.legs.set_holder(*leg, Holder::Given(end));
        }
        // What has come is the taker's from here on.
        if acknowledges {
            self.legs.own(Holder::Come(end));
        }
        self.note("given (end, descriptors)", [end, behind.len()]);
        self.channels.ends[other].queue.push_back(Message { bytes: message.to_vec(), behind });
        Ok(())
    }

    pub(crate) fn take(
        &mut self,
        channel: Leg,
        message: &mut Vec<u8>,
        descriptors: &mut Vec<Leg>,
    ) -> Result<(), Errno> {
        message.clear();
        descriptors.clear();
        let Some(end) = self.end_of(channel) else { return Ok(()) };
        self.relay_now();
        if std::mem::take(&mut self.channels.ends[end].reset) {
            return Err(Errno::ECONNRESET);
        }
        let Some(next) = self.channels.ends[end].queue.pop_front() else {
            if !self.channels.ends[end ^ 1].closed {
                return Err(Errno::EAGAIN);
            }
            self.note("channel: its end (end)", [end, 0]);
            self.legs.own(Holder::Given(end));
            return Ok(());
        };
        if let Some(HandoverMessage::Refused { .. }) = parsed(&next.bytes) {
            self.legs.own(Holder::Given(end));
        }
        *message = next.bytes;
        let mut room = next.behind.len();
        if !self.channels.ends[end].roomy {
            room = room.min(self.swarm.legs.saturating_sub(self.legs.count()));
            if room > 0 && self.rng.hits(self.swarm.full_channels) {
                room = self.rng.below(room);
            }
        }
        for (behind, nonblocking) in next.behind.iter().take(room) {
            let leg = self.legs.open(*behind);
            self.legs.set_nonblocking(leg, *nonblocking);
            self.legs.set_holder(leg, Holder::Come(end));
            descriptors.push(leg);
        }
        self.note("taken (end, descriptors)", [end, room]);
        for (behind, _) in next.behind.into_iter().skip(room) {
            self.dropped(behind);
        }
        Ok(())
    }

    /// A descriptor is gone: somebody else must have another one of the same.
    fn dropped(&mut self, behind: Behind) {
        let Behind::Conn(conn) = behind else { return };
        if self.legs.holders(behind).0 > 0 || self.channels.carries(behind) {
            return;
        }
        match self.channels.late.remove(&conn) {
            Some(how) => self.closed(conn, how),
            None if self.dead => {}
            None => self.fail(format!("connection {conn} is lost on its way")),
        }
    }

    /// True if another leg has this connection, which goes on as long as that is so.
    pub(super) fn closes_late(&mut self, conn: ConnId, how: How) -> bool {
        let behind = Behind::Conn(conn);
        let is_shared = self.legs.holders(behind).0 > 0 || self.channels.carries(behind);
        if is_shared {
            if self.legs.holders(behind).1 > 0 || self.channels.carries(behind) {
                self.fail(format!("connection {conn} is closed, and another shard has it"));
            }
            self.channels.late.insert(conn, how);
        }
        is_shared
    }

    /// True if its session has another name, which is not known yet.
    pub(super) fn is_unnamed(&self, conn: ConnId) -> bool {
        self.channels.unnamed.contains(&conn)
    }

    /// True if the taker has closed it, and the giver has not let go of it yet.
    pub(super) fn is_closed_late(&self, conn: ConnId) -> bool {
        self.channels.late.contains_key(&conn)
    }

    pub(crate) fn let_go(&mut self, leg: Leg) {
        if self.dead {
            return;
        }
        match self.legs.close(leg) {
            Ok(Behind::Channel(end)) => {
                if self.legs.has(Holder::Given(end)) || self.legs.has(Holder::Come(end)) {
                    self.fail(format!("channel {end} is closed, and descriptors are whose?"));
                }
                self.close_end(end);
            }
            Ok(behind @ Behind::Conn(conn)) => {
                self.let_go_of_watch(leg, conn);
                self.binds.forget(leg);
                self.note("let go (conn)", [conn, 0]);
                self.dropped(behind);
            }
            Ok(Behind::PipeEnd { .. } | Behind::Listener(_) | Behind::Nothing) => {}
            Err(what) => self.fail(what),
        }
    }

    /// An end of a channel is closed, by a shard or because its process has died.
    pub fn close_end(&mut self, end: usize) {
        self.note("channel: closed (end)", [end, 0]);
        self.channels.ends[end].closed = true;
        let unread = std::mem::take(&mut self.channels.ends[end].queue);
        self.channels.ends[end ^ 1].reset |= !unread.is_empty();
        unread.into_iter().for_each(|message| self.drop_message(message));
    }

    /// A leg is used: that is for one who has it alone.
    pub(super) fn check_use(&mut self, leg: Leg) {
        match self.legs.holder(leg) {
            Some(Holder::Own) | None => {}
            Some(holder) => return self.fail(format!("{leg:?} is used, and is {holder:?}")),
        }
        if let Some(conn) = self.legs.conn(leg).filter(|it| self.channels.handed.contains(it))
            && self.legs.holders(Behind::Conn(conn)).1 > 1
        {
            self.fail(format!("connection {conn} is used by two legs"));
        }
    }

    /// A session asks something of a connection that was handed over: it is the one that had it,
    /// under another name.
    pub fn meet(&mut self, session: Key, leg: Leg) {
        let Some(conn) = self.legs.conn(leg) else { return };
        let Some(before) = self.net.conns[conn].session.filter(|before| *before != session) else {
            return;
        };
        if !self.channels.unnamed.contains(&conn) {
            return;
        }
        let Some(mut note) = self.notes.remove(&before) else { return };
        if note.inflight > 0 {
            self.fail(format!("{before:?} has become {session:?} with something in flight"));
        }
        let now = self.now;
        note.leaving = false;
        (note.came_at, note.told, note.deaf_at) = (now, (0, now), now);
        (note.looked_at, note.hungry_for) = (now, [0; 2]);
        for conn in note.conns.into_iter().flatten() {
            self.net.conns[conn].session = Some(session);
            self.channels.unnamed.remove(&conn);
        }
        self.note("renamed (slot, generation)", [session.0 as usize, session.1 as usize]);
        if self.notes.insert(session, note).is_some() {
            self.fail(format!("{session:?} has taken the place of another one"));
        }
        self.seen.push(Seen::Renamed { from: before, to: session });
    }

    /// Sessions that are on their way: none of the table's, with a client that is connected.
    #[must_use]
    pub fn away(&self, is_there: impl Fn(Key) -> bool) -> usize {
        let is_away = |(id, conn): &(ConnId, &Conn)| {
            let is_live = !conn.weir_closed && !self.channels.late.contains_key(id);
            let is_client = conn.side == Side::Client && is_live;
            is_client && conn.session.is_some_and(|key| !is_there(key))
        };
        self.net.conns.iter().enumerate().filter(is_away).count()
    }

    pub(crate) fn read(&mut self, chunk: Chunk, into: &mut Vec<u8>) {
        match self.buffers.read(chunk) {
            Ok(bytes) => into.extend_from_slice(bytes),
            Err(what) => self.fail(what),
        }
    }

    /// True if the bytes of this buffer were read for another shard.
    #[must_use]
    pub fn is_read(&self, buffer: u16) -> bool {
        self.buffers.was_read(buffer)
    }

    /// True if this pipe may be another shard's, too.
    #[must_use]
    pub fn may_be_given(&self, pipe: u16) -> bool {
        self.pipes.may_be_given(pipe)
    }

    pub(crate) fn fill_buffer(&mut self, bytes: &[u8]) -> Option<BufferId> {
        let offered = self.rng.flip();
        self.buffers.fill(bytes, offered)
    }

    /// A message that comes at one end goes on through the other one, up to `left` messages; then
    /// who stands there dies.
    pub fn make_relay(&mut self, from: usize, to: usize, left: usize) {
        self.channels.ends[to ^ 1].roomy = true;
        self.channels.relays.push(Relay { from, to, left });
    }

    /// Now and then something goes on in the middle of a turn.
    fn relay_now(&mut self) {
        while !self.channels.relays.is_empty() && self.rng.below(3) == 0 {
            self.step_relays();
        }
    }

    /// Those between two shards do something.
    pub(super) fn step_relays(&mut self) {
        let mut relays = std::mem::take(&mut self.channels.relays);
        relays.retain_mut(|relay| self.step_relay(relay));
        self.channels.relays = relays;
    }

    /// False if it is gone.
    fn step_relay(&mut self, relay: &mut Relay) -> bool {
        let Relay { from, to, left } = *relay;
        // Acknowledgements end here.
        self.channels.ends[to].queue.clear();
        if self.channels.ends[to ^ 1].queue.len() >= MESSAGES_MAX {
            return true;
        }
        if self.channels.ends[to ^ 1].closed {
            self.end_relay(*relay);
            return false;
        }
        let is_calm = self.swarm.handovers == 0;
        let Some(message) = self.channels.ends[from].queue.pop_front() else {
            let dies = left == 0 && !is_calm && self.rng.below(4) == 0;
            let is_over = dies || self.channels.ends[from ^ 1].closed;
            if is_over {
                self.end_relay(*relay);
            }
            return !is_over;
        };
        self.note("relay (end, left)", [from, left]);
        match parsed(&message.bytes) {
            Some(HandoverMessage::Sessions { number, .. }) if is_calm || left > 0 => {
                relay.left = left.saturating_sub(1);
                self.channels.ends[to ^ 1].queue.push_back(message);
                self.say(from, &HandoverMessage::Taken { number });
                true
            }
            Some(HandoverMessage::Sessions { number, .. }) => {
                self.drop_message(message);
                if self.rng.flip() {
                    self.say(from, &HandoverMessage::Refused { number });
                }
                self.end_relay(*relay);
                false
            }
            _ => {
                self.channels.ends[to ^ 1].queue.push_back(message);
                self.end_relay(*relay);
                false
            }
        }
    }

    fn end_relay(&mut self, relay: Relay) {
        self.close_end(relay.from);
        self.close_end(relay.to);
    }

    fn drop_message(&mut self, message: Message) {
        message.behind.into_iter().for_each(|(behind, _)| self.dropped(behind));
    }

    /// This is said through this end.
    fn say(&mut self, end: usize, says: &HandoverMessage) {
        self.channels.ends[end ^ 1].queue.push_back(written(says));
    }

    /// True if there is something to hear at this end.
    pub(super) fn has_news(&self, end: usize) -> bool {
        let it = &self.channels.ends[end];
        !it.queue.is_empty() || it.reset || self.channels.ends[end ^ 1].closed
    }
}
