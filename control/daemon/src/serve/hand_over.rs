//! The process that serves, and hands over.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir_control_core::control::{Fleet, HandedOver, Input, Legacy};
use weir_proto::answer::{Answer, Author, EventKind, Said};
use weir_proto::ids::ShardId;
use weir_proto::order::{ListenerSocket, Order};
use weir_proto::request::{Code, Refusal};

use super::{Shared, own_author};
use crate::rt;
use crate::systemd;
use crate::upgrade::channel::Channel;
use crate::upgrade::{
    FromSuccessor, GIVE_MAX, HELLO_MAX, Inventory, PROTOCOL, READY_MAX, ToSuccessor, spawn,
};
use crate::watchdog::SupervisedEngine;

/// How often, and how long apart, it is looked at whether a new process that is silent has ended.
const ENDING_STEPS: u32 = 20;
const ENDING_STEP: Duration = Duration::from_millis(5);

/// The parts of the start that a hand-over needs.
pub(crate) struct HandoverParts {
    pub(crate) engine: Arc<SupervisedEngine>,
    pub(crate) control: (PathBuf, OwnedFd),
    pub(crate) admin: Option<(SocketAddr, OwnedFd)>,
    pub(crate) hash_seed: (u64, u64),
}

/// How this process stands with its end by an upgrade.
#[derive(Default)]
pub(crate) struct Succession {
    pub(crate) parts: OnceCell<HandoverParts>,
    is_under_way: Cell<bool>,
    /// The doors are the next process's.
    doors_are_closed: Cell<bool>,
    /// Everything is.
    is_done: Cell<bool>,
    /// Started, and not waited for.
    successor: RefCell<Option<Child>>,
}

impl Succession {
    /// True if the doors are to be closed here.
    pub(crate) fn doors_are_closed(&self) -> bool {
        self.doors_are_closed.get()
    }

    /// True if the socket's file is the next process's.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done.get()
    }
}

/// Which program is to take over.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpgradeOptions {
    /// The program; `None` is the file from which this process was started.
    pub(crate) program: Option<PathBuf>,
    pub(crate) shards: Option<u16>,
    /// The new process only makes its rings.
    pub(crate) dry_run: bool,
}

/// The refusal of a second upgrade.
fn under_way() -> Refusal {
    let message = "another weir is taking over already";
    Refusal::new(Code::Upgrading, message, "see what comes of it: weirctl events")
}

fn failed(message: String) -> Refusal {
    Refusal::new(
        Code::Failed,
        message,
        "nothing has changed; see the log: journalctl -u weir -n 50",
    )
}

impl Shared {
    /// Starts another process and hands everything over to it. Answers when it serves, and this
    /// process is about to end.
    pub(crate) async fn upgrade(
        &self,
        wanted: UpgradeOptions,
        by: &Author,
    ) -> Result<Answer, Refusal> {
        let succession = &self.succession;
        if wanted.program.is_some() && ![0, own_author().uid].contains(&by.uid) {
            let message = "only root and the user that weir runs as may name another program";
            let hint = "put it in the place of the old one and leave --binary out";
            return Err(Refusal::new(Code::Denied, message, hint));
        }
        if !self.control().is_serving() {
            let hint = "take the drain back first: weirctl ready";
            return Err(Refusal::new(Code::Failed, "weir drains or ends", hint));
        }
        if succession.is_under_way.replace(true) {
            return Err(under_way());
        }
        let mut result = self.hand_over(wanted).await;
        if let Err(refused) = &mut result
            && let Some(status) = self.how_the_successor_ended().await
        {
            refused.message = format!("{}; it has ended: {status}", refused.message);
        }
        match &result {
            Err(why) => self.go_on(Some(&why.message)).await,
            Ok(_) if !succession.is_done() => self.go_on(None).await,
            Ok(_) => {}
        }
        result
    }

    /// `None`: it lives, or was never started.
    async fn how_the_successor_ended(&self) -> Option<ExitStatus> {
        for _ in 0..ENDING_STEPS {
            let ended = self.succession.successor.borrow_mut().as_mut()?.try_wait();
            if let Ok(Some(status)) = ended {
                return Some(status);
            }
            // Its end of the channel is closed a moment before it has ended.
            rt::sleep(ENDING_STEP).await;
        }
        None
    }

    /// Nothing came of it, or it was only tried.
    async fn go_on(&self, why: Option<&str>) {
        let succession = &self.succession;
        if let Some(mut successor) = succession.successor.take() {
            // Its channel is closed: it ends, and is waited for on a thread that may wait.
            rt::blocking(move || drop((successor.kill(), successor.wait()))).await;
        }
        let appender = self.appender.clone();
        if let Err(why) = rt::blocking(move || appender.take_back()).await {
            tracing::error!("{why}");
        }
        if let Some(why) = why {
            tracing::error!("the upgrade has failed: {why}");
            self.note("upgrade", format!("failed: {why}"));
        }
        self.handle(Input::HandOverFailed);
        succession.is_under_way.set(false);
    }

