//! Timers of slots: a hierarchical timing wheel, at most one deadline a slot, nothing allocated
//! after `new`.
//!
//! Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7. A deadline is
//! a count of ticks; it lies on the level of the highest 6-bit digit in which it differs from the
//! wheel's own count `reached`, in the bucket of that digit. So every bucket of a level lies before
//! every bucket of the levels above it, no bucket lies behind, and the next one to look at is a
//! count of trailing zeros. When `reached` comes to a bucket of level 0, it is due; of a higher
//! level, its slots are put in again and come to lie lower: at most once a level.
//!
//! A bucket may hold every slot there is, so one call does no more than its [`Work`] allows: the
//! slots of a higher level's bucket wait in [`MOVING`] until each has been put in again.

use alloc::vec;
use alloc::vec::Vec;

use super::clock::Now;

/// Deadlines of the slots `0..capacity`.
#[derive(Debug)]
pub struct Wheel {
    /// By slot; as long as the highest slot ever scheduled, so that the others stay untouched.
    links: Vec<Link>,
    capacity: u32,
    len: u32,
    tick_nanos: u64,
    /// Every deadline up to this tick is in the bucket [`DUE`], every later one is on a level.
    reached: u64,
    /// First slot of each bucket, or [`NONE`]: the levels' buckets, then [`DUE`] and [`MOVING`].
    heads: Vec<u32>,
    /// By level, one bit a bucket: there is something in it.
    occupied: [u64; LEVELS as usize],
}

/// A slot's place in the doubly linked list of its bucket.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// The tick of the deadline.
    deadline: u64,
    /// The slot behind this one, or [`NONE`].
    next: u32,
    /// The slot before this one; [`FIRST`] + the bucket if there is none; [`NONE`] if nothing is
    /// scheduled.
    before: u32,
}

/// How much may still be done in one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Deadlines that are told.
    pub due: u32,
    /// Slots that are put into a lower level, which costs some cache misses each.
    pub moved: u32,
}

impl Wheel {
    /// A wheel for the slots `0..capacity` that is at most `tick_ms` (at least 1) late.
    ///
    /// # Panics
    /// If `capacity` is more than 2^24 or `tick_ms` is 0.
    #[must_use]
    pub fn new(capacity: u32, tick_ms: u32, now: Now) -> Wheel {
        assert!(capacity <= super::slab::SLOTS_MAX, "a wheel for {capacity} slots");
        assert!(tick_ms > 0, "a tick of 0 ms");
        let tick_nanos = u64::from(tick_ms) * 1_000_000;
        Wheel {
            links: Vec::with_capacity(capacity as usize),
            capacity,
            len: 0,
            tick_nanos,
            reached: now.nanos / tick_nanos,
            heads: vec![NONE; BUCKETS],
            occupied: [0; LEVELS as usize],
        }
    }

    /// Sets the deadline of `slot`, in place of the one it may have. One in the past is due at
    /// once.
    ///
    /// # Panics
    /// If `slot` is not below the capacity.
    pub fn schedule(&mut self, slot: u32, deadline: Now) {
        assert!(slot < self.capacity, "slot {slot} of a wheel for {}", self.capacity);
        // Rounded up: never early.
        let deadline = deadline.nanos.div_ceil(self.tick_nanos);
        match self.links.get(slot as usize) {
            Some(link) if link.before == NONE => self.len += 1,
            Some(link) if link.deadline == deadline => return,
            Some(_) => self.unlink(slot),
            None => {
                self.len += 1;
                self.links
                    .resize(slot as usize + 1, Link { deadline: 0, next: NONE, before: NONE });
            }
        }
        self.links[slot as usize].deadline = deadline;
        self.link(slot);
    }

    /// Sets the deadline of `slot` unless it has an earlier one.
    pub fn schedule_sooner(&mut self, slot: u32, deadline: Now) {
        let tick = deadline.nanos.div_ceil(self.tick_nanos);
        match self.links.get(slot as usize) {
            Some(link) if link.before != NONE && link.deadline <= tick => {}
            _ => self.schedule(slot, deadline),
        }
    }

    /// Takes the deadline of `slot` away, if it has one.
    pub fn cancel(&mut self, slot: u32) {
        if self.is_scheduled(slot) {
            self.unlink(slot);
            self.len -= 1;
        }
    }

    #[must_use]
    pub fn is_scheduled(&self, slot: u32) -> bool {
        self.links.get(slot as usize).is_some_and(|link| link.before != NONE)
    }

