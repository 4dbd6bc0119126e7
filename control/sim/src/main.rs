//! weir-sim: runs seeds of the simulation, or one of them with its trace; runs scripts on the real
//! ring and has the model explain them.

mod compare;

use std::process::ExitCode;
use std::time::Instant;

use weir_engine_sim::driver::Summary;
use weir_engine_sim::quiet_panics;
use weir_sim::run_scenario;
use weir_sim::shrink::{Less, shrink};

const USAGE: &str = "usage: weir-sim --seeds N [--start S]   run N seeds (default 1000, from 0 on)
       weir-sim --seed S [--trace]        run one seed, with a line for each event
           [--until-failure]              stop at the first seed that fails
           [--seconds T]                  begin no seed after T seconds
       weir-sim --seed S --shrink         find a smaller world of it that fails still
with either: [--without FAULT,FAULT] [--clients N] [--steps N]   less than the seed has
       weir-sim --conform N [--start S]   run N scripts on the real ring: is the model true?";

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SimArgs {
    seeds: u64,
    start: u64,
    trace: bool,
    until_failure: bool,
    seconds: u64,
    shrink: bool,
    conform: bool,
    less: Less,
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<SimArgs> {
    let mut asked = SimArgs { seeds: 1000, seconds: u64::MAX, ..SimArgs::default() };
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse::<u64>().ok();
        match word.as_str() {
            "--seeds" => asked.seeds = number()?,
            "--start" => asked.start = number()?,
            "--seed" => (asked.start, asked.seeds) = (number()?, 1),
            "--trace" => asked.trace = true,
            "--conform" => (asked.seeds, asked.conform) = (number()?, true),
            "--until-failure" => asked.until_failure = true,
            "--seconds" => asked.seconds = number()?,
            "--shrink" => asked.shrink = true,
            "--clients" => asked.less.clients = usize::try_from(number()?).ok(),
            "--steps" => asked.less.steps = usize::try_from(number()?).ok(),
            "--without" => {
                asked.less.without = words.next()?.split(',').map(str::to_owned).collect();
            }
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
    if asked.conform {
        return compare::run(asked.start, asked.seeds);
    }
    quiet_panics();
    if asked.shrink {
        return smaller(asked.start);
    }
    let clock = start();
    let (mut ran, mut failed) = (0u64, 0u64);
    let mut sum = Summary::default();
    for seed in asked.start..asked.start.saturating_add(asked.seeds) {
        if asked.until_failure && failed > 0 || clock.elapsed().as_secs() >= asked.seconds {
            break;
        }
        ran += 1;
        match run(seed, &asked) {
            Ok(summary) => add(&mut sum, summary),
            Err(text) => {
                failed += 1;
                println!("{text}\n");
            }
        }
    }
    let took = clock.elapsed().as_secs_f64();
    let (rate, seeds) = (sum.steps as f64 / took, ran as f64 * 60.0 / took);
    println!(
        "seeds={ran} failed={failed} steps={} steps_per_s={rate:.0} seeds_per_min={seeds:.0}",
        sum.steps
    );
    println!(
        "events={} backend_connections={} bytes={} connects_checked={} ejections_checked={}",
        sum.events, sum.sessions, sum.bytes, sum.connects_checked, sum.ejections_checked
    );
    println!(
        "acks={} recoveries={} deaths={} hash={:016x}",
        sum.acks, sum.recoveries, sum.deaths, sum.hash
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One seed; every seventh runs twice and must do the same again.
fn run(seed: u64, asked: &SimArgs) -> Result<Summary, String> {
    let scenario = asked.less.apply(seed);
    let run = |trace| run_scenario(seed, &scenario, trace).map_err(|failure| failure.to_string());
    let summary = run(asked.trace)?;
    if seed.is_multiple_of(7) && !asked.trace {
        let again = run(false)?;
        if again != summary {
            return Err(format!("seed {seed}: two runs differ: {summary:?} and {again:?}"));
        }
    }
    Ok(summary)
}

/// Shrinks a seed and says how to run what is left.
fn smaller(seed: u64) -> ExitCode {
    let Some((less, failure)) = shrink(seed) else {
        println!("seed {seed} does not fail");
        return ExitCode::SUCCESS;
    };
    println!("{failure}\nsmaller: weir-sim --seed {seed}{less} --trace");
    ExitCode::FAILURE
}

fn add(sum: &mut Summary, one: Summary) {
    sum.steps += one.steps;
    sum.events += one.events;
    sum.sessions += one.sessions;
    sum.bytes += one.bytes;
    sum.connects_checked += one.connects_checked;
    sum.ejections_checked += one.ejections_checked;
    sum.acks += one.acks;
    sum.recoveries += one.recoveries;
    sum.deaths += one.deaths;
    sum.hash = sum.hash.rotate_left(1) ^ one.hash;
}

#[expect(clippy::disallowed_methods, reason = "how fast the simulator is; no seed sees it")]
fn start() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_say_which_seeds() {
        let parse = |text: &str| parse(text.split_whitespace().map(String::from));
        let asked =
            |seeds, start| SimArgs { seeds, start, seconds: u64::MAX, ..SimArgs::default() };
        assert_eq!(parse(""), Some(asked(1000, 0)));
        assert_eq!(parse("--seeds 5 --start 7"), Some(asked(5, 7)));
        assert_eq!(parse("--seed 9 --trace"), Some(SimArgs { trace: true, ..asked(1, 9) }));
        assert_eq!(parse("--seed 9 --shrink"), Some(SimArgs { shrink: true, ..asked(1, 9) }));
        let conform = SimArgs { conform: true, ..asked(5, 3) };
        assert_eq!(parse("--conform 5 --start 3"), Some(conform));
        let less = Less { without: vec!["stalls".into(), "kills".into()], ..Less::default() };
        let less = Less { clients: Some(2), steps: Some(3), ..less };
        let text = format!("--seed 9{less}");
        assert_eq!(parse(&text), Some(SimArgs { less, ..asked(1, 9) }));
        let until = SimArgs { until_failure: true, seconds: 3, ..asked(1000, 0) };
        assert_eq!(parse("--until-failure --seconds 3"), Some(until));
        for wrong in ["--seed", "--seeds x", "--what", "--seed -1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
