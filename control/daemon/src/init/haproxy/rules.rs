//! Conditions of HAProxy that weir has something for: names of TLS and networks of clients, in
//! `use_backend … if` and `tcp-request … accept` or `reject if`.

use std::collections::BTreeMap;
use std::rc::Rc;

use weir_proto::network::Network;

use super::term::{Term, term};
use crate::init::access::AccessRule;
use crate::init::note::{At, Remark};

/// A `use_backend` with a condition that a route can have.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleRoute {
    pub(super) sni: Vec<String>,
    pub(super) alpn: Vec<String>,
    pub(super) from: Vec<Network>,
    /// The name is that of HAProxy's own TLS (`ssl_fc_sni`).
    pub(super) is_of_own_tls: bool,
    pub(super) backend: Rc<str>,
}

/// When `tcp-request` rules are gone through: at the connection, before its PROXY header; behind
/// the header; and with the first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Connection,
    Session,
    Content,
}

/// The rules of a layer on networks, and their lines.
#[derive(Clone, Debug, Default)]
pub(super) struct LayerRules {
    pub(super) rules: Vec<AccessRule>,
    pub(super) lines: Vec<At>,
    /// Some `accept` that weir has nothing for stands before.
    has_other_accepts: bool,
}

/// How much of a rule is in weir's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Whole,
    /// They refuse more.
    RefusesMore,
    No,
}

/// The rules of a section.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// `None`: one that weir has nothing for.
    acls: BTreeMap<String, Option<Term>>,
    pub(super) routes: Vec<(At, RuleRoute)>,
    pub(super) connection: LayerRules,
    pub(super) session: LayerRules,
    pub(super) content: LayerRules,
    /// Some rule of contents asks for bytes of the client: HAProxy waits for them.
    asks_for_bytes: bool,
    /// Milliseconds of `inspect-delay`.
    pub(super) inspect_ms: Option<u64>,
}

impl Rules {
    /// As the sections below begin: with the rules of a `defaults` on clients.
    pub(super) fn inherited(&self) -> Rules {
        Rules { acls: BTreeMap::new(), routes: Vec::new(), ..self.clone() }
    }

    /// True if HAProxy waits for a ClientHello before it looks for a backend.
    pub(super) fn waits_for_hello(&self) -> bool {
        self.asks_for_bytes && self.inspect_ms.is_some_and(|millis| millis > 0)
    }

    /// `acl NAME …`. False if weir has nothing for it.
    pub(super) fn acl(&mut self, words: &[&str], remarks: &mut Vec<Remark>) -> bool {
        let [name, test @ ..] = words else { return false };
        let term = term(test, remarks);
        let known = term.is_some();
        let entry = self.acls.entry((*name).to_owned());
        // Two lines of one name are either of them.
        entry
            .and_modify(|before| *before = before.take().zip(term.clone()).and_then(Term::either))
            .or_insert(term);
        known
    }

    /// `use_backend BACKEND if …`. False if no route says the same.
    pub(super) fn use_backend(
        &mut self,
        at: &At,
        (backend, condition): (&str, &[&str]),
        remarks: &mut Vec<Remark>,
    ) -> bool {
        let ["if", words @ ..] = condition else { return false };
        let mut routes = Vec::new();
        for all in alternatives(words) {
            let Some(terms) = self.terms(all, remarks) else { return false };
            let mut route = RuleRoute { backend: Rc::from(backend), ..RuleRoute::default() };
            let mut fits_nobody = false;
            for (is_negated, term) in terms {
                fits_nobody |= term.is_empty();
                let is_second = match term {
                    _ if is_negated => true,
                    Term::Sni { names, is_of_own_tls } => {
                        route.is_of_own_tls = is_of_own_tls;
                        !std::mem::replace(&mut route.sni, names).is_empty()
                    }
                    Term::Alpn(names) => !std::mem::replace(&mut route.alpn, names).is_empty(),
                    Term::Source(from) => !std::mem::replace(&mut route.from, from).is_empty(),
                };
                // Two of a kind would both have to fit.
                if is_second {
                    return false;
                }
            }
            if !fits_nobody {
                routes.push((at.clone(), route));
            }
        }
        self.routes.extend(routes);
        true
    }

