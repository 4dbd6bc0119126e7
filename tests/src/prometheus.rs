//! A real Prometheus that scrapes weirs, and Debian's promtool. `./scripts/test` installs both.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::clock;
use crate::net::{free, own_ip};
use crate::weir::ctl::exchange;
use crate::weir::{Dir, Ran};

/// It may take this long to start on a busy machine.
const READY_MAX: Duration = Duration::from_secs(30);
const INSTALL: &str = "Debian's package is called prometheus; ./scripts/test installs it";

/// Runs promtool, which must be content.
///
/// # Panics
/// If it is not installed.
#[must_use]
#[track_caller]
pub fn promtool(arguments: &[&str], within: &Path) -> Ran {
    let installed = Command::new("promtool").arg("--version").output().is_ok();
    assert!(installed, "promtool is needed: {INSTALL}");
    Ran::of(Command::new("promtool").args(arguments).current_dir(within))
}

/// A server with its data in a directory of its own. Ends when it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _dir: Dir,
}

impl Prometheus {
    /// Scrapes these twice a second, and evaluates `rules` as often.
    ///
    /// # Panics
    /// If it is not installed, or does not come up.
    #[must_use]
    pub fn start(targets: &[SocketAddr], rules: &str) -> Prometheus {
        let (dir, address) = (Dir::in_memory(), free(own_ip()));
        let rules = dir.write("rules.yml", rules);
        let targets: Vec<String> =
            targets.iter().map(|it| format!("{:?}", it.to_string())).collect();
        let targets = targets.join(", ");
        let settings = format!(
            "global: {{ scrape_interval: 500ms, scrape_timeout: 500ms, \
             evaluation_interval: 500ms }}\n\
             rule_files: [{rules:?}]\n\
             scrape_configs: [{{ job_name: weir, static_configs: [{{ targets: [{targets}] }}] }}]\n"
        );
        let settings = dir.write("prometheus.yml", &settings);
        let child = Command::new("prometheus")
            .arg(format!("--config.file={settings}"))
            .arg(format!("--storage.tsdb.path={}", dir.entry("data")))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; {INSTALL}"));
        let prometheus = Prometheus { child, address, _dir: dir };
        clock::wait_within(READY_MAX, "Prometheus to be ready", || {
            let head = "GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            exchange(prometheus.address, head, "")
                .is_ok_and(|page| page.status == 200)
                .then_some(())
        });
        prometheus
    }

    /// The result of an expression now: series with their values.
    ///
    /// # Errors
    /// Prometheus' words about an expression that it cannot read or evaluate.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let answer = self.ask(&format!("/api/v1/query?query={}", encoded(expression)));
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default()),
        }
    }

    /// The value of an expression that gives one, if there is one.
    ///
    /// # Panics
    /// If Prometheus cannot read it.
    #[must_use]
    pub fn number(&self, expression: &str) -> Option<f64> {
        let rows = self.query(expression).unwrap_or_else(|why| panic!("{expression}: {why}"));
        rows.first()?["value"][1].as_str()?.parse().ok()
    }

    /// The alerts that are pending or fire, with their labels and annotations.
    #[must_use]
    pub fn alerts(&self) -> Vec<Value> {
        let answer = self.ask("/api/v1/alerts");
        answer["data"]["alerts"].as_array().cloned().unwrap_or_default()
    }

    /// The rules that it knows.
    #[must_use]
    pub fn rules(&self) -> Vec<Value> {
        let answer = self.ask("/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        rules.flatten().cloned().collect()
    }

    fn ask(&self, path: &str) -> Value {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let page = exchange(self.address, &head, "").unwrap_or_else(|why| panic!("{path}: {why}"));
        serde_json::from_str(&page.body).unwrap_or_else(|why| panic!("{path}: {why}: {page:?}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As in a query of a URL.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(byte.into()),
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}
