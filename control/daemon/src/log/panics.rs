//! Panics as lines of the log. The standard hook prints to stderr under a lock, waits there for a
//! reader that stands still, and what fails inside a hook ends the process.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write;
use std::panic::{self, Location};
use std::thread;

use weir_proto::outside::cleaned;

use super::form::LineForm;
use super::queue::LineQueue;

/// Bytes of a panic's message that are kept.
const MESSAGE_MAX: usize = 4 << 10;

/// Every panic is told to the log from now on, with a backtrace if RUST_BACKTRACE asks for one.
pub(super) fn tell(queue: LineQueue, form: LineForm) {
    panic::set_hook(Box::new(move |info| {
        let mut text = line(info.payload(), info.location(), thread::current().name());
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            let _ = write!(text, "\n{backtrace}"); // a String takes everything
        }
        queue.put(form.line("ERROR", text.trim_end()));
    }));
}

fn line(payload: &dyn Any, place: Option<&Location<'_>>, thread: Option<&str>) -> String {
    let known = payload.downcast_ref::<&str>().copied();
    let message = known.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("a panic without a text");
    let message = cleaned(message, MESSAGE_MAX);
    let mut text = format!("thread '{}' panicked", thread.unwrap_or("without a name"));
    if let Some(place) = place {
        let _ = write!(text, " at {place}");
    }
    text + ": " + &message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_of_bounded_length() {
        let here = Location::caller();
        let text = line(&"oh", Some(here), Some("weir-shard-1"));
        assert!(text.ends_with(": oh") && text.contains(file!()), "{text}");
        assert!(text.starts_with("thread 'weir-shard-1' panicked at "), "{text}");
        let text = line(&"ä".repeat(MESSAGE_MAX), None, None);
        assert!(text.len() < MESSAGE_MAX + 100 && text.ends_with("ä…"), "{}", text.len());
        assert!(line(&7, None, None).ends_with("without a text"));
    }
}
