//! Each subcommand of weir-load against its own backend, over loopback, with small counts.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A backend that ends with the test.
struct TestBackend {
    child: Child,
    address: SocketAddr,
}

impl TestBackend {
    fn start(mode: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir-load"))
            .args(["serve", "--listen", "127.0.0.1:0", "--seconds", "60", "--mode", mode])
            .stdout(Stdio::piped())
            .spawn()
            .expect("weir-load starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening ").expect("listening").parse();
        Self { child, address: address.expect("an address") }
    }
}

impl Drop for TestBackend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs weir-load against `address`: its exit code and report.
fn load(address: SocketAddr, arguments: &str) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_weir-load"))
        .args(arguments.split(' '))
        .args(["--target", &address.to_string()])
        .output()
        .expect("weir-load runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = serde_json::from_str(text.trim()).unwrap_or(Value::Null);
    (output.status.code().expect("an exit"), report)
}

#[test]
fn round_trips_closed_and_open() {
    let backend = TestBackend::start("echo");
    let (code, report) = load(backend.address, "rr --connections 8 --count 500 --seconds 20");
    assert_eq!((code, &report["round_trips"], &report["errors"]), (0, &500.into(), &0.into()));
    assert!(report["p50_us"].as_f64() > Some(0.0), "{report}");

    let open = "rr --connections 4 --rate 1000 --seconds 0.3 --size 3000 --sources 3";
    let (code, report) = load(backend.address, open);
    assert_eq!((code, &report["errors"]), (0, &0.into()));
    let seen = report["round_trips"].as_u64().expect("a number")
        + report["unsent"].as_u64().expect("a number");
    assert!((299..=301).contains(&seen), "{report}");
    assert!(report["lag"]["p50_us"].is_number(), "{report}");
}

#[test]
fn a_large_request_goes_through_in_pieces() {
    let backend = TestBackend::start("echo");
    let (code, report) =
        load(backend.address, "rr --connections 2 --count 40 --size 262144 --seconds 20");
    assert_eq!((code, &report["round_trips"], &report["errors"]), (0, &40.into(), &0.into()));
}

#[test]
fn churn_with_reset_and_with_fin() {
    let backend = TestBackend::start("echo");
    for close in ["crr --concurrency 8 --count 200", "crr --concurrency 8 --count 200 --fin"] {
        let (code, report) = load(backend.address, close);
        assert_eq!((code, &report["connections"], &report["errors"]), (0, &200.into(), &0.into()));
    }
}

#[test]
fn bulk_down_and_up() {
    for (mode, direction) in [("source", "down"), ("sink", "up")] {
        let backend = TestBackend::start(mode);
        let arguments = format!("bulk --streams 3 --bytes 5000001 --direction {direction}");
        let (code, report) = load(backend.address, &arguments);
        assert_eq!((code, &report["errors"]), (0, &0.into()), "{report}");
        assert_eq!(report["bytes"], 15_000_003);
    }
}

