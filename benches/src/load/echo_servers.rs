//! The backend of a herd: echo on many addresses, threads with private descriptor tables, and no
//! state but the descriptor.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{self, Sender};

use crate::clock::{now_ns, seconds_to_ns};
use crate::load::{BATCH, remaining};
use crate::sys::{self, Epoll, READ};

/// Listening addresses of a thread. Each gives a client all of its source ports once more.
const ADDRESSES: u8 = 4;
/// Tokens from here on are listeners.
const LISTENERS: usize = usize::MAX / 2;
/// Longest answer that is sent at once.
const BUFFER: usize = 16 * 1024;
/// Threads: one octet of the address.
const THREADS_MAX: u8 = 250;

/// Serves until the time is over; says all addresses in one line, `listening A,B,...`.
pub fn run(threads: u8, seconds: f64, output: &mut impl Write) -> io::Result<()> {
    sys::raise_open_files()?;
    let end_ns = now_ns() + seconds_to_ns(seconds);
    let (told, bound) = mpsc::channel();
    let mut running = Vec::new();
    for thread in 0..threads.min(THREADS_MAX) {
        let told = told.clone();
        let builder = std::thread::Builder::new().stack_size(256 << 10);
        running.push(builder.spawn(move || serve(thread, &told, end_ns))?);
    }
    let mut addresses = Vec::new();
    for _ in &running {
        let one: Vec<SocketAddr> =
            bound.recv().map_err(|_| io::Error::other("a thread has ended"))??;
        addresses.extend(one.iter().map(ToString::to_string));
    }
    writeln!(output, "listening {}", addresses.join(","))?;
    output.flush()?;
    for thread in running {
        thread.join().map_err(|_| io::Error::other("a thread has panicked"))??;
    }
    Ok(())
}

fn serve(thread: u8, told: &Sender<io::Result<Vec<SocketAddr>>>, end_ns: u64) -> io::Result<()> {
    match bind(thread) {
        Ok((epoll, listeners)) => {
            let addresses = listeners.iter().map(TcpListener::local_addr).collect();
            // Nobody waits for it any more: then the process ends anyway.
            let _ = told.send(addresses);
            Field { epoll, listeners, links: Vec::new() }.run(end_ns)
        }
        Err(error) => {
            let _ = told.send(Err(error));
            Ok(())
        }
    }
}

fn bind(thread: u8) -> io::Result<(Epoll, Vec<TcpListener>)> {
    sys::own_files()?;
    let epoll = Epoll::new()?;
    let mut listeners = Vec::new();
    for last in 1..=ADDRESSES {
        let address = SocketAddr::from((Ipv4Addr::new(127, 1, thread, last), 0));
        let listener = sys::listen(address)?;
        epoll.add(&listener, LISTENERS + listeners.len(), READ)?;
        listeners.push(listener);
    }
    Ok((epoll, listeners))
}

/// One thread's connections, by descriptor.
struct Field {
    epoll: Epoll,
    listeners: Vec<TcpListener>,
    links: Vec<Option<TcpStream>>,
}

impl Field {
    fn run(&mut self, end_ns: u64) -> io::Result<()> {
        let (mut events, mut buffer) = (vec![sys::no_event(); BATCH], vec![0; BUFFER]);
        loop {
            let now = now_ns();
            if now >= end_ns {
                return Ok(());
            }
            let ready = self.epoll.wait(&mut events, remaining(end_ns, now))?;
            for event in &events[..ready] {
                match usize::try_from(event.u64).expect("tokens are ours") {
                    at if at >= LISTENERS => self.accept_all(at - LISTENERS)?,
                    at => self.answer(at, &mut buffer),
                }
            }
        }
    }

    fn accept_all(&mut self, listener: usize) -> io::Result<()> {
        loop {
            let link = match sys::accept(&self.listeners[listener]) {
                Ok(link) => link,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    // A full table: those who wait in the queue are lost, and the herd says so.
                    eprintln!("weir-load: accept: {error}");
                    return self.epoll.remove(&self.listeners[listener]);
                }
            };
            let at = usize::try_from(link.as_raw_fd()).expect("an open descriptor");
            self.epoll.add(&link, at, READ)?;
            if self.links.len() <= at {
                self.links.resize_with(at + 1, || None);
            }
            self.links[at] = Some(link);
        }
    }

    /// Echoes what is there. A short request always fits the empty send buffer; if not, the
    /// connection is closed, and the herd says so.
    fn answer(&mut self, at: usize, buffer: &mut [u8]) {
        let Some(link) = self.links.get_mut(at).and_then(Option::as_mut) else { return };
        let kept = match link.read(buffer) {
            Ok(0) => false,
            Ok(length) => link.write(&buffer[..length]).is_ok_and(|sent| sent == length),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        if !kept {
            self.links[at] = None;
        }
    }
}
