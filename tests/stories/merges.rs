//! Changes at run time survive a file that does not speak of them, by apply and by SIGHUP, across
//! a restart and a kill. A key that both have changed is decided by the operator, and what a file
//! takes away must be meant.

use rustix::process::Signal;
use serde_json::{Value, json};
use weir_tests::clock;
use weir_tests::net::{Backend, Script, own_ip};
use weir_tests::story::{Plan, Set};

use crate::http::{ask, expect_problem, with_token};

/// The ways of a file into weir.
#[derive(Clone, Copy, Debug)]
enum WayIn {
    Apply,
    Hangup,
    Http,
}

const WAYS_IN: [WayIn; 3] = [WayIn::Apply, WayIn::Hangup, WayIn::Http];
const PUT: &str = "PUT /api/v1/config";
const TOML: (&str, &str) = ("Content-Type", "application/toml");

fn count(set: &Set, text: &str) -> usize {
    set.weir.log().matches(text).count()
}

/// A file that is taken.
fn takes(set: &Set, door: WayIn, objects: &str) {
    match door {
        WayIn::Apply => {
            let file = set.weir.file("next.toml", objects);
            set.weir.ok(&["config", "apply", &file]);
        }
        WayIn::Hangup => {
            let before = count(set, "audit: done command=\"SIGHUP");
            set.weir.write(objects);
            set.weir.signal(Signal::HUP);
            let done = || count(set, "audit: done command=\"SIGHUP") > before;
            clock::wait_for("the file to be taken", done);
        }
        WayIn::Http => {
            let page = ask(set, PUT, &[TOML], &set.weir.with_settings(objects));
            assert_eq!(page.status, 200, "{page:?}");
        }
    }
}

/// A file that is refused with these words and this exit code, and changes nothing.
fn refuses(set: &Set, door: WayIn, objects: &str, (code, words): (i32, &str)) {
    let version = set.weir.version();
    match door {
        WayIn::Apply => {
            let file = set.weir.file("next.toml", objects);
            let ran = set.weir.ctl(&["config", "apply", &file]).expect_code(code);
            assert!(ran.stderr.contains(words), "{ran}");
        }
        WayIn::Hangup => {
            let before = count(set, "; nothing has changed");
            set.weir.write(objects);
            set.weir.signal(Signal::HUP);
            clock::wait_for("the refusal", || count(set, "; nothing has changed") > before);
            assert!(set.weir.log().contains(words), "{words}: {}", set.weir.log());
        }
        WayIn::Http => {
            let page = ask(set, PUT, &[TOML], &set.weir.with_settings(objects));
            let name = if code == 7 { "conflict" } else { "needs_force" };
            expect_problem(&page, 409, name, words);
        }
    }
    assert_eq!(set.weir.version(), version);
}

/// As `status` has it, and /metrics once the page that all share for a moment is a new one.
fn drift(set: &Set) -> u64 {
    let drift = set.weir.json(&["status"])["drift_keys"].as_u64().expect("a number");
    let line = format!("weir_config_drift_keys {drift}");
    clock::wait_for("the metric", || set.weir.get("/metrics").body.lines().any(|it| it == line));
    drift
}

fn restarted(set: &mut Set) {
    set.weir.kill();
    set.weir.run();
}

/// The objects with another weight of b1.
fn weighted(set: &Set, weight: u16) -> String {
    let address = set.backends[0].address;
    let line = |weight| format!("b1 = {{ address = \"{address}\", weight = {weight} }}");
    assert!(set.objects.contains(&line(1)), "{}", set.objects);
    set.objects.replace(&line(1), &line(weight))
}

/// The objects without one backend.
fn without(objects: &str, backend: &str) -> String {
    let is_it = |line: &&str| !line.starts_with(&format!("{backend} = "));
    objects.lines().filter(is_it).map(|line| format!("{line}\n")).collect()
}