    /// `tcp-request LAYER accept` or `reject`, and its condition.
    pub(super) fn request(
        &mut self,
        at: &At,
        (layer, accepts, condition): (Layer, bool, &[&str]),
    ) -> Taken {
        let rules = self.access(accepts, condition);
        self.asks_for_bytes |= layer == Layer::Content && rules.is_none();
        let layer = match layer {
            Layer::Connection => &mut self.connection,
            Layer::Session => &mut self.session,
            Layer::Content => &mut self.content,
        };
        let Some(rules) = rules else {
            layer.has_other_accepts |= accepts;
            return Taken::No;
        };
        let refuses_more = layer.has_other_accepts && !accepts;
        // `accept if` it is TLS, and `reject`: of whom it is says nothing.
        if refuses_more && condition.is_empty() && layer.rules.iter().all(|rule| !rule.accepts) {
            return Taken::No;
        }
        layer.rules.extend(rules);
        layer.lines.push(at.clone());
        if refuses_more { Taken::RefusesMore } else { Taken::Whole }
    }

    /// Another `tcp-request content`: it may make HAProxy wait.
    pub(super) fn other_content(&mut self) {
        self.asks_for_bytes = true;
    }

    /// A condition on networks alone, as rules of which the first that fits decides.
    fn access(&self, accepts: bool, condition: &[&str]) -> Option<Vec<AccessRule>> {
        let (is_unless, words) = match condition {
            [] => return Some(vec![AccessRule::all(accepts)]),
            ["if", words @ ..] => (false, words),
            ["unless", words @ ..] => (true, words),
            _ => return None,
        };
        let tests: Option<Vec<(bool, Vec<Network>)>> =
            alternatives(words).map(|all| self.networks(all)).collect();
        let tests = tests?;
        let rule = |(is_negated, networks): (bool, Vec<Network>)| match is_negated != is_unless {
            true => AccessRule::outside(accepts, networks),
            false => AccessRule::inside(accepts, networks),
        };
        if !is_unless || tests.len() == 1 {
            return Some(tests.into_iter().map(rule).collect());
        }
        // None of them.
        let are_plain = tests.iter().all(|(is_negated, _)| !is_negated);
        let networks = tests.into_iter().flat_map(|(_, networks)| networks).collect();
        are_plain.then(|| vec![AccessRule::outside(accepts, networks)])
    }

    /// The networks that a client must be in, or must not be in any of.
    fn networks(&self, all: &[&str]) -> Option<(bool, Vec<Network>)> {
        let terms = self.terms(all, &mut Vec::new())?;
        let is_negated = terms.iter().all(|(is_negated, _)| *is_negated);
        let mut networks = Vec::new();
        let count = terms.len();
        for (_, term) in terms {
            let Term::Source(source) = term else { return None };
            networks.extend(source);
        }
        (is_negated || count == 1).then_some((is_negated, networks))
    }

    /// Names of ACLs and anonymous ones, all of which must fit, and whether each is negated.
    /// `None`: one is not known, or nothing that weir has.
    fn terms(&self, words: &[&str], remarks: &mut Vec<Remark>) -> Option<Vec<(bool, Term)>> {
        let mut terms = Vec::new();
        let mut rest = words;
        let mut is_negated = false;
        while let Some((first, others)) = rest.split_first() {
            let bare = first.trim_start_matches('!');
            is_negated ^= (first.len() - bare.len()) % 2 == 1;
            rest = others;
            if bare.is_empty() {
                continue;
            }
            let term = if bare == "{" {
                let end = others.iter().position(|word| *word == "}")?;
                rest = &others[end + 1..];
                term(&others[..end], remarks)?
            } else {
                self.acls.get(bare).cloned().unwrap_or_else(|| predefined(bare))?
            };
            terms.push((std::mem::take(&mut is_negated), term));
        }
        (!terms.is_empty()).then_some(terms)
    }
}

