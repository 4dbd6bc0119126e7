//! The shells themselves complete weirctl's verbs, settings, live names and versions.

use std::path::Path;
use std::process::Command;

use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::{Ran, binary};

/// A shell with weirctl's directory first in its path, and the script of completions in `script`.
fn shell(set: &Set, name: &str, arguments: &[&str]) -> Option<Ran> {
    let installed = Command::new(name).arg("--version").output().is_ok();
    if !installed {
        assert!(name != "bash", "bash is needed");
        eprintln!("there is no {name} here: its completions were not tried");
        return None;
    }
    let script = set.weir.ok(&["completions", name]);
    let script = set.weir.dir.write(&format!("weirctl.{name}"), &script);
    let program = binary("weirctl", "WEIRCTL_BIN");
    let place = program.parent().unwrap_or(Path::new("."));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.args(arguments).env("PATH", format!("{}:{path}", place.display()));
    command.env("WEIR_SOCKET", &set.weir.socket).env("SCRIPT", script);
    command.env("HOME", &set.weir.dir.path).env("TERM", "dumb").env_remove("BASH_ENV");
    Some(Ran::of(&mut command).expect_code(0))
}

/// The words that bash offers behind `line`, whose words are separated as bash does it.
fn bash(set: &Set, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let last = words.len() - 1;
    let code = r#"source "$SCRIPT"
        spec=$(complete -p weirctl); [[ $spec =~ -F\ ([^ ]+) ]]
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"
        COMP_POINT=${#COMP_LINE}; COMP_TYPE=63
        "${BASH_REMATCH[1]}" weirctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut arguments = vec!["--norc", "--noprofile", "-c", code, "bash"];
    arguments.extend(&words);
    let ran = shell(set, "bash", &arguments).expect("bash is there");
    assert!(last > 0, "a word to complete");
    ran.stdout.lines().map(|line| line.trim().to_owned()).filter(|it| !it.is_empty()).collect()
}

/// The words that fish offers behind `line`, without their descriptions; `None` without a fish.
fn fish(set: &Set, line: &str) -> Option<Vec<String>> {
    let code = format!("source $SCRIPT; complete -C {line:?}");
    let ran = shell(set, "fish", &["--no-config", "-c", &code])?;
    let word = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    Some(ran.stdout.lines().map(word).collect())
}

/// The line that zsh makes of `line` and a Tab, on a terminal of its own; `None` without a zsh.
fn zsh(set: &Set, line: &str) -> Option<String> {
    let code = r#"zmodload zsh/zpty; export LINE_TYPED="$1"
        zpty shell zsh -f -i
        zpty -w shell 'PS1= PS2= RPS1=; unsetopt zle_bracketed_paste; autoload -Uz compinit'
        zpty -w shell 'compinit -u -D; source "$SCRIPT"; unsetopt auto_menu'
        zpty -w shell 'shown() { print -r -- "<<$BUFFER>>"; BUFFER=; zle accept-line }'
        zpty -w shell 'zle -N shown'
        zpty -w shell 'bindkey "^X" shown; print READY""NOW'
        zpty -r -m shell said '*READYNOW*' || exit 1
        zpty -w -n shell "$LINE_TYPED"$'\t'
        zpty -w -n shell $'\x18'
        zpty -r -m shell said '*<<*>>*' || exit 1
        print -r -- "$said"; zpty -d shell"#;
    let ran = shell(set, "zsh", &["-f", "-c", code, "zsh", line])?;
    let (_, rest) = ran.stdout.rsplit_once("<<").unwrap_or_else(|| panic!("{ran}"));
    Some(rest.split(">>").next().unwrap_or_default().to_owned())
}

fn set() -> Set {
    let set = Plan::new(3, Script::Banner).start();
    set.weir.ok(&["pool", "add", "web-old", "--strategy", "maglev"]);
    set.weir.ok(&["backend", "weight", "web/b1", "2"]);
    set
}

#[test]
fn bash_and_fish_offer_verbs_settings_live_names_and_versions() {
    let set = set();
    for (line, offered) in [
        ("weirctl dra", &["drain"][..]),
        ("weirctl backend dr", &["drain"]),
        ("weirctl backend drain web/", &["web/b1", "web/b2", "web/b3"]),
        ("weirctl backend ready web/b1 web/b3 web/", &["web/b1", "web/b2", "web/b3"]),
        ("weirctl pool show web", &["web", "web-old"]),
        ("weirctl listener drain w", &["web"]),
        ("weirctl config rollback ", &["3", "2", "1"]),
        ("weirctl pool set web strategy=le", &["strategy=least-conn"]),
        ("weirctl pool set web health.inter", &["health.interval="]),
        ("weirctl backend drain web/b1 --wa", &["--wait", "--watch"]),
    ] {
        // Behind no letter options are offered, too, after the names.
        let is_offered = |words: &[String]| match line.ends_with(' ') {
            true => words.len() > offered.len() && words[..offered.len()] == *offered,
            false => *words == *offered,
        };
        // bash splits at `=`, and `COMP_WORDBREAKS` says where: what it offers is the part behind.
        if !line.contains('=') {
            let words = bash(&set, line);
            assert!(is_offered(&words), "bash: {line}: {words:?}");
        }
        if let Some(words) = fish(&set, line) {
            assert!(is_offered(&words), "fish: {line}: {words:?}");
        }
    }
}

#[test]
fn zsh_completes_what_only_one_name_fits() {
    let set = set();
    set.weir.ok(&["backend", "add", "web-old/x1", "10.0.0.1:80"]);
    for (typed, completed) in [
        ("weirctl sessio", "weirctl session "),
        ("weirctl backend drain web-old/", "weirctl backend drain web-old/x1 "),
        ("weirctl listener drain we", "weirctl listener drain web "),
    ] {
        if let Some(line) = zsh(&set, typed) {
            assert_eq!(line, completed, "zsh: {typed}");
        }
    }
}

#[test]
fn a_weir_that_is_gone_offers_no_names_and_prints_no_error() {
    let mut set = set();
    let here = bash(&set, "weirctl backend drain web/");
    assert_eq!(here.len(), 3);
    let script = set.weir.ok(&["completions", "bash"]);
    set.weir.kill();
    let program = binary("weirctl", "WEIRCTL_BIN");
    let mut command = Command::new(program);
    command.args(["--", "weirctl", "backend", "drain", "web/"]).env("WEIRCTL_COMPLETE", "bash");
    command.env("_CLAP_COMPLETE_INDEX", "3").env("_CLAP_IFS", "\n");
    let ran = Ran::of(command.env("WEIR_SOCKET", &set.weir.socket));
    assert_eq!((ran.stdout.trim(), ran.stderr.as_str()), ("", ""), "{ran}");
    assert!(script.contains("WEIRCTL_COMPLETE"));
}
