//! The lines of a `frontend`, `backend`, `listen` or `defaults` section.

use std::cell::Cell;
use std::rc::Rc;

use weir_proto::spec::{KEEPALIVE_COUNT_MAX, KEEPALIVE_SECS_MAX, KeepaliveSpec, Span, Strategy};

use super::checks::CheckSettings;
use super::lexer::Word;
use super::per_source::SourceLimits;
use super::rules::{Layer, Rules, Taken};
use super::server::{BindOptions, ServerOptions};
use super::source;
use super::unsupported::{DIRECTIVES, OPTIONS, TCP_REQUESTS, Unsupported, look_up};
use crate::init::note::{At, Remark, note, quoted, warning};
use crate::init::units;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Tcp,
    Http,
    /// health, log and the like.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyKind {
    Frontend,
    Backend,
    Listen,
}

/// A value and its line.
pub(super) type Given<T> = Option<(At, T)>;

/// Milliseconds of each `timeout` that weir has something for.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeouts {
    pub(super) connect: Given<u64>,
    pub(super) client: Given<u64>,
    pub(super) server: Given<u64>,
    pub(super) tunnel: Given<u64>,
    pub(super) client_fin: Given<u64>,
    pub(super) server_fin: Given<u64>,
    pub(super) check: Given<u64>,
    pub(super) queue: Given<u64>,
}

/// Settings that a proxy gets from its defaults and changes. Cheap to clone: a file may have one in
/// every line.
#[derive(Clone, Debug, Default)]
pub(super) struct ProxySettings {
    pub(super) mode: Mode,
    pub(super) balance: Given<(Strategy, Option<Rc<Remark>>)>,
    pub(super) timeouts: Timeouts,
    pub(super) maxconn: Given<u64>,
    /// New sessions for each second; 0: as many as come.
    pub(super) rate_limit: Given<u64>,
    pub(super) retries: Given<u64>,
    pub(super) redispatches: bool,
    /// All backups are used together, not the first that is up.
    pub(super) all_backups: bool,
    pub(super) client_keepalive: KeepaliveSpec,
    pub(super) server_keepalive: KeepaliveSpec,
    pub(super) default_server: Rc<ServerOptions>,
    pub(super) default_backend: Given<Rc<str>>,
    /// The first `use_backend` without a condition.
    pub(super) use_backend: Given<Rc<str>>,
    pub(super) is_disabled: bool,
    /// Where servers are connected to from, as written.
    pub(super) source: Given<Rc<str>>,
    pub(super) check: CheckSettings,
    pub(super) rules: Rules,
    pub(super) sources: SourceLimits,
}

/// Lines that are not carried over, of a section.
#[derive(Default)]
pub(super) struct Lost(pub(super) Vec<(At, Unsupported)>);

/// A `defaults` section, as those that name or follow it see it.
pub(super) struct DefaultsSection {
    pub(super) settings: ProxySettings,
    pub(super) lost: Lost,
    pub(super) parent: Option<Rc<DefaultsSection>>,
    /// How many parents it has, at most [`DEFAULTS_DEEP_MAX`].
    pub(super) depth: usize,
    /// Its lost lines have been noted.
    pub(super) is_noted: Cell<bool>,
}

/// Defaults from defaults from defaults.
pub(super) const DEFAULTS_DEEP_MAX: usize = 32;

pub(super) struct ProxySection {
    pub(super) kind: ProxyKind,
    pub(super) name: String,
    pub(super) at: At,
    pub(super) settings: ProxySettings,
    pub(super) lost: Lost,
    pub(super) defaults: Option<Rc<DefaultsSection>>,
    /// The addresses of each `bind`, not read yet, and its words.
    pub(super) binds: Vec<(At, String, BindOptions)>,
    pub(super) servers: Vec<ServerLine>,
    /// It has a `stats` line.
    pub(super) has_stats: bool,
}

pub(super) struct ServerLine {
    pub(super) at: At,
    pub(super) name: String,
    pub(super) address: String,
    /// Those of the line itself, upon those of `default-server`; remarks of the line only.
    pub(super) options: ServerOptions,
}

impl ProxySection {
    fn server(&mut self, at: &At, (name, address): (&str, &str), words: &[Word]) {
        let mut options = (*self.settings.default_server).clone();
        options.remarks.clear();
        options.take(at, words);
        let (name, address) = (name.to_owned(), address.to_owned());
        self.servers.push(ServerLine { at: at.clone(), name, address, options });
    }

