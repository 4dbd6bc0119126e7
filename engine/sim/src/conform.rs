//! Is the model true? Scripts of operations and of what peers do, run on the real ring and
//! explained by the simulated kernel: the real one may answer only what the model can answer.
//!
//! ```text
//! script: a batch of steps ─▶ real ring, real peers ──▶ what was heard ─┐
//!                        └──▶ worlds of the model, many rolls each ─────┴─▶ those that agree
//! ```
//! A batch that no world of the model can explain is a failure: the model is wrong, or the ring.
//! The worlds that can are where the next batch starts, so a whole script must have one history.

mod model;
mod real;
mod script;

use std::collections::BTreeMap;

use weir_core::action::How;
use weir_core::event::{Interest, Receive, SpliceResult};
use weir_engine::io::Kind;

use crate::rng::Rng;
use model::Model;
use real::{Kit, Real};
use script::Script;

/// Connections of a script, numbered from 0.
pub(crate) const CONNS: usize = 6;
/// Worlds that are kept between two batches.
const WORLDS: usize = 8;
/// The same when few were not enough.
const WORLDS_HARD: usize = 128;
/// Rolls of the dice before a batch is given up as not to be explained.
const ROLLS: usize = 600;
/// How long the real kernel may take for an answer that every world of the model has given.
const PATIENCE_MS: u32 = 2000;

/// Runs of one script before it has failed.
const ATTEMPTS: usize = 5;

/// Bytes that were received: by which connection, the how-manyth of its receives.
pub(crate) type Piece = (usize, usize);

/// Whom a script connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Listens,
    /// It listens, with small windows: sends to it stop.
    Narrow,
    Refuses,
    /// Its backlog is full: nothing ever comes back.
    Silent,
}

/// One thing that is done. Connections by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Connect(usize, Host),
    /// A client connects to the script's listener.
    Arrive(usize),
    Accept,
    Receive(usize, Receive),
    Send(usize, Piece),
    Cancel(usize, Kind),
    CancelAccepts,
    Release(Piece),
    Finish(usize),
    /// For bytes, for room.
    Watch(usize, Interest),
    Nonblocking(usize, bool),
    /// From one connection to another by splice(2), through a pipe of its own.
    Splice(usize, usize),
    Close(usize, How),
    ShutdownListener,
    PeerSend(usize, usize),
    /// One byte, urgent (MSG_OOB).
    PeerUrgent(usize),
    PeerFin(usize),
    PeerReset(usize),
    PeerClose(usize),
    /// The peer reads up to N bytes.
    PeerRead(usize, usize),
}

/// One thing that is heard: an answer, news, or what a peer has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Heard {
    Accepted(Result<usize, i32>),
    Connected(usize, Result<(), i32>),
    /// Which piece, so that those of one multishot receive keep their order; how many bytes;
    /// whether there are more; whether that was the receive's last word.
    Received(Piece, u16, [bool; 2]),
    Ended(usize),
    Starved(usize),
    ReceiveFailed(usize, i32),
    Sent(usize, u32),
    SendFailed(usize, i32),
    /// A cancel has answered.
    Canceled(usize),
    CanceledAccepts,
    /// A watch has told: readable, writable, reset.
    Ready(usize, [bool; 3]),
    /// From whom to whom; bytes into the pipe and out of it; dry, unsure, full; errors of the
    /// receive and of the send.
    SpliceResult([usize; 2], [u32; 2], [bool; 3], [Option<i32>; 2]),
    PeerRead(usize, usize),
    PeerEnd(usize),
    PeerReset(usize),
    /// Buffers that no session holds, after the batch.
    Free(u32),
}

impl Heard {
    fn moved(conns: [usize; 2], moved: &SpliceResult) -> Heard {
        let failed = [moved.receive_failed, moved.send_failed];
        Heard::SpliceResult(
            conns,
            [moved.received, moved.sent],
            [moved.dry, moved.unsure, moved.full],
            failed.map(|errno| errno.map(|errno| errno.0)),
        )
    }
}

