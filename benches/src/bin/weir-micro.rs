//! `weir-micro`: nanoseconds of one pick and its change of load, by strategy and pool; microseconds
//! for which a shard takes over a version that changes one backend, and for which its turns last
//! while sessions of a large table are shed; nanoseconds of a look into `allow` and `deny`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use weir_bench::clock::now_ns;
use weir_bench::runner::report::Spread;
use weir_core::action::Actions;
use weir_core::base::clock::Now;
use weir_core::base::prng::Prng;
use weir_core::event::{Completion, Leg, Side};
use weir_core::limits::{SCANNED_PER_TURN_MAX, SHED_MAX, SWEEP_PER_TURN_MAX, Tuning};
use weir_core::pick::{Candidate, Picker, Tried, client_key, identity};
use weir_core::slot::ListenerSlot;
use weir_core::table::{AcceptedClient, Setup, Table};
use weir_core::view::View;
use weir_proto::ids::{BackendId, IdSource, ShardId};
use weir_proto::network::{AccessLists, NetworkList};
use weir_proto::order::SessionsOf;
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::{BackendSpec, ListenerSpec, Name, PoolSpec, Spec, Strategy};

/// Picks timed together, and how often; the first batch warms up.
const PICKS: u32 = 2_000;
const BATCHES: usize = 51;
/// The last is more than a pool may have (1,024): it shows how the cost grows.
const BACKENDS: [u16; 5] = [1, 10, 100, 1_000, 10_000];

/// What is unlike between the pools that are picked from.
#[derive(Clone, Copy, Debug)]
enum Pool {
    /// Equal weights, the load as the picks made it.
    Even,
    /// Weights 1 to 8; one in ten cannot be used.
    Uneven,
    /// As many unlike weights as there can be, 1 to 256.
    Unlike,
}

fn candidates(count: u16, pool: Pool) -> Vec<Candidate> {
    let candidate = |at: u16| Candidate {
        identity: identity(&format!("web/b{at}")),
        weight: match pool {
            Pool::Even => 1,
            Pool::Uneven => 1 + at % 8,
            Pool::Unlike => 1 + at % 256,
        },
        load: 0,
        usable: !matches!(pool, Pool::Uneven) || at % 10 != 9,
    };
    (0..count).map(candidate).collect()
}

/// Nanoseconds of a pick and of the change of load that follows it: a session opens on what is
/// picked, or one that was there closes.
fn measure(strategy: Strategy, count: u16, pool: Pool) -> Option<Spread> {
    let mut picker = Picker::new(strategy, candidates(count, pool));
    let mut prng = Prng::new(1);
    let mut client = 0_u32;
    let mut seen = Vec::with_capacity(BATCHES);
    for batch in 0..BATCHES {
        let start = now_ns();
        for _ in 0..PICKS {
            client = client.wrapping_add(0x9E37_79B9);
            let key = client_key((1, 2), IpAddr::V4(Ipv4Addr::from(client)));
            let picked = black_box(&mut picker).pick(key, &mut prng, Tried::NONE)?;
            let opens = client & 1 == 0;
            picker.change(picked, |it| {
                it.load = if opens { it.load + 1 } else { it.load.saturating_sub(1) };
            });
        }
        if batch > 0 {
            let ns = u32::try_from(now_ns() - start).unwrap_or(u32::MAX);
            seen.push(f64::from(ns) / f64::from(PICKS));
        }
    }
    Spread::of(&seen)
}

/// The same loop without a pick: what its own work costs.
fn floor() -> Option<Spread> {
    let mut client = 0_u32;
    let mut seen = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let start = now_ns();
        for _ in 0..PICKS {
            client = client.wrapping_add(0x9E37_79B9);
            black_box(client_key((1, 2), IpAddr::V4(Ipv4Addr::from(client))));
        }
        let ns = u32::try_from(now_ns() - start).unwrap_or(u32::MAX);
        seen.push(f64::from(ns) / f64::from(PICKS));
    }
    Spread::of(&seen)
}

/// Pools of the configuration in which one backend changes, and backends of each.
const SIZES: [(usize, usize); 3] = [(1, 100), (100, 100), (1_000, 100)];

