//! Addresses that pools connect from, and that this host does not have at this moment.

use std::net::SocketAddr;

use weir_proto::spec::{SourceSpec, Spec};

use crate::listen::is_own_address;

/// As in `10.0.0.5 of pool web`. Of a link-local address only its link is known where it is used.
pub(crate) fn absent(spec: &Spec) -> Vec<String> {
    let mut absent = Vec::new();
    for (name, pool) in &spec.pool {
        for address in pool.source.iter().flat_map(|SourceSpec::Addresses(all)| all) {
            let known = SocketAddr::from((*address, 9));
            let is_linked = match address {
                std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
                std::net::IpAddr::V4(_) => false,
            };
            if !is_linked && !is_own_address(known) {
                absent.push(format!("{address} of pool {name}"));
            }
        }
    }
    absent
}

/// The same as warnings of `weir check`.
pub(crate) fn warnings(spec: &Spec) -> Vec<String> {
    let warning = |what: String| {
        format!("source {what} is not on this host: no connection comes from it until it is")
    };
    absent(spec).into_iter().map(warning).collect()
}
