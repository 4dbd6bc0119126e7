//! Bulk: each stream moves a given number of verified bytes one way, down (source) or up (sink).

use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{now_ns, seconds_to_ns};
use crate::load::serve::{SINK_ANSWER, SOURCE_REQUEST, number, send_some};
use crate::load::{BATCH, Failures, PATIENCE, remaining, source_of};
use crate::pattern::{CHUNK_MAX, Pattern};
use crate::sys::{self, Epoll, READ, WRITE};

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the backend (`serve --mode source`) to the client.
    #[default]
    Down,
    /// From the client to the backend (`serve --mode sink`).
    Up,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct BulkPlan {
    pub target: SocketAddr,
    pub streams: usize,
    /// Bytes of each stream.
    pub bytes: u64,
    pub direction: Direction,
    /// A run that takes longer fails.
    pub seconds: f64,
    /// Stops so long after the start, wherever the streams are then; that is no failure.
    pub stop_after: Option<f64>,
    pub sources: u8,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BulkReport {
    pub bytes: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub seconds: f64,
    pub gigabytes_per_s: f64,
    pub cpu_us: u64,
}

struct BulkLink {
    stream: TcpStream,
    moved: u64,
    answer: Vec<u8>,
    over: bool,
}

struct BulkRun<'a> {
    plan: &'a BulkPlan,
    pattern: Pattern,
    epoll: Epoll,
    links: Vec<BulkLink>,
    failures: Failures,
    buffer: Vec<u8>,
}

/// Runs the plan to its end.
pub fn run(plan: &BulkPlan) -> io::Result<BulkReport> {
    let epoll = Epoll::new()?;
    let mut links = Vec::with_capacity(plan.streams);
    for at in 0..plan.streams {
        let source = source_of(plan.target, at, plan.sources);
        let stream = sys::connect(plan.target, source, PATIENCE)?;
        links.push(BulkLink { stream, moved: 0, answer: Vec::new(), over: false });
    }
    let (cpu_start, start) = (sys::own_cpu_ns(), now_ns());
    let pattern = Pattern::new();
    for (at, link) in links.iter_mut().enumerate() {
        let key = at as u64;
        let (mut head, interest) = match plan.direction {
            Direction::Down => (plan.bytes.to_be_bytes().to_vec(), READ),
            Direction::Up => (Vec::new(), WRITE),
        };
        head.extend_from_slice(&key.to_be_bytes());
        assert!(plan.direction == Direction::Up || head.len() == SOURCE_REQUEST);
        if send_some(&mut link.stream, &head)? < head.len() {
            return Err(io::Error::other("a new connection takes no sixteen bytes"));
        }
        epoll.add(&link.stream, at, interest)?;
    }
    let failures = Failures::default();
    let mut run = BulkRun { plan, pattern, epoll, links, failures, buffer: vec![0; CHUNK_MAX] };
    let stop = plan.stop_after.map(|after| start + seconds_to_ns(after));
    run.drive(start + seconds_to_ns(plan.seconds), stop)?;
    let seconds = Duration::from_nanos(now_ns() - start).as_secs_f64();
    let bytes = run.links.iter().map(|link| link.moved).sum();
    Ok(BulkReport {
        bytes,
        errors: run.failures.errors,
        first_error: run.failures.first,
        seconds,
        gigabytes_per_s: gigabytes(bytes) / seconds,
        cpu_us: (sys::own_cpu_ns() - cpu_start) / 1_000,
    })
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

impl BulkRun<'_> {
    fn drive(&mut self, end_ns: u64, stop_ns: Option<u64>) -> io::Result<()> {
        let mut events = vec![sys::no_event(); BATCH];
        while self.links.iter().any(|link| !link.over) {
            let now = now_ns();
            if stop_ns.is_some_and(|stop| now >= stop) {
                break;
            }
            if now >= end_ns {
                self.failures.note("the time was over before the streams ended");
                break;
            }
            let wake = stop_ns.unwrap_or(end_ns).min(end_ns);
            let ready = self.epoll.wait(&mut events, remaining(wake, now))?;
            for event in &events[..ready] {
                let at = usize::try_from(event.u64).expect("tokens are ours");
                if self.links[at].over {
                    continue;
                }
                let over = match self.plan.direction {
                    Direction::Down => self.download(at),
                    Direction::Up => self.upload(at),
                };
                let over = over.unwrap_or_else(|error| {
                    self.failures.note(format!("stream {at}: {error}"));
                    true
                });
                if over {
                    self.links[at].over = true;
                    self.epoll.remove(&self.links[at].stream)?;
                }
            }
        }
        Ok(())
    }

    /// True at the end of the stream.
    fn download(&mut self, at: usize) -> io::Result<bool> {
        let link = &mut self.links[at];
        let length = match link.stream.read(&mut self.buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            other => other?,
        };
        if length == 0 && link.moved != self.plan.bytes {
            let text = format!("ended after {} of {} bytes", link.moved, self.plan.bytes);
            return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
        }
        if !self.pattern.matches(at as u64, link.moved, &self.buffer[..length]) {
            let text = format!("wrong bytes after {}", link.moved);
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        link.moved += length as u64;
        Ok(length == 0)
    }

    /// True when the backend said what it got.
    fn upload(&mut self, at: usize) -> io::Result<bool> {
        let link = &mut self.links[at];
        let rest = self.plan.bytes - link.moved;
        if rest > 0 {
            let length = usize::try_from(rest).unwrap_or(CHUNK_MAX).min(CHUNK_MAX);
            let bytes = self.pattern.slice(at as u64, link.moved, length);
            link.moved += send_some(&mut link.stream, bytes)? as u64;
            if link.moved == self.plan.bytes {
                link.stream.shutdown(Shutdown::Write)?;
                self.epoll.modify(&link.stream, at, READ)?;
            }
            return Ok(false);
        }
        let length = match link.stream.read(&mut self.buffer[..SINK_ANSWER]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            other => other?,
        };
        link.answer.extend_from_slice(&self.buffer[..length]);
        if length > 0 {
            return Ok(false);
        }
        let said = (link.answer.len() == SINK_ANSWER)
            .then(|| (number(&link.answer[..8]), number(&link.answer[8..])));
        match said {
            Some((bytes, 0)) if bytes == self.plan.bytes => Ok(true),
            Some((bytes, wrong)) => {
                Err(io::Error::other(format!("the sink got {bytes} bytes, {wrong} reads wrong")))
            }
            None => Err(io::Error::new(ErrorKind::UnexpectedEof, "no answer of the sink")),
        }
    }
}
