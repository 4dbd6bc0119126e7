//! The state directory: what weir says when it is not what it was, and how long versions are kept.

use std::fs;
use std::path::PathBuf;

use weir_tests::clock::{self, PATIENCE};
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};

fn state(set: &Set) -> PathBuf {
    set.weir.dir.path.join("state")
}

/// The texts of all events.
fn events(set: &Set) -> String {
    set.weir.json(&["events"])["events"].to_string()
}

#[test]
fn a_change_is_refused_while_the_state_is_not_where_it_was() {
    let mut set = Plan::new(1, Script::Banner).start();
    let (here, away) = (state(&set), set.weir.dir.path.join("away"));
    set.weir.ok(&["backend", "weight", "web/b1", "2"]);
    fs::rename(&here, &away).expect("it can be moved");
    let refused = set.weir.ctl(&["backend", "weight", "web/b1", "3"]).expect_code(1);
    assert!(refused.stderr.contains("was removed or moved"), "{refused}");
    assert!(refused.stderr.contains("config export"), "{refused}");
    set.session().0.echo(b"it serves").fin().expect_fin();
    clock::wait_for("the event", || events(&set).contains("was removed or moved"));
    // Somebody makes a new one: that is not it either.
    fs::create_dir(&here).expect("it can be made");
    fs::copy(away.join("weir.redb"), here.join("weir.redb")).expect("it can be copied");
    let refused = set.weir.ctl(&["backend", "weight", "web/b1", "3"]).expect_code(1);
    assert!(refused.stderr.contains("another file is in its place"), "{refused}");
    fs::remove_dir_all(&here).expect("it can be removed");
    fs::rename(&away, &here).expect("it can be moved back");
    set.weir.ok(&["backend", "weight", "web/b1", "4"]);
    set.weir.kill();
    set.weir.run();
    assert_eq!(set.weir.backend("web/b1")["weight"], 4);
    assert_eq!(set.weir.version(), 3, "what was refused made no version");
}

#[test]
fn an_older_copy_of_the_state_is_refused_until_it_is_accepted() {
    let mut set = Plan::new(1, Script::Banner).start();
    let file = state(&set).join("weir.redb");
    set.weir.ok(&["backend", "weight", "web/b1", "2"]);
    set.weir.kill();
    let copy = fs::read(&file).expect("it can be read");
    set.weir.run();
    set.weir.ok(&["backend", "weight", "web/b1", "3"]);
    set.weir.kill();
    fs::write(&file, &copy).expect("it can be written");
    set.weir.spawn();
    assert_eq!(set.weir.wait_exit(PATIENCE), 1);
    clock::wait_for("the way out", || set.weir.log().contains("--accept-version 2"));
    assert!(set.weir.log().contains("version 3 was acknowledged"), "{}", set.weir.log());
    assert!(fs::read(&file).expect("it can be read") == copy, "it is left as it was");
    set.weir.arguments(&["--accept-version", "2"]);
    set.weir.run();
    assert_eq!(set.weir.version(), 2);
    assert!(events(&set).contains("was accepted"), "{}", events(&set));
    set.weir.ok(&["backend", "weight", "web/b1", "7"]);
    set.weir.kill();
    set.weir.arguments(&[]);
    set.weir.run();
    assert_eq!(set.weir.backend("web/b1")["weight"], 7);
}

#[test]
fn a_state_that_cannot_be_written_is_served_and_changes_are_refused_in_words() {
    let mut set = Plan::new(1, Script::Banner).start();
    set.weir.ok(&["backend", "weight", "web/b1", "2"]);
    set.weir.kill();
    // Not even root can write what is no file.
    let mark = state(&set).join("weir.newest");
    fs::remove_file(&mark).expect("it can be removed");
    fs::create_dir(&mark).expect("it can be made");
    set.weir.run();
    assert!(set.weir.log().contains("the state cannot be written"), "{}", set.weir.log());
    set.session().0.echo(b"it serves").fin().expect_fin();
    assert_eq!(set.weir.backend("web/b1")["weight"], 2);
    let refused = set.weir.ctl(&["backend", "drain", "web/b1", "--yes"]).expect_code(1);
    assert!(refused.stderr.contains("the state cannot be written"), "{refused}");
    assert!(refused.stderr.contains("hint"), "{refused}");
    assert_eq!(set.weir.backend("web/b1")["state"], "up");
    assert!(events(&set).contains("the state cannot be written"), "{}", events(&set));
    // It is tried again by itself.
    fs::remove_dir(&mark).expect("it is empty");
    let again = || events(&set).contains("the state can be written again");
    clock::wait_for("the state to be written again", again);
    set.weir.ok(&["backend", "weight", "web/b1", "9"]);
    set.weir.kill();
    set.weir.run();
    assert_eq!(set.weir.backend("web/b1")["weight"], 9);
}

