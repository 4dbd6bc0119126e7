//! The world of a seed: one shard and an operator, or a whole process, and which faults it has.

use weir_engine_sim::faults::{Headers, Rooms, Swarm};
use weir_engine_sim::rng::Rng;

/// The world of a seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub swarm: Swarm,
    /// Several shards with control, store and disk; otherwise one shard and an operator.
    pub whole: Option<ProcessFaults>,
}

/// One seed in N is a whole process.
const WHOLE_EVERY: u64 = 4;

impl Scenario {
    /// The scenario of a seed, with a whole process in one of four.
    #[must_use]
    pub fn of_seed(seed: u64) -> Scenario {
        if seed % WHOLE_EVERY != WHOLE_EVERY - 1 {
            return Scenario { swarm: Swarm::draw(&mut Rng::new(seed)), whole: None };
        }
        let (swarm, faults) = whole_of_seed(seed);
        Scenario { swarm, whole: Some(faults) }
    }

    /// The faults that can be switched off by themselves, by name.
    pub fn rates() -> impl Iterator<Item = &'static str> {
        Swarm::RATES.iter().chain(ProcessFaults::RATES).copied()
    }

    /// A fault's strength. `None`: this scenario does not have such a one.
    pub fn rate(&mut self, name: &str) -> Option<&mut u32> {
        let whole = self.whole.as_mut();
        self.swarm.rate(name).or_else(|| whole?.rate(name))
    }
}

/// The swarm and the faults of a whole process, whatever the seed.
#[must_use]
pub fn whole_of_seed(seed: u64) -> (Swarm, ProcessFaults) {
    let mut rng = Rng::new(seed);
    let swarm = Swarm::draw(&mut rng);
    into_whole(swarm, &mut rng)
}

fn into_whole(swarm: Swarm, rng: &mut Rng) -> (Swarm, ProcessFaults) {
    let faults = ProcessFaults::draw(rng);
    let swarm = Swarm {
        clean: false,
        steps: rng.between(1000, 5000),
        connect_ms: swarm.connect_ms.min(3000),
        vanishes: 0, // its time is not long enough
        headers: Headers::default(),
        rooms: Rooms { queue_ms: swarm.rooms.queue_ms.min(3000), ..swarm.rooms },
        changes: rng.pick(&[200, 1000, 1000]),
        ..swarm
    };
    (swarm, faults)
}

/// What one seed does to a whole process.
#[derive(Clone, Debug)]
pub struct ProcessFaults {
    pub shards: u16,
    /// People at the command line, each with one request at a time.
    pub people: usize,
    /// Room in the mailbox of a shard, and for its reports.
    pub orders_max: usize,
    pub reports_max: usize,
    /// tcp_migrate_req is on.
    pub migrates: bool,
    /// An address cannot be bound.
    pub bind_errors: u32,
    /// A shard panics in the middle of a turn.
    pub panics: u32,
    /// kill -9, and a power cut: what was not synced may be gone, in part.
    pub kills: u32,
    pub power_cuts: u32,
    /// A sync fails; the disk is full for a while.
    pub sync_errors: u32,
    pub full_disks: u32,
    /// The disk takes its time with a write, and with saying so.
    pub slow_disks: u32,
    /// The process exits cleanly and is started again; a bit of its closed file goes bad.
    pub rests: u32,
    pub rots: u32,
    /// The control thread stands still until somebody kills the process.
    pub control_deaths: u32,
}

impl ProcessFaults {
    fn draw(rng: &mut Rng) -> ProcessFaults {
        let rate = |rng: &mut Rng| {
            let strength = rng.pick(&[4, 16, 64, 250]);
            if rng.flip() { strength } else { 0 }
        };
        ProcessFaults {
            shards: u16::try_from(rng.between(1, 4)).unwrap_or(1),
            people: rng.between(1, 3),
            orders_max: rng.pick(&[1, 2, 4, 64]),
            reports_max: rng.pick(&[1, 2, 4, 64]),
            migrates: rng.flip(),
            bind_errors: rate(rng),
            panics: rate(rng),
            kills: rate(rng),
            power_cuts: rate(rng),
            sync_errors: rate(rng),
            full_disks: rate(rng),
            slow_disks: rng.pick(&[0, 300, 900, 980]),
            rests: rate(rng),
            rots: rng.pick(&[0, 500]),
            control_deaths: rate(rng),
        }
        .with_room_for_a_caretaker(rng)
    }

    /// Where control dies the mailboxes are often roomy and addresses free: the fallback says a
    /// thing once, and only then must all of it arrive.
    fn with_room_for_a_caretaker(self, rng: &mut Rng) -> ProcessFaults {
        if self.control_deaths > 0 && rng.below(4) > 0 {
            return ProcessFaults { orders_max: 64, bind_errors: 0, ..self };
        }
        self
    }

    /// The same process with nothing going wrong any more.
    #[must_use]
    pub fn calm(&self) -> ProcessFaults {
        ProcessFaults {
            bind_errors: 0,
            panics: 0,
            kills: 0,
            power_cuts: 0,
            sync_errors: 0,
            full_disks: 0,
            slow_disks: 0,
            rests: 0,
            rots: 0,
            control_deaths: 0,
            ..self.clone()
        }
    }

    /// The faults that can be switched off by themselves, by name. `kills` of a process is
    /// `process_kills`: an operator also kills sessions.
    pub const RATES: &[&str] = &[
        "bind_errors",
        "panics",
        "process_kills",
        "power_cuts",
        "sync_errors",
        "full_disks",
        "slow_disks",
        "rests",
        "rots",
        "control_deaths",
    ];

    /// A fault's strength. `None`: a process does not have such a one.
    pub fn rate(&mut self, name: &str) -> Option<&mut u32> {
        Some(match name {
            "bind_errors" => &mut self.bind_errors,
            "panics" => &mut self.panics,
            "process_kills" => &mut self.kills,
            "power_cuts" => &mut self.power_cuts,
            "sync_errors" => &mut self.sync_errors,
            "full_disks" => &mut self.full_disks,
            "slow_disks" => &mut self.slow_disks,
            "rests" => &mut self.rests,
            "rots" => &mut self.rots,
            "control_deaths" => &mut self.control_deaths,
            _ => return None,
        })
    }
}
