//! Round trips on standing connections: closed loop, or open loop at a fixed total rate with the
//! latency taken from the intended send time.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{now_ns, seconds_to_ns};
use crate::latency::{Latencies, Summary};
use crate::load::serve::send_some;
use crate::load::{BATCH, Failures, PATIENCE, remaining, source_of};
use crate::pattern::{CHUNK_MAX, Pattern};
use crate::schedule::Schedule;
use crate::sys::{self, Epoll, READ, WRITE};

/// What to do.
#[derive(Clone, Debug)]
pub struct RrPlan {
    pub target: SocketAddr,
    pub connections: usize,
    /// Bytes of a request, and of its answer; at most CHUNK_MAX.
    pub size: usize,
    pub seconds: f64,
    /// Stops after N round trips, if that is sooner.
    pub count: Option<u64>,
    /// Requests a second of all connections together; None: closed loop.
    pub rate: Option<f64>,
    pub sources: u8,
}

/// What came of it. `errors` counts connections lost; each ends at its first error.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RrReport {
    pub round_trips: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub seconds: f64,
    /// From the intended send time to the last byte of the answer.
    #[serde(flatten)]
    pub latency: Summary,
    /// Open loop: requests due before the end that were never sent (their connection was waiting);
    /// their wait so far is in the latencies.
    pub unsent: u64,
    /// Open loop: from the intended send time to the send (the offer's own lateness).
    pub lag: Option<Summary>,
    /// CPU time of the generator while measuring.
    pub cpu_us: u64,
}

/// One connection: `sent` < size while sending, then waiting until `received` == size.
struct RrLink {
    stream: TcpStream,
    /// Messages done: also the number of the current one.
    message: u64,
    phase: Phase,
    sent: usize,
    received: usize,
    intended_ns: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request under way (open loop: the next is not due).
    Idle,
    /// A request is under way.
    Busy,
    /// Lost, or counted out.
    Over,
}

struct RrRun<'a> {
    plan: &'a RrPlan,
    pattern: Pattern,
    epoll: Epoll,
    links: Vec<RrLink>,
    schedule: Option<Schedule>,
    /// Open loop: how many requests, in the order of the schedule, were looked at.
    offered: u64,
    started: u64,
    busy: usize,
    latencies: Latencies,
    lags: Latencies,
    failures: Failures,
    buffer: Vec<u8>,
}

/// Runs the plan to its end.
pub fn run(plan: &RrPlan) -> io::Result<RrReport> {
    let epoll = Epoll::new()?;
    let mut links = Vec::with_capacity(plan.connections);
    for at in 0..plan.connections {
        let source = source_of(plan.target, at, plan.sources);
        let stream = sys::connect(plan.target, source, PATIENCE)?;
        epoll.add(&stream, at, READ)?;
        let phase = Phase::Idle;
        links.push(RrLink { stream, message: 0, phase, sent: 0, received: 0, intended_ns: 0 });
    }
    let (cpu_start, start) = (sys::own_cpu_ns(), now_ns());
    let mut run = RrRun {
        plan,
        pattern: Pattern::new(),
        epoll,
        links,
        schedule: plan.rate.map(|rate| Schedule::new(start, rate, plan.connections)),
        offered: 0,
        started: 0,
        busy: 0,
        latencies: Latencies::new(),
        lags: Latencies::new(),
        failures: Failures::default(),
        buffer: vec![0; CHUNK_MAX],
    };
    let end = start + seconds_to_ns(plan.seconds);
    run.drive(end)?;
    let cpu_us = (sys::own_cpu_ns() - cpu_start) / 1_000;
    let stopped = now_ns();
    let unsent = run.count_unsent(end.min(stopped));
    Ok(RrReport {
        round_trips: run.links.iter().map(|link| link.message).sum(),
        errors: run.failures.errors,
        first_error: run.failures.first,
        seconds: Duration::from_nanos(stopped - start).as_secs_f64(),
        latency: run.latencies.summary(),
        unsent,
        lag: plan.rate.map(|_| run.lags.summary()),
        cpu_us,
    })
}

