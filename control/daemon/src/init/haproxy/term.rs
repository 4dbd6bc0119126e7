//! The test of one ACL of HAProxy, as `req.ssl_sni -i shop.example.com`.

use weir_proto::network::Network;

use crate::init::note::{Remark, note, quoted, warning};
use crate::init::routes::{unusable_name, unusable_protocol};

/// A test that weir has something for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    /// Names, as weir writes them.
    Sni {
        names: Vec<String>,
        /// They are those of HAProxy's own TLS.
        is_of_own_tls: bool,
    },
    Alpn(Vec<String>),
    Source(Vec<Network>),
}

impl Term {
    /// One of two; `None` if they are of different kinds.
    pub(super) fn either(pair: (Term, Term)) -> Option<Term> {
        Some(match pair {
            (
                Term::Sni { names, is_of_own_tls },
                Term::Sni { names: others, is_of_own_tls: other },
            ) if is_of_own_tls == other => {
                Term::Sni { names: [names, others].concat(), is_of_own_tls }
            }
            (Term::Alpn(one), Term::Alpn(other)) => Term::Alpn([one, other].concat()),
            (Term::Source(one), Term::Source(other)) => Term::Source([one, other].concat()),
            _ => return None,
        })
    }

    /// True if nothing fits it.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Term::Sni { names, .. } => names.is_empty(),
            Term::Alpn(names) => names.is_empty(),
            Term::Source(networks) => networks.is_empty(),
        }
    }
}

/// The flags and the patterns of a test.
#[derive(Default)]
struct Patterns<'a> {
    texts: Vec<&'a str>,
    /// `-m end`.
    are_ends: bool,
    /// `-i`.
    ignores_case: bool,
    /// `,lower` behind what is tested.
    is_lowered: bool,
}

/// Reads a test; `None` if weir has nothing for it. Names that weir cannot have are told, and left
/// out.
pub(super) fn term(words: &[&str], remarks: &mut Vec<Remark>) -> Option<Term> {
    let [fetch, rest @ ..] = words else { return None };
    let (fetch, is_lowered) = match fetch.split_once(',') {
        Some((fetch, "lower")) => (fetch, true),
        Some(_) => return None,
        None => (*fetch, false),
    };
    let patterns = Patterns { is_lowered, ..patterns(rest)? };
    match fetch {
        "req.ssl_sni" | "req_ssl_sni" | "ssl_fc_sni" => {
            let names = names(&patterns, remarks)?;
            Some(Term::Sni { names, is_of_own_tls: fetch == "ssl_fc_sni" })
        }
        "req.ssl_alpn" | "req_ssl_alpn" if !patterns.are_ends => {
            let legal = |protocol: &&str| {
                let remark = unusable_protocol(protocol);
                let is_legal = remark.is_none();
                remarks.extend(remark);
                is_legal
            };
            let protocols = patterns.texts.into_iter().filter(legal).map(str::to_owned);
            Some(Term::Alpn(protocols.collect()))
        }
        "src" if !patterns.are_ends => {
            let networks = patterns.texts.iter().map(|it| it.parse().ok());
            networks.collect::<Option<_>>().map(Term::Source)
        }
        _ => None,
    }
}

fn patterns<'a>(words: &[&'a str]) -> Option<Patterns<'a>> {
    let mut patterns = Patterns::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-i" => patterns.ignores_case = true,
            "-m" => match words.next().copied() {
                Some("end") => patterns.are_ends = true,
                Some("str" | "ip") => {}
                _ => return None,
            },
            "--" => patterns.texts.extend(words.by_ref().copied()),
            word if word.starts_with('-') => return None,
            word => patterns.texts.push(word),
        }
    }
    (!patterns.texts.is_empty()).then_some(patterns)
}

/// As weir writes them. `None`: the end of a label is no name of weir's.
fn names(patterns: &Patterns<'_>, remarks: &mut Vec<Remark>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for text in &patterns.texts {
        let host = match (patterns.are_ends, text.strip_prefix('.')) {
            (false, _) => *text,
            (true, Some(host)) => host,
            (true, None) => return None,
        };
        let has_capitals = host.bytes().any(|byte| byte.is_ascii_uppercase());
        let left_out = |why: &str| {
            warning(format!("the server name {} is left out", quoted(text))).because(why)
        };
        let remark = if host.contains('*') {
            let why = "HAProxy takes the star as it is, and no client asks for such a name";
            Some(left_out(why).instead("-m end .example.com is what has a wildcard in weir"))
        } else if patterns.is_lowered && has_capitals && !patterns.ignores_case {
            Some(left_out("it has capitals, and what HAProxy compares it with has none"))
        } else {
            unusable_name(host)
        };
        if let Some(remark) = remark {
            remarks.push(remark);
            continue;
        }
        if !patterns.ignores_case && !patterns.is_lowered {
            remarks.push(case_counts(text, has_capitals));
        }
        names.push(if patterns.are_ends { format!("*.{host}") } else { host.to_owned() });
    }
    Some(names)
}

/// Without `-i` HAProxy compares letters as they are.
fn case_counts(text: &str, has_capitals: bool) -> Remark {
    if has_capitals {
        let why = "HAProxy takes it for clients that write it so; in weir case does not count";
        return warning(format!("the server name {} without `-i`", quoted(text))).because(why);
    }
    note("server names without `-i`").because("in weir their case does not count (RFC 4343)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::note::Notes;

    /// The names of a test, and what is said of it.
    fn read(text: &str) -> (Vec<String>, String) {
        let mut remarks = Vec::new();
        let words: Vec<&str> = text.split_whitespace().collect();
        let names = match term(&words, &mut remarks) {
            Some(Term::Sni { names, .. } | Term::Alpn(names)) => names,
            other => panic!("{text}: {other:?}"),
        };
        let mut notes = Notes::default();
        let at = crate::init::note::At::line("f", 1);
        remarks.into_iter().for_each(|remark| notes.add(&at, remark));
        let told: Vec<String> = notes.sorted().0.iter().map(ToString::to_string).collect();
        (names, told.join("\n"))
    }

    #[test]
    fn names_are_those_that_clients_ask_for() {
        for (text, names, tells) in [
            ("req.ssl_sni -i a.b UP.c", vec!["a.b", "UP.c"], ""),
            ("req.ssl_sni,lower a.b", vec!["a.b"], ""),
            ("req.ssl_sni a.b c.d", vec!["a.b", "c.d"], "note: server names without `-i`"),
            ("req.ssl_sni A.b", vec!["A.b"], "warning: the server name `A.b` without `-i`"),
            ("req.ssl_sni,lower A.b", vec![], "warning: the server name `A.b` is left out"),
            ("req.ssl_sni -i *.a.b", vec![], "warning: the server name `*.a.b` is left out"),
            ("req.ssl_sni -i a.b a.b.", vec!["a.b"], "warning: the server name `a.b.` is left"),
            ("req.ssl_sni -i bücher.de", vec![], "clients ask for it as xn--"),
            ("req.ssl_sni -i -m end .a.b", vec!["*.a.b"], ""),
            ("req.ssl_sni -i -m end .a.b.", vec![], "warning: the server name `a.b.` is left out"),
            ("req.ssl_alpn h2 a,b", vec!["h2"], "warning: the protocol `a,b` is left out"),
        ] {
            let (made, told) = read(text);
            assert_eq!(made, names, "{text}");
            assert!(told.contains(tells) && told.is_empty() == tells.is_empty(), "{text}: {told}");
        }
    }
}
