//! The `bind` lines of a frontend.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use weir_proto::bind_address::Interface;

use super::super::address::{self, HaproxyAddress};
use super::super::proxy::ProxySection;
use super::{Joiner, header_remark, title};
use crate::init::access::served;
use crate::init::note::{At, quoted, warning};
use crate::init::remarks::{ADDRESSES_MAX, addresses_end_here, tls_goes_through, tls_on_one_side};

/// Their addresses and options.
#[derive(Default)]
pub(super) struct FrontendBinds {
    /// Addresses without a PROXY header.
    pub(super) plain: Vec<SocketAddr>,
    pub(super) with_header: Vec<SocketAddr>,
    /// They may belong to another host.
    pub(super) freebind: bool,
    /// That of all of them.
    pub(super) interface: Option<Interface>,
}

impl Joiner<'_> {
    /// Reads the `bind` lines of a frontend.
    pub(super) fn binds(&mut self, proxy: &ProxySection, pool: usize) -> FrontendBinds {
        let servers_tls = self.tls[pool];
        let mut all = FrontendBinds::default();
        let mut interfaces = BTreeSet::new();
        for (at, addresses, options) in &proxy.binds {
            if options.is_tls != servers_tls {
                let whats = ["a bind with `ssl`", "a bind before servers with `ssl`"];
                self.notes.add(at, tls_on_one_side(options.is_tls, whats));
                continue;
            }
            if options.is_tls {
                self.notes.add(at, tls_goes_through());
            }
            all.freebind |= options.is_transparent;
            interfaces.insert(options.interface);
            self.notes.extend(&options.remarks);
            if options.wants_header {
                let of_connection = served(&[&proxy.settings.rules.connection.rules]);
                self.notes.add(at, header_remark(&of_connection));
            }
            let binds = if options.wants_header { &mut all.with_header } else { &mut all.plain };
            for text in addresses.split(',') {
                binds.extend(self.bind(at, text, options.is_v6only));
            }
        }
        if interfaces.len() == 1 {
            all.interface = interfaces.pop_first().flatten();
        } else if !interfaces.is_empty() {
            let remark = warning(format!("`interface` of {}", title(proxy)));
            let remark = remark.because("it is left out: not all of its addresses have the same");
            self.notes.add(&proxy.at, remark.instead("a listener for each interface"));
        }
        all
    }

    fn bind(&mut self, at: &At, text: &str, is_v6only: bool) -> Vec<SocketAddr> {
        let read = self.address(at, text);
        let refuse = |why: &str| warning(format!("bind {}", quoted(text))).because(why);
        let remark = match (address::to_bind(&read, is_v6only), &read) {
            (Some(binds), _) if self.addresses + binds.len() <= ADDRESSES_MAX => {
                self.addresses += binds.len();
                return binds;
            }
            (Some(_), _) => {
                self.is_full = true;
                addresses_end_here()
            }
            (None, HaproxyAddress::Unix(_)) => {
                refuse("it is left out: weir listens on TCP over IP only")
            }
            (None, HaproxyAddress::Other(what)) => {
                refuse(&format!("it is left out: {what} is not TCP over IP"))
            }
            (None, HaproxyAddress::Named(..)) => {
                refuse("it is left out: weir listens on addresses").instead("write IP:PORT")
            }
            (None, _) => refuse("it is left out: it is no address with a port, or a long range"),
        };
        self.notes.add(at, remark);
        Vec::new()
    }
}
