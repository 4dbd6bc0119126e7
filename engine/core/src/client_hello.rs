//! The ClientHello of TLS (RFC 8446, 4.1.2): the server name (RFC 6066, 3) and the application
//! protocols (RFC 7301) that a client asks for, read without decrypting anything.
//!
//! A hello may be cut at any byte by segments, and spread over records, each with a header of its
//! own. It is joined where it is, and read only when it is whole: extensions come in any order.

/// The most bytes of a connection that are looked at, the headers of records included. Hellos
/// with post-quantum keys have less than 2 KiB.
pub const HELLO_MAX: usize = 16 * 1024;

/// The header of a record: its kind, the version of the protocol, its length.
const RECORD_HEADER: usize = 5;
/// A record of handshake messages.
const HANDSHAKE: u8 = 22;
/// The most bytes in one record (RFC 8446, 5.1).
const RECORD_MAX: usize = 1 << 14;
/// Before a handshake message: its kind, and its length in 24 bits.
const MESSAGE_HEADER: usize = 4;
const CLIENT_HELLO: u8 = 1;
/// Extensions (RFC 6066, RFC 7301), and the kind of a name that is a host's.
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const HOST_NAME: u8 = 0;
/// The longest name of a host.
const NAME_MAX: usize = 253;

/// The meaning of the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked<'a> {
    /// They may become a hello: look again when there are that many.
    Need(usize),
    Hello(ClientHello<'a>),
    /// They are not TLS, are malformed, or more than is looked at.
    Other,
}

/// The wishes of a client before anything is encrypted. With an encrypted hello (ECH) it is the
/// outer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The name of the host, as it was sent.
    pub server_name: Option<&'a str>,
    /// The list of protocols as in the extension, each behind its length. Empty: none.
    pub(crate) alpn: &'a [u8],
}

impl<'a> ClientHello<'a> {
    /// The application protocols, the preferred one first.
    pub fn alpn(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = Bytes(self.alpn);
        core::iter::from_fn(move || rest.counted_by_8())
    }
}

/// Reads the hello at the beginning of `bytes`, and joins its records in place: afterwards `bytes`
/// are not what they were.
pub fn parse(bytes: &mut [u8]) -> Looked<'_> {
    match join(bytes) {
        Joined::Need(count) if count <= HELLO_MAX => Looked::Need(count),
        Joined::Need(_) | Joined::Other => Looked::Other,
        Joined::Message(length) => {
            let hello = read(Bytes(&bytes[MESSAGE_HEADER..length]));
            hello.map_or(Looked::Other, Looked::Hello)
        }
    }
}

enum Joined {
    /// No fewer bytes of the connection can make it whole.
    Need(usize),
    /// It is whole, and so long with its header.
    Message(usize),
    Other,
}

/// Moves the message together, over the headers of records. What is asked for is what is missing
/// in the best case: so looks are few, however a client cuts its hello into records.
fn join(bytes: &mut [u8]) -> Joined {
    // One byte tells most that is not TLS.
    if bytes.is_empty() {
        return Joined::Need(1);
    }
    let (mut at, mut joined) = (0, 0);
    // Of the message, as far as its length is known.
    let mut missing = MESSAGE_HEADER;
    loop {
        let rest = bytes.len() - at;
        if !is_record(&bytes[at..]) {
            return Joined::Other;
        }
        if rest < RECORD_HEADER {
            return Joined::Need(at + RECORD_HEADER + missing);
        }
        let length = usize::from(u16::from_be_bytes([bytes[at + 3], bytes[at + 4]]));
        // A record of a handshake is not empty (RFC 8446, 5.1).
        if length == 0 || length > RECORD_MAX {
            return Joined::Other;
        }
        let body = at + RECORD_HEADER;
        let here = length.min(bytes.len() - body);
        bytes.copy_within(body..body + here, joined);
        joined += here;
        missing = match message(&bytes[..joined]) {
            Some(Message::Hello(whole)) if whole <= joined => return Joined::Message(whole),
            Some(Message::Hello(whole)) => whole - joined,
            Some(Message::Other) => return Joined::Other,
            None => MESSAGE_HEADER - joined,
        };
        if here < length {
            // What does not fit into this record needs another header.
            let header = if missing > length - here { RECORD_HEADER } else { 0 };
            return Joined::Need(bytes.len() + missing + header);
        }
        at = body + length;
    }
}

/// True if these bytes are, or may become, the header of a record of a handshake.
fn is_record(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|kind| *kind == HANDSHAKE)
        && bytes.get(1).is_none_or(|version| *version == 3)
}

enum Message {
    /// So long with its header.
    Hello(usize),
    Other,
}

/// The message that begins so; `None` if its header is not there yet.
fn message(joined: &[u8]) -> Option<Message> {
    if joined.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Some(Message::Other);
    }
    let [_, high, middle, low] = *joined.first_chunk()?;
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    let whole = MESSAGE_HEADER + length;
    Some(if whole > HELLO_MAX { Message::Other } else { Message::Hello(whole) })
}

/// The body of a hello; `None` if it is malformed.
fn read(mut body: Bytes<'_>) -> Option<ClientHello<'_>> {
    let mut hello = ClientHello::default();
    // The version and the random bytes.
    body.take(2 + 32)?;
    let _session = body.counted_by_8()?;
    let _ciphers = body.counted_by_16()?;
    let _compressions = body.counted_by_8()?;
    if body.0.is_empty() {
        // Extensions may be left out (RFC 5246, 7.4.1.2).
        return Some(hello);
    }
    let mut extensions = Bytes(body.counted_by_16()?);
    if !body.0.is_empty() {
        return None;
    }
    let (mut has_name, mut has_alpn) = (false, false);
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let mut value = Bytes(extensions.counted_by_16()?);
        match kind {
            // None comes twice (RFC 8446, 4.2).
            SERVER_NAME if core::mem::replace(&mut has_name, true) => return None,
            SERVER_NAME => hello.server_name = server_name(&mut value)?,
            ALPN if core::mem::replace(&mut has_alpn, true) => return None,
            ALPN => hello.alpn = protocols(&mut value)?,
            _ => {}
        }
    }
    Some(hello)
}

/// True if a hello may bring this name: 1 to 253 bytes of visible ASCII (RFC 6066, section 3).
#[must_use]
pub fn is_server_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The first name of a host, if there is one.
fn server_name<'a>(value: &mut Bytes<'a>) -> Option<Option<&'a str>> {
    let mut names = Bytes(value.counted_by_16()?);
    let mut found = None;
    while !names.0.is_empty() {
        let kind = names.take(1)?[0];
        let name = names.counted_by_16()?;
        if kind == HOST_NAME && found.is_none() {
            found = Some(core::str::from_utf8(name).ok().filter(|name| is_server_name(name))?);
        }
    }
    value.0.is_empty().then_some(found)
}

/// The list of protocols, each behind its length, of which none is empty.
fn protocols<'a>(value: &mut Bytes<'a>) -> Option<&'a [u8]> {
    let list = value.counted_by_16()?;
    let mut rest = Bytes(list);
    while !rest.0.is_empty() {
        if rest.counted_by_8()?.is_empty() {
            return None;
        }
    }
    value.0.is_empty().then_some(list)
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn counted_by_8(&mut self) -> Option<&'a [u8]> {
        let count = self.take(1)?[0];
        self.take(count.into())
    }

    fn counted_by_16(&mut self) -> Option<&'a [u8]> {
        let count = self.number()?;
        self.take(count.into())
    }
}

#[cfg(test)]
#[path = "client_hello/tests.rs"]
mod tests;
