//! How the kernel is asked: one function for each operation.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types::Fd};
use weir_core::event::{Leg, Receive};
use weir_proto::address::Address;

use super::buffers::{NOWHERE, RESERVE, SHARED};
use crate::io::Token;
use crate::sys::socket::RawAddress;

/// IORING_RECVSEND_POLL_FIRST (5.19): wait for readiness before the first try.
const POLL_FIRST: u16 = 1;

/// IORING_RECV_MULTISHOT (6.0).
const MULTISHOT: u16 = 2;

/// Where `optlen` is in an entry (linux/io_uring.h): the sum after which a multishot receive ends
/// (6.17; older kernels answer EINVAL). The crate has no name for it.
const OPTLEN: usize = 44;

/// POLLIN as the ring wants it.
const POLLIN: u32 = 1;

/// Addresses that wait for one submission.
const ADDRESSES_MAX: usize = 1024;

/// Memory that operations point to. Boxed: it never moves.
pub(super) struct Arguments {
    addresses: [RawAddress; ADDRESSES_MAX],
    used: usize,
    bell: [u8; 8],
}

impl Default for Arguments {
    fn default() -> Arguments {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let (address, _) = RawAddress::of_ip(&nowhere);
        Arguments { addresses: [address; ADDRESSES_MAX], used: 0, bell: [0; 8] }
    }
}

impl Arguments {
    pub(super) fn has_room(&self) -> bool {
        self.used < ADDRESSES_MAX
    }

    /// Keeps an address until it is submitted (the kernel copies it then).
    pub(super) fn address(&mut self, address: Address) -> (*const libc::sockaddr, u32) {
        let (raw, length) = RawAddress::new(address);
        let place = &mut self.addresses[self.used];
        *place = raw;
        self.used += 1;
        ((&raw const *place).cast(), length)
    }

    pub(super) fn submitted(&mut self) {
        self.used = 0;
    }

    pub(super) fn bell(&mut self) -> *mut u8 {
        self.bell.as_mut_ptr()
    }
}

pub(super) fn accept(listener: Leg) -> Entry {
    // The client's address is asked for only where a strategy needs it (`Io::peer`).
    opcode::Accept::new(Fd(listener.0), std::ptr::null_mut(), std::ptr::null_mut())
        .flags(libc::SOCK_CLOEXEC)
        .build()
}

pub(super) fn connect(leg: Leg, (address, length): (*const libc::sockaddr, u32)) -> Entry {
    opcode::Connect::new(Fd(leg.0), address, length).build()
}

pub(super) fn receive(leg: Leg, how: Receive) -> Entry {
    match how {
        Receive::Once => receive_into(SHARED, leg.0, POLL_FIRST, 0, 0),
        Receive::AtOnce => receive_into(SHARED, leg.0, 0, 0, 0),
        Receive::Multishot { bytes } => {
            receive_into(SHARED, leg.0, POLL_FIRST | MULTISHOT, bytes.into(), bytes.into())
        }
        Receive::Reserved { bytes } => receive_into(RESERVE, leg.0, 0, bytes.into(), 0),
    }
}

/// A multishot receive into a group without buffers: it answers ENOBUFS, or EINVAL if the kernel
/// does not know how to end it after N bytes.
pub(super) fn receive_nowhere(fd: RawFd) -> Entry {
    receive_into(NOWHERE, fd, MULTISHOT, 1, 1)
}

/// `most`: bytes of one answer; 0: a whole buffer. `all`: bytes after which a multishot receive
/// ends.
fn receive_into(group: u16, fd: RawFd, ioprio: u16, most: u32, all: u32) -> Entry {
    let entry = opcode::Recv::new(Fd(fd), std::ptr::null_mut(), most).buf_group(group);
    let mut entry = entry.ioprio(ioprio).build().flags(Flags::BUFFER_SELECT);
    const { assert!(size_of::<Entry>() == 64, "an entry is the kernel's io_uring_sqe") };
    // SAFETY: `optlen` is four bytes inside of the 64 of an entry, which any bits are valid for.
    unsafe { (&raw mut entry).cast::<u8>().add(OPTLEN).cast::<u32>().write(all) };
    entry
}

pub(super) fn send(leg: Leg, bytes: *const u8, length: u16) -> Entry {
    // It never waits in the kernel: io_uring would poll for POLLRDHUP too, which a leg whose FIN
    // has come always has, try again in vain, and at last hand the send to a worker thread.
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    opcode::Send::new(Fd(leg.0), bytes, u32::from(length)).flags(flags).build()
}

pub(super) fn cancel(target: Token) -> Entry {
    // All that have this token: a listener's accepts share one.
    let all = io_uring::types::CancelBuilder::user_data(target.pack()).all();
    opcode::AsyncCancel2::new(all).build()
}

pub(super) fn poll(fd: RawFd) -> Entry {
    opcode::PollAdd::new(Fd(fd), POLLIN).build()
}

pub(super) fn read_bell(bell: RawFd, into: *mut u8) -> Entry {
    opcode::Read::new(Fd(bell), into, 8).build()
}