    fn note(&self, subject: &str, text: String) {
        let (kept, kind) = (weir_control_core::events::Kept::News, EventKind::Process);
        self.handle(Input::Audited { kept, kind, subject: subject.to_owned(), text });
    }

    async fn hand_over(&self, wanted: UpgradeOptions) -> Result<Answer, Refusal> {
        let parts = self.succession.parts.get().ok_or_else(under_way)?;
        let (channel, program, shards) = self.start_successor(parts, &wanted).await?;
        if wanted.dry_run {
            let sessions = self.control().aggregate.sessions();
            let text = format!(
                "{program} with {shards} shards starts on this host: it would take {sessions} \
                 sessions over"
            );
            return Ok(Answer::Said(Said { text }));
        }
        self.begin_to_hand_over().await?;
        let appender = self.appender.clone();
        rt::blocking(move || appender.lend()).await;
        let legacy = self.control().legacy();
        let (channel, gives) = self.send_inventory(parts, channel, legacy.to_json()).await?;
        let (channel, _) =
            expect(channel, READY_MAX, |it| matches!(it, FromSuccessor::Ready)).await?;
        self.succession.doors_are_closed.set(true);
        self.ring();
        let given = match self.hand_over_sessions(parts, channel, gives, &legacy).await {
            Ok(given) => given,
            Err(why) => return Err(self.serve_again(why).await),
        };
        let pid = self.succession.successor.take().map_or(0, |successor| successor.id());
        let _ = systemd::tell(&format!("MAINPID={pid}"));
        self.succession.is_done.set(true);
        let text = format!(
            "{program} with {shards} shards serves as process {pid}: {} sessions were handed over",
            given.sessions
        );
        tracing::info!("{text}");
        self.handle(Input::Stop);
        Ok(Answer::Said(Said { text }))
    }

    /// From Commit on the doors, the sockets and the sessions are the next process's.
    async fn hand_over_sessions(
        &self,
        parts: &HandoverParts,
        channel: Channel,
        gives: Vec<OwnedFd>,
        legacy: &Legacy,
    ) -> Result<HandedOver, Refusal> {
        let channel = tell(channel, ToSuccessor::Commit).await.map_err(failed)?;
        let given = self.give(parts, gives).await?;
        let done = |it: &FromSuccessor| matches!(it, FromSuccessor::Done { .. });
        self.fresh_figures().await;
        let remainder = self.control().legacy_remainder(legacy).to_json();
        let channel = tell(channel, ToSuccessor::Remainder(remainder)).await.map_err(failed)?;
        expect(channel, READY_MAX, done).await?;
        Ok(given)
    }

    /// The new process has made its rings.
    async fn start_successor(
        &self,
        parts: &HandoverParts,
        wanted: &UpgradeOptions,
    ) -> Result<(Channel, String, u16), Refusal> {
        let program = wanted.program.clone().map_or_else(spawn::own_program, Ok);
        let program = program.map_err(failed)?;
        let arguments = spawn::arguments(wanted.shards).map_err(failed)?;
        let (channel, end) = Channel::pair().map_err(|error| failed(error.to_string()))?;
        let child = rt::blocking(move || spawn::spawn(&program, &arguments, end)).await;
        *self.succession.successor.borrow_mut() = Some(child.map_err(failed)?);
        let begin = ToSuccessor::Begin {
            protocol: PROTOCOL,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            hash_seed: parts.hash_seed,
        };
        let channel = tell(channel, begin).await.map_err(failed)?;
        let hello = |it: &FromSuccessor| matches!(it, FromSuccessor::Hello { .. });
        match expect(channel, HELLO_MAX, hello).await? {
            (channel, FromSuccessor::Hello { protocol: PROTOCOL, program, shards }) => {
                Ok((channel, format!("weir {program}"), shards))
            }
            _ => Err(failed("the new program has another protocol of upgrades".to_owned())),
        }
    }

