//! The Unix socket for weirctl: a handshake, then one answer for each request.
//!
//! A bad client costs itself only.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_proto::frame::{self, FrameError, Incoming};
use weir_proto::outside::cleaned;
use weir_proto::request::{Code, Hello, PROTOCOL, Refusal, Request, Response, Welcome};

use super::clients::{ClientSlot, Clients};
use super::gate::{Gate, Handler, Principal};
use super::roles::Role;
use crate::rt::{self, Bulky, Stream, UnixServer};

/// How long a frame may take from its first byte to its last, and an answer to be taken.
const FRAME_MAX: Duration = Duration::from_secs(5);
/// How long a client may ask nothing.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// Bytes of what was wrong with a client that go into the log.
const WHY_MAX: usize = 200;

/// The bound socket.
pub(crate) struct Door {
    server: UnixServer,
}

/// The socket's file; dropping this takes it away. Apart from the [`Door`], because a task that
/// still runs when the executor ends is not dropped.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Not yet, while another process serves there.
    is_ours: bool,
}

/// Why a conversation ended.
#[derive(Debug)]
enum End {
    /// The client left.
    Gone,
    /// It said something that is no frame, or was too slow.
    Bad(String),
}

impl Door {
    /// Binds the socket at `path`. Its directory is made (mode 0750) if it is missing; a socket
    /// that nobody answers on is what an earlier weir left, and is replaced.
    ///
    /// # Errors
    /// Somebody answers there, something else is there, the socket or its directory is a symbolic
    /// link, or the path cannot be written.
    pub(crate) fn open(path: &Path) -> Result<(Door, SocketFile), String> {
        let text = |error: io::Error| format!("the control socket {}: {error}", path.display());
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(directory)
                .map_err(text)?;
            no_link("the control socket's directory", directory)?;
        }
        remove_stale(path)?;
        let server = UnixServer::bind(path).map_err(text)?;
        Ok((Door { server }, SocketFile { path: path.to_owned(), is_ours: true }))
    }

    /// The socket that another process has bound at `path`.
    pub(crate) fn of(socket: OwnedFd, path: &Path) -> (Door, SocketFile) {
        let file = SocketFile { path: path.to_owned(), is_ours: false };
        (Door { server: UnixServer::of(socket) }, file)
    }

    /// The same socket once more.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        self.server.socket()
    }

    /// Talks to every client that comes, for ever.
    pub(crate) async fn serve<H: Handler + 'static>(self: Rc<Self>, gate: Rc<Gate<H>>) {
        let clients = Rc::new(Clients::default());
        loop {
            // Those who have come say hello before the next one may take their place, and a flood
            // of them does not keep the thread.
            rt::pause().await;
            let (stream, peer) = self.server.accept().await;
            let (uid, pid) = (peer.uid, peer.pid);
            let principal = gate.peer(peer);
            let Some(place) = clients.admit(principal.role(), rt::now()) else {
                if gate.may_write(&principal) {
                    tracing::warn!(uid, pid, "too many clients; one turned away");
                }
                continue;
            };
            let gate = gate.clone();
            rt::spawn("client", async move {
                let caller = Caller { gate: &gate, principal: &principal, place: &place };
                // Asked first: a place that is gone must not begin to answer.
                let cut = async {
                    place.cut().await;
                    Err(End::Bad("it said nothing and others came".to_owned()))
                };
                let ended = futures_lite::future::or(cut, converse(stream, &caller)).await;
                if let Err(End::Bad(why)) = ended
                    && gate.may_write(&principal)
                {
                    let why = cleaned(&why, WHY_MAX);
                    tracing::warn!(uid, pid, "a client was cut off: {why}");
                }
            });
        }
    }
}

/// Who talks, and to whom.
struct Caller<'a, H> {
    gate: &'a Gate<H>,
    principal: &'a Principal,
    place: &'a ClientSlot,
}

impl SocketFile {
    /// This process serves there.
    pub(crate) fn claim(&mut self) {
        self.is_ours = true;
    }

