//! The usual set of a story: one weir with the listener `web`, and scripted backends in pool `web`.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::net::{Backend, Peer, Script, free, own_ip};
use crate::weir::{Start, Weir};

/// What a story wants; [`Plan::start`] makes it real.
#[derive(Clone, Debug)]
pub struct Plan {
    scripts: Vec<Script>,
    weights: Vec<u16>,
    externs: Vec<(String, String)>,
    strategy: String,
    pool: String,
    listener: String,
    health: String,
    start: Start,
    ip: IpAddr,
}

/// A running set. Backends outlive weir: what weir does at its end still finds them.
#[derive(Debug)]
pub struct Set {
    pub weir: Weir,
    pub backends: Vec<Backend>,
    /// The listeners and pools, as they were written into the file.
    pub objects: String,
}

impl Plan {
    /// `count` backends with this script, round-robin, without health checks and slow start, two
    /// shards.
    #[must_use]
    pub fn new(count: usize, script: Script) -> Plan {
        Plan {
            scripts: vec![script; count],
            weights: vec![1; count],
            externs: Vec::new(),
            strategy: "round-robin".to_owned(),
            pool: String::new(),
            listener: String::new(),
            health: "{ kind = \"none\", slow-start = \"0s\" }".to_owned(),
            start: Start::default(),
            ip: own_ip(),
        }
    }

    /// Another script for one backend.
    #[must_use]
    pub fn script(mut self, index: usize, script: Script) -> Plan {
        self.scripts[index] = script;
        self
    }

    /// The backends' weights.
    #[must_use]
    pub fn weights(mut self, weights: &[u16]) -> Plan {
        self.weights = weights.to_vec();
        self
    }

    #[must_use]
    pub fn strategy(mut self, strategy: &str) -> Plan {
        strategy.clone_into(&mut self.strategy);
        self
    }

    /// The value of `health`, in TOML.
    #[must_use]
    pub fn health(mut self, health: &str) -> Plan {
        health.clone_into(&mut self.health);
        self
    }

    /// More lines for the pool, in TOML.
    #[must_use]
    pub fn pool(mut self, lines: &str) -> Plan {
        lines.clone_into(&mut self.pool);
        self
    }

    /// More lines for the listener, in TOML.
    #[must_use]
    pub fn listener(mut self, lines: &str) -> Plan {
        lines.clone_into(&mut self.listener);
        self
    }

    /// RLIMIT_NOFILE of weir.
    #[must_use]
    pub fn nofile(mut self, limit: u32) -> Plan {
        self.start.nofile = Some(limit);
        self
    }

    /// An environment variable of weir.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Plan {
        self.start.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// More lines of `[weir]`; `{dir}` stands for the directory of the story's weir.
    #[must_use]
    pub fn settings(mut self, lines: &str) -> Plan {
        self.start.settings = format!("{lines}\n");
        self
    }

    /// A file that weir's log is appended to.
    #[must_use]
    pub fn log_file(mut self, path: impl Into<std::path::PathBuf>) -> Plan {
        self.start.log_file = Some(path.into());
        self
    }

    /// One more backend, at an address that the story itself listens on.
    #[must_use]
    pub fn extern_backend(mut self, name: &str, address: impl ToString) -> Plan {
        self.externs.push((name.to_owned(), address.to_string()));
        self
    }

    #[must_use]
    pub fn shards(mut self, shards: u16) -> Plan {
        self.start.shards = shards;
        self
    }

    /// Faults can be ordered at the running weir.
    #[must_use]
    pub fn failpoints(mut self) -> Plan {
        self.start.failpoints = true;
        self
    }

    /// The state is in memory, so that a change does not wait for a disk.
    #[must_use]
    pub fn in_memory(mut self) -> Plan {
        self.start.in_memory = true;
        self
    }

    /// Where the listener and the backends are, if not on an IPv4 address of the story's own.
    #[must_use]
    pub fn ip(mut self, ip: IpAddr) -> Plan {
        self.ip = ip;
        self
    }

    /// Starts backends and weir.
    ///
    /// # Panics
    /// If weir does not become ready.
    #[must_use]
    pub fn start(self) -> Set {
        let mut set = self.prepare();
        set.weir.run();
        set
    }

    /// Starts the backends; weir is ready to be started.
    #[must_use]
    pub fn prepare(self) -> Set {
        let named = self.scripts.iter().enumerate();
        let backends: Vec<Backend> = named
            .map(|(index, script)| Backend::start(&format!("b{}", index + 1), self.ip, *script))
            .collect();
        let web = free(self.ip);
        let objects = self.objects(web, &backends);
        let weir = Weir::prepare(web, &objects, self.start);
        Set { weir, backends, objects }
    }

    fn objects(&self, web: SocketAddr, backends: &[Backend]) -> String {
        let mut text = format!(
            "[listener.web]\nbind = \"{web}\"\npool = \"web\"\n{}\n\n\
             [pool.web]\nstrategy = \"{}\"\nhealth = {}\n{}\n\n[pool.web.backend]\n",
            self.listener, self.strategy, self.health, self.pool,
        );
        for (backend, weight) in backends.iter().zip(&self.weights) {
            let (name, address) = (&backend.name, backend.address);
            let _ = writeln!(text, "{name} = {{ address = \"{address}\", weight = {weight} }}");
        }
        for (name, address) in &self.externs {
            let _ = writeln!(text, "{name} = {{ address = \"{address}\" }}");
        }
        text
    }
}

impl Set {
    /// A client of the listener `web`.
    ///
    /// # Panics
    /// If weir does not accept.
    #[must_use]
    pub fn client(&self) -> Peer {
        Peer::connect(self.weir.web)
    }

    /// With [`Script::ByHand`]: a client, and its other end at the first backend.
    ///
    /// # Panics
    /// If either does not come.
    #[must_use]
    pub fn pair(&self) -> (Peer, Peer) {
        let client = self.client();
        (client, self.backends[0].accept())
    }

    /// With [`Script::Banner`]: a client that has heard from its backend, and the backend's name.
    ///
    /// # Panics
    /// If no backend answers.
    #[must_use]
    pub fn session(&self) -> (Peer, String) {
        let mut client = self.client();
        let name = client.line();
        (client, name)
    }

    /// Opens `count` sessions, one after the other; gives how many each backend got, in order.
    /// They are closed at once, or kept: `held` gets them.
    ///
    /// # Panics
    /// If a session is not served.
    #[must_use]
    pub fn spread(&self, count: usize, mut held: Option<&mut Vec<Peer>>) -> Vec<usize> {
        let mut counts = vec![0; self.backends.len()];
        for _ in 0..count {
            let (mut client, name) = self.session();
            counts[self.index(&name)] += 1;
            match &mut held {
                Some(held) => held.push(client),
                None => {
                    client.fin().expect_fin();
                }
            }
        }
        counts
    }

    /// The index of the backend of that name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn index(&self, name: &str) -> usize {
        let found = self.backends.iter().position(|backend| backend.name == name);
        found.unwrap_or_else(|| panic!("a session got {name:?}, which is no backend"))
    }
}
