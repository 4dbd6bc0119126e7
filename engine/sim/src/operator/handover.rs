//! Sessions go from the shard to itself: through one channel, or through two with somebody in
//! between, who may die.

use std::os::fd::{AsRawFd, OwnedFd};

use weir_proto::order::{Order, Report};

use super::{Operator, Sent};
use crate::kernel::Kernel;

/// A hand-over that is under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Handover {
    gives: bool,
    takes: bool,
    /// There is no relay in between.
    is_direct: bool,
    /// How many, and whether that was all.
    gave: Option<(u64, bool)>,
    took: Option<(u64, bool)>,
    /// More was taken than given, or less.
    pub(super) is_wrong: bool,
}

impl Operator {
    /// True while some session may be on its way.
    #[must_use]
    pub fn hands_over(&self) -> bool {
        self.handover.gives || self.handover.takes
    }

    /// True if in a hand-over that both sides call whole not all came that went.
    #[must_use]
    pub fn has_lost_count(&self) -> bool {
        self.handover.is_wrong
    }

    /// Begins to hand some sessions over, unless that is being done.
    pub(super) fn hand_over(&mut self, kernel: &mut Kernel) {
        if self.hands_over() {
            return;
        }
        let most = self.rng.pick(&[1, 1, 2, 5, 100]);
        // What somebody has acknowledged, and a shard that stops has not taken, would be lost.
        let is_direct = self.rng.flip() || kernel.swarm.stops;
        let [giver, mut taker] = kernel.make_channel();
        if !is_direct {
            let [to, last] = kernel.make_channel();
            kernel.make_relay(taker, to, self.rng.pick(&[0, 1, 2, 100]));
            taker = last;
        }
        let takes_first = self.rng.flip();
        self.handover = Handover { is_direct, ..Handover::default() };
        if takes_first {
            self.handover.takes = self.order_channel(kernel, taker, None);
        }
        self.handover.gives = self.order_channel(kernel, giver, Some(most));
        if !takes_first {
            self.handover.takes = self.order_channel(kernel, taker, None);
        }
    }

    fn order_channel(&mut self, kernel: &mut Kernel, end: usize, most: Option<u32>) -> bool {
        let socket: OwnedFd = self.stands_for_a_socket.try_clone().expect("descriptors").into();
        let fd = socket.as_raw_fd();
        kernel.bind_channel(fd, end);
        let channel = Some(socket);
        let (order, what) = match most {
            Some(_) => (Order::Give { channel, most }, "order: give"),
            None => (Order::Take { channel }, "order: take"),
        };
        let is_sent = self.send(kernel, order, Sent::Other, what);
        if !is_sent {
            kernel.unbind_channel(fd);
        }
        is_sent
    }

    /// The shard has given, or taken, what there was.
    pub(super) fn hear_of_handover(&mut self, report: &Report) {
        let it = &mut self.handover;
        match *report {
            Report::Gave { sessions, is_whole, .. } => {
                (it.gives, it.gave) = (false, Some((sessions, is_whole)));
            }
            Report::Took { sessions, is_whole, .. } => {
                (it.takes, it.took) = (false, Some((sessions, is_whole)));
            }
            _ => {}
        }
        // A shard that stops breaks off what it takes.
        if let (true, false, Some(gave), Some(took)) =
            (it.is_direct, self.stopped, it.gave, it.took)
        {
            it.is_wrong |= gave != took;
        }
    }
}
