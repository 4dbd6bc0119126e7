//! A body that goes out piece by piece: a page for a hundred thousand backends is 170 MB, and hyper
//! copies what it is given. Or one that goes on: a frame is made when the one before was taken.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::Stream;
use hyper::body::{Body, Bytes, Frame, SizeHint};

/// The longest piece, in bytes.
const PIECE_MAX: usize = 64 << 10;
/// Pieces of one turn: a reader that keeps up would have all of them in one.
const PIECES_MAX: usize = 8;

/// Frames that come one after the other.
type Frames = Pin<Box<dyn Stream<Item = Bytes>>>;

/// The body of an answer.
pub(super) enum Outgoing {
    Whole(Bytes),
    /// It goes on as long as it is taken.
    Stream(Frames),
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Outgoing {
        Outgoing::Whole(bytes)
    }
}

/// Bytes that have not been handed out.
pub(super) struct Pieces {
    rest: Bytes,
    /// Those after them, if it is a stream.
    more: Option<Frames>,
    /// Pieces that this turn may hand out still.
    left: usize,
}

impl Pieces {
    pub(super) fn new(body: Outgoing) -> Pieces {
        let (rest, more) = match body {
            Outgoing::Whole(bytes) => (bytes, None),
            Outgoing::Stream(frames) => (Bytes::new(), Some(frames)),
        };
        Pieces { rest, more, left: PIECES_MAX }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let is_over = self.rest.is_empty() && self.more.is_none();
        if is_over {
            return Poll::Ready(None);
        }
        if self.left == 0 {
            self.left = PIECES_MAX;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.rest.is_empty()
            && let Some(frames) = &mut self.more
        {
            match frames.as_mut().poll_next(context) {
                Poll::Ready(Some(frame)) => self.rest = frame,
                Poll::Ready(None) => {
                    self.more = None;
                    return Poll::Ready(None);
                }
                // Whatever comes next is for another turn.
                Poll::Pending => {
                    self.left = PIECES_MAX;
                    return Poll::Pending;
                }
            }
        }
        self.left -= 1;
        let length = self.rest.len().min(PIECE_MAX);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.more.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.more {
            None => SizeHint::with_exact(self.rest.len() as u64),
            Some(_) => SizeHint::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_goes_out_in_turns_that_have_an_end() {
        let bytes: Vec<u8> = (0..PIECE_MAX * 20 + 5).map(|at| at.to_le_bytes()[0]).collect();
        let mut body = Pieces::new(Bytes::from(bytes.clone()).into());
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let (mut out, mut turns) = (Vec::new(), 1);
        loop {
            match Pin::new(&mut body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => {
                    out.extend_from_slice(&frame.into_data().expect("it is data"));
                }
                Poll::Ready(Some(Err(never))) => match never {},
                Poll::Ready(None) => break,
                Poll::Pending => turns += 1,
            }
        }
        assert!(out == bytes && turns == 3 && body.is_end_stream(), "{turns} turns");
    }

    #[test]
    fn a_frame_is_made_when_the_one_before_was_taken() {
        let made = std::rc::Rc::new(std::cell::Cell::new(0));
        let counter = made.clone();
        let frames = futures_lite::stream::unfold((), move |()| {
            counter.set(counter.get() + 1);
            core::future::ready(Some((Bytes::from(vec![7; PIECE_MAX + 1]), ())))
        });
        let mut body = Pieces::new(Outgoing::Stream(Box::pin(frames)));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (None, false));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut take = || match Pin::new(&mut body).poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().expect("it is data").len(),
            _ => 0,
        };
        for number in 1..=PIECES_MAX / 2 {
            assert_eq!((take(), made.get()), (PIECE_MAX, number));
            assert_eq!((take(), made.get()), (1, number), "the rest of it");
        }
        assert_eq!((take(), made.get()), (0, PIECES_MAX / 2), "the turn is over");
        assert_eq!((take(), made.get()), (PIECE_MAX, PIECES_MAX / 2 + 1));
    }
}
