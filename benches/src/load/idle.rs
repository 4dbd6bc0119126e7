//! Idle sessions: many connections, one exchange each, then silence; one more exchange at the end.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{now_ns, seconds_to_ns};
use crate::load::serve::send_some;
use crate::load::{BATCH, Failures, PATIENCE, remaining, source_of};
use crate::pattern::Pattern;
use crate::sys::{self, Epoll, READ};

/// Descriptors left to everything that is not a session.
const SPARE_FILES: u64 = 32;

/// What to do.
#[derive(Clone, Debug)]
pub struct IdlePlan {
    pub target: SocketAddr,
    pub connections: usize,
    pub size: usize,
    /// Holds at most so long.
    pub hold_seconds: f64,
    pub sources: u8,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct IdleReport {
    pub connections: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    /// Time for all connects and first exchanges.
    pub open_seconds: f64,
    pub held_seconds: f64,
}

struct IdleRun<'a> {
    plan: &'a IdlePlan,
    pattern: Pattern,
    epoll: Epoll,
    streams: Vec<TcpStream>,
    failures: Failures,
}

/// Opens, says `holding` on `output`, holds until `input` ends or the time is over; then exchanges
/// once more.
pub fn run(
    plan: &IdlePlan,
    input: impl Read + Send + 'static,
    output: &mut impl Write,
) -> io::Result<IdleReport> {
    let limit = sys::raise_open_files()?;
    if plan.connections as u64 + SPARE_FILES > limit {
        return Err(io::Error::other(format!(
            "{} connections need more than the {limit} open files allowed (ulimit -Hn)",
            plan.connections
        )));
    }
    let mut run = IdleRun {
        plan,
        pattern: Pattern::new(),
        epoll: Epoll::new()?,
        streams: Vec::with_capacity(plan.connections),
        failures: Failures::default(),
    };
    let start = now_ns();
    run.open()?;
    let opened = now_ns();
    writeln!(output, "holding")?;
    output.flush()?;
    hold(input, Duration::from_nanos(seconds_to_ns(plan.hold_seconds)));
    let held = now_ns();
    run.exchange(0, plan.connections, 1)?;
    Ok(IdleReport {
        connections: plan.connections as u64,
        errors: run.failures.errors,
        first_error: run.failures.first,
        open_seconds: Duration::from_nanos(opened - start).as_secs_f64(),
        held_seconds: Duration::from_nanos(held - opened).as_secs_f64(),
    })
}

/// Waits for the end of `input`, at most `limit`.
fn hold(input: impl Read + Send + 'static, limit: Duration) {
    let (ended, end) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let mut line = String::new();
        let mut input = io::BufReader::new(input);
        while input.read_line(&mut line).is_ok_and(|length| length > 0) {
            line.clear();
        }
        drop(ended);
    });
    let _ = end.recv_timeout(limit);
}

impl IdleRun<'_> {
    /// Opens in groups, so that neither a backlog nor a buffer limit is met at once.
    fn open(&mut self) -> io::Result<()> {
        for first in (0..self.plan.connections).step_by(BATCH) {
            let last = (first + BATCH).min(self.plan.connections);
            for at in first..last {
                let source = source_of(self.plan.target, at, self.plan.sources);
                let stream = sys::connect(self.plan.target, source, PATIENCE)?;
                self.epoll.add(&stream, at, READ)?;
                self.streams.push(stream);
            }
            self.exchange(first, last, 0)?;
        }
        Ok(())
    }

    /// One exchange on each of the connections `first..last`, number `round`.
    fn exchange(&mut self, first: usize, last: usize, round: u64) -> io::Result<()> {
        let size = self.plan.size;
        let position = round * size as u64;
        for from in (first..last).step_by(BATCH) {
            let to = (from + BATCH).min(last);
            let mut received = vec![0_usize; to - from];
            let mut waiting = 0;
            for at in from..to {
                let request = self.pattern.slice(at as u64, position, size);
                match send_some(&mut self.streams[at], request) {
                    Ok(sent) if sent == size => waiting += 1,
                    Ok(_) => self.failures.note(format!("connection {at} takes no request")),
                    Err(error) => self.failures.note(format!("connection {at}: {error}")),
                }
            }
            self.collect(from, &mut received, waiting, position)?;
        }
        Ok(())
    }

    fn collect(
        &mut self,
        from: usize,
        received: &mut [usize],
        mut waiting: usize,
        position: u64,
    ) -> io::Result<()> {
        let size = self.plan.size;
        let mut events = vec![sys::no_event(); BATCH];
        let mut buffer = vec![0; size + 1];
        let end = now_ns() + seconds_to_ns(PATIENCE.as_secs_f64());
        while waiting > 0 {
            let now = now_ns();
            if now >= end {
                self.failures.note(format!("{waiting} answers never came"));
                return Ok(());
            }
            let ready = self.epoll.wait(&mut events, remaining(end, now))?;
            for event in &events[..ready] {
                let at = usize::try_from(event.u64).expect("tokens are ours");
                let got = at.checked_sub(from).and_then(|place| received.get_mut(place));
                let stream = &mut self.streams[at];
                let Some(got) = got else {
                    self.failures.note(format!("connection {at} spoke unasked or closed"));
                    self.epoll.remove(stream)?;
                    continue;
                };
                let length = match stream.read(&mut buffer[..size + 1 - *got]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    other => other.unwrap_or(0),
                };
                let place = position + *got as u64;
                *got += length;
                let wrong = length == 0
                    || *got > size
                    || !self.pattern.matches(at as u64, place, &buffer[..length]);
                if wrong {
                    self.failures.note(format!("connection {at}: closed, or wrong bytes"));
                    self.epoll.remove(stream)?;
                }
                waiting -= usize::from(wrong || *got == size);
            }
        }
        Ok(())
    }
}
