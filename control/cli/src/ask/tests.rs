//! The client against a daemon that is a thread of the test.

use super::*;
use std::os::unix::net::UnixListener;
use std::thread;
use weir_proto::answer::Said;
use weir_proto::request::{ChangeOptions, ChangeRequest, Code, Command, Query, Refusal};

/// A directory of its own for the socket, gone with the value.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("weirctl-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read_frame<T: DeserializeOwned>(stream: &mut UnixStream) -> T {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).unwrap();
    let mut body = vec![0; frame::body_length(header).unwrap()];
    stream.read_exact(&mut body).unwrap();
    frame::decode(&body).unwrap()
}

/// Runs `daemon` on the first connection and `client` beside it.
fn meet<T>(
    name: &str,
    daemon: impl FnOnce(UnixStream) + Send + 'static,
    client: impl FnOnce(&Path) -> T,
) -> T {
    let place = Place::new(name);
    let listener = UnixListener::bind(place.socket()).unwrap();
    let thread = thread::spawn(move || daemon(listener.accept().unwrap().0));
    let result = client(&place.socket());
    thread.join().unwrap();
    result
}

fn connect(socket: &Path) -> Result<Client, Failure> {
    Client::connect(socket, Interrupt::deaf().unwrap(), PATIENCE)
}

fn welcome(stream: &mut UnixStream, protocol: u32) {
    let hello: Hello = read_frame(stream);
    assert_eq!(hello.protocol, PROTOCOL);
    let welcome = Welcome { protocol, program: "0.9.9".into() };
    stream.write_all(&frame::encode(&welcome).unwrap()).unwrap();
}

fn reply(stream: &mut UnixStream, response: &Response) {
    stream.write_all(&frame::encode(response).unwrap()).unwrap();
}

#[test]
fn questions_are_answered_one_after_the_other() {
    let daemon = |mut stream: UnixStream| {
        welcome(&mut stream, PROTOCOL);
        assert_eq!(read_frame::<Request>(&mut stream), Command::Drain.into());
        reply(&mut stream, &Response::Done(Answer::Said(Said { text: "draining".into() })));
        assert_eq!(read_frame::<Request>(&mut stream), Query::Status.into());
        let refusal = Refusal::new(Code::Denied, "no", "");
        reply(&mut stream, &Response::Refused(refusal));
    };
    meet("answers", daemon, |socket| {
        let mut client = connect(socket).unwrap();
        assert_eq!(client.program, "0.9.9");
        let answer = client.ask(Command::Drain).unwrap();
        assert_eq!(answer, Answer::Said(Said { text: "draining".into() }));
        assert_eq!(client.ask(Query::Status).unwrap_err().exit, Exit::Denied);
    });
}

#[test]
fn another_protocol_is_said_in_words() {
    let daemon = |mut stream: UnixStream| welcome(&mut stream, PROTOCOL + 1);
    let failure = meet("skew", daemon, |socket| connect(socket).err().unwrap());
    assert_eq!((failure.exit, failure.code), (Exit::Failed, "version_skew"));
    assert!(failure.message.contains("weir 0.9.9 do not understand"), "{}", failure.message);
    assert_eq!(failure.hint, "use the weirctl that came with weir 0.9.9");
}

#[test]
fn nobody_there_names_the_command_that_starts_it() {
    let place = Place::new("nobody");
    let failure = connect(&place.socket()).err().unwrap();
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.hint.contains("weir run"), "{}", failure.hint);
    drop(UnixListener::bind(place.socket()).unwrap());
    let failure = connect(&place.socket()).err().unwrap();
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.message.contains("nobody listens"), "{}", failure.message);
}

#[test]
fn a_change_without_an_answer_is_of_unknown_outcome() {
    let daemon = |mut stream: UnixStream| {
        welcome(&mut stream, PROTOCOL);
        let _: Request = read_frame(&mut stream);
    };
    let failure = meet("lost", daemon, |socket| {
        let change = ChangeRequest::PoolRemove { name: "web".into() };
        let command = Command::Change { change, options: ChangeOptions::default() };
        connect(socket).unwrap().ask(command).unwrap_err()
    });
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.message.ends_with("whether it was done is not known"), "{}", failure.message);
}

#[test]
fn a_silent_daemon_is_given_up() {
    let daemon = |mut stream: UnixStream| {
        welcome(&mut stream, PROTOCOL);
        let _: Request = read_frame(&mut stream);
        // Until the client leaves.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    };
    let failure = meet("silent", daemon, |socket| {
        let patience = Duration::from_millis(200);
        let client = Client::connect(socket, Interrupt::deaf().unwrap(), patience);
        client.unwrap().ask(Query::Status).unwrap_err()
    });
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.message.contains("did not answer within 0.2 s"), "{}", failure.message);
}

#[test]
fn bytes_that_are_no_frame_are_refused() {
    let daemon = |mut stream: UnixStream| {
        let _: Hello = read_frame(&mut stream);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
    };
    let failure = meet("http", daemon, |socket| connect(socket).err().unwrap());
    assert_eq!(failure.exit, Exit::Failed);
    assert!(failure.message.contains("is not a weir"), "{}", failure.message);
}
