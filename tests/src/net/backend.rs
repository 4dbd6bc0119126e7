//! Scripted backends: a listener on a free port, and one thread for each connection.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use crate::clock::{self, PATIENCE};
use crate::net::{Peer, free};

/// What a backend does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Sends back what it gets; ends its direction after the other one has ended.
    Echo,
    /// Says its name and a newline, then [`Script::Echo`].
    Banner,
    /// Reads for ever, says nothing, and ends when the other side does.
    Sink,
    /// Accepts, and leaves the connection alone.
    Silent,
    /// Resets the connection once it has read this many bytes.
    RstAfter(usize),
    /// Resets three connections of ten once it has read this many bytes, as a server does that is
    /// being restarted; otherwise [`Script::Echo`], or [`Script::Banner`] if that is none.
    Flaky(usize),
    /// Answers one HTTP request with [`Backend::set_status`] and its name as the body.
    Http,
    /// Answers each line `PING` with `PONG` (while the status is 200) or `LOADING`.
    PingPong,
    /// Answers what it is asked as a server of some protocol would, and `WHO` with its name.
    Answers(&'static Dialogue),
    /// The test plays the backend: [`Backend::accept`].
    ByHand,
}

/// The words of a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialogue {
    /// At once.
    pub greeting: &'static [u8],
    /// Words that it hears, and its answers, once each.
    pub answers: &'static [(&'static [u8], &'static [u8])],
}

/// A running backend; it ends when it is dropped.
#[derive(Debug)]
pub struct Backend {
    pub name: String,
    pub address: SocketAddr,
    script: Script,
    shared: Arc<BackendShared>,
    accepted: Mutex<Receiver<Peer>>,
    accepted_sender: Sender<Peer>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct BackendShared {
    name: String,
    stop: AtomicBool,
    count: AtomicUsize,
    status: AtomicU16,
    /// Connections end with a RST, not with a FIN.
    dead: AtomicBool,
    /// The open connections, by the number of their accept.
    open: Mutex<BTreeMap<usize, Arc<TcpStream>>>,
}

impl Backend {
    /// Starts one on an address of its own port.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start(name: &str, ip: IpAddr, script: Script) -> Backend {
        Backend::start_at(name, free(ip), script)
    }

    /// The same at an address that is free.
    pub fn start_at(name: &str, address: SocketAddr, script: Script) -> Backend {
        let shared = Arc::new(BackendShared {
            name: name.to_owned(),
            stop: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            status: AtomicU16::new(200),
            dead: AtomicBool::new(false),
            open: Mutex::new(BTreeMap::new()),
        });
        let (accepted_sender, accepted) = channel();
        let name = name.to_owned();
        let accepted = Mutex::new(accepted);
        let thread = None;
        let mut backend =
            Backend { name, address, script, shared, accepted, accepted_sender, thread };
        backend.resume();
        backend
    }

    /// Listens (again), after [`Backend::pause`].
    ///
    /// # Panics
    /// If the port has been taken meanwhile.
    pub fn resume(&mut self) {
        assert!(self.thread.is_none(), "{} listens already", self.name);
        // std sets SO_REUSEADDR: connections of before do not stand in the way.
        let listener = clock::wait_within(PATIENCE, "the backend's port", || {
            TcpListener::bind(self.address).ok()
        });
        self.shared.stop.store(false, Ordering::SeqCst);
        self.shared.dead.store(false, Ordering::SeqCst);
        let (shared, sender) = (Arc::clone(&self.shared), self.accepted_sender.clone());
        let script = self.script;
        let run = move || accept_loop(&listener, script, &shared, &sender);
        self.thread = Some(std::thread::spawn(run));
    }

    /// Stops listening: connects are refused. Open connections go on.
    pub fn pause(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes accept(2). It may fail if the loop has just left.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        let _ = thread.join();
    }

    /// Resets every open connection and stops listening: the machine is gone.
    pub fn die(&mut self) {
        self.pause();
        self.reset_all();
    }

