//! A body that goes out piece by piece: a page for a hundred thousand backends is 170 MB, and hyper
//! copies what it is given.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// The longest piece, in bytes.
const PIECE_MAX: usize = 64 << 10;
/// Pieces of one turn: a reader that keeps up would have all of them in one.
const PIECES_MAX: usize = 8;

/// Bytes that have not been handed out.
pub(super) struct Pieces {
    rest: Bytes,
    /// Pieces that this turn may hand out still.
    left: usize,
}

impl Pieces {
    pub(super) fn new(bytes: Bytes) -> Pieces {
        Pieces { rest: bytes, left: PIECES_MAX }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if self.left == 0 {
            self.left = PIECES_MAX;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.left -= 1;
        let length = self.rest.len().min(PIECE_MAX);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_goes_out_in_turns_that_have_an_end() {
        let bytes: Vec<u8> = (0..PIECE_MAX * 20 + 5).map(|at| at.to_le_bytes()[0]).collect();
        let mut body = Pieces::new(Bytes::from(bytes.clone()));
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
}
