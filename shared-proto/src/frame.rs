//! Frames on the control socket: four bytes of length (little endian), then a bincode body. The one
//! codec module.
//!
//! bincode is no longer maintained; `config::legacy()` writes the bytes that `serde-wincode` writes
//! too, so that this file can change its library without a change on the wire.

use bincode::config::{self, Config};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest body, in bytes. A longer one is refused before anything is allocated for it.
pub const BODY_MAX: usize = 1 << 20;
/// The length before each body, in bytes.
pub const HEADER: usize = 4;

/// Why bytes are not a frame, or a value does not fit into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The body would be this long, which is more than [`BODY_MAX`].
    TooLong(u64),
    /// The body is not what was expected there.
    Malformed(String),
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            FrameError::TooLong(length) => {
                write!(f, "a frame of {length} bytes; at most {BODY_MAX} are allowed")
            }
            FrameError::Malformed(why) => write!(f, "a malformed frame: {why}"),
        }
    }
}

impl std::error::Error for FrameError {}

fn codec() -> impl Config {
    config::legacy().with_limit::<BODY_MAX>()
}

/// Writes `value` as one frame, header and body.
///
/// # Errors
/// [`FrameError::TooLong`] if the body would be longer than [`BODY_MAX`].
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let body = bincode::serde::encode_to_vec(value, config::legacy())
        .map_err(|error| FrameError::Malformed(error.to_string()))?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_MAX);
    let length = length.ok_or(FrameError::TooLong(body.len() as u64))?;
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// The length of the body that follows this header.
///
/// # Errors
/// [`FrameError::TooLong`] if it is over [`BODY_MAX`].
pub fn body_length(header: [u8; HEADER]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > BODY_MAX { Err(FrameError::TooLong(length as u64)) } else { Ok(length) }
}

/// Reads a body back into a value. Every byte must belong to it.
///
/// # Errors
/// [`FrameError::Malformed`] if it is not one.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let (value, used) = bincode::serde::decode_from_slice(body, codec())
        .map_err(|error| FrameError::Malformed(error.to_string()))?;
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
        let golden = [15, 0, 0, 0, 6, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'0', b'.', b'1'];
        assert_eq!(encode(&hello).unwrap(), golden);
        assert_eq!(decode::<Hello>(&golden[HEADER..]).unwrap(), hello);
    }

    #[test]
    fn a_request_round_trips() {
        let request = Request::from(Command::Change {
            change: ChangeRequest::BackendAdd {
                name: "web/b1".into(),
                address: "[::1]:80".into(),
                weight: Some(2),
            },
            options: ChangeOptions { dry_run: false, if_version: Some(7) },
        });
        let frame = encode(&request).unwrap();
        let length = body_length(frame[..HEADER].try_into().unwrap()).unwrap();
        assert_eq!(length, frame.len() - HEADER);
        assert_eq!(decode::<Request>(&frame[HEADER..]).unwrap(), request);
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