    fn reset_all(&self) {
        self.shared.dead.store(true, Ordering::SeqCst);
        for stream in std::mem::take(&mut *lock(&self.shared.open)).into_values() {
            let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            // Wakes the thread that reads; the last handle that goes sends the RST.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    /// The connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        lock(&self.shared.open).len()
    }

    /// The connections that were accepted so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// What [`Script::Http`] answers from now on; with [`Script::PingPong`], 200 is healthy.
    pub fn set_status(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// With [`Script::ByHand`]: the next connection, if there is one.
    #[must_use]
    pub fn try_accept(&self) -> Option<Peer> {
        lock(&self.accepted).try_recv().ok()
    }

    /// With [`Script::ByHand`]: the next connection.
    ///
    /// # Panics
    /// If none comes.
    #[must_use]
    pub fn accept(&self) -> Peer {
        lock(&self.accepted).recv_timeout(PATIENCE).expect("weir connects to the backend")
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.pause();
        for stream in lock(&self.shared.open).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept_loop(
    listener: &TcpListener,
    script: Script,
    shared: &Arc<BackendShared>,
    by_hand: &Sender<Peer>,
) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        // A connection that is gone before it is accepted (ECONNABORTED) is no reason to end.
        let Ok(stream) = stream else { continue };
        let number = shared.count.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        if script == Script::ByHand {
            let _ = by_hand.send(Peer::new(stream));
            continue;
        }
        let stream = Arc::new(stream);
        lock(&shared.open).insert(number, Arc::clone(&stream));
        let shared = Arc::clone(shared);
        let script = match script {
            // Never two in a row.
            Script::Flaky(length) if number * 7 % 10 < 3 => Script::RstAfter(length),
            Script::Flaky(0) => Script::Banner,
            Script::Flaky(_) => Script::Echo,
            script => script,
        };
        let serve = move || {
            // Errors are the peer's doing (a reset): the connection is over, that is all.
            let _ = serve(&stream, script, &shared);
            lock(&shared.open).remove(&number);
        };
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        thread.spawn(serve).expect("there is a thread for each connection");
    }
}

fn serve(mut stream: &TcpStream, script: Script, shared: &BackendShared) -> std::io::Result<()> {
    let mut chunk = vec![0; 32 << 10];
    match script {
        Script::Banner => {
            stream.write_all(format!("{}\n", shared.name).as_bytes())?;
            echo(stream, shared, &mut chunk)
        }
        Script::Echo => echo(stream, shared, &mut chunk),
        Script::Sink | Script::Silent => {
            if script == Script::Sink {
                while stream.read(&mut chunk)? > 0 {}
            } else {
                stream.peek(&mut [0])?;
                clock::try_wait(PATIENCE, || shared.stop.load(Ordering::SeqCst).then_some(()));
            }
            Ok(())
        }
        Script::RstAfter(length) => {
            stream.read_exact(&mut vec![0; length])?;
            SockRef::from(stream).set_linger(Some(Duration::ZERO))
        }
        Script::Http => answer_http(stream, shared),
        Script::PingPong => ping_pong(stream, shared),
        Script::Answers(dialogue) => answer_all(stream, shared, dialogue),
        Script::ByHand | Script::Flaky(_) => unreachable!("decided before"),
    }
}

fn echo(mut stream: &TcpStream, shared: &BackendShared, chunk: &mut [u8]) -> std::io::Result<()> {
    loop {
        match stream.read(chunk) {
            Ok(0) if shared.dead.load(Ordering::SeqCst) => return Ok(()),
            Ok(0) => return stream.shutdown(Shutdown::Write),
            Ok(length) => stream.write_all(&chunk[..length])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn answer_http(mut stream: &TcpStream, shared: &BackendShared) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        request.push(byte[0]);
    }
    let (status, body) = (shared.status.load(Ordering::SeqCst), &shared.name);
    let head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n", body.len());
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())?;
    stream.shutdown(Shutdown::Write)
}

fn answer_all(
    mut stream: &TcpStream,
    shared: &BackendShared,
    dialogue: &Dialogue,
) -> std::io::Result<()> {
    stream.write_all(dialogue.greeting)?;
    let name = format!("iam:{}\n", shared.name);
    let who: (&[u8], &[u8]) = (b"WHO\n", name.as_bytes());
    let mut left: Vec<_> = dialogue.answers.iter().copied().chain([who]).collect();
    let (mut heard, mut chunk) = (Vec::<u8>::new(), [0; 1024]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return stream.shutdown(Shutdown::Write),
            Ok(count) => heard.extend(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let is_heard = |words: &[u8]| heard.windows(words.len()).any(|it| it == words);
        for (_, answer) in left.extract_if(.., |(asked, _)| is_heard(asked)) {
            stream.write_all(answer)?;
        }
    }
}

fn ping_pong(mut stream: &TcpStream, shared: &BackendShared) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        line.push(byte[0]);
        if byte[0] == b'\n' {
            let healthy = line.starts_with(b"PING") && shared.status.load(Ordering::SeqCst) == 200;
            stream.write_all(if healthy { b"+PONG\r\n" } else { b"-LOADING\r\n" })?;
            line.clear();
        }
    }
}