/// What scripts have covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    pub scripts: u64,
    pub batches: u64,
    pub answers: u64,
    pub resets: u64,
    pub canceled: u64,
    pub starved: u64,
    /// Operations on non-blocking legs that were answered with EAGAIN.
    pub refused: u64,
    /// Sends of which the kernel took a part only.
    pub parts: u64,
    /// Urgent bytes that peers have sent.
    pub urgent: u64,
    /// Tries of splice(2), and how many of them moved nothing.
    pub moves: u64,
    pub moved_nothing: u64,
    /// Batches in which bytes came later than the model says: the machine was busy.
    pub late: u64,
    /// Scripts whose first run could not be explained and a later one could.
    pub doubtful: u64,
}

impl Covered {
    /// Without this much, or with more that came late, the scripts would say nothing.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        let few = self.scripts / 50;
        self.resets > few
            && self.late <= few
            && self.canceled > few
            && self.starved > 0
            && self.urgent > few
            && self.moved_nothing > 0
            && self.moves > self.moved_nothing
            && self.answers > 5 * few
    }

    fn add(&mut self, steps: &[Step], heard: &[Heard]) {
        self.batches += 1;
        let urgent = steps.iter().filter(|step| matches!(step, Step::PeerUrgent(_))).count();
        self.urgent += urgent as u64;
        self.answers += heard.len() as u64;
        for heard in heard {
            match heard {
                Heard::ReceiveFailed(_, 11) | Heard::SendFailed(_, 11) => self.refused += 1,
                Heard::ReceiveFailed(_, 104)
                | Heard::SendFailed(..)
                | Heard::Ready(_, [_, _, true]) => {
                    self.resets += 1;
                }
                Heard::Canceled(_) | Heard::CanceledAccepts => self.canceled += 1,
                Heard::Starved(_) => self.starved += 1,
                Heard::SpliceResult(_, [received, _], ..) => {
                    self.moves += 1;
                    self.moved_nothing += u64::from(*received == 0);
                }
                _ => {}
            }
        }
    }
}

/// Runs scripts, one after the other.
#[derive(Default)]
pub struct Conformance {
    /// Rings by the number of their buffers.
    kits: BTreeMap<u16, Kit>,
    pub covered: Covered,
}

impl Conformance {
    /// Runs the script of one seed on the real ring and has the model explain it. A run that cannot
    /// be explained is repeated, and counted as doubtful if a later one can: on a busy machine the
    /// kernel delivers late. What the model does not know fails every time.
    ///
    /// # Errors
    /// What was heard, and what the model would have said.
    pub fn run(&mut self, seed: u64) -> Result<(), String> {
        let Err(first) = self.run_once(seed) else { return Ok(()) };
        let again = (1..ATTEMPTS).any(|_| self.run_once(seed).is_ok());
        if !again {
            return Err(first);
        }
        self.covered.doubtful += 1;
        println!("doubtful, explained another time: {first}");
        Ok(())
    }

    fn run_once(&mut self, seed: u64) -> Result<(), String> {
        let mut rng = Rng::new(seed ^ 0xc04f);
        let mut script = Script::new(rng.fork());
        // A ring that something was left on is not used again.
        let kit = self.kits.remove(&script.buffers);
        let kit = kit.map_or_else(|| Kit::new(script.buffers), Ok);
        let mut kit = kit.map_err(|error| format!("no ring: {error}"))?;
        self.covered.scripts += 1;
        run_on(&mut kit, &mut script, &mut rng, &mut self.covered)
            .map_err(|what| format!("seed {seed}: {what}"))?;
        self.kits.insert(script.buffers, kit);
        Ok(())
    }
}

fn run_on(
    kit: &mut Kit,
    script: &mut Script,
    rng: &mut Rng,
    covered: &mut Covered,
) -> Result<(), String> {
    let mut real = Real::new(kit).map_err(|error| format!("no listener: {error}"))?;
    let mut history = ModelWorlds::new(Model::new(script.buffers, rng.fork()));
    let mut text = Vec::new();
    while let Some(wanted) = script.batch() {
        let steps: Vec<Step> = wanted.into_iter().map(|step| real.act(step)).collect();
        text.push(format!("{steps:?}"));
        let heard = listen_and_explain(&mut history, &mut real, &steps, rng);
        let heard = heard.map_err(|what| format!("{what}\nsteps:\n  {}", text.join("\n  ")))?;
        text.push(format!("  -> {heard:?}"));
        covered.add(&steps, &heard);
        covered.parts += script.learn(&heard);
    }
    covered.late += history.past.iter().filter(|(.., late)| *late).count() as u64;
    real.check_streams()
}

