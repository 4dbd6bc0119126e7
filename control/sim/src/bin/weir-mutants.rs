//! weir-mutants: does the simulator bite? Plants every bug of `engine/sim/mutants/` into a copy of
//! the source, builds it once, and runs each bug until a seed finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use weir_sim::mutants::{self, Mutation};

const USAGE: &str =
    "usage: weir-mutants [--seeds N] [--seconds T] [--jobs J] [--write-seeds] [NAME...]
Plants the bugs of engine/sim/mutants into a copy of the source and runs each until a seed finds it.
  --seeds N    seeds for each bug, at most (default 10000)
  --seconds T  time for each bug, at most (default 180)
  --jobs J     bugs that run at once (default: one a CPU)
  --write-seeds  notes the seeds that took long to be found, to be tried first
  NAME         only these bugs, also those that count as unreachable";

/// Seeds that the copy must pass while no bug is awake.
const HEALTHY_SEEDS: u64 = 300;
/// So much longer than its time may a bug take; then it hangs.
const HANG_SECONDS: u64 = 60;
/// A seed that comes later is worth noting.
const NOTED_MIN: u64 = 48;
/// Bugs that may live.
const MISSED_MAX: usize = 1;
/// Paths that are no part of any program.
const LEFT_OUT: [&str; 3] = ["docs/", "packaging/", "scripts/"];

#[derive(Debug)]
struct MutantArgs {
    seeds: u64,
    seconds: u64,
    jobs: usize,
    writes_seeds: bool,
    names: Vec<String>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<MutantArgs> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut asked =
        MutantArgs { seeds: 10_000, seconds: 180, jobs, writes_seeds: false, names: Vec::new() };
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse::<u64>().ok();
        match word.as_str() {
            "--seeds" => asked.seeds = number()?,
            "--seconds" => asked.seconds = number()?,
            "--jobs" => asked.jobs = usize::try_from(number()?).ok()?.max(1),
            "--write-seeds" => asked.writes_seeds = true,
            name if name.starts_with('-') => return None,
            _ => asked.names.push(word),
        }
    }
    Some(asked)
}

fn main() -> ExitCode {
    let Some(asked) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match gate(&asked) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("weir-mutants: {what}");
            ExitCode::from(2)
        }
    }
}

/// True if enough of the bugs are found.
fn gate(asked: &MutantArgs) -> Result<bool, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = root.join("engine/sim/mutants");
    let all = mutants::load(&directory)?;
    if let Some(name) = asked.names.iter().find(|name| !all.iter().any(|it| it.name == **name)) {
        return Err(format!("there is no bug {name}"));
    }
    let program = build(&root, &all)?;
    match run(&program, 0, (0, HEALTHY_SEEDS), HEALTHY_SEEDS) {
        Fate::Lives { seeds: HEALTHY_SEEDS, .. } => {}
        fate => return Err(format!("with every bug asleep the copy fails: {fate:?}")),
    }
    let is_wanted = |mutation: &Mutation| match asked.names.is_empty() {
        true => mutation.unreachable.is_none(),
        false => asked.names.contains(&mutation.name),
    };
    let todo: Vec<_> = (1..).zip(&all).filter(|(_, mutation)| is_wanted(mutation)).collect();
    let found = run_all(&program, &todo, asked);
    let left = all.iter().filter(|mutation| mutation.unreachable.is_some()).count();
    println!("mutants: {}/{} found, {left} out of reach", found.len(), todo.len());
    if asked.writes_seeds {
        write_seeds(&directory, &found).map_err(|error| format!("the seeds: {error}"))?;
    }
    Ok(found.len() + MISSED_MAX >= todo.len())
}

/// Notes the seeds in the files of the bugs.
fn write_seeds(directory: &Path, found: &BTreeMap<String, u64>) -> std::io::Result<()> {
    let late = found.iter().filter(|(_, seed)| **seed >= NOTED_MIN);
    let late = late.map(|(name, seed)| (name.clone(), *seed)).collect();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        write(&path, mutants::with_seeds(&text, &late).as_bytes())?;
    }
    Ok(())
}

/// Runs each of them, some at once; those that are found, with the seeds that found them.
fn run_all(program: &Path, todo: &[(u16, &Mutation)], asked: &MutantArgs) -> BTreeMap<String, u64> {
    let queue = Mutex::new(todo.iter());
    let all_found = Mutex::new(BTreeMap::new());
    let work = || loop {
        let next = queue.lock().map(|mut queue| queue.next());
        let Ok(Some((number, mutation))) = next else { return };
        let by_its_seed = mutation.seed.map(|seed| run(program, *number, (seed, 1), asked.seconds));
        let fate = match by_its_seed {
            Some(found @ Fate::Found { .. }) => found,
            _ => run(program, *number, (0, asked.seeds), asked.seconds),
        };
        println!("{:<40} {}", mutation.name, fate.describe());
        if let (Fate::Found { seed, .. }, Ok(mut found)) = (fate, all_found.lock()) {
            found.insert(mutation.name.clone(), seed.parse().unwrap_or(0));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..asked.jobs {
            scope.spawn(work);
        }
    });
    all_found.into_inner().unwrap_or_default()
}

/// What became of a bug.
#[derive(Debug)]
enum Fate {
    Found { seed: String, by: String },
    Lives { seeds: u64, seconds: u64 },
    Hangs,
}

