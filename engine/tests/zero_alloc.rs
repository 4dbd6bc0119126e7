//! After its start the data path allocates nothing: a counting allocator watches the whole process
//! while sessions come, exchange bytes and go. The only test in this file, so that nobody else
//! allocates meanwhile.

#[path = "support/rig.rs"]
mod rig;

use std::alloc::System;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use rig::Rig;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WARM: u32 = 500;
const COUNTED: u32 = 5_000;
/// Enough for a flow to become bulk.
const BULK: usize = 1024 * 1024;

/// Sends back what it gets, one client after the other, until one says only `q`.
fn echo(listener: &TcpListener) {
    let mut buffer = [0; 65_536];
    loop {
        let (mut stream, _) = listener.accept().expect("weir connects");
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(1) if buffer[0] == b'q' => return,
                Ok(count) => match stream.write_all(&buffer[..count]) {
                    Ok(()) => {}
                    Err(_) => break,
                },
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// One session: a few bytes or many, then a FIN, or a reset.
fn session(rig: &Rig, number: u32, chunk: &[u8], into: &mut [u8]) {
    let mut client = TcpStream::connect(rig.address).expect("weir listens");
    let bytes = if number.is_multiple_of(100) { BULK } else { 64 };
    let mut left = bytes;
    while left > 0 {
        let count = left.min(chunk.len());
        client.write_all(&chunk[..count]).expect("weir takes it");
        client.read_exact(&mut into[..count]).expect("it comes back");
        left -= count;
    }
    if number.is_multiple_of(2) {
        client.shutdown(Shutdown::Write).expect("it is open");
        assert_eq!(client.read(into).expect("the end comes back"), 0);
    }
}

#[test]
fn nothing_is_allocated_after_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rig = Rig::start(&[listener.local_addr().unwrap()]);
    let backend = thread::spawn(move || echo(&listener));
    let (chunk, mut into) = (vec![7; 32_768], vec![0; 32_768]);
    for number in 0..WARM {
        session(&rig, number, &chunk, &mut into);
    }
    let region = Region::new(ALLOCATOR);
    for number in 0..COUNTED {
        session(&rig, number, &chunk, &mut into);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
    let mut last = rig.client();
    last.write_all(b"q").unwrap();
    backend.join().unwrap();
    drop(last);
    let stats = rig.stop();
    let sessions: u64 = stats.backends.iter().map(|row| row.counts.sessions).sum();
    assert_eq!(sessions, u64::from(WARM + COUNTED) + 1, "{stats:?}");
    assert!(stats.counts.promotions > 0, "some of it was bulk: {stats:?}");
}
