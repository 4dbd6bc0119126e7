//! Starting the shards: a thread each, pinned, with its ring made on it, and a fence around its
//! panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use weir_proto::ids::ShardId;
use weir_proto::order::Report;

use crate::mailbox::{Inbox, Mailbox};
use crate::ring::{Ring, RingSetup, refusal};
use crate::shard::{Shard, ShardSetup};
use crate::sys::affinity;
use crate::{Engine, Options, StartError};

/// Receive buffers of one shard (see `ring/buffers.rs`): 128 MiB of address space, touched only as
/// far as sessions hold bytes at the same time.
const BUFFERS: u16 = 4096;

type Outcome = Result<(), StartError>;

pub(crate) fn start(options: &Options) -> Result<Engine, StartError> {
    let out_of_files = |error: std::io::Error| refusal(&error);
    let inbox = Inbox::new().map_err(out_of_files)?;
    let cpus = affinity::cpus();
    let mut doors = Vec::new();
    let mut threads = Vec::new();
    let (told, outcomes) = bounded(usize::from(options.shards.max(1)));
    for number in 0..options.shards.max(1) {
        let (door, mailbox) = inbox.connect().map_err(out_of_files)?;
        let setup = ShardSetup {
            id: ShardId(number),
            shards: options.shards.max(1),
            sessions_max: options.sessions_max,
            seed: options.seed ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            hash_seed: options.hash_seed,
        };
        let cpu = if cpus.is_empty() { None } else { Some(cpus[usize::from(number) % cpus.len()]) };
        let cpu = cpu.filter(|_| options.pin);
        let told = told.clone();
        let thread = thread::Builder::new()
            .name(format!("weir-shard-{number}"))
            .spawn(move || live(setup, mailbox, cpu, told))
            .map_err(out_of_files)?;
        doors.push(door);
        threads.push(thread);
    }
    drop(told); // the shards' own ends are left; the channel closes when each has spoken
    let engine = Engine { doors, inbox, threads };
    wait_for_rings(&outcomes)?;
    Ok(engine)
}

/// The first failure, or nothing when every shard has its ring.
fn wait_for_rings(outcomes: &Receiver<Outcome>) -> Outcome {
    for outcome in outcomes {
        outcome?;
    }
    Ok(())
}

/// A shard's thread from its first line to its last.
fn live(setup: ShardSetup, mailbox: Mailbox, cpu: Option<usize>, told: Sender<Outcome>) {
    if let Some(cpu) = cpu {
        // Without it the shard runs as well, only less evenly; a cpuset may have changed under us.
        let _ = affinity::pin(cpu);
    }
    let ring = match Ring::new(RingSetup { buffers: BUFFERS, bell: mailbox.bell() }) {
        Ok(ring) => ring,
        Err(error) => {
            let _ = told.send(Err(refusal(&error)));
            return;
        }
    };
    let last_word = mailbox.reporter();
    let _ = told.send(Ok(()));
    drop(told); // `start` waits until every shard has spoken
    let result = catch_unwind(AssertUnwindSafe(|| Shard::new(setup, ring, mailbox).run()));
    let panic = result.err().map(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic").to_owned()
    });
    if let Some(mut reporter) = last_word {
        // A full channel means that control has long stopped listening.
        let _ = reporter.report(Report::Ended { shard: setup.id, panic });
    }
}