#[test]
fn acts_survive_a_file_that_does_not_speak_of_them() {
    let mut set = with_token(Plan::new(4, Script::Banner));
    assert_eq!(drift(&set), 0);
    let address = set.backends[0].address.to_string();
    set.weir.ok(&["backend", "maint", "web/b1"]);
    set.weir.ok(&["backend", "weight", "web/b2", "7"]);
    set.weir.ok(&["backend", "remove", "web/b4"]);
    set.weir.ok(&["backend", "add", "web/b9", &address]);
    set.weir.ok(&["pool", "set", "web", "retry.attempts=1"]);
    assert_eq!(drift(&set), 5);
    let rows = set.weir.ctl(&["config", "diff"]).expect_code(3).stdout;
    for row in [
        "pool web retry.attempts: 2 in the file, 1 in force".to_owned(),
        "backend web/b1 state: ready in the file, maint in force".to_owned(),
        "backend web/b2 weight: 1 in the file, 7 in force".to_owned(),
        format!(
            "backend web/b9: absent in the file, address={address} weight=1 state=ready in force"
        ),
    ] {
        assert!(rows.contains(&row), "no {row} in {rows}");
    }
    let mut last = set.objects.clone();
    for (door, strategy) in WAYS_IN.into_iter().zip(["random", "maglev", "two-choices"]) {
        let version = set.weir.version();
        takes(&set, door, &last);
        assert_eq!(set.weir.version(), version, "an unchanged file changes nothing");
        restarted(&mut set);
        last = set.objects.replace("round-robin", strategy);
        takes(&set, door, &last);
        assert_eq!(set.weir.version(), version + 1, "{door:?}");
        restarted(&mut set);
        let pool = set.weir.json(&["pool", "show", "web"]);
        assert_eq!((&pool["strategy"], &pool["retry"]["attempts"]), (&json!(strategy), &json!(1)));
        assert_eq!(set.weir.backend("web/b1")["state"], "maint");
        assert_eq!(set.weir.backend("web/b2")["weight"], 7);
        set.weir.ctl(&["backend", "show", "web/b4"]).expect_code(4);
        assert_eq!(set.weir.backend("web/b9")["state"], "up");
        assert_eq!(drift(&set), 5);
    }
    // The file that says it all.
    let exported = set.weir.ok(&["config", "export"]);
    let file = set.weir.dir.write("exported.toml", &exported);
    let same = set.weir.ctl(&["config", "diff", &file]).expect_code(0);
    assert_eq!(same.stdout, "no difference\n");
    set.weir.ok(&["config", "apply", &file]);
    assert_eq!(drift(&set), 0);
    set.weir.ctl(&["config", "diff"]).expect_code(0);
    // What it says now is his to change, and the file does not undo it.
    set.weir.ok(&["backend", "ready", "web/b1"]);
    restarted(&mut set);
    let version = set.weir.version();
    set.weir.ok(&["config", "apply", &file]);
    assert_eq!(set.weir.version(), version);
    assert_eq!(set.weir.backend("web/b1")["state"], "up");
}

#[test]
fn what_both_have_changed_is_named_and_decided() {
    let mut set = with_token(Plan::new(2, Script::Banner));
    set.weir.ok(&["backend", "weight", "web/b1", "7"]);
    let three = weighted(&set, 3).replace("round-robin", "random");
    let conflict = "backend web/b1 weight: was 1, is 3 in the file and 7 in force";
    for door in WAYS_IN {
        refuses(&set, door, &three, (7, conflict));
        if matches!(door, WayIn::Hangup) {
            let events = set.weir.json(&["events"])["events"].to_string();
            assert!(events.contains(&format!("conflict: {conflict}")), "{events}");
        }
        restarted(&mut set);
    }
    let file = set.weir.file("next.toml", &three);
    let apply = |flags: &[&'static str]| -> Vec<&str> {
        [&["config", "apply", file.as_str()][..], flags].concat()
    };
    set.weir.ctl(&apply(&["--dry-run"])).expect_code(7);
    let ran = set.weir.ctl(&[&["-o", "json"][..], &apply(&[])].concat()).expect_code(7);
    let error: Value = serde_json::from_str(&ran.stderr).expect("it is JSON");
    assert_eq!(error["error"]["code"], "conflict");
    let row = json!({
        "object": "backend web/b1", "key": "weight", "base": "1", "file": "3", "in_force": "7",
    });
    assert_eq!(error["error"]["conflicts"], json!([row]));
    let shown = set.weir.ctl(&["config", "diff", &file]).expect_code(3).stdout;
    assert!(shown.contains(&format!("conflict: {conflict}")), "{shown}");
    assert!(shown.contains("+strategy = \"random\""), "{shown}");

    let tried = set.weir.json(&apply(&["--ours", "--dry-run"]));
    assert!(tried["summary"].as_str().is_some_and(|it| it.contains("→ random")), "{tried}");
    set.weir.ok(&apply(&["--ours"]));
    let strategy = |set: &Set| set.weir.json(&["pool", "show", "web"])["strategy"].clone();
    assert_eq!(
        (set.weir.backend("web/b1")["weight"].clone(), strategy(&set)),
        (json!(7), json!("random"))
    );
    // It is decided: the same file has nothing more to say.
    let version = set.weir.version();
    takes(&set, WayIn::Hangup, &three);
    assert_eq!((set.weir.version(), drift(&set)), (version, 1));
    let five = weighted(&set, 5).replace("round-robin", "random");
    set.weir.file("next.toml", &five);
    set.weir.ctl(&apply(&[])).expect_code(7);
    set.weir.ok(&apply(&["--theirs"]));
    assert_eq!((set.weir.backend("web/b1")["weight"].clone(), drift(&set)), (json!(5), 0));
}

