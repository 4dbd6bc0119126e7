//! One configuration on its own program and on weir: its addresses become those of the story, and
//! both have the same backends.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;

use weir_tests::clock::{PATIENCE, now, wait_for};
use weir_tests::net::{Backend, Dialogue, Peer, Script, free, own_ip};
use weir_tests::real::Server;
use weir_tests::weir::{Dir, Start, Weir};

/// A configuration, and what of it the story replaces.
pub(super) struct Migration {
    pub(super) file: &'static str,
    /// `bind *:80` or `listen 80`, with a name.
    pub(super) listens: &'static [(&'static str, &'static str)],
    /// An address, the name of its server and what that does. `port N` is on the host of the
    /// server before it.
    pub(super) servers: &'static [(&'static str, &'static str, Script)],
    /// Texts that are replaced before, on both sides.
    pub(super) edits: &'static [(&'static str, &'static str)],
}

/// A server that accepts and says nothing but its name.
pub(super) const PLAIN: Script = Script::Answers(&Dialogue { greeting: b"", answers: &[] });

/// One of the two programs.
pub(super) struct Program {
    name: &'static str,
    listens: BTreeMap<&'static str, SocketAddr>,
    speaks_http: bool,
}

pub(super) struct Comparison {
    pub(super) backends: BTreeMap<&'static str, Backend>,
    pub(super) peer: Program,
    pub(super) weir: Program,
    _process: Weir,
    _server: Server,
}

/// How many sessions went to whom; `-` is a session without an answer.
pub(super) type Spread = BTreeMap<String, usize>;

impl Migration {
    pub(super) fn start(&self) -> Comparison {
        let mut backends: BTreeMap<&'static str, Backend> = BTreeMap::new();
        let mut replaced: Vec<(String, String)> = Vec::new();
        let mut ip = own_ip();
        for (index, (text, name, script)) in self.servers.iter().enumerate() {
            let is_beside = text.starts_with("port ");
            if index > 0 && !is_beside {
                ip = own_ip();
            }
            // A port that two servers have is one port.
            let port = replaced.iter().find(|(old, _)| is_beside && old == text);
            let port = port.map(|(_, new)| new["port ".len()..].parse().expect("a port"));
            let backend = match port {
                Some(port) => Backend::start_at(name, SocketAddr::new(ip, port), *script),
                None => Backend::start(name, ip, *script),
            };
            let address = backend.address;
            let new =
                if is_beside { format!("port {}", address.port()) } else { address.to_string() };
            replaced.push(((*text).to_owned(), new));
            backends.insert(name, backend);
        }
        let is_haproxy = self.file.ends_with(".cfg");
        let peer = self.side(if is_haproxy { "haproxy" } else { "nginx" });
        let weir = self.side("weir");
        // A port of UDP takes no connect.
        let of_tcp = peer.listens.iter().filter(|(name, _)| **name != "udp");
        let addresses: Vec<SocketAddr> = of_tcp.map(|(_, address)| *address).collect();
        let dir =
            self.directory(&peer, &replaced, if is_haproxy { "haproxy.cfg" } else { "nginx.conf" });
        let server = match is_haproxy {
            true => Server::haproxy(dir, addresses),
            false => Server::nginx_stream(dir, addresses),
        };
        let dir = self.directory(&weir, &replaced, self.file);
        let ran = super::init(self.file, &dir.entry("")).expect_code(0);
        // The story has process settings of its own.
        let objects = match ran.stdout.split_once("\n[weir]\n") {
            Some((head, tail)) => head.to_owned() + tail.split_once('\n').expect("one setting").1,
            None => ran.stdout.clone(),
        };
        let web = weir.listens.values().next().copied().expect("it listens somewhere");
        let process = Weir::start(web, &objects, Start::default());
        Comparison { backends, peer, weir, _process: process, _server: server }
    }

    fn side(&self, name: &'static str) -> Program {
        // An address for each: the same port may be found free twice.
        let listens = self.listens.iter().map(|(_, name)| (*name, free(own_ip()))).collect();
        Program { name, listens, speaks_http: self.file == "web.cfg" }
    }

