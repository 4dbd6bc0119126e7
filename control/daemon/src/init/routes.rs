//! The routes of a listener, as few as serve the same sessions: weir has a limit of routes, and of
//! names in each.

use std::collections::BTreeSet;

use weir_proto::network::NETWORKS_MAX;
use weir_proto::snapshot::{NAMES_MAX, ROUTES_MAX, fault_of_name, fault_of_protocol};

use super::draft::DraftRoute;
use super::note::{Notes, Remark, quoted, warning};

/// A name that no client asks for, or that weir cannot have.
pub(super) fn unusable_name(name: &str) -> Option<Remark> {
    let why = match (name.strip_suffix('.'), fault_of_name(name)) {
        (Some(_), _) => "no client asks for a name with a dot at its end (RFC 6066)",
        (None, Some(_)) if !name.is_ascii() => "clients ask for it as xn--…",
        (None, fault) => fault?,
    };
    Some(warning(format!("the server name {} is left out", quoted(name))).because(why))
}

/// An application protocol that weir cannot have.
pub(super) fn unusable_protocol(protocol: &str) -> Option<Remark> {
    let why = fault_of_protocol(protocol)?;
    Some(warning(format!("the protocol {} is left out", quoted(protocol))).because(why))
}

/// A route and what sessions it may take, by server name.
struct JoinedRoute {
    route: DraftRoute,
    /// Names in small letters, and what names below a wildcard end with.
    names: BTreeSet<String>,
    endings: BTreeSet<String>,
}

/// Routes of one pool as one, where no route between them takes the same names. Says which are left
/// out if there are too many.
pub(super) fn joined(routes: &[DraftRoute], notes: &mut Notes) -> Vec<DraftRoute> {
    let mut joined: Vec<JoinedRoute> = Vec::new();
    let mut left_out = 0;
    for route in routes.iter().flat_map(short) {
        let is_full = joined.len() == ROUTES_MAX;
        // A file may have a million of them.
        let place = if left_out < TRIED_MAX { place(&joined, &route) } else { None };
        if route.from.len() > NETWORKS_MAX {
            let remark = warning("a route is left out");
            let why = format!("a list of weir has {NETWORKS_MAX} networks at most");
            notes.add(&route.at, remark.because(why));
        } else if let Some(place) = place {
            joined[place].add(route);
        } else if is_full {
            left_out += 1;
            let remark = warning("the routes of this line are left out");
            let why = format!(
                "a listener of weir has {ROUTES_MAX} routes at most, with {NAMES_MAX} names each: \
                 their sessions go to the pool of the listener, or where a later route leads"
            );
            let hint = "one wildcard, as *.example.com, may stand for many names";
            notes.add(&route.at, remark.because(why).instead(hint));
        } else {
            joined.push(JoinedRoute::of(route));
        }
    }
    joined.into_iter().map(|it| it.route).collect()
}

/// Routes without a place that are tried once there is none left.
const TRIED_MAX: usize = 1000;

/// One, or several that have no more names than a route may have.
fn short(route: &DraftRoute) -> Vec<DraftRoute> {
    let parts = |list: &[String]| -> Vec<Vec<String>> {
        if list.is_empty() {
            vec![Vec::new()]
        } else {
            list.chunks(NAMES_MAX).map(<[_]>::to_vec).collect()
        }
    };
    let mut routes = Vec::new();
    for sni in parts(&route.sni) {
        for alpn in parts(&route.alpn) {
            routes.push(DraftRoute { sni: sni.clone(), alpn, ..route.clone() });
        }
    }
    routes
}

/// The last route that may have this one, too.
fn place(joined: &[JoinedRoute], route: &DraftRoute) -> Option<usize> {
    let wanted = JoinedRoute::of(route.clone());
    for (place, before) in joined.iter().enumerate().rev() {
        if before.may_have(route) {
            return Some(place);
        }
        if before.overlaps(&wanted) {
            return None;
        }
    }
    None
}

impl JoinedRoute {
    fn of(route: DraftRoute) -> JoinedRoute {
        let (mut names, mut endings) = (BTreeSet::new(), BTreeSet::new());
        for name in &route.sni {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix('*') {
                Some(ending) => endings.insert(ending.to_owned()),
                None => names.insert(name),
            };
        }
        JoinedRoute { route, names, endings }
    }

    /// Whether the two ask for the same but for one thing, of which both ask for some.
    fn may_have(&self, other: &DraftRoute) -> bool {
        let DraftRoute { sni, alpn, from, pool, at: _ } = &self.route;
        let fits = |one: usize, other: usize, most: usize| {
            one > 0 && other > 0 && one.saturating_add(other) <= most
        };
        *pool == other.pool
            && match (*sni == other.sni, *alpn == other.alpn, *from == other.from) {
                (true, true, true) => true,
                (false, true, true) => fits(sni.len(), other.sni.len(), NAMES_MAX),
                (true, false, true) => fits(alpn.len(), other.alpn.len(), NAMES_MAX),
                (true, true, false) => fits(from.len(), other.from.len(), NETWORKS_MAX),
                _ => false,
            }
    }

