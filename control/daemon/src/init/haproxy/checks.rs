//! Health checks of HAProxy: `option httpchk`, `tcp-check …` and the checks of protocols.

use std::fmt::Write;
use std::rc::Rc;

use weir_proto::spec::{self, CHECK_TEXT_MAX, HealthKind, HealthSpec, HttpMethod, Statuses};

use super::lexer::{Word, hex};
use crate::init::note::{At, Remark, note, quoted, warning};

/// The most steps of one check.
const STEPS_MAX: usize = spec::CHECK_STEPS_MAX;

/// The checks of a proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct CheckSettings {
    /// The last `option …-check`.
    pub(super) kind: Option<(At, CheckKind)>,
    http: HttpCheck,
    steps: Rc<Vec<(At, CheckStep)>>,
    /// The steps are those of defaults, which the first step of a proxy replaces.
    are_inherited: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CheckKind {
    Tcp,
    Http,
    Redis,
    /// With the name that HAProxy has.
    Smtp(Option<Rc<str>>),
    Ldap,
    TlsHello,
    /// With the user, if one is named.
    Mysql(Option<Rc<str>>),
    Postgres(Option<Rc<str>>),
}

#[derive(Clone, Debug, Default)]
struct HttpCheck {
    method: HttpMethod,
    path: Option<Rc<str>>,
    host: Option<Rc<str>>,
    expect: Option<Rc<str>>,
    remarks: Rc<Vec<(At, Remark)>>,
}

#[derive(Clone, Debug)]
enum CheckStep {
    /// To another port.
    Port(u32),
    /// To another address, or with TLS.
    Elsewhere,
    Send(Vec<u8>),
    Expect(Vec<u8>),
    /// Something that weir does not have.
    Other(Remark),
}

impl CheckSettings {
    /// As a proxy gets them from its defaults.
    pub(super) fn inherited(&self) -> CheckSettings {
        CheckSettings { are_inherited: true, ..self.clone() }
    }

    /// Takes `option NAME …`; `false` if it is no check.
    pub(super) fn option(&mut self, at: &At, words: &[Word]) -> bool {
        let text = |index: usize| words.get(index).map(|word| word.text.as_str());
        let user = || match (text(2), text(3)) {
            (Some("user"), Some(user)) => Some(Rc::from(user)),
            _ => None,
        };
        let kind = match text(1).unwrap_or_default() {
            "tcp-check" => CheckKind::Tcp,
            "httpchk" => {
                self.httpchk(at, &words[2..]);
                CheckKind::Http
            }
            "redis-check" => CheckKind::Redis,
            "smtpchk" => CheckKind::Smtp(text(3).map(Rc::from)),
            "ldap-check" => CheckKind::Ldap,
            "ssl-hello-chk" => CheckKind::TlsHello,
            "mysql-check" => CheckKind::Mysql(user()),
            "pgsql-check" => CheckKind::Postgres(user()),
            _ => return false,
        };
        self.kind = Some((at.clone(), kind));
        true
    }

    /// `[METHOD] URI [VERSION]`.
    fn httpchk(&mut self, at: &At, words: &[Word]) {
        let text = |index: usize| words.get(index).map_or("", |word| word.text.as_str());
        match words.len() {
            0 => self.method(at, "OPTIONS"),
            1 => {
                self.method(at, "OPTIONS");
                self.path(at, text(0));
            }
            _ => {
                self.method(at, text(0));
                self.path(at, text(1));
            }
        }
        // As people wrote it before there was `http-check send`: `HTTP/1.1\r\nHost:\ NAME`.
        for line in text(2).split(['\r', '\n']).skip(1).filter(|line| !line.is_empty()) {
            match line.split_once(':') {
                Some((name, value)) => self.header(at, name, value.trim()),
                None => self.body(at),
            }
        }
        if words.len() > 3 {
            self.body(at);
        }
    }

    fn http_remark(&mut self, at: &At, remark: Remark) {
        let remarks = Rc::make_mut(&mut self.http.remarks);
        if remarks.len() < STEPS_MAX {
            remarks.push((at.clone(), remark));
        }
    }

    fn method(&mut self, at: &At, method: &str) {
        if let Some(known) = HttpMethod::ALL.into_iter().find(|it| it.word() == method) {
            self.http.method = known;
            return;
        }
        let what = format!("the check's method is {}", quoted(method));
        self.http_remark(at, note(what).because("weir asks by GET, HEAD or OPTIONS"));
    }

