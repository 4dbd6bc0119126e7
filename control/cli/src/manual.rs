//! The manual page, made from the arguments themselves.

use clap::CommandFactory;
use weir_proto::roff::{escape, paragraph};

use crate::args::Cli;
use crate::examples;

/// The manual page, in roff.
pub(crate) fn page() -> String {
    let command = Cli::command();
    let man = clap_mangen::Man::new(command.clone()).title("WEIRCTL");
    let mut page = Vec::new();
    // Writing into memory does not fail.
    let parts = [
        man.render_title(&mut page),
        man.render_name_section(&mut page),
        man.render_synopsis_section(&mut page),
        man.render_description_section(&mut page),
        man.render_options_section(&mut page),
    ];
    debug_assert!(parts.iter().all(Result::is_ok));
    let mut text = String::from_utf8_lossy(&page).into_owned();
    text += ".SH VERBS\n";
    verbs("weirctl", &command, &mut text);
    text += REST;
    text
}

/// One paragraph for each verb: how it is typed, and what it does.
fn verbs(prefix: &str, command: &clap::Command, text: &mut String) {
    for verb in command.get_subcommands() {
        let name = format!("{prefix} {}", verb.get_name());
        if verb.has_subcommands() {
            verbs(&name, verb, text);
            continue;
        }
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let typed = format!("{name}{}", usage(verb));
        let words = name.split_once(' ').map_or("", |(_, words)| words);
        *text += &paragraph(&typed, &about);
        for option in verb.get_opts() {
            let Some(long) = option.get_long() else { continue };
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            if !option.is_global_set() && !help.is_empty() {
                *text += &format!(".br\n{}\n", escape(&format!("--{long}: {help}")));
            }
        }
        for (line, what) in examples::of(words) {
            *text += &format!(".br\n.I {}\n({})\n", escape(line), escape(what));
        }
    }
}

fn usage(verb: &clap::Command) -> String {
    let mut usage = String::new();
    for argument in verb.get_arguments().filter(|argument| !argument.is_global_set()) {
        let names = argument.get_value_names().unwrap_or_default();
        let value = names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" ");
        let is_list = argument.get_num_args().is_some_and(|it| it.max_values() > 1);
        let value = if is_list { format!("{value}...") } else { value };
        let value = if argument.get_action().takes_values() { value } else { String::new() };
        let word = match (argument.get_long(), value.is_empty()) {
            (Some(long), true) => format!("--{long}"),
            (Some(long), false) => format!("--{long} {value}"),
            (None, _) => value,
        };
        let required = argument.is_required_set();
        usage += &if required { format!(" {word}") } else { format!(" [{word}]") };
    }
    usage
}

const REST: &str = r#".SH EXIT STATUS
0 done; 1 the daemon refused or failed; 2 usage; 3 the answer is no (status \-\-check, config diff);
4 no such object; 5 cannot reach weir; 6 timed out (\-\-wait); 7 version conflict (\-\-if\-version);
8 not permitted; 130 interrupted.
.SH ENVIRONMENT
.TP
.B WEIR_SOCKET
The control socket, if \-s does not name one.
.TP
.B NO_COLOR, CLICOLOR_FORCE, TERM
No colour; colour even in a pipe; no colour if it is dumb.
.SH FILES
.TP
.I /run/weir/control.sock
The control socket, if nothing else names one.
.SH SEE ALSO
weir(1), weir.toml(5)
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_package_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/man/weirctl.1");
        if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        let how = "WEIR_WRITE_DOCS=1 cargo test -p weirctl manual";
        assert!(there == page(), "packaging/man/weirctl.1 is another page: {how}");
    }

    #[test]
    fn the_page_has_every_verb_and_the_exit_codes() {
        let page = page();
        for text in [
            ".SH EXIT STATUS",
            "weirctl backend drain POOL/BACKEND... [\\-\\-wait DURATION]",
            ".I weirctl backend drain web/b1 \\-\\-wait 10m\n(waits for its last session)",
            "weirctl pool set NAME KEY=VALUE",
            "weirctl config diff [FILE|VERSION] [VERSION]",
            "WEIR_SOCKET",
        ] {
            assert!(page.contains(text), "no {text} in\n{page}");
        }
    }
}
