//! Events: chosen by kind and age at both doors, followed over a restart, limits told once.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};

fn rows(answer: &Value) -> Vec<Value> {
    answer["events"].as_array().expect("a list").clone()
}

/// Events of these kinds, as in `config,task`.
fn of(set: &Set, kinds: &str) -> Vec<Value> {
    let mut words = vec!["events"];
    words.extend(kinds.split(',').flat_map(|kind| ["--kind", kind]));
    rows(&set.weir.json(&words))
}

#[test]
fn events_are_chosen_by_kind_and_age() {
    let set = Plan::new(2, Script::Banner).start();
    set.weir.ok(&["backend", "drain", "web/b1"]);
    set.weir.ok(&["backend", "drain", "web/b1", "--over", "1m", "--yes"]);
    let [config, task] = ["config", "task"].map(|kind| of(&set, kind));
    assert!(config.iter().all(|row| row["kind"] == "config") && !config.is_empty(), "{config:?}");
    assert!(task.iter().all(|row| row["kind"] == "task") && !task.is_empty(), "{task:?}");
    let both = of(&set, "task,config");
    assert!(both.is_sorted_by_key(|row| row["id"].as_u64()) && both.len() > task.len(), "{both:?}");
    let all = rows(&set.weir.json(&["events"]));
    assert!(all.len() > both.len());
    assert_eq!(rows(&set.weir.json(&["events", "--since", "1d"])), all);
    let wrong = set.weir.ctl(&["events", "--kind", "tsk"]).expect_code(2);
    assert!(wrong.stderr.contains("'task'"), "{wrong}");
    // HTTP has the same.
    let page = |query: &str| set.weir.get(&format!("/api/v1/events?{query}"));
    let seen: Value = serde_json::from_str(&page("kind=task&kind=config").body).expect("JSON");
    assert_eq!(rows(&seen), both);
    let (start, last) = (seen["start"].as_u64(), seen["last"].as_u64().expect("a number"));
    assert!(start.is_some_and(|start| start > 1_700_000_000_000), "{seen}");
    assert_eq!(seen["missing"], 0);
    let none: Value = serde_json::from_str(&page(&format!("after={last}")).body).expect("JSON");
    assert_eq!((rows(&none).len(), none["start"].as_u64()), (0, start));
    let wrong = page("kind=tsk");
    assert!(wrong.status == 400 && wrong.body.contains("\"did_you_mean\":[\"task\"]"), "{wrong:?}");
}

#[test]
fn a_limit_is_told_once_when_it_begins_and_once_when_it_is_over() {
    let set = Plan::new(1, Script::Banner).listener("max-sessions = 40").start();
    let texts = || -> Vec<String> {
        let rows = of(&set, "limit");
        rows.iter().map(|row| format!("{} {}", row["subject"], row["text"])).collect()
    };
    let mut open: Vec<_> = (0..40).map(|_| set.session().0).collect();
    clock::wait_for("the limit to be told", || texts().len() == 1);
    // One leaves and another one comes: no event for either.
    for client in open.iter_mut().take(10) {
        client.fin().expect_fin();
        *client = set.session().0;
    }
    for client in open {
        client.rst();
    }
    clock::wait_for("its end to be told", || {
        texts().last().is_some_and(|text| text.contains("below its max-sessions again"))
    });
    let texts = texts();
    assert!(texts[0].starts_with("\"web\" \"at its max-sessions: 40 of 40;"), "{texts:?}");
    assert!(texts.len() == 2, "{texts:?}");
}

/// Follows events with weirctl; gives what it says on stdout and stderr, line by line.
fn follow(set: &Set, words: &[&str]) -> (std::process::Child, Receiver<String>) {
    let mut command = set.weir.command(&["-o", "json", "events", "-f"]);
    let mut child = command
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("weirctl starts");
    let (sender, said) = channel();
    let streams: [Box<dyn std::io::Read + Send>; 2] = [
        Box::new(child.stdout.take().expect("a pipe")),
        Box::new(child.stderr.take().expect("a pipe")),
    ];
    for stream in streams {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    (child, said)
}

/// Waits for a line with this in it.
#[track_caller]
fn hear(said: &Receiver<String>, part: &str) -> String {
    loop {
        match said.recv_timeout(clock::PATIENCE) {
            Ok(line) if line.contains(part) => return line,
            Ok(_) => {}
            Err(_) => panic!("waited in vain for {part:?}"),
        }
    }
}

#[test]
fn who_follows_hears_of_a_restart_and_goes_on() {
    let mut set = Plan::new(2, Script::Banner).start();
    let kinds = ["--since", "1d", "--kind", "config", "--kind", "reload"];
    let (mut child, said) = follow(&set, &kinds);
    set.weir.ok(&["backend", "weight", "web/b1", "7"]);
    assert!(hear(&said, "version 2").contains("\"kind\":\"config\""));
    set.weir.kill();
    hear(&said, "waiting for it");
    set.weir.run();
    hear(&said, "weir is back, restarted");
    set.weir.signal(Signal::HUP);
    hear(&said, "\"kind\":\"reload\"");
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::INT).expect("it follows");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}
