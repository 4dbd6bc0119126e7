//! Files as operators write them, and as they get them wrong.

use super::*;
use weir_proto::spec::{Admin, HealthKind, Strategy};

const MANUAL: &str = r#"
[weir]                                  # process settings
shards  = "auto"
control = "/run/weir/control.sock"
admin   = "127.0.0.1:9650"
state   = "/var/lib/weir"

[listener.web]
bind = "0.0.0.0:443"
pool = "web"
max-sessions = 100000

[pool.web]
strategy = "least-conn"
health   = { kind = "tcp", interval = "2s", timeout = "500ms", rise = 2, fall = 3 }
timeout  = { connect = "3s", idle = "1h", half-close = "60s" }
retry    = { attempts = 2 }

[pool.web.backend]
b1 = { address = "10.0.0.11:443" }
b2 = { address = "10.0.0.12:443", weight = 2 }
"#;

/// Every key of every table, none at its default.
const FULL: &str = r#"[listener."a.b"]
bind = ["0.0.0.0:443", "[::]:443"]
pool = "web.x"
max-sessions = 7
state = "drain"

[pool.plain]
strategy = "least-conn"

[pool."web.x"]
strategy = "maglev"
health = { kind = "send-expect", interval = "1500ms", timeout = "1m", rise = 4, fall = 5, send = "\\x00\"PING\"\\r\\n\u0007", expect = "+ÄPONG", panic = "0%", slow-start = "1m" }
timeout = { connect = "1s", idle = "2h", half-close = "3s", stalled = "90s", lifetime = "30h" }
retry = { attempts = 1, within = "9s" }
keepalive = { idle = "30s", interval = "5s", count = 4 }

[pool."web.x".backend]
b1 = { address = "10.0.0.11:443", weight = 0, state = "maint" }
"b2.x" = { address = "[2001:db8::1]:443" }
"#;

fn errors(text: &str) -> Vec<String> {
    let shown = |d: &Diagnostic| format!("{}:{} {} ({})", d.line, d.column, d.message, d.hint);
    parse(text, "weir.toml").map_or_else(|wrong| wrong.iter().map(shown).collect(), |_| Vec::new())
}

#[test]
fn of_many_errors_the_first_are_shown_and_the_rest_counted() {
    let lines: Vec<String> =
        (0..60_000).map(|line| format!("[pool.p{line}]\nno-such = 1")).collect();
    let wrong = parse(&lines.join("\n"), "weir.toml").unwrap_err();
    // The first is that of the whole: there are too many pools.
    let lines: Vec<usize> = wrong.iter().map(|it| it.line).collect();
    assert_eq!(lines[1..], (1..=20).map(|number| 2 * number).collect::<Vec<_>>());
    assert_eq!(wrong[20].message, "59981 more errors from here on");
    let shown = wrong[19].render(false);
    assert!(shown.contains("--> weir.toml:38:1") && shown.contains("38 | no-such = 1"), "{shown}");
    assert_eq!(errors("[pool.a]\nno-such = 1").len(), 1, "no count of nothing");
}

#[test]
fn the_manuals_file_is_read() {
    let file = parse(MANUAL, "weir.toml").unwrap();
    let expected =
        Settings { admin: Some("127.0.0.1:9650".parse().unwrap()), ..Settings::default() };
    assert_eq!(file.settings, expected);
    let listener = &file.spec.listener["web"];
    assert_eq!((listener.bind.len(), listener.max_sessions), (1, Some(100_000)));
    let pool = &file.spec.pool["web"];
    assert_eq!((pool.strategy, pool.health.kind), (Strategy::LeastConn, HealthKind::Tcp));
    assert_eq!((pool.backend["b1"].weight, pool.backend["b2"].weight), (1, 2));
    assert_eq!(pool.backend["b1"].state, Admin::Ready);
}

#[test]
fn a_boolean_stands_without_quotes() {
    let with = |value: &str| {
        let listener = format!("{{ bind = '127.0.0.1:80', pool = 'web', freebind = {value} }}");
        parse(&format!("listener.web = {listener}\npool.web = {{}}"), "x")
    };
    assert!(with("true").unwrap().spec.listener["web"].freebind);
    assert!(!with("false").unwrap().spec.listener["web"].freebind);
    assert_eq!(with("'true'").unwrap_err()[0].hint, "true or false, without quotes");
}