/// A key that is left empty, or null over HTTP, goes; as always, most of a pool goes by force only.
#[test]
fn a_partial_file_takes_away_what_it_leaves_empty() {
    let set = with_token(Plan::new(3, Script::Banner));
    set.weir.ok(&["pool", "add", "spare"]);
    set.weir.ok(&["pool", "set", "web", "health.fall=7", "strategy=maglev"]);
    let apply = |text: &str, flags: &[&str]| {
        let file = set.weir.dir.write("part.toml", text);
        set.weir.ctl(&[&["-o", "json", "config", "apply", &file, "--partial"], flags].concat())
    };
    let patch = |parameters: &str, body: &str| {
        ask(&set, &format!("PATCH /api/v1/config{parameters}"), &[], body)
    };
    apply("[pool]\nspare = \"\"\n[pool.web]\nhealth.fall = \"\"\n", &[]).expect_code(0);
    assert_eq!(set.weir.json(&["pool", "show", "web"])["health"]["fall"], 3);
    set.weir.ctl(&["pool", "show", "spare"]).expect_code(4);
    let all = "[pool.web.backend]\nb1 = \"\"\nb2 = \"\"\nb3 = \"\"\n";
    let ran = apply(all, &["--yes"]).expect_code(2);
    assert!(ran.stderr.contains("every backend of pool web"), "{ran}");
    apply(all, &["--dry-run", "--force"]).expect_code(0);
    let ran = apply("[pool.web.backend]\nb9 = \"\"\n", &[]).expect_code(1);
    assert!(ran.stderr.contains("there is no backend"), "{ran}");
    let body = r#"{"pool": {"web": {"strategy": null, "backend": {"b3": null}}}}"#;
    assert_eq!(patch("?yes=true", body).status, 200);
    let pool = set.weir.json(&["pool", "show", "web"]);
    assert_eq!(pool["strategy"], "least-conn");
    assert_eq!(pool["backends"].as_array().map(Vec::len), Some(2));
    let body = r#"{"pool": {"web": {"backend": {"b1": null, "b2": null}}}}"#;
    expect_problem(&patch("?yes=true", body), 409, "needs_force", "takes away too much");
    assert_eq!(patch("?dry-run=true&force=true", body).status, 200);
}

