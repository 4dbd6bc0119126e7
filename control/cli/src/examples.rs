//! Examples for each verb, in its help and in the manual page.

use clap::Command;

/// A verb's words, and its examples: a command line and what it is for.
type Examples = (&'static str, &'static [(&'static str, &'static str)]);

const EXAMPLES: &[Examples] = &[
    (
        "status",
        &[
            ("weirctl status", "how everything stands"),
            ("weirctl -w 1 status", "again every second"),
            ("weirctl status --check", "for a script: exit 3 if a pool has no backend"),
        ],
    ),
    ("top", &[("weirctl top", "? lists the keys, q ends it")]),
    ("listener list", &[("weirctl listener list", "every listener with its sessions")]),
    ("listener show", &[("weirctl listener show web", "its settings and addresses")]),
    (
        "listener add",
        &[
            ("weirctl listener add web 0.0.0.0:443 '[::]:443' --pool web", "two addresses"),
            ("weirctl listener add web 0.0.0.0:443 max-sessions=10000 --pool web", "with a limit"),
        ],
    ),
    ("listener remove", &[("weirctl listener remove old", "its sessions run on")]),
    (
        "listener set",
        &[
            ("weirctl listener set web pool=green", "new sessions go to another pool"),
            ("weirctl listener set web max-sessions=", "takes the limit away"),
        ],
    ),
    (
        "listener drain",
        &[
            ("weirctl listener drain web", "no new sessions; the open ones run on"),
            ("weirctl listener drain web --over 10m", "and end within ten minutes"),
        ],
    ),
    ("listener ready", &[("weirctl listener ready web", "accepts again")]),
    ("pool list", &[("weirctl pool list", "how many backends of each are up")]),
    ("pool show", &[("weirctl pool show web", "its settings and backends")]),
    (
        "pool add",
        &[(
            "weirctl pool add web --strategy maglev health.interval=1s",
            "empty; add backends next",
        )],
    ),
    ("pool remove", &[("weirctl pool remove old", "with its backends; their sessions run on")]),
    (
        "pool set",
        &[
            ("weirctl pool set web strategy=least-conn timeout.idle=10m", "several at once"),
            ("weirctl pool set web health.interval=1s --dry-run", "only says what it would do"),
        ],
    ),
    (
        "pool rebalance",
        &[("weirctl pool rebalance web --to 10 --rate 20/s", "after backends were added")],
    ),
    (
        "backend list",
        &[
            ("weirctl backend list web", "those of one pool"),
            ("weirctl -o json backend list", "with full precision, for programs"),
        ],
    ),
    ("backend show", &[("weirctl backend show web/b1", "with its last check")]),
    (
        "backend add",
        &[
            ("weirctl backend add web/b3 10.0.0.13:80 --weight 2", "takes sessions at once"),
            ("weirctl backend add web/b3 10.0.0.13:80 state=drain", "added, and not yet used"),
        ],
    ),
    (
        "backend remove",
        &[
            ("weirctl backend remove web/b1", "its sessions run on"),
            ("weirctl backend remove web/b1 --force", "and are reset"),
        ],
    ),
    ("backend set", &[("weirctl backend set web/b1 address=10.0.0.12:80", "it moved")]),
    (
        "backend drain",
        &[
            ("weirctl backend drain web/b1 --wait 10m", "waits for its last session"),
            ("weirctl backend drain web/b1 --over 10m", "ends its sessions within ten minutes"),
            ("weirctl backend drain 'web/*' db/b1 --dry-run", "several; only says what would be"),
        ],
    ),
    ("backend maint", &[("weirctl backend maint web/b1 -m 'new disk'", "no checks either")]),
    ("backend ready", &[("weirctl backend ready web/b1 web/b2", "takes both back")]),
    (
        "backend weight",
        &[
            ("weirctl backend weight web/b1 2", "twice the share of one with 1"),
            ("weirctl backend weight 'web/*' 1", "all alike"),
        ],
    ),
    ("task list", &[("weirctl -w task list", "how far paced drains are")]),
    ("task show", &[("weirctl task show 1", "done, left, and the end in sight")]),
    ("task cancel", &[("weirctl task cancel 1", "what it has done stays")]),
    (
        "session list",
        &[
            ("weirctl session list --backend web/b1 --sort rate", "the busiest of one backend"),
            ("weirctl session list --client 203.0.113.0/24 --stalled", "whom they wait for"),
        ],
    ),
    ("session show", &[("weirctl session show 0.17.3", "both legs, as the kernel sees them")]),
    (
        "session kill",
        &[
            ("weirctl session kill 0.17.3", "one, with a reset"),
            ("weirctl session kill --idle 1h --dry-run", "how many it would be"),
            ("weirctl session kill --backend web/b1 --rate 10/s", "ten a second: a task"),
        ],
    ),
    (
        "why",
        &[
            ("weirctl why web --client 203.0.113.7", "where that client would go, and why"),
            (
                "weirctl why --client 203.0.113.7 --listener web",
                "the same, and whether it is served",
            ),
            ("weirctl why --client 203.0.113.7 --sni db.example.com", "and which route it takes"),
            ("weirctl why --session 0.17.3", "why that session is where it is"),
        ],
    ),
    (
        "stats",
        &[
            ("weirctl stats web", "counters, rates, percentiles, why sessions end"),
            ("weirctl -w 5 stats web/b1", "one backend, every five seconds"),
        ],
    ),
    (
        "latency",
        &[
            ("weirctl latency web", "how long connects, first bytes and sessions took"),
            ("weirctl -w latency", "the same of all pools, every second"),
        ],
    ),
    (
        "events",
        &[
            ("weirctl events --since 1h --kind health", "ups and downs of the last hour"),
            ("weirctl events -f", "goes on, also over a restart of weir"),
        ],
    ),
    ("config show", &[("weirctl config show", "what is in force")]),
    ("config export", &[("weirctl config export 12 > weir.toml", "an older version as a file")]),
    ("config history", &[("weirctl config history --limit 20", "who changed what, when and why")]),
    ("config versions", &[("weirctl config versions", "which the open sessions are from")]),
    (
        "config diff",
        &[
            ("weirctl config diff", "what commands have changed since the file was applied"),
            ("weirctl config diff new.toml", "what a file would change; exit 3 if anything"),
            ("weirctl config diff 12 14", "what happened between two versions"),
        ],
    ),
    (
        "config apply",
        &[
            ("weirctl config apply new.toml --dry-run", "what it would do to live sessions"),
            (
                "weirctl config apply new.toml --confirm 2m --guard connect-errors=1%",
                "goes back by itself unless it is confirmed",
            ),
        ],
    ),
    ("config confirm", &[("weirctl config confirm", "keeps what --confirm has tried")]),
    ("config edit", &[("weirctl config edit -m 'longer timeouts'", "in $EDITOR")]),
    ("config rollback", &[("weirctl config rollback 12", "version 12 becomes the next one")]),
    (
        "shards",
        &[
            ("weirctl shards", "sessions and load of each"),
            ("weirctl shards 8", "another process with eight takes over, live sessions and all"),
        ],
    ),
    (
        "upgrade",
        &[
            ("weirctl upgrade --check", "does the new program start on this host?"),
            ("weirctl upgrade", "it takes over, live sessions and all"),
        ],
    ),
    ("drain", &[("weirctl drain --yes", "no new sessions; /readyz is 503")]),
    ("ready", &[("weirctl ready", "takes a drain back")]),
    ("stop", &[("weirctl stop --drain 10m", "ends with the last session, or after ten minutes")]),
    (
        "completions",
        &[
            ("weirctl completions bash > /etc/bash_completion.d/weirctl", "for bash"),
            ("weirctl completions fish > ~/.config/fish/completions/weirctl.fish", "for fish"),
        ],
    ),
    ("man", &[("weirctl man | man -l -", "this program's manual page")]),
];