/// Waits for the real answers until the model can explain them.
fn listen_and_explain(
    history: &mut ModelWorlds,
    real: &mut Real<'_>,
    steps: &[Step],
    rng: &mut Rng,
) -> Result<Vec<Heard>, String> {
    let deadline = real.now().plus_millis(PATIENCE_MS);
    let mut tried = None;
    loop {
        real.listen();
        let heard = real.heard();
        let late = real.now() >= deadline;
        if late || tried.as_ref() != Some(&heard) {
            match history.explain(steps, &heard, late, rng)? {
                None => {
                    real.next_batch();
                    return Ok(heard);
                }
                Some(other) if late => return Err(unexplained(&heard, &other)),
                Some(_) => tried = Some(heard),
            }
        }
    }
}

/// The worlds of the model that have heard what the real kernel said so far.
struct ModelWorlds {
    first: Model,
    worlds: Vec<Model>,
    /// The batches so far, what was heard, and whether something came late.
    past: Vec<Batch>,
}

impl ModelWorlds {
    fn new(first: Model) -> ModelWorlds {
        ModelWorlds { worlds: vec![first.clone()], first, past: Vec::new() }
    }

    /// `None`: the batch is explained. Else what the model would have said. `hard`: choices that
    /// nobody could hear when they were made are made again, from the start, in many more worlds;
    /// and if that does not help, bytes may come late.
    fn explain(
        &mut self,
        steps: &[Step],
        heard: &[Heard],
        hard: bool,
        rng: &mut Rng,
    ) -> Result<Option<Vec<Vec<Heard>>>, String> {
        let mut batch = (steps.to_vec(), heard.to_vec(), false);
        let (mut same, mut other) = roll(&self.worlds, &batch, WORLDS, rng)?;
        if same.is_empty() && hard {
            let mut worlds = vec![self.first.clone()];
            for batch in &self.past {
                (worlds, _) = roll(&worlds, batch, WORLDS_HARD, rng)?;
            }
            (same, other) = roll(&worlds, &batch, WORLDS, rng)?;
            if same.is_empty() {
                batch.2 = true;
                (same, _) = roll(&worlds, &batch, WORLDS, rng)?;
            }
        }
        if same.is_empty() {
            return Ok(Some(other));
        }
        self.worlds = same;
        self.past.push(batch);
        Ok(None)
    }
}

/// Steps, what was heard, and whether something came late.
type Batch = (Vec<Step>, Vec<Heard>, bool);
type Rolled = (Vec<Model>, Vec<Vec<Heard>>);

/// Rolls the batch in many worlds: those that heard the same, and what the others heard.
fn roll(
    worlds: &[Model],
    (steps, heard, late): &Batch,
    wanted: usize,
    rng: &mut Rng,
) -> Result<Rolled, String> {
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for number in 0..if worlds.is_empty() { 0 } else { ROLLS } {
        let mut world = worlds[number % worlds.len()].clone();
        let said = world.batch(steps, heard, *late, rng.fork())?;
        if said == *heard {
            same.push(world);
            if same.len() == wanted {
                break;
            }
        } else if !other.contains(&said) {
            other.push(said);
        }
        // One explanation is enough; a few more keep the choices open.
        if number >= wanted * 4 && !same.is_empty() {
            break;
        }
    }
    Ok((same, other))
}

fn unexplained(heard: &[Heard], other: &[Vec<Heard>]) -> String {
    let said: Vec<String> = other.iter().take(8).map(|said| format!("  {said:?}")).collect();
    format!(
        "the real kernel said\n  {heard:?}\nwhich the model never says; it says one of {}:\n{}",
        other.len(),
        said.join("\n")
    )
}
