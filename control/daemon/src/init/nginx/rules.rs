//! `allow` and `deny` of nginx, which go by the first that fits, and maps of server names to
//! upstreams.

use super::parser::NginxDirective;
use crate::init::access::AccessRule;
use crate::init::note::{At, Notes, Remark, quoted, warning};
use crate::init::routes::unusable_name;

/// The `allow` and `deny` of a block, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct AccessRules {
    pub(super) rules: Vec<AccessRule>,
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
        let accepts = directive.name() == "allow";
        match (directive.argument(), directive.argument().parse()) {
            ("all", _) => self.rules.push(AccessRule::all(accepts)),
            (_, Ok(network)) => self.rules.push(AccessRule::inside(accepts, vec![network])),
            (_, Err(_)) => {
                let remark = warning(quoted(&directive.words.join(" ")));
                let why = "it is left out: weir takes addresses and networks";
                notes.add(&directive.at, remark.because(why));
            }
        }
    }
}

/// Names as weir writes them, and where they lead.
pub(super) type NamedTarget = (At, Vec<String>, String);

/// `map $ssl_preread_server_name $NAME { … }`
#[derive(Clone, Debug, Default)]
pub(super) struct NameMap {
    pub(super) routes: Vec<NamedTarget>,
    pub(super) default: Option<String>,
    /// Where clients go that ask for no name.
    pub(super) nameless: Option<(At, String)>,
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
            match key {
                "hostnames" | "volatile" => {}
                "default" => map.default = Some(target),
                "" => map.nameless = Some((entry.at.clone(), target)),
                key => match names(key, has_wildcards) {
                    Ok(names) => map.routes.push((entry.at.clone(), names, target)),
                    Err(remark) => notes.add(&entry.at, remark),
                },
            }
        }
        // nginx takes a whole name first, then the longest wildcard.
        let place = |names: &[String]| {
            let wildcard = names.iter().find(|name| name.starts_with('*'));
            wildcard.map_or((0, 0), |name| (1, usize::MAX - name.len()))
        };
        map.routes.sort_by_key(|(_, names, _)| place(names));
        Some(((*variable).to_owned(), map))
    }

    /// Where sessions go of which no name is read.
    pub(super) fn without_name(&self) -> Option<&String> {
        self.nameless.as_ref().map(|(_, target)| target).or(self.default.as_ref())
    }
}

/// The names of a key, as weir writes them.
fn names(key: &str, has_wildcards: bool) -> Result<Vec<String>, Remark> {
    let left_out = |why: &str| warning(quoted(key)).because(why);
    if key.starts_with('~') || (has_wildcards && key.ends_with(".*")) {
        return Err(
            left_out("weir has no patterns of names").instead("name them, or *.example.com")
        );
    }
    let key = key.strip_prefix('\\').unwrap_or(key);
    let is_wildcard = key.starts_with("*.") || key.starts_with('.');
    if !has_wildcards && is_wildcard {
        let why = "without `hostnames` nginx takes it as it is, and no client asks for such a name";
        return Err(left_out(why).instead("`hostnames;` in the map makes it a wildcard"));
    }
    let host = key.strip_prefix("*.").or(key.strip_prefix('.')).unwrap_or(key);
    if let Some(remark) =
        unusable_name(host).or_else(|| host.contains('*').then(|| left_out("it is no name")))
    {
        return Err(remark);
    }
    Ok(match (is_wildcard, key.starts_with('.')) {
        (false, _) => vec![host.to_owned()],
        (true, false) => vec![format!("*.{host}")],
        (true, true) => vec![host.to_owned(), format!("*.{host}")],
    })
}