/// The parts of a condition one of which must fit.
fn alternatives<'a>(words: &'a [&'a str]) -> impl Iterator<Item = &'a [&'a str]> {
    words.split(|word| ["or", "||"].contains(word))
}

/// ACLs that HAProxy has by itself.
fn predefined(name: &str) -> Option<Term> {
    (name == "LOCALHOST").then(|| term(&["src", "127.0.0.1/8", "::1"], &mut Vec::new()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::access::lists;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn conditions_on_names_and_networks_are_routes() {
        let mut rules = Rules::default();
        let mut remarks = Vec::new();
        let shop = words("is_shop req.ssl_sni -i shop.example.com www.shop.example.com");
        assert!(rules.acl(&shop, &mut remarks));
        assert!(rules.acl(&words("inside src 10.0.0.0/8 ::1"), &mut remarks));
        assert!(!rules.acl(&words("late hour 22"), &mut remarks));
        let at = At::line("a", 1);
        let mut takes = |text: &str| rules.use_backend(&at, ("b", &words(text)), &mut Vec::new());
        assert!(takes("if is_shop inside"));
        assert!(takes("if { req_ssl_sni -m end .mail.example.com } or { req.ssl_alpn h2 }"));
        assert!(takes("if { req.ssl_sni,lower -- a.b }"));
        // No client asks for such a name.
        assert!(takes("if { req.ssl_sni *.a.b } || { req.ssl_sni a.b. }"));
        for other in [
            "if late",
            "if !inside",
            "if ! inside",
            "if !{ src 10.0.0.1 }",
            "unless inside",
            "if { path /a }",
            "if",
            "",
            "if { req.ssl_sni -m end example.com }",
            "if { req.ssl_sni -m reg a }",
            "if inside inside",
        ] {
            assert!(!takes(other), "{other}");
        }
        assert!(remarks.is_empty(), "{remarks:?}");
        let routes: Vec<&RuleRoute> = rules.routes.iter().map(|(_, route)| route).collect();
        assert_eq!(routes.len(), 4);
        assert_eq!((routes[0].sni.len(), routes[0].from.len()), (2, 2));
        assert_eq!(routes[1].sni, ["*.mail.example.com"]);
        assert_eq!(routes[2].alpn, ["h2"]);
    }

    #[test]
    fn rules_on_networks_are_lists() {
        let of = |lines: &str| {
            let mut rules = Rules::default();
            rules.acl(&words("inside src 10.0.0.0/8"), &mut Vec::new());
            rules.acl(&words("office src 192.0.2.0/24"), &mut Vec::new());
            let taken: Vec<Taken> = lines
                .split(';')
                .map(|line| {
                    let words = words(line);
                    let accepts = words[0] == "accept";
                    rules.request(&At::line("a", 1), (Layer::Session, accepts, &words[1..]))
                })
                .collect();
            let shown = lists(&[&rules.session.rules])
                .map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            (shown.join("|"), taken)
        };
        let (ten, both) = ("10.0.0.0/8|", "10.0.0.0/8 192.0.2.0/24|");
        for (lines, expected) in [
            ("reject if { src 10.66.0.0/16 }", "|10.66.0.0/16"),
            ("reject unless inside", ten),
            ("reject if !inside", ten),
            ("reject if ! inside", ten),
            ("reject if !{ src 10.0.0.0/8 }", ten),
            ("reject if !inside !office", both),
            ("reject unless inside or office", both),
            ("accept if office; reject unless inside", "192.0.2.0/24 10.0.0.0/8|"),
            ("accept if inside || office; reject", both),
            ("reject if inside; accept; reject", "|10.0.0.0/8"),
            ("reject unless !inside !office", "|10.0.0.0/8 192.0.2.0/24"),
            ("accept unless inside; reject", "|10.0.0.0/8"),
            ("reject unless inside; reject unless office", "|0.0.0.0/0 ::/0"),
            ("reject if !LOCALHOST", "127.0.0.1/8 ::1/128|"),
        ] {
            let (made, taken) = of(lines);
            assert_eq!(made, expected, "{lines}");
            assert!(taken.iter().all(|it| *it == Taken::Whole), "{lines}: {taken:?}");
        }
        for (lines, expected) in [
            ("reject if { nbsrv(a) lt 1 }", "|"),
            ("reject if inside !office", "|"),
            ("reject if { src -f /list }", "|"),
            ("accept if { req.ssl_hello_type 1 }; reject", "|"),
        ] {
            let (made, taken) = of(lines);
            assert_eq!((made.as_str(), taken.last()), (expected, Some(&Taken::No)), "{lines}");
        }
        for (lines, expected) in [
            ("accept if { hour 3 }; reject if inside", "|10.0.0.0/8"),
            ("accept if inside; accept if { hour 3 }; reject", "10.0.0.0/8|"),
        ] {
            let (made, taken) = of(lines);
            let last = taken.last().copied();
            assert_eq!((made.as_str(), last), (expected, Some(Taken::RefusesMore)), "{lines}");
        }
    }
}
