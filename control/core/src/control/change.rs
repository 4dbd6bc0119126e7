//! One change from the request to the answer: decide, bind, make durable, send to every shard, wait
//! for them, answer. The order of these steps is here and nowhere else; it waits by being asked
//! again, so that the simulator can stop it anywhere.

use std::time::Duration;

use weir_core::base::clock::Now;
use weir_core::base::machine::{State, entered};
use weir_core::machine;
use weir_proto::answer::{Answer, Author, Changed};
use weir_proto::ids::Version;
use weir_proto::request::{ChangeOptions, ChangeRequest, Code, Refusal};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::Admin;

use super::{Clocks, Control};
use crate::planner::Plan;
use crate::sockets::Sockets;

/// How long the address of a listener that was removed just now is waited for.
const RELEASE_WAIT: Duration = Duration::from_secs(1);

/// What a change waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Shards that have not adopted it: ask again after each report and tick.
    Shards,
    /// An address that is still held: ask again soon.
    Address,
    /// The disk: ask again after [`Control::on_appended`].
    Disk,
}

/// A change that has not been answered. One at a time: the next one begins when it is answered.
#[derive(Debug)]
pub struct Change {
    request: ChangeRequest,
    options: ChangeOptions,
    by: Author,
    step: Step,
}

/// How far a change has come.
#[derive(Debug)]
enum Step {
    Asked,
    Binding { plan: Plan, next: Snapshot, since: Now },
    Storing { plan: Plan, next: Snapshot, sockets: Sockets },
    Adopting { plan: Plan, version: Version },
    Over,
}

machine! {
    /// Transitions of a change.
    pub static CHANGE: Step = "change";
    states: Asked, Binding, Storing, Adopting, Over;
    start => Asked: "requested";
    Asked => Binding: "it makes a version";
    Asked => Over: "refused, or it changes nothing";
    Binding => Storing: "new addresses are bound";
    Binding => Over: "refused, or a dry run";
    Storing => Adopting: "durable, and sent to every shard";
    Storing => Over: "the disk does not take it";
    Adopting => Over: "every live shard has it, or it is late";
}

type ChangeOutcome = Result<Answer, Refusal>;

impl Change {
    /// A change that `by` asks for.
    #[must_use]
    pub fn new(request: ChangeRequest, options: ChangeOptions, by: Author) -> Change {
        Change { request, options, by, step: Step::Asked }
    }

    /// Goes as far as it can. Until it is durable a refusal leaves everything as it was.
    ///
    /// # Errors
    /// What it waits for. Answered changes must not be asked again.
    pub fn go_on(
        &mut self,
        control: &mut Control,
        moment: Clocks,
    ) -> Result<ChangeOutcome, Blocked> {
        loop {
            let step = core::mem::replace(&mut self.step, Step::Over);
            let from = step.index();
            let result = match step {
                Step::Asked => self.decide(control, moment),
                Step::Binding { plan, next, since } => {
                    self.bind(control, (plan, next), since, moment)
                }
                Step::Storing { plan, next, sockets } => {
                    self.await_disk(control, plan, (next, sockets), moment)
                }
                Step::Adopting { plan, version } => self.await_shards(control, plan, version),
                Step::Over => unreachable!("it was answered"),
            };
            entered(from, &self.step);
            match result {
                Ok(Some(answer)) => return Ok(Ok(answer)),
                Ok(None) => {}
                Err(Halt::Refused(refusal)) => return Ok(Err(refusal)),
                Err(Halt::Blocked(waits)) => return Err(waits),
            }
        }
    }

    fn decide(&mut self, control: &mut Control, moment: Clocks) -> Result<Option<Answer>, Halt> {
        let mut plan = control.plan(&self.request, &self.options)?;
        match plan.snapshot.take() {
            None => {
                self.end_hold(control, &mut plan, moment);
                Ok(Some(self.changed(control, plan)))
            }
            Some(next) => {
                self.step = Step::Binding { plan, next, since: moment.now };
                Ok(None)
            }
        }
    }

