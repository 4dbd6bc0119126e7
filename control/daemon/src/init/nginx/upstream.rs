//! `upstream` blocks: servers and how one of them is picked.

use std::net::SocketAddr;

use weir_proto::spec::{Admin, Strategy, WEIGHT_MAX};

use super::parser::NginxDirective;
use super::unsupported::{OF_SERVER, OF_UPSTREAM, look_up, unknown};
use crate::init::draft::{DraftAddress, DraftBackend};
use crate::init::note::{At, Notes, note, quoted, warning};
use crate::init::remarks::{unix_server, unusable};
use crate::init::units;

/// An upstream, as far as weir has it.
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) strategy: Strategy,
    pub(super) slow_start_ms: Option<u64>,
    pub(super) backends: Vec<DraftBackend>,
}

impl Upstream {
    pub(super) fn of(block: &NginxDirective, notes: &mut Notes) -> Upstream {
        let mut upstream = Upstream {
            name: block.argument().to_owned(),
            at: block.at.clone(),
            strategy: Strategy::RoundRobin,
            slow_start_ms: None,
            backends: Vec::new(),
        };
        let mut weights = Vec::new();
        for directive in block.blocks() {
            let at = &directive.at;
            let said = directive.words.join(" ");
            match directive.name() {
                "server" => weights.push(upstream.server(directive, notes)),
                "least_conn" => upstream.strategy = Strategy::LeastConn,
                "least_time" => {
                    upstream.strategy = Strategy::LeastConn;
                    let why = "weir does not compare times: least-conn is taken";
                    notes.add(at, note(quoted(&said)).because(why));
                }
                "random" => upstream.random(directive, notes),
                "hash" => upstream.hash(directive, notes),
                name => {
                    let remark = look_up(OF_UPSTREAM, name, &quoted(name));
                    notes.add(at, remark.unwrap_or_else(|| unknown(name)));
                }
            }
        }
        upstream.weigh(&weights, notes);
        upstream
    }

    /// One `proxy_pass` to an address.
    pub(super) fn direct(name: String, at: &At, address: &str, notes: &mut Notes) -> Upstream {
        let backend = DraftBackend {
            wanted: "b1".to_owned(),
            at: at.clone(),
            address: server_address(at, address, notes),
            weight: 1,
            priority: 0,
            state: Admin::Ready,
            max_sessions: None,
            comment: String::new(),
        };
        let (at, strategy, slow_start_ms) = (at.clone(), Strategy::RoundRobin, None);
        Upstream { name, at, strategy, slow_start_ms, backends: vec![backend] }
    }

