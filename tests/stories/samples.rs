//! Samples in the documents for operators: each output that is shown has the form of a real one, or
//! there is a reason why it is not compared; commands of curl are run.

use std::process::Command;

use weir_tests::clock;
use weir_tests::net::Script;
use weir_tests::source;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::Ran;

/// The documents whose samples these are.
const DOCUMENTS: &[&str] = &["README.md", "docs/operating.md", "docs/http.md", "docs/metrics.md"];

/// A block of code: its document, its language and its text.
struct Block {
    document: &'static str,
    language: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut found = Vec::new();
    for document in DOCUMENTS {
        let path = source::root().join(document);
        let page = std::fs::read_to_string(path).expect("it exists");
        let mut open: Option<Block> = None;
        for line in page.lines() {
            let fence = line.trim_start().strip_prefix("```");
            match (&mut open, fence) {
                (None, Some(language)) => {
                    let (language, text) = (language.to_owned(), String::new());
                    open = Some(Block { document, language, text });
                }
                (Some(_), Some(_)) => found.extend(open.take()),
                (Some(block), None) => block.text += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{document}: a block without an end");
    }
    found
}

/// How an output is held against weir.
enum Held {
    /// By this.
    By(fn(&str)),
    /// Not here, and why.
    Not(&'static str),
}

/// Every block that is an output: its document, its first words, and how it is held.
const OUTPUTS: &[(&str, &str, Held)] = &[
    (
        "docs/operating.md",
        "1048576 descriptors",
        Held::Not(
            "a line of the log at start, by the machine's limits: tests/docs.rs has its words",
        ),
    ),
    ("docs/operating.md", "{\"at\":", Held::By(line_of_the_session_log)),
    ("docs/operating.md", "PHASE ", Held::By(histograms)),
    ("docs/operating.md", "weir 0.1.0  serving", Held::By(screen_of_top)),
    ("docs/operating.md", "backend remove web/b1", Held::By(dry_run)),
    (
        "docs/operating.md",
        "table inet weir",
        Held::Not("rules of nftables: the story recipes:: loads those"),
    ),
];

#[test]
fn outputs_that_documents_show_are_those_of_weir() {
    let is_output = |block: &&Block| ["", "text", "console"].contains(&block.language.as_str());
    let mut held = vec![0; OUTPUTS.len()];
    for block in blocks().iter().filter(is_output) {
        let fits = |(document, first, _): &(&str, &str, Held)| {
            *document == block.document && block.text.starts_with(first)
        };
        let at = OUTPUTS.iter().position(fits);
        let at = at.unwrap_or_else(|| panic!("{}: no row for\n{}", block.document, block.text));
        held[at] += 1;
        match &OUTPUTS[at].2 {
            Held::By(check) => check(&block.text),
            Held::Not(why) => assert!(!why.is_empty()),
        }
    }
    assert!(held.iter().all(|count| *count > 0), "a row has no block: {held:?}");
}

/// Its keys are those of a real line, in their order.
fn line_of_the_session_log(shown: &str) {
    let log = "session-log = { to = \"{dir}/log\", at = [\"close\"] }";
    let set = Plan::new(1, Script::Echo).settings(log).start();
    let mut client = set.client();
    client.echo(b"hello");
    client.rst();
    let path = set.weir.dir.path.join("log");
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    clock::wait_for("its line", || read().ends_with('\n'));
    assert_eq!(keys(shown), keys(&read()), "{}", read());
}

/// The keys of an object in one line, in their order.
fn keys(line: &str) -> Vec<&str> {
    let parts: Vec<&str> = line.trim().trim_matches(['{', '}']).split('"').collect();
    let is_key = |at: usize| parts.get(at + 1).is_some_and(|after| after.starts_with(':'));
    (0..parts.len()).filter(|at| at % 2 == 1 && is_key(*at)).map(|at| parts[at]).collect()
}

/// The heads of its tables are real ones, and its phases.
fn histograms(shown: &str) {
    let set = Plan::new(1, Script::Echo).start();
    let mut client = set.client();
    client.echo(b"hello");
    client.fin().expect_fin();
    let real = clock::wait_within(clock::PATIENCE, "its phases", || {
        let text = set.weir.ok(&["latency", "web"]);
        text.contains("FIRST-BYTE").then_some(text)
    });
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let real_lines: Vec<Vec<String>> = real.lines().map(words).collect();
    for line in shown.lines().filter(|line| line.contains("COUNT")) {
        assert!(real_lines.contains(&words(line)), "{line:?} is not in\n{real}");
    }
    for phase in ["connect", "first-byte"] {
        assert!(shown.contains(phase) && real.contains(phase), "{phase}");
    }
}

/// It is the screen that weirctl's own tests draw.
fn screen_of_top(shown: &str) {
    let path = source::root().join("control/cli/src/top/tests/overview-80x24.txt");
    assert_eq!(shown, std::fs::read_to_string(path).expect("it is drawn"));
}

/// Each of its lines is one of a real dry run but for the numbers.
fn dry_run(shown: &str) {
    let set = Plan::new(5, Script::Banner).strategy("maglev").start();
    let (_client, _) = set.session();
    let real = set.weir.ok(&["backend", "remove", "web/b1", "--dry-run"]);
    let real: Vec<String> = real.lines().map(without_numbers).collect();
    for line in shown.lines() {
        assert!(real.contains(&without_numbers(line)), "{line:?} is not in {real:#?}");
    }
}

/// Each number becomes a `0`; that of an object's name stays.
fn without_numbers(line: &str) -> String {
    let mut out = String::new();
    for word in line.split_whitespace() {
        let is_number = word.starts_with(|it: char| it.is_ascii_digit());
        let end = word.trim_start_matches(|it: char| it.is_ascii_digit() || it == '.');
        out += &if is_number { format!("0{end} ") } else { format!("{word} ") };
    }
    out
}

/// A command of curl in a block, or in a span that is one as a whole.
fn curl_commands() -> Vec<String> {
    let mut found = Vec::new();
    for block in blocks().iter().filter(|block| block.language == "sh") {
        let bare = block.text.lines().map(|line| line.split(" #").next().unwrap_or(line).trim());
        found.extend(bare.filter(|line| line.starts_with("curl ")).map(str::to_owned));
    }
    for document in DOCUMENTS {
        let page = std::fs::read_to_string(source::root().join(document)).expect("it exists");
        let spans = page.split('`').filter(|span| span.starts_with("curl http"));
        found.extend(spans.map(str::to_owned));
    }
    found
}

#[test]
fn commands_of_curl_are_answered() {
    let set: Set = Plan::new(1, Script::Http).start();
    let all = curl_commands();
    assert!(all.len() >= 2, "{all:?}");
    for line in all {
        let here = line
            .replace("127.0.0.1:8080", &set.weir.web.to_string())
            .replace("127.0.0.1:9650", &set.weir.admin.to_string());
        assert_ne!(here, line, "it names neither of weir's addresses");
        let words = here.split_whitespace().skip(1);
        let mut curl = Command::new("curl");
        let ran = Ran::of(curl.args(["--silent", "--fail", "--max-time", "20"]).args(words));
        assert!(!ran.expect_code(0).stdout.is_empty(), "{line}");
    }
}
