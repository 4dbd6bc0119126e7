//! Health checks of HAProxy: `option httpchk`, `tcp-check …` and the checks of protocols.

use std::fmt::Write;
use std::rc::Rc;

use weir_proto::spec::{HealthKind, HealthSpec};

use super::lexer::{Word, hex};
use crate::init::note::{At, Remark, note, quoted, warning};

/// The most steps of one check, and the most bytes that it sends or expects.
const STEPS_MAX: usize = 64;
const BYTES_MAX: usize = 4096;

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
    Smtp,
    Ldap,
    TlsHello,
    /// With the user, if one is named.
    Mysql(Option<Rc<str>>),
    Postgres(Option<Rc<str>>),
}

#[derive(Clone, Debug, Default)]
struct HttpCheck {
    path: Option<Rc<str>>,
    expect: Option<u16>,
    remarks: Rc<Vec<(At, Remark)>>,
}

#[derive(Clone, Debug)]
enum CheckStep {
    /// To another port, or with TLS.
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
            "smtpchk" => CheckKind::Smtp,
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
        if words.len() > 3 || text(2).contains(['\r', '\n']) {
            self.header(at);
        }
    }

    fn http_remark(&mut self, at: &At, remark: Remark) {
        let remarks = Rc::make_mut(&mut self.http.remarks);
        if remarks.len() < STEPS_MAX {
            remarks.push((at.clone(), remark));
        }
    }

    fn method(&mut self, at: &At, method: &str) {
        if method != "GET" {
            let what = format!("the check's method is {}", quoted(method));
            self.http_remark(at, note(what).because("weir asks by GET"));
        }
    }

    fn path(&mut self, at: &At, path: &str) {
        let legal = path.bytes().all(|byte| byte.is_ascii_graphic());
        if path.starts_with('/') && legal && path.len() <= 1024 {
            self.http.path = Some(Rc::from(path));
        } else {
            let what = format!("the check's path {}", quoted(path));
            self.http_remark(at, warning(what).because("a path of weir begins with /"));
        }
    }

    fn header(&mut self, at: &At) {
        let why =
            "weir's checks name the backend's address as their Host, and have no other header";
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
                if rest.iter().any(|word| ["port", "addr", "ssl"].contains(word)) {
                    self.push(at, CheckStep::Elsewhere);
                }
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
                "hdr" => {
                    let _ = words.next();
                    self.header(at);
                }
                _ => self.header(at),
            }
        }
    }

    fn http_expect(&mut self, at: &At, words: &[&str]) {
        let rest = match_of(words);
        let pattern = rest.get(1).copied().unwrap_or_default();
        let status = pattern.parse::<u16>().ok().filter(|status| (100..600).contains(status));
        match (rest.first().copied(), status) {
            (Some("status"), Some(status)) => self.http.expect = Some(status),
            (Some("status"), None) if pattern == "200-399" => self.http.expect = None,
            (Some("rstatus"), None) if ANY_SUCCESS.contains(&pattern) => self.http.expect = None,
            _ => {
                let what = format!("`http-check expect {}`", words.join(" "));
                let why = "weir expects one status, or any 2xx or 3xx, which is taken";
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
            ["connect", rest @ ..] => {
                if !rest.iter().any(|word| ["port", "addr", "ssl"].contains(word)) {
                    return;
                }
                CheckStep::Elsewhere
            }
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
        let mut send_expect = |send: &[u8], expect: &[u8]| {
            health.kind = HealthKind::SendExpect;
            health.send = (!send.is_empty()).then(|| escaped(send));
            health.expect = Some(escaped(expect));
        };
        let mut add = |remark: Remark| remarks.push((at.clone(), remark));
        match kind {
            CheckKind::Http => {
                let http = &self.http;
                health.kind = HealthKind::Http;
                health.path = http.path.as_deref().map(str::to_owned);
                health.expect = http.expect.map(|status| status.to_string());
                remarks.extend(http.remarks.iter().cloned());
            }
            CheckKind::Tcp => {
                if let Some((send, expect)) = self.conversation(remarks) {
                    send_expect(&send, &expect);
                }
            }
            CheckKind::Redis => send_expect(b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
            CheckKind::Ldap => send_expect(LDAP_BIND, b"\x0a\x01\x00"),
            CheckKind::Smtp => {
                send_expect(b"QUIT\r\n", b"220");
                add(note("`option smtpchk`").because("weir expects the greeting and says QUIT"));
            }
            CheckKind::Postgres(user) => {
                send_expect(&startup(user.as_deref().unwrap_or("postgres")), b"R\0\0\0");
            }
            CheckKind::Mysql(Some(user)) if user.len() <= MYSQL_USER_MAX => {
                send_expect(&login(user), b"\x07\0\0\x02\0\0\0");
            }
            CheckKind::Mysql(_) => {
                let why = "weir only connects, and MySQL bans hosts that do nothing else \
                           (max_connect_errors)";
                let hint = "make a user for checks (docs/operating.md, Checks that do no harm)";
                add(warning("`option mysql-check` without a user").because(why).instead(hint));
            }
            CheckKind::TlsHello => {
                let why = "weir only connects: its checks know no TLS";
                add(warning("`option ssl-hello-chk`").because(why));
            }
        }
    }

    /// The line that sends checks elsewhere.
    pub(super) fn elsewhere(&self) -> Option<&At> {
        let kinds = [CheckKind::Tcp, CheckKind::Http];
        let counts = self.kind.as_ref().is_some_and(|(_, kind)| kinds.contains(kind));
        let is_elsewhere = |(_, step): &&(At, CheckStep)| matches!(step, CheckStep::Elsewhere);
        self.steps.iter().filter(|_| counts).find(is_elsewhere).map(|(at, _)| at)
    }

    /// The bytes that are sent at once, and those that the answer must contain: weir has one of
    /// each.
    fn conversation(&self, remarks: &mut Vec<(At, Remark)>) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut send = Vec::new();
        let mut expects: Vec<(&At, &[u8])> = Vec::new();
        let mut server_first = false;
        for (at, step) in self.steps.iter() {
            match step {
                CheckStep::Send(bytes) if !server_first => send.extend_from_slice(bytes),
                CheckStep::Send(_) => {
                    let why = "the server begins here, and weir says all at once";
                    remarks.push((at.clone(), warning("`tcp-check send`").because(why)));
                }
                CheckStep::Expect(bytes) => {
                    server_first |= send.is_empty();
                    expects.push((at, bytes));
                }
                CheckStep::Other(remark) => remarks.push((at.clone(), remark.clone())),
                CheckStep::Elsewhere => {}
            }
        }
        // The longest is the most particular: `role:master`, and not `+OK`. The first of a server
        // that begins is its greeting.
        let longest = |(index, (_, bytes)): &(usize, &(&At, &[u8]))| {
            (if server_first { 0 } else { bytes.len() }, usize::MAX - index)
        };
        let kept = expects.iter().enumerate().max_by_key(longest).map(|(index, _)| index);
        for (index, (at, _)) in expects.iter().enumerate() {
            if Some(index) != kept {
                let why = "weir expects one answer, the most particular, and says all at once";
                remarks.push(((*at).clone(), warning("`tcp-check expect`").because(why)));
            }
        }
        let expect = kept.map(|kept| expects[kept].1.to_vec())?;
        (send.len() <= BYTES_MAX && expect.len() <= BYTES_MAX && !expect.is_empty())
            .then_some((send, expect))
    }
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
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(*byte)),
            byte => drop(write!(out, "\\x{byte:02x}")),
        }
    }
    out
}