    /// Takes a `server`; gives its weight.
    fn server(&mut self, directive: &NginxDirective, notes: &mut Notes) -> u64 {
        let at = &directive.at;
        let mut services = directive.arguments().filter_map(|it| it.strip_prefix("service="));
        let address = match services.next() {
            Some(service) => of_service(service, directive.argument()),
            None => server_address(at, directive.argument(), notes),
        };
        let (mut weight, mut priority, mut state, mut comment) = (1, 0, Admin::Ready, "");
        let mut max_sessions = None;
        for word in directive.arguments().skip(1) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "weight" => match value.parse() {
                    Ok(number) if number > 0 => weight = number,
                    _ => notes.add(at, warning(quoted(word)).because("it is no weight")),
                },
                "max_conns" => match value.parse() {
                    Ok(most) => max_sessions = Some(most).filter(|most| *most > 0),
                    Err(_) => notes.add(at, warning(quoted(word)).because("it is no number")),
                },
                "service" => {}
                "backup" => priority = 1,
                "down" => (state, comment) = (Admin::Maint, "down"),
                "max_fails" | "fail_timeout" => {
                    let remark = note(format!("`{name}` of a server"));
                    let why =
                        "weir ejects a backend by itself when connects fail, for 10 s at first";
                    notes.add(at, remark.because(why).instead("health has checks, too"));
                }
                "slow_start" => self.slow_start_ms = units::nginx_millis(value),
                _ => {
                    let remark = look_up(OF_SERVER, name, &format!("`{name}` of a server"));
                    notes.add(at, remark.unwrap_or_else(|| unknown(word)));
                }
            }
        }
        self.backends.push(DraftBackend {
            wanted: format!("b{}", self.backends.len() + 1),
            at: at.clone(),
            address,
            weight: 1,
            priority,
            state,
            max_sessions,
            comment: comment.to_owned(),
        });
        weight
    }

    /// Weights that weir takes, in the same proportion.
    fn weigh(&mut self, weights: &[u64], notes: &mut Notes) {
        let (most, limit) = (weights.iter().max().copied().unwrap_or(1), u64::from(WEIGHT_MAX));
        if most > limit {
            let why = format!("weir has weights up to {limit}: all were made smaller");
            notes.add(&self.at, note(format!("the weight {most}")).because(why));
        }
        for (backend, weight) in self.backends.iter_mut().zip(weights) {
            let scaled = match most > limit {
                true => (u128::from(*weight) * u128::from(limit) / u128::from(most)).max(1),
                false => u128::from(*weight),
            };
            backend.weight = u16::try_from(scaled).unwrap_or(WEIGHT_MAX);
        }
    }

    fn random(&mut self, directive: &NginxDirective, notes: &mut Notes) {
        let arguments: Vec<&str> = directive.arguments().collect();
        self.strategy = match arguments.as_slice() {
            [] => Strategy::Random,
            ["two"] | ["two", "least_conn"] => Strategy::TwoChoices,
            _ => {
                let why = "weir does not compare times: the less loaded of two is taken";
                notes.add(&directive.at, note(quoted(&directive.words.join(" "))).because(why));
                Strategy::TwoChoices
            }
        };
    }

    fn hash(&mut self, directive: &NginxDirective, notes: &mut Notes) {
        let said = quoted(&directive.words.join(" "));
        let key = directive.argument().replace(['{', '}'], "");
        let (strategy, remark) = match key.as_str() {
            "$remote_addr" | "$binary_remote_addr" => {
                let why = "weir's is maglev: a client's address keeps its backend, which is \
                           another one than nginx's";
                (Strategy::Maglev, note(said).because(why))
            }
            key if key.contains("$remote_addr") && key.contains("$remote_port") => {
                let why = "a client's port is a random number: random is taken";
                (Strategy::Random, note(said).because(why))
            }
            _ => {
                let why = "weir hashes the client's address only: round-robin is taken";
                (Strategy::RoundRobin, warning(said).because(why))
            }
        };
        self.strategy = strategy;
        notes.add(&directive.at, remark);
    }
}

/// The name of a service: `http` is `_http._tcp` of the host, one with dots or underscores stands
/// as it is.
fn of_service(service: &str, host: &str) -> DraftAddress {
    let name = if service.contains(['.', '_']) {
        format!("{service}.{host}")
    } else {
        format!("_{service}._tcp.{host}")
    };
    DraftAddress::Named { name, port: None }
}

/// Where a server is.
fn server_address(at: &At, text: &str, notes: &mut Notes) -> DraftAddress {
    if text.starts_with("unix:") {
        return unix_server(at, (text, text), notes);
    }
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = parts.and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
    let host = parts.and_then(|(host, _)| units::host(host));
    if let (Some(ip), Some(port)) = (host, port) {
        return DraftAddress::Known(SocketAddr::new(ip, port).into());
    }
    if let (Some((name, _)), Some(port)) = (parts, port)
        && !name.contains(['$', '/'])
    {
        return DraftAddress::Named { name: name.to_owned(), port: Some(port) };
    }
    let why =
        if text.contains('$') { "weir has no variables" } else { "it is no address with a port" };
    unusable(at, text, why, notes)
}
