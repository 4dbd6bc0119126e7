//! Messages of DNS (RFC 1035, RFC 2782, RFC 6891): the question as bytes, and what came back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use super::Fault;

/// The bytes of an answer over UDP that are asked for: no path cuts them into fragments.
const UDP_ANSWER_MAX: u16 = 1232;
/// The most names that stand for another one, one after another.
pub const ALIASES_MAX: usize = 8;
/// The header of a message.
const HEADER: usize = 12;
/// The least that a record has: a name of one byte, type, class, TTL and length.
const RECORD_MIN: usize = 11;

/// The records that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryKind {
    A,
    Aaaa,
    Srv,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub id: u16,
    /// From the root on, without the last dot.
    pub name: String,
    pub kind: QueryKind,
    /// With the size of answers that are taken. Some old servers do not know that.
    pub has_edns: bool,
}

/// A message that came back, as the one who asked sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeardMessage {
    /// It answers another question: somebody else's, or one that is made up.
    Stranger,
    /// There is more than fits: the same is to be asked over TCP.
    Truncated,
    Answer(Result<Records, Fault>),
    /// The server does not understand EDNS: the same is to be asked without.
    NoEdns,
}

/// The records that answer a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    Addresses {
        addresses: Vec<IpAddr>,
        ttl_s: u32,
    },
    Services {
        services: Vec<Service>,
        /// Addresses of their targets, as far as the server has added them, with their TTL.
        beside: Vec<(String, IpAddr, u32)>,
        ttl_s: u32,
    },
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

impl Query {
    /// The message; `None` if the name is none.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let mut packet = Packet::new_query(self.id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(&self.name).ok()?;
        let kind = QTYPE::TYPE(match self.kind {
            QueryKind::A => TYPE::A,
            QueryKind::Aaaa => TYPE::AAAA,
            QueryKind::Srv => TYPE::SRV,
        });
        packet.questions.push(Question::new(name, kind, QCLASS::CLASS(CLASS::IN), false));
        if self.has_edns {
            let (opt_codes, udp_packet_size, version) = (Vec::new(), UDP_ANSWER_MAX, 0);
            *packet.opt_mut() = Some(OPT { opt_codes, udp_packet_size, version });
        }
        packet.build_bytes_vec().ok()
    }

    /// Reads a message that came back for it.
    #[must_use]
    pub fn hear(&self, message: &[u8]) -> HeardMessage {
        let Some(own) = self.bytes() else { return HeardMessage::Stranger };
        let question = HEADER..HEADER + self.name.len() + 2 + 4;
        match own.get(question) {
            Some(question) if self.is_meant(message, question) => {}
            _ => return HeardMessage::Stranger,
        }
        if message[2] & 0b10 != 0 {
            return HeardMessage::Truncated;
        }
        let malformed = HeardMessage::Answer(Err(Fault::Malformed));
        if claims_more_than_it_has(message) {
            return malformed;
        }
        match Packet::parse(message) {
            Err(_) => malformed,
            Ok(packet) => self.read(&packet),
        }
    }

    /// True if the message answers this question: its number, and the question itself. A server
    /// that understood nothing may leave the question out.
    fn is_meant(&self, message: &[u8], question: &[u8]) -> bool {
        let Some((header, rest)) = message.split_at_checked(HEADER) else { return false };
        let is_reply = header[2] & 0b1111_1000 == 0b1000_0000;
        let questions = u16::from_be_bytes([header[4], header[5]]);
        let is_failure = header[3] & 0b1111 != 0;
        let is_same = match questions {
            0 => is_failure,
            1 => rest.get(..question.len()).is_some_and(|it| it.eq_ignore_ascii_case(question)),
            _ => false,
        };
        header[..2] == self.id.to_be_bytes() && is_reply && is_same
    }

    fn read(&self, packet: &Packet<'_>) -> HeardMessage {
        let fault = match packet.rcode() {
            RCODE::NoError => return HeardMessage::Answer(self.records(packet)),
            RCODE::FormatError | RCODE::NotImplemented | RCODE::BADVERS if self.has_edns => {
                return HeardMessage::NoEdns;
            }
            RCODE::NameError => Fault::NoDomain,
            RCODE::Refused | RCODE::NOTAUTH => Fault::Refused,
            _ => Fault::ServerFailure,
        };
        HeardMessage::Answer(Err(fault))
    }

    fn records(&self, packet: &Packet<'_>) -> Result<Records, Fault> {
        let mut name = self.name.to_ascii_lowercase();
        let mut ttl_s = u32::MAX;
        for _ in 0..=ALIASES_MAX {
            let own = |it: &&simple_dns::ResourceRecord<'_>| {
                it.class == CLASS::IN && plain(&it.name).is_some_and(|it| it == name)
            };
            let mut alias = None;
            let mut found = Vec::new();
            for record in packet.answers.iter().filter(own) {
                match &record.rdata {
                    RData::CNAME(target) => {
                        alias = Some((plain(&target.0).ok_or(Fault::Malformed)?, record.ttl));
                    }
                    data => found.push((data, record.ttl)),
                }
            }
            let found = self.of_kind(&found, packet);
            if let Some((records, of_records)) = found {
                return Ok(records.with_ttl(ttl_s.min(of_records)));
            }
            let Some((target, of_alias)) = alias else { return Err(Fault::NoData) };
            (name, ttl_s) = (target, ttl_s.min(of_alias));
        }
        Err(Fault::TooManyAliases)
    }

    /// The records of the kind that was asked for, and the least of their TTLs. `None`: none.
    fn of_kind(&self, found: &[(&RData<'_>, u32)], packet: &Packet<'_>) -> Option<(Records, u32)> {
        let wanted = |data: &RData<'_>| {
            matches!(
                (self.kind, data),
                (QueryKind::A, RData::A(_))
                    | (QueryKind::Aaaa, RData::AAAA(_))
                    | (QueryKind::Srv, RData::SRV(_))
            )
        };
        let found: Vec<_> = found.iter().filter(|(data, _)| wanted(data)).collect();
        let ttl_s = found.iter().map(|(_, ttl)| *ttl).min()?;
        let addresses = found.iter().filter_map(|(data, _)| address(data)).collect();
        if self.kind != QueryKind::Srv {
            return Some((Records::Addresses { addresses, ttl_s }, ttl_s));
        }
        let services = found.iter().filter_map(|(data, _)| service(data)).collect();
        let beside = packet.additional_records.iter().filter(|it| it.class == CLASS::IN);
        let beside =
            beside.filter_map(|it| Some((plain(&it.name)?, address(&it.rdata)?, it.ttl))).collect();
        Some((Records::Services { services, beside, ttl_s }, ttl_s))
    }
}

