//! `weirctl` and HTTP, asked from a test.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::clock::{self, PATIENCE};
use crate::weir::{Weir, binary};

/// What a command said and how it ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// For messages: the command as it was typed.
    pub command: String,
    /// -1 if a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn of(command: &mut Command) -> Ran {
        let typed = format!("{command:?}");
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("{typed}: {error}"));
        Ran {
            command: typed,
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit code.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "the exit code of {self}");
        self
    }

    /// stdout as one JSON document.
    ///
    /// # Panics
    /// If it is not one.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// The JSON document of an error: on stderr or on stdout: either is allowed.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    #[track_caller]
    pub fn error_json(&self) -> Value {
        let texts = [&self.stderr, &self.stdout];
        let found = texts.into_iter().find_map(|text| {
            let document: Value = serde_json::from_str(text.trim()).ok()?;
            document.get("error").is_some().then_some(document)
        });
        found.unwrap_or_else(|| panic!("no error in JSON: {self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ran { command, code, stdout, stderr } = self;
        write!(f, "{command}\n  exit code {code}\n  stdout: {stdout}\n  stderr: {stderr}")
    }
}

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Page {
    pub status: u16,
    /// The head, lower case.
    pub head: String,
    pub body: String,
}

impl Weir {
    /// Changes the limit of descriptors of the process that runs; 20,000 stay possible.
    ///
    /// # Panics
    /// If prlimit refuses.
    pub fn limit_descriptors(&self, most: usize) {
        let (pid, limit) = (self.pid().to_string(), format!("--nofile={most}:20000"));
        let _ = Ran::of(Command::new("prlimit").args(["--pid", &pid, &limit])).expect_code(0);
    }

    /// A `weirctl` for this weir.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("weirctl", "WEIRCTL_BIN"));
        command.args(["-s", &self.socket]).args(arguments);
        command.env_remove("WEIR_SOCKET").env_remove("CLICOLOR_FORCE");
        command
    }

    /// Runs `weirctl` with these arguments.
    #[must_use]
    pub fn ctl(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs `weirctl`, which must succeed; gives stdout.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.ctl(arguments).expect_code(0).stdout
    }

    /// Runs `weirctl`, which must be refused, with these words and a hint.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn refuses(&self, arguments: &[&str], words: &str) {
        let ran = self.ctl(arguments).expect_code(1);
        assert!(ran.stderr.contains(words) && ran.stderr.contains("hint:"), "{ran}");
    }

    /// Runs `weirctl -o json`, which must succeed; gives the document.
    ///
    /// # Panics
    /// If it fails, or says something else than JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["-o", "json"];
        all.extend(arguments);
        self.ctl(&all).expect_code(0).json()
    }

    /// Runs `weirctl` with a change. If the machine is so busy that a shard takes longer for it
    /// than weirctl waits, it counts as done once every shard has it.
    ///
    /// # Panics
    /// If they do not get it.
    #[must_use]
    pub fn change(&self, arguments: &[&str]) -> Ran {
        let mut ran = self.ctl(arguments);
        if ran.stderr.contains("have not adopted it yet") {
            clock::wait_for("every shard to adopt it", || {
                let status = self.json(&["status"]);
                let shards = status["shards"].as_array().expect("a list of shards");
                shards.iter().all(|shard| shard["version"] == status["version"])
            });
            ran.code = 0;
        }
        ran
    }

    /// The current version of the configuration.
    ///
    /// # Panics
    /// If weir does not say it.
    #[must_use]
    #[track_caller]
    pub fn version(&self) -> u64 {
        self.json(&["status"])["version"].as_u64().expect("version is an integer")
    }

    /// One row of `backend list`.
    ///
    /// # Panics
    /// If the list has no backend of that name.
    #[must_use]
    #[track_caller]
    pub fn backend(&self, name: &str) -> Value {
        let list = self.json(&["backend", "list"]);
        let rows = list["backends"].as_array().expect("a list of backends");
        let live = |row: &&Value| row["name"] == name && row["removed"] != true;
        rows.iter().find(live).unwrap_or_else(|| panic!("no {name} in {list}")).clone()
    }

    /// Waits until a backend is in this state.
    ///
    /// # Panics
    /// If it does not get there.
    pub fn wait_state(&self, name: &str, state: &str) -> Value {
        let what = format!("{name} to be {state}; it is {}", self.backend(name));
        clock::wait_within(PATIENCE, &what, || {
            let row = self.backend(name);
            (row["state"] == state).then_some(row)
        })
    }

    /// Sessions that weir holds now, over all shards.
    ///
    /// # Panics
    /// If weir does not say it.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        let status = self.json(&["status"]);
        let shards = status["shards"].as_array().expect("a list of shards");
        shards.iter().map(|shard| shard["sessions"].as_u64().expect("sessions")).sum()
    }

    /// `GET path` on the admin address.
    ///
    /// # Panics
    /// If there is no answer in HTTP.
    #[must_use]
    pub fn get(&self, path: &str) -> Page {
        self.get_as(&self.admin.to_string(), path)
    }

    /// A request such as `POST /api/v1/…` with these headers and this body.
    ///
    /// # Panics
    /// If there is no answer in HTTP.
    #[must_use]
    pub fn request(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Page {
        let host = self.admin.to_string();
        let mut head = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head += &format!("Host: {host}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        self.exchange(&head, body)
    }

    /// `GET path` with this Host.
    ///
    /// # Panics
    /// If there is no answer in HTTP.
    #[must_use]
    pub fn get_as(&self, host: &str, path: &str) -> Page {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        self.exchange(&head, "")
    }

    fn exchange(&self, head: &str, body: &str) -> Page {
        exchange(self.admin, head, body).expect("the admin address answers")
    }
}

/// One request to `server`, which closes the connection after its answer.
///
/// # Errors
/// The socket's, or that the answer is no HTTP.
pub fn exchange(server: SocketAddr, head: &str, body: &str) -> io::Result<Page> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    // A body that is refused before it is read may meet a closed socket.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let broken = || io::Error::other(format!("no answer in HTTP: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let head = head.to_lowercase();
    let chunked = head.contains("transfer-encoding: chunked");
    let body = if chunked { joined(body) } else { body.to_owned() };
    Ok(Page { status: status.ok_or_else(broken)?, head, body })
}

/// The body of chunks.
fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 || rest.len() < length {
            break;
        }
        body.push_str(&rest[..length]);
        chunks = rest[length..].trim_start_matches("\r\n");
    }
    body
}
