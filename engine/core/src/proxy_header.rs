//! The PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt): the header in which a
//! balancer tells the one behind it who the client is. Bytes in, addresses and fields out, and
//! back.
//!
//! A receiver never guesses: a listener that wants a header takes nothing else.

mod crc32c;
mod fields;

use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fields::{CRC32C, FIELD_HEADER, Fields, SENT_MAX, UNIQUE_ID};
pub use fields::{PassedOn, UniqueId, passed_on};
pub use weir_proto::spec::ProxyVersion;

/// How a header of version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// How one of version 1 begins.
const WORD: &[u8] = b"PROXY ";
/// The shortest header: `PROXY UNKNOWN` with its end of line.
const SHORTEST: usize = 15;
/// The longest of version 1, its end of line included.
const V1_MAX: usize = 107;
/// Bytes of version 2 before the addresses.
const V2_FIXED: usize = 16;
/// The longest header that is taken: version 2 with 4 KiB of addresses and fields. The protocol
/// allows 64 KiB, which none sends.
pub const HEADER_MAX: usize = V2_FIXED + 4096;

/// A client that a header tells of, and the address that it has connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// The meaning of the bytes of a connection so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// They may become a header: look again when there are that many.
    Need(usize),
    /// The first `length` bytes are a header. `told` is `None` if the connection is its sender's
    /// own (`LOCAL`, `UNKNOWN`, another family). `fields` are those of a stream.
    Header { length: usize, told: Option<Told>, fields: &'a [u8] },
    /// They are not, and never will be.
    Wrong,
}

/// Reads the header at the beginning of `bytes`.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    if bytes.is_empty() {
        return Parsed::Need(SHORTEST);
    }
    let begins = |with: &[u8]| {
        let common = bytes.len().min(with.len());
        bytes[..common] == with[..common]
    };
    if begins(&SIGNATURE) {
        parse_v2(bytes)
    } else if begins(WORD) {
        parse_v1(bytes)
    } else {
        Parsed::Wrong
    }
}

fn parse_v1(bytes: &[u8]) -> Parsed<'_> {
    let seen = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        let worth_a_look = SHORTEST.max(bytes.len() + 1);
        return if bytes.len() >= V1_MAX { Parsed::Wrong } else { Parsed::Need(worth_a_look) };
    };
    let Ok(line) = core::str::from_utf8(&seen[WORD.len().min(end)..end]) else {
        return Parsed::Wrong;
    };
    let mut words = line.split(' ');
    let length = end + 2;
    let ips = match words.next() {
        // The rest of such a line means nothing.
        Some("UNKNOWN") => return Parsed::Header { length, told: None, fields: &[] },
        Some("TCP4") => two::<Ipv4Addr>(&mut words).map(|it| it.map(IpAddr::V4)),
        Some("TCP6") => two::<Ipv6Addr>(&mut words).map(|it| it.map(IpAddr::V6)),
        _ => None,
    };
    let ports = [port(words.next()), port(words.next())];
    match (ips, ports, words.next()) {
        (Some([from, to]), [Some(from_port), Some(to_port)], None) => {
            let source = canonical(from, from_port);
            let told = Some(Told { source, destination: canonical(to, to_port) });
            Parsed::Header { length, told, fields: &[] }
        }
        _ => Parsed::Wrong,
    }
}

/// Source and destination.
fn two<'a, A: core::str::FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Option<[A; 2]> {
    Some([words.next()?.parse().ok()?, words.next()?.parse().ok()?])
}

fn port(word: Option<&str>) -> Option<u16> {
    let word = word?;
    // Not "+80" or "080", which Rust takes.
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = word == "0" || !word.starts_with('0');
    word.parse().ok().filter(|_| is_plain && is_short)
}

fn parse_v2(bytes: &[u8]) -> Parsed<'_> {
    if bytes.len() < V2_FIXED {
        return Parsed::Need(V2_FIXED);
    }
    let (version, is_proxy) = (bytes[12] >> 4, bytes[12] & 0xf);
    let length = V2_FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if version != 2 || is_proxy > 1 || length > HEADER_MAX {
        return Parsed::Wrong;
    }
    let Some(header) = bytes.get(..length) else { return Parsed::Need(length) };
    let body = &header[V2_FIXED..];
    if is_proxy == 0 {
        return Parsed::Header { length, told: None, fields: &[] };
    }
    let (family, protocol) = (bytes[13] >> 4, bytes[13] & 0xf);
    let (addresses, told) = match family {
        0 => (0, None),
        1 => (12, body.first_chunk().map(v4)),
        2 => (36, body.first_chunk().map(v6)),
        3 => (216, None),
        // What is no family must be refused (2.2).
        _ => return Parsed::Wrong,
    };
    let is_whole = protocol <= 2 && body.len() >= addresses;
    if !is_whole || (family > 0 && !fields_are_right(header, V2_FIXED + addresses)) {
        return Parsed::Wrong;
    }
    // A client of a stream; others are not heeded.
    let is_heeded = protocol == 1 && family > 0;
    let fields = if is_heeded { &body[addresses..] } else { &[] };
    Parsed::Header { length, told: told.filter(|_| is_heeded), fields }
}