    /// Another process does from here on.
    pub(crate) fn leave(&mut self) {
        self.is_ours = false;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours {
            // If it is gone, so much the better.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn no_link(what: &str, path: &Path) -> Result<(), String> {
    crate::paths::link(what, path).map_or(Ok(()), Err)
}

fn remove_stale(path: &Path) -> Result<(), String> {
    let there = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("the control socket {}: {error}", path.display())),
        Ok(there) => there,
    };
    no_link("the control socket", path)?;
    if !there.file_type().is_socket() {
        return Err(format!(
            "the control socket {}: something that is not a socket is there; \
             move it away, or name another path: [weir] control = \"PATH\"",
            path.display()
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
                .map_err(|error| format!("the control socket {}: {error}", path.display()))
        }
        Err(error) => Err(format!("the control socket {}: {error}", path.display())),
        Ok(_) => Err(format!(
            "the control socket {}: another weir answers there; \
             stop it (weirctl -s {0} stop), or name another path: [weir] control = \"PATH\"",
            path.display()
        )),
    }
}

async fn converse<H: Handler + 'static>(
    mut stream: Stream,
    caller: &Caller<'_, H>,
) -> Result<(), End> {
    let hello = rt::timeout(FRAME_MAX, read::<Hello>(&mut stream, frame::BODY_MAX)).await;
    let hello = hello.unwrap_or_else(|| Err(End::Bad("it said no hello".to_owned())))?;
    let program = env!("CARGO_PKG_VERSION").to_owned();
    write(&mut stream, &Welcome { protocol: PROTOCOL, program }).await?;
    if hello.protocol != PROTOCOL {
        let theirs = hello.protocol;
        return Err(End::Bad(format!("it speaks protocol {theirs}, and this weir {PROTOCOL}")));
    }
    // Only a file that is applied is longer than a frame, and only an admin applies one.
    let is_admin = caller.principal.role() == Some(Role::Admin);
    let most = if is_admin { frame::REQUEST_MAX } else { frame::BODY_MAX };
    loop {
        caller.place.is_silent(rt::now());
        let request: Request = read(&mut stream, most).await?;
        caller.place.is_answered();
        let _answering = caller.gate.answering();
        let response = caller.gate.ask(caller.principal, request).await;
        answer(&mut stream, response).await?;
    }
}

/// Reads one message of at most `most` bytes. Its first byte may take its time, the rest of each
/// frame may not.
async fn read<T: DeserializeOwned + Send + 'static>(
    stream: &mut Stream,
    most: usize,
) -> Result<T, End> {
    let mut header = [0; frame::HEADER];
    let first = rt::timeout(IDLE_MAX, stream.read(&mut header[..1])).await;
    match first {
        None => return Err(End::Gone),
        Some(Ok(0) | Err(_)) => return Err(End::Gone),
        Some(Ok(_)) => {}
    }
    let mut incoming = Incoming::new(most);
    let mut from = 1;
    while incoming.has_more() {
        let rest = async {
            stream.read_exact(&mut header[from..]).await.map_err(cut_short)?;
            let body = incoming.next(header).map_err(bad)?;
            stream.read_exact(body).await.map_err(cut_short)
        };
        let read = rt::timeout(FRAME_MAX, rest).await;
        read.unwrap_or_else(|| Err(End::Bad(format!("a frame took longer than {FRAME_MAX:?}"))))?;
        from = 0;
    }
    let body = incoming.into_body();
    let is_long = body.len() > frame::BODY_MAX;
    rt::blocking_if(is_long, move || frame::decode(&body).map_err(bad)).await
}

fn bad(error: FrameError) -> End {
    End::Bad(error.to_string())
}

fn cut_short(_: io::Error) -> End {
    End::Bad("it left in the middle of a frame".to_owned())
}

/// Writes one value that fits into a frame.
async fn write<T: Serialize>(stream: &mut Stream, value: &T) -> Result<(), End> {
    write_bytes(stream, &frame::encode(value).map_err(bad)?).await
}

/// Writes an answer, in as many frames as it needs.
async fn answer(stream: &mut Stream, response: Response) -> Result<(), End> {
    let is_long = matches!(&response, Response::Done(answer) if answer.is_long());
    let bytes = rt::blocking_if(is_long, move || encoded(&response)).await;
    write_bytes(stream, &Bulky::new(bytes.map_err(bad)?)).await
}

fn encoded(response: &Response) -> Result<Vec<u8>, FrameError> {
    frame::encode_message(response, frame::ANSWER_MAX).or_else(|error| {
        let hint = "ask for less: one pool, or one object by its name";
        frame::encode(&Response::Refused(Refusal::new(Code::Failed, error.to_string(), hint)))
    })
}

/// Writes frames, each within [`FRAME_MAX`].
async fn write_bytes(stream: &mut Stream, bytes: &[u8]) -> Result<(), End> {
    for (index, frame) in bytes.chunks(frame::HEADER + frame::BODY_MAX).enumerate() {
        if index > 0 {
            rt::give_way().await;
        }
        let written = rt::timeout(FRAME_MAX, async {
            stream.write_all(frame).await?;
            stream.flush().await
        });
        match written.await {
            Some(Ok(())) => {}
            Some(Err(_)) => return Err(End::Gone),
            None => return Err(End::Bad("it does not read its answer".to_owned())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
