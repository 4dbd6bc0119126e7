//! The README's tour, run as it is written: its file is checked, its commands are obeyed.

use std::process::Command;

use weir_tests::clock::PATIENCE;
use weir_tests::net::Script;
use weir_tests::story::Plan;
use weir_tests::weir::{Dir, Ran, binary};

const README: &str = include_str!("../../README.md");

/// The blocks of that language, in order.
fn blocks(language: &str) -> Vec<&'static str> {
    let start = format!("```{language}\n");
    let tails = README.split(start.as_str()).skip(1);
    tails.map(|tail| tail.split("```").next().expect("a block ends")).collect()
}

/// Every command of the tour that begins with `program`, without its comment.
fn commands(program: &str) -> Vec<Vec<&'static str>> {
    let lines = blocks("sh").into_iter().flat_map(str::lines);
    let bare = lines.map(|line| line.split(" #").next().unwrap_or(line).trim());
    bare.map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.first() == Some(&program))
        .map(|words| words[1..].to_vec())
        .collect()
}

#[test]
fn the_file_of_the_tour_is_a_good_one() {
    let dir = Dir::new();
    let tomls = blocks("toml");
    assert_eq!(tomls.len(), 1);
    let path = dir.write("weir.toml", tomls[0]);
    assert!(commands("weir").contains(&vec!["check", "weir.toml"]));
    Ran::of(Command::new(binary("weir", "WEIR_BIN")).args(["check", &path])).expect_code(0);
}

#[test]
fn the_commands_of_the_tour_do_what_they_say() {
    let tour = commands("weirctl");
    assert!(tour.len() >= 10, "{tour:?}");
    let mut set = Plan::new(2, Script::Banner).start();
    for words in &tour {
        // A live screen needs a terminal; it is tried by hand and drawn in weirctl's own tests.
        let code = if words == &["top"] { 2 } else { 0 };
        let mut sides = words.split(|word| *word == ">");
        let place = |word: &&str| match word.ends_with(".toml") {
            true => set.weir.dir.entry(word),
            false => (*word).to_owned(),
        };
        let command: Vec<String> = sides.next().unwrap_or_default().iter().map(place).collect();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let ran = set.weir.ctl(&command).expect_code(code);
        if let Some([file]) = sides.next() {
            set.weir.dir.write(file, &ran.stdout);
        }
    }
    assert_eq!(tour.last().map(Vec::as_slice), Some(["stop", "--drain", "10s"].as_slice()));
    assert_eq!(set.weir.wait_exit(PATIENCE), 0);
}