fn v4(it: &[u8; 12]) -> Told {
    let ip = |at: usize| IpAddr::V4(Ipv4Addr::new(it[at], it[at + 1], it[at + 2], it[at + 3]));
    let port = |at: usize| u16::from_be_bytes([it[at], it[at + 1]]);
    Told { source: SocketAddr::new(ip(0), port(8)), destination: SocketAddr::new(ip(4), port(10)) }
}

fn v6(it: &[u8; 36]) -> Told {
    let ip = |at: usize| {
        let mut ip = [0; 16];
        ip.copy_from_slice(&it[at..at + 16]);
        IpAddr::V6(ip.into())
    };
    let port = |at: usize| u16::from_be_bytes([it[at], it[at + 1]]);
    Told { source: canonical(ip(0), port(32)), destination: canonical(ip(16), port(34)) }
}

/// `::ffff:a.b.c.d` is `a.b.c.d`.
fn canonical(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

/// True if the fields from byte `at` on fill the header exactly, and its checksum, if it has one,
/// is right.
fn fields_are_right(header: &[u8], mut at: usize) -> bool {
    let mut checksum = None;
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else { return false };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(value) = header.get(at + 3..at + 3 + length) else { return false };
        if kind == CRC32C {
            let Ok(value) = <[u8; 4]>::try_from(value) else { return false };
            // Two of them cannot both be right.
            if checksum.replace((at + 3, u32::from_be_bytes(value))).is_some() {
                return false;
            }
        }
        at += 3 + length;
    }
    checksum.is_none_or(|(at, value)| crc32c::without(header, at..at + 4) == value)
}

/// A header to be sent: small enough for the empty buffer of any socket.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; SENT_MAX],
    length: usize,
}

impl Header {
    /// One that tells of a client and of the address that it has connected to. Both are of one
    /// family; otherwise both become IPv6.
    #[must_use]
    pub fn of_client(version: ProxyVersion, source: SocketAddr, destination: SocketAddr) -> Header {
        let [source, destination] = [source, destination].map(|it| canonical(it.ip(), it.port()));
        let (source, destination) = one_family(source, destination);
        let mut header = Header { bytes: [0; SENT_MAX], length: 0 };
        match version {
            ProxyVersion::V1 => header.write_v1(source, destination),
            ProxyVersion::V2 => header.write_v2(source, destination),
        }
        header
    }

    /// One of a connection that is weir's own: a health check.
    #[must_use]
    pub fn local(version: ProxyVersion) -> Header {
        let mut header = Header { bytes: [0; SENT_MAX], length: 0 };
        match version {
            ProxyVersion::V1 => header.push(b"PROXY UNKNOWN\r\n"),
            ProxyVersion::V2 => {
                header.push(&SIGNATURE);
                header.push(&[0x20, 0, 0, 0]);
            }
        }
        header
    }

    /// Adds fields that [`passed_on`] has picked, a unique id if none is among them, and the
    /// checksum. Version 1 has no fields.
    #[must_use]
    pub fn with_fields(mut self, made: UniqueId, fields: &[u8]) -> Header {
        if !self.bytes().starts_with(&SIGNATURE) {
            return self;
        }
        if Fields(fields).all(|field| field.kind != UNIQUE_ID) {
            let at = self.length;
            self.push(&[UNIQUE_ID, 0, 0]);
            write!(self, "{made}").expect("its length is bounded");
            let length = self.length - at - FIELD_HEADER;
            self.bytes[at + 2] = u8::try_from(length).expect("its length is bounded");
        }
        self.push(fields);
        self.push(&[CRC32C, 0, 4, 0, 0, 0, 0]);
        let length = u16::try_from(self.length - V2_FIXED).expect("it is short");
        self.bytes[14..16].copy_from_slice(&length.to_be_bytes());
        let sum = crc32c::without(self.bytes(), 0..0);
        self.bytes[self.length - 4..self.length].copy_from_slice(&sum.to_be_bytes());
        self
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn write_v1(&mut self, source: SocketAddr, destination: SocketAddr) {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let ips = (source.ip(), destination.ip());
        let ports = (source.port(), destination.port());
        let line = write!(self, "PROXY {family} {} {} {} {}\r\n", ips.0, ips.1, ports.0, ports.1);
        line.expect("two addresses of one family fit");
    }

    fn write_v2(&mut self, source: SocketAddr, destination: SocketAddr) {
        self.push(&SIGNATURE);
        match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                self.push(&[0x21, 0x11, 0, 12]);
                self.push(&from.octets());
                self.push(&to.octets());
            }
            (from, to) => {
                self.push(&[0x21, 0x21, 0, 36]);
                self.push(&mapped(from).octets());
                self.push(&mapped(to).octets());
            }
        }
        self.push(&source.port().to_be_bytes());
        self.push(&destination.port().to_be_bytes());
    }
}

impl Write for Header {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        if self.length + text.len() > SENT_MAX {
            return Err(core::fmt::Error);
        }
        self.push(text.as_bytes());
        Ok(())
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// A client that was told of may be of another family than the address that it came in at: then
/// both are IPv6.
fn one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let six = |it: SocketAddr| SocketAddr::new(IpAddr::V6(mapped(it.ip())), it.port());
    (six(source), six(destination))
}

#[cfg(test)]
#[path = "proxy_header/tests.rs"]
mod tests;
