//! Which path asks for what, and which hosts are ours. Pure.

use std::net::IpAddr;

use weir_proto::outside::cleaned;
use weir_proto::request::{Code, Query, Refusal};

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Index,
    Metrics,
    Healthz,
    Readyz,
    Api(Query),
}

/// What GET / says.
pub(super) const INDEX: &str = "\
weir

GET /metrics                           Prometheus text
GET /healthz                           200 while weir serves
GET /readyz                            503 while it drains, is full, or a pool has no backend
GET /api/v1/status
GET /api/v1/shards
GET /api/v1/listeners[/NAME]
GET /api/v1/pools[/NAME]
GET /api/v1/backends[/POOL[/NAME]]
GET /api/v1/stats[/POOL[/NAME]]
GET /api/v1/tasks[/ID]
GET /api/v1/events[?after=ID]
GET /api/v1/config/history[?limit=N&before=VERSION]
";

/// Finds what `path` asks for.
///
/// # Errors
/// No such path, or a query that makes no sense.
pub(super) fn find(path: &str, query: Option<&str>) -> Result<Route, Refusal> {
    match path {
        "/" => return Ok(Route::Index),
        "/metrics" => return Ok(Route::Metrics),
        "/healthz" => return Ok(Route::Healthz),
        "/readyz" => return Ok(Route::Readyz),
        _ => {} // An API path, or none.
    }
    let missing =
        || Refusal::new(Code::NotFound, format!("there is no {}", shown(path)), "GET / lists them");
    let parts: Vec<&str> = path.strip_prefix("/api/v1/").ok_or_else(missing)?.split('/').collect();
    let known: &[&str] = match parts[..] {
        ["events"] => &["after"],
        ["config", "history"] => &["limit", "before"],
        _ => &[],
    };
    let parameters = Parameters::read(path, query, known)?;
    // Names have no letters that a path must escape. An empty one would mean "all" further on.
    if parts.iter().any(|part| part.is_empty()) {
        return Err(missing());
    }
    Ok(Route::Api(match parts[..] {
        ["status"] => Query::Status,
        ["shards"] => Query::Shards,
        ["listeners"] => Query::ListenerList,
        ["listeners", name] => Query::ListenerShow { name: name.to_owned() },
        ["pools"] => Query::PoolList,
        ["pools", name] => Query::PoolShow { name: name.to_owned() },
        ["backends"] => Query::BackendList { pool: None },
        ["backends", pool] => Query::BackendList { pool: Some(pool.to_owned()) },
        ["backends", pool, name] => Query::BackendShow { name: format!("{pool}/{name}") },
        ["stats"] => Query::Stats { subject: None },
        ["stats", pool] => Query::Stats { subject: Some(pool.to_owned()) },
        ["stats", pool, name] => Query::Stats { subject: Some(format!("{pool}/{name}")) },
        ["tasks"] => Query::TaskList,
        ["tasks", id] => Query::TaskShow { id: id.parse().map_err(|_| missing())? },
        ["events"] => Query::Events { after: parameters.number("after")?.unwrap_or(0) },
        ["config", "versions"] => Query::ConfigVersions,
        ["config", "history"] => Query::ConfigHistory {
            before: parameters.number("before")?,
            limit: parameters.number("limit")?,
        },
        _ => return Err(missing()),
    }))
}

/// Text of a request as an answer quotes it.
fn shown(text: &str) -> String {
    cleaned(text, 200)
}

/// The parameters of one path.
struct Parameters<'a> {
    path: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Parameters<'a> {
    /// Reads `a=1&b=2`.
    ///
    /// # Errors
    /// One is not in `known`, or is there twice: it would be ignored.
    fn read(
        path: &'a str,
        query: Option<&'a str>,
        known: &[&str],
    ) -> Result<Parameters<'a>, Refusal> {
        let texts = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for (key, value) in texts.map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            let what = match pairs.iter().any(|(before, _)| *before == key) {
                _ if !known.contains(&key) => "no",
                true => "one, not two,",
                false => {
                    pairs.push((key, value));
                    continue;
                }
            };
            let message = format!("{} has {what} parameter {:?}", shown(path), shown(key));
            return Err(Refusal::new(Code::Invalid, message, "GET / lists paths and parameters"));
        }
        Ok(Parameters { path, pairs })
    }

    /// A whole number; `None` if it is not there.
    ///
    /// # Errors
    /// It is something else.
    fn number(&self, key: &str) -> Result<Option<u64>, Refusal> {
        let Some((_, value)) = self.pairs.iter().find(|(name, _)| *name == key) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|_| {
            let message = format!("{key}={:?} is not a whole number", shown(value));
            let example = if key == "limit" { 100 } else { 1 };
            Refusal::new(Code::Invalid, message, format!("{}?{key}={example}", self.path))
        })
    }
}

/// The hosts by which the door may be called, against DNS rebinding.
pub(super) struct Hosts {
    bound: Option<IpAddr>,
    /// In small letters.
    names: Vec<String>,
}

impl Hosts {
    /// Of a door that is bound to `bound` and has these names, in small letters.
    pub(super) fn new(bound: Option<IpAddr>, names: Vec<String>) -> Hosts {
        Hosts { bound, names }
    }

    /// Whether `host`, with or without a port, is one of ours. The port does not matter: a tunnel
    /// may have another one.
    pub(super) fn has(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((name, port)) if port.is_empty() || is_port(port) => name,
                _ => return false,
            },
            None => match host.split_once(':') {
                Some((name, port)) if port.chars().all(|letter| letter.is_ascii_digit()) => name,
                None => host,
                _ => return false,
            },
        };
        let known = |known: &String| name.eq_ignore_ascii_case(known);
        if name.eq_ignore_ascii_case("localhost") || self.names.iter().any(known) {
            return true;
        }
        let Ok(address) = name.parse::<IpAddr>() else { return false };
        // Bound to every address, each of ours is right. No name is behind an address, so there is
        // nothing to rebind.
        let every = self.bound.is_some_and(|bound| bound.is_unspecified());
        address.is_loopback() || self.bound == Some(address) || every
    }
}