    /// A slot whose deadline has come; it then has none. To be called until it gives `None`, which
    /// also means that `work` is used up: then [`Wheel::next_deadline`] is not after `now`.
    pub fn pop_expired(&mut self, now: Now, work: &mut Work) -> Option<u32> {
        let target = now.nanos / self.tick_nanos;
        loop {
            let slot = self.heads[DUE as usize];
            if slot != NONE {
                work.due = work.due.checked_sub(1)?;
                self.unlink(slot);
                self.len -= 1;
                return Some(slot);
            }
            let slot = self.heads[MOVING as usize];
            if slot != NONE {
                work.moved = work.moved.checked_sub(1)?;
                self.unlink(slot);
                self.link(slot);
                continue;
            }
            match self.next_bucket() {
                Some((bucket, tick)) if tick <= target => self.turn_to(bucket, tick),
                Some(_) | None => {
                    // No bucket is skipped, so every slot stays where it would be put now.
                    self.reached = self.reached.max(target);
                    return None;
                }
            }
        }
    }

    /// When [`Wheel::pop_expired`] is to be called next: not later than the next deadline's tick,
    /// and earlier only to move the slots of a bucket down a level. `None` if nothing is scheduled.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        let at_once = [DUE, MOVING].iter().any(|bucket| self.heads[*bucket as usize] != NONE);
        let tick = if at_once { self.reached } else { self.next_bucket()?.1 };
        Some(Now::from_nanos(tick.saturating_mul(self.tick_nanos)))
    }

    /// How many slots have a deadline.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first bucket with something in it, and the tick at which it begins.
    fn next_bucket(&self) -> Option<(u32, u64)> {
        let (level, bits) = (0_u32..).zip(self.occupied).find(|(_, bits)| *bits != 0)?;
        let digit = bits.trailing_zeros();
        let shift = level * DIGIT_BITS;
        let above = self.reached >> (shift + DIGIT_BITS) << DIGIT_BITS;
        Some((level * DIGITS + digit, (above | u64::from(digit)) << shift))
    }

    /// Comes to the tick at which `bucket` begins: its slots are due, or are to be moved down.
    fn turn_to(&mut self, bucket: u32, tick: u64) {
        self.reached = tick;
        let first = core::mem::replace(&mut self.heads[bucket as usize], NONE);
        self.occupied[(bucket / DIGITS) as usize] &= !(1 << (bucket % DIGITS));
        // On level 0 all of a bucket have one deadline.
        let into = if bucket < DIGITS { DUE } else { MOVING };
        self.heads[into as usize] = first;
        self.links[first as usize].before = FIRST + into;
    }

    /// Puts `slot` first in the bucket of its deadline.
    fn link(&mut self, slot: u32) {
        let bucket = self.bucket(self.links[slot as usize].deadline);
        if bucket < DUE {
            self.occupied[(bucket / DIGITS) as usize] |= 1 << (bucket % DIGITS);
        }
        let next = core::mem::replace(&mut self.heads[bucket as usize], slot);
        if next != NONE {
            self.links[next as usize].before = slot;
        }
        let link = &mut self.links[slot as usize];
        link.next = next;
        link.before = FIRST + bucket;
    }

    /// Takes `slot`, which is in a bucket, out of it.
    fn unlink(&mut self, slot: u32) {
        let Link { next, before, .. } = self.links[slot as usize];
        self.links[slot as usize].before = NONE;
        if next != NONE {
            self.links[next as usize].before = before;
        }
        if before < FIRST {
            self.links[before as usize].next = next;
            return;
        }
        let bucket = before - FIRST;
        self.heads[bucket as usize] = next;
        if next == NONE && bucket < DUE {
            self.occupied[(bucket / DIGITS) as usize] &= !(1 << (bucket % DIGITS));
        }
    }

    fn bucket(&self, deadline: u64) -> u32 {
        if deadline <= self.reached {
            return DUE;
        }
        let level = (deadline ^ self.reached).ilog2() / DIGIT_BITS;
        let digit = (deadline >> (level * DIGIT_BITS)) & 0x3f;
        level * DIGITS + digit as u32
    }
}

const DIGIT_BITS: u32 = 6;
const DIGITS: u32 = 1 << DIGIT_BITS;
/// A tick is at least 10^6 ns, so 64 bits of nanoseconds are less than 2^45 ticks: there is no "too
/// far".
const LEVELS: u32 = 8;
const DUE: u32 = LEVELS * DIGITS;
const MOVING: u32 = DUE + 1;
const BUCKETS: usize = MOVING as usize + 1;
const NONE: u32 = u32::MAX;
const FIRST: u32 = 1 << 31;

