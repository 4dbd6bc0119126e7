//! The process that takes over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FileType, fstat};
use weir_control_core::control::{Fleet, Legacy};
use weir_control_core::sockets::{BindPlan, BoundSockets};
use weir_proto::bind_address::BindAddress;
use weir_proto::ids::ShardId;
use weir_proto::order::{ListenerSocket, Order};
use weir_proto::snapshot::Snapshot;

use super::channel::Channel;
use super::{FromSuccessor, Inventory, PROTOCOL, ToSuccessor, WORD_MAX};
use crate::watchdog::SupervisedEngine;
use crate::{listen, rt};

/// The process that serves, as this one hears of it.
#[derive(Debug)]
pub(crate) struct Predecessor {
    channel: Channel,
    pub(crate) hash_seed: (u64, u64),
}

/// The things that it has handed over before any session.
pub(crate) struct Inherited {
    /// The version in force.
    pub(crate) version: u64,
    pub(crate) control: Option<(std::path::PathBuf, OwnedFd)>,
    pub(crate) admin: Option<(SocketAddr, OwnedFd)>,
    listeners: BTreeMap<BindAddress, Vec<OwnedFd>>,
    channels: Vec<OwnedFd>,
    /// The state of control there; taken when control is made here.
    pub(crate) legacy: Option<Box<Legacy>>,
}

impl Predecessor {
    /// Takes the channel that the process which serves has put in the place of standard input.
    ///
    /// # Errors
    /// None has, or it has another protocol.
    pub(crate) fn at_standard_input() -> Result<Predecessor, String> {
        let input = std::io::stdin();
        let is_socket = fstat(&input)
            .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Socket);
        if !is_socket {
            return Err("--upgrade is for the process that weir starts itself\n\
                        hint: weirctl upgrade"
                .to_owned());
        }
        let text = |error: std::io::Error| format!("standard input: {error}");
        let end = input.as_fd().try_clone_to_owned().map_err(text)?;
        let nothing = std::fs::File::open("/dev/null").map_err(text)?;
        rustix::stdio::dup2_stdin(&nothing).map_err(|error| text(error.into()))?;
        let channel = Channel::of(end);
        dies_at("begin");
        match channel.receive::<ToSuccessor>(WORD_MAX)? {
            (ToSuccessor::Begin { protocol: PROTOCOL, hash_seed, program }, _) => {
                tracing::info!("takes over from weir {program}");
                Ok(Predecessor { channel, hash_seed })
            }
            _ => Err("the weir that serves has another protocol of upgrades\n\
                      hint: stop it and start this one: weirctl stop --drain 30s"
                .to_owned()),
        }
    }

    /// The rings are there. Waits for everything but the sessions.
    ///
    /// # Errors
    /// The other process has ended, or gives it up.
    pub(crate) fn hello(&self, shards: u16) -> Result<Inherited, String> {
        dies_at("hello");
        let program = env!("CARGO_PKG_VERSION").to_owned();
        self.channel.send(&FromSuccessor::Hello { protocol: PROTOCOL, program, shards }, &[])?;
        match self.channel.receive::<ToSuccessor>(WORD_MAX)? {
            (ToSuccessor::Inventory(inventory), descriptors) => {
                dies_at("inventory");
                Inherited::of(*inventory, descriptors)
            }
            _ => Err("the weir that serves says something else than was expected".to_owned()),
        }
    }

    /// The shards use the version. Waits until it is this process's turn.
    ///
    /// # Errors
    /// As [`Predecessor::hello`].
    pub(crate) async fn ready(&self) -> Result<(), String> {
        dies_at("ready");
        self.say(FromSuccessor::Ready).await;
        match self.hear().await? {
            ToSuccessor::Commit => {
                dies_at("commit");
                Ok(())
            }
            _ => Err("the weir that serves has changed its mind".to_owned()),
        }
    }

    /// Its next word, which is waited for on another thread.
    ///
    /// # Errors
    /// It has ended, or is silent for too long.
    pub(crate) async fn hear(&self) -> Result<ToSuccessor, String> {
        let channel = self.channel.again().map_err(|error| error.to_string())?;
        let heard = rt::blocking(move || channel.receive::<ToSuccessor>(WORD_MAX));
        heard.await.map(|(message, _)| message)
    }

    /// Says something. If it has ended the next word that is waited for does not come.
    pub(crate) async fn say(&self, message: FromSuccessor) {
        if let Ok(channel) = self.channel.again() {
            let _ = rt::blocking(move || channel.send(&message, &[])).await;
        }
    }

    /// This process cannot go on.
    pub(crate) fn fail(&self, why: &str) {
        let _ = self.channel.send(&FromSuccessor::Failed(why.to_owned()), &[]);
    }
}

