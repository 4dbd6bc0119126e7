//! A [`Member`] that only wants to be served: the server greets with one byte and then sends back
//! what it gets; the client waits for the greeting, and may send pings.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::crowd::{Crowd, Member, Ready, Wish};
use crate::net::End;

/// Between two pings.
const REST: Duration = Duration::from_millis(10);

/// One side of a session that is there to be there.
#[derive(Debug, Default)]
pub struct Guest {
    is_client: bool,
    greeted: bool,
    /// Set: closes its socket at the next chance.
    pub leaves: bool,
    /// Set: sends one byte after the other and waits for each to come back.
    pub pings: bool,
    /// A client: when the greeting came.
    pub served_at: Option<Instant>,
    /// How long each ping took.
    pub rounds: Vec<Duration>,
    pinged_at: Option<Instant>,
    rest_until: Option<Instant>,
    /// How the other side ended, and when.
    pub ended: Option<(End, Instant)>,
    echo: Vec<u8>,
}

impl Guest {
    #[must_use]
    pub fn client() -> Guest {
        Guest { is_client: true, ..Guest::default() }
    }

    /// A client that pings from its greeting on.
    #[must_use]
    pub fn pinging() -> Guest {
        Guest { pings: true, ..Guest::client() }
    }

    #[must_use]
    pub fn server() -> Guest {
        Guest::default()
    }

    #[must_use]
    pub fn is_client(&self) -> bool {
        self.is_client
    }

    /// A client that was greeted and whose session has not ended.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.is_client && self.served_at.is_some() && self.ended.is_none() && !self.leaves
    }

    fn read(&mut self, mut stream: &TcpStream, now: Instant) {
        let mut chunk = [0; 4096];
        while self.ended.is_none() {
            match stream.read(&mut chunk) {
                Ok(0) => self.ended = Some((End::Fin, now)),
                Ok(length) if self.is_client => self.on_bytes(length, now),
                Ok(length) => self.echo.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.ended = Some((End::Rst, now)),
            }
        }
    }

    fn on_bytes(&mut self, mut length: usize, now: Instant) {
        if self.served_at.is_none() {
            self.served_at = Some(now);
            length -= 1;
        }
        if length > 0
            && let Some(at) = self.pinged_at.take()
        {
            self.rounds.push(now - at);
            self.rest_until = Some(now + REST);
        }
    }

    fn write(&mut self, mut stream: &TcpStream, now: Instant) {
        if !self.is_client {
            if !self.greeted {
                self.greeted = true;
                self.echo.insert(0, b'!');
            }
            if let Ok(length) = stream.write(&self.echo) {
                self.echo.drain(..length);
            }
            return;
        }
        let rests = self.rest_until.is_some_and(|until| until > now);
        let may_ping = self.pings && self.is_served() && !rests && self.pinged_at.is_none();
        if may_ping && stream.write(b"?").is_ok() {
            self.pinged_at = Some(now);
        }
    }
}

impl Crowd<Guest> {
    /// True if each of these clients was greeted and its session has not ended.
    #[must_use]
    pub fn all_served(&mut self, numbers: &[usize]) -> bool {
        numbers.iter().all(|number| self.member(*number).is_served())
    }

    /// Each of these clients sends a byte and gets it back.
    ///
    /// # Panics
    /// If that takes 20 seconds.
    pub fn ask_each(&mut self, numbers: &[usize]) {
        for number in numbers {
            self.member(*number).pings = true;
            self.nudge(*number);
        }
        self.turn_until(Duration::from_secs(20), "an answer for each", |crowd| {
            numbers.iter().all(|number| {
                let guest = crowd.member(*number);
                guest.pings = guest.rounds.is_empty();
                !guest.pings
            })
        });
    }

    /// Turns until each client was served and has left.
    ///
    /// # Panics
    /// If that takes half a minute.
    pub fn let_all_go(&mut self) {
        self.turn_until(Duration::from_secs(30), "everybody to be served", |crowd| {
            for number in 0..crowd.len() {
                if crowd.member(number).is_served() {
                    crowd.member(number).leaves = true;
                    crowd.nudge(number);
                }
            }
            crowd.open() == 0
        });
    }
}

impl Member for Guest {
    fn act(&mut self, stream: &TcpStream, ready: Ready, now: Instant) -> Wish {
        if self.leaves {
            return Wish::Done;
        }
        if ready.readable || ready.failed {
            self.read(stream, now);
        }
        if self.ended.is_some() {
            return Wish::Done;
        }
        self.write(stream, now);
        let until = self.rest_until.filter(|until| self.pings && *until > now);
        Wish::Wait { read: true, write: !self.echo.is_empty(), until }
    }
}
