//! Server-sent events, read by a test as a browser reads them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::clock::PATIENCE;
use crate::weir::Weir;

/// A stream that weir sends.
#[derive(Debug)]
pub struct Stream {
    reader: BufReader<TcpStream>,
    pub status: u16,
    /// The head, lower case.
    pub head: String,
    /// Text that has come and was not read as a message.
    text: String,
    /// The id that a browser would send when it connects again.
    pub last_id: String,
}

/// One message of a stream.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub id: String,
    pub event: String,
    pub data: Value,
}

impl Weir {
    /// Asks for a stream. [`Stream::status`] says whether it is one.
    ///
    /// # Panics
    /// If there is no answer in HTTP.
    #[must_use]
    pub fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let mut stream = TcpStream::connect(self.admin).expect("the admin address answers");
        stream.set_read_timeout(Some(2 * PATIENCE)).expect("a socket takes a timeout");
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
        head += "Accept: text/event-stream\r\n";
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all((head + "\r\n").as_bytes()).expect("the head is sent");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a head") > 0, "closed after {head:?}");
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let (text, last_id) = (String::new(), String::new());
        let head = head.to_lowercase();
        Stream { reader, status: status.expect("a status line"), head, text, last_id }
    }
}

impl Stream {
    /// One more chunk of text. False at the end.
    fn read(&mut self) -> bool {
        let mut line = String::new();
        if self.reader.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        let length = usize::from_str_radix(line.trim(), 16).expect("the length of a chunk");
        let mut chunk = vec![0; length + 2];
        if length == 0 || self.reader.read_exact(&mut chunk).is_err() {
            return false;
        }
        self.text += core::str::from_utf8(&chunk[..length]).expect("it is text");
        true
    }

    /// The next message, as a browser would hand it out: comments and ids alone are none. `None` at
    /// the end of the stream.
    pub fn try_next(&mut self) -> Option<Message> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut message = Message::default();
                let mut data = String::new();
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => id.clone_into(&mut message.id),
                        Some(("event", event)) => event.clone_into(&mut message.event),
                        Some(("data", text)) => data += text,
                        _ => {} // A comment, or the time for a new attempt.
                    }
                }
                if !message.id.is_empty() {
                    self.last_id.clone_from(&message.id);
                }
                self.text = rest.to_owned();
                if !data.is_empty() {
                    message.data = serde_json::from_str(&data).expect("data is JSON");
                    return Some(message);
                }
            }
            if !self.read() {
                return None;
            }
        }
    }

    /// The next message.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn take(&mut self) -> Message {
        self.try_next().expect("a message comes")
    }

    /// The next message that is meant; those before it are passed over.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn until(&mut self, is_meant: impl Fn(&Message) -> bool) -> Message {
        loop {
            let message = self.take();
            if is_meant(&message) {
                return message;
            }
        }
    }

    /// The next message whose data has this in it.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn hear(&mut self, part: &str) -> Message {
        self.until(|message| message.data.to_string().contains(part))
    }
}