impl RrRun<'_> {
    /// Sends until `end_ns` (or the count), then waits for what is under way.
    fn drive(&mut self, end_ns: u64) -> io::Result<()> {
        let mut events = vec![sys::no_event(); BATCH];
        if self.schedule.is_none() {
            for at in 0..self.links.len() {
                self.start(at, now_ns(), now_ns());
            }
        }
        let last_ns = end_ns + seconds_to_ns(PATIENCE.as_secs_f64());
        loop {
            let now = now_ns();
            let sending = now < end_ns && !self.counted_out() && !self.all_over();
            let wake = match self.schedule {
                _ if !sending => last_ns,
                None => end_ns,
                Some(schedule) => self.offer(&schedule, now).min(end_ns),
            };
            if !sending && self.busy == 0 {
                return Ok(());
            }
            if now >= last_ns {
                self.failures.note(format!("{} answers never came", self.busy));
                return Ok(());
            }
            let ready = self.epoll.wait(&mut events, remaining(wake, now))?;
            for event in &events[..ready] {
                let at = usize::try_from(event.u64).expect("tokens are ours");
                if let Err(error) = self.advance(at, end_ns) {
                    self.lose(at, &error);
                }
            }
        }
    }

    fn counted_out(&self) -> bool {
        self.plan.count.is_some_and(|count| self.started >= count)
    }

    fn all_over(&self) -> bool {
        self.failures.errors >= self.links.len() as u64
    }

    /// Starts what is due on idle connections; says when the next request is due.
    fn offer(&mut self, schedule: &Schedule, now: u64) -> u64 {
        loop {
            let connections = self.links.len() as u64;
            let at = usize::try_from(self.offered % connections).expect("an index");
            let message = self.offered / connections;
            let due = schedule.due_ns(at, message);
            if due > now || self.counted_out() {
                return due;
            }
            // A busy connection starts its late request when the answer is there (`advance`).
            let link = &self.links[at];
            if link.phase == Phase::Idle && link.message == message {
                self.start(at, due, now);
            }
            self.offered += 1;
        }
    }

    fn start(&mut self, at: usize, intended_ns: u64, now: u64) {
        if self.counted_out() {
            return;
        }
        let link = &mut self.links[at];
        link.phase = Phase::Busy;
        (link.sent, link.received, link.intended_ns) = (0, 0, intended_ns);
        self.started += 1;
        self.busy += 1;
        if self.schedule.is_some() {
            self.lags.record(now.saturating_sub(intended_ns));
        }
        if let Err(error) = self.send(at) {
            self.lose(at, &error);
        }
    }

    fn send(&mut self, at: usize) -> io::Result<()> {
        let (size, link) = (self.plan.size, &mut self.links[at]);
        let was_blocked = link.sent > 0;
        let position = link.message * size as u64 + link.sent as u64;
        let rest = self.pattern.slice(at as u64, position, size - link.sent);
        link.sent += send_some(&mut link.stream, rest)?;
        let blocked = link.sent < size;
        if blocked || was_blocked {
            let interest = if blocked { READ | WRITE } else { READ };
            self.epoll.modify(&link.stream, at, interest)?;
        }
        Ok(())
    }

    fn advance(&mut self, at: usize, end_ns: u64) -> io::Result<()> {
        let size = self.plan.size;
        if self.links[at].phase == Phase::Busy && self.links[at].sent < size {
            self.send(at)?;
        }
        let link = &mut self.links[at];
        if link.phase == Phase::Over {
            return Ok(());
        }
        let room = size - link.received;
        // One byte more than expected: an answer that is too long must be seen.
        let length = match link.stream.read(&mut self.buffer[..CHUNK_MAX.min(room + 1)]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            other => other?,
        };
        if length == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed in a round trip"));
        }
        let position = link.message * size as u64 + link.received as u64;
        let verified = self.pattern.matches(at as u64, position, &self.buffer[..length]);
        if link.phase == Phase::Idle || length > room || !verified {
            return Err(io::Error::new(ErrorKind::InvalidData, "the answer is not the request"));
        }
        link.received += length;
        if link.received < size {
            return Ok(());
        }
        self.finish(at, end_ns);
        Ok(())
    }

    fn finish(&mut self, at: usize, end_ns: u64) {
        let now = now_ns();
        let link = &mut self.links[at];
        self.latencies.record(now.saturating_sub(link.intended_ns));
        link.phase = Phase::Idle;
        link.message += 1;
        self.busy -= 1;
        let intended =
            self.schedule.map_or(now, |schedule| schedule.due_ns(at, self.links[at].message));
        if intended <= now && now < end_ns {
            self.start(at, intended, now);
        }
    }

    fn lose(&mut self, at: usize, error: &io::Error) {
        let link = &mut self.links[at];
        match link.phase {
            Phase::Over => return,
            Phase::Busy => self.busy -= 1,
            Phase::Idle => {}
        }
        link.phase = Phase::Over;
        self.failures.note(format!("connection {at}, message {}: {error}", link.message));
        // It was watched until now, so this cannot fail; if it did, `advance` ignores it.
        let _ = self.epoll.remove(&link.stream);
    }

    /// Requests due before `end_ns` that were never sent; their wait counts as latency.
    fn count_unsent(&mut self, end_ns: u64) -> u64 {
        let Some(schedule) = self.schedule else { return 0 };
        if self.plan.count.is_some() {
            return 0;
        }
        let mut unsent = 0;
        for (at, link) in self.links.iter().enumerate() {
            let mut message = link.message + u64::from(link.phase == Phase::Busy);
            loop {
                let due = schedule.due_ns(at, message);
                if due >= end_ns || link.phase == Phase::Over {
                    break;
                }
                self.latencies.record(end_ns - due);
                message += 1;
                unsent += 1;
            }
        }
        unsent
    }
}
