//! The control socket under attack: malformed frames, silence, wrong users, symbolic links (T14 of
//! the reliability table).

mod audit;
mod frames;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use weir_proto::frame::{self, HEADER};
use weir_proto::request::{Hello, PROTOCOL};
use weir_tests::clock::{self, PATIENCE};
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::{Ran, Weir, binary};

use frames::Malformed;

/// What an attack may leave behind in memory.
const GROWTH_MAX: u64 = 1 << 20;
/// How long an honest admin may wait.
const ANSWER_MAX: Duration = Duration::from_secs(5);

fn connect(weir: &Weir) -> UnixStream {
    let stream = UnixStream::connect(&weir.socket).expect("weir listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    stream
}

/// A client that has said hello and was welcomed.
fn greeted(weir: &Weir) -> UnixStream {
    let mut stream = connect(weir);
    let hello = Hello { protocol: PROTOCOL, program: "story".into() };
    stream.write_all(&frame::encode(&hello).expect("it is short")).expect("weir reads");
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).expect("weir says welcome");
    let mut body = vec![0; frame::body_length(header).expect("a frame")];
    stream.read_exact(&mut body).expect("the welcome is whole");
    stream
}

/// weir closes without another word.
fn expect_cut_off(mut stream: UnixStream, what: &dyn std::fmt::Debug) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{what:?} was not cut off: {error}"),
    }
    assert_eq!(rest, b"", "{what:?} was answered");
}