const _: () = assert!(size_of::<Link>() == 16);
const _: () = assert!(u64::MAX / 1_000_000 < 1 << (LEVELS * DIGIT_BITS));
const _: () = assert!(super::slab::SLOTS_MAX < FIRST && FIRST + MOVING < NONE);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    const SLOTS: u32 = 24;
    const MILLI: u64 = 1_000_000;
    const DAY: u64 = 86_400_000 * MILLI;

    #[derive(Clone, Debug)]
    enum WheelStep {
        /// At `now` plus this, or minus if it is negative.
        Schedule(u32, i64),
        Cancel(u32),
        Advance(u64),
        /// To what the wheel says is next.
        Sleep,
    }

    /// Nanoseconds from nothing to `10` days, every scale as likely as the others.
    fn span() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..20 * MILLI,
            0..2_000 * MILLI,
            0..120_000 * MILLI,
            0..DAY,
            0..10 * DAY,
            (0..10_000_u64).prop_map(|n| n * 8 * MILLI),
        ]
    }

    fn step() -> impl Strategy<Value = WheelStep> {
        let deadline = prop_oneof![
            9 => span().prop_map(|n| i64::try_from(n).unwrap()),
            1 => span().prop_map(|n| -i64::try_from(n).unwrap()),
        ];
        prop_oneof![
            6 => (0..SLOTS, deadline).prop_map(|(slot, at)| WheelStep::Schedule(slot, at)),
            2 => (0..SLOTS).prop_map(WheelStep::Cancel),
            2 => span().prop_map(WheelStep::Advance),
            2 => Just(WheelStep::Sleep),
        ]
    }

    const ALL: Work = Work { due: u32::MAX, moved: u32::MAX };

    /// Pops everything, a turn's `work` at a time; the model says what may and what must come.
    fn pop_all(
        wheel: &mut Wheel,
        model: &mut BTreeMap<u32, u64>,
        (now, tick): (Now, u64),
        work: Work,
    ) {
        // A turn without an end has moved or told as much as it may.
        for turn in 0.. {
            let mut left = work;
            while let Some(slot) = wheel.pop_expired(now, &mut left) {
                let deadline = model.remove(&slot).expect("popped twice, or cancelled before");
                assert!(deadline <= now.nanos, "{slot} is {} ns early", deadline - now.nanos);
            }
            if left.due > 0 && left.moved > 0 {
                break;
            }
            assert!(turn <= SLOTS * LEVELS, "the work never ends");
        }
        let late = model.values().find(|&&deadline| deadline + tick <= now.nanos);
        assert_eq!(late, None, "more than a tick late at {now:?}");
    }

    proptest! {
        #[test]
        fn it_is_a_map_of_deadlines(
            start in 0..1000 * DAY,
            tick_ms in prop_oneof![Just(1_u32), Just(8), 1..100_u32],
            steps in prop::collection::vec(step(), 0..200),
            work in prop_oneof![
                Just(ALL),
                (1..4_u32, 1..4_u32).prop_map(|(due, moved)| Work { due, moved }),
            ],
        ) {
            let tick = u64::from(tick_ms) * MILLI;
            let mut now = Now::from_nanos(start);
            let mut wheel = Wheel::new(SLOTS, tick_ms, now);
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    WheelStep::Schedule(slot, at) => {
                        let deadline = now.nanos.saturating_add_signed(at);
                        wheel.schedule(slot, Now::from_nanos(deadline));
                        model.insert(slot, deadline);
                    }
                    WheelStep::Cancel(slot) => {
                        wheel.cancel(slot);
                        model.remove(&slot);
                    }
                    WheelStep::Advance(nanos) => now.nanos += nanos,
                    WheelStep::Sleep => now = wheel.next_deadline().unwrap_or(now).max(now),
                }
                if matches!(step, WheelStep::Advance(_) | WheelStep::Sleep) {
                    pop_all(&mut wheel, &mut model, (now, tick), work);
                }
                prop_assert_eq!(wheel.len() as usize, model.len());
                // The moment at which the earliest one can be popped.
                let earliest = model.values().min().map(|nanos| nanos.div_ceil(tick) * tick);
                let next = wheel.next_deadline().map(|next| next.nanos);
                prop_assert_eq!(next.is_some(), earliest.is_some());
                prop_assert!(next.unwrap_or(0) <= earliest.unwrap_or(0).max(now.nanos));
                for slot in 0..SLOTS {
                    prop_assert_eq!(wheel.is_scheduled(slot), model.contains_key(&slot));
                }
            }
        }
    }

    #[test]
    fn sleeping_until_the_next_deadline_gets_there_in_a_wake_a_level() {
        let mut wheel = Wheel::new(1, 8, Now::from_nanos(12_345_678_901));
        for days in [0, 1, 30, 400] {
            let start = wheel.next_deadline().unwrap_or(Now::from_nanos(12_345_678_901));
            let deadline = Now::from_nanos(start.nanos + days * DAY + 7 * MILLI);
            wheel.schedule(0, deadline);
            let mut wakes = 0;
            let mut now = start;
            while wheel.pop_expired(now, &mut ALL.clone()).is_none() {
                now = wheel.next_deadline().unwrap();
                wakes += 1;
                assert!(wakes <= LEVELS, "{days} days");
            }
            assert!((deadline.nanos..deadline.nanos + 8 * MILLI).contains(&now.nanos));
        }
        assert_eq!(wheel.next_deadline(), None);
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_turn_does_a_bounded_part_and_the_rest_is_due_at_once() {
        const MANY: u32 = 1000;
        let mut wheel = Wheel::new(MANY, 8, Now::from_nanos(0));
        // All in one bucket of the second level, at two deadlines.
        let [early, late] = [65 * 8 * MILLI, 66 * 8 * MILLI].map(Now::from_nanos);
        (0..MANY).for_each(|slot| wheel.schedule(slot, if slot < 600 { early } else { late }));
        let mut told = [0; 2];
        let mut turns = 0;
        while wheel.next_deadline().is_some_and(|next| next <= early) {
            let mut left = Work { due: 100, moved: 250 };
            while let Some(slot) = wheel.pop_expired(early, &mut left) {
                told[usize::from(slot >= 600)] += 1;
            }
            assert!(left.due == 0 || left.moved == 0 || told[0] == 600, "{left:?} left over");
            turns += 1;
            assert!(told[0] <= turns * 100);
        }
        assert_eq!(told, [600, 0]);
        assert!((6..=10).contains(&turns), "4 turns move, 6 tell: {turns}");
    }

    #[test]
    fn what_waits_to_be_moved_can_be_cancelled_and_set_again() {
        let mut wheel = Wheel::new(10, 8, Now::from_nanos(0));
        let late = Now::from_nanos(66 * 8 * MILLI);
        (0..10).for_each(|slot| wheel.schedule(slot, late));
        assert_eq!(wheel.pop_expired(late, &mut Work { due: 10, moved: 3 }), None);
        wheel.cancel(0);
        wheel.cancel(9);
        wheel.schedule(1, Now::from_nanos(DAY));
        wheel.schedule(8, Now::from_nanos(DAY));
        let mut told: Vec<u32> =
            core::iter::from_fn(|| wheel.pop_expired(late, &mut ALL.clone())).collect();
        told.sort_unstable();
        assert_eq!((told, wheel.len()), (vec![2, 3, 4, 5, 6, 7], 2));
    }

    #[test]
    fn the_ends_of_time_are_in_reach() {
        let mut wheel = Wheel::new(2, 1, Now::from_nanos(0));
        wheel.schedule(0, Now::from_nanos(u64::MAX));
        wheel.schedule(1, Now::from_nanos(0));
        assert_eq!(wheel.pop_expired(Now::from_nanos(0), &mut ALL.clone()), Some(1));
        assert_eq!(wheel.pop_expired(Now::from_nanos(u64::MAX - MILLI), &mut ALL.clone()), None);
        assert!(wheel.next_deadline().is_some());
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn slots_never_scheduled_stay_untouched_and_a_clock_that_steps_back_does_no_harm() {
        let mut wheel = Wheel::new(1 << 20, 8, Now::from_nanos(DAY));
        let place = wheel.links.as_ptr();
        wheel.cancel(77);
        wheel.schedule(3, Now::from_nanos(DAY + 100 * MILLI));
        assert_eq!((wheel.links.len(), wheel.links.as_ptr()), (4, place));
        assert_eq!(wheel.pop_expired(Now::from_nanos(DAY - 50 * MILLI), &mut ALL.clone()), None);
        assert_eq!(wheel.pop_expired(Now::from_nanos(DAY + 50 * MILLI), &mut ALL.clone()), None);
        assert_eq!(wheel.pop_expired(Now::from_nanos(DAY), &mut ALL.clone()), None);
        assert_eq!(
            wheel.pop_expired(Now::from_nanos(DAY + 108 * MILLI), &mut ALL.clone()),
            Some(3)
        );
    }
}
