//! Frames on the control socket: four bytes of length (little endian), then a body. The one codec
//! module.
//!
//! A message is a bincode value. One that is longer than a frame goes in several: all but the last
//! are full and have the highest bit of their length set.
//!
//! bincode is no longer maintained; `config::legacy()` writes the bytes that `serde-wincode` writes
//! too, so that this file can change its library without a change on the wire.

use bincode::config;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest body, in bytes. A longer one is refused before anything is allocated for it.
pub const BODY_MAX: usize = 1 << 20;
/// The longest request, in bytes: many times a file of the most backends.
pub const REQUEST_MAX: usize = 32 << 20;
/// The longest answer, in bytes.
pub const ANSWER_MAX: usize = 256 << 20;
/// The length before each body, in bytes.
pub const HEADER: usize = 4;
/// The bit of a length that says that the next frame belongs to the same message.
const MORE: u32 = 1 << 31;

/// Why bytes are not a frame, or a value does not fit into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// It would be this long, in bytes, which is more than is allowed there.
    TooLong(u64),
    /// The body is not what was expected there.
    Malformed(String),
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            FrameError::TooLong(length) => {
                write!(f, "a message of {length} bytes, which is longer than is allowed")
            }
            FrameError::Malformed(why) => write!(f, "a malformed frame: {why}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Writes `value` as one frame, header and body.
///
/// # Errors
/// [`FrameError::TooLong`] if the body would be longer than [`BODY_MAX`].
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    encode_message(value, BODY_MAX)
}

/// Writes `value` as a message of at most `most` bytes: its frames, one behind the other, each of
/// them but the last [`HEADER`] + [`BODY_MAX`] bytes long.
///
/// # Errors
/// [`FrameError::TooLong`] if it would be longer.
pub fn encode_message<T: Serialize>(value: &T, most: usize) -> Result<Vec<u8>, FrameError> {
    let body = bincode::serde::encode_to_vec(value, config::legacy())
        .map_err(|error| FrameError::Malformed(error.to_string()))?;
    if body.len() > most {
        return Err(FrameError::TooLong(body.len() as u64));
    }
    let frames = body.len().div_ceil(BODY_MAX).max(1);
    let mut message = Vec::with_capacity(frames * HEADER + body.len());
    let mut rest = body.as_slice();
    loop {
        let (piece, after) = rest.split_at(rest.len().min(BODY_MAX));
        let more = if after.is_empty() { 0 } else { MORE };
        // It is at most BODY_MAX.
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        message.extend_from_slice(&(length | more).to_le_bytes());
        message.extend_from_slice(piece);
        rest = after;
        if rest.is_empty() {
            return Ok(message);
        }
    }
}

/// The length of the body that follows this header, of a message in one frame.
///
/// # Errors
/// [`FrameError::TooLong`] if it is over [`BODY_MAX`].
pub fn body_length(header: [u8; HEADER]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > BODY_MAX { Err(FrameError::TooLong(length as u64)) } else { Ok(length) }
}

/// A message on its way in, frame by frame.
#[derive(Debug)]
pub struct Incoming {
    body: Vec<u8>,
    most: usize,
    has_more: bool,
}

impl Incoming {
    /// Nothing has come yet of a message of at most `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Incoming {
        Incoming { body: Vec::new(), most, has_more: true }
    }

    /// Where the body behind `header` is to be read to.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] if the message is longer than it may be,
    /// [`FrameError::Malformed`] if the frame is not full and not the last one.
    pub fn next(&mut self, header: [u8; HEADER]) -> Result<&mut [u8], FrameError> {
        let word = u32::from_le_bytes(header);
        self.has_more = word & MORE != 0;
        let length = (word & !MORE) as usize;
        let before = self.body.len();
        if length > BODY_MAX || before + length > self.most {
            return Err(FrameError::TooLong((before + length) as u64));
        }
        if self.has_more && length < BODY_MAX {
            return Err(FrameError::Malformed("more is to follow a frame that has room".into()));
        }
        self.body.resize(before + length, 0);
        Ok(&mut self.body[before..])
    }

    /// True until its last frame was read.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// The body, for [`decode`].
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}