    /// Takes one line. `false` if it is none that HAProxy knows.
    pub(super) fn take(&mut self, at: &At, words: &[Word]) -> bool {
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        match texts.as_slice() {
            ["bind", address, ..] => self.bind(at, address, &words[2..]),
            ["server", name, address, ..] => self.server(at, (name, address), &words[3..]),
            ["server-template", name, _count, address, ..] => {
                self.server(at, (name, address), &words[4..]);
            }
            _ => {
                self.has_stats |= texts.first() == Some(&"stats");
                return self.settings.take(at, words, &texts, &mut self.lost);
            }
        }
        true
    }

    pub(super) fn bind(&mut self, at: &At, address: &str, words: &[Word]) {
        self.binds.push((at.clone(), address.to_owned(), BindOptions::of(at, words)));
    }
}

impl ProxySettings {
    /// As the sections below `self` begin.
    pub(super) fn inherited(&self) -> ProxySettings {
        let rules = self.rules.inherited();
        ProxySettings { check: self.check.inherited(), rules, ..self.clone() }
    }

    /// Takes one line that `defaults` may have, too.
    pub(super) fn take(
        &mut self,
        at: &At,
        words: &[Word],
        texts: &[&str],
        lost: &mut Lost,
    ) -> bool {
        let text = |index: usize| texts.get(index).copied().unwrap_or_default();
        match texts {
            ["mode", mode, ..] => {
                self.mode = match *mode {
                    "tcp" => Mode::Tcp,
                    "http" => Mode::Http,
                    _ => Mode::Other,
                }
            }
            ["balance", ..] => self.balance = Some((at.clone(), balance(&texts[1..]))),
            ["hash-type", kind, ..] => {
                if *kind != "consistent" {
                    let remark = note(format!("`hash-type {kind}`"));
                    lost.always(at, remark.because("maglev is consistent"));
                }
            }
            ["timeout", name, value, ..] => self.timeout(at, name, value, lost),
            ["contimeout" | "clitimeout" | "srvtimeout", value, ..] => {
                let name = match text(0) {
                    "contimeout" => "connect",
                    "clitimeout" => "client",
                    _ => "server",
                };
                self.timeout(at, name, value, lost);
            }
            ["maxconn", value, ..] => number(&mut self.maxconn, at, texts, value, lost),
            ["rate-limit", "sessions", value, ..] => {
                number(&mut self.rate_limit, at, texts, value, lost);
            }
            ["retries", value, ..] => number(&mut self.retries, at, texts, value, lost),
            ["default-server", ..] => {
                Rc::make_mut(&mut self.default_server).take(at, &words[1..]);
            }
            ["default_backend", name, ..] => {
                self.default_backend = Some((at.clone(), Rc::from(*name)));
            }
            ["use_backend", name, rest @ ..] => self.use_backend(at, name, rest, lost),
            ["source", words @ ..] => self.source = source::of_line(at, words, lost),
            ["disabled", ..] => self.is_disabled = true,
            ["enabled", ..] => self.is_disabled = false,
            ["option", ..] => return self.option(at, words, texts, lost),
            ["no", rest @ ..] => self.negated(rest),
            ["default", ..] => {}
            ["http-check", ..] => self.check.http_check(at, words),
            ["tcp-check", ..] => self.check.tcp_check(at, words),
            ["acl", rest @ ..] => {
                let mut remarks = Vec::new();
                let is_known = self.rules.acl(rest, &mut remarks);
                remarks.into_iter().for_each(|remark| lost.always(at, remark));
                return is_known || lost.look_up(DIRECTIVES, text(0), at, texts);
            }
            ["stick-table", ..] if self.sources.stick_table(texts) => {}
            ["tcp-request", rest @ ..] => self.tcp_request(at, rest, lost),
            ["clitcpka-idle" | "clitcpka-intvl" | "clitcpka-cnt", value, ..] => {
                keepalive(&mut self.client_keepalive, at, texts, value, lost);
            }
            ["srvtcpka-idle" | "srvtcpka-intvl" | "srvtcpka-cnt", value, ..] => {
                keepalive(&mut self.server_keepalive, at, texts, value, lost);
            }
            _ => return lost.look_up(DIRECTIVES, text(0), at, texts),
        }
        true
    }

