//! A herd: very many connections that say little. Threads with private descriptor tables, many
//! source addresses, nine bytes of state a connection; steps are told by lines of text.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{now_ns, seconds_to_ns};
use crate::latency::{Latencies, Summary};
use crate::load::serve::send_some;
use crate::load::{BATCH, Failures, PATIENCE, remaining};
use crate::pattern::Pattern;
use crate::sys::{self, Epoll, READ, WRITE};

/// Connections of a thread: below a table's 20,000 with room, and no address runs out of ports.
pub const THREAD_LINKS_MAX: usize = 16_000;
/// Descriptors of a thread that are no connections.
const SPARE_FILES: u64 = 64;
/// Connects under way in a thread.
const CONNECTS: usize = 32;
/// Source addresses of a thread: 127.2.THREAD.1 and on.
const SOURCES: usize = 4;
// An address has 28,232 ports by default.
const _: () = assert!(THREAD_LINKS_MAX / SOURCES < 28_000);
/// Threads: one octet of the source address.
const THREADS_MAX: usize = 250;

/// What to do.
#[derive(Clone, Debug)]
pub struct ManyConnectionsPlan {
    /// Connections go round these.
    pub targets: Vec<SocketAddr>,
    pub connections: usize,
    /// Bytes of an exchange, each way.
    pub size: usize,
    /// Everything ends after so long.
    pub seconds: f64,
}

/// A step that all threads take.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// Open all; one exchange on each.
    Open,
    /// An exchange on each `every`-th, `outstanding` at a time in each thread (0: all at once).
    Wake { every: usize, outstanding: usize },
    /// Has any said something unasked, or ended?
    Look,
    /// Close all with FIN.
    Close,
    /// Close all with a reset: nothing of them lingers in TIME_WAIT.
    Reset,
}

impl Step {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["open"] => Some(Self::Open),
            ["wake", every, outstanding] => {
                let every = every.parse().ok().filter(|every| *every > 0)?;
                Some(Self::Wake { every, outstanding: outstanding.parse().ok()? })
            }
            ["look"] => Some(Self::Look),
            ["close"] => Some(Self::Close),
            ["reset"] => Some(Self::Reset),
            _ => None,
        }
    }
}

/// What came of a step. `errors` counts connections lost in it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ManyConnectionsReport {
    pub step: String,
    /// Connections that stand after it.
    pub standing: u64,
    pub exchanges: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub seconds: f64,
    /// From the send of a request to the last byte of its answer.
    #[serde(flatten)]
    pub latency: Summary,
    pub cpu_us: u64,
}

/// What one thread says of a step.
#[derive(Default)]
struct Done {
    standing: u64,
    exchanges: u64,
    failures: Failures,
    latencies: Latencies,
}

/// Takes the steps that `input` tells, one a line, and reports each in a line of JSON.
pub fn run(
    plan: &ManyConnectionsPlan,
    input: impl BufRead,
    output: &mut impl Write,
) -> io::Result<u64> {
    let limit = sys::raise_open_files()?.saturating_sub(SPARE_FILES);
    let each = usize::try_from(limit).unwrap_or(THREAD_LINKS_MAX).clamp(1, THREAD_LINKS_MAX);
    let threads = plan.connections.div_ceil(each);
    if threads > THREADS_MAX {
        return Err(io::Error::other(format!("at most {} connections", THREADS_MAX * each)));
    }
    let end_ns = now_ns() + seconds_to_ns(plan.seconds);
    let pattern = Arc::new(Pattern::new());
    let (told, done) = mpsc::channel();
    let mut orders = Vec::new();
    for thread in 0..threads {
        let (order, ordered) = mpsc::channel();
        orders.push(order);
        let (plan, pattern, told) = (plan.clone(), Arc::clone(&pattern), told.clone());
        std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
            let first = thread * each;
            let count = each.min(plan.connections - first);
            let place = Place { thread, first, count, end_ns };
            work(&plan, place, pattern, &ordered, &told);
        })?;
    }
    let mut errors = 0;
    for line in input.lines() {
        let line = line?;
        let step = Step::parse(&line)
            .ok_or_else(|| io::Error::other(format!("no such step: {line:?}")))?;
        let report = take(step, &line, &orders, &done, end_ns)?;
        errors += report.errors;
        writeln!(output, "{}", serde_json::to_string(&report)?)?;
        output.flush()?;
    }
    Ok(errors)
}

