//! weir-fuzz: runs a target on its corpus and on what mutations make of it, for some seconds.
//!
//! No nightly compiler and no instrumentation: an input is kept when its target says that it
//! reached something new (`Target::run`).

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use weir_engine_sim::rng::Rng;
use weir_fuzz::mutate::{mutate, shrink};
use weir_fuzz::{TARGETS, Target, seeds, target};

const USAGE: &str = "usage: weir-fuzz TARGET [--seconds N] [--seed S] [--corpus DIR]
       weir-fuzz TARGET FILE              run one input
       weir-fuzz seeds                    write the first inputs of every target
       weir-fuzz list                     the targets";

/// What a run may add to the memory of the process, in KiB, whatever the inputs are.
const GROWTH_MAX_KIB: u64 = 256 * 1024;
/// Inputs that are kept in memory at most.
const KEPT_MAX: usize = 4096;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => {
            TARGETS.iter().for_each(|target| println!("{} {}", target.name, target.number));
            ExitCode::SUCCESS
        }
        ["seeds"] => write_seeds(),
        [name, options @ ..] => match (target(name), Options::parse(name, options)) {
            (Some(target), Some(options)) => run(target, &options),
            _ => usage(),
        },
        [] => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

struct Options {
    seconds: u64,
    seed: u64,
    corpus: PathBuf,
    file: Option<PathBuf>,
}

impl Options {
    fn parse(name: &str, words: &[&str]) -> Option<Options> {
        let corpus = Path::new("fuzz/corpus").join(name);
        let mut options = Options { seconds: 5, seed: 0, corpus, file: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--seconds" => options.seconds = words.next()?.parse().ok()?,
                "--seed" => options.seed = words.next()?.parse().ok()?,
                "--corpus" => options.corpus = words.next()?.into(),
                word if word.starts_with('-') => return None,
                file => options.file = Some(file.into()),
            }
        }
        Some(options)
    }
}

fn write_seeds() -> ExitCode {
    for (target, name, bytes) in seeds::all() {
        let directory = Path::new("fuzz/corpus").join(target);
        let written = std::fs::create_dir_all(&directory)
            .and_then(|()| std::fs::write(directory.join(name), bytes));
        if let Err(error) = written {
            eprintln!("{}: {error}", directory.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[expect(clippy::disallowed_methods, reason = "how long to run; no input sees it")]
fn now() -> Instant {
    Instant::now()
}

fn run(target: Target, options: &Options) -> ExitCode {
    if let Some(file) = &options.file {
        let bytes =
            std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        println!("reached {:016x}", (target.run)(&bytes));
        return ExitCode::SUCCESS;
    }
    let Some(corpus) = read_corpus(&options.corpus) else { return ExitCode::FAILURE };
    let started = now();
    let end = started + Duration::from_secs(options.seconds);
    weir_engine_sim::quiet_panics();
    let mut fuzzer = Fuzzer { target, reached: BTreeSet::new(), kept: Vec::new(), runs: 0 };
    let mut result = corpus.into_iter().try_for_each(|bytes| fuzzer.try_one(bytes));
    let memory = memory_kib();
    let mut rng = Rng::new(options.seed);
    while result.is_ok() && now() < end {
        result = fuzzer.next(&mut rng);
        let growth = memory_kib().saturating_sub(memory);
        if growth > GROWTH_MAX_KIB {
            result = Err((fuzzer.kept.last().cloned().unwrap_or_default(), "memory".into()));
        }
    }
    let took = started.elapsed().as_secs_f64();
    let (runs, kept) = (fuzzer.runs, fuzzer.kept.len());
    let rate = runs as f64 / took.max(0.001);
    println!("{:8} runs={runs} runs_per_s={rate:.0} kept={kept}", target.name);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((bytes, why)) => report(target, &bytes, &why),
    }
}

fn read_corpus(directory: &Path) -> Option<Vec<Vec<u8>>> {
    let read = || -> std::io::Result<Vec<Vec<u8>>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            paths.push(entry?.path());
        }
        paths.sort();
        paths.iter().map(std::fs::read).collect()
    };
    match read() {
        Ok(inputs) if !inputs.is_empty() => Some(inputs),
        Ok(_) => {
            eprintln!("{} is empty", directory.display());
            None
        }
        Err(error) => {
            eprintln!("{}: {error}", directory.display());
            None
        }
    }
}

/// An input and what it broke.
type Broken = (Vec<u8>, String);

struct Fuzzer {
    target: Target,
    reached: BTreeSet<u64>,
    kept: Vec<Vec<u8>>,
    runs: u64,
}

impl Fuzzer {
    fn next(&mut self, rng: &mut Rng) -> Result<(), Broken> {
        let pick = |rng: &mut Rng| &self.kept[rng.below(self.kept.len())];
        let (input, other) = (pick(rng), pick(rng));
        let Target { words, length_max, .. } = self.target;
        let bytes = mutate(input, other, words, length_max, rng);
        self.try_one(bytes)
    }

    fn try_one(&mut self, bytes: Vec<u8>) -> Result<(), Broken> {
        self.runs += 1;
        let started = now();
        let reached = attempt(self.target, &bytes).map_err(|why| (bytes.clone(), why))?;
        if started.elapsed() > self.target.input_max() {
            return Err((bytes, "it takes too long".into()));
        }
        let new = self.reached.insert(reached);
        if self.kept.is_empty() || (new && self.kept.len() < KEPT_MAX) {
            self.kept.push(bytes);
        }
        Ok(())
    }
}

fn attempt(target: Target, bytes: &[u8]) -> Result<u64, String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    })
}

/// The most memory that the process has had so far.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Shrinks the input, keeps it in a file and says what to do.
fn report(target: Target, bytes: &[u8], why: &str) -> ExitCode {
    println!("{} breaks: {why}", target.name);
    // One that takes too long breaks nothing else, and shrinking it would take hours.
    let breaks = |bytes: &[u8]| attempt(target, bytes).is_err();
    let short = if breaks(bytes) { shrink(bytes, 2000, breaks) } else { bytes.to_vec() };
    let name = format!("{}-{:016x}", target.name, weir_fuzz::feature(&format!("{short:?}")));
    let path = Path::new("target/fuzz").join(name);
    let written =
        std::fs::create_dir_all("target/fuzz").and_then(|()| std::fs::write(&path, &short));
    if let Err(error) = written {
        eprintln!("{}: {error}", path.display());
    }
    println!("input ({} bytes): {short:?}", short.len());
    println!("again: weir-fuzz {} {}", target.name, path.display());
    println!("when it is mended: move it into fuzz/corpus/{}", target.name);
    ExitCode::FAILURE
}