    fn timeout(&mut self, at: &At, name: &str, value: &str, lost: &mut Lost) {
        let timeouts = &mut self.timeouts;
        let field = match name {
            "connect" => &mut timeouts.connect,
            "client" => &mut timeouts.client,
            "server" => &mut timeouts.server,
            "tunnel" => &mut timeouts.tunnel,
            "client-fin" => &mut timeouts.client_fin,
            "server-fin" => &mut timeouts.server_fin,
            "check" => &mut timeouts.check,
            "queue" => &mut timeouts.queue,
            "tarpit" | "http-request" | "http-keep-alive" | "client-hs" => {
                let remark = warning(format!("`timeout {name}`"));
                let remark = remark.because("weir does not look into HTTP and TLS");
                return lost.0.push((at.clone(), Unsupported::Http(remark)));
            }
            _ => {
                let what = format!("`timeout {name}` is not known to weir");
                return lost.always(at, warning(what).because("it is left out"));
            }
        };
        match units::haproxy_millis(value) {
            Some(millis) => *field = Some((at.clone(), millis)),
            None => lost.no_value(at, &format!("timeout {name} {value}")),
        }
    }

    fn tcp_request(&mut self, at: &At, words: &[&str], lost: &mut Lost) {
        let (layer, action, condition) = match words {
            ["inspect-delay", value, ..] => {
                self.rules.inspect_ms = units::haproxy_millis(value);
                return;
            }
            ["connection", action, rest @ ..] => (Layer::Connection, *action, rest),
            ["session", action, rest @ ..] => (Layer::Session, *action, rest),
            ["content", action, rest @ ..] => (Layer::Content, *action, rest),
            _ => (Layer::Content, "", words),
        };
        if action.starts_with("track-sc") && *condition == ["src"] {
            return; // for what asks about it
        }
        let taken = match action {
            "reject" if self.sources.reject(condition) => Taken::Whole,
            "accept" | "reject" => self.rules.request(at, (layer, action == "accept", condition)),
            _ => Taken::No,
        };
        let is_content = layer == Layer::Content && !["accept", "reject", ""].contains(&action);
        if is_content {
            self.rules.other_content();
        }
        match taken {
            Taken::Whole => {}
            Taken::RefusesMore => {
                let remark = warning(quoted(&format!("tcp-request {}", words.join(" "))));
                let why = "an `accept` before it has no list in weir: what that takes is refused, \
                           too, if it is of these networks";
                lost.always(at, remark.because(why));
            }
            Taken::No => {
                let texts = [&["tcp-request"], words].concat();
                lost.look_up(TCP_REQUESTS, &words.join(" "), at, &texts);
            }
        }
    }

    fn use_backend(&mut self, at: &At, name: &str, condition: &[&str], lost: &mut Lost) {
        if condition.is_empty() && !name.contains('%') && self.use_backend.is_none() {
            self.use_backend = Some((at.clone(), Rc::from(name)));
            return;
        }
        // What follows one without a condition is never reached.
        let is_plain = !name.contains('%') && self.use_backend.is_none();
        let mut remarks = Vec::new();
        let is_route = is_plain && self.rules.use_backend(at, (name, condition), &mut remarks);
        remarks.into_iter().for_each(|remark| lost.always(at, remark));
        if is_route {
            return;
        }
        let words = condition.join(" ");
        let why = "routes of weir are by server name, protocol and network of the client";
        let why = format!("{why}: sessions go to the default_backend");
        let hint = "give each backend a listener with an address of its own";
        let what = quoted(&format!("use_backend {name} {words}"));
        lost.always(at, warning(what).because(why).instead(hint));
    }

    fn option(&mut self, at: &At, words: &[Word], texts: &[&str], lost: &mut Lost) -> bool {
        match texts.get(1).copied().unwrap_or_default() {
            // weir's sockets always have keepalive.
            "tcpka" | "clitcpka" | "srvtcpka" => true,
            "redispatch" => {
                self.redispatches = true;
                true
            }
            "allbackups" => {
                self.all_backups = true;
                true
            }
            _ if self.check.option(at, words) => true,
            name => lost.look_up(OPTIONS, name, at, &texts[..texts.len().min(2)]),
        }
    }

