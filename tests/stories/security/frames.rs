//! Frames that are none: real ones with bits flipped or cut short, and ones made by the grammar
//! with a lie in them. The same seed gives the same frame.

use weir_proto::answer::events::EventFilter;
use weir_proto::frame::{self, BODY_MAX, HEADER};
use weir_proto::request::{ChangeOptions, ChangeRequest, Command, Hello, PROTOCOL, Query, Request};
use weir_tests::net::noise;

/// Bytes that are not the frame that weir expects.
pub(super) struct Malformed {
    seed: u64,
    /// In the place of the hello; otherwise of a request.
    pub(super) first: bool,
    pub(super) bytes: Vec<u8>,
}

impl std::fmt::Debug for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = &self.bytes[..self.bytes.len().min(64)];
        let (seed, first, length) = (self.seed, self.first, self.bytes.len());
        write!(f, "frame {seed} (hello: {first}), {length} bytes: {start:?}")
    }
}

/// Choices of one seed.
struct Chance {
    state: u64,
}

impl Chance {
    fn next(&mut self) -> u64 {
        let bytes = noise(self.state, 8);
        self.state = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        self.state
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("it is below a usize")
    }
}

impl Malformed {
    /// The malformed frame of this seed.
    pub(super) fn new(seed: u64) -> Malformed {
        let mut chance = Chance { state: seed.wrapping_mul(0x9E37_79B9) + 1 };
        let first = chance.below(4) == 0;
        loop {
            let bytes = match chance.below(16) {
                0..6 => flipped(real(first, &mut chance), &mut chance),
                6..8 => cut(real(first, &mut chance), &mut chance),
                8..13 => framed(&grammar(&mut chance)),
                13 => too_long(&mut chance),
                14 => framed(&some_bytes(&mut chance, 300)),
                // Every byte of the largest frame is sent, now and then.
                _ if chance.below(16) == 0 => framed(&noise(chance.next(), BODY_MAX)),
                _ => some_bytes(&mut chance, HEADER),
            };
            // A flipped bit can make another frame that is in order, and that would be obeyed.
            if !is_frame(&bytes, first) {
                return Malformed { seed, first, bytes };
            }
        }
    }
}

fn is_frame(bytes: &[u8], first: bool) -> bool {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return false };
    let Ok(length) = frame::body_length(*header) else { return false };
    let Some(body) = rest.get(..length) else { return false };
    if first {
        // Another protocol's hello is welcomed, and cut off then.
        frame::decode::<Hello>(body).is_ok()
    } else {
        frame::decode::<Request>(body).is_ok()
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("it is short");
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// A frame as weirctl sends it.
fn real(first: bool, chance: &mut Chance) -> Vec<u8> {
    if first {
        let hello = Hello { protocol: PROTOCOL, program: "0.1.0".into() };
        return frame::encode(&hello).expect("it is short");
    }
    let name = || "web/b1".to_owned();
    let change = |change| {
        let options = ChangeOptions {
            dry_run: false,
            if_version: Some(1),
            yes: false,
            ..ChangeOptions::default()
        };
        Request::from(Command::Change { change, options })
    };
    let request = match chance.below(9) {
        0 => Query::Status.into(),
        1 => Query::BackendList { pool: Some("web".into()) }.into(),
        2 => Query::Events { after: 7, filter: EventFilter::default() }.into(),
        3 => Query::ConfigExport { version: Some(1) }.into(),
        4 => Command::Stop { drain_ms: Some(60_000) }.into(),
        5 => change(ChangeRequest::BackendWeight { name: name(), weight: 7 }),
        6 => change(ChangeRequest::BackendRemove { name: name(), force: true }),
        7 => change(ChangeRequest::PoolSet {
            name: "web".into(),
            pairs: vec![("strategy".into(), "random".into())],
        }),
        _ => change(ChangeRequest::apply("[pool.web]\n", "x")),
    };
    frame::encode(&request).expect("it is short")
}

fn flipped(mut bytes: Vec<u8>, chance: &mut Chance) -> Vec<u8> {
    for _ in 0..=chance.below(8) {
        let at = chance.below(bytes.len());
        bytes[at] ^= 1 << chance.below(8);
    }
    bytes
}

fn cut(mut bytes: Vec<u8>, chance: &mut Chance) -> Vec<u8> {
    bytes.truncate(chance.below(bytes.len()));
    bytes
}

/// Variants, texts, lists and options one after the other, with lengths and tags that may lie.
fn grammar(chance: &mut Chance) -> Vec<u8> {
    let mut body = small(chance, 20).to_le_bytes().to_vec();
    for _ in 0..chance.below(6) {
        match chance.below(6) {
            0 => body.extend_from_slice(&small(chance, 20).to_le_bytes()),
            1 => body.push(u8::try_from(chance.below(256)).expect("a byte")),
            2 => body.extend_from_slice(&chance.next().to_le_bytes()),
            _ => {
                let text = some_bytes(chance, 40);
                let said = match chance.below(4) {
                    0 => chance.next(),
                    1 => 1 << chance.below(64),
                    2 => BODY_MAX as u64,
                    _ => text.len() as u64,
                };
                body.extend_from_slice(&said.to_le_bytes());
                body.extend_from_slice(&text);
            }
        }
    }
    body
}

fn small(chance: &mut Chance, limit: usize) -> u32 {
    u32::try_from(chance.below(limit)).expect("it is small")
}

/// A header that promises more than is allowed, and a little of it.
fn too_long(chance: &mut Chance) -> Vec<u8> {
    let over = u32::MAX - u32::try_from(BODY_MAX).expect("it fits into a header");
    let length = u32::MAX - u32::try_from(chance.next() % u64::from(over)).expect("it is below");
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&some_bytes(chance, 100));
    bytes
}

fn some_bytes(chance: &mut Chance, limit: usize) -> Vec<u8> {
    let length = chance.below(limit);
    noise(chance.next(), length)
}
