//! The swarm: each seed draws which faults are on and how strong, so that some seeds are calm and
//! some savage.

use weir_core::base::wheel::Work;
use weir_core::limits::Tuning;
use weir_proto::spec::{NoBackend, PerSourceSpec, Rate, RedispatchSpec, Size, Span};

use crate::rng::Rng;

/// What one seed does to the shard. Rates are per mille of the cases where the fault could happen.
#[derive(Clone, Debug, Default)]
pub struct Swarm {
    /// Nothing is wrong and nobody misbehaves: every session must complete.
    pub clean: bool,
    /// Steps before everything calms down.
    pub steps: usize,
    pub clients: usize,
    pub backends: usize,
    pub pools: usize,
    pub sessions_max: u32,
    pub buffers: u16,
    pub buffer_size: u16,
    /// The largest window of a pipe, in bytes.
    pub window: usize,
    /// The most bytes that a peer sends.
    pub bytes: usize,
    /// The most legs at once.
    pub legs: usize,
    pub connect_ms: usize,
    pub idle_ms: usize,
    pub half_close_ms: usize,
    pub stalled_ms: usize,
    pub short_sends: u32,
    pub short_receives: u32,
    /// A multishot receive ends before it must.
    pub short_shots: u32,
    /// The last byte that a peer writes is an urgent one: no fault, but few programs do it.
    pub urgent: u32,
    /// A send is told EAGAIN though there is room: the host is short of memory for TCP.
    pub refused_sends: u32,
    pub accept_errors: u32,
    pub aborted_accepts: u32,
    pub open_errors: u32,
    pub local_connects: u32,
    /// A connect to a port where nobody listens meets itself.
    pub self_connects: u32,
    pub memory_errors: u32,
    /// Pipes at most, what one holds, and how often none is available.
    pub pipes: usize,
    pub pipe_size: usize,
    pub pipe_errors: u32,
    /// When the shard parks, what it takes for bulk, how much it does in a turn.
    pub tuning: Tuning,
    pub late_cancels: u32,
    pub reorders: u32,
    /// A submission hands over everything so far.
    pub flushes: u32,
    pub stray_rings: u32,
    /// A host stops to listen.
    pub host_faults: u32,
    pub peer_resets: u32,
    pub peer_closes: u32,
    /// A peer is gone without a word, and acknowledges nothing.
    pub vanishes: u32,
    pub stalls: u32,
    pub time_jumps: u32,
    pub changes: u32,
    pub health_flips: u32,
    pub kills: u32,
    /// Some sessions of a backend or a listener are shed.
    pub sheds: u32,
    /// Some sessions go from the shard to itself; and a channel has no room, or a table.
    pub handovers: u32,
    pub full_channels: u32,
    /// Everything ends by an order to stop, some of it in the middle of the faults.
    pub stops: bool,
    /// Answers that fit into the completion queue; the others come after the next wait.
    pub completions: usize,
    pub headers: Headers,
    /// Listeners do not serve every client.
    pub lists: bool,
    /// The pools' answer to a backend that closes before its first byte.
    pub redispatch: RedispatchSpec,
    /// A backend closes or resets a session as soon as it has it, or has read a little.
    pub early_closes: u32,
    /// Pools have priority groups.
    pub groups: bool,
    /// Listeners have routes.
    pub routes: bool,
    pub rooms: Rooms,
    pub rates: Rates,
    pub per_source: PerSources,
    /// Pools limit the age of their sessions, and change that.
    pub lifetimes: bool,
    /// Pools end sessions of backends that go down.
    pub on_down: bool,
    /// Pools say where their connects come from.
    pub sources: bool,
}

/// PROXY headers of a world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers {
    /// Clients send one first, and some a wrong one.
    pub come: bool,
    /// Backends get one.
    pub go: bool,
    /// How long one may take, and whether that is said of headers alone.
    pub within_ms: usize,
    pub own_timeout: bool,
}

impl Headers {
    fn draw(rng: &mut Rng, clean: bool) -> Headers {
        let (come, go) = (rng.below(6) == 0, rng.below(6) == 0);
        let within_ms = if clean { 3_600_000 } else { rng.pick(&[20, 3000]) };
        Headers { come, go, within_ms, own_timeout: rng.clone().flip() }
    }
}

/// Limits of the backends of a world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rooms {
    /// Some backends have one of sessions.
    pub limited: bool,
    /// Some have limits of connects.
    pub caps: bool,
    /// How long a session waits for one with room, and how many do.
    pub queue_ms: usize,
    pub queue_size: u32,
    /// How long one waits while no backend takes sessions; 0: it does not.
    pub hold_ms: usize,
    /// It is refused then.
    pub closes: bool,
}