#[test]
fn a_state_that_begins_is_said_and_one_that_was_lost_is_missed() {
    let mut set = Plan::new(1, Script::Banner).start();
    let said = events(&set);
    assert!(said.contains("has no state: version 1 is seeded from"), "{said}");
    set.weir.ok(&["backend", "weight", "web/b1", "2"]);
    set.weir.kill();
    fs::remove_file(state(&set).join("weir.redb")).expect("it can be removed");
    set.weir.run();
    let said = events(&set);
    assert!(said.contains("but one at version 2 was there and is gone"), "{said}");
    assert!(set.weir.log().contains("but one at version 2 was there"), "{}", set.weir.log());
}

#[test]
fn versions_beyond_the_retention_are_refused_in_words_and_the_others_come_back() {
    let mut set = Plan::new(1, Script::Banner).settings("history = { keep = 4 }").start();
    for weight in 2..=9 {
        set.weir.ok(&["backend", "weight", "web/b1", &weight.to_string()]);
    }
    // The one too many stays beside a new one until that is sure to stay.
    clock::wait_for("the oldest to be given up", || kept(&set) == [9, 8, 7, 6]);
    let refused = set.weir.ctl(&["config", "rollback", "5"]).expect_code(4);
    assert!(refused.stderr.contains("not kept any more"), "{refused}");
    assert!(refused.stderr.contains("6 is the oldest"), "{refused}");
    set.weir.ctl(&["config", "export", "5"]).expect_code(4);
    let unknown = set.weir.ctl(&["config", "rollback", "10"]).expect_code(4);
    assert!(unknown.stderr.contains("there is no version 10"), "{unknown}");
    set.weir.ok(&["config", "rollback", "6"]);
    assert_eq!(set.weir.backend("web/b1")["weight"], 6);
    set.weir.kill();
    set.weir.run();
    clock::wait_for("the oldest to be given up", || kept(&set) == [10, 9, 8, 7]);
    set.weir.ok(&["config", "rollback", "7"]);
    assert_eq!(set.weir.backend("web/b1")["weight"], 7);
}

#[test]
fn a_version_stays_for_as_long_as_a_session_lives_under_it() {
    let set = Plan::new(1, Script::Banner).settings("history = { keep = 2 }").start();
    set.weir.ok(&["backend", "weight", "web/b1", "2"]);
    let (client, _) = set.session();
    clock::wait_for("its version", || {
        let rows = set.weir.json(&["config", "versions"])["versions"].clone();
        rows.as_array()
            .expect("a list")
            .iter()
            .any(|row| row["version"] == 2 && row["sessions"] == 1)
    });
    for weight in 3..=7 {
        set.weir.ok(&["backend", "weight", "web/b1", &weight.to_string()]);
    }
    clock::wait_for("the others to be given up", || kept(&set) == [7, 6, 2]);
    let rows = set.weir.json(&["config", "versions"])["versions"].clone();
    assert!(rows[1]["summary"].as_str().expect("a text").contains("weight"), "{rows}");
    let export = set.weir.ok(&["config", "export", "2"]);
    assert!(export.contains("weight = 2"), "{export}");
    drop(client);
    clock::wait_for("it to be given up, too", || kept(&set) == [7, 6]);
}

/// The versions in the history, the newest first.
fn kept(set: &Set) -> Vec<u64> {
    let history = set.weir.json(&["config", "history"]);
    let rows = history["versions"].as_array().expect("a list").clone();
    rows.iter().map(|row| row["version"].as_u64().expect("a number")).collect()
}

