//! Starting the shards: a thread each, pinned, with its ring made on it, and a fence around its
//! panics.

use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use weir_core::limits::Tuning;
use weir_proto::complaint::Complaint;
use weir_proto::ids::ShardId;
use weir_proto::order::Report;

use crate::io::Io;
use crate::mailbox::{Inbox, Mailbox};
use crate::ring::{self, Ring, RingSetup, refusal};
use crate::shard::{Shard, ShardSetup};
use crate::sys::{affinity, slice, table};
use crate::{Engine, Options};

/// The most receive buffers of one shard (see `ring/buffers.rs`): as many as a ring of them can
/// have, so that 16,384 stalled readers leave some for the others. 1 GiB of address space.
pub const BUFFERS_MAX: u16 = 32_768;

/// Entries of the completion queue at least and at most: 16 bytes each. One enter makes at most
/// this many answers before the kernel has to keep some aside (an overflow, which is counted).
const COMPLETIONS: RangeInclusive<u32> = 4_096..=32_768;

/// Entries of the completion queue of a shard with this many sessions: two for each.
fn completions(sessions_max: u32) -> u32 {
    let (least, most) = (*COMPLETIONS.start(), *COMPLETIONS.end());
    sessions_max.saturating_mul(2).clamp(least, most).next_power_of_two()
}

/// Bytes that one shard's ring takes of RLIMIT_MEMLOCK, for users without CAP_IPC_LOCK: the queues
/// and the rings of buffers (io_uring_setup(2), "locked memory").
#[must_use]
pub fn locked_bytes(sessions_max: u32, buffers: u16) -> u64 {
    ring::locked_bytes(completions(sessions_max), buffers)
}

type StartResult = Result<(), Complaint>;

pub(crate) fn start(options: &Options) -> Result<Engine, Complaint> {
    let out_of_files = |error: std::io::Error| refusal(&error);
    let inbox = Inbox::new().map_err(out_of_files)?;
    let cpus = affinity::cpus();
    let mut handles = Vec::new();
    let mut threads = Vec::new();
    let (told, outcomes) = bounded(usize::from(options.shards.max(1)));
    for number in 0..options.shards.max(1) {
        let (handle, mailbox) = inbox.connect_apart().map_err(out_of_files)?;
        let setup = ShardSetup {
            id: ShardId(number),
            shards: options.shards.max(1),
            sessions_max: options.sessions_max,
            tuning: Tuning::default(),
            seed: options.seed ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            hash_seed: options.hash_seed,
            session_log: options.session_log,
        };
        let cpu = if cpus.is_empty() { None } else { Some(cpus[usize::from(number) % cpus.len()]) };
        let cpu = cpu.filter(|_| options.pin);
        let options = options.clone();
        let told = told.clone();
        let thread = thread::Builder::new()
            .name(format!("weir-shard-{number}"))
            .spawn(move || live(setup, mailbox, (cpu, options), told))
            .map_err(out_of_files)?;
        handles.push(handle);
        threads.push(thread);
    }
    drop(told); // the shards' own ends are left; the channel closes when each has spoken
    let engine = Engine { handles, inbox, threads };
    wait_for_rings(&outcomes)?;
    Ok(engine)
}

/// The first failure, or nothing when every shard has its ring.
fn wait_for_rings(outcomes: &Receiver<StartResult>) -> StartResult {
    for outcome in outcomes {
        outcome?;
    }
    Ok(())
}

/// A shard's thread from its first line to its last: one shard, and after a panic another one,
/// which control gives the current snapshot and new sockets. How often is too often is for control
/// to say.
fn live(
    setup: ShardSetup,
    mailbox: Mailbox,
    (cpu, options): (Option<usize>, Options),
    told: Sender<StartResult>,
) {
    if let Some(cpu) = cpu {
        // Without it the shard runs as well, only less evenly; a cpuset may have changed under us.
        let _ = affinity::pin(cpu);
    }
    // Without it, too.
    let _ = slice::shorten();
    if let Err(error) = table::leave(&mailbox.descriptors()) {
        let _ = told.send(Err(no_table(&error)));
        return;
    }
    let bell = ring_setup(&options, mailbox.bell());
    let (ring, reporter) = match Ring::new(bell).and_then(|it| Ok((it, mailbox.again()?))) {
        Ok(both) => both,
        Err(error) => {
            let _ = told.send(Err(refusal(&error)));
            return;
        }
    };
    let _ = told.send(Ok(()));
    drop(told); // `start` waits until every shard has spoken
    let heartbeat = mailbox.heartbeat().clone();
    heartbeat.begin();
    live_on(setup, (ring, mailbox, reporter), || Ring::new(bell));
    heartbeat.end();
}

fn no_table(error: &std::io::Error) -> Complaint {
    Complaint {
        what: format!("a shard cannot have a descriptor table of its own: {error}"),
        hint: "allow close_range(2) with CLOSE_RANGE_UNSHARE in the seccomp profile".to_owned(),
    }
}

/// Shard after shard, until one exits without a panic. The calling thread has a descriptor table of
/// its own.
fn live_on<I: Io>(
    setup: ShardSetup,
    (mut ring, mailbox, mut reporter): (I, Mailbox, Mailbox),
    again: impl Fn() -> std::io::Result<I>,
) {
    let mut mailbox = Some(mailbox);
    while let Some(own) = mailbox.take() {
        let run = || Shard::new(setup, ring, own).run();
        let Err(panic) = catch_unwind(AssertUnwindSafe(run)) else {
            return last_word(&mut reporter, setup.id, None);
        };
        let text = panic.downcast::<String>().map(|text| *text);
        let text = text.or_else(|panic| panic.downcast::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_else(|_| "a panic without a text".to_owned());
        table::reset_others(&reporter.descriptors());
        last_word(&mut reporter, setup.id, Some(text));
        match again().and_then(|it| Ok((it, reporter.again()?))) {
            Ok((new_ring, next)) => {
                ring = new_ring;
                mailbox = Some(std::mem::replace(&mut reporter, next));
            }
            // It stays away: the other shards serve.
            Err(_) => return last_word(&mut reporter, setup.id, None),
        }
    }
}

/// The sizes of a ring. Builds with debug assertions let a test make them small, so that it meets
/// what happens when they run out: WEIR_TEST_BUFFERS (a power of two), WEIR_TEST_COMPLETIONS.
fn ring_setup(options: &Options, bell: RawFd) -> RingSetup {
    let size = |name: &str| {
        let text = if cfg!(debug_assertions) { std::env::var(name).ok() } else { None };
        text.and_then(|text| text.parse::<u16>().ok())
    };
    RingSetup {
        buffers: size("WEIR_TEST_BUFFERS").unwrap_or(options.buffers),
        completions: size("WEIR_TEST_COMPLETIONS")
            .map_or_else(|| completions(options.sessions_max), u32::from),
        pipes: options.pipes_max,
        bell,
    }
}

fn last_word(reporter: &mut Mailbox, shard: ShardId, panic: Option<String>) {
    // A full channel means that control has long stopped listening.
    let _ = reporter.report(Report::Ended { shard, panic });
}

#[cfg(all(test, not(loom)))]
mod tests;
