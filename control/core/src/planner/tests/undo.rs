//! The command that takes a change back: run as it is printed, it gives the configuration of
//! before, and nothing else.

use super::*;
use weir_proto::request::Pairs;
use weir_proto::settings::{BACKEND, Form, LISTENER, POOL, Setting};

/// The words of a command line as a shell would part them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => quoted = !quoted,
            '\\' if !quoted => words.last_mut().unwrap().extend(letters.next()),
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words
}

fn pair(word: &str) -> (String, String) {
    let (key, value) = word.split_once('=').unwrap();
    (key.to_owned(), value.to_owned())
}

fn pairs(words: &[&str]) -> Pairs {
    words.iter().map(|word| pair(word)).collect()
}

/// The request and the guard of a line that weir has printed, as weirctl reads it.
fn typed(line: &str) -> (ChangeRequest, ChangeOptions) {
    let words = words(line);
    let [command @ .., guard, version] = words.as_slice() else { panic!("{line}") };
    assert_eq!(guard, "--if-version", "{line}");
    let options =
        ChangeOptions { if_version: Some(version.parse().unwrap()), ..ChangeOptions::default() };
    let (pool, command): (Vec<_>, Vec<_>) = match command.iter().position(|it| it == "--pool") {
        None => (Vec::new(), command.to_vec()),
        Some(at) => (vec![command[at + 1].clone()], [&command[..at], &command[at + 2..]].concat()),
    };
    let [weirctl, noun, verb, name, rest @ ..] = command.as_slice() else { panic!("{line}") };
    assert_eq!(weirctl, "weirctl", "{line}");
    let (settings, plain): (Vec<String>, Vec<String>) =
        rest.iter().cloned().partition(|it| it.contains('='));
    let pairs: Pairs = settings.iter().map(|word| pair(word)).collect();
    let name = name.clone();
    let change = match (noun.as_str(), verb.as_str()) {
        ("listener", "set") => ChangeRequest::ListenerSet { name, pairs },
        ("pool", "set") => ChangeRequest::PoolSet { name, pairs },
        ("backend", "set") => ChangeRequest::BackendSet { name, pairs },
        ("pool", "add") => ChangeRequest::PoolAdd { name, pairs },
        ("listener", "add") => {
            ChangeRequest::ListenerAdd { name, bind: plain, pool: pool[0].clone(), pairs }
        }
        ("backend", "add") => ChangeRequest::BackendAdd { name, address: plain[0].clone(), pairs },
        _ => panic!("{line}"),
    };
    (change, options)
}

/// The configuration of a test, version after version.
struct Line {
    ids: IdSource,
    now: Snapshot,
}

impl Line {
    fn start() -> Line {
        let mut ids = IdSource::default();
        Line { now: start(&mut ids), ids }
    }

    /// Makes the change and returns the command that takes it back.
    fn make(&mut self, change: &ChangeRequest, options: &ChangeOptions) -> String {
        let sources = Sources { ids: &mut self.ids, past: &no_past, base: &None };
        let plan = decide(&self.now, change, options, sources);
        let plan = plan.unwrap_or_else(|refusal| panic!("{change}: {refusal}"));
        if let Some(next) = plan.snapshot {
            self.now = next;
        }
        plan.undo
    }

    /// Makes the change, takes it back, makes it again by the undo of the undo, and takes that
    /// back.
    fn there_and_back(&mut self, change: &ChangeRequest) {
        let before = self.now.spec();
        let undo = self.make(change, &ChangeOptions::default());
        let after = self.now.spec();
        assert_ne!(after, before, "{change} changes nothing");
        let mut back = |line: &str, wanted: &Spec| {
            let (change, options) = typed(line);
            let undo = self.make(&change, &options);
            assert_eq!(self.now.spec(), *wanted, "{line}");
            undo
        };
        let again = back(&undo, &before);
        let undo = back(&again, &after);
        back(&undo, &before);
    }
}

