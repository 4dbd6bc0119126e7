//! Fuzz targets: each takes any bytes, does to weir what somebody out there could, and panics when
//! a promise is broken. Begin at [`TARGETS`]; `weir-fuzz` runs them, `scripts/fuzz` all of them.

use std::time::Duration;

pub mod address;
pub mod agent_answer;
pub mod choices;
pub mod client_hello;
pub mod config;
pub mod dns_answer;
pub mod frame;
pub mod init;
pub mod metrics;
pub mod mutate;
pub mod proxy_header;
pub mod reply;
pub mod seeds;
pub mod session;
pub mod shard;
pub mod store;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Its number in the list of reasons (docs/testing.md).
    pub number: &'static str,
    /// Runs one input. What it gives stands for what the input reached: an input that gives
    /// something new is worth keeping.
    pub run: fn(&[u8]) -> u64,
    /// The longest input that is made, in bytes.
    pub length_max: usize,
    /// Words that mutations put in.
    pub words: &'static [&'static [u8]],
}

impl Target {
    /// One input may not take longer: it would be a way to hold up weir's control thread. A world
    /// of the simulator is no input of weir's, and takes a second and a half.
    #[must_use]
    pub fn input_max(&self) -> Duration {
        Duration::from_secs(if self.name == "shard" { 10 } else { 2 })
    }
}

/// All targets. F10 (upgrade handshake) waits for its subject.
pub const TARGETS: [Target; 13] = [
    Target { name: "frame", number: "F1", run: frame::run, length_max: 4096, words: frame::WORDS },
    Target {
        name: "session",
        number: "F2",
        run: session::run,
        length_max: 4096,
        words: session::WORDS,
    },
    Target {
        name: "config",
        number: "F3",
        run: config::run,
        length_max: 8192,
        words: config::WORDS,
    },
    Target { name: "store", number: "F4", run: store::run, length_max: 1024, words: &[] },
    Target {
        name: "proxy_header",
        number: "F5",
        run: proxy_header::run,
        length_max: 256,
        words: proxy_header::WORDS,
    },
    Target { name: "reply", number: "F6", run: reply::run, length_max: 512, words: reply::WORDS },
    Target { name: "shard", number: "F7", run: shard::run, length_max: 4096, words: &[] },
    Target {
        name: "metrics",
        number: "F8",
        run: metrics::run,
        length_max: 512,
        words: metrics::WORDS,
    },
    Target {
        name: "address",
        number: "F9",
        run: address::run,
        length_max: 256,
        words: address::WORDS,
    },
    Target { name: "init", number: "F11", run: init::run, length_max: 4096, words: init::WORDS },
    Target {
        name: "client_hello",
        number: "F12",
        run: client_hello::run,
        length_max: 2048,
        words: client_hello::WORDS,
    },
    Target {
        name: "dns_answer",
        number: "F13",
        run: dns_answer::run,
        length_max: 2048,
        words: dns_answer::WORDS,
    },
    Target {
        name: "agent_answer",
        number: "F14",
        run: agent_answer::run,
        length_max: 1536,
        words: agent_answer::WORDS,
    },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// 64 bits that stand for some text (FNV-1a).
#[must_use]
pub fn feature(text: &str) -> u64 {
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, add)
}

/// The same for a message: what it quotes and counts does not matter.
#[must_use]
pub fn feature_of_message(text: &str) -> u64 {
    let mut quoted = false;
    let shape: String = text
        .chars()
        .filter(|letter| {
            quoted ^= *letter == '"' || *letter == '`';
            !quoted && letter.is_ascii_alphabetic()
        })
        .take(60)
        .collect();
    feature(&shape)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Inputs that once broke something are in the corpus, beside the seeds.
    #[test]
    fn the_corpus_breaks_nothing() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        for target in TARGETS {
            let directory = corpus.join(target.name).read_dir().expect("every target has a corpus");
            let mut count = 0;
            for entry in directory {
                let path = entry.expect("the corpus can be read").path();
                println!("{}", path.display());
                (target.run)(&std::fs::read(path).expect("the corpus can be read"));
                count += 1;
            }
            assert!(count > 0, "{} has no corpus", target.name);
        }
    }

    /// As they are written today: those in the corpus may be of an older protocol.
    #[test]
    fn the_seeds_break_nothing() {
        for (name, _, bytes) in seeds::all() {
            let target = target(name).expect("every seed has its target");
            (target.run)(&bytes);
        }
    }
}