#[test]
fn a_file_with_errors_does_not_keep_a_state_from_being_served() {
    let mut set = Plan::new(1, Script::Banner).start();
    set.weir.ok(&["backend", "weight", "web/b1", "2"]);
    set.weir.kill();
    set.weir.write(&set.objects.replace("strategy =", "strategie ="));
    set.weir.run();
    assert!(set.weir.log().contains("unknown key `strategie`"), "{}", set.weir.log());
    assert!(events(&set).contains("has errors: the state"), "{}", events(&set));
    assert_eq!(set.weir.backend("web/b1")["weight"], 2);
    set.session().0.echo(b"it serves").fin().expect_fin();
    set.weir.ok(&["backend", "weight", "web/b1", "3"]);
    // Without a state there is nothing to serve.
    set.weir.kill();
    fs::remove_dir_all(state(&set)).expect("it can be removed");
    set.weir.spawn();
    assert_eq!(set.weir.wait_exit(PATIENCE), 1);
    assert!(set.weir.log().contains("unknown key `strategie`"), "{}", set.weir.log());
}

/// By either way in: the newest first, and each page names the next one.
#[test]
fn history_has_pages() {
    let set = Plan::new(1, Script::Banner).start();
    for weight in 2..=6_u64 {
        set.weir.ok(&["backend", "weight", "web/b1", &weight.to_string()]);
    }
    let shown = |page: &serde_json::Value| -> Vec<u64> {
        let rows = page["versions"].as_array().expect("a list");
        rows.iter().map(|row| row["version"].as_u64().expect("a number")).collect()
    };
    let mut seen = Vec::new();
    let mut next = None;
    loop {
        let (mut typed, mut path) = (vec!["config", "history", "--limit", "4"], String::new());
        let before: Option<String> = next;
        if let Some(before) = &before {
            typed.extend(["--before", before]);
            path = format!("&before={before}");
        }
        let page = set.weir.json(&typed);
        let http = set.weir.get(&format!("/api/v1/config/history?limit=4{path}"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&http.body).ok(), Some(page.clone()));
        seen.push(shown(&page));
        next = page["next_before"].as_u64().map(|version| version.to_string());
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen, [vec![6, 5, 4, 3], vec![2, 1]]);
    let refused = set.weir.ctl(&["config", "history", "--limit", "1001"]).expect_code(2);
    assert!(refused.stderr.contains("1001 is not in 1..=1000"), "{refused}");
    for (query, wanted) in [
        ("limit=1001", "limit 1001: at least 1 and at most 1000 versions"),
        ("limit=ten", "limit=\\\"ten\\\" is not a whole number"),
        ("before=0", "there is no version before 0"),
    ] {
        let page = set.weir.get(&format!("/api/v1/config/history?{query}"));
        assert!(page.status == 400 && page.body.contains(wanted), "{query}: {}", page.body);
    }
}

/// Who can write the state can change everything. The refusal has the command that mends it.
#[test]
fn a_state_that_every_user_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &PathBuf, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let mut set = Plan::new(1, Script::Banner).start();
    set.weir.ok(&["backend", "weight", "web/b1", "2"]);
    let directory = state(&set);
    for path in [directory.clone(), directory.join("weir.redb"), directory.join("weir.newest")] {
        let usual = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(usual & 0o077, 0, "{}", path.display());
        set.weir.kill();
        mode(&path, 0o777);
        set.weir.spawn();
        assert_eq!(set.weir.wait_exit(PATIENCE), 1, "{}", path.display());
        let log = set.weir.log();
        assert!(log.contains("is writable by every user (mode 0777)"), "{log}");
        let hint = log.lines().find_map(|line| line.split("then: ").nth(1)).expect("a command");
        let mut words = hint.split(' ');
        let mut command = std::process::Command::new(words.next().expect("a word"));
        assert!(command.args(words).status().expect("it can be run").success(), "{hint}");
        set.weir.run();
        assert_eq!(set.weir.backend("web/b1")["weight"], 2);
    }
    // A group may be meant: it is served, and warned of.
    set.weir.kill();
    mode(&directory, 0o770);
    set.weir.run();
    let log = set.weir.log();
    assert!(log.contains("is writable by its group (mode 0770)"), "{log}");
    set.session().0.echo(b"it serves").fin().expect_fin();
}