    fn path(&mut self, at: &At, path: &str) {
        if spec::is_check_path(path) {
            self.http.path = Some(Rc::from(path));
        } else {
            let what = format!("the check's path {}", quoted(path));
            self.http_remark(at, warning(what).because("a path of weir begins with /"));
        }
    }

    fn header(&mut self, at: &At, name: &str, value: &str) {
        let is_host = name.eq_ignore_ascii_case("host");
        if is_host && spec::is_check_host(value, HealthKind::Http) {
            self.http.host = Some(Rc::from(value));
        } else {
            self.body(at);
        }
    }

    fn body(&mut self, at: &At) {
        let why = "weir's checks have a Host (health.host) and no other header of yours";
        let remark = warning("the check's headers or its body").because(why);
        self.http_remark(at, remark.instead("give the server a path that needs none"));
    }

    /// Takes `http-check …`.
    pub(super) fn http_check(&mut self, at: &At, words: &[Word]) {
        let texts: Vec<&str> = words.iter().skip(1).map(|word| word.text.as_str()).collect();
        match texts.as_slice() {
            ["send", rest @ ..] => self.http_send(at, rest),
            ["expect", rest @ ..] => self.http_expect(at, rest),
            ["connect", rest @ ..] => {
                connect(rest).into_iter().for_each(|step| self.push(at, step));
            }
            ["comment" | "set-var" | "unset-var" | "set-var-fmt", ..] => {}
            ["send-state", ..] => {
                self.http_remark(at, note("`http-check send-state`").because("weir has none"));
            }
            _ => {
                let what = format!("`http-check {}`", texts.join(" "));
                self.http_remark(at, warning(what).because("weir's checks do not have it"));
            }
        }
    }

