//! `server`, `default-server` and `bind` lines: the words behind the address.

use weir_proto::bind_address::Interface;
use weir_proto::spec::ProxyVersion;

use super::agent::AgentOptions;
use super::lexer::Word;
use super::unsupported::{BIND_WORDS, OptionWord, SERVER_WORDS};
use crate::init::note::{At, Remark, note, quoted, warning};
use crate::init::units;

/// The words of a server, of `default-server` first.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerOptions {
    pub(super) weight: Option<u64>,
    pub(super) is_checked: bool,
    pub(super) inter_ms: Option<u64>,
    pub(super) fastinter_ms: Option<u64>,
    pub(super) downinter_ms: Option<u64>,
    pub(super) rise: Option<u64>,
    pub(super) fall: Option<u64>,
    /// Checks go to another address, with its line.
    pub(super) check_elsewhere: Option<At>,
    pub(super) check_port: Option<u64>,
    pub(super) is_checked_over_tls: bool,
    pub(super) is_backup: bool,
    pub(super) is_disabled: bool,
    pub(super) slow_start_ms: Option<u64>,
    /// Of the most sessions, and of those that wait. 0 is no limit.
    pub(super) maxconn: Option<u64>,
    pub(super) maxqueue: Option<u64>,
    pub(super) is_tls: bool,
    /// Its sessions end when it goes down.
    pub(super) is_cut_when_down: bool,
    pub(super) agent: AgentOptions,
    /// Where it is connected to from, as written.
    pub(super) source: Option<String>,
    sends_v1: bool,
    sends_v2: bool,
    /// Cut off at [`REMARKS_MAX`].
    pub(super) remarks: Vec<(At, Remark)>,
}

/// Remarks of one line and of the `default-server` lines before it.
const REMARKS_MAX: usize = 64;

impl ServerOptions {
    fn remark(&mut self, at: &At, remark: Remark) {
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push((at.clone(), remark));
        }
    }

    /// The header that the server gets; HAProxy prefers the second version.
    pub(super) fn proxy_protocol(&self) -> Option<ProxyVersion> {
        match (self.sends_v1, self.sends_v2) {
            (_, true) => Some(ProxyVersion::V2),
            (true, false) => Some(ProxyVersion::V1),
            (false, false) => None,
        }
    }

    /// The most sessions that it may have, if there is a limit.
    pub(super) fn max_sessions(&self) -> Option<u32> {
        let most = self.maxconn.filter(|most| *most > 0)?;
        Some(u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// Takes the words of one line.
    pub(super) fn take(&mut self, at: &At, words: &[Word]) {
        let mut words = words.iter().map(|word| word.text.as_str());
        while let Some(word) = words.next() {
            if self.flag(word) {
                continue;
            }
            if let Some(known) = SERVER_WORDS.iter().find(|known| known.fits(word)) {
                words.by_ref().take(known.values).for_each(|_| {});
                known.remark("server").into_iter().for_each(|remark| self.remark(at, remark));
                continue;
            }
            if VALUED.contains(&word) {
                self.value(at, word, words.next().unwrap_or_default());
                continue;
            }
            let what = format!("{} of a server is not known to weir", quoted(word));
            self.remark(at, warning(what).because("it is left out"));
        }
    }

    /// Whether `word` stands alone and is carried over.
    fn flag(&mut self, word: &str) -> bool {
        match word {
            "check" => self.is_checked = true,
            "no-check" => self.is_checked = false,
            "backup" => self.is_backup = true,
            "no-backup" => self.is_backup = false,
            "disabled" => self.is_disabled = true,
            "enabled" => self.is_disabled = false,
            "agent-check" => self.agent.is_asked = true,
            "no-agent-check" => self.agent.is_asked = false,
            "ssl" => self.is_tls = true,
            "no-ssl" => self.is_tls = false,
            "check-ssl" => self.is_checked_over_tls = true,
            "no-check-ssl" => self.is_checked_over_tls = false,
            "send-proxy" => self.sends_v1 = true,
            "no-send-proxy" => self.sends_v1 = false,
            "send-proxy-v2" => self.sends_v2 = true,
            "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => {
                self.sends_v2 = true;
                // The fields of TLS are lost.
                return false;
            }
            word if word.starts_with("no-send-proxy-v2") => self.sends_v2 = false,
            _ => return false,
        }
        true
    }

    /// Takes the value of one of [`VALUED`].
    fn value(&mut self, at: &At, word: &str, value: &str) {
        if word == "on-marked-down" && value == "shutdown-sessions" {
            self.is_cut_when_down = true;
            return;
        }
        let (field, read) = match word {
            "weight" => (&mut self.weight, value.parse().ok()),
            "inter" => (&mut self.inter_ms, units::haproxy_millis(value)),
            "fastinter" => (&mut self.fastinter_ms, units::haproxy_millis(value)),
            "downinter" => (&mut self.downinter_ms, units::haproxy_millis(value)),
            "rise" => (&mut self.rise, value.parse().ok()),
            "fall" => (&mut self.fall, value.parse().ok()),
            "maxconn" => (&mut self.maxconn, value.parse().ok()),
            "maxqueue" => (&mut self.maxqueue, value.parse().ok()),
            "slowstart" => (&mut self.slow_start_ms, units::haproxy_millis(value)),
            "agent-inter" => (&mut self.agent.inter_ms, units::haproxy_millis(value)),
            "agent-port" => (&mut self.agent.port, port(value)),
            "source" | "agent-addr" | "agent-send" => {
                let text = match word {
                    "source" => &mut self.source,
                    "agent-addr" => &mut self.agent.address,
                    _ => &mut self.agent.send,
                };
                *text = Some(value.to_owned());
                return;
            }
            "port" => (&mut self.check_port, port(value)),
            "on-marked-down" => return self.no_value(at, word, value),
            "proxy-v2-options" => return self.fields(at, value),
            _ => {
                self.check_elsewhere = Some(at.clone());
                return;
            }
        };
        if read.is_some() {
            *field = read;
        } else {
            self.no_value(at, word, value);
        }
    }

    /// Takes the fields that HAProxy puts into its header. weir's always has a unique id and a
    /// checksum.
    fn fields(&mut self, at: &At, options: &str) {
        for option in options.split(',').filter(|it| !["crc32c", "unique-id"].contains(it)) {
            let what = format!("`proxy-v2-options` of a server: {}", quoted(option));
            let why = match option {
                "authority" => "it is sent if a route has read it, or a header before weir had it",
                "ssl" | "cert-cn" | "cert-key" | "cert-sig" | "ssl-cipher" => {
                    "weir does not decrypt: it is sent if a header before weir had it"
                }
                _ => "it is not known to weir",
            };
            self.remark(at, note(what).because(why));
        }
    }

    fn no_value(&mut self, at: &At, word: &str, value: &str) {
        let what = format!("{} of a server: {} is no value", quoted(word), quoted(value));
        self.remark(at, warning(what).because("it is left out"));
    }
}

