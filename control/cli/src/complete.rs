//! Completions for the shell: verbs and options from the arguments, settings from
//! the table, names and versions from the weir that runs.
//!
//! The shell runs weirctl with [`VARIABLE`] set. Nothing here prints an error: a key press
//! is no question, and a weir that does not answer offers no names.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Command;
use clap_complete::CompleteEnv;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;
use weir_proto::answer::{Answer, SessionRow};
use weir_proto::request::Query;
use weir_proto::session::{LISTED_DEFAULT, SessionFilter, SessionSort};
use weir_proto::settings::{self, Form, Setting};

use crate::ask::{Client, SOCKET};
use crate::interrupt::Interrupt;

/// The environment variable that asks for completions; its value is the name of the shell.
const VARIABLE: &str = "WEIRCTL_COMPLETE";
/// How long weir may take to answer before no names are offered.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers the shell and ends the process, if it is a shell that asks.
pub(crate) fn answer_the_shell(command: fn() -> Command) {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// The script that tells a shell to ask weirctl.
///
/// # Errors
/// `shell` is not one that is known.
pub(crate) fn script(shell: &str) -> io::Result<String> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let Some(known) = shells.completer(shell) else {
        return Err(io::Error::other(format!("no completions for {shell}")));
    };
    known.write_registration(VARIABLE, "weirctl", "weirctl", "weirctl", &mut script)?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

pub(crate) fn listeners() -> Vec<CompletionCandidate> {
    match ask(Query::ListenerList) {
        Some(Answer::Listeners(body)) => {
            body.listeners.iter().map(|row| offer(&row.name, &row.bind.join(","))).collect()
        }
        _ => Vec::new(),
    }
}

pub(crate) fn pools() -> Vec<CompletionCandidate> {
    match ask(Query::PoolList) {
        Some(Answer::Pools(body)) => {
            body.pools.iter().map(|row| offer(&row.name, row.strategy.word())).collect()
        }
        _ => Vec::new(),
    }
}

/// `POOL/`, for the name of a backend that is yet to be.
pub(crate) fn pools_of_a_new_backend() -> Vec<CompletionCandidate> {
    pools()
        .into_iter()
        .map(|pool| {
            let name = pool.get_value().to_string_lossy().into_owned();
            CompletionCandidate::new(format!("{name}/"))
        })
        .collect()
}

pub(crate) fn backends() -> Vec<CompletionCandidate> {
    match ask(Query::BackendList { pool: None }) {
        Some(Answer::Backends(body)) => {
            body.backends.iter().map(|row| offer(&row.name, &row.address)).collect()
        }
        _ => Vec::new(),
    }
}

pub(crate) fn pools_and_backends() -> Vec<CompletionCandidate> {
    pools().into_iter().chain(backends()).collect()
}

/// The numbers of tasks.
pub(crate) fn tasks() -> Vec<CompletionCandidate> {
    match ask(Query::TaskList) {
        Some(Answer::Tasks(body)) => {
            body.tasks.iter().map(|row| offer(&row.id.to_string(), &row.subject)).collect()
        }
        _ => Vec::new(),
    }
}

/// The oldest live sessions.
pub(crate) fn sessions() -> Vec<CompletionCandidate> {
    let (filter, sort) = (SessionFilter::default(), SessionSort::Age);
    match ask(Query::SessionList { filter, sort, limit: LISTED_DEFAULT }) {
        Some(Answer::Sessions(body)) => {
            let of = |row: &SessionRow| row.client.clone().unwrap_or_default();
            body.sessions.iter().map(|row| offer(&row.id, &of(row))).collect()
        }
        _ => Vec::new(),
    }
}

/// The orders of a list of sessions.
pub(crate) fn sorts() -> Vec<CompletionCandidate> {
    SessionSort::ALL.iter().map(|sort| CompletionCandidate::new(sort.word())).collect()
}

/// The kept versions, the newest first.
pub(crate) fn versions() -> Vec<CompletionCandidate> {
    match ask(Query::ConfigHistory { before: None, limit: None }) {
        Some(Answer::History(body)) => {
            let rows = body.versions.iter().zip(0..);
            rows.map(|(row, place)| {
                offer(&row.version.to_string(), &row.summary).display_order(Some(place))
            })
            .collect()
        }
        _ => Vec::new(),
    }
}

pub(crate) fn listener_settings(typed: &OsStr) -> Vec<CompletionCandidate> {
    settings_of(settings::LISTENER, typed)
}

pub(crate) fn pool_settings(typed: &OsStr) -> Vec<CompletionCandidate> {
    settings_of(settings::POOL, typed)
}

pub(crate) fn backend_settings(typed: &OsStr) -> Vec<CompletionCandidate> {
    settings_of(settings::BACKEND, typed)
}

/// `KEY=` for every setting of a table; after `KEY=` the values, where they are words or the names
/// of pools.
fn settings_of<S>(table: &'static [Setting<S>], typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    if let Some((key, value)) = typed.split_once('=') {
        let with_key = |word: &str| CompletionCandidate::new(format!("{key}={word}"));
        return match settings::find(table, key).map(|setting| setting.form) {
            Some(Form::Word { words, .. }) => {
                let fitting = words.iter().filter(|word| word.starts_with(value));
                fitting.map(|word| with_key(word)).collect()
            }
            Some(Form::Name { .. }) => {
                let names = pools();
                let names = names.iter().map(|pool| pool.get_value().to_string_lossy());
                names.filter(|name| name.starts_with(value)).map(|name| with_key(&name)).collect()
            }
            _ => Vec::new(),
        };
    }
    let fitting = table.iter().filter(|setting| setting.key.starts_with(typed));
    fitting.map(|setting| offer(&format!("{}=", setting.key), setting.help)).collect()
}