#[test]
fn host_names_of_the_admin_address_have_no_port() {
    let hosts = |list: &str| parse(&format!("weir = {{ admin-hosts = {list} }}"), "x");
    let read = hosts("['Weir.example.net', 'a-b']").unwrap().settings.admin_hosts;
    assert_eq!(read, ["weir.example.net", "a-b"]);
    for wrong in ["['a:9650']", "['']", "['a b']", "'a'", "[1]"] {
        let hint = &hosts(wrong).unwrap_err()[0].hint;
        assert!(hint.starts_with("host names without a port"), "{wrong}: {hint}");
    }
}

#[test]
fn a_hash_key_has_128_bits_and_is_not_shown() {
    let read = |key: &str| parse(&format!("weir = {{ hash-key = {key} }}"), "x");
    let key = read("'000102030405060708090a0B0c0d0e0f'").unwrap().settings.hash_key;
    assert_eq!(key.seed(), (0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f));
    assert_eq!(format!("{key:?}"), "HashKey(hidden)");
    for wrong in [
        "''",
        "'0001'",
        "'+00102030405060708090a0b0c0d0e0f'",
        "7",
        "'é0102030405060708090a0b0c0d0e'",
    ] {
        let wrong = read(wrong).unwrap_err();
        assert_eq!(wrong[0].message, "this is not a key of 128 bits");
        assert!(wrong[0].hint.contains("openssl rand -hex 16"));
    }
}

#[test]
fn settings_are_read() {
    let text = "weir = { shards = 3, control = 'c', state = 's', admin-token-file = 't' }";
    let settings = parse(text, "x").unwrap().settings;
    assert_eq!(settings.shards, Shards::Count(3));
    assert_eq!((settings.control.to_str(), settings.state.to_str()), (Some("c"), Some("s")));
    assert_eq!(settings.admin_token_file, Some(PathBuf::from("t")));
    assert_eq!(parse("", "x").unwrap().settings, Settings::default());
}

#[test]
fn roles_are_read_and_every_bad_entry_is_shown() {
    let text = "[weir]\ncontrol-roles = { admin = ['group:ops', 'uid:7'], viewer = ['anyone'] }";
    let expected = [
        (Role::Admin, Who::Group("ops".into())),
        (Role::Admin, Who::Uid(7)),
        (Role::Viewer, Who::Anyone),
    ];
    assert_eq!(parse(text, "x").unwrap().settings.control_roles.unwrap(), expected);
    let empty = parse("[weir]\ncontrol-roles = {}", "x").unwrap().settings.control_roles;
    assert_eq!(empty, Some(Vec::new()), "an empty table is a setting, too");
    let wrong = errors("[weir.control-roles]\nadmin = ['root', 7]\nviewer = 'anyone'\nadmins = []");
    assert_eq!(wrong.len(), 4, "{wrong:#?}");
    assert!(
        wrong[0].starts_with("2:10 \"root\" does not say what it is (\"user:NAME\""),
        "{wrong:?}"
    );
    assert!(wrong[1].starts_with("2:18 this is not a text"), "{wrong:?}");
    assert!(wrong[2].starts_with("3:10 viewer must be a list"), "{wrong:?}");
    assert_eq!(wrong[3], "4:1 unknown key `admins` (did you mean `admin`?)");
}

#[test]
fn an_export_reads_back_as_the_same_spec_and_the_same_text() {
    let spec = parse(FULL, "x").unwrap().spec;
    assert_eq!(export(&spec), FULL);
    let spec = parse(MANUAL, "x").unwrap().spec;
    assert_eq!(parse(&export(&spec), "x").unwrap().spec, spec);
    assert_eq!(export(&Spec::default()), "");
}

#[test]
fn the_reader_and_the_specs_own_serde_agree() {
    let by_serde: Spec = toml::from_str(FULL).unwrap();
    assert_eq!(parse(FULL, "x").unwrap().spec, by_serde);
}