fn port(text: &str) -> Option<u64> {
    text.parse().ok().filter(|port| (1..=65_535).contains(port))
}

/// Words of a server that have a value and are carried over.
const VALUED: &[&str] = &[
    "weight",
    "inter",
    "fastinter",
    "downinter",
    "rise",
    "fall",
    "slowstart",
    "maxconn",
    "maxqueue",
    "port",
    "addr",
    "on-marked-down",
    "source",
    "agent-addr",
    "agent-inter",
    "agent-port",
    "agent-send",
    "proxy-v2-options",
];

/// The words of a `bind` line.
#[derive(Clone, Debug, Default)]
pub(super) struct BindOptions {
    pub(super) is_tls: bool,
    pub(super) is_v6only: bool,
    pub(super) is_transparent: bool,
    pub(super) interface: Option<Interface>,
    /// Clients send a PROXY header first.
    pub(super) wants_header: bool,
    pub(super) remarks: Vec<(At, Remark)>,
}

impl BindOptions {
    pub(super) fn of(at: &At, words: &[Word]) -> BindOptions {
        let mut options = BindOptions::default();
        let mut words = words.iter().map(|word| word.text.as_str());
        while let Some(word) = words.next() {
            match word {
                "ssl" => options.is_tls = true,
                "v6only" => options.is_v6only = true,
                "v4v6" => options.is_v6only = false,
                "interface" => {
                    let name = words.next().unwrap_or_default();
                    options.interface = name.parse().ok();
                    if options.interface.is_none() {
                        let remark = warning(format!("`interface` {} of bind", quoted(name)));
                        let remark = remark.because("it is left out: no interface has that name");
                        options.remarks.push((at.clone(), remark));
                    }
                }
                "transparent" => options.is_transparent = true,
                "accept-proxy" => options.wants_header = true,
                word => {
                    let known = BIND_WORDS.iter().find(|known| known.fits(word));
                    let values = known.map_or(0, |known| known.values);
                    words.by_ref().take(values).for_each(|_| {});
                    let remark = known.map_or_else(
                        || {
                            let what = format!("{} of bind is not known to weir", quoted(word));
                            Some(warning(what).because("it is left out"))
                        },
                        |known: &OptionWord| known.remark("bind"),
                    );
                    options.remarks.extend(remark.map(|remark| (at.clone(), remark)));
                }
            }
        }
        options
    }
}
