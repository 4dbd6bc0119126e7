//! weirctl: steers weir over its control socket. Arguments in, exit code out.

mod args;
mod ask;
mod clock;
mod complete;
mod examples;
mod exit;
mod interrupt;
mod lone;
mod manual;
mod plan;
mod render;
mod run;
mod top;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches};

use weir_proto::answer::Note;
use weir_proto::outside::cleaned;

use args::{Cli, Output};
use exit::{Exit, Failure};
use render::Style;
use run::Console;

fn main() -> ExitCode {
    complete::answer_the_shell(Cli::command);
    let typed = args::join_watch(std::env::args_os());
    if typed.len() == 1 {
        let _ = io::stderr().lock().write_all(lone::text().as_bytes());
        return ExitCode::from(Exit::Usage as u8);
    }
    let command = examples::add_to(Cli::command());
    let matched = command.try_get_matches_from(&typed);
    let cli = match matched.and_then(|it| Cli::from_arg_matches(&it)) {
        Ok(cli) => cli,
        Err(error) => return usage(error, &typed),
    };
    let json = cli.output == Output::Json;
    match carry_out(cli, json, &line(std::env::args_os())) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => end(&failure, json),
    }
}

fn carry_out(cli: Cli, json: bool, typed: &str) -> Result<Exit, Failure> {
    let (plan, watch) = plan::plan(cli.verb, cli.output, cli.watch)?;
    let (stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    let style = Style::detect(stdout.is_terminal(), |name| std::env::var(name).ok());
    let progress = stderr.is_terminal();
    let interactive = progress && stdin.is_terminal();
    let mut console = Console {
        out: &mut stdout,
        err: &mut stderr,
        input: &mut stdin.lock(),
        style,
        json,
        progress,
        interactive,
        socket: &cli.socket,
        typed,
    };
    run::run(plan, watch, &mut console)
}

/// A command line as it could be typed in a shell, and no longer than weir keeps.
fn line(words: impl Iterator<Item = OsString>) -> String {
    let mut line = "weirctl".to_owned();
    for word in words.skip(1) {
        let word = word.to_string_lossy();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=%,+@".contains(&byte);
        if !word.is_empty() && word.bytes().all(plain) {
            line += &format!(" {word}");
        } else {
            line += &format!(" '{}'", word.replace('\'', r"'\''"));
        }
        if line.len() > Note::COMMAND_MAX {
            break;
        }
    }
    cleaned(&line, Note::COMMAND_MAX)
}

fn end(failure: &Failure, json: bool) -> ExitCode {
    if failure.exit != Exit::Done {
        // If stderr is closed there is nobody left to tell; the exit code still says it.
        let _ = failure.say(json, &mut io::stderr().lock());
    }
    ExitCode::from(failure.exit as u8)
}

/// Help and version are answers; the rest are usage errors, in clap's words.
fn usage(error: clap::Error, typed: &[OsString]) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => end(&error.into(), false),
        };
    }
    if args::wants_json(typed) {
        let text = error.render().to_string();
        let text = text.trim_start_matches("error: ").trim_end();
        let message = text.split("\n\n").next().unwrap_or(text);
        return end(&Failure::usage(message, "weirctl --help"), true);
    }
    let _ = without_globals(error).print();
    let _ = io::stderr().flush();
    ExitCode::from(Exit::Usage as u8)
}

/// Takes the options that fit every verb out of the usage line: clap puts them there as soon as one
/// is typed, or its environment variable is set.
fn without_globals(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
        let usage = [" --socket <PATH>", " --output <OUTPUT>", " --watch[=<SECONDS>]"]
            .iter()
            .fold(usage.to_string(), |usage, option| usage.replace(option, ""));
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage.into()));
    }
    error
}
