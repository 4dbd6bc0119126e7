//! Lets hyper read and write any `AsyncRead + AsyncWrite`, and hears when bytes come in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};
use hyper::rt::ReadBufCursor;

/// A stream as hyper wants it. `heard` is called after each read that brought bytes.
pub(super) struct HyperIo<S, F> {
    stream: S,
    heard: F,
}

impl<S, F> HyperIo<S, F> {
    pub(super) fn new(stream: S, heard: F) -> HyperIo<S, F> {
        HyperIo { stream, heard }
    }
}

/// The most that one read takes; requests are small.
const READ_MAX: usize = 4096;

impl<S: AsyncRead + Unpin, F: Fn() + Unpin> hyper::rt::Read for HyperIo<S, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // hyper's buffer is not initialised: a small copy keeps this safe code.
        let mut bytes = [0; READ_MAX];
        let room = cursor.remaining().min(READ_MAX);
        match Pin::new(&mut self.stream).poll_read(cx, &mut bytes[..room]) {
            Poll::Ready(Ok(length)) => {
                cursor.put_slice(&bytes[..length]);
                if length > 0 {
                    (self.heard)();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin, F: Unpin> hyper::rt::Write for HyperIo<S, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
