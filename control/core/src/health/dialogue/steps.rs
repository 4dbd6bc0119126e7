//! Bytes that an operator wrote: sent and expected in turn.

use super::{Heard, Move};
use crate::health::plan::TalkStep;
use crate::health::reply::Seeker;

#[derive(Debug)]
pub(super) struct StepsTalk<'a> {
    steps: core::slice::Iter<'a, TalkStep>,
    /// Looks for what is expected now.
    seeker: Option<Seeker<'a>>,
    /// The beginning of what was looked through in vain.
    heard: Vec<u8>,
}

impl<'a> StepsTalk<'a> {
    pub(super) fn new(steps: &'a [TalkStep]) -> StepsTalk<'a> {
        StepsTalk { steps: steps.iter(), seeker: None, heard: Vec::new() }
    }

    pub(super) fn heard(&self) -> &[u8] {
        &self.heard
    }

    pub(super) fn step(&mut self, input: &mut Heard) -> Option<Move> {
        loop {
            if let Some(seeker) = &mut self.seeker {
                let Some(count) = seeker.find(&input.bytes) else {
                    let room = HEARD_MAX - self.heard.len().min(HEARD_MAX);
                    self.heard.extend(input.bytes.iter().take(room));
                    input.bytes.clear();
                    return None;
                };
                input.skip(count);
                self.seeker = None;
                self.heard.clear();
            }
            match self.steps.next() {
                None => return Some(Move::good(b"")),
                Some(TalkStep::Send(bytes)) => return Some(Move::Send(bytes.clone())),
                Some(TalkStep::Expect(bytes)) => self.seeker = Some(Seeker::new(bytes)),
            }
        }
    }
}

/// Bytes that are kept to be shown.
const HEARD_MAX: usize = 256;
