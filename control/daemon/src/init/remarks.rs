//! Remarks that files of both peers get, and how tables of remarks are looked up.

use weir_proto::address::UNIX_PATH_MAX;
use weir_proto::snapshot::{BINDS_MAX, LISTENERS_MAX};

use super::draft::DraftAddress;
use super::note::{At, Notes, Remark, note, quoted, warning};

/// Addresses of all listeners.
pub(super) const ADDRESSES_MAX: usize = BINDS_MAX * LISTENERS_MAX;

/// Whether a word is `pattern`, or begins with it if that ends with `*`.
pub(super) fn fits(pattern: &str, word: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => word.starts_with(prefix),
        None => word == pattern,
    }
}

/// A listener believes everybody; `as_before` says what the peer does.
pub(super) fn believes_everybody(what: &str, as_before: &str) -> Remark {
    let why = format!("the PROXY header of every client is believed, {as_before}");
    let hint = "write the networks of the balancers before weir into proxy-protocol.from";
    warning(what).because(why).instead(hint)
}

/// Some addresses of one section want a PROXY header and others do not.
pub(super) fn is_two_listeners(what: &str) -> Remark {
    let why = "all clients of a listener send a PROXY header, or none";
    let hint = "max-sessions is of each by itself";
    note(format!("{what} becomes two listeners")).because(why).instead(hint)
}

/// Clients use TLS and servers do not, or the other way round. The line is called `with` if it is
/// of clients that do, `without` if not.
pub(super) fn tls_on_one_side(of_clients: bool, [with, without]: [&str; 2]) -> Remark {
    let (what, why) = match of_clients {
        true => (with, "weir does not decrypt"),
        false => (without, "weir does not encrypt"),
    };
    let hint = "let the servers take the clients' connections as they are";
    warning(format!("{what} is left out")).because(why).instead(hint)
}

/// Clients and servers use TLS.
pub(super) fn tls_goes_through() -> Remark {
    let remark = warning("TLS of the clients goes through to the servers");
    let hint = "their certificates must be those of this name";
    remark.because("weir does not decrypt").instead(hint)
}

/// There are more than [`ADDRESSES_MAX`].
pub(super) fn addresses_end_here() -> Remark {
    let why = format!("weir listens on {ADDRESSES_MAX} addresses at most");
    warning("addresses from here on are left out").because(why)
}

/// None of its addresses was carried over.
pub(super) fn has_no_address(what: &str) -> Remark {
    let why = "it has no address that weir can listen on";
    warning(format!("{what} is left out")).because(why)
}

/// A pool that no listener has.
pub(super) fn has_no_listener(what: &str) -> Remark {
    let why = "no listener that was carried over leads to it";
    note(format!("the pool of {what}")).because(why)
}

/// A server at a Unix socket, with its address as weir has it and as it is `written`.
pub(super) fn unix_server(
    at: &At,
    (address, written): (&str, &str),
    notes: &mut Notes,
) -> DraftAddress {
    let why = format!("weir connects to absolute paths of at most {UNIX_PATH_MAX} bytes");
    let address = address.parse().map(DraftAddress::Known);
    address.unwrap_or_else(|_| unusable(at, written, &why, notes))
}

/// An address of a server that becomes a comment.
pub(super) fn unusable(at: &At, address: &str, why: &str, notes: &mut Notes) -> DraftAddress {
    let remark = warning(format!("the server at {} is left out", quoted(address)));
    let hint = "write IP:PORT, where weir.toml has it as a comment";
    notes.add(at, remark.because(why).instead(hint));
    DraftAddress::Unusable(address.to_owned())
}
