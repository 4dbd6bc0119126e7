//! The client of the control socket: Hello, Welcome, then one Response to each Request.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_proto::answer::Answer;
use weir_proto::frame::{self, ANSWER_MAX, FrameError, HEADER, Incoming, REQUEST_MAX};
use weir_proto::request::{
    ChangeRequest, Command, Hello, PROTOCOL, Query, Request, Response, Welcome,
};

use crate::clock;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;

/// The default path of the control socket.
pub(crate) const SOCKET: &str = "/run/weir/control.sock";
/// How long the daemon may take to answer. A change is on disk and on every shard by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How often a wait for bytes looks up, to see whether Ctrl-C came between two reads.
const GLANCE: Duration = Duration::from_millis(250);

/// One connection to the daemon.
pub(crate) struct Client {
    stream: UnixStream,
    socket: PathBuf,
    /// The version of weir at the other end.
    pub(crate) program: String,
    pub(crate) interrupt: Interrupt,
    patience: Duration,
}

/// Why no answer came.
enum Lost {
    /// The daemon closed the connection.
    Closed,
    /// Nothing came in time.
    Silent,
    Interrupted,
    Malformed(FrameError),
    Failed(io::Error),
}

impl Client {
    /// The `code` of the failure that the daemon closed the connection before it answered.
    pub(crate) const CLOSED: &str = "closed";

    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Exit 5 if nobody is there, 8 if the socket may not be opened, 1 if the protocols differ.
    pub(crate) fn connect(
        socket: &Path,
        interrupt: Interrupt,
        patience: Duration,
    ) -> Result<Client, Failure> {
        let mut client = Client {
            stream: UnixStream::connect(socket).map_err(|error| unreachable(socket, &error))?,
            socket: socket.to_owned(),
            program: String::new(),
            interrupt,
            patience,
        };
        client.shake_hands()?;
        Ok(client)
    }

    /// Connects again, after weir went away.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub(crate) fn reconnect(&mut self) -> Result<(), Failure> {
        let connected = UnixStream::connect(&self.socket);
        self.stream = connected.map_err(|error| unreachable(&self.socket, &error))?;
        self.shake_hands()
    }

    fn shake_hands(&mut self) -> Result<(), Failure> {
        let hello = Hello { protocol: PROTOCOL, program: env!("CARGO_PKG_VERSION").to_owned() };
        let welcome: Welcome = self
            .send(&hello)
            .and_then(|()| self.receive(self.patience))
            .map_err(|lost| self.no_welcome(&lost))?;
        self.program = welcome.program;
        if welcome.protocol == PROTOCOL {
            Ok(())
        } else {
            Err(skew(&self.program, welcome.protocol))
        }
    }

    /// Sends one request and waits for its answer.
    ///
    /// # Errors
    /// The daemon's refusal; exit 5 if it went away or does not answer, 130 after Ctrl-C.
    pub(crate) fn ask(&mut self, request: impl Into<Request>) -> Result<Answer, Failure> {
        let request = request.into();
        let patience = self.patience + work_of(&request);
        let answer = self.send(&request).and_then(|()| self.receive(patience));
        match answer.map_err(|lost| self.no_answer(&lost, &request))? {
            Response::Done(answer) => Ok(answer),
            Response::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// Waits until the daemon closes the connection, as it does when it leaves. False if it did
    /// not within `patience`.
    pub(crate) fn wait_gone(&mut self, patience: Duration) -> Result<bool, Failure> {
        let deadline = clock::now() + patience;
        match self.read(&mut [0], deadline) {
            Err(Lost::Interrupted) => Err(interrupted("weir goes on stopping")),
            Err(Lost::Silent) => Ok(false),
            Ok(()) | Err(_) => Ok(true),
        }
    }

    fn send<T: Serialize>(&mut self, value: &T) -> Result<(), Lost> {
        let bytes = frame::encode_message(value, REQUEST_MAX).map_err(Lost::Malformed)?;
        self.stream.set_write_timeout(Some(self.patience)).map_err(Lost::Failed)?;
        self.stream.write_all(&bytes).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Lost::Closed,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Lost::Silent,
            _ => Lost::Failed(error),
        })
    }

    fn receive<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<T, Lost> {
        let mut incoming = Incoming::new(ANSWER_MAX);
        while incoming.has_more() {
            let deadline = clock::now() + patience;
            let mut header = [0; HEADER];
            self.read(&mut header, deadline)?;
            self.read(incoming.next(header).map_err(Lost::Malformed)?, deadline)?;
        }
        frame::decode(&incoming.into_body()).map_err(Lost::Malformed)
    }

    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<(), Lost> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.interrupt.pressed() {
                return Err(Lost::Interrupted);
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Err(Lost::Silent);
            }
            self.stream.set_read_timeout(Some(left.min(GLANCE))).map_err(Lost::Failed)?;
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) => return Err(Lost::Closed),
                Ok(count) => filled += count,
                // A read with a timeout is not restarted after a signal: that is Ctrl-C's way in.
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                    ErrorKind::ConnectionReset => return Err(Lost::Closed),
                    _ => return Err(Lost::Failed(error)),
                },
            }
        }
        Ok(())
    }

    fn no_welcome(&self, lost: &Lost) -> Failure {
        let socket = self.socket.display();
        let (exit, message, hint) = match lost {
            Lost::Closed => (
                Exit::Unreachable,
                format!("{socket} closed the connection without a welcome"),
                "weir may be stopping, or may not let you in: see its log".to_owned(),
            ),
            Lost::Malformed(error) => (
                Exit::Failed,
                format!("what listens on {socket} is not a weir that weirctl knows: {error}"),
                "name weir's control socket with -s, or use the weirctl that came with it".into(),
            ),
            other => return self.lost(other),
        };
        Failure::new(exit, message, hint)
    }

    fn no_answer(&self, lost: &Lost, request: &Request) -> Failure {
        let mutation = matches!(request, Request::Command(command) if !command.is_dry_run());
        match lost {
            Lost::Malformed(FrameError::TooLong(length)) => Failure::new(
                Exit::Failed,
                format!("this needs a message of {length} bytes, more than the socket carries"),
                "ask about one pool, or apply a smaller file",
            ),
            Lost::Malformed(error) => Failure::new(
                Exit::Failed,
                format!(
                    "weir {} said something that weirctl {} does not know: {error}",
                    self.program,
                    env!("CARGO_PKG_VERSION")
                ),
                "use the weirctl that came with this weir",
            ),
            Lost::Interrupted if mutation => interrupted("the operation goes on"),
            Lost::Closed | Lost::Silent if mutation => {
                let mut failure = self.lost(lost);
                failure.message += "; whether it was done is not known";
                failure.hint = "weirctl config history".into();
                failure
            }
            other => self.lost(other),
        }
    }

    fn lost(&self, lost: &Lost) -> Failure {
        let socket = self.socket.display();
        let message = match lost {
            Lost::Closed => format!("weir closed the connection on {socket} before it answered"),
            Lost::Silent => {
                format!("weir on {socket} did not answer within {} s", self.patience.as_secs_f64())
            }
            Lost::Interrupted => return interrupted("nothing was changed"),
            Lost::Malformed(error) => error.to_string(),
            Lost::Failed(error) => format!("talking to weir on {socket}: {error}"),
        };
        let hint = "see whether it still runs: weirctl status";
        let mut failure = Failure::new(Exit::Unreachable, message, hint);
        if matches!(lost, Lost::Closed) {
            failure.code = Client::CLOSED;
        }
        failure
    }
}