/// `:` and digits.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':');
    digits.is_some_and(|digits| digits.chars().all(|letter| letter.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_questions() {
        let text = |text: &str| text.to_owned();
        let cases = [
            ("status", Query::Status),
            ("shards", Query::Shards),
            ("listeners", Query::ListenerList),
            ("listeners/web", Query::ListenerShow { name: text("web") }),
            ("pools", Query::PoolList),
            ("pools/web", Query::PoolShow { name: text("web") }),
            ("backends", Query::BackendList { pool: None }),
            ("backends/web", Query::BackendList { pool: Some(text("web")) }),
            ("backends/web/b1", Query::BackendShow { name: text("web/b1") }),
            ("stats", Query::Stats { subject: None }),
            ("stats/web", Query::Stats { subject: Some(text("web")) }),
            ("stats/web/b1", Query::Stats { subject: Some(text("web/b1")) }),
            ("events", Query::Events { after: 0 }),
            ("tasks", Query::TaskList),
            ("tasks/7", Query::TaskShow { id: 7 }),
            ("config/history", Query::ConfigHistory { before: None, limit: None }),
        ];
        for (path, question) in cases {
            assert_eq!(find(&format!("/api/v1/{path}"), None), Ok(Route::Api(question)), "{path}");
        }
        assert_eq!(find("/", None), Ok(Route::Index));
        assert_eq!(find("/metrics", Some("a=b")), Ok(Route::Metrics));
        assert_eq!(find("/healthz", None), Ok(Route::Healthz));
        assert_eq!(find("/readyz", None), Ok(Route::Readyz));
    }

    #[test]
    fn other_paths_are_not_found() {
        let paths = [
            "/metric",
            "/api/v1",
            "/api/v1/",
            "/api/v1/pools/",
            "/api/v1/pools/a/b",
            "/x",
            "/api/v1/tasks/x",
        ];
        for path in paths {
            assert_eq!(find(path, None).unwrap_err().code, Code::NotFound, "{path}");
        }
    }

    #[test]
    fn a_page_of_history_has_an_end_and_a_size() {
        let history = |query| find("/api/v1/config/history", Some(query));
        let page = |before, limit| Ok(Route::Api(Query::ConfigHistory { before, limit }));
        assert_eq!(history("limit=20&before=7"), page(Some(7), Some(20)));
        assert_eq!(history("before=7"), page(Some(7), None));
        assert_eq!(history("limit=0"), page(None, Some(0)), "control knows the range");
        for (query, part) in [
            ("limit=many", "limit=\"many\" is not a whole number"),
            ("before=", "before=\"\" is not a whole number"),
            ("before=-1", "before=\"-1\" is not"),
            ("limit=18446744073709551616", "is not a whole number"),
            ("limit=1&limit=2", "has one, not two, parameter \"limit\""),
            ("after=1", "has no parameter \"after\""),
        ] {
            let refusal = history(query).unwrap_err();
            assert!(refusal.message.contains(part), "{query}: {}", refusal.message);
            assert_eq!(refusal.code, Code::Invalid);
        }
        assert_eq!(history("before=x").unwrap_err().hint, "/api/v1/config/history?before=1");
    }

    #[test]
    fn after_is_a_number() {
        let after = |query| find("/api/v1/events", Some(query));
        assert_eq!(after("after=17"), Ok(Route::Api(Query::Events { after: 17 })));
        assert_eq!(after("after=2&"), Ok(Route::Api(Query::Events { after: 2 })));
        assert_eq!(after("after=-1").unwrap_err().code, Code::Invalid);
        let long = "after=".to_owned() + &"x".repeat(8_000);
        assert!(after(&long).unwrap_err().message.len() < 250);
        assert!(find(&long, None).unwrap_err().message.len() < 250);
    }

    #[test]
    fn a_parameter_that_is_not_known_is_refused_not_ignored() {
        for (path, query) in [
            ("events", "afer=2"),
            ("events", "after=2&x"),
            ("backends", "pool=web"),
            ("status", "x"),
        ] {
            let refusal = find(&format!("/api/v1/{path}"), Some(query)).unwrap_err();
            assert_eq!(refusal.code, Code::Invalid, "{path}?{query}");
            assert!(refusal.message.contains("has no parameter"), "{}", refusal.message);
        }
        assert_eq!(find("/api/v1/status", Some("")), Ok(Route::Api(Query::Status)));
    }

    #[test]
    fn only_our_hosts_are_ours() {
        let hosts = Hosts::new(Some("192.0.2.7".parse().unwrap()), vec!["weir.example".into()]);
        for ours in [
            "localhost",
            "LOCALHOST:9650",
            "127.0.0.1",
            "127.8.9.1:1",
            "[::1]",
            "[::1]:9650",
            "192.0.2.7:9650",
            "weir.example",
            "WEIR.example:9650",
        ] {
            assert!(hosts.has(ours), "{ours}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:9650",
            "weir.example.evil",
            "localhost.evil.example",
            "192.0.2.8",
            "127.0.0.1.evil.example",
            "127.0.0.1:80:80",
            "127.0.0.1:x",
            "user@localhost",
            "[::1",
            "[::1]x",
            "[::2]",
        ] {
            assert!(!hosts.has(other), "{other}");
        }
        let every = Hosts::new(Some("0.0.0.0".parse().unwrap()), Vec::new());
        assert!(every.has("192.0.2.8:1") && !every.has("evil.example"));
    }
}