    fn http_send(&mut self, at: &At, words: &[&str]) {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().copied().unwrap_or_default();
            match *word {
                "meth" => self.method(at, value),
                "uri" => self.path(at, value),
                "ver" | "comment" => {}
                "hdr" => self.header(at, value, words.next().copied().unwrap_or_default()),
                _ => self.body(at),
            }
        }
    }

    fn http_expect(&mut self, at: &At, words: &[&str]) {
        let rest = match_of(words);
        let pattern = rest.get(1).copied().unwrap_or_default();
        let statuses: String = pattern.split_whitespace().collect::<Vec<_>>().join(",");
        match rest.first().copied() {
            Some("status") if pattern == "200-399" => self.http.expect = None,
            Some("status") if statuses.parse::<Statuses>().is_ok() => {
                self.http.expect = Some(Rc::from(statuses));
            }
            Some("rstatus") if ANY_SUCCESS.contains(&pattern) => self.http.expect = None,
            Some("rstatus") if hundreds(pattern).is_some() => {
                self.http.expect = hundreds(pattern).map(Rc::from);
            }
            _ => {
                let what = format!("`http-check expect {}`", words.join(" "));
                let why = "weir expects statuses, and takes any 2xx or 3xx here";
                self.http_remark(at, warning(what).because(why));
            }
        }
    }

    fn push(&mut self, at: &At, step: CheckStep) {
        if self.are_inherited {
            self.are_inherited = false;
            self.steps = Rc::default();
        }
        let steps = Rc::make_mut(&mut self.steps);
        if steps.len() < STEPS_MAX {
            steps.push((at.clone(), step));
        }
    }

    /// Takes `tcp-check …`.
    pub(super) fn tcp_check(&mut self, at: &At, words: &[Word]) {
        let texts: Vec<&str> = words.iter().skip(1).map(|word| word.text.as_str()).collect();
        let bytes = |index: usize| words.get(index).map_or(&[][..], Word::bytes).to_vec();
        let other = || {
            let what = format!("`tcp-check {}`", texts.join(" "));
            CheckStep::Other(warning(what).because("weir's checks do not have it"))
        };
        let step = match texts.as_slice() {
            ["connect", rest @ ..] => match connect(rest) {
                Some(step) => step,
                None => return,
            },
            ["comment" | "set-var" | "unset-var" | "set-var-fmt", ..] => return,
            ["send", ..] => CheckStep::Send(bytes(2)),
            ["send-binary", data, ..] => unhex(data).map_or_else(other, CheckStep::Send),
            ["expect", rest @ ..] => {
                let matched = match_of(rest);
                let at = words.len().saturating_sub(matched.len()) + 1;
                match matched {
                    ["string", _, ..] => CheckStep::Expect(bytes(at)),
                    ["binary", data, ..] => unhex(data).map_or_else(other, CheckStep::Expect),
                    ["rstring", pattern, ..] => literal(pattern)
                        .map_or_else(other, |text| CheckStep::Expect(text.into_bytes())),
                    _ => other(),
                }
            }
            _ => other(),
        };
        self.push(at, step);
    }

    /// Puts into `health` what the check asks and expects, and into `remarks` what is lost.
    pub(super) fn talk(&self, health: &mut HealthSpec, remarks: &mut Vec<(At, Remark)>) {
        let Some((at, kind)) = &self.kind else { return };
        let mut add = |remark: Remark| remarks.push((at.clone(), remark));
        match kind {
            CheckKind::Http => {
                let http = &self.http;
                (health.kind, health.method) = (HealthKind::Http, http.method);
                health.path = http.path.as_deref().map(str::to_owned);
                health.host = http.host.as_deref().map(str::to_owned);
                health.expect = http.expect.as_deref().map(str::to_owned);
                remarks.extend(http.remarks.iter().cloned());
            }
            CheckKind::Tcp => self.conversation(health, remarks),
            CheckKind::Redis => health.kind = HealthKind::Redis,
            CheckKind::Ldap => {
                health.kind = HealthKind::SendExpect;
                health.send = Some(escaped(LDAP_BIND));
                health.expect = Some(escaped(b"\x0a\x01\x00"));
            }
            CheckKind::Smtp(name) => {
                health.kind = HealthKind::Smtp;
                let is_name = |name: &&str| spec::is_check_host(name, HealthKind::Smtp);
                health.host = name.as_deref().filter(is_name).map(str::to_owned);
            }
            CheckKind::Postgres(user) => {
                health.kind = HealthKind::Postgresql;
                health.user =
                    user.as_deref().filter(|user| spec::is_check_user(user)).map(str::to_owned);
            }
            CheckKind::Mysql(Some(user)) if spec::is_check_user(user) => {
                (health.kind, health.user) = (HealthKind::Mysql, Some(user.to_string()));
            }
            CheckKind::Mysql(_) => {
                let why = "weir only connects, and MySQL bans hosts that do nothing else \
                           (max_connect_errors)";
                let hint = "make a user for checks (docs/operating.md, Checks that do no harm)";
                add(warning("`option mysql-check` without a user").because(why).instead(hint));
            }
            CheckKind::TlsHello => health.kind = HealthKind::Tls,
        }
    }

    /// The steps of the check that say where it connects.
    fn connects(&self) -> impl Iterator<Item = &(At, CheckStep)> {
        let kinds = [CheckKind::Tcp, CheckKind::Http];
        let counts = self.kind.as_ref().is_some_and(|(_, kind)| kinds.contains(kind));
        let is_connect =
            |step: &CheckStep| matches!(step, CheckStep::Port(_) | CheckStep::Elsewhere);
        self.steps.iter().filter(move |(_, step)| counts && is_connect(step))
    }

    /// The port that the check names.
    pub(super) fn port(&self) -> Option<u32> {
        self.connects().find_map(|(_, step)| match step {
            CheckStep::Port(port) => Some(*port),
            _ => None,
        })
    }

    /// The line that sends checks where weir's cannot go: to another address, over TLS, or to
    /// several ports in turn.
    pub(super) fn elsewhere(&self) -> Option<&At> {
        let is_elsewhere = |(index, (_, step)): &(usize, &(At, CheckStep))| {
            *index > 0 || matches!(step, CheckStep::Elsewhere)
        };
        self.connects().enumerate().find(is_elsewhere).map(|(_, (at, _))| at)
    }

    /// The steps, sent and expected in turn; none if nothing is expected.
    fn conversation(&self, health: &mut HealthSpec, remarks: &mut Vec<(At, Remark)>) {
        let mut steps: Vec<spec::CheckStep> = Vec::new();
        let mut expects = 0;
        for (at, step) in self.steps.iter() {
            let (bytes, is_sent) = match step {
                CheckStep::Send(bytes) => (bytes, true),
                CheckStep::Expect(bytes) => (bytes, false),
                CheckStep::Other(remark) => {
                    remarks.push((at.clone(), remark.clone()));
                    continue;
                }
                CheckStep::Port(_) | CheckStep::Elsewhere => continue,
            };
            if bytes.is_empty() || bytes.len() > CHECK_TEXT_MAX {
                let why = format!("a step has 1 to {CHECK_TEXT_MAX} bytes");
                remarks.push((at.clone(), warning("a step of the check").because(why)));
                continue;
            }
            let text = escaped(bytes);
            expects += usize::from(!is_sent);
            steps.push(match is_sent {
                true => spec::CheckStep::Send(text),
                false => spec::CheckStep::Expect(text),
            });
        }
        if expects == 0 {
            return;
        }
        health.kind = HealthKind::SendExpect;
        match steps.as_slice() {
            [spec::CheckStep::Expect(expect)] => health.expect = Some(expect.clone()),
            [spec::CheckStep::Send(send), spec::CheckStep::Expect(expect)] => {
                (health.send, health.expect) = (Some(send.clone()), Some(expect.clone()));
            }
            _ => health.steps = steps,
        }
    }
}