fn attack(weir: &Weir, malformed: &Malformed) {
    let mut stream = if malformed.first { connect(weir) } else { greeted(weir) };
    // It may be cut off before all is written.
    let _ = stream.write_all(&malformed.bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    expect_cut_off(stream, malformed);
}

/// What must be as it was.
fn configuration(weir: &Weir) -> (u64, String) {
    (weir.version(), weir.ok(&["config", "export"]))
}

/// An honest admin asks, and is answered in time, at the first attempt.
fn expect_answer(weir: &Weir) {
    let before = clock::now();
    weir.ok(&["status"]);
    let took = clock::now() - before;
    assert!(took <= ANSWER_MAX, "the answer took {took:?}");
}

#[test]
fn ten_thousand_malformed_frames_and_256_silent_clients_change_nothing() {
    const WARM_UP: u64 = 1_000;
    const FRAMES: u64 = 10_000;
    let mut set = Plan::new(2, Script::Banner).start();
    let before = configuration(&set.weir);
    for seed in 0..WARM_UP {
        attack(&set.weir, &Malformed::new(seed));
    }
    hold_256_silent(&set);
    let resident = set.weir.resident_bytes();
    for seed in WARM_UP..WARM_UP + FRAMES {
        attack(&set.weir, &Malformed::new(seed));
        if seed % 1_000 == 0 {
            expect_answer(&set.weir);
        }
    }
    hold_256_silent(&set);
    let growth = set.weir.resident_bytes().saturating_sub(resident);
    eprintln!("{growth} bytes more than {resident} after {FRAMES} frames");
    assert!(growth <= GROWTH_MAX, "{growth} bytes more than before");
    assert_eq!(set.weir.exited(), None, "weir is up");
    assert_eq!(configuration(&set.weir), before);
    set.session().0.echo(b"it serves");
}

/// 256 clients that say hello and no more, half a header, or nothing. They are cut off in the end.
fn hold_256_silent(set: &Set) {
    let mut silent: Vec<UnixStream> = (0..32).map(|_| greeted(&set.weir)).collect();
    for index in 0..224 {
        let mut stream = connect(&set.weir);
        if index % 2 == 0 {
            let _ = stream.write_all(&[9, 0]);
        }
        silent.push(stream);
    }
    assert_eq!(silent.len(), 256);
    expect_answer(&set.weir);
    // Those that were welcomed may ask nothing for as long as nobody needs their places.
    for stream in silent.split_off(32) {
        expect_cut_off(stream, &"a silent client");
    }
    expect_answer(&set.weir);
}

/// `weirctl` for users and groups that need not exist.
struct As {
    uid: u32,
    /// The primary group. 0 may open the socket of a weir that runs as root.
    gid: u32,
    groups: Option<u32>,
}

impl As {
    fn ctl(&self, set: &Set, arguments: &[&str]) -> Ran {
        let As { uid, gid, groups } = self;
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
        command.arg(groups.map_or("--clear-groups".to_owned(), |gid| format!("--groups={gid}")));
        // A copy: the build's directory may be closed to others.
        command.arg(set.weir.dir.entry("weirctl")).args(["-o", "json", "-s", &set.weir.socket]);
        command.args(arguments).env_remove("WEIR_SOCKET");
        Ran::of(&mut command)
    }

    fn expect_refusal(&self, set: &Set, arguments: &[&str]) {
        let ran = self.ctl(set, arguments).expect_code(8);
        let error = ran.error_json();
        assert_eq!(error["error"]["code"], "not_permitted", "{ran}");
        assert!(error["error"]["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{ran}");
    }
}

/// False, with a line that says so, where other users cannot be had.
fn can_change_users() -> bool {
    let mut other = Command::new("setpriv");
    other.args(["--reuid=1001", "--regid=0", "--clear-groups", "true"]);
    let can = other.output().is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("SKIPPED: other users are for root only (setpriv of util-linux)");
    }
    can
}

/// A weir with this setting, and a weirctl that everybody may run.
fn with_roles(roles: &str) -> Set {
    let mut set = Plan::new(2, Script::Banner).prepare();
    let file = set.weir.with_settings(&set.objects);
    set.weir.dir.write("weir.toml", &file.replace("[weir]\n", &format!("[weir]\n{roles}\n")));
    set.weir.run();
    let copy = set.weir.dir.entry("weirctl");
    std::fs::copy(binary("weirctl", "WEIRCTL_BIN"), &copy).expect("a file can be copied");
    for path in [Path::new(&copy), &set.weir.dir.path] {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("it is ours");
    }
    set
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

/// The events of the kind `audit`.
fn audited(set: &Set) -> Vec<String> {
    let events = set.weir.ok(&["-o", "json", "events"]);
    let rows =
        events.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let all: Vec<_> = rows
        .flat_map(|row| row["events"].as_array().cloned().unwrap_or_else(|| vec![row]))
        .collect();
    let audits = all.iter().filter(|row| row["kind"] == "audit");
    audits.map(|row| format!("{} {}", row["subject"], row["text"])).collect()
}

#[test]
fn every_wrong_user_is_refused_and_written_down() {
    if !can_change_users() {
        return;
    }
    let set = with_roles("control-roles = { operator = [\"uid:1001\"], viewer = [\"gid:1002\"] }");
    let before = configuration(&set.weir);
    let commands: [&[&str]; 5] = [
        &["status"],
        &["backend", "drain", "web/b1"],
        &["backend", "remove", "web/b1", "--force", "--yes"],
        &["config", "apply", &set.weir.file, "--yes"],
        &["stop", "--yes"],
    ];
    let mut refused = 0;
    for uid in (2_000..2_010).chain([65_534]) {
        for command in commands {
            As { uid, gid: 0, groups: None }.expect_refusal(&set, command);
            refused += 1;
        }
    }
    let operator = As { uid: 1001, gid: 0, groups: None };
    let viewer = As { uid: 1003, gid: 0, groups: Some(1002) };
    for command in &commands[3..] {
        operator.expect_refusal(&set, command);
        refused += 1;
    }
    for command in &commands[1..] {
        viewer.expect_refusal(&set, command);
        refused += 1;
    }
    // The kernel's gate comes first, and nothing reaches weir.
    As { uid: 1001, gid: 1001, groups: None }.expect_refusal(&set, &["status"]);
    let told = || count(&set.weir.log(), "audit: not permitted");
    clock::wait_for("a line for each refusal", || told() >= refused);
    assert_eq!(told(), refused);
    let audits = audited(&set);
    assert_eq!(audits.iter().filter(|text| text.contains("not permitted")).count(), refused);
    assert!(audits[0].starts_with("\"uid 2000 gid 0 pid "), "{audits:?}");
    assert_eq!(configuration(&set.weir), before);

    viewer.ctl(&set, &["status"]).expect_code(0);
    operator.ctl(&set, &["backend", "drain", "web/b1"]).expect_code(0);
    assert_eq!(set.weir.backend("web/b1")["state"], "draining");
    let done = audited(&set).pop().expect("an event");
    assert!(done.starts_with("\"uid 1001 gid 0 pid "), "{done}");
    assert!(done.ends_with("backend drain web/b1: done: version 1 → 2\""), "{done}");
    set.weir.ok(&["backend", "ready", "web/b1"]);
}

#[test]
fn without_a_setting_the_sockets_group_operates() {
    if !can_change_users() {
        return;
    }
    let set = with_roles("");
    let member = As { uid: 1001, gid: 0, groups: None };
    member.ctl(&set, &["backend", "weight", "web/b1", "7"]).expect_code(0);
    member.expect_refusal(&set, &["stop", "--yes"]);
    member.expect_refusal(&set, &["config", "rollback", "1", "--yes"]);
    assert_eq!(set.weir.version(), 2);
}

/// Starts what was prepared, which must refuse because of a link; gives what it said.
fn expect_no_start(weir: &mut Weir) -> String {
    weir.spawn();
    assert_eq!(weir.wait_exit(PATIENCE), 1);
    clock::wait_for("the reason", || weir.log().contains("symbolic link"));
    weir.log()
}

#[test]
fn links_in_the_place_of_socket_and_state_are_refused_and_left_alone() {
    let mut set = Plan::new(1, Script::Banner).prepare();
    let weir = &mut set.weir;
    let victim = weir.dir.write("victim", "precious");
    let mode = || std::fs::metadata(&victim).expect("it is there").mode();
    let before = mode();
    symlink(&victim, &weir.socket).expect("a link can be made");
    let told = expect_no_start(weir);
    assert!(told.contains(&weir.socket) && told.contains(&victim), "{told}");
    std::fs::remove_file(&weir.socket).expect("it is there");

    let (state, elsewhere) = (weir.dir.entry("state"), weir.dir.entry("elsewhere"));
    std::fs::rename(&state, weir.dir.entry("state.0")).expect("the start before has made it");
    std::fs::create_dir(&elsewhere).expect("a directory can be made");
    symlink(&elsewhere, &state).expect("a link can be made");
    let told = expect_no_start(weir);
    assert!(told.contains(&state) && told.contains(&elsewhere), "{told}");
    assert_eq!(std::fs::read_dir(&elsewhere).expect("it is there").count(), 0, "nothing was made");
    std::fs::remove_file(&state).expect("it is there");

    std::fs::create_dir(&state).expect("a directory can be made");
    let file = weir.dir.entry("state/weir.redb");
    symlink(&victim, &file).expect("a link can be made");
    assert!(expect_no_start(weir).contains(&file));
    std::fs::remove_file(&file).expect("it is there");

    assert_eq!(std::fs::read(&victim).expect("it is there"), b"precious");
    assert_eq!(mode(), before);
    set.weir.run();
    set.session().0.echo(b"it serves");
}

#[test]
fn an_admin_address_off_loopback_and_an_open_token_are_told() {
    let set = Plan::new(1, Script::Banner).prepare();
    let check = |settings: &str| {
        let rest = "[listener.l]\nbind = \"127.0.0.1:1\"\npool = \"p\"\n\
                    [pool.p.backend]\nb1 = { address = \"192.0.2.1:1\" }\n";
        let file = set.weir.dir.write("check.toml", &format!("[weir]\n{settings}\n{rest}"));
        Ran::of(Command::new(binary("weir", "WEIR_BIN")).args(["check", &file]))
    };
    let open = check("admin = \"0.0.0.0:9650\"").expect_code(0);
    assert!(open.stderr.starts_with("warning: the admin address 0.0.0.0:9650"), "{open}");
    assert_eq!(check("admin = \"127.0.0.1:9650\"").expect_code(0).stderr, "");
    let unknown = check("control-roles = { admin = [\"group:no-such-group\"] }").expect_code(0);
    assert!(unknown.stderr.starts_with("warning: group:no-such-group"), "{unknown}");
    let token = set.weir.dir.write("token", "secret");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let told = check(&format!("admin-token-file = {token:?}")).expect_code(1);
    assert!(told.stderr.contains("is open to every user (mode 0644)"), "{told}");
}

/// As many as the door holds, and more.
const SILENT: usize = 80;

#[test]
fn silent_connections_keep_no_probe_from_the_admin_address() {
    let set = Plan::new(1, Script::Banner).start();
    let head = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\n", set.weir.admin);
    for said in [head.as_bytes(), format!("{head}\r\n").as_bytes(), b""] {
        let silent: Vec<TcpStream> = (0..SILENT)
            .map(|_| {
                let mut stream = TcpStream::connect(set.weir.admin).expect("it listens");
                // One that was given up for a newer one may be closed already.
                let _ = stream.write_all(said);
                stream
            })
            .collect();
        for _ in 0..40 {
            assert_eq!(set.weir.get("/readyz").status, 200);
        }
        drop(silent);
    }
}
