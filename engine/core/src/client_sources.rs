//! Sources of clients, and what each of them may still have: its sessions at once, and how often
//! one begins. For the listeners with `per-source`; a source is a network of the length that the
//! listener says.
//!
//! A table of fixed size that is probed in a line, by a hash that clients do not know. A source is
//! in it as long as it has a session, or its rate remembers one. There is room for a source for
//! each session that the shard may have, and as many again that are only remembered; beyond that
//! the one that is met first is forgotten, which is counted.

use alloc::vec::Vec;
use core::hash::Hasher;
use core::net::IpAddr;

use siphasher::sip::SipHasher13;
use weir_proto::ids::ListenerId;
use weir_proto::snapshot::PerSource;
use weir_proto::spec::Rate;

use crate::base::clock::Now;

/// A source under a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceKey(u64);

impl SourceKey {
    /// Its hash; the same for every shard that has the seed.
    #[must_use]
    pub fn hash(self) -> u64 {
        self.0
    }

    /// The source with this hash.
    #[must_use]
    pub fn of_hash(hash: u64) -> SourceKey {
        SourceKey(hash.max(1))
    }
}

/// Why a source gets no session now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceLimit {
    /// It has as many sessions as it may have.
    Sessions,
    /// As many have begun as its rate allows.
    Rate,
}

/// The sources of one shard.
#[derive(Debug, Default)]
pub struct ClientSources {
    /// A power of two, or none before the first source.
    places: Vec<CountedSource>,
    taken: u32,
    /// The most that are in it.
    most: u32,
    seed: (u64, u64),
    /// The place at which the next search for one that is done begins.
    hand: usize,
    forgotten: u64,
    /// Those of them that [`ClientSources::take_forgotten`] has told of.
    told: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct CountedSource {
    /// 0: the place is free.
    key: u64,
    sessions: u32,
    /// When its rate has nothing to remember any more.
    clear_at: Now,
}

/// Places that are looked at for one that is done, for each source that comes.
const LOOKED_AT: usize = 4;

impl ClientSources {
    /// For a shard with this many sessions at most. Takes no memory before the first source.
    #[must_use]
    pub fn new(sessions_max: u32, seed: (u64, u64)) -> ClientSources {
        ClientSources {
            most: sessions_max.saturating_mul(2).max(2),
            seed,
            ..ClientSources::default()
        }
    }

    /// The source of a client under a listener's lengths of prefixes.
    #[must_use]
    pub fn key(&self, listener: ListenerId, limits: &PerSource, client: IpAddr) -> SourceKey {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        hasher.write_u32(listener.0);
        match client.to_canonical() {
            IpAddr::V4(address) => hasher.write_u32(address.to_bits() & limits.mask_v4()),
            IpAddr::V6(address) => hasher.write_u128(address.to_bits() & limits.mask_v6()),
        }
        SourceKey(hasher.finish().max(1))
    }

    /// A session of this source is about to begin; it counts if it may.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn begin(
        &mut self,
        key: SourceKey,
        limits: &PerSource,
        now: Now,
    ) -> Result<(), SourceLimit> {
        let place = self.place_of(key, now);
        let source = &mut self.places[place];
        let begun = limits.rate.map(|rate| begin_at(source.clear_at, rate, now));
        let refused = if limits.sessions.is_some_and(|most| source.sessions >= most) {
            Some(SourceLimit::Sessions)
        } else if begun == Some(None) {
            Some(SourceLimit::Rate)
        } else {
            None
        };
        match refused {
            Some(limit) => {
                self.leave_if_done(place, now);
                Err(limit)
            }
            None => {
                source.sessions += 1;
                source.clear_at = begun.flatten().unwrap_or(source.clear_at);
                Ok(())
            }
        }
    }

    /// A session of this source has come from another shard: it counts, whatever the limits are.
    pub fn resume(&mut self, key: SourceKey, now: Now) {
        let place = self.place_of(key, now);
        self.places[place].sessions += 1;
    }

    /// A session of this source is over.
    pub fn end(&mut self, key: SourceKey, now: Now) {
        let Some(place) = self.find(key) else { return };
        self.places[place].sessions = self.places[place].sessions.saturating_sub(1);
        self.leave_if_done(place, now);
    }

