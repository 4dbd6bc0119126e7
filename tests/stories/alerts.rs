//! packaging/prometheus and packaging/grafana: the alerts and the dashboard, against promtool, and
//! against a real Prometheus that scrapes weirs, unwell in every way that there is an alert for.

mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;
use weir_tests::prometheus::promtool;
use weir_tests::source;

use stage::Stage;

fn place() -> PathBuf {
    source::root().join("packaging/prometheus")
}

fn read(path: &str) -> String {
    let path = source::root().join("packaging").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

fn rules() -> String {
    read("prometheus/weir.rules.yml")
}

/// The names of the alerts, in order.
fn names(rules: &str) -> Vec<&str> {
    rules.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")).collect()
}

/// The text of each alert, by name.
fn blocks(rules: &str) -> BTreeMap<&str, &str> {
    let blocks = rules.split("- alert: ").skip(1);
    blocks.map(|block| block.split_once('\n').expect("an alert has lines")).collect()
}

#[test]
fn promtool_takes_the_rules_and_their_cases() {
    let checked = promtool(&["check", "rules", "weir.rules.yml"], &place()).expect_code(0);
    let wanted = format!("{} rules found", names(&rules()).len());
    assert!(checked.stdout.contains(&wanted), "{checked}");
    let _ = promtool(&["test", "rules", "weir.rules.test.yml"], &place()).expect_code(0);
}

#[test]
fn every_alert_says_what_to_do_and_has_a_case() {
    let (rules, cases) = (rules(), read("prometheus/weir.rules.test.yml"));
    let names = names(&rules);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name twice");
    for (name, block) in blocks(&rules) {
        for key in ["summary: ", "description: ", "action: "] {
            let said = block.lines().find_map(|line| line.trim_start().strip_prefix(key));
            assert!(said.is_some_and(|it| it.len() > 20), "{name} has no {key}");
        }
        let severities = ["critical", "warning", "info"];
        let fits = |it: &&&str| block.contains(&format!("severity: {it}\n"));
        assert_eq!(severities.iter().filter(fits).count(), 1, "{name}: one severity");
        let case = format!("labels: '{{alertname=\"{name}\"}}'");
        assert!(cases.contains(&case), "{name} has no case in weir.rules.test.yml");
    }
}

/// Its panels, without the rows.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = dashboard["panels"].as_array().expect("a list of panels").iter();
    all.filter(|panel| panel["type"] != "row").collect()
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(&read("grafana/weir.json")).expect("JSON");
    let mut cells = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("a list") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "{title}: an id twice");
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(at("w") > 0 && at("x") + at("w") <= 24, "{title} is outside of the grid");
        for (x, y) in (at("x")..at("x") + at("w"))
            .flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(cells.insert((x, y)), "{title} is upon another panel");
        }
    }
    for panel in panels(&dashboard) {
        let title = &panel["title"];
        assert!(panel["description"].as_str().is_some_and(|it| it.len() > 10), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        let targets = panel["targets"].as_array().expect("a list of targets");
        let letters: BTreeSet<_> = targets.iter().map(|it| it["refId"].as_str()).collect();
        assert!(!targets.is_empty() && letters.len() == targets.len(), "{title}");
    }
}

/// Each expression of the dashboard, with where it is, and its variables filled in.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in panels(dashboard) {
        for target in panel["targets"].as_array().expect("a list") {
            found.push((panel["title"].to_string(), target["expr"].clone()));
        }
    }
    for note in dashboard["annotations"]["list"].as_array().expect("a list") {
        found.push((note["name"].to_string(), note["expr"].clone()));
    }
    for variable in dashboard["templating"]["list"].as_array().expect("a list") {
        let query = variable["definition"].as_str().and_then(|it| it.strip_prefix("label_values("));
        if let Some((series, _label)) = query.and_then(|it| it.rsplit_once(", ")) {
            found.push((variable["name"].to_string(), series.into()));
        }
    }
    let filled = |expression: &str| {
        let text = expression.replace("$__rate_interval", stage::WINDOW);
        text.replace("$job", "weir").replace("$instance", ".*").replace("$pool", ".*")
    };
    let text = |it: &Value| filled(it.as_str().expect("an expression"));
    found.iter().map(|(place, expression)| (place.clone(), text(expression))).collect()
}

/// The rules in a hurry: nothing has to last, and rates are those of the last seconds.
fn hurried(rules: &str) -> String {
    let mut text: String = rules
        .lines()
        .map(|line| match line.split_once("for: ") {
            Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 0s\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    for span in ["1m", "5m", "10m", "15m", "1h"] {
        let range = format!("[{span}]");
        assert!(text.contains(&range), "no rule has the range {range}");
        text = text.replace(&range, &format!("[{}]", stage::WINDOW));
    }
    // Nothing that a story can order holds control for so long.
    let slow = "weir_control_longest_turn_seconds > 0.25";
    assert!(text.contains(slow));
    text.replace(slow, "weir_control_longest_turn_seconds > 0")
}

/// Half a minute on an idle machine; [`stage::LIMIT`] on any.
#[test]
fn each_alert_fires_at_a_real_weir_and_prometheus_reads_the_dashboard() {
    let rules = rules();
    let mut stage = Stage::new(&hurried(&rules));
    stage.play();
    stage.until(&names(&rules));
    for (name, alert) in &stage.fired {
        for key in ["summary", "description", "action"] {
            let text = alert["annotations"][key].as_str().unwrap_or_default();
            let is_good = !text.is_empty() && !text.contains('<') && !text.contains("{{");
            assert!(is_good, "{name}: its {key} is {text:?}");
        }
    }
    let known: Vec<Value> = stage.prometheus.rules();
    assert_eq!(known.len(), names(&rules).len());
    for rule in known {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    let dashboard: Value = serde_json::from_str(&read("grafana/weir.json")).expect("JSON");
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 40, "{} expressions", expressions.len());
    for (place, expression) in expressions {
        let rows = stage.prometheus.query(&expression);
        let rows = rows.unwrap_or_else(|why| panic!("{place}: {why}: {expression}"));
        // What is shown only when there is something may be empty, but not for want of its series.
        let all = expression.replace(" > 0", " >= 0");
        let rows = if rows.is_empty() { stage.prometheus.query(&all) } else { Ok(rows) };
        assert!(rows.is_ok_and(|it| !it.is_empty()), "{place}: empty: {expression}");
    }
}
