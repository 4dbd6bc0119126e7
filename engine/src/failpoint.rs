//! Faults that a test can order at a running shard. Compiled into builds with debug assertions
//! only: a release build does not have them, whatever its environment says.

use std::time::Duration;

use crate::sys;

/// What a shard does at the begin of its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It sleeps for so many milliseconds and panics, in one turn.
    Panic(u32),
    /// It computes for so many milliseconds.
    Spin(u32),
    /// It sleeps for so many milliseconds, outside of its ring.
    Sleep(u32),
}

impl Fault {
    pub(crate) fn pack(self) -> u64 {
        let (kind, millis) = match self {
            Fault::Panic(millis) => (1, millis),
            Fault::Spin(millis) => (2, millis),
            Fault::Sleep(millis) => (3, millis),
        };
        kind << 32 | u64::from(millis)
    }

    pub(crate) fn unpack(bits: u64) -> Option<Fault> {
        let millis = u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0);
        match bits >> 32 {
            1 => Some(Fault::Panic(millis)),
            2 => Some(Fault::Spin(millis)),
            3 => Some(Fault::Sleep(millis)),
            _ => None,
        }
    }

    /// Does it.
    pub(crate) fn strike(self) {
        let until = |millis| sys::now().plus_millis(millis);
        match self {
            Fault::Panic(millis) => {
                Fault::Sleep(millis).strike();
                panic!("a test has ordered this panic");
            }
            Fault::Spin(millis) => {
                let until = until(millis);
                while sys::now() < until {
                    std::hint::spin_loop();
                }
            }
            Fault::Sleep(millis) => {
                let until = until(millis);
                while sys::now() < until {
                    let left = until.nanos - sys::now().nanos.min(until.nanos);
                    std::thread::park_timeout(Duration::from_nanos(left));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_arrives_as_it_was_ordered() {
        for fault in [Fault::Panic(0), Fault::Spin(0), Fault::Spin(u32::MAX), Fault::Sleep(7)] {
            assert_eq!(Fault::unpack(fault.pack()), Some(fault));
        }
        assert_eq!(Fault::unpack(0), None);
    }
}
