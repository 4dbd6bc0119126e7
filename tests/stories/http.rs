//! Changes over HTTP: who may make them, what they answer, and the examples of docs/http.md.

mod property;
mod schema;

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use weir_tests::clock;
use weir_tests::net::Script;
use weir_tests::source;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::TOKEN;
use weir_tests::weir::ctl::Page;

/// A weir with a token.
pub(crate) fn with_token(plan: Plan) -> Set {
    let mut set = plan.prepare();
    set.weir.write_token();
    set.weir.write(&set.objects);
    set.weir.run();
    set
}

fn mode(path: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("it is ours");
}

/// A request with the token.
pub(crate) fn ask(set: &Set, line: &str, headers: &[(&str, &str)], body: &str) -> Page {
    let token = format!("Bearer {TOKEN}");
    let mut all = vec![("Authorization", token.as_str()), ("Content-Type", "application/json")];
    // A header that is named again replaces the usual one.
    all.retain(|(usual, _)| !headers.iter().any(|(name, _)| name == usual));
    all.extend(headers);
    set.weir.request(line, &all, body)
}

fn done(set: &Set, line: &str, body: &str) -> Value {
    let page = ask(set, line, &[], body);
    assert!([200, 201].contains(&page.status), "{line}: {page:?}");
    json_of(&page)
}

fn json_of(page: &Page) -> Value {
    serde_json::from_str(&page.body).unwrap_or_else(|error| panic!("{error}: {page:?}"))
}

/// A refusal: its status, its code, and a part of its message.
#[track_caller]
pub(crate) fn expect_problem(page: &Page, status: u16, code: &str, part: &str) {
    let problem = json_of(page);
    assert_eq!((page.status, problem["code"].as_str()), (status, Some(code)), "{page:?}");
    assert!(page.head.contains("content-type: application/problem+json"), "{page:?}");
    assert_eq!(problem["status"], status);
    assert!(problem["message"].as_str().is_some_and(|it| it.contains(part)), "{page:?}");
    assert!(problem["hint"].as_str().is_some_and(|it| !it.is_empty()), "{page:?}");
    assert_eq!(problem["error"]["message"], problem["message"]);
}