    /// Sends what is there before any session. Gives the shards' ends of the channels.
    async fn send_inventory(
        &self,
        parts: &HandoverParts,
        channel: Channel,
        legacy: Vec<u8>,
    ) -> Result<(Channel, Vec<OwnedFd>), Refusal> {
        let text = |error: std::io::Error| failed(error.to_string());
        let (mut gives, mut takes) = (Vec::new(), Vec::new());
        for _ in 0..parts.engine.shards() {
            let (give, take) = weir_engine::handover_channel().map_err(text)?;
            gives.push(give);
            takes.push(take);
        }
        let sockets = parts.engine.sockets();
        let numbered = (0_u16..).zip(&sockets);
        let listeners = numbered.flat_map(|(shard, of_shard)| {
            of_shard.iter().map(move |it: &ListenerSocket| (it.address, shard))
        });
        let inventory = Box::new(Inventory {
            version: self.control().snapshot.version.0,
            control: parts.control.0.clone(),
            admin: parts.admin.as_ref().map(|(address, _)| *address),
            listeners: listeners.collect(),
            channels: parts.engine.shards(),
            legacy,
        });
        let mut descriptors = vec![parts.control.1.try_clone().map_err(text)?];
        if let Some((_, admin)) = &parts.admin {
            descriptors.push(admin.try_clone().map_err(text)?);
        }
        descriptors.extend(sockets.into_iter().flatten().map(|it| it.socket));
        descriptors.append(&mut takes);
        let sent = rt::blocking(move || {
            let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            channel.send(&ToSuccessor::Inventory(inventory), &borrowed).map(|()| channel)
        });
        Ok((sent.await.map_err(failed)?, gives))
    }

    /// Every shard gives its sessions, and has nothing left.
    async fn give(
        &self,
        parts: &HandoverParts,
        gives: Vec<OwnedFd>,
    ) -> Result<HandedOver, Refusal> {
        let before = self.control().handovers.given();
        let shards = parts.engine.shards();
        for (number, give) in (0..shards).zip(gives) {
            self.order(parts, number, Order::Give { channel: Some(give), most: None }).await;
        }
        let ended = || self.control().handovers.given().ended - before.ended;
        let all = self.until(|| (ended() == u32::from(shards)).then_some(()));
        if rt::timeout(GIVE_MAX, all).await.is_none() {
            tracing::error!("some sessions were not handed over within {GIVE_MAX:?}");
        }
        let given = self.control().handovers.given();
        if given.broken > before.broken {
            return Err(failed(format!(
                "the new process has died: the sessions that it had taken are lost with it ({} of \
                 whole shards), the others go on",
                given.sessions
            )));
        }
        Ok(HandedOver { sessions: given.sessions - before.sessions, ..given })
    }

    /// The new process has died after Commit, with some of the sessions or all: those that it had
    /// not taken go on here, and new ones are accepted.
    async fn serve_again(&self, refused: Refusal) -> Refusal {
        // The shards have given their sockets away: they get new ones as after a drain.
        self.handle(Input::HandOverFailed);
        self.handle(Input::Drain { until: None });
        if let Err(why) = self.ready().await {
            tracing::error!("{why}");
        }
        self.succession.doors_are_closed.set(false);
        self.ring();
        refused
    }

    /// Orders something of a shard, as soon as its mailbox has room.
    async fn order(&self, parts: &HandoverParts, shard: u16, mut order: Order) {
        while let Err(back) = parts.engine.send(ShardId(shard), order) {
            order = back;
            rt::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Says something, on a thread that may wait.
async fn tell(channel: Channel, message: ToSuccessor) -> Result<Channel, String> {
    rt::blocking(move || match channel.send(&message, &[]) {
        Ok(()) => Ok(channel),
        Err(why) => Err(format!("the new process does not listen: {why}")),
    })
    .await
}

/// The next word of the new process, if it is the one that is waited for.
async fn expect(
    channel: Channel,
    within: Duration,
    wanted: impl FnOnce(&FromSuccessor) -> bool,
) -> Result<(Channel, FromSuccessor), Refusal> {
    let heard = rt::blocking(move || {
        let heard = channel.receive::<FromSuccessor>(within).map(|(message, _)| message);
        (channel, heard)
    });
    match heard.await {
        (channel, Ok(message)) if wanted(&message) => Ok((channel, message)),
        (_, Ok(FromSuccessor::Failed(why))) => Err(failed(format!("the new process: {why}"))),
        (_, Ok(other)) => Err(failed(format!("the new process says something else: {other:?}"))),
        (_, Err(why)) => Err(failed(format!("the new process is silent: {why}"))),
    }
}

/// Runs what serves at a door until that is another process's, and again if it comes back.
pub(crate) async fn serve_door<F: Future<Output = ()>>(
    shared: Rc<Shared>,
    mut serve: impl FnMut() -> F,
) {
    loop {
        let closed = shared.until(|| shared.succession.doors_are_closed().then_some(()));
        futures_lite::future::or(closed, serve()).await;
        shared.until(|| (!shared.succession.doors_are_closed()).then_some(())).await;
    }
}
