//! `allow` and `deny` of nginx, which go by the first that fits, as lists of weir, of which `deny`
//! comes first; and maps of server names to upstreams.

use weir_proto::network::Network;

use super::parser::NginxDirective;
use crate::init::draft::from_everybody;
use crate::init::note::{At, Notes, note, quoted, warning};

/// One `allow` or `deny`. `None`: `all`.
#[derive(Clone, Debug)]
struct AccessRule {
    at: At,
    allows: bool,
    network: Option<Network>,
}

/// Those of a block, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct AccessRules {
    rules: Vec<AccessRule>,
    /// They are of this block, and not of the one around it.
    is_own: bool,
}

impl AccessRules {
    /// As a block within this one begins.
    pub(super) fn inherited(&self) -> AccessRules {
        AccessRules { is_own: false, ..self.clone() }
    }

    pub(super) fn take(&mut self, directive: &NginxDirective, notes: &mut Notes) {
        // Those of a block take the place of those around it.
        if !std::mem::replace(&mut self.is_own, true) {
            self.rules.clear();
        }
        let network = match directive.argument() {
            "all" => None,
            text => match text.parse() {
                Ok(network) => Some(network),
                Err(_) => {
                    let remark = warning(quoted(&directive.words.join(" ")));
                    let why = "it is left out: weir takes addresses and networks";
                    return notes.add(&directive.at, remark.because(why));
                }
            },
        };
        let (at, allows) = (directive.at.clone(), directive.name() == "allow");
        self.rules.push(AccessRule { at, allows, network });
    }

    /// `allow` and `deny` of weir.
    pub(super) fn lists(&self, notes: &mut Notes) -> [Vec<Network>; 2] {
        let [mut allow, mut deny] = [Vec::new(), Vec::new()];
        for AccessRule { at, allows, network } in &self.rules {
            match (allows, network) {
                (true, Some(network)) => allow.push(*network),
                (false, Some(network)) => {
                    if let Some(before) = allow.iter().find(|before| before.overlaps(network)) {
                        let remark = warning(format!("`allow {before}` before `deny {network}`"));
                        let why = "deny comes first in weir: clients of both are refused";
                        notes.add(at, remark.because(why));
                    }
                    deny.push(*network);
                }
                // Everybody else.
                (true, None) => {
                    allow.clear();
                    return [allow, deny];
                }
                (false, None) if allow.is_empty() => {
                    return [Vec::new(), from_everybody().to_vec()];
                }
                (false, None) => return [allow, deny],
            }
        }
        // Without a last word nginx allows.
        allow.clear();
        [allow, deny]
    }
}

/// `map $ssl_preread_server_name $NAME { … }`
#[derive(Clone, Debug, Default)]
pub(super) struct NameMap {
    /// A name as weir writes it, and where it leads.
    pub(super) routes: Vec<(At, Vec<String>, String)>,
    pub(super) default: Option<String>,
}

impl NameMap {
    /// The variable and its map, if this is one by server names.
    pub(super) fn of(directive: &NginxDirective, notes: &mut Notes) -> Option<(String, NameMap)> {
        let words: Vec<&str> = directive.arguments().collect();
        let ["$ssl_preread_server_name", variable, ..] = words.as_slice() else { return None };
        let mut map = NameMap::default();
        let entries = directive.blocks();
        let has_wildcards = entries.iter().any(|entry| entry.name() == "hostnames");
        for entry in entries {
            let (key, target) = (entry.name(), entry.argument().to_owned());
            let names = match key {
                "hostnames" => continue,
                "default" => {
                    map.default = Some(target);
                    continue;
                }
                key if key.starts_with('~') || key.ends_with(".*") || key == "volatile" => {
                    let remark = warning(quoted(key)).because("weir has no patterns of names");
                    notes.add(&entry.at, remark.instead("name them, or *.example.com"));
                    continue;
                }
                key => match key.strip_prefix('.').filter(|_| has_wildcards) {
                    Some(host) => vec![host.to_owned(), format!("*.{host}")],
                    None => vec![key.trim_start_matches('\\').to_owned()],
                },
            };
            map.routes.push((entry.at.clone(), names, target));
        }
        // nginx takes a whole name first, then the longest wildcard.
        let place = |names: &[String]| {
            let wildcard = names.iter().find(|name| name.starts_with('*'));
            wildcard.map_or((0, 0), |name| (1, usize::MAX - name.len()))
        };
        map.routes.sort_by_key(|(_, names, _)| place(names));
        if map.default.is_none() && !map.routes.is_empty() {
            let why = "what no name takes goes to the first of them: nginx closes such clients";
            notes.add(&directive.at, note("a map without a default").because(why));
        }
        Some(((*variable).to_owned(), map))
    }
}