impl Records {
    fn with_ttl(mut self, ttl: u32) -> Records {
        match &mut self {
            Records::Addresses { ttl_s, .. } | Records::Services { ttl_s, .. } => *ttl_s = ttl,
        }
        self
    }
}

/// True if the counts in the header are of more than the message can hold: a reader would make
/// room for all of it.
fn claims_more_than_it_has(message: &[u8]) -> bool {
    let count = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    (count(6) + count(8) + count(10)) * RECORD_MIN > message.len()
}

fn address(data: &RData<'_>) -> Option<IpAddr> {
    match data {
        RData::A(it) => Some(Ipv4Addr::from(it.address).into()),
        RData::AAAA(it) => Some(Ipv6Addr::from(it.address).into()),
        _ => None,
    }
}

fn service(data: &RData<'_>) -> Option<Service> {
    let RData::SRV(it) = data else { return None };
    let (priority, weight, port) = (it.priority, it.weight, it.port);
    Some(Service { priority, weight, port, target: plain(&it.target)? })
}

/// A name in lower case without its last dot; empty for the root. `None`: it has characters that
/// no host has, so nothing can be asked about it.
fn plain(name: &Name<'_>) -> Option<String> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let labels = name.get_labels().iter().map(|label| {
        let bytes: &[u8] = label.as_ref();
        let text = bytes.iter().all(|byte| is_legal(*byte)).then(|| bytes.to_ascii_lowercase());
        text.and_then(|text| String::from_utf8(text).ok())
    });
    Some(labels.collect::<Option<Vec<String>>>()?.join("."))
}

#[cfg(test)]
mod tests;
