//! The candidates of a pool by priority group: a picker for each group, so that neither turns nor
//! Maglev's table of one depend on another. Seen from outside, candidates have their places in the
//! pool.
//!
//! Which group a session goes to is decided by shares that change with health only. A pool with
//! one group is that group's picker and nothing else.

use alloc::vec::Vec;

use weir_proto::spec::Strategy;

use super::{Candidate, MANY, Picker, Tried};
use crate::base::prng::{Prng, mix};
use crate::priority::WHOLE;
use crate::slot::MemberIndex;

#[derive(Debug)]
pub struct Groups {
    /// In rising order of priority; one at least.
    groups: Vec<Group>,
    /// By place in the pool; empty if there is one group.
    places: Vec<GroupPlace>,
}

#[derive(Debug)]
struct Group {
    priority: u8,
    picker: Picker,
    /// The places in the pool of its candidates; empty if it is the only group.
    members: Vec<MemberIndex>,
    /// Of [`WHOLE`].
    share: u32,
}

/// Where a candidate of the pool is.
#[derive(Clone, Copy, Debug)]
struct GroupPlace {
    group: usize,
    index: MemberIndex,
}

impl Groups {
    /// The candidates of a pool, each with its priority.
    #[must_use]
    pub fn new(strategy: Strategy, candidates: &[(u8, Candidate)], prng: &mut Prng) -> Groups {
        let mut groups = Groups { groups: Vec::new(), places: Vec::new() };
        groups.build(strategy, candidates, prng);
        groups
    }

    /// Takes another set of candidates. A group that was there keeps what still holds, see
    /// [`Picker::rebuild`].
    pub fn rebuild(&mut self, candidates: &[(u8, Candidate)], prng: &mut Prng) {
        self.build(self.strategy(), candidates, prng);
    }

    /// Has no candidates any more.
    pub fn clear(&mut self) {
        self.places.clear();
        self.groups.truncate(1);
        for group in &mut self.groups {
            group.members.clear();
            group.picker.rebuild(Vec::new());
        }
    }

    fn build(&mut self, strategy: Strategy, candidates: &[(u8, Candidate)], prng: &mut Prng) {
        let mut priorities: Vec<u8> = candidates.iter().map(|(priority, _)| *priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        if priorities.is_empty() {
            priorities.push(0);
        }
        let is_single = priorities.len() == 1;
        let mut before = core::mem::take(&mut self.groups);
        self.places.clear();
        if !is_single {
            let mut filled = alloc::vec![0; priorities.len()];
            self.places.extend(candidates.iter().map(|(priority, _)| {
                let group = priorities.partition_point(|it| it < priority);
                filled[group] += 1;
                GroupPlace { group, index: MemberIndex::at(filled[group] - 1) }
            }));
        }
        for priority in priorities {
            let own = (0..).zip(candidates).filter(|(_, (it, _))| *it == priority || is_single);
            let members = own.clone().map(|(index, _)| MemberIndex::at(index));
            let members = if is_single { Vec::new() } else { members.collect() };
            let own: Vec<Candidate> = own.map(|(_, (_, candidate))| *candidate).collect();
            let old = before.iter().position(|group| group.priority == priority);
            let picker = match old.map(|index| before.swap_remove(index).picker) {
                Some(mut picker) if picker.strategy() == strategy => {
                    picker.rebuild(own);
                    picker
                }
                _ => {
                    let mut picker = Picker::new(strategy, own);
                    picker.stagger(prng); // or every shard would begin with the first backend
                    picker
                }
            };
            self.groups.push(Group { priority, picker, members, share: 0 });
        }
    }

    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.groups[0].picker.strategy()
    }

    /// How many groups there are; 1 at least.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The group of a candidate, by its index among the groups.
    #[must_use]
    pub fn group_of(&self, index: usize) -> usize {
        self.places.get(index).map_or(0, |place| place.group)
    }

    /// The priority and the share of each group, in parts of [`WHOLE`].
    pub fn shares(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        self.groups.iter().map(|group| (group.priority, group.share))
    }

    /// True if sessions that no backend has refused may get this candidate.
    #[must_use]
    pub fn has_share(&self, index: usize) -> bool {
        self.groups.len() == 1 || self.groups[self.group_of(index)].share > 0
    }

    /// Gives each group its share, in parts of [`WHOLE`].
    pub fn set_shares(&mut self, shares: &[u32]) {
        self.groups.iter_mut().zip(shares).for_each(|(group, share)| group.share = *share);
    }

    /// The candidate in this place of the pool.
    #[must_use]
    pub fn candidate(&self, index: usize) -> &Candidate {
        let (group, index) = self.place(index);
        &self.groups[group].picker.candidates()[index]
    }

    /// See [`Picker::change`].
    pub fn change(&mut self, index: usize, change: impl FnOnce(&mut Candidate)) {
        let (group, index) = self.place(index);
        self.groups[group].picker.change(index, change);
    }

