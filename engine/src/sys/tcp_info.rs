//! TCP_INFO (tcp(7)) as the kernel has it: libc's struct ends where glibc's does, before the
//! counters of bytes and the peer's window.

use std::mem::size_of;

use weir_core::event::Leg;
use weir_proto::session::LegRow;

use super::socket;

/// `struct tcp_info` of linux/tcp.h up to `tcpi_snd_wnd` (Linux 5.4). What an older kernel does not
/// have is 0.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct TcpInfo {
    pub(crate) state: u8,
    _ca_state: u8,
    pub(crate) retransmits: u8,
    pub(crate) probes: u8,
    /// backoff, options, both window scales, flags.
    _bytes: [u8; 4],
    /// rto, ato.
    _timers: [u32; 2],
    pub(crate) snd_mss: u32,
    _rcv_mss: u32,
    pub(crate) unacked: u32,
    /// sacked, lost, retrans, fackets.
    _counts: [u32; 4],
    _last_data_sent: u32,
    _last_ack_sent: u32,
    last_data_recv: u32,
    pub(crate) last_ack_recv: u32,
    /// pmtu, rcv_ssthresh.
    _sizes: [u32; 2],
    rtt: u32,
    rttvar: u32,
    _snd_ssthresh: u32,
    snd_cwnd: u32,
    /// advmss, reordering, rcv_rtt, rcv_space.
    _more: [u32; 4],
    total_retrans: u32,
    /// pacing_rate, max_pacing_rate.
    _pacing: [u64; 2],
    bytes_acked: u64,
    bytes_received: u64,
    _segs: [u32; 2],
    pub(crate) notsent_bytes: u32,
    min_rtt: u32,
    /// data_segs_in, data_segs_out.
    _data_segs: [u32; 2],
    delivery_rate: u64,
    busy_time: u64,
    rwnd_limited: u64,
    sndbuf_limited: u64,
    /// delivered, delivered_ce.
    _delivered: [u32; 2],
    /// bytes_sent, bytes_retrans.
    _bytes_sent: [u64; 2],
    /// dsack_dups, reord_seen, rcv_ooopack.
    _disorder: [u32; 3],
    pub(crate) snd_wnd: u32,
}

const _: () = assert!(size_of::<TcpInfo>() == 232);

impl TcpInfo {
    /// The kernel's word on a socket. `None` if it says nothing.
    pub(crate) fn of(leg: Leg) -> Option<TcpInfo> {
        let mut info = TcpInfo::default();
        let mut length = libc::socklen_t::try_from(size_of::<TcpInfo>()).expect("it is small");
        let place = (&raw mut info).cast();
        // SAFETY: `info` is as long as `length` says, and every bit pattern is one of its values.
        let result = unsafe {
            libc::getsockopt(leg.0, libc::IPPROTO_TCP, libc::TCP_INFO, place, &raw mut length)
        };
        (result == 0).then_some(info)
    }
}

/// The states of a connection (tcp_states.h), from 1 on.
const STATES: [&str; 12] = [
    "established",
    "syn-sent",
    "syn-received",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "closed",
    "close-wait",
    "last-ack",
    "listening",
    "closing",
    "new-syn-received",
];

/// `min_rtt` of a connection that has measured none.
const UNKNOWN: u32 = u32::MAX;

/// A connected leg, by the kernel. `None` if it says nothing.
pub(crate) fn describe(leg: Leg) -> Option<LegRow> {
    let info = TcpInfo::of(leg)?;
    let state = usize::from(info.state).checked_sub(1).and_then(|index| STATES.get(index));
    let text = |address: Option<std::net::SocketAddr>| address.map(|it| it.to_string());
    Some(LegRow {
        local: text(socket::own(leg)).unwrap_or_default(),
        peer: text(socket::peer(leg)).unwrap_or_default(),
        tcp_state: (*state.unwrap_or(&"unknown")).to_owned(),
        rtt_s: micros(info.rtt.into()),
        rtt_variance_s: micros(info.rttvar.into()),
        min_rtt_s: if info.min_rtt == UNKNOWN { 0.0 } else { micros(info.min_rtt.into()) },
        congestion_window: info.snd_cwnd.into(),
        segment_bytes: info.snd_mss.into(),
        unacked_segments: info.unacked.into(),
        retransmits_total: info.total_retrans.into(),
        unsent_bytes: info.notsent_bytes.into(),
        acked_bytes_total: info.bytes_acked,
        received_bytes_total: info.bytes_received,
        delivery_rate_bytes_per_s: info.delivery_rate,
        last_received_s: f64::from(info.last_data_recv) / 1e3,
        busy_s: micros(info.busy_time),
        window_limited_s: micros(info.rwnd_limited),
        buffer_limited_s: micros(info.sndbuf_limited),
    })
}

#[allow(clippy::cast_precision_loss)] // exact up to 285 years
fn micros(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn the_kernel_tells_of_bytes_and_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, peer) = listener.accept().unwrap();
        there.write_all(&[7; 1_000]).unwrap();
        here.read_exact(&mut [0; 1_000]).unwrap();
        let row = describe(Leg(here.as_raw_fd())).unwrap();
        assert_eq!((row.tcp_state.as_str(), row.received_bytes_total), ("established", 1_000));
        assert_eq!(row.local, peer.to_string());
        assert_eq!(row.peer, listener.local_addr().unwrap().to_string());
        assert!(row.rtt_s > 0.0 && row.rtt_s < 1.0 && row.min_rtt_s < 1.0, "{row:?}");
        assert!(row.congestion_window > 0 && row.segment_bytes > 500, "{row:?}");
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(describe(Leg(file.as_raw_fd())), None);
    }
}