/// Reads a body back into a value. Every byte must belong to it.
///
/// # Errors
/// [`FrameError::Malformed`] if it is not one.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    // What a body says is allocated before it is found to be missing.
    let decoded = if body.len() <= BODY_MAX {
        bincode::serde::decode_from_slice(body, config::legacy().with_limit::<BODY_MAX>())
    } else {
        bincode::serde::decode_from_slice(body, config::legacy().with_limit::<ANSWER_MAX>())
    };
    let (value, used) = decoded.map_err(|error| FrameError::Malformed(error.to_string()))?;
    if used != body.len() {
        return Err(FrameError::Malformed(format!("{} bytes too many", body.len() - used)));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{ChangeOptions, ChangeRequest, Command, Hello, PROTOCOL, Query, Request};

    #[test]
    fn the_first_frame_has_these_bytes_for_ever() {
        let hello = Hello { protocol: PROTOCOL, program: "0.1".into() };
        let golden = [15, 0, 0, 0, 12, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'0', b'.', b'1'];
        assert_eq!(encode(&hello).unwrap(), golden);
        assert_eq!(decode::<Hello>(&golden[HEADER..]).unwrap(), hello);
    }

    #[test]
    fn a_request_round_trips() {
        let request = Request::from(Command::Change {
            change: ChangeRequest::BackendAdd {
                name: "web/b1".into(),
                address: "[::1]:80".into(),
                pairs: vec![("weight".into(), "2".into())],
            },
            options: ChangeOptions {
                dry_run: false,
                if_version: Some(7),
                yes: false,
                ..ChangeOptions::default()
            },
        });
        let frame = encode(&request).unwrap();
        let length = body_length(frame[..HEADER].try_into().unwrap()).unwrap();
        assert_eq!(length, frame.len() - HEADER);
        assert_eq!(decode::<Request>(&frame[HEADER..]).unwrap(), request);
    }

    #[test]
    fn a_long_message_goes_in_several_frames() {
        for length in [BODY_MAX - 9, BODY_MAX - 8, BODY_MAX - 7, 3 * BODY_MAX] {
            let text = "x".repeat(length);
            let message = encode_message(&text, REQUEST_MAX).unwrap();
            let mut incoming = Incoming::new(REQUEST_MAX);
            let mut rest = message.as_slice();
            while incoming.has_more() {
                let (header, after) = rest.split_first_chunk::<HEADER>().unwrap();
                let place = incoming.next(*header).unwrap();
                let (body, after) = after.split_at(place.len());
                place.copy_from_slice(body);
                rest = after;
            }
            assert!(rest.is_empty());
            assert!(decode::<String>(&incoming.into_body()).unwrap() == text, "{length}");
        }
        assert!(matches!(encode_message(&"x".repeat(100), 99), Err(FrameError::TooLong(108))));
    }

    #[test]
    fn a_message_that_never_ends_is_refused() {
        let full = (MORE | 0x10_0000).to_le_bytes();
        let mut incoming = Incoming::new(2 * BODY_MAX);
        assert_eq!(incoming.next(full).unwrap().len(), BODY_MAX);
        assert_eq!(incoming.next(full).unwrap().len(), BODY_MAX);
        let too_long = Err(FrameError::TooLong(2 * BODY_MAX as u64 + 1));
        assert_eq!(incoming.next([1, 0, 0, 0]).map(|place| place.len()), too_long);
        let short = (MORE | 5).to_le_bytes();
        let refused = Incoming::new(BODY_MAX).next(short).map(|place| place.len());
        assert!(matches!(refused, Err(FrameError::Malformed(_))), "{refused:?}");
    }

    #[test]
    fn bad_bytes_are_refused() {
        assert_eq!(body_length([0, 0, 16, 0]), Ok(BODY_MAX));
        assert_eq!(body_length([1, 0, 16, 0]), Err(FrameError::TooLong(BODY_MAX as u64 + 1)));
        assert!(matches!(decode::<Request>(&[255; 4]), Err(FrameError::Malformed(_))));
        assert!(matches!(
            decode::<Request>(&[0, 0, 0, 0, 0, 0, 0, 0, 9]),
            Err(FrameError::Malformed(_))
        ));
        // A string that claims to be 2^60 bytes long must not be allocated.
        let mut body = vec![0, 0, 0, 0, 3, 0, 0, 0];
        body.extend_from_slice(&(1u64 << 60).to_le_bytes());
        assert!(matches!(decode::<Request>(&body), Err(FrameError::Malformed(_))));
        let long = Request::from(Query::ListenerShow { name: "x".repeat(BODY_MAX) });
        assert!(matches!(encode(&long), Err(FrameError::TooLong(_))));
    }
}