fn take(
    step: Step,
    line: &str,
    orders: &[Sender<Step>],
    done: &Receiver<Done>,
    end_ns: u64,
) -> io::Result<ManyConnectionsReport> {
    let (start, cpu) = (now_ns(), sys::own_cpu_ns());
    let gone = || io::Error::other("a thread has ended");
    for order in orders {
        order.send(step).map_err(|_| gone())?;
    }
    let mut all = Done::default();
    for _ in orders {
        // Threads end their steps by themselves when the time is over.
        let patience = remaining(end_ns, now_ns()) + PATIENCE * 2;
        let one = done.recv_timeout(patience).map_err(|_| gone())?;
        all.standing += one.standing;
        all.exchanges += one.exchanges;
        all.failures.errors += one.failures.errors;
        all.failures.first = all.failures.first.or(one.failures.first);
        all.latencies.merge(&one.latencies);
    }
    Ok(ManyConnectionsReport {
        step: line.trim().to_string(),
        standing: all.standing,
        exchanges: all.exchanges,
        errors: all.failures.errors,
        first_error: all.failures.first,
        seconds: Duration::from_nanos(now_ns() - start).as_secs_f64(),
        latency: all.latencies.summary(),
        cpu_us: (sys::own_cpu_ns() - cpu) / 1_000,
    })
}

/// A thread's part.
#[derive(Clone, Copy)]
struct Place {
    thread: usize,
    /// Number of its first connection.
    first: usize,
    count: usize,
    end_ns: u64,
}

fn work(
    plan: &ManyConnectionsPlan,
    place: Place,
    pattern: Arc<Pattern>,
    ordered: &Receiver<Step>,
    told: &Sender<Done>,
) {
    let started = sys::own_files().and_then(|()| Epoll::new());
    let mut worker = started.map(|epoll| Worker {
        plan,
        place,
        pattern,
        epoll,
        links: (0..place.count).map(|_| None).collect(),
        exchanges: vec![0; place.count],
        done: Done::default(),
    });
    while let Ok(step) = ordered.recv() {
        let done = match &mut worker {
            Ok(worker) => worker.step(step),
            Err(error) => {
                let mut done = Done::default();
                done.failures.note(format!("a private descriptor table: {error}"));
                done
            }
        };
        if told.send(done).is_err() {
            return;
        }
    }
}

struct Worker<'a> {
    plan: &'a ManyConnectionsPlan,
    place: Place,
    pattern: Arc<Pattern>,
    epoll: Epoll,
    links: Vec<Option<TcpStream>>,
    /// Exchanges done on each connection.
    exchanges: Vec<u8>,
    done: Done,
}

