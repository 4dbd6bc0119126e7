//! A browser without a window, driven by WebDriver (W3C): HTTP and JSON to chromedriver.
//!
//! Debian's chromium-driver and chromium-headless-shell; `./scripts/test` installs them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::clock;
use crate::weir::Dir;

/// The driver and the browser may take this long to start on a busy machine, and a step as long.
const READY_MAX: Duration = Duration::from_secs(60);
/// After its session's end the browser may take this long to be gone.
const END_MAX: Duration = Duration::from_secs(5);
/// Not the script in /usr/bin: who ends that one leaves the browser running.
const SHELL: &str = "/usr/lib/chromium/chromium-headless-shell";
/// The key of an element's name (WebDriver, 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// The key Escape (WebDriver, 17.4.2).
pub const ESCAPE: &str = "\u{e00c}";

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    /// `/session/ID`
    session: String,
    /// The browser's own process.
    process: Option<Pid>,
    /// Its profile and the driver's words.
    _dir: Dir,
}

impl Browser {
    /// Starts one with a page of this size.
    ///
    /// # Panics
    /// If it is not installed, or does not come up.
    #[must_use]
    pub fn start(width: u32, height: u32) -> Browser {
        let install = "apt-get install chromium-driver chromium-headless-shell; see ./scripts/test";
        assert!(Path::new(SHELL).exists(), "{SHELL} is not there: {install}");
        let dir = Dir::new();
        let (driver, port) = driver(&dir, install);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (session, process) = (String::new(), None);
        let mut browser = Browser { driver, address, session, process, _dir: dir };
        let mut arguments = vec![
            format!("--window-size={width},{height}"),
            "--hide-scrollbars".to_owned(),
            "--force-prefers-reduced-motion".to_owned(),
            // A container may have little shared memory.
            "--disable-dev-shm-usage".to_owned(),
        ];
        if rustix::process::geteuid().is_root() {
            arguments.push("--no-sandbox".to_owned());
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"binary": SHELL, "args": arguments},
        }}});
        let made = browser.ask("POST", "/session", &wanted);
        let id = made["sessionId"].as_str().expect("a session has a name");
        browser.session = format!("/session/{id}");
        let process = made["capabilities"]["goog:processID"].as_i64();
        browser.process = process.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        browser.size(width, height);
        browser
    }

    /// One request to the driver.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|why| panic!("{method} {path}: {why}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let (path, length) = (format!("{}{path}", self.session), body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = self.exchange(&head).map_err(|fault| fault.to_string())?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|fault| fault.to_string())?;
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].clone()),
        }
    }

    /// The body of the answer. Its end is known by its length: the driver may keep a connection.
    fn exchange(&self, request: &str) -> std::io::Result<Vec<u8>> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(READY_MAX))?;
        socket.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        socket.read_exact(&mut body)?;
        Ok(body)
    }

    /// Loads a page.
    ///
    /// # Panics
    /// If it cannot be loaded.
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({"url": url}));
    }

    /// Gives the page another size, in CSS pixels.
    ///
    /// # Panics
    /// If the browser refuses.
    pub fn size(&self, width: u32, height: u32) {
        let mut metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1});
        metrics["mobile"] = (width < 700).into();
        let order = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics});
        self.ask("POST", "/goog/cdp/execute", &order);
    }

    /// Runs a script in the page; gives what it returns.
    ///
    /// # Panics
    /// If it throws.
    #[must_use]
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until a script gives what is true in JavaScript; gives that.
    ///
    /// # Panics
    /// If it does not. The message has what the page shows.
    #[track_caller]
    pub fn wait(&self, what: &str, script: &str) -> Value {
        let found = clock::try_wait(READY_MAX, || {
            let value = self.run(script);
            let is_false = [Value::Null, json!(false), json!(""), json!(0)].contains(&value);
            (!is_false).then_some(value)
        });
        found.unwrap_or_else(|| {
            let shown = self.run("return document.body.innerText.slice(0, 3000)");
            panic!("waited in vain for {what}; the page: {}", shown.as_str().unwrap_or_default())
        })
    }

    /// Clicks on an element, as a person would: it must be there, and nothing may lie over it.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.wait(selector, &format!("return Boolean(document.querySelector({selector:?}))"));
        let place = "scrollIntoView({block: 'center'})";
        let _ = self.run(&format!("document.querySelector({selector:?}).{place}"));
        let element = self.element(selector);
        self.ask("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Presses a key, wherever the focus is.
    ///
    /// # Panics
    /// If the browser refuses.
    #[track_caller]
    pub fn press(&self, key: &str) {
        let steps = ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key}));
        let keys = json!({"type": "key", "id": "keyboard", "actions": steps});
        self.ask("POST", "/actions", &json!({"actions": [keys]}));
    }

    /// Types into an element.
    ///
    /// # Panics
    /// If it is not there.
    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.ask("POST", &format!("/element/{element}/value"), &json!({"text": text}));
    }

    fn element(&self, selector: &str) -> String {
        let found = json!({"using": "css selector", "value": selector});
        let found = self.ask("POST", "/element", &found);
        found[ELEMENT].as_str().expect("an element has a name").to_owned()
    }

    /// The lines on the console since the last look: faults of scripts, blocked requests.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        let lines = self.ask("POST", "/se/log", &json!({"type": "browser"}));
        let lines = lines.as_array().cloned().unwrap_or_default();
        lines.iter().map(|line| format!("{} {}", line["level"], line["message"])).collect()
    }

    /// Writes the page as a PNG.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn screenshot(&self, path: &Path) {
        let text = self.ask("GET", "/screenshot", &Value::Null);
        let bytes = from_base64(text.as_str().expect("a picture"));
        fs::write(path, bytes).expect("the picture can be written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A driver that is killed leaves its browser running.
        if !self.session.is_empty() {
            let _ = self.try_ask("DELETE", "", &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        if let Some(process) = self.process {
            let gone = || rustix::process::test_kill_process(process).is_err();
            if clock::try_wait(END_MAX, || gone().then_some(())).is_none() {
                let _ = rustix::process::kill_process(process, Signal::KILL);
            }
        }
    }
}

/// Starts the driver; gives its port, too. It takes any port of IPv6 and gives up if IPv4 has that
/// one no more: then once more.
fn driver(dir: &Dir, install: &str) -> (Child, u16) {
    clock::wait_within(READY_MAX, "chromedriver to listen", || {
        let log = File::create(dir.path.join("log")).expect("a file can be written");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env("TMPDIR", &dir.path).env("HOME", &dir.path);
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        let driver = command.spawn();
        let mut driver = driver.unwrap_or_else(|error| panic!("chromedriver: {error}; {install}"));
        let port = clock::try_wait(READY_MAX, || {
            let said = fs::read_to_string(dir.path.join("log")).unwrap_or_default();
            let named = said.split_once("successfully on port ").and_then(|(_, rest)| {
                let (port, _) = rest.split_once('.')?;
                port.parse::<u16>().ok()
            });
            let is_gone = matches!(driver.try_wait(), Ok(Some(_)));
            (named.is_some() || is_gone).then_some(named)
        });
        let Some(Some(port)) = port else {
            let _ = driver.kill();
            let _ = driver.wait();
            return None;
        };
        Some((driver, port))
    })
}

/// RFC 4648, 4.
fn from_base64(text: &str) -> Vec<u8> {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue, // the end
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.extend(u8::try_from((bits >> count) & 0xff));
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_read() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(super::from_base64(text), bytes.as_bytes());
        }
    }
}
