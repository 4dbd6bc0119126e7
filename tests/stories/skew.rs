//! A weirctl and a weir of which one is older than the other, by their protocol; and a state that a
//! newer weir has left.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use weir_proto::frame::{self, HEADER};
use weir_proto::request::{Hello, PROTOCOL, Welcome};
use weir_tests::clock::{self, PATIENCE};
use weir_tests::net::Script;
use weir_tests::story::Plan;
use weir_tests::weir::{Dir, Ran, binary};

/// The body of the next frame.
fn read(stream: &mut UnixStream) -> Vec<u8> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).expect("a header comes");
    let mut body = vec![0; frame::body_length(header).expect("a frame")];
    stream.read_exact(&mut body).expect("the frame is whole");
    body
}

#[test]
fn an_older_or_newer_client_hears_which_protocol_weir_has_and_nothing_else() {
    let set = Plan::new(1, Script::Banner).start();
    for protocol in [PROTOCOL - 1, PROTOCOL + 1] {
        let mut stream = UnixStream::connect(&set.weir.socket).expect("weir listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        let hello = Hello { protocol, program: "story".into() };
        stream.write_all(&frame::encode(&hello).expect("it is short")).expect("weir reads");
        let welcome: Welcome = frame::decode(&read(&mut stream)).expect("a welcome");
        assert_eq!(welcome.protocol, PROTOCOL);
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"", "{protocol}");
        let said = format!("it speaks protocol {protocol}");
        clock::wait_for("the reason", || set.weir.log().contains(&said));
    }
    set.weir.ok(&["status"]);
}

#[test]
fn weirctl_says_in_one_line_that_weir_is_older_or_newer() {
    for protocol in [PROTOCOL - 1, PROTOCOL + 1] {
        let dir = Dir::new();
        let socket = dir.entry("s");
        let listener = UnixListener::bind(&socket).expect("the place is free");
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("weirctl comes");
            let _: Hello = frame::decode(&read(&mut stream)).expect("a hello");
            let welcome = Welcome { protocol, program: "9.9.9".into() };
            stream.write_all(&frame::encode(&welcome).expect("it is short")).expect("it reads");
        });
        let mut weirctl = std::process::Command::new(binary("weirctl", "WEIRCTL_BIN"));
        let ran = Ran::of(weirctl.args(["-s", &socket, "backend", "weight", "web/b1", "2"]));
        daemon.join().expect("the daemon was asked once");
        let ran = ran.expect_code(1);
        let both = format!("protocol {PROTOCOL} here, protocol {protocol} there");
        assert!(ran.stderr.contains(&both), "{ran}");
        assert!(ran.stderr.contains("hint: use the weirctl that came with weir 9.9.9"), "{ran}");
        assert_eq!(ran.stderr.matches("error").count(), 1, "{ran}");
    }
}

/// A state of format 99, of which this weir knows only the row that says so.
const NEWER: &str = "../control/daemon/src/store/tests/format-99.redb";

#[test]
fn a_state_of_a_newer_weir_is_left_as_it_is_and_start_says_so() {
    let mut set = Plan::new(1, Script::Banner).prepare();
    let state = set.weir.dir.path.join("state");
    std::fs::create_dir(&state).expect("it can be made");
    let newer = Path::new(env!("CARGO_MANIFEST_DIR")).join(NEWER);
    let bytes = std::fs::read(newer).expect("it is in the repository");
    let file = state.join("weir.redb");
    std::fs::write(&file, &bytes).expect("it can be written");
    set.weir.spawn();
    assert_eq!(set.weir.wait_exit(PATIENCE), 1);
    clock::wait_for("the reason", || set.weir.log().contains("format 99"));
    assert!(set.weir.log().contains("hint"), "no way out in: {}", set.weir.log());
    assert!(std::fs::read(&file).expect("it is there") == bytes, "it is left as it was");
    let entries = std::fs::read_dir(&state).expect("it is there").count();
    assert_eq!(entries, 1, "nothing was written beside it");
}