#[test]
fn idle_holds_until_its_input_ends() {
    let backend = TestBackend::start("echo");
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir-load"))
        .args(["idle", "--connections", "300", "--target", &backend.address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("weir-load starts");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "holding\n");
    drop(child.stdin.take());
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("the report");
    let report: Value = serde_json::from_str(&rest).expect("JSON");
    assert_eq!((&report["connections"], &report["errors"]), (&300.into(), &0.into()));
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_herd_takes_its_steps_and_loses_none() {
    use std::io::Write;
    let mut pasture = Command::new(env!("CARGO_BIN_EXE_weir-load"))
        .args(["echo-servers", "--threads", "2", "--seconds", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("weir-load starts");
    let mut line = String::new();
    BufReader::new(pasture.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let targets = line.trim().strip_prefix("listening ").expect("listening").to_string();
    assert_eq!(targets.split(',').count(), 8);
    let mut herd = Command::new(env!("CARGO_BIN_EXE_weir-load"))
        .args(["many-connections", "--connections", "500", "--size", "100", "--seconds", "60"])
        .args(["--target", &targets])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("weir-load starts");
    let mut input = herd.stdin.take().expect("a pipe");
    let mut output = BufReader::new(herd.stdout.take().expect("a pipe"));
    for (step, standing, exchanges) in [
        ("open", 500, 500),
        ("wake 100 0", 500, 5),
        ("wake 1 64", 500, 500),
        ("look", 500, 0),
        ("reset", 0, 0),
    ] {
        writeln!(input, "{step}").expect("told");
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let report: Value = serde_json::from_str(&line).expect("JSON");
        let seen = (&report["standing"], &report["exchanges"], &report["errors"]);
        assert_eq!(seen, (&standing.into(), &exchanges.into(), &0.into()), "{report}");
    }
    drop(input);
    assert!(herd.wait().expect("it ends").success());
    pasture.kill().expect("ended");
    pasture.wait().expect("ended");
}

#[test]
fn http_answers_each_head() {
    use std::io::Write;
    let backend = TestBackend::start("http");
    let mut stream = std::net::TcpStream::connect(backend.address).expect("connects");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n").expect("sends");
    stream.shutdown(std::net::Shutdown::Write).expect("half closes");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("reads");
    assert_eq!(text.matches("200 OK").count(), 2);
}

#[test]
fn a_wrong_backend_is_an_error_not_a_number() {
    // The source takes the request for a length and a key, and answers other bytes.
    let backend = TestBackend::start("source");
    let (code, report) = load(backend.address, "rr --connections 1 --count 5 --seconds 1");
    assert_eq!((code, &report["round_trips"], &report["errors"]), (1, &0.into(), &1.into()));
    let error = report["first_error"].as_str().expect("a text");
    assert!(error.contains("the answer is not the request"), "{error}");
    // The http backend answers nothing to a source's request: the time is over.
    let backend = TestBackend::start("http");
    let answers = load(backend.address, "bulk --streams 1 --bytes 100 --seconds 0.2");
    assert_eq!((answers.0, &answers.1["errors"]), (1, &1.into()), "{}", answers.1);
    let closed = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("address");
    let (code, report) = load(closed, "crr --concurrency 2 --count 10");
    assert_eq!((code, &report["connections"], &report["errors"]), (1, &0.into(), &10.into()));
    assert_eq!(load(closed, "rr --connections 1 --count 1").0, 1);
}

#[test]
fn the_runner_measures_and_writes_its_numbers() {
    let folder = std::env::temp_dir().join(format!("weir-bench-smoke-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let out = folder.join("run.json");
    let scenarios = folder.join("scenarios");
    std::fs::create_dir(&scenarios).expect("a folder");
    for (name, rest) in [
        ("bulk", "kind = \"bulk\"\nmib = 1"),
        ("crr", "kind = \"crr\"\nconnections = 8\nbackends = 3"),
        ("idle", "kind = \"idle\"\nconnections = 50"),
        ("mixed", "kind = \"mixed\"\nconnections = 4\nrate = 200.0"),
        ("open", "kind = \"open-loop\"\nconnections = 2\nrates = [0.1]"),
        ("rr", "kind = \"rr\"\nconnections = [1, 8]"),
    ] {
        let text = format!(
            "name = \"{name}\"\ngroup = \"bars\"\nrounds = 1\nseconds = 0.3\n{rest}\n\
             [[bar]]\nwhat = \"w\"\nvalue = \"p50_us\"\nagainst = \"none\"\nat-most = 1.0\n"
        );
        std::fs::write(scenarios.join(format!("{name}.toml")), text).expect("written");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_weir-bench"))
        .args(["run", "--peers", "none", "--folder"])
        .arg(&scenarios)
        .arg("--out")
        .arg(&out)
        .output()
        .expect("weir-bench runs");
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    let _ = std::fs::remove_dir_all(&folder);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        assert!(said.contains("two cores are needed"), "{said}");
        return;
    }
    assert!(output.status.success(), "{said}");
    let results: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(results["schema"], "weir-bench/v2");
    let works: Vec<&str> = results["samples"]
        .as_array()
        .expect("samples")
        .iter()
        .map(|sample| sample["work"].as_str().expect("a name"))
        .collect();
    let capacity = ["capacity, connections 2"; 3];
    let expected = [&["bulk", "crr", "idle", "mixed"][..], &capacity, &["open at 10 %"]].concat();
    assert_eq!(works, [&expected[..], &["rr, connections 1", "rr, connections 8"]].concat());
    assert_eq!(results["verdicts"].as_array().map(Vec::len), Some(7), "{text}");
    assert!(!text.contains(&folder.display().to_string()), "a path of this machine is in it");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("rr, connections 8: p50 us"), "{table}");
    assert!(table.contains("0 pass, 0 miss, 7 not measured"), "{table}");
}