    /// Sessions of a source.
    #[must_use]
    pub fn sessions(&self, key: SourceKey) -> u32 {
        self.find(key).map_or(0, |place| self.places[place].sessions)
    }

    /// Sessions of all sources, for checkers.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.places.iter().map(|source| source.sessions).sum()
    }

    /// Sources that are known.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.taken
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Sources whose rate was forgotten for want of room, since the last call.
    pub fn take_forgotten(&mut self) -> u64 {
        let told = core::mem::replace(&mut self.told, self.forgotten);
        self.forgotten - told
    }

    /// All of them so far, for checkers.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn home(&self, key: u64) -> usize {
        // The hash is as good in its low bits as in any.
        usize::try_from(key & (self.places.len() as u64 - 1)).unwrap_or(0)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    fn find(&self, SourceKey(key): SourceKey) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let mut place = self.home(key);
        loop {
            match self.places[place].key {
                0 => return None,
                other if other == key => return Some(place),
                _ => place = self.after(place),
            }
        }
    }

    /// The place of a source, which it takes if it has none.
    fn place_of(&mut self, key: SourceKey, now: Now) -> usize {
        if self.places.is_empty() {
            // Half of it stays free, so lines are short.
            let size = (self.most as usize * 2).next_power_of_two();
            self.places.resize(size, CountedSource::default());
        }
        if let Some(place) = self.find(key) {
            return place;
        }
        self.tidy(now);
        let SourceKey(key) = key;
        let mut place = self.home(key);
        while self.places[place].key != 0 {
            place = self.after(place);
        }
        self.places[place] = CountedSource { key, sessions: 0, clear_at: now };
        self.taken += 1;
        place
    }

    /// Lets some go that are done; if there is no room for another, one that is only remembered.
    fn tidy(&mut self, now: Now) {
        for _ in 0..LOOKED_AT {
            self.hand = self.after(self.hand);
            self.leave_if_done(self.hand, now);
        }
        while self.taken >= self.most {
            self.hand = self.after(self.hand);
            let source = self.places[self.hand];
            if source.key != 0 && source.sessions == 0 {
                self.leave(self.hand);
                self.forgotten += 1;
            }
        }
    }

    fn leave_if_done(&mut self, place: usize, now: Now) {
        let source = self.places[place];
        if source.key != 0 && source.sessions == 0 && source.clear_at <= now {
            self.leave(place);
        }
    }

    /// Empties a place, and moves up those behind it that would not be found any more.
    fn leave(&mut self, place: usize) {
        self.taken -= 1;
        let mask = self.places.len() - 1;
        let mut hole = place;
        let mut next = self.after(place);
        while self.places[next].key != 0 {
            let from_home = next.wrapping_sub(self.home(self.places[next].key)) & mask;
            let from_hole = next.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.places[hole] = self.places[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.places[hole] = CountedSource::default();
    }
}

/// A session begins under a rate that remembers until `clear_at`: until when it does then. `None`
/// if the rate does not allow it. A second's sessions may begin at once.
fn begin_at(clear_at: Now, rate: Rate, now: Now) -> Option<Now> {
    let each = 1_000_000_000_u64.div_ceil(rate.events().into());
    let before = clear_at.nanos.max(now.nanos);
    let remembered = before - now.nanos;
    let most = each * u64::from(rate.events() - 1);
    (remembered <= most).then(|| Now::from_nanos(before + each))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::base::prng::Prng;

    fn at(ms: u64) -> Now {
        Now::from_nanos(5_000_000_000 + ms * 1_000_000)
    }

    fn limits(sessions: Option<u32>, rate: Option<u32>) -> PerSource {
        PerSource { sessions, rate: rate.map(Rate::per_second), ipv4: 24, ipv6: 64 }
    }

    fn key_at(listener: u32, text: &str) -> SourceKey {
        let (sources, limits) = (ClientSources::new(1, (1, 2)), limits(Some(1), None));
        sources.key(ListenerId(listener), &limits, text.parse().unwrap())
    }

    fn key(text: &str) -> SourceKey {
        key_at(1, text)
    }

    #[test]
    fn a_source_is_a_network_of_the_listeners_length() {
        for (one, other, same) in [
            ("10.0.0.1", "10.0.0.254", true),
            ("10.0.0.1", "10.0.1.1", false),
            ("10.0.0.1", "::ffff:10.0.0.9", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(key(one) == key(other), same, "{one} {other}");
        }
        assert_ne!(key("10.0.0.1"), key_at(2, "10.0.0.1"), "another listener");
    }

    #[test]
    fn sessions_of_a_source_are_never_more_than_its_limit() {
        let (mut sources, two) = (ClientSources::new(8, (1, 2)), limits(Some(2), None));
        let [one, other] = [key("10.0.0.1"), key("10.0.1.1")];
        assert_eq!(sources.begin(one, &two, at(0)), Ok(()));
        assert_eq!(sources.begin(one, &two, at(0)), Ok(()));
        assert_eq!(sources.begin(one, &two, at(0)), Err(SourceLimit::Sessions));
        assert_eq!(sources.begin(other, &two, at(0)), Ok(()), "another source");
        sources.end(one, at(1));
        assert_eq!(sources.begin(one, &two, at(1)), Ok(()));
        assert_eq!((sources.sessions(one), sources.len()), (2, 2));
        for _ in 0..2 {
            sources.end(one, at(2));
        }
        sources.end(other, at(2));
        assert!(sources.is_empty(), "none is remembered without a rate");
    }

    #[test]
    fn a_second_of_a_rate_may_begin_at_once_and_then_as_time_goes_on() {
        let (mut sources, ten) = (ClientSources::new(8, (1, 2)), limits(None, Some(10)));
        let one = key("10.0.0.1");
        let mut begin = |ms: u64| {
            let begins = sources.begin(one, &ten, at(ms));
            if begins.is_ok() {
                sources.end(one, at(ms));
            }
            begins.is_ok()
        };
        assert_eq!((0..12).filter(|_| begin(0)).count(), 10);
        assert!(!begin(99) && begin(100) && !begin(101) && begin(200));
        assert_eq!((0..12).filter(|_| begin(700)).count(), 5);
        assert_eq!((0..12).filter(|_| begin(5000)).count(), 10, "no more than a second's");
        assert_eq!(begin_at(at(0), Rate::per_second(1), at(999)), Some(at(1999)));
        assert_eq!(begin_at(at(1000), Rate::per_second(1), at(999)), None);
    }

    #[test]
    fn a_full_table_forgets_rates_and_never_sessions() {
        let (mut sources, one) = (ClientSources::new(4, (1, 2)), limits(Some(1), Some(1)));
        let keys: Vec<SourceKey> = (0..100).map(|it| key(&std::format!("10.0.{it}.1"))).collect();
        for key in &keys[..4] {
            sources.begin(*key, &one, at(0)).unwrap();
        }
        for key in &keys[4..] {
            sources.begin(*key, &one, at(0)).unwrap();
            sources.end(*key, at(0));
        }
        assert_eq!((sources.len(), sources.take_forgotten()), (8, 92));
        for key in &keys[..4] {
            assert_eq!(sources.begin(*key, &one, at(2000)), Err(SourceLimit::Sessions));
        }
    }

    #[test]
    fn the_table_is_what_a_map_would_be() {
        let (mut sources, mut model) = (ClientSources::new(64, (1, 2)), BTreeMap::new());
        let (mut prng, three) = (Prng::new(7), limits(Some(3), None));
        for _ in 0..20_000 {
            let number = prng.below(96);
            let key = key(&std::format!("10.1.{number}.1"));
            let count = model.entry(number).or_insert(0_u32);
            let total = sources.places.iter().map(|it| it.sessions).sum::<u32>();
            if prng.below(2) == 0 && total < 64 {
                let begins = sources.begin(key, &three, at(0)).is_ok();
                assert_eq!(begins, *count < 3);
                *count += u32::from(begins);
            } else if *count > 0 {
                sources.end(key, at(0));
                *count -= 1;
            }
            assert_eq!(sources.sessions(key), *count);
        }
    }
}