/// A request that sets settings of the object that the test has.
type Set = fn(Pairs) -> ChangeRequest;

fn set_listener(pairs: Pairs) -> ChangeRequest {
    ChangeRequest::ListenerSet { name: "web".into(), pairs }
}

fn set_pool(pairs: Pairs) -> ChangeRequest {
    ChangeRequest::PoolSet { name: "web".into(), pairs }
}

fn set_backend(pairs: Pairs) -> ChangeRequest {
    ChangeRequest::BackendSet { name: "web/b1".into(), pairs }
}

/// Other values of a setting than the one of the test's configuration, each with what must be set
/// with it.
fn others<S>(setting: &Setting<S>) -> Vec<Pairs> {
    let with = |more: &[&str], value: &str| {
        [pairs(more), pairs(&[&format!("{}={value}", setting.key)])].concat()
    };
    match (setting.key, setting.form) {
        ("health.path", _) => vec![with(&["health.kind=http"], "/a-b'c$d")],
        ("health.send", _) => {
            vec![with(&["health.kind=send-expect", "health.expect=c d"], "a 'b' *")]
        }
        ("health.expect" | "health.method" | "health.host", _) => {
            let value = match setting.key {
                "health.expect" => "204,300-309",
                "health.method" => "HEAD",
                _ => "a.example:80",
            };
            vec![with(&["health.kind=http"], value)]
        }
        ("agent.address", _) => vec![with(&["agent.port=9"], "10.0.0.9")],
        (key, form) if key.starts_with("agent.") && key != "agent.port" => {
            vec![with(&["agent.port=9"], &form.example().to_string())]
        }
        ("discover.dns", _) => vec![with(&[], "a.b:1")],
        ("discover.srv", _) => vec![with(&[], "_a._tcp.b.")],
        (key, form) if key.starts_with("discover.") => {
            vec![with(&["discover.dns=a.b:1"], &form.example().to_string())]
        }
        ("v6only", _) => vec![with(&["bind=[::]:443"], "false")],
        ("health.user", _) => vec![with(&["health.kind=mysql"], "u")],
        ("per-source.ipv4", _) => vec![with(&["per-source.sessions=9"], "24")],
        ("per-source.ipv6", _) => vec![with(&["per-source.rate=9/s"], "48")],
        ("health.steps", _) => {
            vec![with(&["health.kind=send-expect"], &setting.form.example().to_string())]
        }
        ("health.kind", Form::Word { words, .. }) => {
            let user = ["health.user=u"];
            let words = words.iter().filter(|word| !["tcp", "send-expect"].contains(*word));
            words.map(|word| with(if *word == "mysql" { &user } else { &[] }, word)).collect()
        }
        (_, Form::Word { words, .. }) => words.iter().map(|word| with(&[], word)).collect(),
        (_, Form::Name { .. }) => vec![with(&[], "spare")],
        (_, Form::Routes) => {
            vec![with(&[], "sni=a.b,*.c alpn=h2 pool=spare; from=10.0.0.0/8 pool=web")]
        }
        (_, Form::Address { many: true }) => {
            vec![with(&[], "127.0.0.1:7"), with(&[], "0.0.0.0:443,[::1]:7")]
        }
        _ => vec![with(&[], &setting.form.example().to_string())],
    }
}

fn each_key<S>(table: &'static [Setting<S>], set: Set) {
    for setting in table {
        let mut tried = 0;
        for pairs in others(setting) {
            let mut line = Line::start();
            let before = line.now.spec();
            let change = set(pairs);
            line.make(&change, &ChangeOptions::default());
            // One of the words is what it is already.
            if line.now.spec() != before {
                tried += 1;
                Line::start().there_and_back(&change);
            }
        }
        assert!(tried > 0, "{} has no other value here", setting.key);
    }
}

#[test]
fn the_undo_of_every_key_gives_the_configuration_of_before() {
    each_key(LISTENER, set_listener);
    each_key(POOL, set_pool);
    each_key(BACKEND, set_backend);
}

