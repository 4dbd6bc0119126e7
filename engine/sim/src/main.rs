//! weir-sim: runs seeds of the simulation, or one of them with its trace.

use std::process::ExitCode;
use std::time::Duration;

use weir_sim::driver::Summary;
use weir_sim::{quiet_panics, run_seed};

const USAGE: &str = "usage: weir-sim --seeds N [--start S]   run N seeds (default 1000, from 0 on)
       weir-sim --seed S [--trace]        run one seed, with a line for each event";

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    seeds: u64,
    start: u64,
    trace: bool,
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Asked> {
    let mut asked = Asked { seeds: 1000, start: 0, trace: false };
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse::<u64>().ok();
        match word.as_str() {
            "--seeds" => asked.seeds = number()?,
            "--start" => asked.start = number()?,
            "--seed" => (asked.start, asked.seeds) = (number()?, 1),
            "--trace" => asked.trace = true,
            _ => return None,
        }
    }
    Some(asked)
}

fn main() -> ExitCode {
    let Some(asked) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    quiet_panics();
    let mut failed = 0u64;
    let mut sum = Summary::default();
    let took = measure(|| {
        for seed in asked.start..asked.start.saturating_add(asked.seeds) {
            match run(seed, asked.trace) {
                Ok(summary) => add(&mut sum, summary),
                Err(text) => {
                    failed += 1;
                    println!("{text}\n");
                }
            }
        }
    });
    let rate = sum.steps as f64 / took.as_secs_f64();
    println!("seeds={} failed={failed} steps={} steps_per_s={rate:.0}", asked.seeds, sum.steps);
    println!(
        "events={} backend_connections={} bytes={} connects_checked={} ejections_checked={} hash={:016x}",
        sum.events, sum.sessions, sum.bytes, sum.connects_checked, sum.ejections_checked, sum.hash
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One seed; every tenth runs twice and must do the same again.
fn run(seed: u64, trace: bool) -> Result<Summary, String> {
    let summary = run_seed(seed, trace).map_err(|failure| failure.to_string())?;
    if seed.is_multiple_of(10) && !trace {
        let again = run_seed(seed, false).map_err(|failure| failure.to_string())?;
        if again != summary {
            return Err(format!("seed {seed}: two runs differ: {summary:?} and {again:?}"));
        }
    }
    Ok(summary)
}

fn add(sum: &mut Summary, one: Summary) {
    sum.steps += one.steps;
    sum.events += one.events;
    sum.sessions += one.sessions;
    sum.bytes += one.bytes;
    sum.connects_checked += one.connects_checked;
    sum.ejections_checked += one.ejections_checked;
    sum.hash = sum.hash.rotate_left(1) ^ one.hash;
}

fn measure(work: impl FnOnce()) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "how fast the simulator is; no seed sees it")]
    let start = std::time::Instant::now();
    work();
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_say_which_seeds() {
        let parse = |text: &str| parse(text.split_whitespace().map(String::from));
        assert_eq!(parse(""), Some(Asked { seeds: 1000, start: 0, trace: false }));
        assert_eq!(parse("--seeds 5 --start 7"), Some(Asked { seeds: 5, start: 7, trace: false }));
        assert_eq!(parse("--seed 9 --trace"), Some(Asked { seeds: 1, start: 9, trace: true }));
        for wrong in ["--seed", "--seeds x", "--what", "--seed -1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
