//! Conditions of HAProxy that weir has something for: names of TLS and networks of clients, in
//! `use_backend … if` and `tcp-request … reject if`.

use std::collections::BTreeMap;
use std::rc::Rc;

use weir_proto::network::Network;

use crate::init::note::At;

/// The condition of one ACL.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    /// Names, as weir writes them.
    Sni(Vec<String>),
    Alpn(Vec<String>),
    Source(Vec<Network>),
}

/// A `use_backend` with a condition that a route can have.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleRoute {
    pub(super) sni: Vec<String>,
    pub(super) alpn: Vec<String>,
    pub(super) from: Vec<Network>,
    pub(super) backend: Rc<str>,
}

/// The rules of a section.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// `None`: one that weir has nothing for.
    acls: BTreeMap<String, Option<Term>>,
    pub(super) routes: Vec<(At, RuleRoute)>,
    pub(super) allow: Vec<Network>,
    pub(super) deny: Vec<Network>,
    /// Milliseconds of `inspect-delay`.
    pub(super) inspect_ms: Option<u64>,
}

impl Rules {
    /// `acl NAME …`. False if weir has nothing for it.
    pub(super) fn acl(&mut self, words: &[&str]) -> bool {
        let [name, test @ ..] = words else { return false };
        let term = term(test);
        let known = term.is_some();
        let entry = self.acls.entry((*name).to_owned());
        // Two lines of one name are either of them.
        entry.and_modify(|before| *before = either(before.take(), term.clone())).or_insert(term);
        known
    }

    /// `use_backend BACKEND if …`. False if no route says the same.
    pub(super) fn use_backend(&mut self, at: &At, backend: &str, condition: &[&str]) -> bool {
        let ["if", words @ ..] = condition else { return false };
        let mut routes = Vec::new();
        for all in words.split(|word| ["or", "||"].contains(word)) {
            let Some(terms) = self.terms(all) else { return false };
            let mut route = RuleRoute { backend: Rc::from(backend), ..RuleRoute::default() };
            for term in terms {
                let is_second = match term {
                    Term::Sni(names) => !std::mem::replace(&mut route.sni, names).is_empty(),
                    Term::Alpn(names) => !std::mem::replace(&mut route.alpn, names).is_empty(),
                    Term::Source(from) => !std::mem::replace(&mut route.from, from).is_empty(),
                };
                // Two of a kind would both have to fit.
                if is_second {
                    return false;
                }
            }
            routes.push((at.clone(), route));
        }
        self.routes.extend(routes);
        true
    }

    /// `tcp-request connection reject if …`. False if no list says the same.
    pub(super) fn reject(&mut self, condition: &[&str]) -> bool {
        let (is_unless, words) = match condition {
            ["if", words @ ..] => (false, words),
            ["unless", words @ ..] => (true, words),
            _ => return false,
        };
        let (is_not, words) = match words {
            ["!", rest @ ..] => (true, rest.to_vec()),
            [first, rest @ ..] if first.starts_with('!') => (true, [&[&first[1..]], rest].concat()),
            words => (false, words.to_vec()),
        };
        let terms = self.terms(&words).unwrap_or_default();
        let [Term::Source(networks)] = terms.as_slice() else { return false };
        let networks = networks.clone();
        if is_unless == is_not {
            self.deny.extend(networks);
        } else if self.allow.is_empty() {
            self.allow = networks;
        } else {
            // Both would have to have the client.
            return false;
        }
        true
    }

    /// Names of ACLs and anonymous ones, all of which must fit. `None`: one is negated, not known,
    /// or nothing that weir has.
    fn terms(&self, words: &[&str]) -> Option<Vec<Term>> {
        let mut terms = Vec::new();
        let mut rest = words;
        while let Some((first, others)) = rest.split_first() {
            if *first == "{" {
                let end = others.iter().position(|word| *word == "}")?;
                terms.push(term(&others[..end])?);
                rest = &others[end + 1..];
            } else {
                terms.push(self.acls.get(*first)?.clone()?);
                rest = others;
            }
        }
        (!terms.is_empty()).then_some(terms)
    }
}

