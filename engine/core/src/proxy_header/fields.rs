//! The fields (TLVs) behind the addresses of version 2. A backend gets those of the header that
//! came, as far as they mean something behind weir, and those that a ClientHello gives.

use alloc::boxed::Box;
use core::fmt;

use weir_proto::session::SessionName;

use crate::base::clock::Now;
use crate::client_hello::ClientHello;

/// Kinds of fields.
pub(super) const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
pub(super) const CRC32C: u8 = 0x03;
pub(super) const UNIQUE_ID: u8 = 0x05;
pub(super) const SSL: u8 = 0x20;
/// Of applications, as clouds use them for their own names of networks and endpoints.
const CUSTOM: core::ops::RangeInclusive<u8> = 0xe0..=0xef;

/// The kind of a field and the length of its value.
pub(super) const FIELD_HEADER: usize = 3;
/// The longest value of a unique id.
const UNIQUE_ID_MAX: usize = 128;
/// The longest unique id that weir makes.
const MADE_ID_MAX: usize = 44;
/// The shortest value of a field of TLS: flags and the outcome of a verification. Fields of its own
/// are behind them.
const SSL_MIN: usize = 5;
/// The checksum with its header.
const CHECKSUM: usize = FIELD_HEADER + 4;

/// The longest header that weir sends: it fits into one segment on any path, and into the empty
/// buffer of any socket.
pub(super) const SENT_MAX: usize = 536;
/// Room for fields, beside two IPv6 addresses and the checksum.
const FIELDS_MAX: usize = SENT_MAX - super::V2_FIXED - 36 - CHECKSUM;

/// The fields of a header, which were checked when it was read.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

pub(super) struct Field<'a> {
    pub(super) kind: u8,
    /// With its header.
    whole: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let [kind, high, low] = *self.0.first_chunk()?;
        let length = FIELD_HEADER + usize::from(u16::from_be_bytes([high, low]));
        let (whole, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Field { kind, whole })
    }
}

impl Field<'_> {
    /// True if its value may be one of its kind.
    fn is_right(&self) -> bool {
        let length = self.whole.len() - FIELD_HEADER;
        match self.kind {
            UNIQUE_ID => (1..=UNIQUE_ID_MAX).contains(&length),
            SSL => length >= SSL_MIN,
            _ => length > 0,
        }
    }
}

/// The first field of this kind: receivers differ in which of two they go by.
fn first(fields: &[u8], kind: u8) -> Option<Field<'_>> {
    Fields(fields).find(|field| field.kind == kind && field.is_right())
}

/// The fields that a backend gets beside the unique id that weir makes, and how many did not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOn {
    /// `None`: there are none.
    pub fields: Option<Box<[u8]>>,
    pub dropped: u32,
}

/// Picks the fields that are passed on. A header tells better than a hello: its sender may have
/// decrypted what weir sees from outside. Those of applications come last, as far as there is room.
#[must_use]
pub fn passed_on(told: &[u8], hello: ClientHello<'_>) -> PassedOn {
    let made = if first(told, UNIQUE_ID).is_some() { 0 } else { FIELD_HEADER + MADE_ID_MAX };
    let mut out = Room { bytes: [0; FIELDS_MAX], length: 0, most: FIELDS_MAX - made, dropped: 0 };
    for kind in [UNIQUE_ID, AUTHORITY, ALPN, SSL] {
        match (kind, first(told, kind)) {
            (_, Some(field)) => out.put(&[field.whole]),
            (AUTHORITY, None) => out.put_value(AUTHORITY, hello.server_name.map(str::as_bytes)),
            (ALPN, None) => out.put_value(ALPN, only_protocol(hello)),
            _ => {}
        }
    }
    for field in Fields(told).filter(|field| CUSTOM.contains(&field.kind)) {
        out.put(&[field.whole]);
    }
    let bytes = &out.bytes[..out.length];
    let fields = if bytes.is_empty() { None } else { Some(Box::from(bytes)) };
    PassedOn { fields, dropped: out.dropped }
}

/// The protocol that a client will speak, if the hello says: of several its server chooses one.
fn only_protocol(hello: ClientHello<'_>) -> Option<&[u8]> {
    let mut offered = hello.alpn();
    offered.next().filter(|_| offered.next().is_none())
}

struct Room {
    bytes: [u8; FIELDS_MAX],
    length: usize,
    most: usize,
    dropped: u32,
}

impl Room {
    /// Puts the parts of one field if there is room for all.
    fn put(&mut self, parts: &[&[u8]]) {
        let count: usize = parts.iter().map(|part| part.len()).sum();
        if self.length + count > self.most {
            self.dropped += 1;
            return;
        }
        for part in parts {
            self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
            self.length += part.len();
        }
    }

    fn put_value(&mut self, kind: u8, value: Option<&[u8]>) {
        if let Some(value) = value
            && let Ok(length) = u16::try_from(value.len())
        {
            let [high, low] = length.to_be_bytes();
            self.put(&[&[kind, high, low], value]);
        }
    }
}

/// The unique id of a session that came without one: its name, by which `session list` and the
/// session log know it, and when it was accepted, since another process uses the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueId {
    pub session: SessionName,
    pub accepted_at: Now,
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.session, self.accepted_at.nanos)
    }
}