/// An anonymous bind of LDAP version 3, as HAProxy sends it.
const LDAP_BIND: &[u8] = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00";

/// PostgreSQL's names have 63 letters at most.
const POSTGRES_USER_MAX: usize = 256;

/// PostgreSQL's startup packet for `user`.
fn startup(user: &str) -> Vec<u8> {
    let mut packet = b"\0\x03\0\0user\0".to_vec();
    packet.extend(user.bytes().filter(|byte| *byte != 0).take(POSTGRES_USER_MAX));
    packet.extend(b"\0\0");
    let length = u32::try_from(packet.len() + 4).unwrap_or(0);
    [&length.to_be_bytes()[..], &packet].concat()
}

/// MySQL's names have 32 letters at most.
const MYSQL_USER_MAX: usize = 128;

/// MySQL's handshake response for a user without a password, and COM_QUIT.
fn login(user: &str) -> Vec<u8> {
    let mut packet = b"\0\x82\0\0\0\0\0\x01\x21".to_vec();
    packet.extend([0; 23]);
    packet.extend(user.bytes().filter(|byte| *byte != 0));
    packet.extend(b"\0\0");
    let length = u8::try_from(packet.len()).unwrap_or(u8::MAX);
    [&[length, 0, 0, 1][..], &packet, b"\x01\0\0\0\x01"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_what_the_servers_expect() {
        let documented = "#\\x00\\x00\\x01\\x00\\x82\\x00\\x00\\x00\\x00\\x00\\x01!";
        assert!(escaped(&login("u")).starts_with(documented), "{}", escaped(&login("u")));
        assert_eq!(login("u").len(), 4 + 35 + 5);
        assert_eq!(startup("u"), b"\0\0\0\x10\0\x03\0\0user\0u\0\0");
    }

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