impl Rooms {
    fn draw(rng: &mut Rng, clean: bool) -> Rooms {
        let limited = rng.below(3) == 0;
        if clean {
            return Rooms { limited, queue_ms: 3_600_000, queue_size: 1000, ..Rooms::default() };
        }
        let (queue_ms, queue_size) = (rng.pick(&[50, 3000, 20_000]), rng.pick(&[0, 2, 1000, 1000]));
        let hold_ms = rng.pick(&[0, 0, 0, 50, 3000]);
        let closes = hold_ms == 0 && rng.below(3) == 0;
        Rooms { limited, caps: false, queue_ms, queue_size, hold_ms, closes }
    }

    /// The longest that a session waits for a backend with room.
    #[must_use]
    pub fn queued_ms_max(&self) -> usize {
        if self.has_full() { self.queue_ms.max(self.hold_ms) } else { self.hold_ms }
    }

    /// True if some backend may be full.
    #[must_use]
    pub fn has_full(&self) -> bool {
        self.limited || self.caps
    }

    /// How long each client may wait for tokens of connects, in milliseconds.
    #[must_use]
    pub fn each_ms(&self) -> usize {
        if self.caps { self.hold_ms + 1600 } else { self.hold_ms }
    }

    /// The answer of listeners while no backend takes sessions.
    #[must_use]
    pub fn no_backend(&self) -> NoBackend {
        match self.hold_ms {
            0 if self.closes => NoBackend::Close,
            0 => NoBackend::Reset,
            ms => NoBackend::Hold(Span::from_millis(ms as u64)),
        }
    }

    /// A limit of a backend.
    pub fn most(&self, rng: &mut Rng) -> Option<u32> {
        if self.limited { rng.pick(&[None, Some(1), Some(2), Some(5), Some(5)]) } else { None }
    }

    /// The limits of a backend's connects: how many at once, and how often one begins.
    pub fn caps(&self, rng: &mut Rng) -> (Option<u32>, Option<Rate>) {
        if !self.caps {
            return (None, None);
        }
        let connecting = rng.pick(&[None, Some(1), Some(1), Some(2), Some(5)]);
        let per_second = rng.pick(&[0, 0, 3, 20, 100, 1000]);
        (connecting, (per_second > 0).then(|| Rate::per_second(per_second)))
    }
}

/// Rates of new sessions of the listeners of a world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Some listeners have one.
    pub limited: bool,
}

impl Rates {
    /// The events a second of the rates that there are. Bursts of one, and of more.
    pub const PER_SECOND: [u32; 4] = [3, 20, 100, 1000];

    /// A rate of a listener.
    pub fn rate(&self, rng: &mut Rng) -> Option<Rate> {
        let some = |rng: &mut Rng| Rate::per_second(rng.pick(&Rates::PER_SECOND));
        if self.limited && rng.below(4) > 0 { Some(some(rng)) } else { None }
    }

    /// How long each client may wait for the one before it, in milliseconds.
    #[must_use]
    pub fn each_ms(&self) -> usize {
        if self.limited { 400 } else { 0 }
    }
}

/// Limits of sources at the listeners of a world.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerSources {
    /// Some listeners limit them.
    pub limited: bool,
}

impl PerSources {
    /// Limits of a listener. Clients are in 192.0.2.0/24.
    pub fn limits(&self, rng: &mut Rng) -> PerSourceSpec {
        if !self.limited || rng.below(4) == 0 {
            return PerSourceSpec::default();
        }
        let sessions = rng.pick(&[None, Some(1), Some(2), Some(5)]);
        let rate = rng.pick(&[None, None, Some(3), Some(100)]).map(Rate::per_second);
        let limits =
            PerSourceSpec { sessions, rate, ipv4: rng.pick(&[0, 24, 28, 31, 32]), ipv6: 64 };
        if limits.is_limited() { limits } else { PerSourceSpec::default() }
    }
}

/// A generator of its own: the other draws of a seed are as they were without it.
fn beside(rng: &Rng) -> Rng {
    Rng::new(rng.clone().draw())
}

/// The pools' answer to a backend that closes before its first byte, and how often one does.
fn closes(rng: &mut Rng, swarm: &Swarm) -> (RedispatchSpec, u32) {
    let most = u32::from(swarm.buffer_size);
    let replay = |bytes: u32| RedispatchSpec::Replay(Size::from_bytes(bytes.clamp(1, most)));
    let redispatch = match rng.below(6) {
        0 => RedispatchSpec::Off,
        1 | 2 => RedispatchSpec::Unsent,
        3 => replay(10),
        _ => replay(most),
    };
    let strength = rng.pick(&[0, 0, 100, 300, 700]);
    // In a clean world a backend that sends nothing is as good as any.
    if swarm.clean { (RedispatchSpec::Off, 0) } else { (redispatch, strength) }
}

