//! A file in which every backend is another: control looks at them in slices, and is there for
//! others in between.

use weir_proto::ids::BackendId;
use weir_proto::order::BackendHealth;
use weir_proto::reason::ConnectFault;
use weir_proto::request::ApplyMode;

use super::*;

/// A file with these pools of two backends each, at this port. A pool that is removed is a loss,
/// and so is a backend.
fn file(pools: &[&str], port: u16) -> ChangeRequest {
    let listener = format!("[listener.web]\nbind = [\"192.0.2.9:80\"]\npool = \"{}\"\n", pools[0]);
    let pools = pools.iter().map(|pool| {
        format!(
            "[pool.{pool}]\n[pool.{pool}.backend]\n\
             b1 = {{ address = \"192.0.2.1:{port}\" }}\nb2 = {{ address = \"192.0.2.2:{port}\" }}\n"
        )
    });
    let toml = listener + &pools.collect::<String>();
    let (origin, mode, force) = ("test.toml".to_owned(), ApplyMode::Replace, true);
    ChangeRequest::Apply { toml, origin, mode, force }
}

fn id(control: &Shell, pool: &str, backend: &str) -> BackendId {
    control.snapshot.pool(pool).unwrap().backend(backend).unwrap().id
}

fn is_due(control: &Shell) -> bool {
    control.next_wake() == Some(Now { nanos: 0 })
}

/// Three pools at port 1, then the append of a file that exchanges all of their backends, with
/// another pool in the place of the third.
fn exchanging() -> (Shell, FakeShards, u64) {
    let (mut control, shards) = started();
    control.make(&file(&["a", "b", "c"], 1), 10).unwrap();
    control.pump(11);
    control.give(Input::Wake, 12);
    assert_eq!(control.answered().len(), 1);
    shards.take_sent();
    control.control.slice = 1;
    let change = control.ask(&file(&["a", "b", "d"], 2), 20);
    control.append(21);
    (control, shards, change)
}

#[test]
fn the_version_before_is_whole_until_every_backend_of_the_next_is_known() {
    let (mut control, shards, change) = exchanging();
    let (gone, old) = (id(&control, "c", "b1"), id(&control, "a", "b1"));
    // The first pool is prepared. Nothing is done without a wake.
    for ms in [22, 23] {
        control.give(Input::Tick, ms);
        assert!(is_due(&control), "there are two pools more");
    }
    assert_eq!((control.snapshot.version, shards.take_sent().len()), (Version(2), 0));
    // Shards use what they have: what they say of it counts, and goes to all of them.
    let eject =
        |backend| Report::Ejected { shard: ShardId(0), backend, fault: ConnectFault::Refused };
    control.give(Input::Report(eject(old)), 24);
    assert_eq!(control.health.standing(old), BackendHealth::Down);
    assert_eq!(shards.take_sent().len(), 2, "each shard hears of it");
    assert!(control.health.down().any(|it| it == old), "so does one that is built again");
    control.give(Input::Wake, 25);
    control.give(Input::Report(eject(gone)), 26);
    shards.take_sent();
    assert_eq!(control.snapshot.version, Version(2));
    control.give(Input::Wake, 27);
    assert_eq!(control.snapshot.version, Version(3));
    // Those that it no longer has are in no order of it.
    assert_eq!(shards.take_sent(), ["0 adopt 3 +0", "1 adopt 3 +0"]);
    assert_eq!(control.answered(), [0; 0], "no shard has it, and there is something to give up");
    control.pump(28);
    assert_eq!(control.answered(), [0; 0]);
    for ms in [29, 30] {
        assert!(is_due(&control));
        control.give(Input::Wake, ms);
    }
    assert_eq!(control.answered(), [change]);
    assert!(!is_due(&control));
    assert_eq!(control.health.down().count(), 0);
    assert_eq!(control.health.standing(old), BackendHealth::Up, "it is not watched");
}

#[test]
fn the_next_change_begins_when_nothing_is_left_to_give_up() {
    let (mut control, shards, change) = exchanging();
    let old = id(&control, "a", "b1");
    shards.set_sessions(&[(old, 2)]);
    let next = control.ask(&file(&["a", "b", "d"], 1), 22);
    for ms in [23, 24] {
        control.give(Input::Wake, ms);
    }
    control.pump(25);
    assert_eq!(control.snapshot.version, Version(3));
    assert!(control.disk.finish().is_none(), "the one behind it has not begun");
    for ms in [26, 27] {
        control.give(Input::Wake, ms);
    }
    assert_eq!(control.answered(), [change]);
    control.give(Input::Tick, 30);
    control.pump(31);
    let names: Vec<String> = control.aggregate.lingering().map(|it| it.name).collect();
    assert_eq!(names, ["a/b1"], "it is gone, and its sessions run on");
    // It comes back under another identity and takes them over.
    control.append(32);
    for ms in 33..36 {
        control.give(Input::Wake, ms);
    }
    control.pump(36);
    for ms in 37..40 {
        control.give(Input::Wake, ms);
    }
    assert_eq!(control.answered(), [next]);
    let heir = id(&control, "a", "b1");
    assert_eq!((heir == old, control.aggregate.backend(heir).sessions), (false, 4));
    assert_eq!(control.aggregate.lingering().count(), 0);
}

#[test]
fn a_pool_that_panics_before_it_is_sent_is_written_down_once_it_is() {
    let (mut control, _shards) = started();
    control.control.slice = 1;
    let ChangeRequest::Apply { toml, origin, mode, force } = file(&["a", "b", "c"], 1) else {
        panic!("it is a file")
    };
    let panics = "[pool.a]\nhealth = { kind = \"none\", panic = \"100%\" }\n";
    let toml = toml.replace("[pool.a]\n", panics);
    control.ask(&ChangeRequest::Apply { toml, origin, mode, force }, 10);
    control.append(11);
    assert!(control.snapshot.pool("a").is_none(), "it is prepared and not sent");
    let ids = (1..=control.ids().fresh()).map(BackendId);
    for backend in ids {
        let (shard, fault) = (ShardId(0), ConnectFault::Refused);
        control.give(Input::Report(Report::Ejected { shard, backend, fault }), 12);
    }
    let said = |control: &Shell| {
        let events = control.events.after(0).into_iter();
        events.filter(|it| it.subject == "a" && it.text.contains("panic")).count()
    };
    control.give(Input::Tick, 13);
    assert_eq!(said(&control), 0);
    control.give(Input::Wake, 14);
    control.give(Input::Wake, 15);
    assert!(control.snapshot.pool("a").is_some());
    control.give(Input::Tick, 16);
    assert_eq!(said(&control), 1);
    control.give(Input::Tick, 17);
    assert_eq!(said(&control), 1);
}