fn offer(value: &str, help: &str) -> CompletionCandidate {
    let help = help.lines().next().unwrap_or_default().to_owned();
    CompletionCandidate::new(value).help(Some(help.into()))
}

fn ask(query: Query) -> Option<Answer> {
    let socket = socket(std::env::args_os(), std::env::var_os("WEIR_SOCKET"));
    let mut client = Client::connect(&socket, Interrupt::deaf().ok()?, PATIENCE).ok()?;
    client.ask(query).ok()
}

/// The control socket that the words typed so far name, or the environment.
fn socket(typed: impl Iterator<Item = OsString>, set: Option<OsString>) -> PathBuf {
    let words: Vec<OsString> = typed.skip_while(|word| word != "--").skip(1).collect();
    let text = |index: usize| words.get(index).and_then(|word| word.to_str()).unwrap_or_default();
    let named = (0..words.len()).find_map(|index| match text(index) {
        "-s" | "--socket" => words.get(index + 1).cloned(),
        word => {
            let rest = word.strip_prefix("--socket=").or_else(|| word.strip_prefix("-s"));
            rest.map(OsString::from)
        }
    });
    named.or(set).unwrap_or_else(|| SOCKET.into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_offered_from_the_table_and_words_after_the_sign() {
        let values = |typed: &str| -> Vec<String> {
            let offered = pool_settings(OsStr::new(typed));
            offered.iter().map(|it| it.get_value().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(values("").len(), settings::POOL.len());
        assert!(values("health.").contains(&"health.interval=".to_owned()));
        assert_eq!(values("strategy=l"), ["strategy=least-conn"]);
        assert_eq!(values("health.interval="), [""; 0]);
        assert_eq!(values("nosuch="), [""; 0]);
    }

    #[test]
    fn the_socket_is_the_one_that_is_typed_else_the_environments() {
        let of = |line: &str, set: Option<&str>| {
            let words = line.split(' ').map(OsString::from);
            socket(words, set.map(OsString::from)).display().to_string()
        };
        assert_eq!(of("weirctl -- weirctl pool show", None), SOCKET);
        assert_eq!(of("weirctl -- weirctl pool show", Some("/e")), "/e");
        assert_eq!(of("weirctl -- weirctl -s /t pool", Some("/e")), "/t");
        assert_eq!(of("weirctl -- weirctl pool --socket=/t", Some("/e")), "/t");
        assert_eq!(of("weirctl -- weirctl -s/t", None), "/t");
    }

    #[test]
    fn every_shell_gets_a_script_that_asks_weirctl_and_offers_no_files() {
        for shell in ["bash", "zsh", "fish"] {
            let script = script(shell).unwrap();
            assert!(script.contains(VARIABLE), "{shell}: {script}");
            assert!(!script.contains("-o default") && !script.contains("_files"), "{script}");
        }
        assert!(script("cmd").is_err());
    }
}