impl Worker<'_> {
    fn step(&mut self, step: Step) -> Done {
        self.done = Done::default();
        let result = match step {
            Step::Open => self.open(),
            Step::Wake { every, outstanding } => {
                let all = self.place.count;
                // Numbers of the whole herd, so that all threads together wake 1/every of it.
                let skip = (every - self.place.first % every) % every;
                let chosen: Vec<usize> = (skip..all).step_by(every).collect();
                let group = if outstanding == 0 { chosen.len().max(1) } else { outstanding };
                chosen.chunks(group).try_for_each(|group| self.exchange(group))
            }
            Step::Look => self.look(),
            Step::Close | Step::Reset => {
                if step == Step::Reset {
                    let all = self.links.iter().flatten();
                    all.for_each(|link| drop(sys::reset_on_close(link)));
                }
                self.links.iter_mut().for_each(|link| *link = None);
                Ok(())
            }
        };
        if let Err(error) = result {
            self.done.failures.note(error);
        }
        self.done.standing = self.links.iter().flatten().count() as u64;
        std::mem::take(&mut self.done)
    }

    fn open(&mut self) -> io::Result<()> {
        let all: Vec<usize> = (0..self.place.count).collect();
        for group in all.chunks(CONNECTS) {
            let mut waiting = 0;
            for &at in group {
                let number = self.place.first + at;
                let target = self.plan.targets[number % self.plan.targets.len()];
                let source = source(self.place.thread, at);
                let link = sys::connect_start(target, Some(source));
                match link.and_then(|link| self.epoll.add(&link, at, WRITE).map(|()| link)) {
                    Ok(link) => {
                        self.links[at] = Some(link);
                        waiting += 1;
                    }
                    Err(error) => self.done.failures.note(format!("connect {number}: {error}")),
                }
            }
            self.connected(group, waiting)?;
            self.exchange(group)?;
        }
        Ok(())
    }

    /// Waits until the connects under way, `waiting` of this group, are done.
    fn connected(&mut self, group: &[usize], mut waiting: usize) -> io::Result<()> {
        let mut events = vec![sys::no_event(); CONNECTS];
        let end = self.patience();
        while waiting > 0 {
            let now = now_ns();
            if now >= end {
                return Err(io::Error::other(format!("{waiting} connects had no answer")));
            }
            let ready = self.epoll.wait(&mut events, remaining(end, now))?;
            for event in &events[..ready] {
                let at = usize::try_from(event.u64).expect("tokens are ours");
                let Some(link) = &self.links[at] else { continue };
                if group.binary_search(&at).is_err() {
                    self.lose(at, "it spoke unasked, or ended");
                    continue;
                }
                let told = match link.take_error()? {
                    Some(error) => Err(error),
                    None => self.epoll.modify(link, at, READ),
                };
                waiting -= 1;
                if let Err(error) = told {
                    self.lose(at, &error.to_string());
                }
            }
        }
        Ok(())
    }

    /// One exchange on each of these (ascending), all at once.
    fn exchange(&mut self, chosen: &[usize]) -> io::Result<()> {
        let size = self.plan.size;
        let mut sent_ns = vec![0_u64; chosen.len()];
        let mut received = vec![0_usize; chosen.len()];
        let mut waiting = 0;
        for (place, &at) in chosen.iter().enumerate() {
            let Some(link) = &mut self.links[at] else { continue };
            let key = (self.place.first + at) as u64;
            let position = u64::from(self.exchanges[at]) * size as u64;
            sent_ns[place] = now_ns();
            match send_some(link, self.pattern.slice(key, position, size)) {
                Ok(sent) if sent == size => waiting += 1,
                Ok(_) => self.lose(at, "it takes no request"),
                Err(error) => self.lose(at, &error.to_string()),
            }
        }
        let (mut events, mut buffer) = (vec![sys::no_event(); BATCH], vec![0; size + 1]);
        let end = self.patience();
        while waiting > 0 {
            let now = now_ns();
            if now >= end {
                return Err(io::Error::other(format!("{waiting} answers never came")));
            }
            let ready = self.epoll.wait(&mut events, remaining(end, now))?;
            for event in &events[..ready] {
                let at = usize::try_from(event.u64).expect("tokens are ours");
                let place = chosen.binary_search(&at);
                let Ok(place) = place else {
                    self.lose(at, "it spoke unasked, or ended");
                    continue;
                };
                match self.receive(at, received[place], &mut buffer) {
                    Ok(length) => received[place] += length,
                    Err(error) => {
                        self.lose(at, &error.to_string());
                        waiting -= 1;
                        continue;
                    }
                }
                if received[place] == size {
                    self.done.latencies.record(now_ns().saturating_sub(sent_ns[place]));
                    self.done.exchanges += 1;
                    self.exchanges[at] = self.exchanges[at].wrapping_add(1);
                    waiting -= 1;
                }
            }
        }
        Ok(())
    }

    /// Reads and compares what is there; `received` of the answer were there before.
    fn receive(&mut self, at: usize, received: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.plan.size;
        let Some(link) = &mut self.links[at] else { return Ok(0) };
        let room = size - received;
        let length = match link.read(&mut buffer[..=room]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            other => other?,
        };
        let key = (self.place.first + at) as u64;
        let position = u64::from(self.exchanges[at]) * size as u64 + received as u64;
        if length == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed"));
        }
        if length > room || !self.pattern.matches(key, position, &buffer[..length]) {
            return Err(io::Error::new(ErrorKind::InvalidData, "the answer is not the request"));
        }
        Ok(length)
    }

    fn look(&mut self) -> io::Result<()> {
        let mut events = vec![sys::no_event(); BATCH];
        loop {
            let ready = self.epoll.wait(&mut events, Duration::ZERO)?;
            for event in &events[..ready] {
                let at = usize::try_from(event.u64).expect("tokens are ours");
                self.lose(at, "it spoke unasked, or ended");
            }
            if ready == 0 {
                return Ok(());
            }
        }
    }

    fn lose(&mut self, at: usize, why: &str) {
        let number = self.place.first + at;
        if self.links[at].take().is_some() {
            self.done.failures.note(format!("connection {number}: {why}"));
        }
    }

    /// Until when something under way may take.
    fn patience(&self) -> u64 {
        (now_ns() + seconds_to_ns(PATIENCE.as_secs_f64() * 3.0)).min(self.place.end_ns)
    }
}

fn source(thread: usize, at: usize) -> IpAddr {
    let octet = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    IpAddr::V4(Ipv4Addr::new(127, 2, octet(thread), octet(1 + at % SOURCES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read() {
        assert_eq!(Step::parse("open"), Some(Step::Open));
        let wake = Step::Wake { every: 100, outstanding: 0 };
        assert_eq!(Step::parse("wake 100 0\n"), Some(wake));
        for wrong in ["", "wake", "wake 0 1", "wake 1", "open all", "tea"] {
            assert_eq!(Step::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_thread_has_addresses_of_its_own() {
        assert_eq!(source(0, 0), IpAddr::from([127, 2, 0, 1]));
        assert_eq!(source(7, 5), IpAddr::from([127, 2, 7, 2]));
    }
}
