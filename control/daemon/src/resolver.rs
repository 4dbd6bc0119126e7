//! Looks one name up: asks the questions that [`weir_control_core::resolve`] wants asked. Which
//! name, when, and what follows from the answer is decided there.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rustix::io::Errno;

use weir_control_core::resolve::{
    Fault, HeardMessage, Lookup, LookupOutcome, LookupStep, Query, Resolution, SystemFiles,
};

use crate::rt;

/// More than any server sends over UDP: it was asked for 1,232 bytes.
const DATAGRAM_MAX: usize = 4096;

/// Makes the look-up.
pub(crate) async fn resolve(lookup: &Lookup) -> LookupOutcome {
    let files = rt::blocking(system_files).await;
    let mut resolution = Resolution::new(lookup, files);
    loop {
        match resolution.step(number()) {
            LookupStep::Done(outcome) => return outcome,
            LookupStep::Ask { server, query, timeout } => {
                match ask(server, &query, timeout).await {
                    HeardMessage::NoEdns => resolution.leave_edns(),
                    HeardMessage::Answer(answer) => resolution.hear(answer),
                    HeardMessage::Truncated | HeardMessage::Stranger => {
                        resolution.hear(Err(Fault::Malformed))
                    }
                }
            }
        }
    }
}

/// The files as they are now: they may change while weir runs.
fn system_files() -> SystemFiles {
    let read = |path| std::fs::read(path).map(|it| String::from_utf8_lossy(&it).into_owned());
    let [resolv_conf, hosts] =
        ["/etc/resolv.conf", "/etc/hosts"].map(|it| read(it).unwrap_or_default());
    SystemFiles { resolv_conf, hosts }
}

/// A number that only the one who is asked can know: each hasher has keys of its own, which come
/// from the kernel's randomness.
fn number() -> u16 {
    let bytes = RandomState::new().build_hasher().finish().to_le_bytes();
    u16::from_le_bytes([bytes[0], bytes[1]])
}

/// Asks over UDP, and over TCP if the answer was cut: the part that came is not used.
async fn ask(server: SocketAddr, query: &Query, timeout: Duration) -> HeardMessage {
    let fault = |fault| HeardMessage::Answer(Err(fault));
    let Some(question) = query.bytes() else { return fault(Fault::Malformed) };
    let datagram = ask_by_datagram(server, query, &question);
    match rt::timeout(timeout, datagram).await {
        None => fault(Fault::Timeout),
        Some(Err(error)) => fault(of_error(&error)),
        Some(Ok(HeardMessage::Truncated)) => {
            let stream = ask_by_stream(server, query, &question, timeout);
            match rt::timeout(timeout, stream).await {
                None => fault(Fault::Timeout),
                Some(Err(error)) => fault(of_error(&error)),
                Some(Ok(heard)) => heard,
            }
        }
        Some(Ok(heard)) => heard,
    }
}

async fn ask_by_datagram(
    server: SocketAddr,
    query: &Query,
    question: &[u8],
) -> io::Result<HeardMessage> {
    // Connected: the kernel lets no other's datagrams through, and says if no one listens.
    let mut socket = rt::connect_udp(server)?;
    socket.write_all(question).await?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let count = socket.read(&mut buffer).await?;
        match query.hear(&buffer[..count]) {
            HeardMessage::Stranger => {}
            heard => return Ok(heard),
        }
    }
}

/// RFC 7766: the length goes before the message.
async fn ask_by_stream(
    server: SocketAddr,
    query: &Query,
    question: &[u8],
    timeout: Duration,
) -> io::Result<HeardMessage> {
    let mut stream = rt::connect_tcp(server, &[], timeout).await?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    let message = [&length.to_be_bytes(), question].concat();
    stream.write_all(&message).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).await?;
    Ok(query.hear(&message))
}

fn of_error(error: &io::Error) -> Fault {
    if let Some(why) = rt::local_fault(error) {
        return Fault::Local(why.to_owned());
    }
    match Errno::from_io_error(error) {
        Some(Errno::TIMEDOUT) => Fault::Timeout,
        None if error.kind() == io::ErrorKind::TimedOut => Fault::Timeout,
        None if error.kind() == io::ErrorKind::UnexpectedEof => Fault::Malformed,
        Some(_) | None => Fault::Unreachable,
    }
}

#[cfg(test)]
mod tests;
