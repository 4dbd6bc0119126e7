//! The log. One thread writes it to stderr; all others hand it lines and never wait (ADR 0020).
//!
//! ```text
//! tracing ──────────┐
//! panics (hook) ────┼─ put: try_send ──▶ queue ──▶ weir-log ── write(2) ──▶ stderr as it was given
//! stdout, stderr ───┘                      │ full, or the write failed: dropped and counted
//!   └─ a pipe ─ weir-strays                └ told in a line when the log can be written again
//! ```

mod form;
mod levels;
mod panics;
mod queue;

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tracing_subscriber::filter::EnvFilter;
use weir_proto::outside::steers;

use crate::{rt, streams};
use form::LineForm;
use queue::LineQueue;

/// The target of lines that are written at every level: commands, refusals, signals.
pub(crate) const AUDIT: &str = "weir::audit";

/// How long the end of the process waits for the log at most: its reader may stand still.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Between two looks at whether everything is written.
const STEP: Duration = Duration::from_millis(1);
/// Bytes of a printed line that are kept together.
const STRAY_MAX: usize = 8 << 10;

static LOG: OnceLock<(LineQueue, LineForm)> = OnceLock::new();

/// Starts the thread, and sends it one line an event (`WEIR_LOG` sets what is shown, `info` by
/// default, and `WEIR_LOG_FORMAT` how) and one a panic. Once a process, before anything serves.
///
/// # Errors
/// A sentence for the operator: no descriptor, no thread, or a level or a form that does not exist.
pub(crate) fn start() -> Result<(), String> {
    let text = |error: io::Error| format!("the log cannot have a thread: {error}");
    let form = LineForm::named(&variable("WEIR_LOG_FORMAT"))?;
    let directives = levels::directives(&variable("WEIR_LOG"))?;
    let is_text = form == LineForm::Text;
    let colour = is_text && streams::err_is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (queue, drain) = queue::pair(File::from(streams::err_again().map_err(text)?), form);
    thread::Builder::new().name("weir-log".to_owned()).spawn(move || drain.run()).map_err(text)?;
    panics::tell(queue.clone(), form);
    let _ = LOG.set((queue, form));
    let filter = EnvFilter::new(directives);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Line { colour })
        // What it says when a line cannot be written it prints itself.
        .log_internal_errors(false)
        .with_ansi(colour)
        .with_target(false);
    match form {
        LineForm::Text => lines.init(),
        LineForm::Json => lines.json().flatten_event(true).init(),
    }
    weir_engine::linger_before_abort(is_written);
    Ok(())
}

/// A variable of the environment; empty if it is not there.
fn variable(name: &str) -> String {
    std::env::var_os(name).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

/// From now on what anybody prints is a line of the log. Before shards are started: they copy the
/// descriptors.
///
/// # Errors
/// A sentence for the operator: no descriptor or no thread.
pub(crate) fn take_strays() -> Result<(), String> {
    let Some((queue, form)) = LOG.get() else { return Ok(()) };
    let text = |error: io::Error| format!("stdout and stderr cannot be taken over: {error}");
    let strays = streams::divert().map_err(text)?;
    let run = move || collect(strays, queue, *form);
    thread::Builder::new().name("weir-strays".to_owned()).spawn(run).map(drop).map_err(text)
}

/// Puts each printed line into the log, for ever: a pipe that nobody reads would hold who prints.
fn collect(mut from: PipeReader, queue: &LineQueue, form: LineForm) {
    let (mut chunk, mut line) = ([0; 1024], Vec::new());
    loop {
        let Ok(count) = from.read(&mut chunk) else {
            thread::park_timeout(STEP);
            continue;
        };
        if count == 0 {
            return; // nobody can print any more
        }
        for byte in &chunk[..count] {
            line.push(*byte);
            if *byte == b'\n' || line.len() == STRAY_MAX {
                let text = String::from_utf8_lossy(&line);
                queue.put(form.bare("INFO", text.strip_suffix('\n').unwrap_or(&text)));
                line.clear();
            }
        }
    }
}

/// Says why the program does not run: in the log, or on stderr if there is none.
pub(crate) fn say(text: &str) {
    match LOG.get() {
        Some((queue, form)) => queue.put(form.bare("ERROR", text)),
        None => streams::err(text),
    }
}

/// Puts a line, with its newline, between those of the log; without a time and a level.
pub(crate) fn say_line(line: &str) {
    if let Some((queue, _)) = LOG.get() {
        queue.put(line.as_bytes().to_vec());
    }
}

/// Waits until everything is written, for [`FLUSH_MAX`] at most.
pub(crate) fn finish() {
    wait_for(is_written);
}

/// Waits until a log is written, for [`FLUSH_MAX`] at most: it may be that it never is.
pub(crate) fn wait_for(is_written: impl Fn() -> bool) {
    let began = rt::now();
    while !is_written() && rt::now() - began < FLUSH_MAX {
        thread::park_timeout(STEP);
    }
}

/// Lines that nobody will read: there was no room for them, or they could not be written.
pub(crate) fn dropped_total() -> u64 {
    LOG.get().map_or(0, |(queue, _)| queue.dropped())
}

/// Called by a signal handler too: it only reads two words.
fn is_written() -> bool {
    LOG.get().is_none_or(|(queue, _)| queue.is_empty())
}

/// Takes one event at a time, and takes it always.
struct Line {
    /// Escape sequences are the log's own.
    colour: bool,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some((queue, _)) = LOG.get() {
            queue.put(one_entry(bytes, self.colour));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of one event as one entry of the log: a line of it that is not the first is indented,
/// so that no text from outside looks like an entry, and nothing in it steers a terminal.
fn one_entry(event: &[u8], colour: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(event);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let mut entry = String::with_capacity(text.len() + 1);
    for letter in text.chars() {
        match letter {
            '\n' => entry += "\n    ",
            '\x1b' if colour => entry.push(letter),
            letter if steers(letter) => entry.push('·'),
            letter => entry.push(letter),
        }
    }
    entry.push('\n');
    entry.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_entry_whatever_its_text_says() {
        let event = b"2026 WARN a\n2026 INFO audit: done\x1b[2J\xc2\x9b2J\xe2\x80\xae!\n";
        let entry = |colour| String::from_utf8(one_entry(event, colour)).unwrap();
        assert_eq!(entry(false), "2026 WARN a\n    2026 INFO audit: done·[2J·2J·!\n");
        assert_eq!(entry(true), "2026 WARN a\n    2026 INFO audit: done\x1b[2J·2J·!\n");
        assert_eq!(one_entry(b"plain\n", false), b"plain\n");
    }
}