    /// See [`Picker::change_each`].
    pub fn change_each(
        &mut self,
        indices: impl ExactSizeIterator<Item = usize>,
        mut change: impl FnMut(usize, &mut Candidate),
    ) {
        if let [group] = &mut self.groups[..] {
            return group.picker.change_each(indices, change);
        }
        if indices.len() * MANY < self.places.len() {
            indices.for_each(|index| self.change(index, |candidate| change(index, candidate)));
            return;
        }
        for index in indices {
            let GroupPlace { group, index: own } = self.places[index];
            self.groups[group].picker.set(own.index(), |candidate| change(index, candidate));
        }
        self.groups.iter_mut().for_each(|group| group.picker.refresh_all());
    }

    /// See [`Picker::is_fresh`].
    #[must_use]
    pub fn is_fresh(&self, index: usize) -> bool {
        let (group, index) = self.place(index);
        self.groups[group].picker.is_fresh(index)
    }

    /// The places of maglev's table in which a client with this key is looked for, group after
    /// group, each with the candidate there.
    #[must_use]
    pub fn hash_slots(&self, key: u64) -> Vec<(u32, usize)> {
        let of_group = |group: &Group| {
            let slots = group.picker.hash_slots(key).into_iter();
            slots.map(|(slot, own)| (slot, group.in_pool(own))).collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(of_group).collect()
    }

    /// True if some candidate of any group is eligible.
    #[must_use]
    pub fn has_eligible(&self, tried: Tried) -> bool {
        self.groups.iter().any(|group| {
            let mut all = group.picker.candidates().iter().enumerate();
            all.any(|(own, candidate)| candidate.is_eligible(group.in_pool(own), tried))
        })
    }

    /// The place in the pool of an eligible candidate of a group that has a share; `None` if there
    /// is none.
    pub fn pick(&mut self, key: u64, prng: &mut Prng, tried: Tried) -> Option<usize> {
        if let [group] = &mut self.groups[..] {
            return group.picker.pick(key, prng, tried);
        }
        let drawn = self.draw(key, prng)?;
        let picked = self.pick_in(drawn, key, prng, tried);
        picked.or_else(|| self.pick_among(key, prng, tried, |group| group.share > 0))
    }

    /// The same of a group without a share, the first that has one: for a session that has tried
    /// all others.
    pub fn pick_beyond(&mut self, key: u64, prng: &mut Prng, tried: Tried) -> Option<usize> {
        if self.groups.len() == 1 || tried.is_empty() {
            return None;
        }
        self.pick_among(key, prng, tried, |group| group.share == 0)
    }

    /// The group that a session goes to: under maglev always the same for a client while the shares
    /// are the same.
    fn draw(&self, key: u64, prng: &mut Prng) -> Option<usize> {
        let first = self.groups.iter().position(|group| group.share > 0)?;
        if self.groups[first].share == WHOLE {
            return Some(first);
        }
        let mut lot = match self.strategy() {
            Strategy::Maglev => scale(mix(key ^ OTHER_THAN_PLACES)),
            _ => prng.below(WHOLE),
        };
        let drawn = self.groups.iter().position(|group| {
            let is_drawn = lot < group.share;
            lot = lot.saturating_sub(group.share);
            is_drawn
        });
        drawn.or(Some(first))
    }

    fn pick_among(
        &mut self,
        key: u64,
        prng: &mut Prng,
        tried: Tried,
        may: impl Fn(&Group) -> bool,
    ) -> Option<usize> {
        (0..self.groups.len()).find_map(|group| {
            may(&self.groups[group]).then(|| self.pick_in(group, key, prng, tried))?
        })
    }

    fn pick_in(&mut self, group: usize, key: u64, prng: &mut Prng, tried: Tried) -> Option<usize> {
        let mut own = Tried::NONE;
        for index in &tried.indices[..tried.len()] {
            let place = self.places.get(index.index());
            place.filter(|place| place.group == group).into_iter().for_each(|it| own.add(it.index));
        }
        let group = &mut self.groups[group];
        let picked = group.picker.pick(key, prng, own)?;
        Some(group.in_pool(picked))
    }

    /// The group of a candidate and its place there.
    fn place(&self, index: usize) -> (usize, usize) {
        match self.groups.len() {
            1 => (0, index),
            _ => (self.places[index].group, self.places[index].index.index()),
        }
    }
}

impl Group {
    /// The place in the pool of a candidate of this group.
    fn in_pool(&self, own: usize) -> usize {
        self.members.get(own).map_or(own, |index| index.index())
    }
}

/// Keeps the lot for a group apart from the places in its table.
const OTHER_THAN_PLACES: u64 = 0x7072_696f_7269_7479;

/// A number below [`WHOLE`] from 64 uniform bits.
fn scale(word: u64) -> u32 {
    let product = (u128::from(word) * u128::from(WHOLE)) >> 64;
    u32::try_from(product).unwrap_or(0)
}

#[cfg(test)]
#[path = "groups/tests.rs"]
mod tests;