/// Microseconds in which a shard takes over a version that changes the weight of one backend.
fn adoption((pools, backends): (usize, usize)) -> Option<Spread> {
    let mut spec = Spec::default();
    for pool in 0..pools {
        let mut members = PoolSpec::default();
        for backend in 0..backends {
            let [_, high, middle, low] =
                u32::try_from(pool * backends + backend).ok()?.to_be_bytes();
            let address = SocketAddr::from(([10, high, middle, low], 80));
            let backend_spec = BackendSpec::new(address.into());
            members.backend.insert(format!("b{backend}").parse().ok()?, backend_spec);
        }
        spec.pool.insert(format!("p{pool}").parse().ok()?, members.into());
    }
    let (mut view, mut prng, mut ids) = (View::default(), Prng::new(1), IdSource::default());
    let mut snapshot = Snapshot::empty();
    let mut seen = Vec::with_capacity(BATCHES);
    for batch in 0..BATCHES {
        let first = spec.pool.values_mut().next()?;
        first.backend.values_mut().next()?.weight = if batch % 2 == 0 { 1 } else { 2 };
        snapshot = Snapshot::build(&spec, snapshot.version.next(), &snapshot, &mut ids).ok()?;
        let start = now_ns();
        black_box(&mut view).adopt(black_box(&snapshot), &mut prng, Now::from_nanos(start));
        if batch > 0 {
            let ns = u32::try_from(now_ns() - start).unwrap_or(u32::MAX);
            seen.push(f64::from(ns) / 1000.0);
        }
    }
    Spread::of(&seen)
}

fn adoptions() {
    println!("us in which a shard takes over a version that changes one backend (quartiles)");
    for size in SIZES {
        let shown = adoption(size).map_or("not measured".to_string(), |it| {
            format!("{:.1} ({:.1}-{:.1})", it.median, it.lower, it.upper)
        });
        println!("{:<24}{shown:>24}", format!("of {}", size.0 * size.1));
    }
}

/// Sessions of one backend, in one table.
const TABLES: [u32; 3] = [1_000, 10_000, 100_000];

/// A table in which that many sessions relay, all on one backend.
fn table(sessions: u32) -> Option<(Table, BackendId)> {
    let pool: Name = "web".parse().ok()?;
    let mut members = PoolSpec::default();
    let backend = BackendSpec::new(SocketAddr::from(([10, 0, 0, 1], 80)).into());
    members.backend.insert("b1".parse().ok()?, backend);
    let bind = vec![SocketAddr::from(([10, 0, 0, 2], 80))];
    let mut spec = Spec::default();
    spec.pool.insert(pool.clone(), members.into());
    spec.listener.insert(pool.clone(), ListenerSpec::new(pool, bind));
    let (before, mut ids) = (Snapshot::empty(), IdSource::default());
    let snapshot = Snapshot::build(&spec, before.version.next(), &before, &mut ids).ok()?;
    let start = Now::from_nanos(1_000_000_000);
    let (shard, tuning) = (ShardId(0), Tuning::default());
    let session_log = None;
    let setup = Setup {
        shard,
        slots: sessions,
        tuning,
        seed: 1,
        now: start,
        session_log,
        hash_seed: (1, 2),
    };
    let mut table = Table::new(setup);
    table.adopt(&snapshot, start);
    let mut out = Actions::default();
    let mut prng = Prng::new(2);
    for _ in 0..sessions {
        // Which one has been idle for longest has nothing to do with its slot.
        let now = start.plus_millis(prng.below(60_000));
        let client = AcceptedClient {
            leg: Leg(10),
            listener: ListenerSlot::FIRST,
            key: 0,
            address: None,
            source: None,
        };
        let id = table.accept(client, now, &mut out)?;
        out.clear();
        table.opened(id, Ok(Leg(11)), now, &mut out);
        table.on_completion(id, Side::Backend, Completion::Connected(Ok(())), now, &mut out);
        out.clear();
    }
    let backend = snapshot.backends().next().map(|(_, backend)| backend.id)?;
    Some((table, backend))
}

