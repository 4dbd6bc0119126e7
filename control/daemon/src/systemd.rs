//! What systemd is told (sd_notify(3)), without ever waiting for it.
//!
//! Its socket holds some datagrams; when nobody reads them a blocking send waits, and it is control
//! that sends.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// It serves.
pub(crate) const READY: &str = "READY=1";
/// It lives.
pub(crate) const ALIVE: &str = "WATCHDOG=1";

/// Sends `state` (`KEY=VALUE`) to the socket that NOTIFY_SOCKET names; without one there is nobody
/// to tell.
///
/// # Errors
/// `WouldBlock`: there is no room now. Else what connect(2) or send(2) said.
pub(crate) fn tell(state: &str) -> io::Result<()> {
    std::env::var_os("NOTIFY_SOCKET").map_or(Ok(()), |path| send(&path, state))
}

fn send(path: &OsStr, state: &str) -> io::Result<()> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

/// True if systemd wants to hear [`ALIVE`] from this process (WatchdogSec=).
pub(crate) fn wants_pings() -> bool {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let pid = number("WATCHDOG_PID");
    let is_ours = pid.is_none_or(|pid| pid == u64::from(std::process::id()));
    is_ours && number("WATCHDOG_USEC").is_some_and(|micros| micros > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_arrives_by_path_and_by_name() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("weir-systemd-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let name = format!("weir-systemd-{}", std::process::id());
        let abstract_one = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}").into(), UnixDatagram::bind_addr(&abstract_one).unwrap()),
        ];
        for (path, socket) in sockets {
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            send(&path, READY).unwrap();
            let mut bytes = [0; 64];
            let length = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"READY=1");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_socket_that_nobody_reads_is_not_waited_for() {
        let name = format!("weir-systemd-full-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _socket = UnixDatagram::bind_addr(&address).unwrap();
        let path = format!("@{name}");
        let full = (0..1_000_000).find_map(|_| send(OsStr::new(&path), ALIVE).err());
        assert_eq!(full.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        assert!(send(OsStr::new("/nowhere/at/all"), READY).is_err());
    }
}
