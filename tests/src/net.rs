//! The network of a story: addresses of its own, and the scripted peers on both sides of weir.

pub mod backend;
pub mod blackhole;
pub mod ending;
pub mod peer;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

pub use backend::{Backend, Dialogue, Script};
pub use peer::{End, Peer};

/// A loopback address that no other story uses at this time: 127.x.y.z of the process and a count.
/// Stories run in parallel, and weir binds with SO_REUSEPORT: two that found the same free port
/// would share it without a word.
///
/// # Panics
/// If one test process asks for more than 1,500.
#[must_use]
pub fn own_ip() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(count < 1_500, "a test process has 1,500 addresses");
    let [low, high, ..] = std::process::id().to_le_bytes();
    let (block, last) = (count / 250, u8::try_from(count % 250 + 2).expect("below 252"));
    // 127.32.0.0 and up, a block of 32 for each 250: far from what stories write by hand.
    let second = u8::try_from(32 + block * 32).expect("six blocks") | (high & 31);
    IpAddr::V4(Ipv4Addr::new(127, second, low, last))
}

/// A port on `ip` that nobody listens on.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free(ip: IpAddr) -> SocketAddr {
    let probe = TcpListener::bind((ip, 0)).expect("a port is free");
    probe.local_addr().expect("a bound socket has an address")
}

/// `length` bytes that look random, the same for the same `seed` (xorshift64*).
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A listener on `ip` whose queue holds a burst (std's holds 128, and then SYNs are dropped).
///
/// # Panics
/// If no port is free.
#[must_use]
pub fn listener(ip: IpAddr) -> TcpListener {
    let address = socket2::SockAddr::from(SocketAddr::new(ip, 0));
    let socket = socket2::Socket::new(address.domain(), socket2::Type::STREAM, None);
    let socket = socket.expect("there is a descriptor");
    socket.bind(&address).expect("a port is free");
    socket.listen(4096).expect("a bound socket listens");
    socket.into()
}