    /// Binds what is new, then asks the disk to keep it.
    fn bind(
        &mut self,
        control: &mut Control,
        (plan, next): (Plan, Snapshot),
        since: Now,
        moment: Clocks,
    ) -> Result<Option<Answer>, Halt> {
        control.refuse_loops(&next)?;
        let sockets = match control.bind(&next) {
            Ok(sockets) => sockets,
            Err(error) => {
                let in_time = moment.now - since < RELEASE_WAIT;
                if in_time && control.may_pass(&error, moment.now) {
                    self.step = Step::Binding { plan, next, since };
                    return Err(Halt::Blocked(Blocked::Address));
                }
                return Err(error.refusal().into());
            }
        };
        // A dry run binds too, and lets go again: a taken address is what it is asked for.
        if self.options.dry_run {
            return Ok(Some(self.changed(control, plan)));
        }
        control.begin_append(&next, &plan.summary, self.by, moment)?;
        self.step = Step::Storing { plan, next, sockets };
        Ok(None)
    }

    /// Sends the version once it is durable: no shard uses what a crash would take back.
    fn await_disk(
        &mut self,
        control: &mut Control,
        mut plan: Plan,
        (next, sockets): (Snapshot, Sockets),
        moment: Clocks,
    ) -> Result<Option<Answer>, Halt> {
        let version = next.version;
        let Some(durable) = control.take_appended(version) else {
            self.step = Step::Storing { plan, next, sockets };
            return Err(Halt::Blocked(Blocked::Disk));
        };
        durable?;
        let told = (plan.summary.as_str(), plan.kill);
        control.commit((next, sockets), told, self.by, moment);
        self.end_hold(control, &mut plan, moment);
        self.step = Step::Adopting { plan, version };
        Ok(None)
    }

    /// `backend ready` ends the backend's hold, too. That is no configuration: if nothing else
    /// changes, it makes no version.
    fn end_hold(&self, control: &mut Control, plan: &mut Plan, moment: Clocks) {
        let ChangeRequest::BackendState { name, state: Admin::Ready } = &self.request else {
            return;
        };
        if let Some(rest) =
            (!self.options.dry_run).then(|| control.end_hold(name, moment)).flatten()
        {
            plan.summary =
                format!("{}; a hold of {} s more was ended", plan.summary, rest.as_secs());
        }
    }

    fn await_shards(
        &mut self,
        control: &Control,
        plan: Plan,
        version: Version,
    ) -> Result<Option<Answer>, Halt> {
        match control.adopted(version) {
            Some(Ok(())) => Ok(Some(self.changed(control, plan))),
            Some(Err(refusal)) => Err(refusal.into()),
            None => {
                self.step = Step::Adopting { plan, version };
                Err(Halt::Blocked(Blocked::Shards))
            }
        }
    }

    fn changed(&self, control: &Control, plan: Plan) -> Answer {
        let live = control.shards.iter().filter(|shard| shard.counts()).count();
        let waiting = control.rollout.waiting().iter().count();
        let count = |shards: usize| u16::try_from(shards).unwrap_or(u16::MAX);
        let Plan { before, after, summary, undo, .. } = plan;
        Answer::Changed(Changed {
            version: control.snapshot.version.0,
            before,
            after,
            summary,
            undo,
            dry_run: self.options.dry_run,
            shards_adopted: count(live.saturating_sub(waiting)),
            shards: count(live),
        })
    }
}

/// Why a change does not go on.
enum Halt {
    Blocked(Blocked),
    Refused(Refusal),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Halt {
        Halt::Refused(refusal)
    }
}

impl Control {
    /// Whether every live shard that is not fenced has adopted `version`, the newest one. `None`:
    /// not yet.
    pub fn adopted(&self, version: Version) -> Option<Result<(), Refusal>> {
        match (self.rollout.is_done(), self.rollout.is_late()) {
            (true, _) => Some(Ok(())),
            (false, false) => None,
            (false, true) => {
                let waiting = self.rollout.waiting();
                let message = format!(
                    "durable as version {version} but shards {waiting} have not adopted it yet"
                );
                let hint = "it takes effect there as soon as they answer; watch: weirctl shards";
                Some(Err(Refusal::new(Code::Failed, message, hint)))
            }
        }
    }
}