#[test]
fn an_error_looks_like_rustcs() {
    let text = "[pool.web]\nstratgy = \"maglev\"\n";
    let wrong = parse(text, "weir.toml").unwrap_err();
    let expected = "\
error: unknown key `stratgy`
 --> weir.toml:2:1
  |
2 | stratgy = \"maglev\"
  | ^^^^^^^
  |
  = hint: did you mean `strategy`?";
    assert_eq!(wrong[0].render(false), expected);
    assert!(wrong[0].render(true).contains("\x1b["));
}

#[test]
fn every_fault_is_shown_at_its_place() {
    let text = r#"
[weir]
shards = 0
[listener.web]
bind = "0.0.0.0"
pool = "web"
max_sessions = 5
[listener.two]
bind = ["127.0.0.1:1", "localhost:2"]
pool = "wbe"
[listener.three]
bind = "127.0.0.1:3"
pool = "wbe"
[pool.web]
strategy = "least_conn"
health = { kind = "http", rise = 0, expect = 200 }
timeout = { idle = 5 }
backend = { b1 = { address = "10.0.0.1:80", weight = 300 }, b2 = {} }
"#;
    assert_eq!(
        errors(text),
        [
            "3:10 this is not a number of shards (\"auto\" for one per core, or a number from 1 to 1024)",
            "5:8 invalid socket address syntax (an IP address with a port, like \"10.0.0.11:443\" or \"[::1]:443\")",
            "7:1 unknown key `max_sessions` (did you mean `max-sessions`?)",
            "9:24 invalid socket address syntax (an IP address with a port, like \"10.0.0.11:443\" or \"[::1]:443\")",
            "13:8 listener.three.pool: there is no pool \"wbe\" (the pools are: web)",
            "15:12 this is not a strategy (did you mean \"least-conn\"? use one of round-robin, \
             least-conn, two-choices, random, maglev)",
            "16:34 pool.web.health.rise: 0 is out of range (1 to 100)",
            "16:46 invalid type: integer `200` (a text in quotes, like \"200\" or \"+PONG\")",
            "17:20 invalid type: integer `5` (a duration in quotes, like \"500ms\" or \"2s\")",
            "18:54 pool.web.backend.b1.weight: 300 is out of range (0 to 256)",
            "18:61 b2 has no address (address = \"10.0.0.11:443\")",
        ]
    );
}

#[test]
fn a_fault_of_what_is_not_written_points_at_the_table_around_it() {
    let text = "[pool.\"a.b\"]\nhealth = { kind = \"send-expect\" }\n";
    let what = "send-expect needs expect, or steps (expect = \"+PONG\")";
    assert_eq!(errors(text), [format!("2:1 pool.a.b.health.expect: {what}")]);
    let text = "[pool.\"a.b\".health]\nkind = \"send-expect\"\n";
    assert!(errors(text)[0].starts_with("1:13 pool.a.b.health.expect"), "{:?}", errors(text));
}

#[test]
fn broken_toml_is_shown_where_it_breaks() {
    let wrong = errors("[pool.web\nstrategy = \"random\"\n[pool.web]\n[pool.web]\nx = \n");
    assert!(wrong.len() >= 2, "{wrong:?}");
    assert!(wrong[0].starts_with("1:10 "), "{wrong:?}");
    assert!(wrong.iter().any(|fault| fault.contains("duplicate")), "{wrong:?}");
}

#[test]
fn names_types_and_tables_are_checked() {
    assert!(errors("[pool.\"a b\"]\n")[0].contains("is not a name"));
    assert_eq!(errors("pool = 5\n"), ["1:8 pool must be a table, not integer (pool = { … })"]);
    let long = format!("weir.control = '/{}'\n", "x".repeat(107));
    assert_eq!(errors(&long), ["1:16 a socket's path has at most 107 bytes (put it in /run)"]);
}

#[test]
fn faults_found_by_others_get_their_places() {
    let file = parse(MANUAL, "weir.toml").unwrap();
    let fault = Fault::new("pool.web.backend.b2.address", "no", "yes");
    let wrong = file.diagnose(&[fault]);
    assert_eq!((wrong.len(), wrong[0].line, wrong[0].column), (1, 21, 18));
    assert_eq!(wrong[0].message, "pool.web.backend.b2.address: no");
    assert_eq!(wrong[0].hint, "yes");
}

