//! Programs that choose among the sockets of a reuseport group (SO_ATTACH_REUSEPORT_CBPF,
//! socket(7)): a few instructions of classic BPF over the IP header of a SYN.

use weir_core::event::Leg;
use weir_core::steering::{SteeredBy, Steering, words_of};
use weir_proto::bind_address::BindAddress;

/// asm-generic/socket.h; libc has no name for them.
const SO_ATTACH_REUSEPORT_CBPF: i32 = 51;
const SO_DETACH_REUSEPORT_BPF: i32 = 68;

/// Where the IP header begins for loads (SKF_NET_OFF, linux/filter.h), and the source in it.
const NET_OFF: u32 = 0xfff0_0000;
const SOURCE_V4: u32 = NET_OFF + 12;
const SOURCE_V6: u32 = NET_OFF + 8;

/// The version of IP in the first byte of its header, and that of IPv4 there.
const VERSION: u32 = 0xf0;
const VERSION_4: u32 = 0x40;

/// Instructions of the longest program.
const LENGTH_MAX: usize = 36;

// linux/bpf_common.h.
const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const LOAD: u16 = 0x00; // BPF_LD | BPF_IMM
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const XOR_X: u16 = 0xac; // BPF_ALU | BPF_XOR | BPF_X
const MUL: u16 = 0x24; // BPF_ALU | BPF_MUL | BPF_K
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const SHIFT: u16 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const MOD: u16 = 0x94; // BPF_ALU | BPF_MOD | BPF_K
const TO_X: u16 = 0x07; // BPF_MISC | BPF_TAX
const RETURN: u16 = 0x16; // BPF_RET | BPF_A

struct Program {
    code: [libc::sock_filter; LENGTH_MAX],
    length: u16,
}

impl Program {
    fn push(&mut self, code: u16, k: u32) {
        self.code[usize::from(self.length)] = libc::sock_filter { code, jt: 0, jf: 0, k };
        self.length += 1;
    }

    /// Does as [`Steering::place`], for the clients that come to this address.
    fn of(steering: &Steering, at: &BindAddress) -> Program {
        let nothing = libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 };
        let mut program = Program { code: [nothing; LENGTH_MAX], length: 0 };
        let is_ipv6 = at.address.is_ipv6();
        if at.takes_ipv4 && matches!(steering.by, SteeredBy::Source { .. }) {
            program.push(LOAD_BYTE, NET_OFF);
            program.push(AND, VERSION);
            let jump = usize::from(program.length);
            program.push(JUMP_EQUAL, VERSION_4);
            program.choose(steering, false);
            // Where it is not IPv4, behind all of that.
            let length = usize::from(program.length) - jump - 1;
            program.code[jump].jf = u8::try_from(length).expect("a program is short");
        }
        program.choose(steering, is_ipv6);
        program
    }

    /// Adds the choice among clients of this family, and the return.
    fn choose(&mut self, steering: &Steering, is_ipv6: bool) {
        let program = self;
        match steering.by {
            SteeredBy::One { number } => {
                program.push(LOAD, number.into());
                program.push(RETURN, 0);
                return;
            }
            SteeredBy::Source { mask_v4, factor, .. } if !is_ipv6 => {
                program.push(LOAD_WORD, SOURCE_V4);
                program.push(AND, mask_v4);
                program.push(MUL, factor);
            }
            SteeredBy::Source { mask_v6, factor, .. } => {
                program.push(LOAD, 0);
                for (at, mask) in (0..).zip(words_of(mask_v6)).filter(|(_, mask)| *mask > 0) {
                    program.push(TO_X, 0);
                    program.push(LOAD_WORD, SOURCE_V6 + at * 4);
                    program.push(AND, mask);
                    program.push(XOR_X, 0);
                    program.push(MUL, factor);
                }
            }
        }
        program.push(SHIFT, 16);
        program.push(MOD, steering.sockets.into());
        program.push(RETURN, 0);
    }
}

