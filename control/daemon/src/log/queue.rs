//! Lines on their way to the log: as many as fit, and a count of those that did not.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::form::LineForm;

/// Lines that may wait: a line for each backend of a large pool that went down at once, and more.
const LINES_MAX: usize = 4096;
/// Bytes that may wait, lines that are being written included.
const BYTES_MAX: usize = 1 << 20;
/// Bytes of a line; what the watchdog says of all threads at the end has some 100 KiB.
const LINE_MAX: usize = 256 << 10;
/// Until the next try on a descriptor that does not wait and has no room.
const RETRY: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct LineCounts {
    /// Lines that are not written yet.
    waiting: AtomicUsize,
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

/// Where lines are put. Any thread may, at any time.
#[derive(Clone, Debug)]
pub(super) struct LineQueue {
    lines: Sender<Vec<u8>>,
    counts: Arc<LineCounts>,
}

/// Where they are written, by one thread.
#[derive(Debug)]
pub(super) struct Drain<W> {
    to: W,
    form: LineForm,
    lines: Receiver<Vec<u8>>,
    counts: Arc<LineCounts>,
    /// Dropped lines that a line of the log has told of.
    told: u64,
    /// Lines written since dropped ones were looked for.
    unlooked: usize,
    /// The last line was written in part.
    torn: bool,
}

/// A queue and its other end.
pub(super) fn pair<W: Write>(to: W, form: LineForm) -> (LineQueue, Drain<W>) {
    let (queue, drain) = sized(lines_max(), to);
    (queue, Drain { form, ..drain })
}

/// Builds with debug assertions let a test make the queue small: WEIR_TEST_LOG_LINES.
fn lines_max() -> usize {
    let name = "WEIR_TEST_LOG_LINES";
    let text = if cfg!(debug_assertions) { std::env::var(name).ok() } else { None };
    text.and_then(|text| text.parse().ok()).unwrap_or(LINES_MAX)
}

fn sized<W: Write>(lines: usize, to: W) -> (LineQueue, Drain<W>) {
    let (sender, receiver) = bounded(lines);
    let counts = Arc::<LineCounts>::default();
    let queue = LineQueue { lines: sender, counts: Arc::clone(&counts) };
    (
        queue,
        Drain {
            to,
            form: LineForm::Text,
            lines: receiver,
            counts,
            told: 0,
            unlooked: 0,
            torn: false,
        },
    )
}

impl LineQueue {
    /// Puts a line, with its newline, or drops it. Never waits.
    pub(super) fn put(&self, mut line: Vec<u8>) {
        if line.len() > LINE_MAX {
            line.truncate(LINE_MAX - 1);
            line.push(b'\n');
        }
        let (counts, size) = (&*self.counts, line.len());
        counts.waiting.fetch_add(1, Ordering::AcqRel);
        let fits = counts.bytes.fetch_add(size, Ordering::AcqRel) + size <= BYTES_MAX;
        // A thread that has died drops its end: then every line is one too many.
        if !fits || self.lines.try_send(line).is_err() {
            counts.dropped.fetch_add(1, Ordering::AcqRel);
            counts.done(size);
        }
    }

    /// True if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.waiting.load(Ordering::Acquire) == 0
    }

    /// Lines that were not written and never will be.
    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Acquire)
    }
}

