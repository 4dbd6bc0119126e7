//! One engine with one shard, driven without the control thread.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use weir_engine::{Engine, Options};
use weir_proto::ids::{IdSource, ShardId, Version};
use weir_proto::order::{ListenerSocket, Order, Report};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::{BackendSpec, ListenerSpec, PoolSpec, Spec};
use weir_proto::stats::ShardStats;

/// One shard with one listener in front of `backends`.
pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    spec: Spec,
}

impl Rig {
    pub(crate) fn start(backends: &[SocketAddr]) -> Rig {
        // std's listener listens already; listening again only sets the backlog.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut pool = PoolSpec::default();
        for (number, address) in backends.iter().enumerate() {
            let spec = BackendSpec::new((*address).into());
            pool.backend.insert(format!("b{number}").parse().unwrap(), spec);
        }
        let address = listener.local_addr().unwrap();
        let spec = ListenerSpec::new("p".parse().unwrap(), vec![address]);
        let spec = Spec {
            listener: [("l".parse().unwrap(), spec)].into(),
            pool: [("p".parse().unwrap(), pool.into())].into(),
        };
        Rig::serve(listener, spec)
    }

    /// Another engine with the same configuration and the same listening socket.
    #[allow(dead_code)] // for one of the tests that share this file
    pub(crate) fn beside(&self) -> Rig {
        Rig::serve(self.listener.try_clone().unwrap(), self.spec.clone())
    }

    /// Another engine with the same configuration, and a listening socket that no client knows.
    #[allow(dead_code)] // as above
    pub(crate) fn apart(&self) -> Rig {
        Rig::serve(TcpListener::bind("127.0.0.1:0").unwrap(), self.spec.clone())
    }

    fn serve(listener: TcpListener, spec: Spec) -> Rig {
        let options = Options {
            shards: 1,
            sessions_max: 64,
            pipes_max: 4,
            buffers: 1024,
            pin: false,
            hash_seed: (1, 2),
            seed: 3,
            session_log: None,
        };
        let mut engine = Engine::start(&options).expect("io_uring is there");
        let address = listener.local_addr().unwrap();
        let mut ids = IdSource::default();
        let snapshot = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut ids).unwrap();
        let socket = listener.try_clone().unwrap().into();
        let named = spec.listener.values().next().expect("there is one").bind[0];
        let sockets = vec![ListenerSocket { address: named, socket }];
        let bell = engine.take_bell().expect("not taken yet");
        let order = Order::Adopt { snapshot: Arc::new(snapshot), sockets, health: Vec::new() };
        engine.send(ShardId(0), order).expect("there is room");
        let mut bell = std::os::unix::net::UnixStream::from(bell);
        bell.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        loop {
            match engine.take_report() {
                Some(Report::Adopted { edition, .. }) => {
                    assert_eq!(edition.version, Version(1));
                    break;
                }
                Some(_) => {}
                None => drop(bell.read(&mut [0; 64]).expect("the shard answers")),
            }
        }
        Rig { engine, address, listener, spec }
    }

    pub(crate) fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    }

    /// Waits for a report that `want` takes.
    pub(crate) fn report<T>(&self, want: impl Fn(Report) -> Option<T>) -> T {
        loop {
            match self.engine.take_report() {
                Some(report) => {
                    if let Some(wanted) = want(report) {
                        return wanted;
                    }
                }
                None => thread::yield_now(),
            }
        }
    }

    /// Stops the shard and gives its last statistics.
    pub(crate) fn stop(self) -> ShardStats {
        let spare = Box::new(ShardStats::new(ShardId(0)));
        self.engine.send(ShardId(0), Order::Collect { spare }).expect("there is room");
        self.engine.send(ShardId(0), Order::Stop).expect("there is room");
        let stats = self.report(|report| match report {
            Report::Stats(stats) => Some(*stats),
            _ => None,
        });
        let panic = self.report(ended);
        assert_eq!(panic, None);
        self.engine.join();
        stats
    }
}

pub(crate) fn ended(report: Report) -> Option<Option<String>> {
    match report {
        Report::Ended { panic, .. } => Some(panic),
        _ => None,
    }
}