/// Sheds a thousand sessions: how many turns that takes, and how long each is, in microseconds.
fn shedding(sessions: u32) -> Option<(usize, Spread)> {
    let (mut table, backend) = table(sessions)?;
    let now = Now::from_nanos(100_000_000_000);
    let mut out = Actions::default();
    let mut seen = Vec::new();
    table.shed(SessionsOf::Backend(backend), SHED_MAX);
    while table.is_sweeping() {
        let start = now_ns();
        let mut scan = SCANNED_PER_TURN_MAX;
        for _ in 0..SWEEP_PER_TURN_MAX {
            if black_box(&mut table).sweep(now, &mut scan, &mut out).is_none() {
                break;
            }
            out.clear();
        }
        let ns = u32::try_from(now_ns() - start).unwrap_or(u32::MAX);
        seen.push(f64::from(ns) / 1000.0);
    }
    Some((seen.len(), Spread::of(&seen)?))
}

fn sheddings() {
    println!("us of a turn in which {SHED_MAX} sessions are shed: median (quartiles, longest)");
    for sessions in TABLES {
        let shown = shedding(sessions).map_or("not measured".to_string(), |(turns, it)| {
            let Spread { median, lower, upper, max, .. } = it;
            format!("{median:.0} ({lower:.0}-{upper:.0}, {max:.0}) in {turns} turns")
        });
        println!("{:<24}{shown:>40}", format!("of {sessions}"));
    }
}

/// Networks of the lists that are looked through.
const LISTS: [u32; 3] = [100, 10_000, 100_000];

/// Nanoseconds in which a listener that denies N networks finds out whether it serves a
/// client, and milliseconds in which its lists are flattened.
fn access(networks: u32, six: bool) -> Option<(Spread, f64)> {
    // Places far apart, in no order, none beside another.
    let at = |number: u32| number.wrapping_mul(0x9E37_79B1) & !1;
    let network = |number: u32| match six {
        true => format!("2001:{:x}:{:x}::/48", at(number) >> 16, at(number) & 0xffff),
        false => format!("{}/32", Ipv4Addr::from(at(number))),
    };
    let deny: NetworkList = (0..networks).filter_map(|it| network(it).parse().ok()).collect();
    let start = now_ns();
    let served = AccessLists::of(&NetworkList::default(), &deny, None).served()?;
    let flattened_ms = f64::from(u32::try_from((now_ns() - start) / 1_000).ok()?) / 1_000.0;
    let mut seen = Vec::with_capacity(BATCHES);
    for batch in 0..BATCHES {
        let start = now_ns();
        for client in 0..PICKS {
            let bits = at(client.wrapping_mul(7919)) | (client & 1);
            let ip = match six {
                true => Ipv6Addr::from((0x2001 << 112) | (u128::from(bits) << 80)).into(),
                false => IpAddr::from(bits.to_be_bytes()),
            };
            black_box(served.contains(black_box(ip)));
        }
        if batch > 0 {
            let ns = u32::try_from(now_ns() - start).unwrap_or(u32::MAX);
            seen.push(f64::from(ns) / f64::from(PICKS));
        }
    }
    Some((Spread::of(&seen)?, flattened_ms))
}

fn accesses() {
    println!("ns in which a client is looked up in lists (quartiles), ms to flatten them");
    for networks in LISTS {
        for (family, six) in [("IPv4", false), ("IPv6", true)] {
            let shown = access(networks, six).map_or("not measured".to_string(), |(it, ms)| {
                format!("{:.0} ({:.0}-{:.0}), {ms:.1}", it.median, it.lower, it.upper)
            });
            println!("{:<24}{shown:>28}", format!("{networks} of {family}"));
        }
    }
}

fn main() -> ExitCode {
    adoptions();
    sheddings();
    accesses();
    println!(
        "ns a pick and a change of load, the client's key included: median of {} batches (quartiles)",
        BATCHES - 1
    );
    print!("{:<24}", "STRATEGY, BACKENDS");
    BACKENDS.iter().for_each(|count| print!("{count:>24}"));
    println!();
    for pool in [Pool::Even, Pool::Uneven, Pool::Unlike] {
        for strategy in Strategy::ALL {
            print!("{:<24}", format!("{strategy:?}, {pool:?}"));
            for count in BACKENDS {
                let shown = measure(strategy, count, pool).map_or("nobody".to_string(), |it| {
                    format!("{:.0} ({:.0}-{:.0})", it.median, it.lower, it.upper)
                });
                print!("{shown:>24}");
            }
            println!();
        }
    }
    match floor() {
        Some(floor) => {
            println!("of it the client's key: {:.0}", floor.median);
            ExitCode::SUCCESS
        }
        None => ExitCode::from(1),
    }
}
