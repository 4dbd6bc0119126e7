//! Tasks against shards that are played by hand: each ends what is due, and its figures show it one
//! box later.

mod kill;

use std::collections::BTreeMap;

use weir_proto::ids::ListenerId;

use super::*;

const TICK: Duration = Duration::from_millis(250);
const B1: SessionsOf = SessionsOf::Backend(BackendId(1));

/// Some shards with their sessions.
#[derive(Default)]
struct HeldSessions {
    held: BTreeMap<SessionsOf, Vec<u64>>,
    /// As the last boxes have said.
    shown: BTreeMap<SessionsOf, Vec<u64>>,
    boxes: u64,
    weights: Vec<(BackendId, u16)>,
    /// This shard takes no orders.
    full: Option<ShardId>,
}

impl Figures for HeldSessions {
    fn held(&self, of: SessionsOf) -> Vec<u64> {
        self.shown.get(&of).cloned().unwrap_or_default()
    }

    fn boxes(&self, _: ShardId) -> (u64, u64) {
        (self.boxes, self.boxes)
    }

    fn takes(&self, shard: ShardId) -> bool {
        self.full != Some(shard)
    }

    fn members(&self, _: PoolId) -> Vec<(BackendId, u16)> {
        self.weights.clone()
    }
}

struct Play {
    shards: HeldSessions,
    tasks: Tasks,
    now: Now,
}

impl Play {
    fn new(held: &[(SessionsOf, &[u64])]) -> Play {
        let held: BTreeMap<SessionsOf, Vec<u64>> =
            held.iter().map(|(of, held)| (*of, held.to_vec())).collect();
        let shards = HeldSessions { shown: held.clone(), held, ..HeldSessions::default() };
        let now = Now::from_nanos(1_000_000_000);
        let mut tasks = Tasks::default();
        assert_eq!(tasks.step(now, &shards), [], "control looks all the time");
        Play { shards, tasks, now }
    }

    fn begin(&mut self, work: Work) -> u64 {
        self.tasks.begin(work, "web/b1".to_owned(), self.now, &self.shards).unwrap()
    }

    fn drain(&mut self, over: u64) -> u64 {
        let over = Duration::from_secs(over);
        self.begin(Work::Drain { kind: TaskKind::BackendDrain, of: vec![B1], over })
    }

    /// A tick: the boxes of the last one come, then what is due is ended. Returns how many were.
    fn tick(&mut self) -> u64 {
        self.now = self.now + TICK;
        let due = self.tasks.step(self.now, &self.shards);
        self.shards.shown = self.shards.held.clone();
        self.shards.boxes += 1;
        let mut sum = 0;
        for due in &due {
            let DueSessions::Some { of, count } = due.sessions else { panic!("{due:?}") };
            let held = self.shards.held.get_mut(&of).unwrap();
            let held = &mut held[usize::from(due.shard.0)];
            assert!(*held >= u64::from(count), "{due:?} of {held}");
            *held -= u64::from(count);
            sum += u64::from(count);
        }
        sum
    }

    fn ticks(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.tick()).collect()
    }

    fn row(&self, id: u64) -> TaskRow {
        self.tasks.get(id).unwrap().row(self.now)
    }
}

#[test]
fn a_drain_ends_its_sessions_evenly_and_by_its_deadline() {
    let mut play = Play::new(&[(B1, &[20, 10])]);
    let id = play.drain(3);
    assert_eq!(play.row(id).total, 30);
    let ended = play.ticks(12);
    assert_eq!(ended.iter().sum::<u64>(), 30, "{ended:?}");
    assert!(ended.iter().all(|count| (2..=3).contains(count)), "{ended:?}");
    play.ticks(3);
    let row = play.row(id);
    assert_eq!((row.done, row.total, row.eta_s, row.state), (30, 30, None, TaskState::Done));
}

#[test]
fn sessions_that_end_by_themselves_make_a_drain_slower() {
    let mut play = Play::new(&[(B1, &[100])]);
    let id = play.drain(10);
    let first = play.ticks(10);
    play.shards.held.insert(B1, vec![10]);
    let later = play.ticks(30);
    assert!(first.iter().all(|count| *count <= 3), "{first:?}");
    assert!(later[2..26].iter().all(|count| *count <= 1), "{later:?}");
    play.ticks(4);
    assert_eq!(play.row(id).state, TaskState::Done);
}