    fn negated(&mut self, texts: &[&str]) {
        match texts {
            ["option", "redispatch", ..] => self.redispatches = false,
            ["option", "allbackups", ..] => self.all_backups = false,
            ["option", name, ..] if name.ends_with("chk") || name.ends_with("-check") => {
                self.check.kind = None;
            }
            _ => {}
        }
    }
}

impl Lost {
    pub(super) fn always(&mut self, at: &At, remark: Remark) {
        self.0.push((at.clone(), Unsupported::Always(remark)));
    }

    fn no_value(&mut self, at: &At, line: &str) {
        let remark = warning(quoted(line)).because("its value is none that HAProxy takes");
        self.always(at, remark.instead("it is left out"));
    }

    /// `false` if the table does not have it.
    fn look_up(
        &mut self,
        table: &[super::unsupported::Directive],
        name: &str,
        at: &At,
        texts: &[&str],
    ) -> bool {
        let words = match texts {
            [first @ ("option" | "tcp-request" | "stick"), second, ..] => {
                format!("{first} {second}")
            }
            [first, ..] => (*first).to_owned(),
            [] => String::new(),
        };
        let found = look_up(table, name, &words);
        let is_known = found.is_some();
        self.0.extend(found.map(|lost| (at.clone(), lost)));
        is_known
    }
}

fn number(field: &mut Given<u64>, at: &At, texts: &[&str], value: &str, lost: &mut Lost) {
    match value.parse() {
        Ok(number) => *field = Some((at.clone(), number)),
        Err(_) => lost.no_value(at, &texts.join(" ")),
    }
}

/// `clitcpka-idle`, `-intvl` and `-cnt`, and those of servers.
fn keepalive(of: &mut KeepaliveSpec, at: &At, texts: &[&str], value: &str, lost: &mut Lost) {
    let name = texts.first().copied().unwrap_or_default();
    if name.ends_with("-cnt") {
        match value.parse() {
            Ok(count) if (1..=u32::from(KEEPALIVE_COUNT_MAX)).contains(&count) => of.count = count,
            _ => lost.no_value(at, &texts.join(" ")),
        }
        return;
    }
    let Some(millis) = units::haproxy_seconds(value) else {
        return lost.no_value(at, &texts.join(" "));
    };
    let seconds = millis.div_ceil(1000).clamp(1, u64::from(KEEPALIVE_SECS_MAX));
    if seconds * 1000 != millis {
        let remark = note(quoted(&texts.join(" ")));
        lost.always(at, remark.because(format!("weir takes whole seconds up to 9h: {seconds}s")));
    }
    let field = if name.ends_with("-idle") { &mut of.idle } else { &mut of.interval };
    *field = Span::from_secs(seconds);
}

/// weir's strategy for what follows `balance`, and the difference if there is one.
fn balance(texts: &[&str]) -> (Strategy, Option<Rc<Remark>>) {
    let said = quoted(&format!("balance {}", texts.join(" ")));
    let differs = |strategy, why: &str| (strategy, Some(Rc::new(note(&said).because(why))));
    let lost = |why: &str| {
        let remark = warning(&said).because(format!("{why}: round-robin is taken"));
        (Strategy::RoundRobin, Some(Rc::new(remark)))
    };
    let first = texts.first().copied().unwrap_or_default();
    let draws = first.strip_prefix("random").map(|draws| draws.trim_matches(['(', ')']));
    match (first, draws) {
        ("roundrobin" | "static-rr", _) => (Strategy::RoundRobin, None),
        ("leastconn", _) => (Strategy::LeastConn, None),
        ("source", _) => differs(Strategy::Maglev, MAGLEV),
        ("hash", _) if texts.get(1) == Some(&"src") => differs(Strategy::Maglev, MAGLEV),
        (_, Some("1")) => (Strategy::Random, None),
        (_, Some("" | "2")) => (Strategy::TwoChoices, None),
        (_, Some(_)) => differs(Strategy::TwoChoices, "weir draws two"),
        ("first", _) => lost("weir fills no server before the next"),
        ("uri" | "url_param" | "hdr", _) => lost("it is for HTTP"),
        (name, _) if name.starts_with("hdr(") => lost("it is for HTTP"),
        (name, _) if name.starts_with("rdp-cookie") => lost("weir reads no RDP cookies"),
        _ => lost("weir does not have it"),
    }
}

const MAGLEV: &str =
    "weir's is maglev: a client's address keeps its backend, which is another one than HAProxy's";
