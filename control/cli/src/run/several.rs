//! Several backends at once: names and patterns become names, and those one version, or one for
//! each thousand of them.

use std::collections::BTreeSet;

use serde::Serialize;
use weir_proto::answer::{Answer, Changed, TaskRow};
use weir_proto::request::{
    BackendAct, ChangeOptions, ChangeRequest, Command, Query, TaskRequest, WORDS_MAX,
};

use super::Console;
use super::change::{agreed, ask, made, wait_drained};
use crate::ask::Client;
use crate::exit::{Exit, Failure};
use crate::plan::Several;
use crate::render::json;

/// The change, and the tasks that began with it.
#[derive(Serialize)]
struct PacedSeveral<'a> {
    #[serde(flatten)]
    changed: &'a Changed,
    tasks: Vec<TaskRow>,
}

/// Names in one request: a message and a command line may be in it, too.
const GROUP_MAX: usize = WORDS_MAX - 24;

pub(super) fn run(asked: &Several, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let names = resolve(&asked.names, console)?;
    let mut options = asked.options.clone();
    if asked.act == (BackendAct::Remove { force: true }) {
        let count = names.len();
        let change = ChangeRequest::Backends { names: first(&names), act: asked.act };
        options = agreed((&names, &format!("of {count} backends")), &change, options, console)?;
    }
    let mut client: Option<Client> = None;
    for (group, at) in names.chunks(GROUP_MAX).zip((0..).step_by(GROUP_MAX)) {
        drop(client.take());
        let done = change(asked, group, &options, console);
        let (version, next) = done.map_err(|failure| failure.after(at, names.len()))?;
        // The version that was asked for is the one before all of them.
        if !options.dry_run {
            options.if_version = options.if_version.map(|_| version);
        }
        client = Some(next);
        if names.len() > GROUP_MAX && console.progress {
            let upto = (at + group.len()).min(names.len());
            console.say(&format!("{upto} of {} backends", names.len()));
        }
    }
    match (asked.wait, client) {
        (Some(wait), Some(mut client)) if !options.dry_run => {
            wait_drained(&names, wait, &mut client, console)
        }
        _ => Ok(Exit::Done),
    }
}

/// As many of them as one request may name.
fn first(names: &[String]) -> Vec<String> {
    names[..names.len().min(GROUP_MAX)].to_vec()
}

/// Changes some of them, and begins their tasks. Returns the version that this has made.
fn change(
    asked: &Several,
    names: &[String],
    options: &ChangeOptions,
    console: &mut Console<'_>,
) -> Result<(u64, Client), Failure> {
    let Several { act, over, .. } = asked;
    let change = ChangeRequest::Backends { names: names.to_vec(), act: *act };
    let (answer, mut client) = ask(&change, options, console)?;
    let Answer::Changed(changed) = &answer else { return Err(Failure::unexpected()) };
    let version = changed.version;
    if options.dry_run {
        return made(&answer, console).map(|()| (version, client));
    }
    // Whatever becomes of its tasks: the version is there.
    let is_one_document = console.json && over.is_some();
    if !is_one_document {
        made(&answer, console)?;
    }
    let mut tasks = Vec::new();
    let mut begun = Ok(());
    for name in over.iter().flat_map(|_| names) {
        let over_ms = over.map_or(0, |over| over.millis);
        let task = Command::Task(TaskRequest::BackendDrain { name: name.clone(), over_ms });
        match client.ask(task) {
            Ok(Answer::Task(task)) if is_one_document => tasks.push(task),
            Ok(task @ Answer::Task(_)) => console.print(&task, false)?,
            Ok(_) => return Err(Failure::unexpected()),
            Err(failure) => {
                begun = Err(failure);
                break;
            }
        }
    }
    if is_one_document {
        let text = json::document(&PacedSeveral { changed, tasks }, console.style);
        console.write(&text)?;
    }
    begun.map(|()| (version, client))
}

/// The names that were typed, and those that patterns fit, each once.
fn resolve(typed: &[String], console: &Console<'_>) -> Result<Vec<String>, Failure> {
    let mut live = Vec::new();
    if typed.iter().any(|it| it.contains('*')) {
        let mut client = console.client_before_a_question()?;
        match client.ask(Query::BackendList { pool: None })? {
            Answer::Backends(body) => {
                let rows = body.backends.into_iter().filter(|row| !row.removed);
                live.extend(rows.map(|row| row.name));
            }
            _ => return Err(Failure::unexpected()),
        }
    }
    let mut names: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for word in typed {
        let is_pattern = word.contains('*');
        let fitting: Vec<&String> = match is_pattern {
            true => live.iter().filter(|name| fits(word, name)).collect(),
            false => vec![word],
        };
        if fitting.is_empty() {
            let message = format!("no backend fits {word:?}");
            return Err(Failure::new(Exit::NotFound, message, "weirctl backend list"));
        }
        for name in fitting {
            if seen.insert(name.clone()) {
                names.push(name.clone());
            }
        }
    }
    Ok(names)
}

/// Whether a name fits a pattern, in which each `*` stands for any letters.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, name) in [
            ("web/*", "web/b1"),
            ("*", "web/b1"),
            ("*/b1", "web/b1"),
            ("web/b*-*", "web/b1-x"),
            ("w*b/**1", "web/b1"),
            ("web/b*1", "web/b1"),
            ("web/b1*", "web/b1"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("web/*", "web2/b1"),
            ("*/b1", "web/b11"),
            ("a*a", "a"),
            ("web", "web/b1"),
            ("", "web/b1"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