#[test]
fn no_text_makes_it_panic() {
    let mut prng = weir_core::base::prng::Prng::new(1);
    let alphabet = b"\"'\\[]{}=.,#\n\r\x00 az09-_\xc3\xa4";
    for round in 0..1000 {
        let mut bytes = if round % 2 == 0 { MANUAL } else { FULL }.as_bytes().to_vec();
        for _ in 0..=prng.below(6) {
            let at = prng.below(u32::try_from(bytes.len()).unwrap()) as usize;
            let byte = alphabet[prng.below(u32::try_from(alphabet.len()).unwrap()) as usize];
            match prng.below(3) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.drain(at..(at + 9).min(bytes.len()))),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        match parse(&text, "x") {
            Ok(file) => assert_eq!(parse(&export(&file.spec), "x").unwrap().spec, file.spec),
            Err(wrong) => assert!(wrong.iter().all(|d| d.line > 0 && !d.render(false).is_empty())),
        }
    }
}

#[test]
fn a_number_that_does_not_fit_its_field_is_refused_and_not_ignored() {
    let text = "[pool.web.backend]\nb1 = { address = \"127.0.0.1:1\", weight = 70000 }\n";
    assert_eq!(errors(text), ["2:42 70000 is out of range (0 to 256)"]);
}

#[test]
fn a_backend_has_one_address_and_not_a_list() {
    for list in ["[]", "[\"127.0.0.1:1\"]", "[\"127.0.0.1:1\", \"127.0.0.1:2\"]"] {
        let wrong = errors(&format!("[pool.web.backend]\nb1 = {{ address = {list} }}\n"));
        assert_eq!(wrong.len(), 1, "{list}: {wrong:?}");
        assert!(wrong[0].starts_with("2:18 invalid type"), "{wrong:?}");
    }
}

#[test]
fn a_listener_without_a_pool_has_its_other_faults_shown_too() {
    let wrong = errors("[listener.web]\nbind = \"nowhere\"\npol = \"web\"\n");
    let begins: Vec<&str> = wrong.iter().filter_map(|it| it.split(' ').next()).collect();
    assert_eq!(begins, ["1:11", "2:8", "3:1"], "{wrong:#?}");
    let wrong = errors("[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"a b\"\n");
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
}

#[test]
fn a_file_steers_no_terminal_by_its_errors() {
    let text = "[pool.web]\n\"a\u{9b}2J\u{202e}\" = 1 # \u{9b}31m\n[listener.\"\\u001b[2J\"]\n";
    let wrong = parse(text, "x\n2026 INFO audit: done\u{1b}").unwrap_err();
    assert!(wrong.len() >= 2, "{wrong:#?}");
    for diagnostic in wrong {
        let shown = diagnostic.render(false);
        let steers = |letter| weir_proto::outside::steers(letter) && letter != '\n';
        assert!(!shown.contains(steers), "{shown:?}");
        assert_eq!(diagnostic.file, "x·2026 INFO audit: done·");
        assert!(!diagnostic.message.contains(steers) && !diagnostic.hint.contains(steers));
    }
    let long = parse(&format!("{} = 1\n", "x".repeat(1 << 20)), "x").unwrap_err();
    assert!(long.iter().all(|it| it.message.len() < 1100 && it.render(false).len() < 10_000));
}

#[test]
fn settings_that_need_a_restart_are_named() {
    let settings = |text: &str| parse(&format!("[weir]\n{text}"), "x").unwrap().settings;
    let before = settings("shards = 2\nadmin = \"127.0.0.1:9650\"\n");
    assert_eq!(before.differences(&before), [""; 0]);
    let after = settings("shards = 3\nstate = \"/srv/weir\"\n");
    assert_eq!(before.differences(&after), ["shards", "admin", "state"]);
}