    /// The files of the case with the addresses of a side.
    fn directory(&self, side: &Program, servers: &[(String, String)], name: &str) -> Dir {
        let mut pairs: Vec<(String, String)> = servers.to_vec();
        for (text, name) in self.listens {
            let mut words = text.split_whitespace();
            let first = words.next().unwrap_or_default();
            let rest: Vec<&str> = words.skip(1).collect();
            let address = side.listens[name].to_string();
            let new = [&[first, &address], &rest[..]].concat().join(" ");
            pairs.push(((*text).to_owned(), new));
        }
        // 10.0.0.1:80 is the beginning of 10.0.0.1:8080.
        pairs.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        let dir = Dir::new();
        let rewrite = |path: &Path| {
            let mut text = std::fs::read_to_string(path).expect("the configuration is there");
            for (old, new) in self.edits {
                assert!(text.contains(old), "{} has no {old}", self.file);
                text = text.replace(old, new);
            }
            for (old, new) in &pairs {
                text = text.replace(old, new);
            }
            if side.name == "weir" { text } else { runnable(&text, &dir) }
        };
        dir.write(name, &rewrite(&super::place().join(self.file)));
        if self.file == "rabbitmq.conf" {
            std::fs::create_dir(dir.path.join("included")).expect("there is room");
            let text = rewrite(&super::place().join("included/amqp.stream"));
            dir.write("included/amqp.stream", &text);
        }
        dir
    }
}

/// Without what a story has no right or no place for.
fn runnable(text: &str, dir: &Dir) -> String {
    const DROPPED: &[&str] = &[
        "chroot",
        "user ",
        "group ",
        "daemon",
        "stats socket",
        "pidfile",
        "log ",
        "load_module",
        "pid ",
        "error_log",
        "access_log",
    ];
    let kept = text.lines().filter(|line| {
        let line = line.trim_start();
        !DROPPED.iter().any(|word| line.starts_with(word))
    });
    let temp = dir.entry("temp");
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = paths.iter().map(|it| format!("{it}_temp_path {temp}; ")).collect();
    let text: String = kept.map(|line| format!("{line}\n")).collect();
    text.replace("http {", &format!("http {{ access_log off; {paths}"))
}

impl Program {
    /// Opens a session, says `words`, and gives it with the name of the backend that answers.
    pub(super) fn ask(
        &self,
        listen: &str,
        from: Option<IpAddr>,
        words: &[u8],
    ) -> (Option<TcpStream>, String) {
        let to = self.listens[listen];
        let peer = match from {
            // One that is refused may be reset before its connect is looked at.
            Some(source) => Peer::try_connect_from(source, to, PATIENCE).ok(),
            None => Peer::try_connect(to).ok(),
        };
        let nothing = (None, "-".to_owned());
        let Some(mut stream) = peer.map(Peer::into_stream) else { return nothing };
        let _ = stream.set_read_timeout(Some(PATIENCE));
        if stream.write_all(words).is_err() {
            return nothing;
        }
        let (mut heard, mut chunk) = (Vec::new(), [0; 1024]);
        loop {
            match stream.read(&mut chunk) {
                Ok(count @ 1..) => heard.extend(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                _ if self.speaks_http => {
                    let text = String::from_utf8_lossy(&heard);
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
                    return (None, body.filter(|it| !it.is_empty()).unwrap_or(nothing.1));
                }
                _ => return nothing,
            }
            let text = String::from_utf8_lossy(&heard);
            let name = text.split_once("iam:").and_then(|(_, tail)| tail.split_once('\n'));
            if let Some((name, _)) = name {
                return (Some(stream), name.to_owned());
            }
        }
    }

    fn words(&self) -> &'static [u8] {
        if self.speaks_http { b"GET / HTTP/1.0\r\n\r\n" } else { b"WHO\n" }
    }

    /// The spread of `count` sessions, all of them open at once.
    pub(super) fn spread(&self, listen: &str, count: usize) -> Spread {
        let mut spread = Spread::new();
        let mut held = Vec::new();
        for _ in 0..count {
            let (stream, name) = self.ask(listen, None, self.words());
            held.extend(stream);
            *spread.entry(name).or_default() += 1;
        }
        spread
    }

    /// Waits until these, and no others, get sessions.
    pub(super) fn settle(&self, listen: &str, names: &[&str]) {
        let what = format!("{} to lead {listen} to {names:?}", self.name);
        wait_for(&what, || {
            let spread = self.spread(listen, 12);
            names.iter().all(|name| spread.contains_key(*name)) && spread.len() == names.len()
        });
    }