impl LineCounts {
    fn done(&self, size: usize) {
        self.bytes.fetch_sub(size, Ordering::AcqRel);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<W: Write> Drain<W> {
    /// Writes until nobody can put lines any more.
    pub(super) fn run(mut self) {
        while let Ok(line) = self.lines.recv() {
            self.line(&line);
            self.counts.done(line.len());
        }
    }

    fn line(&mut self, line: &[u8]) {
        let is_whole = (!self.torn || self.write(b"\n")) && self.write(line);
        if !is_whole {
            self.counts.dropped.fetch_add(1, Ordering::AcqRel);
            return;
        }
        self.unlooked += 1;
        // Behind the lines that came before the ones that were dropped.
        if self.lines.is_empty() || self.unlooked >= LINES_MAX {
            self.unlooked = 0;
            self.tell();
        }
    }

    /// Says how many lines were dropped since it was last said.
    fn tell(&mut self) {
        let dropped = self.counts.dropped.load(Ordering::Acquire);
        let new = dropped - self.told;
        let text = format!("{new} lines of the log were dropped, {dropped} in all");
        if new > 0 && self.write(&self.form.line("WARN", &text)) {
            self.told = dropped;
        }
    }

    /// True if all of `bytes` were taken. Waits for a descriptor that has no room.
    fn write(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(count) if count > 0 => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(RETRY),
                // The reader is gone, the disk is full: the next line may find it otherwise.
                Ok(_) | Err(_) => {
                    self.torn |= rest.len() < bytes.len();
                    return false;
                }
            }
        }
        self.torn = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;
    use std::io;

    /// Takes what it is told to take: N bytes, or the error, then everything.
    #[derive(Default)]
    struct Sink {
        answers: Vec<io::Result<usize>>,
        text: Vec<u8>,
    }

    impl Write for &mut Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let next = (!self.answers.is_empty()).then(|| self.answers.remove(0));
            let count = next.unwrap_or(Ok(bytes.len()))?;
            self.text.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines of what was written, without the time of those that have one.
    fn lines(sink: &Sink) -> Vec<String> {
        let text = String::from_utf8(sink.text.clone()).unwrap();
        let line = |line: &str| match line.split_once("  WARN ") {
            Some((_, rest)) => rest.to_owned(),
            None => line.to_owned(),
        };
        text.lines().map(line).collect()
    }

    fn put(queue: &LineQueue, lines: &[&str]) {
        for line in lines {
            queue.put(format!("{line}\n").into_bytes());
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_counted_and_told_behind_what_came_before() {
        let mut sink = Sink::default();
        let (queue, drain) = sized(2, &mut sink);
        put(&queue, &["a", "b", "c", "d"]);
        assert_eq!((queue.dropped(), queue.is_empty()), (2, false));
        let counts = queue.clone().counts;
        drop(queue);
        drain.run();
        assert_eq!(lines(&sink), ["a", "b", "2 lines of the log were dropped, 2 in all"]);
        assert_eq!(counts.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(counts.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bytes_are_bounded_and_so_is_a_line() {
        let (queue, drain) = sized(usize::from(u16::MAX), io::sink());
        for _ in 0..8 {
            queue.put(vec![b'x'; 1 << 20]);
        }
        assert_eq!(queue.dropped(), 4, "a line is cut to a quarter of what may wait");
        assert_eq!(drain.lines.recv().unwrap().len(), LINE_MAX);
        assert_eq!(drain.lines.recv().unwrap().last(), Some(&b'\n'));
    }

    #[test]
    fn a_disk_that_is_full_for_a_while_costs_lines_and_tears_none_of_the_others() {
        let full = || Err(ErrorKind::StorageFull.into());
        let mut sink = Sink {
            // "first\n" in two parts; three bytes of "second\n"; not even the newline; then room.
            answers: vec![Ok(2), Err(ErrorKind::Interrupted.into()), Ok(4), Ok(3), full(), full()],
            text: Vec::new(),
        };
        let (queue, mut drain) = sized(8, &mut sink);
        for line in ["first", "second", "third", "fourth"] {
            drain.line(format!("{line}\n").as_bytes());
        }
        assert_eq!(queue.dropped(), 2);
        drain.line(b"fifth\n");
        let told = "2 lines of the log were dropped, 2 in all";
        assert_eq!(lines(&sink), ["first", "sec", "fourth", told, "fifth"]);
    }

    #[test]
    fn a_thread_that_has_died_is_noticed_by_nobody() {
        let (queue, drain) = sized(8, io::sink());
        put(&queue, &["a"]);
        drop(drain);
        put(&queue, &["b", "c"]);
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn a_writer_that_stands_still_holds_nobody() {
        let (reader, writer) = io::pipe().unwrap();
        let (queue, drain) = sized(4, writer);
        let writing = thread::spawn(move || drain.run());
        let began = rt::now();
        for _ in 0..64 {
            queue.put(vec![b'x'; 64 << 10]); // a pipe holds one of them
        }
        // Two or so are in the pipe, one is in the thread's hands, four wait.
        assert!(queue.dropped() >= 64 - 8, "{}", queue.dropped());
        assert!(rt::now() - began < Duration::from_secs(10));
        assert!(!queue.is_empty());
        // It ends with the reader: what it held is lost.
        drop(reader);
        drop(queue);
        writing.join().unwrap();
    }
}