/// Several objects in one version, on both doors; what the file does not name stays.
#[test]
fn a_partial_file_sets_what_it_names() {
    let set = with_token(Plan::new(2, Script::Banner));
    let new = Backend::start("b3", own_ip(), Script::Banner);
    set.weir.ok(&["backend", "maint", "web/b1"]);
    let apply = |text: &str, flags: &[&str]| {
        let file = set.weir.dir.write("part.toml", text);
        set.weir.ctl(&[&["-o", "json", "config", "apply", &file, "--partial"], flags].concat())
    };
    let version = set.weir.version();
    let part = format!(
        "[pool.web]\nhealth.fall = 7\n[pool.web.backend]\nb2 = {{ weight = 5 }}\n\
         b3 = {{ address = \"{}\" }}\n[pool.spare]\n",
        new.address
    );
    apply(&part, &["--dry-run"]).expect_code(0);
    assert_eq!(set.weir.version(), version);
    apply(&part, &["-m", "for the shop"]).expect_code(0);
    assert_eq!(set.weir.version(), version + 1, "it is one version");
    let pool = set.weir.json(&["pool", "show", "web"]);
    assert_eq!((&pool["health"]["fall"], &pool["strategy"]), (&json!(7), &json!("round-robin")));
    assert_eq!(set.weir.backend("web/b1")["state"], "maint");
    assert_eq!(set.weir.backend("web/b2")["weight"], 5);
    assert_eq!(set.weir.backend("web/b3")["state"], "up");
    let row = set.weir.json(&["config", "history", "--limit", "1"])["versions"][0].clone();
    assert!(row["summary"].as_str().is_some_and(|it| it.starts_with("set by ")), "{row}");
    assert_eq!(row["message"], "for the shop");
    // It is the act of an operator: the file of before is merged as if commands had done it.
    takes(&set, WayIn::Apply, &set.objects);
    assert_eq!((set.weir.version(), drift(&set)), (version + 1, 5));
    apply(&part, &[]).expect_code(0);
    assert_eq!(set.weir.version(), version + 1, "there is nothing left to set");
    for (text, flags, code, words) in [
        ("[pool.web]\nstrategi = \"random\"\n", &[][..], 1, "unknown key `strategi`"),
        ("", &[], 1, "names no listener and no pool"),
        ("[pool.web.backend]\nb9 = { weight = 1 }\n", &[], 1, "b9 has no address"),
        ("[pool.web]\nstrategy = \"random\"\n", &["--if-version", "1"], 7, "not 1"),
        ("[pool.web.backend]\nb2 = { weight = 0 }\nb3 = { weight = 0 }\n", &[], 2, "no backend"),
    ] {
        let ran = apply(text, flags).expect_code(code);
        assert!(ran.stderr.contains(words), "{words}: {ran}");
    }
    // The same over HTTP.
    let patch = |parameters: &str, headers: &[(&str, &str)], body: &str| {
        ask(&set, &format!("PATCH /api/v1/config{parameters}"), headers, body)
    };
    let body = r#"{"pool": {"web": {"strategy": "maglev", "backend": {"b2": {"weight": 9}}}}}"#;
    assert_eq!(patch("?dry-run=true", &[], body).status, 200);
    let page = patch("", &[("If-Match", "\"1\"")], body);
    expect_problem(&page, 412, "conflict", "not 1");
    let version = set.weir.version();
    assert_eq!(patch("", &[], body).status, 200);
    assert_eq!(patch("", &[TOML], "[pool.web]\nhealth.rise = 3\n").status, 200);
    assert_eq!(set.weir.version(), version + 2);
    let pool = set.weir.json(&["pool", "show", "web"]);
    assert_eq!((&pool["health"]["fall"], &pool["health"]["rise"]), (&json!(7), &json!(3)));
    assert_eq!(
        (&pool["strategy"], pool["backends"][1]["weight"].as_u64()),
        (&json!("maglev"), Some(9))
    );
    let none = r#"{"pool": {"web": {"backend": {"b2": {"weight": 0}, "b3": {"weight": 0}}}}}"#;
    expect_problem(&patch("", &[], none), 409, "needs_yes", "no backend");
    expect_problem(&patch("", &[], "{}"), 422, "invalid", "names no listener and no pool");
    expect_problem(&patch("", &[TOML], "[weir]\n"), 422, "invalid", "when weir starts");
}

#[test]
fn a_body_is_decided_about_by_its_parameters() {
    let set = with_token(Plan::new(2, Script::Banner));
    set.weir.ok(&["backend", "weight", "web/b1", "7"]);
    let three = weighted(&set, 3);
    let put =
        |parameters: &str, body: &str| ask(&set, &format!("{PUT}{parameters}"), &[TOML], body);
    let page = put("?dry-run=true", &three);
    expect_problem(&page, 409, "conflict", "was 1, is 3 in the file and 7 in force");
    let problem: Value = serde_json::from_str(&page.body).expect("it is JSON");
    assert_eq!(problem["conflicts"][0]["in_force"], "7", "{problem}");
    assert!(problem["hint"].as_str().is_some_and(|it| it.contains("?ours=true")), "{problem}");
    let weight = || set.weir.backend("web/b1")["weight"].clone();
    assert_eq!((put("?ours=true", &three).status, weight()), (200, json!(7)));
    let five = weighted(&set, 5);
    assert_eq!((put("?theirs=true", &five).status, weight()), (200, json!(5)));
    set.weir.ok(&["backend", "weight", "web/b1", "9"]);
    assert_eq!((put("", &five).status, weight()), (200, json!(9)), "the body has not changed");
    let page = put("?replace=true", &five);
    assert!(page.body.contains("it undoes what was changed at run time"), "{page:?}");
    assert_eq!((page.status, weight()), (200, json!(5)));
    let nothing = "# nothing\n";
    assert_eq!(put("", nothing).status, 409);
    let tried = put("?force=true&dry-run=true", nothing);
    assert!(tried.status == 200 && tried.body.contains("it is empty"), "{tried:?}");
    let version = set.weir.version();
    assert_eq!(put("?force=true", nothing).status, 200);
    assert_eq!(set.weir.json(&["status"])["listeners"], json!([]));
    set.weir.ok(&["config", "rollback", &version.to_string(), "--yes"]);
}