/// The step that `connect` is, if it goes elsewhere.
fn connect(words: &[&str]) -> Option<CheckStep> {
    if words.iter().any(|word| ["addr", "ssl"].contains(word)) {
        return Some(CheckStep::Elsewhere);
    }
    let mut words = words.iter();
    words.find(|word| **word == "port")?;
    let port = words.next().and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    Some(port.map_or(CheckStep::Elsewhere, |port| CheckStep::Port(port.into())))
}

/// The statuses of a pattern that is their first digit.
fn hundreds(pattern: &str) -> Option<String> {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let digit = pattern.chars().next().filter(|digit| ('1'..='5').contains(digit))?;
    let rest = &pattern[1..];
    let is_all = rest.is_empty() || rest == ".." || rest == "[0-9][0-9]" || rest == "[0-9]{2}";
    is_all.then(|| format!("{digit}00-{digit}99"))
}

/// The words of `expect` from the kind of match on.
fn match_of<'a>(words: &'a [&'a str]) -> &'a [&'a str] {
    let mut rest = words;
    while let [word, _, tail @ ..] = rest {
        let options = ["min-recv", "comment", "ok-status", "error-status", "tout-status"];
        let more = ["on-success", "on-error", "status-code"];
        if !options.contains(word) && !more.contains(word) {
            break;
        }
        rest = tail;
    }
    rest
}

/// Patterns for any status from 200 to 399.
const ANY_SUCCESS: &[&str] =
    &["(2|3)[0-9][0-9]", "[23][0-9][0-9]", "[23]..", "^[23]", "^[23]..$", "^(2|3)[0-9][0-9]$"];

/// The text that a regular expression stands for, if it is one text.
fn literal(pattern: &str) -> Option<String> {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let mut out = String::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.push(letters.next().filter(|next| !next.is_ascii_alphanumeric())?),
            '$' if letters.peek().is_none() => {}
            '.' | '[' | ']' | '(' | ')' | '*' | '+' | '?' | '{' | '}' | '|' | '^' | '$' => {
                return None;
            }
            letter => out.push(letter),
        }
    }
    (!out.is_empty()).then_some(out)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.bytes().map(hex).collect();
    let digits = digits.filter(|digits| !digits.is_empty() && digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Bytes as weir.toml writes those of a check.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            // It stands between two steps where they are one text.
            b';' => out.push_str("\\x3b"),
            b' '..=b'~' => out.push(char::from(*byte)),
            byte => drop(write!(out, "\\x{byte:02x}")),
        }
    }
    out
}

/// An anonymous bind of LDAP version 3, as HAProxy sends it.
const LDAP_BIND: &[u8] = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_operators_is_a_text() {
        for (pattern, text) in [
            ("^\\+PONG$", Some("+PONG")),
            ("220", Some("220")),
            ("^220 .*ESMTP", None),
            ("a|b", None),
            ("\\d+", None),
            ("", None),
        ] {
            assert_eq!(literal(pattern).as_deref(), text, "{pattern}");
        }
    }

    #[test]
    fn bytes_are_written_as_weir_reads_them() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(weir_proto::snapshot::unescape(&escaped(&bytes)), Some(bytes));
        assert_eq!(unhex("2a31"), Some(b"*1".to_vec()));
        assert_eq!((unhex("2"), unhex("zz"), unhex("")), (None, None, None));
    }
}