    fn add(&mut self, other: DraftRoute) {
        let DraftRoute { sni, alpn, from, .. } = &mut self.route;
        extend(sni, other.sni);
        extend(alpn, other.alpn);
        if *from != other.from {
            from.extend(other.from);
        }
        let JoinedRoute { names, endings, .. } = JoinedRoute::of(self.route.clone());
        (self.names, self.endings) = (names, endings);
    }

    /// Whether a session may fit both, by its name.
    fn overlaps(&self, other: &JoinedRoute) -> bool {
        let is_below = |names: &BTreeSet<String>, endings: &BTreeSet<String>| {
            endings.iter().any(|ending| names.iter().any(|name| name.ends_with(ending.as_str())))
        };
        self.route.sni.is_empty()
            || other.route.sni.is_empty()
            || other.names.iter().any(|name| self.names.contains(name))
            || is_below(&self.names, &other.endings)
            || is_below(&other.names, &self.endings)
            || is_below(&self.endings, &other.endings)
            || is_below(&other.endings, &self.endings)
    }
}

/// Adds those that are not there yet.
fn extend(list: &mut Vec<String>, others: Vec<String>) {
    for other in others {
        if !list.contains(&other) {
            list.push(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::note::At;

    /// `NAME,… POOL`; a network is one of clients.
    fn route(line: usize, text: &str) -> DraftRoute {
        let (asked, pool) = text.split_once(' ').unwrap();
        let (mut sni, mut from) = (Vec::new(), Vec::new());
        for word in asked.split(',') {
            match word.parse() {
                Ok(network) => from.push(network),
                Err(_) => sni.push(word.to_owned()),
            }
        }
        let (at, alpn) = (At::line("f", line), Vec::new());
        DraftRoute { at, sni, alpn, from, pool: pool.parse().unwrap() }
    }

    fn shown(routes: &[DraftRoute]) -> String {
        let one = |it: &DraftRoute| {
            let from = it.from.iter().map(ToString::to_string);
            let asked: Vec<String> = it.sni.iter().cloned().chain(from).collect();
            format!("{} {}", asked.join(","), it.pool)
        };
        routes.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn routes_of_one_pool_are_one_where_the_order_allows_it() {
        for (text, expected) in [
            ("a 1; b 1", "a,b 1"),
            ("a 1; b 2; c 1; d 2", "a,c 1; b,d 2"),
            ("a.x 1; *.x 2; b.x 1", "a.x 1; *.x 2; b.x 1"),
            ("a.x 1; *.y 2; b.x 1", "a.x,b.x 1; *.y 2"),
            ("*.a.x 1; *.x 2; *.b.x 1", "*.a.x 1; *.x 2; *.b.x 1"),
            ("*.x 1; b.x 2; c 1", "*.x,c 1; b.x 2"),
            ("b.x 2; c 1; *.x 2", "b.x,*.x 2; c 1"),
            ("a 1; A 2; a 1", "a 1; A 2; a 1"),
            ("a 1; * 2; b 1", "a 1; * 2; b 1"),
            ("10.0.0.1 1; 10.0.0.2 1", "10.0.0.1/32,10.0.0.2/32 1"),
            ("10.0.0.1 1; 10.0.0.2 2; 10.0.0.3 1", "10.0.0.1/32 1; 10.0.0.2/32 2; 10.0.0.3/32 1"),
            ("a,10.0.0.1 1; b,10.0.0.2 1", "a,10.0.0.1/32 1; b,10.0.0.2/32 1"),
            ("a 1; 10.0.0.1 1", "a 1; 10.0.0.1/32 1"),
        ] {
            let routes: Vec<DraftRoute> = text.split("; ").map(|it| route(1, it)).collect();
            assert_eq!(shown(&joined(&routes, &mut Notes::default())), expected, "{text}");
        }
    }

    #[test]
    fn a_route_has_so_many_names_and_a_listener_so_many_routes() {
        let many: Vec<DraftRoute> =
            (0..300).map(|at| route(at, &format!("n{at} {}", at % 2))).collect();
        let lengths = |routes: &[DraftRoute]| -> Vec<usize> {
            joined(routes, &mut Notes::default()).iter().map(|it| it.sni.len()).collect()
        };
        assert_eq!(lengths(&many), [64, 64, 64, 64, 22, 22]);
        let names: Vec<String> = (0..130).map(|at| format!("n{at}")).collect();
        assert_eq!(lengths(&[route(1, &format!("{} 1", names.join(",")))]), [64, 64, 2]);
        let each: Vec<DraftRoute> = (0..258).map(|at| route(at, &format!("n{at} {at}"))).collect();
        let mut notes = Notes::default();
        assert_eq!(joined(&each, &mut notes).len(), ROUTES_MAX);
        let (told, _) = notes.sorted();
        assert_eq!((told.len(), told[0].line, &told[0].lines[..]), (1, 256, &[257][..]));
    }

    #[test]
    fn names_that_no_client_asks_for_are_told() {
        for right in ["a.b", "*.a.b", "xn--bcher-kva.de"] {
            assert_eq!(unusable_name(right), None, "{right}");
        }
        for wrong in ["", "a.b.", "bücher.de", ".a.b", "a..b", "a b", "a.b:443"] {
            assert!(unusable_name(wrong).is_some(), "{wrong}");
        }
        assert!(unusable_protocol("h2").is_none() && unusable_protocol("h2,http/1.1").is_some());
    }
}