/// Gives the group of a listening socket a program, or takes it away.
pub(crate) fn steer(listener: Leg, at: &BindAddress, steering: Option<Steering>) {
    let Some(steering) = steering else {
        // Another socket of the group may have taken it away already.
        super::socket::set(listener.0, libc::SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &0i32);
        return;
    };
    let mut program = Program::of(&steering, at);
    let filter = libc::sock_fprog { len: program.length, filter: program.code.as_mut_ptr() };
    super::socket::set(listener.0, libc::SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter);
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, OwnedFd};

    use rustix::net::{AddressFamily, SocketType, sockopt};

    use super::*;

    fn socket(of: SocketAddr) -> OwnedFd {
        let family = if of.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        rustix::net::socket(family, SocketType::STREAM, None).unwrap()
    }

    /// Sockets that listen at one address, in their order.
    fn group(address: SocketAddr, count: usize) -> Vec<TcpListener> {
        let mut at = address;
        let mut all = Vec::new();
        for _ in 0..count {
            let socket = socket(at);
            sockopt::set_socket_reuseport(&socket, true).unwrap();
            rustix::net::bind(&socket, &at).unwrap();
            rustix::net::listen(&socket, 64).unwrap();
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true).unwrap();
            at = listener.local_addr().unwrap();
            all.push(listener);
        }
        all
    }

    fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
        let socket = socket(to);
        rustix::net::bind(&socket, &SocketAddr::new(source, 0)).unwrap();
        rustix::net::connect(&socket, &to).unwrap();
        socket.into()
    }

    #[test]
    fn the_kernel_brings_each_source_to_the_place_that_is_computed() {
        let by = SteeredBy::Source {
            mask_v4: 0xffff_ff00,
            mask_v6: u128::MAX << 64,
            factor: 0x9e37_79b1,
        };
        let steering = Steering { sockets: 3, by };
        let all = group("127.0.0.1:0".parse().unwrap(), 3);
        let at = all[0].local_addr().unwrap();
        steer(Leg(all[1].as_raw_fd()), &at.into(), Some(steering));
        for net in 0..20 {
            for host in [1, 77] {
                let source = IpAddr::from([127, 0, net, host]);
                let _client = connect_from(source, at);
                let place = usize::from(steering.place(source));
                let (_, peer) = all[place].accept().unwrap();
                assert_eq!(peer.ip(), source);
            }
        }
        let one = Steering { sockets: 3, by: SteeredBy::One { number: 2 } };
        steer(Leg(all[0].as_raw_fd()), &at.into(), Some(one));
        for host in 1..20 {
            let _client = connect_from(IpAddr::from([127, 0, host, 1]), at);
            all[2].accept().unwrap();
        }
        // Without a program the kernel chooses by its own hash.
        steer(Leg(all[0].as_raw_fd()), &at.into(), None);
        let clients: Vec<_> = (0..64).map(|_| TcpStream::connect(at).unwrap()).collect();
        assert!(all[0].accept().is_ok() && all[1].accept().is_ok(), "{}", clients.len());
    }

    #[test]
    fn the_program_for_ipv6_is_what_is_computed() {
        for prefix in [0_u32, 7, 48, 64, 128] {
            let mask_v6 = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            let by = SteeredBy::Source { mask_v4: 0, mask_v6, factor: 0x9e37_79b1 };
            let steering = Steering { sockets: 3, by };
            let all = group("[::1]:0".parse().unwrap(), 3);
            let at = all[0].local_addr().unwrap();
            steer(Leg(all[0].as_raw_fd()), &at.into(), Some(steering));
            for _ in 0..4 {
                let _client = TcpStream::connect(at).unwrap();
                let place = usize::from(steering.place(at.ip()));
                all[place].accept().unwrap();
            }
        }
    }

    #[test]
    fn a_socket_of_both_families_has_a_program_for_each() {
        let by =
            SteeredBy::Source { mask_v4: 0xffff_ff00, mask_v6: u128::MAX, factor: 0x9e37_79b1 };
        let steering = Steering { sockets: 3, by };
        let all = group("[::]:0".parse().unwrap(), 3);
        let at = all[0].local_addr().unwrap();
        let both = BindAddress { takes_ipv4: true, ..at.into() };
        steer(Leg(all[0].as_raw_fd()), &both, Some(steering));
        for net in 0..20 {
            let source = IpAddr::from([127, 0, net, 1]);
            let _client = connect_from(source, SocketAddr::from(([127, 0, 0, 1], at.port())));
            let (_, peer) = all[usize::from(steering.place(source))].accept().unwrap();
            assert_eq!(peer.ip().to_canonical(), source);
        }
        let loopback = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
        let _client = TcpStream::connect((loopback, at.port())).unwrap();
        all[usize::from(steering.place(loopback))].accept().unwrap();
    }
}
