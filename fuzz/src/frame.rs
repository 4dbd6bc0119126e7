//! F1: bodies of frames. What decodes encodes to the very same bytes, and nothing is allocated that
//! the bytes do not pay for (the driver watches the memory).

use core::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_proto::frame::{BODY_MAX, FrameError, HEADER, body_length, decode, encode};
use weir_proto::request::{Hello, Request, Response, Welcome};

use crate::{feature, feature_of_message};

/// Lengths that lie.
pub const WORDS: &[&[u8]] = &[
    &[0xff; 8],
    &[0, 0, 0, 0, 0, 0, 0, 0x10],
    &[0, 0, 0x10, 0, 0, 0, 0, 0],
    &[1, 0, 0, 0, 0, 0, 0, 0],
    b"web/b1",
];

/// The first byte says what is expected; the rest is a body, or with its header a frame.
///
/// # Panics
/// A promise is broken.
pub fn run(bytes: &[u8]) -> u64 {
    let Some((kind, body)) = bytes.split_first() else { return 0 };
    match kind % 5 {
        0 => same::<Hello>(body),
        1 => same::<Welcome>(body),
        2 => same::<Request>(body),
        3 => same::<Response>(body),
        _ => header(body),
    }
}

fn same<T: DeserializeOwned + Serialize + PartialEq + Debug>(body: &[u8]) -> u64 {
    match decode::<T>(body) {
        Ok(value) => {
            let frame = encode(&value).expect("what came in a frame fits into one");
            let same = frame[HEADER..] == *body;
            assert!(same, "{value:?}\ndecodes from {body:?}\nand encodes to {frame:?}");
            feature(&format!("{value:?}").chars().take(24).collect::<String>())
        }
        Err(FrameError::Malformed(why)) => feature_of_message(&why),
        Err(FrameError::TooLong(length)) => panic!("a body of {} is {length} long", body.len()),
    }
}

fn header(bytes: &[u8]) -> u64 {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return 1 };
    match body_length(*header) {
        Ok(length) => {
            assert!(length <= BODY_MAX, "{length} was let through");
            2
        }
        Err(why) => {
            assert_eq!(why, FrameError::TooLong(u32::from_le_bytes(*header).into()));
            3
        }
    }
}
