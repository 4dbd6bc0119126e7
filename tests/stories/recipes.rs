//! Recipes of docs/operating.md do what they say.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use weir_tests::namespace;
use weir_tests::net::{Peer, Script};
use weir_tests::source;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::Ran;

/// The first block of code behind these words.
fn block(words: &str) -> String {
    let file = source::root().join("docs/operating.md");
    let text = std::fs::read_to_string(file).expect("it is there");
    let behind = text.split(words).nth(1).unwrap_or_else(|| panic!("no {words:?}"));
    behind.split("```").nth(1).expect("a block").trim_start().to_owned()
}

/// Takes these rules in place of those before.
fn load(set: &Set, rules: &str) {
    let file = set.weir.dir.write("rules", &format!("flush ruleset\n{rules}"));
    let ran = Ran::of(Command::new("nft").args(["-f", &file]));
    assert_eq!(ran.code, 0, "{ran}");
}

/// As many sessions at once from this source; what becomes of each.
fn clients(set: &Set, last: u8, count: usize) -> Vec<io::Result<Peer>> {
    let source = IpAddr::V4(Ipv4Addr::new(127, 9, 0, last));
    let wait = Duration::from_millis(300);
    (0..count).map(|_| Peer::try_connect_from(source, set.weir.web, wait)).collect()
}

fn connected(all: &[io::Result<Peer>]) -> usize {
    all.iter().filter(|it| it.is_ok()).count()
}

#[test]
fn nftables_hold_each_source_to_its_limits() {
    let name = "recipes::nftables_hold_each_source_to_its_limits";
    namespace::story(name, &[], || {
        let set = Plan::new(1, Script::Banner).start();
        let rules = block("**Limit each source**");
        // This port, and limits that a story reaches.
        let port = set.weir.web.port().to_string();
        let rules = rules.replace("80, 443", &port).replace("10.0.0.0/24", "127.9.0.9/32");
        let few = rules.replace("count over 200", "count over 5");
        assert!(rules.contains(&port) && rules.contains("127.9.0.9") && few != rules, "{rules}");
        load(&set, &few);
        let held = clients(&set, 1, 8);
        assert_eq!(connected(&held), 5, "{held:?}");
        let refused = held.iter().filter_map(|it| it.as_ref().err()).map(io::Error::kind);
        assert!(refused.into_iter().all(|kind| kind == io::ErrorKind::ConnectionRefused));
        assert_eq!(connected(&clients(&set, 2, 1)), 1, "another source is served beside it");
        assert_eq!(connected(&clients(&set, 9, 8)), 8, "a trusted one is not limited");
        drop(held);
        let slow = rules.replace("rate over 50/second burst 100", "rate over 1/minute burst 3");
        assert_ne!(slow, rules);
        load(&set, &slow);
        let fresh = clients(&set, 3, 6);
        assert!((3..=4).contains(&connected(&fresh)), "{fresh:?}");
        assert_eq!(connected(&clients(&set, 9, 6)), 6, "a trusted one is not limited");
    });
}