/// The time that the work itself may take: sessions that are waited for, a file that is read.
fn work_of(request: &Request) -> Duration {
    const EACH_MIB: Duration = Duration::from_secs(10);
    match request {
        Request::Command(Command::Stop { drain_ms: Some(ms) }) => Duration::from_millis(*ms),
        // The new process makes its rings, learns the configuration, takes the sessions.
        Request::Command(Command::Upgrade { .. }) => Duration::from_secs(180),
        Request::Command(Command::Change { change: ChangeRequest::Apply { toml, .. }, .. })
        | Request::Query(Query::ConfigDiff { toml, .. }) => {
            EACH_MIB * u32::try_from(toml.len() >> 20).unwrap_or(u32::MAX)
        }
        _ => Duration::ZERO,
    }
}

/// Ctrl-C, and what goes on without weirctl.
pub(crate) fn interrupted(goes_on: &str) -> Failure {
    Failure::new(Exit::Interrupted, format!("interrupted; {goes_on}"), "")
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let at = socket.display();
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::new(
            Exit::Denied,
            format!("you may not open {at}"),
            format!("sudo weirctl -s {at} …, or join the group that owns the socket"),
        ),
        ErrorKind::NotFound => Failure::new(
            Exit::Unreachable,
            format!("weir is not running: there is no socket {at}"),
            "start it: weir run -c weir.toml; or name another socket with -s or $WEIR_SOCKET",
        ),
        ErrorKind::ConnectionRefused => Failure::new(
            Exit::Unreachable,
            format!("weir is not running: nobody listens on {at}"),
            "start it: weir run -c weir.toml; or name another socket with -s or $WEIR_SOCKET",
        ),
        _ => Failure::new(
            Exit::Unreachable,
            format!("cannot reach weir on {at}: {error}"),
            "start it: weir run -c weir.toml; or name another socket with -s or $WEIR_SOCKET",
        ),
    }
}

fn skew(program: &str, protocol: u32) -> Failure {
    let own = env!("CARGO_PKG_VERSION");
    let mut failure = Failure::new(
        Exit::Failed,
        format!(
            "weirctl {own} and weir {program} do not understand each other: \
             protocol {PROTOCOL} here, protocol {protocol} there"
        ),
        format!("use the weirctl that came with weir {program}"),
    );
    failure.code = "version_skew";
    failure
}

#[cfg(test)]
mod tests;
