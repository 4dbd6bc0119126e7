//! The headers that backends get: each tells of its client as the client's own header did, and has
//! the same unique id on each attempt, which no other session has.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::event::Side;
use weir_core::proxy_header::{Parsed, parse};
use weir_core::table::Table;

use super::Ledger;
use crate::kernel::{Kernel, Key, split};
use crate::net::ConnId;

/// Those that were looked at.
#[derive(Debug, Default)]
pub(super) struct SentHeaders {
    checked: BTreeSet<ConnId>,
    /// Unique ids that weir has made.
    made: BTreeMap<Vec<u8>, Key>,
    /// By session; the other way round.
    ids: BTreeMap<Key, Vec<u8>>,
    pub(super) dropped: u64,
}

impl Ledger {
    /// # Errors
    /// A backend was told something else.
    pub fn check_headers(&mut self, table: &Table, kernel: &Kernel) -> Result<(), String> {
        if !kernel.swarm.headers.go {
            return Ok(());
        }
        for (id, session) in table.iter().filter(|(_, session)| session.is_relaying()) {
            let conn = |side| session.leg(side).and_then(|leg| kernel.conn(leg));
            let [Some(client), Some(backend)] = [Side::Client, Side::Backend].map(conn) else {
                continue;
            };
            let Some(sent) = kernel.net.conns[backend].header.as_deref() else { continue };
            if self.headers.checked.insert(backend) {
                let key = (id.slot, id.generation);
                self.headers.check(sent, client, key, kernel).map_err(|what| {
                    format!("the header of backend's connection {backend}: {what}: {session:?}")
                })?;
            }
        }
        Ok(())
    }
}

impl SentHeaders {
    fn check(
        &mut self,
        sent: &[u8],
        client: ConnId,
        key: Key,
        kernel: &Kernel,
    ) -> Result<(), String> {
        let Parsed::Header { told, fields, .. } = parse(sent) else {
            return Err("it is none".into());
        };
        let (expected, passed) = kernel.to_be_told(client);
        if told.is_none() && kernel.net.conns[client].weir_reset {
            return Ok(());
        }
        if told != Some(expected) {
            return Err(format!("it tells of {told:?}; it should be {expected:?}"));
        }
        let mut fields = split(fields);
        if sent.len() > 536 || fields.pop().is_none_or(|(kind, _)| kind != 3) {
            return Err(format!("it is long, or has no checksum: {sent:?}"));
        }
        let has_own = passed.first().is_some_and(|(kind, _)| *kind == 5);
        if !has_own {
            let (kind, made) = if fields.is_empty() { (0, &[][..]) } else { fields.remove(0) };
            let is_known = self.ids.insert(key, made.to_vec()).is_none_or(|before| before == made);
            let is_its_own = self.made.insert(made.to_vec(), key).is_none_or(|of| of == key);
            if kind != 5 || made.is_empty() || !is_known || !is_its_own {
                return Err(format!("{made:?} is no unique id"));
            }
        }
        let same = fields.len() == passed.len()
            && fields.iter().zip(&passed).all(|(it, of)| it.0 == of.0 && it.1 == of.1);
        if same { Ok(()) } else { Err(format!("it has {fields:?}; it should be {passed:?}")) }
    }
}