    /// Asks and ends its direction at once; the answer comes anyway where half closes pass.
    fn ask_and_end(&self, listen: &str) -> String {
        let mut stream = TcpStream::connect(self.listens[listen]).expect("it listens");
        let _ = stream.set_read_timeout(Some(PATIENCE));
        stream.write_all(self.words()).expect("it takes some bytes");
        stream.shutdown(Shutdown::Write).expect("the direction is open");
        let mut heard = String::new();
        stream.read_to_string(&mut heard).expect("the other one ends in order");
        heard
    }

    /// How long an idle session lives, in seconds.
    fn idle_for(&self, listen: &str) -> f64 {
        let (stream, name) = self.ask(listen, None, self.words());
        let mut stream = stream.unwrap_or_else(|| panic!("{}: {name}", self.name));
        let begun = now();
        // Reads again where a signal comes between.
        let _ = stream.read_to_end(&mut Vec::new());
        now().duration_since(begun).as_secs_f64()
    }
}

impl Comparison {
    /// Both lead to these backends.
    pub(super) fn settle(&self, listen: &str, names: &[&str]) {
        self.peer.settle(listen, names);
        self.weir.settle(listen, names);
    }

    /// Both give each backend as many sessions, give or take `tolerance`.
    pub(super) fn alike(&self, listen: &str, count: usize, tolerance: usize) {
        let (peer, weir) = (self.peer.spread(listen, count), self.weir.spread(listen, count));
        let names = |spread: &Spread| spread.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&peer), names(&weir), "{}: {peer:?}, weir: {weir:?}", self.peer.name);
        assert!(!peer.contains_key("-"), "{peer:?}");
        for (name, count) in &peer {
            let fits = count.abs_diff(weir[name]) <= tolerance;
            assert!(fits, "{}: {peer:?}, weir: {weir:?} ±{tolerance}", self.peer.name);
        }
    }

    /// A client that ends its direction first gets its answer on both.
    pub(super) fn passes_half_closes(&self, listen: &str) {
        for side in [&self.peer, &self.weir] {
            let heard = side.ask_and_end(listen);
            assert!(heard.starts_with("iam:"), "{}: {heard:?}", side.name);
        }
    }

    /// An idle session lives for some seconds on both.
    pub(super) fn idles_for(&self, listen: &str, seconds: f64) {
        for side in [&self.peer, &self.weir] {
            let lived = side.idle_for(listen);
            let fits = (seconds - 0.1..seconds + 4.0).contains(&lived);
            assert!(fits, "{}: an idle session lives for {lived} s, not {seconds}", side.name);
        }
    }

    /// Each client address has one backend on either side, and all have some.
    pub(super) fn sticky(&self, listen: &str, names: &[&str]) {
        for side in [&self.peer, &self.weir] {
            let mut spread = Spread::new();
            for index in 0..60_u8 {
                let source: IpAddr = [127, 9, index % 7, index + 1].into();
                let (_, first) = side.ask(listen, Some(source), side.words());
                let (_, again) = side.ask(listen, Some(source), side.words());
                assert_eq!(first, again, "{}: {source} changed its backend", side.name);
                *spread.entry(first).or_default() += 1;
            }
            let all = names.iter().all(|name| spread.contains_key(*name));
            assert!(all && spread.len() == names.len(), "{}: {spread:?}", side.name);
        }
    }

    /// A client that begins with `header` hears these bytes first on both.
    pub(super) fn says(&self, listen: &str, header: &[u8], text: &[u8]) {
        for side in [&self.peer, &self.weir] {
            let mut client = Peer::connect(side.listens[listen]);
            client.send(&[header, side.words()].concat()).expect(text);
        }
    }

    /// A peer that may not come here is refused on both, whatever address its header tells.
    pub(super) fn refuses_headers_of_strangers(&self, listen: &str) {
        for side in [&self.peer, &self.weir] {
            let words = [b"PROXY TCP4 127.0.0.1 127.0.0.1 4000 25\r\n", side.words()].concat();
            assert_ne!(side.ask(listen, None, &words).1, "-", "{}", side.name);
            let stranger = Some([127, 9, 9, 9].into());
            assert_eq!(side.ask(listen, stranger, &words).1, "-", "{}", side.name);
        }
    }

    /// Without this backend both lead to `others`, and `listen` never fails.
    pub(super) fn down(&mut self, name: &str, listen: &str, others: &[&str]) {
        self.backends.get_mut(name).expect("it is one of the case").pause();
        self.settle(listen, others);
    }

    /// The backend is back.
    pub(super) fn up(&mut self, name: &str) {
        self.backends.get_mut(name).expect("it is one of the case").resume();
    }
}
