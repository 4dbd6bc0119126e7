//! Churn: connect, one round trip, close; a fixed number at once.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{now_ns, seconds_to_ns};
use crate::latency::{Latencies, Summary};
use crate::load::serve::send_some;
use crate::load::{BATCH, Failures, PATIENCE, remaining, source_of};
use crate::pattern::{CHUNK_MAX, Pattern};
use crate::sys::{self, Epoll, READ, WRITE};

/// Errors after which a run is given up: the target is not there or does not work.
const ERRORS_MAX: u64 = 1_000;

/// What to do.
#[derive(Clone, Debug)]
pub struct CrrPlan {
    pub target: SocketAddr,
    pub concurrency: usize,
    pub size: usize,
    pub seconds: f64,
    /// Stops after N connections, if that is sooner.
    pub count: Option<u64>,
    /// Close with FIN; else with a reset.
    pub fin: bool,
    pub sources: u8,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CrrReport {
    pub connections: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub seconds: f64,
    /// From the connect to the last byte of the answer.
    #[serde(flatten)]
    pub latency: Summary,
    pub cpu_us: u64,
}

/// One connection of its life: connecting until `connected`, then one round trip.
struct CrrLink {
    stream: TcpStream,
    number: u64,
    connected: bool,
    received: usize,
    start_ns: u64,
}

struct CrrRun<'a> {
    plan: &'a CrrPlan,
    pattern: Pattern,
    epoll: Epoll,
    links: Vec<Option<CrrLink>>,
    open: usize,
    started: u64,
    done: u64,
    latencies: Latencies,
    failures: Failures,
    buffer: Vec<u8>,
}

/// Runs the plan to its end.
pub fn run(plan: &CrrPlan) -> io::Result<CrrReport> {
    let mut run = CrrRun {
        plan,
        pattern: Pattern::new(),
        epoll: Epoll::new()?,
        links: (0..plan.concurrency).map(|_| None).collect(),
        open: 0,
        started: 0,
        done: 0,
        latencies: Latencies::new(),
        failures: Failures::default(),
        buffer: vec![0; CHUNK_MAX],
    };
    let (cpu_start, start) = (sys::own_cpu_ns(), now_ns());
    run.drive(start + seconds_to_ns(plan.seconds))?;
    Ok(CrrReport {
        connections: run.done,
        errors: run.failures.errors,
        first_error: run.failures.first,
        seconds: Duration::from_nanos(now_ns() - start).as_secs_f64(),
        latency: run.latencies.summary(),
        cpu_us: (sys::own_cpu_ns() - cpu_start) / 1_000,
    })
}

impl CrrRun<'_> {
    fn drive(&mut self, end_ns: u64) -> io::Result<()> {
        let mut events = vec![sys::no_event(); BATCH];
        for at in 0..self.links.len() {
            self.open_next(at, end_ns);
        }
        let last_ns = end_ns + seconds_to_ns(PATIENCE.as_secs_f64());
        while self.open > 0 {
            let now = now_ns();
            if now >= last_ns {
                self.failures.note(format!("{} connections never ended", self.open));
                break;
            }
            let ready = self.epoll.wait(&mut events, remaining(last_ns, now))?;
            for event in &events[..ready] {
                let at = usize::try_from(event.u64).expect("tokens are ours");
                match self.advance(at) {
                    Ok(false) => continue,
                    Ok(true) => self.done += 1,
                    Err(error) => self.failures.note(format!("connection {at}: {error}")),
                }
                self.links[at] = None;
                self.open -= 1;
                self.open_next(at, end_ns);
            }
        }
        Ok(())
    }

    /// Opens the next connection in place `at`, unless the run is over.
    fn open_next(&mut self, at: usize, end_ns: u64) {
        let start_ns = now_ns();
        while self.failures.errors < ERRORS_MAX
            && start_ns < end_ns
            && self.plan.count.is_none_or(|count| self.started < count)
        {
            let number = self.started;
            self.started += 1;
            let source = source_of(self.plan.target, at, self.plan.sources);
            let opened = sys::connect_start(self.plan.target, source).and_then(|stream| {
                if !self.plan.fin {
                    sys::reset_on_close(&stream)?;
                }
                self.epoll.add(&stream, at, WRITE)?;
                Ok(CrrLink { stream, number, connected: false, received: 0, start_ns })
            });
            match opened {
                Ok(link) => {
                    self.links[at] = Some(link);
                    self.open += 1;
                    return;
                }
                Err(error) => self.failures.note(format!("connect: {error}")),
            }
        }
    }

    /// True when the round trip is complete.
    fn advance(&mut self, at: usize) -> io::Result<bool> {
        let size = self.plan.size;
        let link = self.links[at].as_mut().expect("a report of an open connection");
        if !link.connected {
            if let Some(error) = link.stream.take_error()? {
                return Err(error);
            }
            link.connected = true;
            let sent = send_some(&mut link.stream, self.pattern.slice(link.number, 0, size))?;
            if sent < size {
                return Err(io::Error::other("the request does not fit the send buffer"));
            }
            self.epoll.modify(&link.stream, at, READ)?;
            return Ok(false);
        }
        let room = size - link.received;
        let length = match link.stream.read(&mut self.buffer[..CHUNK_MAX.min(room + 1)]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            other => other?,
        };
        let position = link.received as u64;
        if length == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed before the answer"));
        }
        if length > room || !self.pattern.matches(link.number, position, &self.buffer[..length]) {
            return Err(io::Error::new(ErrorKind::InvalidData, "the answer is not the request"));
        }
        link.received += length;
        if link.received < size {
            return Ok(false);
        }
        self.latencies.record(now_ns().saturating_sub(link.start_ns));
        Ok(true)
    }
}