/// When a shard parks, what it takes for bulk, and how much it does in a turn.
fn tuning(rng: &mut Rng, buffer_size: u16) -> Tuning {
    Tuning {
        quiescent_after_ms: u32::try_from(rng.pick(&[1, 20, 1000])).unwrap_or(1),
        bulk_bytes: rng.pick(&[1, buffer_size, u16::MAX]),
        multishot_bytes: rng.pick(&[0, 1, buffer_size.div_ceil(2)]),
        timers: Work { due: rng.pick(&[1, 3, 256, 256]), moved: rng.pick(&[1, 3, 4096, 4096]) },
    }
}

impl Swarm {
    /// The swarm of a seed.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Swarm {
        let (swarm, mut beside) = (Swarm::plain(rng), beside(rng));
        let headers = Headers::draw(&mut beside, swarm.clean);
        let lists = !swarm.clean && beside.below(6) == 0;
        let (redispatch, early_closes) = closes(&mut beside, &swarm);
        let groups = !swarm.clean && beside.below(3) == 0;
        let routes = !swarm.clean && beside.below(6) == 0;
        let rooms = Rooms::draw(&mut beside, swarm.clean);
        let lifetimes = !swarm.clean && beside.below(4) == 0;
        let on_down = !swarm.clean && beside.below(3) == 0;
        // Backends have to go down for it, and to stay so for a while.
        let seldom = if on_down && swarm.health_flips == 0 { 4 } else { swarm.health_flips };
        let sources = beside.below(5) == 0;
        let rates = beside.below(5) == 0;
        let per_source = PerSources { limited: !swarm.clean && beside.below(5) == 0 };
        // How many of those that are refused would have cost a token is not known.
        let rates = Rates { limited: rates && !per_source.limited };
        let rooms = Rooms { caps: beside.below(5) == 0, ..rooms };
        // A session may hold four chunks, and all of them get shared buffers.
        let handovers = beside.pick(&[0, 0, 300, 700]) * u32::from(swarm.buffers >= 8);
        let full_channels = beside.pick(&[0, 0, 50, 300]) * u32::from(handovers > 0);
        let swarm = Swarm { headers, lists, redispatch, early_closes, sources, ..swarm };
        let swarm = Swarm { rates, per_source, handovers, full_channels, ..swarm };
        Swarm { groups, routes, rooms, lifetimes, on_down, health_flips: seldom, ..swarm }
    }

    fn plain(rng: &mut Rng) -> Swarm {
        let clean = rng.below(8) == 0;
        let rate = |rng: &mut Rng| rng.pick(&[4, 16, 64, 250]) * u32::from(rng.flip() && !clean);
        let long_idle = clean || rng.flip();
        let buffer_size = rng.pick(&[1, 16, 128, 512, 4096]);
        let window = rng.pick(&[4, 100, 1000, 8192, 65536]);
        // So many bytes go at once, in the mean: nobody waits for 100,000 single bytes.
        let at_once = usize::from(buffer_size).min(window / 2);
        let crowd = rng.below(64) == 0;
        let sessions_max = rng.pick(&[1, 2, 4, 8, 64]).max(if crowd { 1000 } else { 0 });
        let sheds = if clean { 0 } else { beside(rng).pick(&[0, 0, 64, 250]) };
        let bytes = rng.pick(&[0, 20, 1000, 20_000, 100_000]).min(at_once * 500);
        Swarm {
            clean,
            steps: rng.between(500, 4000),
            clients: if crowd { 600 } else { rng.between(1, 24) },
            backends: rng.between(1, 5),
            pools: rng.between(1, 2),
            sessions_max,
            buffers: u16::try_from(rng.pick(&[2, 3, 4, 8, 16, 64])).unwrap_or(2),
            buffer_size,
            window,
            bytes: if crowd { bytes.min(200) } else { bytes },
            legs: if rng.flip() || clean { usize::MAX } else { rng.between(4, 20) },
            connect_ms: if clean { 3_600_000 } else { rng.pick(&[10, 100, 3000]) },
            idle_ms: if long_idle { 3_600_000 } else { rng.pick(&[20, 500]) },
            half_close_ms: if long_idle { 3_600_000 } else { rng.pick(&[10, 1000]) },
            stalled_ms: if clean { 3_600_000 } else { rng.pick(&[20, 2000, 3_600_000]) },
            short_sends: rng.pick(&[0, 100, 900]),
            short_receives: rng.pick(&[0, 100, 900]),
            short_shots: rng.pick(&[0, 100, 500]),
            urgent: rng.pick(&[0, 0, 4, 64, 500]),
            refused_sends: if clean { 0 } else { rng.pick(&[0, 0, 100, 950]) },
            accept_errors: rate(rng),
            aborted_accepts: rate(rng),
            open_errors: rate(rng),
            local_connects: rate(rng),
            self_connects: rate(rng),
            memory_errors: rate(rng) / 4,
            pipes: rng.pick(&[0, 1, 3, 256]),
            pipe_size: rng.pick(&[1, 100, 65_536]).max(at_once),
            pipe_errors: rate(rng),
            tuning: tuning(rng, buffer_size),
            late_cancels: rate(rng),
            reorders: rate(rng) * 2,
            flushes: rng.pick(&[0, 20, 300]),
            stray_rings: rng.pick(&[0, 10, 100]),
            host_faults: rate(rng),
            peer_resets: rate(rng),
            peer_closes: rate(rng),
            vanishes: rate(rng) / 16,
            stalls: rng.pick(&[0, 5, 50]),
            time_jumps: if long_idle { 0 } else { rate(rng) / 4 },
            changes: if clean { 0 } else { rng.pick(&[0, 100, 500]) },
            health_flips: rate(rng),
            kills: rate(rng) / 2,
            sheds,
            stops: !clean && rng.below(4) == 0,
            completions: if clean { usize::MAX } else { rng.pick(&[1, 4, 64, usize::MAX]) },
            ..Swarm::default()
        }
    }

    /// The same world with nothing going wrong any more.
    #[must_use]
    pub fn calm(&self) -> Swarm {
        Swarm {
            legs: usize::MAX,
            short_sends: 0,
            short_receives: 0,
            short_shots: 0,
            urgent: 0,
            refused_sends: 0,
            accept_errors: 0,
            aborted_accepts: 0,
            open_errors: 0,
            local_connects: 0,
            self_connects: 0,
            memory_errors: 0,
            pipe_errors: 0,
            late_cancels: 0,
            reorders: 0,
            flushes: 0,
            stray_rings: 0,
            host_faults: 0,
            peer_resets: 0,
            peer_closes: 0,
            vanishes: 0,
            stalls: 0,
            time_jumps: 0,
            changes: 0,
            health_flips: 0,
            kills: 0,
            sheds: 0,
            early_closes: 0,
            handovers: 0,
            full_channels: 0,
            completions: usize::MAX,
            ..self.clone()
        }
    }
}

