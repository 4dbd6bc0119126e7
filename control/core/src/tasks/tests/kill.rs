//! Kills at a rate: who goes first, what a shard says of them, and what becomes of a shard.

use weir_proto::session::{ListedSession, SessionKey, SessionState};

use super::*;

/// A session of a shard, idle for so long.
fn row(shard: u16, slot: u32, idle_ms: u64) -> (ShardId, ListedSession) {
    let listed = ListedSession {
        key: SessionKey { slot, generation: 0 },
        listener: ListenerId(1),
        pool: PoolId(1),
        backend: None,
        client: None,
        route: None,
        server_name: None,
        age_ms: 1_000_000,
        idle_ms,
        received_bytes: 0,
        sent_bytes: 0,
        rate_bytes_per_s: 0,
        state: SessionState::Relaying,
        blocked_on: None,
        blocked_ms: [0; 2],
        version: weir_proto::ids::Version(1),
        legs: None,
    };
    (ShardId(shard), listed)
}

fn idle(ms: u64) -> SessionMatch {
    SessionMatch { idle_ms: ms, ..SessionMatch::default() }
}

impl Play {
    fn kill(&mut self, of: SessionMatch, found: &[(ShardId, ListedSession)], per_s: u32) -> u64 {
        self.begin(Work::Kill { list: KillList::new(of, found), per_s })
    }

    /// A tick: the slots that are named, by shard.
    fn named(&mut self) -> Vec<(u16, Vec<u32>)> {
        self.now = self.now + TICK;
        let due = self.tasks.step(self.now, &self.shards);
        let slots = |due: DueOrder| match due.sessions {
            DueSessions::Named(SessionMatch { only: Some(keys), .. }) => {
                (due.shard.0, keys.iter().map(|key| key.slot).collect())
            }
            other => panic!("{other:?}"),
        };
        due.into_iter().map(slots).collect()
    }
}

#[test]
fn the_longest_idle_go_first_at_the_rate_and_the_shards_say_how_many() {
    let mut play = Play::new(&[]);
    let found = [row(0, 1, 100), row(1, 2, 900), row(0, 3, 500), row(1, 4, 400), row(0, 5, 50)];
    let id = play.kill(idle(10), &found, 8);
    assert_eq!((play.row(id).total, play.row(id).done), (5, 0));
    assert_eq!(play.named(), [(0, vec![3]), (1, vec![2])]);
    play.tasks.killed(id, ShardId(0), 1);
    // Of shard 1 there is no answer yet: nothing is counted, and the next ones go.
    assert_eq!(play.named(), [(0, vec![1]), (1, vec![4])]);
    assert_eq!((play.row(id).done, play.row(id).total), (1, 5));
    play.tasks.killed(id, ShardId(0), 1);
    // One has moved a byte meanwhile and does not fit any more.
    play.tasks.killed(id, ShardId(1), 1);
    play.tasks.killed(id, ShardId(1), 0);
    assert_eq!(play.named(), [(0, vec![5])]);
    let row = play.row(id);
    assert_eq!((row.done, row.total, row.state), (3, 4, TaskState::Running));
    assert_eq!(play.named(), []);
    assert_eq!(play.row(id).state, TaskState::Running, "the last one has not been ended yet");
    play.tasks.killed(id, ShardId(0), 1);
    assert_eq!(play.named(), []);
    let row = play.row(id);
    assert_eq!((row.done, row.total, row.state), (4, 4, TaskState::Done));
}

#[test]
fn the_filter_is_asked_about_again_and_no_order_is_larger_than_a_shard_bears() {
    let mut play = Play::new(&[]);
    let found: Vec<_> = (0..3_000).map(|slot| row(0, slot, 7)).collect();
    play.kill(idle(7), &found, 100_000);
    play.now = play.now + TICK;
    let due = play.tasks.step(play.now, &play.shards);
    let [DueOrder { sessions: DueSessions::Named(of), .. }] = &due[..] else { panic!("{due:?}") };
    assert_eq!(of.idle_ms, 7);
    assert_eq!(of.only.as_ref().map(Vec::len), Some(SHED_MAX as usize));
}

#[test]
fn an_order_that_cannot_be_sent_names_the_same_sessions_again() {
    let mut play = Play::new(&[]);
    let id = play.kill(idle(1), &[row(0, 1, 9), row(0, 2, 8)], 4);
    play.now = play.now + TICK;
    let due = play.tasks.step(play.now, &play.shards);
    assert_eq!(due.len(), 1);
    play.tasks.not_sent(&due[0]);
    assert_eq!(play.row(id).total, 2);
    let again = play.named();
    assert!(matches!(&again[..], [(0, slots)] if slots[0] == 1), "{again:?}");
}

#[test]
fn the_sessions_of_a_shard_that_takes_no_orders_wait_and_of_one_that_ended_are_over() {
    let mut play = Play::new(&[]);
    let id = play.kill(idle(1), &[row(0, 1, 9), row(1, 2, 8), row(1, 3, 7)], 4);
    play.shards.full = Some(ShardId(1));
    assert_eq!(play.named(), [(0, vec![1])]);
    play.tasks.killed(id, ShardId(0), 1);
    assert_eq!(play.named(), []);
    assert_eq!(play.row(id).state, TaskState::Running);
    play.shards.full = None;
    assert!(matches!(&play.named()[..], [(1, slots)] if slots.contains(&2)));
    play.tasks.shard_ended(ShardId(1));
    assert_eq!(play.named(), []);
    let row = play.row(id);
    assert_eq!((row.done, row.total, row.state), (1, 1, TaskState::Done));
}

#[test]
fn the_same_filter_again_takes_the_place_of_the_first_but_other_names_do_not() {
    let mut play = Play::new(&[]);
    let first = play.kill(idle(1), &[row(0, 1, 9)], 1);
    let second = play.kill(idle(1), &[row(0, 1, 9)], 1);
    let named = play.kill(SessionMatch::default(), &[row(0, 1, 9)], 1);
    let others = play.kill(SessionMatch::default(), &[row(0, 2, 9)], 1);
    let states = [first, second, named, others].map(|id| play.row(id).state);
    let running = TaskState::Running;
    assert_eq!(states, [TaskState::Cancelled, running, running, running]);
    let drain = play.drain(10);
    assert_eq!((play.row(named).state, play.row(drain).state), (running, running));
    assert_eq!(play.tasks.running_by_kind(), [1, 0, 0, 3, 0]);
}