impl Fate {
    fn describe(&self) -> String {
        match self {
            Fate::Found { seed, by } => format!("seed {seed:>5}  {by}"),
            Fate::Lives { seeds, seconds } => format!("LIVES after {seeds} seeds, {seconds} s"),
            Fate::Hangs => "HANGS: no checker says so".to_owned(),
        }
    }
}

/// Runs the copy with one bug awake until a seed fails.
fn run(program: &Path, number: u16, (first, seeds): (u64, u64), seconds: u64) -> Fate {
    let clock = start();
    let child = Command::new(program)
        .args(["--until-failure", "--seeds", &seeds.to_string()])
        .args(["--start", &first.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .env("WEIR_MUTANT", number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let child = child.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let Some(text) = output(child, Duration::from_secs(seconds + HANG_SECONDS)) else {
        return Fate::Hangs;
    };
    let first = text.lines().find_map(|line| line.strip_prefix("seed ")?.split_once(": "));
    let ran = text.lines().find_map(|line| line.strip_prefix("seeds=")?.split_once(' '));
    match (first, ran) {
        (Some((seed, by)), _) => {
            let by: String = by.chars().take(90).collect();
            Fate::Found { seed: seed.to_owned(), by }
        }
        (None, Some((ran, _))) => {
            Fate::Lives { seeds: ran.parse().unwrap_or(0), seconds: clock.elapsed().as_secs() }
        }
        // A panic while another one unwinds.
        (None, None) => Fate::Found { seed: "?".to_owned(), by: "it is aborted".to_owned() },
    }
}

/// What a program prints; `None` if it does not end in time.
fn output(mut child: Child, limit: Duration) -> Option<String> {
    let (send, receive) = channel();
    let mut stdout = child.stdout.take()?;
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = std::io::Read::read_to_end(&mut stdout, &mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // Nobody listens any more if it took too long.
        let _ = send.send(read.map(|_| text));
    });
    let text = match receive.recv_timeout(limit) {
        Ok(text) => text.ok(),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
    };
    if text.is_none() {
        let _ = child.kill(); // or it has ended by itself just now
    }
    let _ = child.wait();
    text
}

#[expect(clippy::disallowed_methods, reason = "how long a bug has lived; no seed sees it")]
fn start() -> Instant {
    Instant::now()
}

/// Makes the copy, with every bug in it, and builds its simulator.
fn build(root: &Path, all: &[Mutation]) -> Result<PathBuf, String> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => root.join("target"),
    };
    fs::create_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))?;
    let target = target.canonicalize().map_err(|error| format!("{}: {error}", target.display()))?;
    let real = target.join("debug");
    let (tree, target) = (target.join("mutants/tree"), target.join("mutants/target"));
    copy(root, &tree, all)?;
    if !target.exists() {
        let lent = lend(&real, &target.join("debug"));
        lent.map_err(|error| format!("{}: {error}", target.display()))?;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Never in the target directory of the real source: cargo names what it builds by the path
    // within its workspace, so one would be taken for the other.
    let cargo = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--workspace", "--bin", "weir-sim"])
        .current_dir(&tree)
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !cargo.status.success() {
        // Not the warnings: what a bug leaves unused is no mistake.
        let said = String::from_utf8_lossy(&cargo.stderr);
        let errors: Vec<_> = said.split("\n\n").filter(|it| it.contains("error")).collect();
        return Err(format!("the copy with the bugs does not build:\n{}", errors.join("\n\n")));
    }
    Ok(target.join("debug/weir-sim"))
}

/// Gives the copy the dependencies that are built already: they are the same, and building them
/// takes longer than all the rest. Their times stay, else cargo would build them again.
fn lend(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_ours = name.to_string_lossy().trim_start_matches("lib").starts_with("weir");
        let is_test = from.ends_with("deps") && path.extension().is_none();
        if is_ours || is_test || name == "incremental" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            lend(&path, &to.join(name))?;
            continue;
        }
        let copy = to.join(name);
        fs::copy(&path, &copy)?;
        let times = fs::FileTimes::new().set_modified(entry.metadata()?.modified()?);
        fs::OpenOptions::new().append(true).open(&copy)?.set_times(times)?;
    }
    Ok(())
}

/// Copies what git knows of or would know of. A file that is the same already is left alone, so
/// that cargo builds only what has changed.
fn copy(root: &Path, tree: &Path, all: &[Mutation]) -> Result<(), String> {
    let list = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git: {error}"))?;
    if !list.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&list.stderr)));
    }
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let wanted = |path: &&str| !LEFT_OUT.iter().any(|prefix| path.starts_with(prefix));
    let mut kept = BTreeSet::new();
    for path in list.lines().filter(wanted) {
        // Removed, but not from git's index.
        let Ok(bytes) = fs::read(root.join(path)) else { continue };
        let is_touched = all.iter().any(|it| it.file == path) || mutants::is_wired(path);
        let bytes = if is_touched {
            let text = String::from_utf8(bytes).map_err(|_| format!("{path} is no text"))?;
            mutants::wire(path, mutants::plant(path, &text, all)?)?.into_bytes()
        } else {
            bytes
        };
        write(&tree.join(path), &bytes).map_err(|error| format!("{path}: {error}"))?;
        kept.insert(tree.join(path));
    }
    if let Some(lost) = all.iter().find(|it| !kept.contains(&tree.join(&it.file))) {
        return Err(format!("{}: there is no {}", lost.name, lost.file));
    }
    forget(tree, &kept).map_err(|error| format!("{}: {error}", tree.display()))
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if fs::read(path).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, bytes)
}

/// Removes what an earlier copy has left.
fn forget(directory: &Path, kept: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            forget(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