impl Swarm {
    /// The faults that can be switched off by themselves, by name.
    pub const RATES: &[&str] = &[
        "short_sends",
        "short_receives",
        "short_shots",
        "urgent",
        "refused_sends",
        "accept_errors",
        "aborted_accepts",
        "open_errors",
        "local_connects",
        "self_connects",
        "memory_errors",
        "pipe_errors",
        "late_cancels",
        "reorders",
        "flushes",
        "stray_rings",
        "host_faults",
        "peer_resets",
        "peer_closes",
        "vanishes",
        "stalls",
        "time_jumps",
        "changes",
        "health_flips",
        "kills",
        "sheds",
        "early_closes",
        "handovers",
        "full_channels",
    ];

    /// A fault's strength. `None`: this swarm does not have such a one.
    pub fn rate(&mut self, name: &str) -> Option<&mut u32> {
        Some(match name {
            "short_sends" => &mut self.short_sends,
            "short_receives" => &mut self.short_receives,
            "short_shots" => &mut self.short_shots,
            "urgent" => &mut self.urgent,
            "refused_sends" => &mut self.refused_sends,
            "accept_errors" => &mut self.accept_errors,
            "aborted_accepts" => &mut self.aborted_accepts,
            "open_errors" => &mut self.open_errors,
            "local_connects" => &mut self.local_connects,
            "self_connects" => &mut self.self_connects,
            "memory_errors" => &mut self.memory_errors,
            "pipe_errors" => &mut self.pipe_errors,
            "late_cancels" => &mut self.late_cancels,
            "reorders" => &mut self.reorders,
            "flushes" => &mut self.flushes,
            "stray_rings" => &mut self.stray_rings,
            "host_faults" => &mut self.host_faults,
            "peer_resets" => &mut self.peer_resets,
            "peer_closes" => &mut self.peer_closes,
            "vanishes" => &mut self.vanishes,
            "stalls" => &mut self.stalls,
            "time_jumps" => &mut self.time_jumps,
            "changes" => &mut self.changes,
            "health_flips" => &mut self.health_flips,
            "kills" => &mut self.kills,
            "sheds" => &mut self.sheds,
            "early_closes" => &mut self.early_closes,
            "handovers" => &mut self.handovers,
            "full_channels" => &mut self.full_channels,
            _ => return None,
        })
    }
}