#[test]
fn a_cancelled_task_ends_nothing_more() {
    let mut play = Play::new(&[(B1, &[100])]);
    let id = play.drain(10);
    play.ticks(8);
    let row = play.row(id);
    assert_eq!(row.state, TaskState::Running);
    assert!(row.eta_s.is_some_and(|left| (7.9..8.1).contains(&left)), "{row:?}");
    assert_eq!(play.tasks.cancel(id, play.now).unwrap().state, TaskState::Cancelled);
    assert_eq!(play.ticks(60).iter().sum::<u64>(), 0);
    assert_eq!(play.tasks.cancel(id, play.now).unwrap_err().code, Code::Invalid);
    assert_eq!(play.tasks.cancel(7, play.now).unwrap_err().code, Code::NotFound);
}

#[test]
fn a_shard_that_takes_no_orders_is_left_out_and_caught_up_with_at_the_deadline() {
    let mut play = Play::new(&[(B1, &[10, 10])]);
    play.drain(5);
    play.shards.full = Some(ShardId(1));
    let ended = play.ticks(19);
    assert_eq!(play.shards.held[&B1][1], 10);
    assert!(ended.iter().all(|count| *count <= 2), "{ended:?}");
    play.shards.full = None;
    play.ticks(1);
    assert_eq!(play.shards.held[&B1], [0, 0], "the deadline");
}

#[test]
fn an_order_that_cannot_be_sent_is_due_again() {
    let mut play = Play::new(&[(B1, &[8])]);
    play.drain(1);
    play.now = play.now + TICK;
    let due = play.tasks.step(play.now, &play.shards);
    assert!(!due.is_empty());
    due.iter().for_each(|due| play.tasks.not_sent(due));
    let ended = play.ticks(3);
    assert_eq!(ended.iter().sum::<u64>(), 8, "{ended:?}");
}

#[test]
fn a_rebalance_ends_the_fewest_never_over_its_rate() {
    let of = |id| SessionsOf::Backend(BackendId(id));
    let mut play = Play::new(&[(of(1), &[30, 20]), (of(2), &[25, 25]), (of(3), &[0, 0])]);
    play.shards.weights = vec![(BackendId(1), 1), (BackendId(2), 1), (BackendId(3), 2)];
    let pool = PoolId(1);
    let id = play.begin(Work::Rebalance { pool, spread: 20, per_s: 8 });
    // A fair share of 100 is 25, 25 and 50; 30 are no harm.
    assert_eq!(play.row(id).total, 40);
    let ended = play.ticks(30);
    assert!(ended.iter().all(|count| *count <= 3), "{ended:?}");
    assert!(ended.windows(4).all(|second| second.iter().sum::<u64>() <= 9), "{ended:?}");
    assert_eq!(ended.iter().sum::<u64>(), 40, "no more than it takes");
    let left: Vec<u64> = [1, 2].map(|id| sum(&play.shards.held[&of(id)])).to_vec();
    assert_eq!(left, [30, 30]);
    let row = play.row(id);
    assert_eq!((row.done, row.total, row.state), (40, 40, TaskState::Done));
}

#[test]
fn a_second_task_for_one_subject_takes_the_place_of_the_first() {
    let mut play = Play::new(&[(B1, &[100])]);
    let first = play.drain(100);
    let second = play.drain(10);
    assert_eq!(play.row(first).state, TaskState::Cancelled);
    assert_eq!(play.row(second).state, TaskState::Running);
    assert_eq!(play.tasks.running().count(), 1);
}

#[test]
fn tasks_are_bounded_and_the_ended_are_forgotten() {
    let mut play = Play::new(&[]);
    let begin = |play: &mut Play, number: u32| {
        let of = vec![SessionsOf::Listener(ListenerId(number))];
        let over = Duration::from_secs(1);
        let work = Work::Drain { kind: TaskKind::ListenerDrain, of, over };
        play.tasks.begin(work, format!("l{number}"), play.now, &play.shards)
    };
    for number in 0..64 {
        assert!(begin(&mut play, number).is_ok());
    }
    assert_eq!(begin(&mut play, 64).unwrap_err().code, Code::Failed);
    assert!(begin(&mut play, 3).is_ok(), "in the place of another");
    play.ticks(5);
    assert_eq!(play.tasks.running().count(), 0, "none has a session");
    assert_eq!(play.tasks.iter().count(), 16);
    assert!(begin(&mut play, 64).is_ok());
}