/// Each key beside each other one that is changed already: that one stays as it is.
fn each_pair_of_keys<S>(table: &'static [Setting<S>], set: Set) {
    for (first, second) in table.iter().flat_map(|one| table.iter().map(move |two| (one, two))) {
        let mut line = Line::start();
        line.make(&set(others(first).swap_remove(0)), &ChangeOptions::default());
        let before = line.now.spec();
        let change = set(others(second).swap_remove(0));
        // A value that does not go with the first key is refused; that is held elsewhere.
        let mut ids = line.ids.clone();
        let sources = Sources { ids: &mut ids, past: &no_past, base: &None };
        let plan = decide(&line.now, &change, &ChangeOptions::default(), sources);
        if plan.is_ok_and(|plan| plan.snapshot.is_some_and(|next| next.spec() != before)) {
            line.there_and_back(&change);
        }
    }
}

#[test]
fn the_undo_of_a_key_leaves_the_other_keys_alone() {
    each_pair_of_keys(LISTENER, set_listener);
    each_pair_of_keys(POOL, set_pool);
    each_pair_of_keys(BACKEND, set_backend);
}

#[test]
fn several_settings_go_back_together_and_quotes_hold() {
    for changed in [
        &["strategy=maglev"][..],
        &["health.kind=send-expect", "health.send=a b", "health.expect=c d"],
        &["health.kind=http", "health.path=/ok", "timeout.idle=5s", "socket-buffer=64KiB"],
    ] {
        Line::start().there_and_back(&set_pool(pairs(changed)));
    }
    let moved = ["pool=spare", "bind=[::1]:443", "max-sessions=9", "state=drain"];
    Line::start().there_and_back(&set_listener(pairs(&moved)));
    let other = ["address=[2001:db8::1]:80", "weight=0", "state=maint"];
    Line::start().there_and_back(&set_backend(pairs(&other)));
}

#[test]
fn what_is_removed_comes_back_with_all_its_settings() {
    let mut line = Line::start();
    let options = ChangeOptions::default();
    line.make(&set_listener(pairs(&["max-sessions=9", "keepalive.idle=20s"])), &options);
    line.make(&set_backend(pairs(&["weight=7", "state=drain"])), &options);
    let name = || "web".to_owned();
    let spare = pairs(&["strategy=random", "timeout.stalled=7s"]);
    line.make(&ChangeRequest::PoolSet { name: "spare".into(), pairs: spare }, &options);
    let full = line.now.spec();
    for removal in [
        ChangeRequest::ListenerRemove { name: name() },
        ChangeRequest::BackendRemove { name: "web/b1".into(), force: false },
        ChangeRequest::PoolRemove { name: "spare".into() },
    ] {
        let undo = line.make(&removal, &options);
        assert_ne!(line.now.spec(), full, "{removal}");
        let (back, options) = typed(&undo);
        line.make(&back, &options);
        assert_eq!(line.now.spec(), full, "{undo}");
    }
    // `pool add` makes an empty pool: one with backends comes back by a rollback.
    line.make(&ChangeRequest::ListenerRemove { name: name() }, &options);
    let version = line.now.version.0;
    let undo = line.make(&ChangeRequest::PoolRemove { name: name() }, &options);
    assert_eq!(undo, format!("weirctl config rollback {version} --if-version {}", version + 1));
}

#[test]
fn an_undo_that_others_came_before_is_a_conflict() {
    let mut line = Line::start();
    let undo = line.make(&set_backend(pairs(&["weight=7"])), &ChangeOptions::default());
    line.make(&set_backend(pairs(&["weight=9"])), &ChangeOptions::default());
    let (change, options) = typed(&undo);
    let sources = Sources { ids: &mut line.ids, past: &no_past, base: &None };
    let refusal = decide(&line.now, &change, &options, sources).unwrap_err();
    assert_eq!(refusal.code, Code::Conflict);
}
