//! `weir-micro`: nanoseconds of one pick and its change of load, by strategy and pool.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use weir_bench::clock::now_ns;
use weir_bench::runner::report::Spread;
use weir_core::base::prng::Prng;
use weir_core::pick::{Candidate, Picker, Tried, client_key, identity};
use weir_proto::spec::Strategy;

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

fn main() -> ExitCode {
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