/// One of two; `None` if they are of different kinds.
fn either(one: Option<Term>, other: Option<Term>) -> Option<Term> {
    Some(match (one?, other?) {
        (Term::Sni(one), Term::Sni(other)) => Term::Sni([one, other].concat()),
        (Term::Alpn(one), Term::Alpn(other)) => Term::Alpn([one, other].concat()),
        (Term::Source(one), Term::Source(other)) => Term::Source([one, other].concat()),
        _ => return None,
    })
}

/// A test, as `req.ssl_sni -i shop.example.com`.
fn term(words: &[&str]) -> Option<Term> {
    let [fetch, rest @ ..] = words else { return None };
    // As in `req.ssl_sni,lower`: names have no case.
    let fetch = match fetch.split_once(',') {
        Some((fetch, "lower")) => fetch,
        Some(_) => return None,
        None => fetch,
    };
    let mut is_end = false;
    let mut patterns = Vec::new();
    let mut flags = rest.iter();
    while let Some(word) = flags.next() {
        match *word {
            "-i" => {}
            "-m" => match flags.next().copied() {
                Some("end") => is_end = true,
                Some("str" | "ip") => {}
                _ => return None,
            },
            "--" => patterns.extend(flags.by_ref().copied()),
            word if word.starts_with('-') => return None,
            word => patterns.push(word),
        }
    }
    if patterns.is_empty() {
        return None;
    }
    match fetch {
        "req.ssl_sni" | "req_ssl_sni" | "ssl_fc_sni" => {
            let name = |pattern: &&str| match (is_end, pattern.strip_prefix('.')) {
                (false, _) => Some((*pattern).to_owned()),
                (true, Some(host)) => Some(format!("*.{host}")),
                // The end of a label is no name of weir's.
                (true, None) => None,
            };
            patterns.iter().map(name).collect::<Option<_>>().map(Term::Sni)
        }
        "req.ssl_alpn" | "req_ssl_alpn" if !is_end => {
            Some(Term::Alpn(patterns.iter().map(|it| (*it).to_owned()).collect()))
        }
        "src" if !is_end => {
            patterns.iter().map(|it| it.parse().ok()).collect::<Option<_>>().map(Term::Source)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn conditions_on_names_and_networks_are_routes() {
        let mut rules = Rules::default();
        assert!(rules.acl(&words("is_shop req.ssl_sni -i shop.example.com www.shop.example.com")));
        assert!(rules.acl(&words("inside src 10.0.0.0/8 ::1")));
        assert!(!rules.acl(&words("late hour 22")));
        let at = At::line("a", 1);
        let mut takes = |text: &str| rules.use_backend(&at, "b", &words(text));
        assert!(takes("if is_shop inside"));
        assert!(takes("if { req_ssl_sni -m end .mail.example.com } or { req.ssl_alpn h2 }"));
        assert!(takes("if { req.ssl_sni,lower -- a.b }"));
        for other in [
            "if late",
            "if !inside",
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
        let routes: Vec<&RuleRoute> = rules.routes.iter().map(|(_, route)| route).collect();
        assert_eq!(routes.len(), 4);
        assert_eq!((routes[0].sni.len(), routes[0].from.len()), (2, 2));
        assert_eq!(routes[1].sni, ["*.mail.example.com"]);
        assert_eq!(routes[2].alpn, ["h2"]);
    }

    #[test]
    fn refusals_by_network_are_lists() {
        let mut rules = Rules::default();
        rules.acl(&words("inside src 10.0.0.0/8"));
        assert!(rules.reject(&words("if { src 10.66.0.0/16 }")));
        assert!(rules.reject(&words("unless inside")));
        assert!(!rules.reject(&words("if !inside")), "a second list that must have the client");
        assert!(!rules.reject(&words("if { nbsrv(a) lt 1 }")) && !rules.reject(&[]));
        assert_eq!((rules.deny.len(), rules.allow.len()), (1, 1));
    }
}
