//! Faults that a test can order at a running shard. Compiled into builds with debug assertions
//! only: a release build does not have them, whatever its environment says.

use crate::sys;

/// What a shard does at the begin of its next turn, or at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It sleeps for N milliseconds and panics, in one turn.
    Panic(u32),
    /// It computes for N milliseconds.
    Spin(u32),
    /// It sleeps for N milliseconds, outside of its ring.
    Sleep(u32),
    /// It waits in its ring for N milliseconds, whatever it has asked for.
    Linger(u32),
}

/// Where a shard is when a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Turning,
    /// It has said that it waits in its ring.
    Resting,
}

impl Fault {
    pub(crate) fn pack(self) -> u64 {
        let (kind, millis) = match self {
            Fault::Panic(millis) => (1, millis),
            Fault::Spin(millis) => (2, millis),
            Fault::Sleep(millis) => (3, millis),
            Fault::Linger(millis) => (4, millis),
        };
        kind << 32 | u64::from(millis)
    }

    pub(crate) fn unpack(bits: u64) -> Option<Fault> {
        let millis = u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0);
        match bits >> 32 {
            1 => Some(Fault::Panic(millis)),
            2 => Some(Fault::Spin(millis)),
            3 => Some(Fault::Sleep(millis)),
            4 => Some(Fault::Linger(millis)),
            _ => None,
        }
    }

    pub(crate) fn strikes(self) -> Where {
        match self {
            Fault::Panic(_) | Fault::Spin(_) | Fault::Sleep(_) => Where::Turning,
            Fault::Linger(_) => Where::Resting,
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
            Fault::Sleep(millis) | Fault::Linger(millis) => {
                let until = until(millis);
                while sys::now() < until {
                    std::thread::park_timeout(until - sys::now());
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
        for fault in [Fault::Panic(0), Fault::Spin(0), Fault::Linger(u32::MAX), Fault::Sleep(7)] {
            assert_eq!(Fault::unpack(fault.pack()), Some(fault));
        }
        assert_eq!(Fault::unpack(0), None);
    }
}