#[test]
fn a_change_over_http_is_the_change_that_weirctl_makes() {
    let set = with_token(Plan::new(2, Script::Banner));
    let weir = &set.weir;
    let page = ask(&set, "PUT /api/v1/pools/blue", &[], r#"{"strategy": "maglev"}"#);
    assert_eq!(page.status, 201, "{page:?}");
    assert!(page.head.contains("etag: \"2\""), "{page:?}");
    let made = json_of(&page);
    assert_eq!((&made["version"], &made["before"]), (&json!(2), &Value::Null), "{made}");
    assert_eq!(weir.json(&["pool", "show", "blue"])["strategy"], "maglev");
    let address = set.backends[0].address.to_string();
    let body = json!({"address": address, "weight": 3}).to_string();
    assert_eq!(ask(&set, "PUT /api/v1/backends/blue/x", &[], &body).status, 201);
    assert_eq!(weir.backend("blue/x")["weight"], 3);
    // What PUT does not name is at its default again; PATCH leaves it.
    done(&set, "PATCH /api/v1/pools/blue", r#"{"health": {"interval": "7s"}}"#);
    assert_eq!(weir.json(&["pool", "show", "blue"])["strategy"], "maglev");
    done(&set, "PUT /api/v1/pools/blue", r#"{"health": {"fall": 4}}"#);
    let pool = weir.json(&["pool", "show", "blue"]);
    assert_eq!((&pool["strategy"], &pool["health"]["fall"]), (&json!("least-conn"), &json!(4)));
    assert_eq!(pool["health"]["interval_s"], 2.0);
    assert_eq!(pool["backends"][0]["name"], "blue/x", "it keeps its backends");
    // A listener goes to another pool, and back by a null and a rollback.
    let version = weir.version();
    done(&set, "PATCH /api/v1/listeners/web", r#"{"pool": "blue", "max-sessions": 9}"#);
    let listener = weir.json(&["listener", "show", "web"]);
    assert_eq!((&listener["pool"], &listener["max_sessions"]), (&json!("blue"), &json!(9)));
    done(&set, "PATCH /api/v1/listeners/web", r#"{"max-sessions": null}"#);
    assert_eq!(weir.json(&["listener", "show", "web"])["max_sessions"], Value::Null);
    done(&set, "POST /api/v1/config/rollback?yes=true", &json!({"version": version}).to_string());
    assert_eq!(weir.json(&["listener", "show", "web"])["pool"], "web");
    set.session().0.echo(b"it serves").fin().expect_fin();
    // It stands in the history and in the log as every change does, and the token in neither.
    let newest = weir.json(&["config", "history", "--limit", "1"])["versions"][0].clone();
    assert_eq!(newest["by"]["from"], "127.0.0.1", "{newest}");
    assert_eq!(newest["claimed_command"], "POST /api/v1/config/rollback", "{newest}");
    assert!(weir.ok(&["config", "history"]).contains("http 127.0.0.1"));
    let log = weir.log();
    assert!(log.contains("from=127.0.0.1 role=\"admin\""), "{log}");
    assert!(!log.contains(TOKEN) && !weir.ok(&["events"]).contains(TOKEN));
}

#[test]
fn states_and_removals_need_the_yes_that_weirctl_needs() {
    let set = with_token(Plan::new(2, Script::Banner));
    done(&set, "POST /api/v1/backends/web/b1/maint", "");
    assert_eq!(set.weir.backend("web/b1")["state"], "maint");
    let last = "POST /api/v1/backends/web/b2/drain";
    let page = ask(&set, last, &[], "");
    expect_problem(&page, 409, "needs_yes", "pool web would have no backend that takes sessions");
    assert!(json_of(&page)["hint"].as_str().is_some_and(|it| it.contains("?yes=true")));
    let tried = done(&set, &format!("{last}?dry-run=true"), "");
    assert!(tried["warnings"][0].as_str().is_some_and(|it| it.contains("no backend")), "{tried}");
    assert_eq!((&tried["dry_run"], set.weir.version()), (&json!(true), 2));
    done(&set, &format!("{last}?yes=true"), "");
    done(&set, "POST /api/v1/backends/web/b1/ready", "");
    done(&set, "POST /api/v1/backends/web/b2/ready", "{}");
    let (mut client, _) = set.session();
    let holder = if set.weir.backend("web/b1")["sessions"] == 1 { "b1" } else { "b2" };
    done(&set, &format!("DELETE /api/v1/backends/web/{holder}?force=true"), "");
    client.expect_rst();
    let again = format!("DELETE /api/v1/backends/web/{holder}");
    let gone = || json_of(&ask(&set, &again, &[], ""))["message"].to_string();
    clock::wait_for("its last session to be gone", || !gone().contains("run on"));
    expect_problem(&ask(&set, &again, &[], ""), 404, "not_found", "no backend");
}

#[test]
fn only_who_sends_the_token_changes_anything() {
    let mut set = with_token(Plan::new(2, Script::Banner));
    let line = "POST /api/v1/backends/web/b1/drain";
    let sent = |value: &str| ask(&set, line, &[("Authorization", value)], "");
    expect_problem(&set.weir.request(line, &[], ""), 401, "not_permitted", "send the token");
    for wrong in ["Bearer x", "Bearer 0123456789abcdef0123456789abcdee"] {
        expect_problem(&sent(wrong), 401, "not_permitted", "not the token");
    }
    let page = sent("Basic eDp5");
    expect_problem(&page, 401, "not_permitted", "send the token");
    assert!(page.head.contains("www-authenticate: bearer"), "{page:?}");
    assert_eq!(set.weir.version(), 1);
    assert!(set.weir.ok(&["events"]).contains("not permitted"));
    // Another token counts at once, a file that others can read never.
    let file = set.weir.dir.write("token", "fedcba9876543210");
    expect_problem(&sent(&format!("Bearer {TOKEN}")), 401, "not_permitted", "not the token");
    assert_eq!(sent("Bearer fedcba9876543210").status, 200);
    mode(&file, 0o644);
    let page = sent("Bearer fedcba9876543210");
    expect_problem(&page, 403, "not_permitted", "the file of the token cannot be used");
    // Reading needs none.
    assert_eq!(set.weir.get("/api/v1/status").status, 200);
    // A strange host is refused before anything else.
    let strange = [("Host", "evil.example"), ("Authorization", "Bearer fedcba9876543210")];
    assert_eq!(set.weir.request(line, &strange, "").status, 421);
    // Without a file there is no way.
    set.weir.kill();
    std::fs::remove_file(file).expect("it is there");
    set.weir.write(&set.objects);
    set.weir.run();
    let page = ask(&set, line, &[], "");
    expect_problem(&page, 403, "not_permitted", "there is no [weir] admin-token-file");
}

#[test]
fn a_change_of_another_version_is_refused() {
    let set = with_token(Plan::new(2, Script::Banner));
    let etag = |page: &Page| {
        let line = page.head.lines().find_map(|line| line.strip_prefix("etag: "));
        line.expect("an answer has its version").trim().to_owned()
    };
    let seen = etag(&set.weir.get("/api/v1/backends/web/b1"));
    assert_eq!(seen, "\"1\"");
    set.weir.ok(&["backend", "weight", "web/b2", "2"]);
    let line = "PATCH /api/v1/backends/web/b1";
    let page = ask(&set, line, &[("If-Match", &seen)], r#"{"weight": 7}"#);
    expect_problem(&page, 412, "conflict", "the configuration is at version 2, not 1");
    let page = ask(&set, line, &[("If-Match", "\"2\"")], r#"{"weight": 7}"#);
    assert_eq!((page.status, etag(&page)), (200, "\"3\"".to_owned()), "{page:?}");
    assert_eq!(ask(&set, line, &[("If-Match", "*")], r#"{"weight": 8}"#).status, 200);
    let far = [("If-Match", "\"18446744073709551616\"")];
    expect_problem(&ask(&set, line, &far, r#"{"weight": 9}"#), 412, "conflict", "not");
    let page = ask(&set, line, &[("If-Match", "2")], r#"{"weight": 9}"#);
    expect_problem(&page, 400, "invalid", "If-Match does not say one version");
    assert_eq!(set.weir.backend("web/b1")["weight"], 8);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_key() {
    let set = with_token(Plan::new(2, Script::Banner));
    for (line, body, status, part) in [
        ("PATCH /api/v1/backends/web/b1", r#"{"weigth": 7}"#, 422, "\"weigth\" is not a key"),
        ("PATCH /api/v1/backends/web/b1", r#"{"weight": "7"}"#, 422, "weight: \"7\" is not of"),
        ("PATCH /api/v1/backends/web/b1", r#"{"weight": 257}"#, 422, "weight"),
        ("PATCH /api/v1/backends/web/b1", "{}", 422, "nothing to set"),
        ("PATCH /api/v1/backends/web/b1", "[", 400, "the body is not JSON"),
        ("PATCH /api/v1/backends/web/b1", "", 422, "the body is not an object"),
        ("PATCH /api/v1/backends/web/nobody", r#"{"weight": 7}"#, 404, "no backend"),
        ("PUT /api/v1/backends/nopool/b1", r#"{"address": "[::1]:1"}"#, 404, "no pool"),
        ("PUT /api/v1/backends/web/b9", "{\"weight\": 7}", 422, "address of backend"),
        ("PUT /api/v1/listeners/x", r#"{"pool": "web"}"#, 422, "bind of listener"),
        ("PUT /api/v1/listeners/-x", r#"{"pool":"web","bind":"[::1]:1"}"#, 422, "is not a name"),
        ("PUT /api/v1/pools/web", r#"{"health": {"interval": 7}}"#, 422, "health.interval: 7"),
        ("DELETE /api/v1/pools/web", "", 409, "is used by listener web"),
        ("DELETE /api/v1/pools/web", "{\"x\": 1}", 422, "this request has no body"),
        ("DELETE /api/v1/pools/web?forc=true", "", 400, "has no parameter \"forc\""),
        ("DELETE /api/v1/pools/web?yes=1", "", 400, "neither true nor false"),
        ("POST /api/v1/config/rollback", r#"{"version": 99}"#, 404, "there is no version 99"),
        ("POST /api/v1/config/rollback", r#"{"version": "1"}"#, 422, "which version"),
        ("PUT /api/v1/config", r#"{"pool": {"web": {"x": 1}}}"#, 422, "unknown key"),
        ("PUT /api/v1/config", "{}", 409, "no listener would be left"),
        ("PUT /api/v1/config?ours=true&replace=true", "{}", 422, "only one can be true"),
        ("PATCH /api/v1/config?confirm=soon", "{}", 400, "is not a duration"),
        ("PATCH /api/v1/config?guard=healthy=50%25", "{}", 400, "guard without confirm"),
        ("PATCH /api/v1/config?confirm=9s&guard=healthy", "{}", 400, "is no guard"),
        ("PATCH /api/v1/pools/web?confirm=9s", "{}", 400, "no parameter \"confirm\""),
    ] {
        let page = ask(&set, line, &[], body);
        let code = json_of(&page)["code"].as_str().unwrap_or_default().to_owned();
        expect_problem(&page, status, &code, part);
    }
    let kind = [("Content-Type", "text/plain")];
    let page = ask(&set, "PATCH /api/v1/backends/web/b1", &kind, "weight=7");
    expect_problem(&page, 415, "invalid", "text/plain");
    let long = format!("{{\"weight\": {}}}", " ".repeat(64 << 10));
    let page = ask(&set, "PATCH /api/v1/backends/web/b1", &[], &long);
    expect_problem(&page, 413, "invalid", "longer than 65536 bytes");
    let page = ask(&set, "POST /api/v1/backends/web/b1", &[], "");
    expect_problem(&page, 405, "not_permitted", "GET, HEAD, PUT, PATCH, DELETE");
    assert_eq!(set.weir.version(), 1);
}

#[test]
fn a_whole_configuration_is_put_in_toml_and_in_json() {
    let set = with_token(Plan::new(2, Script::Banner));
    let toml = json_of(&set.weir.get("/api/v1/config"))["toml"].as_str().expect("TOML").to_owned();
    let kind = [("Content-Type", "application/toml")];
    let put = "PUT /api/v1/config";
    let page = ask(&set, put, &kind, &toml);
    assert_eq!((page.status, set.weir.version()), (200, 1), "what is in force changes nothing");
    let page = ask(&set, put, &kind, &toml.replace("round-robin", "random"));
    assert_eq!((page.status, set.weir.version()), (200, 2), "{page:?}");
    let addresses = set.backends.iter().enumerate();
    let backends: serde_json::Map<String, Value> = addresses
        .map(|(index, it)| (format!("b{}", index + 1), json!({"address": it.address.to_string()})))
        .collect();
    let listener = json!({"bind": set.weir.web.to_string(), "pool": "web"});
    let pool = json!({"strategy": "maglev", "health": {"kind": "none"}, "backend": backends});
    let body = json!({"listener": {"web": listener}, "pool": {"web": pool}}).to_string();
    done(&set, put, &body);
    assert_eq!(set.weir.json(&["pool", "show", "web"])["strategy"], "maglev");
    let old = json_of(&set.weir.get("/api/v1/config/versions/1"));
    assert_eq!((&old["version"], old["toml"].as_str()), (&json!(1), Some(toml.as_str())));
    assert_eq!(set.weir.get("/api/v1/config/versions/9").status, 404);
}

/// The status of an operation that comes to nothing here.
fn refused_as(id: &str) -> Option<u16> {
    match id {
        // No task runs, no session has that name, and the dashboard has another build.
        "get_dashboard_build_file"
        | "get_tasks_task"
        | "delete_tasks_task"
        | "get_sessions_session"
        | "delete_sessions_session" => Some(404),
        // It asks about no client.
        "get_why" => Some(400),
        // It means no session.
        "delete_sessions" => Some(422),
        // The pool is in use, and nothing waits for a confirmation.
        "delete_pools_pool" | "post_config_confirm" => Some(409),
        _ => None,
    }
}

/// Every path of the document answers, as its schema says; every change that it names needs the
/// token.
#[test]
fn the_openapi_document_is_what_weir_does() {
    let set = with_token(Plan::new(2, Script::Banner));
    let (client, _) = set.session();
    let document = json_of(&set.weir.get("/openapi.json"));
    let address = set.backends[0].address.to_string();
    let web = set.weir.web.to_string();
    let body = |id: &str| match id {
        "put_config" => json!({}),
        "patch_config" => json!({"pool": {"web": {"strategy": "maglev"}}}),
        "post_config_rollback" => json!({"version": 1}),
        "put_listeners_listener" => json!({"bind": web, "pool": "web"}),
        "put_backends_pool_backend" => json!({"address": address}),
        "patch_backends_pool_backend" => json!({"weight": 2}),
        "put_pools_pool" | "patch_pools_pool" => json!({"strategy": "random"}),
        "patch_listeners_listener" => json!({"max-sessions": 7}),
        other => panic!("{other} needs an example here"),
    };
    let mut seen = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let named = [
            ("{listener}", "web"),
            ("{pool}", "web"),
            ("{backend}", "b1"),
            ("{version}", "1"),
            ("{task}", "7"),
        ];
        let named = named.iter();
        let names = named.fold(path.clone(), |path, (name, value)| path.replace(name, value));
        for (method, operation) in methods.as_object().expect("methods") {
            let id = operation["operationId"].as_str().expect("an id");
            let line = format!("{} {names}", method.to_uppercase());
            let page = if method == "get" {
                set.weir.get(&names)
            } else {
                let text = match operation.get("requestBody") {
                    Some(_) => body(id).to_string(),
                    None => String::new(),
                };
                let line = format!("{line}?dry-run=true");
                assert_eq!(set.weir.request(&line, &[], &text).status, 401, "{line}");
                ask(&set, &line, &[], &text)
            };
            seen += 1;
            let status = page.status.to_string();
            if let Some(refused) = refused_as(id) {
                assert_eq!(page.status, refused, "{page:?}");
                continue;
            }
            assert!(["200", "201"].contains(&status.as_str()), "{line}: {page:?}");
            let answer = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            if answer.is_object() && !answer.as_object().expect("it is").is_empty() {
                let wrong = schema::faults(&document, answer, &json_of(&page));
                assert!(wrong.is_empty(), "{line}: {wrong:#?}\n{}", page.body);
            }
        }
    }
    assert!(seen > 30, "{seen} operations");
    assert_eq!(set.weir.version(), 1, "a dry run changes nothing");
    drop(client);
}

/// A block of code of docs/http.md.
fn example(language: &str) -> String {
    let file = source::files().into_iter().find(|file| file.path == "docs/http.md");
    let text = file.expect("it exists").text;
    let mut blocks =
        text.split("\n```").filter_map(|part| part.strip_prefix(language)?.strip_prefix('\n'));
    let block = blocks.next().unwrap_or_else(|| panic!("docs/http.md has no {language}"));
    assert_eq!(blocks.next(), None, "one example in {language}");
    format!("{block}\n")
}

/// Runs an example while clients come and go, and looks at what each of them saw.
fn deploy(program: &str, language: &str) {
    let plan = Plan::new(2, Script::Banner)
        .shards(1)
        .health("{ interval = \"100ms\", slow-start = \"0s\" }");
    let set = with_token(plan);
    for name in ["web/b1", "web/b2"] {
        set.weir.wait_state(name, "up");
    }
    // Sessions that the deploy has to wait for.
    let mut open: Vec<_> = (0..2).map(|_| set.session().0).collect();
    let script = set.weir.dir.write("deploy", &example(language));
    let done = set.weir.dir.entry("released");
    let state = format!(
        "#!/bin/sh\n{} -s {} -o json backend show web/$1 >> {done}\n",
        weir_tests::weir::binary("weirctl", "WEIRCTL_BIN").display(),
        set.weir.socket
    );
    let release = set.weir.dir.write("release", &state);
    mode(&release, 0o700);
    let mut command = Command::new(program);
    command.args([&script, "b1", "b2"]);
    command.env("WEIR", format!("http://{}", set.weir.admin)).env("RELEASE", release);
    command.env("WEIR_TOKEN_FILE", set.weir.dir.entry("token"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{program}: {error}"));
    set.weir.wait_state("web/b1", "draining");
    assert!(!std::path::Path::new(&done).exists(), "it waits for the last session");
    for client in &mut open {
        client.fin().expect_fin();
    }
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said, "b1 is up\nb2 is up\n");
    let released = std::fs::read_to_string(&done).expect("both were released");
    let rows: Vec<Value> =
        released.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let seen: Vec<_> =
        rows.iter().map(|row| (&row["name"], &row["state"], &row["sessions"])).collect();
    let draining = |name| (json!(name), json!("draining"), json!(0));
    let wanted = [draining("web/b1"), draining("web/b2")];
    assert_eq!(seen, wanted.iter().map(|(a, b, c)| (a, b, c)).collect::<Vec<_>>());
    set.session().0.echo(b"it serves").fin().expect_fin();
    clock::wait_for("both to be up", || {
        ["web/b1", "web/b2"].iter().all(|name| set.weir.backend(name)["state"] == "up")
    });
}

#[test]
fn the_rolling_deploy_with_curl_works() {
    deploy("bash", "bash");
}

#[test]
fn the_rolling_deploy_with_python_works() {
    deploy("python3", "python");
}

#[test]
fn a_configuration_on_trial_waits_for_its_confirmation() {
    let set = with_token(Plan::new(2, Script::Banner).strategy("least-conn"));
    let strategy = || set.weir.json(&["pool", "show", "web"])["strategy"].clone();
    let body = |word: &str| json!({"pool": {"web": {"strategy": word}}}).to_string();
    let tried = "PATCH /api/v1/config?confirm=1h&guard=healthy=50%25";
    let made = done(&set, tried, &body("random"));
    assert_eq!(made["unconfirmed"]["rolls_back_to"], 1, "{made}");
    let status = json_of(&set.weir.get("/api/v1/status"));
    assert_eq!(status["unconfirmed"]["guards"], json!(["healthy=50%"]), "{status}");
    let page = ask(&set, "PATCH /api/v1/pools/web", &[], r#"{"strategy": "maglev"}"#);
    expect_problem(&page, 409, "conflict", "version 2 is not confirmed yet");
    done(&set, "POST /api/v1/config/confirm", "");
    assert_eq!(strategy(), "random");
    // The same without a confirmation.
    done(&set, "PATCH /api/v1/config?confirm=1s", &body("maglev"));
    clock::wait_for("the way back", || strategy() == "random");
    let page = ask(&set, "POST /api/v1/config/confirm", &[], "");
    expect_problem(&page, 409, "invalid", "no version waits");
}
