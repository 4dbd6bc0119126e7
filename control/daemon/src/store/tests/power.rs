//! Losing power at random moments, again and again on one disk: also while the file grows, while it
//! is closed, and while what the last loss has left is opened. Of the sectors that were not synced
//! each one is lost or kept by itself, so a write is torn and a later one may be there without an
//! earlier one.
//!
//! A seed is one disk. `scripts/faults T2` runs 10,000 of them.

use std::collections::BTreeMap;

use super::disk::PowerLoss;
use super::history::{large, small};
use super::*;

/// Losses of power that one disk goes through.
const LOSSES: u64 = 4;
/// Writes and syncs after which the power goes at most: some appends.
const OPERATIONS: u64 = 70;
/// Starts after each other in the middle of which the power goes: fewer than this.
const LOST_STARTS: u32 = 3;

/// xorshift64*: the same for the same seed.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.draw() >> 16) % bound
    }
}

/// Everything that happened to all disks together.
#[derive(Debug, Default)]
struct PowerCounts {
    losses: u64,
    /// Sectors that were not synced, and those of them that were lost.
    sectors: u64,
    lost: u64,
    /// Changes that were acknowledged, and those that were found without that.
    acknowledged: u64,
    added: u64,
    lost_starts: u64,
}

/// A disk, and what somebody was told of it.
struct World {
    dice: Dice,
    retention: Retention,
    bytes: Vec<u8>,
    /// The newest version that was acknowledged.
    acknowledged: u64,
    /// Every version that may be there, as it must be.
    known: BTreeMap<u64, Record>,
    /// The one that was about to be made, if there was one.
    asked: Option<Record>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        // Half of them give up versions while they append.
        let versions = [3, 1000][usize::from(dice.below(2) == 0)];
        let retention = Retention { versions, ..Retention::default() };
        let disk = Disk::default();
        drop(seeded_with(&disk, &small(1)));
        let known = [(1, small(1))].into();
        World { dice, retention, bytes: disk.bytes(), acknowledged: 1, known, asked: None }
    }

    /// A version that is like no other one.
    fn next(&mut self, version: u64) -> Record {
        let mut next = if self.dice.below(16) == 0 { large(version) } else { small(version) };
        next.summary = format!("change {}", self.dice.draw());
        next
    }

    /// A process lives until the power goes. Gives the disk as it is left.
    fn live(&mut self, counts: &mut PowerCounts) -> Vec<u8> {
        let disk = Disk::of(&self.bytes);
        let opened = Store::with_backend(disk.clone(), Some(self.acknowledged), self.retention);
        let (mut store, _) = opened.unwrap();
        let operations = self.dice.below(OPERATIONS);
        disk.fail_after(usize::try_from(operations).unwrap());
        loop {
            if self.dice.below(4) == 0 {
                store.tend(0);
            }
            let next = self.next(self.acknowledged + 1);
            if store.append(&next).is_err() {
                self.asked = Some(next);
                break;
            }
            self.acknowledged = next.version;
            self.known.insert(next.version, next);
            counts.acknowledged += 1;
            if self.dice.below(8) == 0 {
                break;
            }
        }
        // Closing writes, too, as long as there is power.
        drop(store);
        self.lose_power(&disk, counts)
    }

    fn lose_power(&mut self, disk: &Disk, counts: &mut PowerCounts) -> Vec<u8> {
        let PowerLoss { bytes, sectors, lost } = disk.lose_power(|| self.dice.draw());
        counts.losses += 1;
        (counts.sectors, counts.lost) = (counts.sectors + sectors, counts.lost + lost);
        bytes
    }

    /// Starts from what is left, some of them interrupted by the next loss of power.
    fn recover(&mut self, mut bytes: Vec<u8>, counts: &mut PowerCounts) -> Result<(), String> {
        for _ in 0..self.dice.below(u64::from(LOST_STARTS)) {
            let disk = Disk::of(&bytes);
            let operations = self.dice.below(12);
            disk.fail_after(usize::try_from(operations).unwrap());
            drop(Store::with_backend(disk.clone(), Some(self.acknowledged), self.retention));
            counts.lost_starts += 1;
            bytes = self.lose_power(&disk, counts);
        }
        let disk = Disk::of(&bytes);
        let mark = Some(self.acknowledged);
        let opened = Store::with_backend(disk.clone(), mark, self.retention);
        let (store, found) = opened.map_err(|why| format!("a start was refused: {why}"))?;
        let asked = self.asked.take();
        if found.version != self.acknowledged {
            if asked.as_ref() != Some(&found) {
                return Err(format!("{} was made by nobody: {}", found.version, found.summary));
            }
            counts.added += 1;
            self.acknowledged = found.version;
            self.known.insert(found.version, found);
        }
        let reader = store.reader();
        let oldest = reader.oldest()?;
        let kept = self.retention.versions.min(self.acknowledged);
        if oldest > self.acknowledged + 1 - kept {
            return Err(format!("version {} is gone", self.acknowledged + 1 - kept));
        }
        for version in oldest..=self.acknowledged {
            if reader.get(version)?.as_ref() != self.known.get(&version) {
                return Err(format!("version {version} is not what it was"));
            }
        }
        drop(store);
        self.bytes = disk.bytes();
        Ok(())
    }
}

#[test]
fn random_losses_of_power_lose_nothing_that_was_acknowledged() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, count) = (number("WEIR_FAULT_SEED"), number("WEIR_FAULT_COUNT"));
    let (first, count) = (first.unwrap_or(1), count.unwrap_or(200));
    let mut counts = PowerCounts::default();
    for seed in first..first + count {
        let mut world = World::new(seed);
        for loss in 0..LOSSES {
            let left = world.live(&mut counts);
            let recovered = world.recover(left, &mut counts);
            recovered.unwrap_or_else(|why| panic!("T2: seed {seed}, loss {loss}: {why}"));
        }
    }
    crate::streams::err(&format!("T2: {count} seeds from {first} on: {counts:?}"));
    let PowerCounts { losses, lost, sectors, acknowledged, added, lost_starts } = counts;
    let kept = sectors - lost;
    let is_enough = losses >= count * LOSSES && lost > count && kept > count;
    assert!(is_enough && acknowledged > count && lost_starts > count, "void: too little was lost");
    assert!(added > 0 || count < 100, "void: the power never went between a sync and the answer");
}