#[test]
fn a_file_that_replaces_says_what_it_undoes() {
    let set = Plan::new(3, Script::Banner).start();
    set.weir.ok(&["backend", "maint", "web/b1"]);
    set.weir.ok(&["backend", "weight", "web/b2", "7"]);
    set.weir.ok(&["backend", "remove", "web/b3"]);
    let file = set.weir.file("next.toml", &set.objects);
    let address = set.backends[2].address;
    let undone = json!([
        "it undoes what was changed at run time: backend web/b1 state: maint → ready",
        "it undoes what was changed at run time: backend web/b2 weight: 7 → 1",
        format!(
            "it undoes what was changed at run time: backend web/b3: absent → \
             address={address} weight=1 state=ready"
        ),
    ]);
    let version = set.weir.version();
    let tried = set.weir.json(&["config", "apply", &file, "--replace", "--dry-run"]);
    assert_eq!((&tried["warnings"], set.weir.version()), (&undone, version));
    let done = set.weir.json(&["config", "apply", &file, "--replace"]);
    assert_eq!(done["warnings"], undone);
    assert_eq!(set.weir.backend("web/b1")["state"], "up");
    assert_eq!(set.weir.backend("web/b2")["weight"], 1);
    assert_eq!((set.weir.backend("web/b3")["state"].clone(), drift(&set)), (json!("up"), 0));
}

#[test]
fn a_file_that_takes_away_too_much_must_be_meant() {
    let mut set = with_token(Plan::new(3, Script::Banner));
    let none = set.objects.lines().take_while(|line| !line.starts_with("b1 ="));
    let none: String = none.map(|line| format!("{line}\n")).collect();
    let one = without(&without(&set.objects, "b1"), "b2");
    let pool = set.objects.find("[pool.web]").expect("it has a pool");
    let alone = set.objects[pool..].to_owned();
    for (objects, why) in [
        ("", "it is empty: it has no listener and no pool"),
        (alone.as_str(), "no listener would be left, of 1 now"),
        (none.as_str(), "every backend of pool web would be gone"),
        (one.as_str(), "2 of 3 backends would be gone"),
    ] {
        for door in WAYS_IN {
            refuses(&set, door, objects, (2, why));
        }
        let file = set.weir.file("next.toml", objects);
        for flags in [&["--yes"][..], &["--ours"], &["--theirs"], &["--replace"]] {
            let apply = [&["config", "apply", &file], flags].concat();
            let ran = set.weir.ctl(&apply).expect_code(2);
            assert!(ran.stderr.contains("--force"), "{ran}");
        }
        let tried = set.weir.json(&["config", "apply", &file, "--dry-run"]);
        assert!(tried["warnings"].to_string().contains(why), "{tried}");
        let before = set.weir.version().to_string();
        set.weir.ok(&["config", "apply", &file, "--force"]);
        set.weir.ok(&["config", "rollback", &before, "--yes"]);
        restarted(&mut set);
    }
    set.session().0.echo(b"it serves");
    // One that was drained may be removed, and one of three may go.
    set.weir.ok(&["backend", "drain", "web/b2"]);
    takes(&set, WayIn::Hangup, &without(&set.objects, "b2"));
    set.weir.ctl(&["backend", "show", "web/b2"]).expect_code(4);
    assert_eq!(drift(&set), 0);
}

#[test]
fn a_rollback_brings_back_the_file_of_before() {
    let mut set = with_token(Plan::new(1, Script::Banner));
    let new = Backend::start("b2", own_ip(), Script::Banner);
    let line = format!("b2 = {{ address = \"{}\" }}\n", new.address);
    let more = format!("{}{line}", set.objects);
    for door in WAYS_IN {
        let before = set.weir.version().to_string();
        takes(&set, door, &more);
        assert_eq!(set.weir.backend("web/b2")["state"], "up");
        set.weir.ok(&["config", "rollback", &before]);
        set.weir.ctl(&["backend", "show", "web/b2"]).expect_code(4);
        assert_eq!(drift(&set), 0, "the file is that of before, too");
        restarted(&mut set);
        assert_eq!(drift(&set), 0);
    }
    takes(&set, WayIn::Apply, &more);
    assert_eq!(set.weir.backend("web/b2")["state"], "up");
    // What an operator takes away then stays away.
    set.weir.ok(&["backend", "remove", "web/b2"]);
    takes(&set, WayIn::Apply, &more.replace("round-robin", "random"));
    set.weir.ctl(&["backend", "show", "web/b2"]).expect_code(4);
}
