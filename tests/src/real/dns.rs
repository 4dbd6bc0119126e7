//! dnsmasq as the DNS of a story, for the domain `test`.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use super::Server;
use crate::net::{free, own_ip};
use crate::weir::Dir;

/// A server of DNS over UDP and TCP.
#[derive(Debug)]
pub struct Dns {
    pub address: SocketAddr,
    server: Server,
    /// Names and addresses, as in hosts(5).
    hosts: PathBuf,
}

impl Dns {
    /// Starts one that knows these names of `test`, and that no other is there.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start(hosts: &str, options: &[&str]) -> Dns {
        Dns::start_at(free(own_ip()), hosts, &[&["--local=/test/"], options].concat())
    }

    /// The same at an address where another one was, with these options alone.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start_at(address: SocketAddr, hosts: &str, options: &[&str]) -> Dns {
        let dir = Dir::new();
        let file = dir.write("hosts", hosts);
        let mut command = Command::new("/usr/sbin/dnsmasq");
        command.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces"]);
        command.args(["--conf-file=/dev/null", "--user=root", "--local-ttl=1"]);
        command.arg(format!("--addn-hosts={file}"));
        command.arg(format!("--listen-address={}", address.ip()));
        command.arg(format!("--port={}", address.port()));
        command.arg(format!("--pid-file={}", dir.entry("pid"))).args(options);
        let server = Server::spawn(&mut command, vec![address], dir);
        Dns { address, server, hosts: file.into() }
    }

    /// It knows these names from now on.
    ///
    /// # Panics
    /// If it has ended.
    pub fn know(&self, hosts: &str) {
        fs::write(&self.hosts, hosts).expect("there is room");
        self.server.signal(Signal::HUP);
    }

    /// It answers nothing, or goes on.
    ///
    /// # Panics
    /// If it has ended.
    pub fn stand_still(&self, still: bool) {
        self.server.signal(if still { Signal::STOP } else { Signal::CONT });
    }
}