#[test]
fn settings_are_read_from_a_file_that_is_wrong_elsewhere() {
    let weir =
        "[weir]\nstate = \"/s\"\nshards = 3\n\n[weir.control-roles]\nviewer = [\"anyone\"]\n\n";
    let with = |rest: &str| settings_alone(&format!("{weir}{rest}"));
    let good = with("").unwrap();
    assert_eq!((good.state.to_str(), good.shards), (Some("/s"), Shards::Count(3)));
    for rest in [
        "[listener.web]\nbind = nonsense\n",
        "[listener.web]\nbind = \"127.0.0.1\"\n",
        "[listener.web\n",
        "[pool.web]\nstrategie = \"random\"\n",
        "[other]\n",
    ] {
        assert_eq!(with(rest).as_ref(), Some(&good), "{rest}");
    }
    for text in [
        "[weir]\nstate = nonsense\n\n[listener.web]\n",
        "[weir]\nstat = \"/s\"\n",
        "[weir]\nshards = 0\n",
        "[weir\nstate = \"/s\"\n",
        "state = \n[weir]\nshards = 3\n",
        "[weir]\nshards = 3\n[weir.control-roles]\nviewer = [\n\n[pool.web]\n",
    ] {
        assert_eq!(settings_alone(text), None, "{text}");
    }
    assert_eq!(settings_alone("[pool.web]\nstrategy = 7\n"), Some(Settings::default()));
}

#[test]
fn a_session_log_says_where_to_and_what() {
    use weir_proto::session_log::SessionLogging;
    use weir_proto::spec::Percent;

    use crate::session_log::{LogFormat, LogTarget};

    let read = |text: &str| {
        let text = format!("[weir]\nsession-log = {text}\n");
        parse(&text, "x").unwrap().settings.session_log.unwrap()
    };
    let plain = read("{ to = \"journald\" }");
    assert_eq!((plain.to, plain.format), (LogTarget::Journald, LogFormat::Json));
    let all = SessionLogging { open: true, close: true, every_ms: None, sample: Percent::new(100) };
    assert_eq!(plain.logging, all);
    let other = read(
        "{ to = \"/a/b\", at = [\"close\"], every = \"5m\", sample = \"1%\", format = \"ecs\" }",
    );
    assert_eq!((other.to, other.format), (LogTarget::File("/a/b".into()), LogFormat::Ecs));
    let some = SessionLogging { open: false, every_ms: Some(300_000), ..all };
    assert_eq!(other.logging, SessionLogging { sample: Percent::new(1), ..some });
    let errors = |text: &str| errors(&format!("[weir]\nsession-log = {text}\n"));
    for (text, said) in [
        ("{}", "2:1 session-log has no to ("),
        ("{ to = \"journal\" }", "2:22 this is not a place for a log (did you mean \"journald\"?"),
        ("{ to = \"log.txt\" }", "2:22 this is not a place for a log (use one of stderr, journald"),
        ("{ to = \"stderr\", at = [] }", "2:37 this logs nothing"),
        ("{ to = \"stderr\", at = [\"end\"] }", "2:38 this is not a moment of a session"),
        ("{ to = \"stderr\", every = \"1ms\" }", "2:40 this is out of range for every (1s to 24h)"),
        ("{ to = \"stderr\", sample = \"0%\" }", "2:41 this logs no session"),
        (
            "{ to = \"stderr\", format = \"jsno\" }",
            "2:41 this is not a format (did you mean \"json\"?",
        ),
        ("{ to = \"stderr\", evry = \"5m\" }", "2:32 unknown key `evry` (did you mean `every`?)"),
    ] {
        let errors = errors(text);
        assert!(errors.iter().any(|error| error.starts_with(said)), "{text}: {errors:?}");
    }
}

#[test]
fn a_fault_of_a_route_is_told_where_the_route_stands() {
    let text = "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"web\"\n[pool.web]\n\
                [[listener.web.route]]\nsni = \"a\"\npool = \"web\"\n\
                [[listener.web.route]]\nsni = \"b c\"\npool = \"wob\"\n";
    let wrong = parse(text, "w.toml").unwrap_err();
    let told: Vec<String> = wrong.iter().map(|it| format!("{} {}", it.line, it.message)).collect();
    let name = "listener.web.route.2.sni: \"b c\": a server name is letters";
    assert!(told[0].starts_with(&format!("9 {name}")), "{told:?}");
    assert_eq!(told[1], "10 listener.web.route.2.pool: there is no pool \"wob\"");
    assert_eq!(wrong[1].hint, "the pools are: web");
}
