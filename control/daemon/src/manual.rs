//! The manual page weir(1), made from the arguments, and held against the one of the package.

use std::collections::BTreeSet;

use clap::CommandFactory;
use clap_mangen::Man;
use weir_proto::roff::{escape, paragraph};

use crate::Args;

/// In roff: the program, then each verb with its options.
fn page() -> String {
    let command = Args::command();
    let man = Man::new(command.clone()).title("WEIR");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    let mut text = String::from_utf8(page).unwrap() + ".SH VERBS\n";
    for verb in command.get_subcommands() {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        text += &format!(".SS weir {}\n{}\n", verb.get_name(), escape(&about));
        for argument in verb.get_arguments() {
            let names = argument.get_value_names().unwrap_or_default();
            let value = match argument.get_action().takes_values() {
                true => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                false => String::new(),
            };
            let word = match argument.get_long() {
                Some(long) => format!("--{long} {value}"),
                None => value,
            };
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            text += &paragraph(word.trim(), &help);
        }
    }
    text + REST
}

const REST: &str = r#".SH SIGNALS
.TP
.B SIGTERM
Drains for 30 s at most, then ends.
.TP
.B SIGQUIT
Drains, and ends with the last session.
.TP
.B SIGINT
Ends at once.
.TP
.B SIGHUP
Merges the file of \-\-config into what is in force.
.TP
.B SIGUSR1
Opens the session log again, after its file was moved.
.TP
.B SIGUSR2
Says that handing over to a new process is not built yet, and does nothing.
.SH ENVIRONMENT
.TP
.B WEIR_LOG
The level of the log: error, warn, info, debug.
.SH EXIT STATUS
0 after a stop or a signal, or if a check or the doctor finds nothing wrong; 1 otherwise.
weir init: 0 if something was carried over, 1 if the file is wrong or cannot be read, 3 if nothing
in it could be carried over.
.SH FILES
.TP
.I /etc/weir/weir.toml
The configuration, see weir.toml(5).
.TP
.I /var/lib/weir
The state: every version of the configuration. It is the truth once it is there.
.TP
.I /run/weir/control.sock
Where weirctl(1) finds weir.
.SH SEE ALSO
weirctl(1), weir.toml(5)
"#;

#[test]
fn the_page_of_the_package_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/man/weir.1");
    if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    let how = "WEIR_WRITE_DOCS=1 cargo test -p weir manual";
    assert!(there == page(), "packaging/man/weir.1 is another page: {how}");
    // Each signal that signals.rs listens to; SIGINT comes by the crate ctrlc.
    let source = include_str!("signals.rs");
    let list = source.lines().find_map(|line| line.strip_prefix("use signal_hook::consts::{"));
    let list = list.and_then(|line| line.strip_suffix("};")).expect("they are imported there");
    let signals: BTreeSet<&str> = list.split(", ").chain(["SIGINT"]).collect();
    for signal in ["SIGTERM", "SIGQUIT", "SIGINT", "SIGHUP", "SIGUSR1"] {
        assert!(signals.contains(signal), "{signal} is handled elsewhere");
    }
    for signal in signals {
        assert!(there.contains(&format!(".B {signal}\n")), "{signal} is missing");
    }
}