impl Inherited {
    fn of(inventory: Inventory, descriptors: Vec<OwnedFd>) -> Result<Inherited, String> {
        let Inventory { version, control, admin, listeners, channels, legacy } = inventory;
        let legacy = Some(Box::new(Legacy::of_json(&legacy)?));
        let mut descriptors = descriptors.into_iter();
        let missing = || {
            "some descriptors have not come: the table is full\n\
             hint: raise RLIMIT_NOFILE (LimitNOFILE= in the unit)"
                .to_owned()
        };
        let mut next = || descriptors.next().ok_or_else(missing);
        let control = Some((control, next()?));
        let admin = admin.map(|address| Ok::<_, String>((address, next()?))).transpose()?;
        let mut by_address: BTreeMap<BindAddress, Vec<OwnedFd>> = BTreeMap::new();
        for (address, _) in listeners {
            by_address.entry(address).or_default().push(next()?);
        }
        let channels = (0..channels).map(|_| next()).collect::<Result<_, _>>()?;
        Ok(Inherited { version, control, admin, listeners: by_address, channels, legacy })
    }

    /// The sockets of a snapshot for that many shards: those that have come, dealt out in turn;
    /// where there are fewer than shards, more of them are bound beside; the rest of the addresses
    /// as at any start.
    pub(crate) fn bind(&mut self, snapshot: &Snapshot, shards: u16) -> BoundSockets {
        let mut plan = BindPlan::first(snapshot);
        let listeners = &mut self.listeners;
        plan.wanted.retain(|address| !listeners.contains_key(address));
        plan.held = listeners.keys().copied().collect();
        let mut bound = listen::bind_plan(&plan, shards);
        for (address, sockets) in std::mem::take(listeners) {
            let Some(listener) = listen::open_at(snapshot, address) else { continue };
            let count = u16::try_from(sockets.len()).unwrap_or(u16::MAX);
            for (number, socket) in sockets.into_iter().enumerate() {
                let shard = number % usize::from(shards);
                bound.sockets[shard].push(ListenerSocket { address, socket });
            }
            for shard in count..shards {
                match listen::bind_one(listener, address) {
                    Ok(socket) => {
                        let socket = ListenerSocket { address, socket };
                        bound.sockets[usize::from(shard)].push(socket);
                    }
                    Err(error) => tracing::error!("shard {shard}: {}", error.refusal()),
                }
            }
        }
        bound
    }

    /// Sessions may come, from here on: each channel goes to a shard.
    pub(crate) async fn take(&mut self, engine: &Arc<SupervisedEngine>) {
        let shards = engine.shards();
        for (number, channel) in (0_u16..).zip(std::mem::take(&mut self.channels)) {
            let mut order = Order::Take { channel: Some(channel) };
            while let Err(back) = engine.send(ShardId(number % shards), order) {
                order = back;
                rt::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// How many shards give their sessions.
    pub(crate) fn givers(&self) -> u32 {
        u32::try_from(self.channels.len()).unwrap_or(u32::MAX)
    }
}

/// Ends the process here if a test wants it (WEIR_TEST_SUCCESSOR_DIES); only in builds with debug
/// assertions.
fn dies_at(step: &str) {
    if cfg!(debug_assertions)
        && std::env::var("WEIR_TEST_SUCCESSOR_DIES").is_ok_and(|at| at == step)
    {
        tracing::error!("a test has ordered this end: {step}");
        std::process::exit(9);
    }
}
