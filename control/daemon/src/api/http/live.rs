//! `GET /api/v1/live`: the last 15 minutes, then the figures of each second. One frame a second is
//! made for all streams, and none while there is no stream.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_lite::stream;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};

use super::answer::json_of_version;
use super::connections::ConnectionSlot;
use super::streaming::{KEEP_ALIVE, RETRY_MS, message};
use crate::api::gate::{Gate, Handler};
use crate::rt;
use crate::serve::notify::Notify;

/// The newest frame, and those who wait for the next one.
#[derive(Debug, Default)]
pub(super) struct LiveFrames {
    /// With its number.
    newest: RefCell<Option<(u64, Bytes)>>,
    readers: Cell<usize>,
    bell: Notify,
}

/// One stream; dropping it says that it has left.
struct LiveReader {
    frames: Rc<LiveFrames>,
    /// The number of the last frame that it was given.
    seen: u64,
}

impl LiveReader {
    fn new(frames: Rc<LiveFrames>) -> LiveReader {
        frames.readers.set(frames.readers.get() + 1);
        frames.bell.ring();
        LiveReader { frames, seen: 0 }
    }

    /// The next frame. One that came and went meanwhile is skipped.
    async fn next(&mut self) -> Bytes {
        let seen = self.seen;
        let newer = || self.frames.newest.borrow().clone().filter(|(number, _)| *number > seen);
        let (number, frame) = self.frames.bell.until(newer).await;
        self.seen = number;
        frame
    }
}

impl Drop for LiveReader {
    fn drop(&mut self) {
        self.frames.readers.set(self.frames.readers.get() - 1);
    }
}

/// Makes frames as long as the process lives.
pub(super) async fn make<H: Handler + 'static>(frames: Rc<LiveFrames>, gate: Rc<Gate<H>>) {
    let mut number = 0;
    loop {
        if frames.readers.get() == 0 {
            *frames.newest.borrow_mut() = None;
            frames.bell.until(|| (frames.readers.get() > 0).then_some(())).await;
        }
        let points = gate.live_points();
        let text = message("figures", &gate.live_figures().await);
        number += 1;
        *frames.newest.borrow_mut() = Some((number, text.into()));
        frames.bell.ring();
        gate.live_points_after(points).await;
    }
}

/// The frames of a stream, as long as they are taken.
pub(super) fn frames<H: Handler + 'static>(
    gate: Rc<Gate<H>>,
    frames: Rc<LiveFrames>,
    slot: Rc<ConnectionSlot>,
) -> impl stream::Stream<Item = Bytes> {
    // It begins when the stream has its place.
    stream::unfold(None::<LiveReader>, move |reader| {
        let (gate, frames, slot) = (gate.clone(), frames.clone(), slot.clone());
        async move {
            slot.took(rt::now());
            let Some(mut reader) = reader else {
                let history = message("history", &gate.live_history().await);
                let first = format!("retry: {RETRY_MS}\n{history}");
                return Some((first.into(), Some(LiveReader::new(frames))));
            };
            let frame = rt::timeout(KEEP_ALIVE, reader.next()).await;
            Some((frame.unwrap_or_else(|| ":\n\n".into()), Some(reader)))
        }
    })
}

/// Both as one document.
pub(super) async fn document<H: Handler + 'static>(gate: &Gate<H>) -> Response<Bytes> {
    let version = gate.version();
    let (history, figures) = (gate.live_history().await, gate.live_figures().await);
    let start = "{\"schema\":\"weir/v1\"";
    let text = format!("{start},\"history\":{history},\"figures\":{figures}}}\n");
    json_of_version(StatusCode::OK, text, version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_gets_the_newest_frame_and_no_other() {
        rt::run(|| async {
            let frames = Rc::new(LiveFrames::default());
            let put = |number: u64| {
                *frames.newest.borrow_mut() = Some((number, format!("{number}").into()));
                frames.bell.ring();
            };
            let (mut quick, mut slow) =
                (LiveReader::new(frames.clone()), LiveReader::new(frames.clone()));
            assert_eq!(frames.readers.get(), 2);
            put(1);
            assert_eq!(quick.next().await, "1");
            put(2);
            assert_eq!(quick.next().await, "2");
            put(3);
            assert_eq!((slow.next().await, quick.next().await), ("3".into(), "3".into()));
            assert!(rt::timeout(core::time::Duration::ZERO, slow.next()).await.is_none());
            drop((quick, slow));
            assert_eq!(frames.readers.get(), 0);
        })
        .unwrap();
    }
}