/// Those of a verb such as `backend drain`.
pub(crate) fn of(verb: &str) -> &'static [(&'static str, &'static str)] {
    EXAMPLES.iter().find(|(name, _)| *name == verb).map_or(&[], |(_, examples)| examples)
}

/// The command with the examples of its verbs in their help.
pub(crate) fn add_to(command: Command) -> Command {
    under("", command)
}

fn under(words: &str, command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let words = format!("{words} {name}").trim_start().to_owned();
        command.mut_subcommand(name, |verb| match of(&words) {
            [] => under(&words, verb),
            examples => verb.after_help(text(examples)),
        })
    })
}

/// A paragraph of examples, each on a line of its own if it is long.
fn text(examples: &[(&str, &str)]) -> String {
    let lines = examples.iter().map(|(line, what)| format!("  {line}\n      {what}"));
    format!("Examples:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::{CommandFactory, Parser};

    fn leaves(words: &str, command: &Command, found: &mut Vec<String>) {
        for verb in command.get_subcommands() {
            let words = format!("{words} {}", verb.get_name()).trim_start().to_owned();
            if verb.has_subcommands() {
                leaves(&words, verb, found);
            } else {
                found.push(words);
            }
        }
    }

    #[test]
    fn every_verb_has_an_example_and_every_example_is_of_a_verb() {
        let mut verbs = Vec::new();
        leaves("", &Cli::command(), &mut verbs);
        let mut named: Vec<&str> = EXAMPLES.iter().map(|(name, _)| *name).collect();
        named.sort_unstable();
        verbs.sort_unstable();
        assert_eq!(named, verbs);
    }

    #[test]
    fn every_example_is_well_formed() {
        for (verb, examples) in EXAMPLES {
            assert!(!examples.is_empty(), "{verb}");
            for (line, what) in *examples {
                assert!(line.starts_with("weirctl ") && line.contains(verb), "{line}");
                assert!(!what.is_empty() && what.len() < 72 && line.len() < 90, "{line}: {what}");
                let typed = line.split(['|', '>']).next().unwrap_or_default();
                let words = crate::args::join_watch(words(typed).into_iter().map(Into::into));
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }

    /// As a shell splits them, with single quotes.
    fn words(line: &str) -> Vec<String> {
        let parts = line.split('\'').enumerate();
        let mut words = Vec::new();
        for (index, part) in parts {
            match index % 2 {
                1 => words.push(part.to_owned()),
                _ => words.extend(part.split_whitespace().map(str::to_owned)),
            }
        }
        words
    }

    #[test]
    fn the_help_of_a_verb_ends_with_its_examples() {
        let mut command = add_to(Cli::command());
        let backend = command.find_subcommand_mut("backend").unwrap();
        let help = backend.find_subcommand_mut("drain").unwrap().render_help().to_string();
        assert!(help.contains("Examples:\n  weirctl backend drain web/b1 --wait 10m\n"), "{help}");
    }
}
