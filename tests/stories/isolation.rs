//! Edits touch no live session: hundreds of changes of every kind over thousands of sessions, each
//! of which is still there and served afterwards, and memory stays where it was.

use std::time::Duration;

use weir_tests::crowd::Crowd;
use weir_tests::crowd::guest::Guest;
use weir_tests::net::{self, Script};
use weir_tests::size;
use weir_tests::story::{Plan, Set};

/// weir may grow by this much over the second half of the edits. The first half fills what is
/// bounded: events, history's cache, boxes of figures.
const GROWTH_BYTES_MAX: u64 = 8 << 20;
/// The edits from one session that stays to the next.
const BETWEEN_SESSIONS: u64 = 10;

struct Editor {
    set: Set,
    /// An address that is used for backends that come and go.
    spare: String,
    files: [String; 2],
}

impl Editor {
    fn ok(&self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        self.set.weir.ok(&words);
    }

    /// One of the kinds of edits; each kind changes something every time.
    fn edit(&self, number: u64) {
        let (kind, round) = (number % 8, number / 8);
        let flip = |even: &'static str, odd: &'static str| if round % 2 == 0 { even } else { odd };
        match kind {
            0 => self.ok(&format!("backend weight web/b1 {}", round % 200 + 2)),
            1 => self.ok(&format!("backend {} web/b1", flip("drain", "ready"))),
            2 => self.ok(&format!("backend add web/n{round} {}", self.spare)),
            3 => self.ok(&format!("backend remove web/n{round}")),
            4 => self.ok(&format!("pool set web strategy={}", flip("random", "maglev"))),
            5 => self.ok(&format!("pool set web timeout.idle={}h", round % 20 + 2)),
            6 => self.ok(&format!("listener set web max-sessions={}", 100_000 + round)),
            _ => {
                let file = &self.files[usize::from(round % 2 == 0)];
                self.ok(&format!("config apply {file} --theirs"));
            }
        }
    }
}

/// A backend of the crowd, and a pool beside it that files change.
fn begin(crowd: &mut Crowd<Guest>) -> Editor {
    let ip = net::own_ip();
    let listener = net::listener(ip);
    let address = listener.local_addr().expect("it is bound");
    let plan = Plan::new(0, Script::Silent).extern_backend("b1", address);
    // It takes new sessions while the other one is drained.
    let set = plan.extern_backend("b2", address).start();
    crowd.listen(listener, |_| Guest::server());
    let files = ["random", "round-robin"].map(|strategy| {
        let beside = format!("{}[pool.beside]\nstrategy = \"{strategy}\"\n", set.objects);
        set.weir.file(&format!("{strategy}.toml"), &beside)
    });
    Editor { set, spare: net::free(ip).to_string(), files }
}

fn versions(set: &Set) -> Vec<(u64, u64)> {
    let answer = set.weir.json(&["config", "versions"]);
    let rows = answer["versions"].as_array().expect("a list").iter();
    let number = |row: &serde_json::Value, key: &str| row[key].as_u64().expect("a number");
    rows.map(|row| (number(row, "version"), number(row, "sessions"))).collect()
}

#[test]
fn no_edit_touches_a_live_session_and_memory_is_bounded() {
    let _alone = size::alone();
    let mut crowd = Crowd::new();
    let editor = begin(&mut crowd);
    let (sessions, edits) = (size::EDITED_SESSIONS.get(), size::EDITS.get());
    let join = |crowd: &mut Crowd<Guest>| {
        let number = crowd.connect(editor.set.weir.web, None, Guest::client());
        crowd.turn(Duration::ZERO);
        number
    };
    let mut all: Vec<usize> = (0..sessions).map(|_| join(&mut crowd)).collect();
    crowd.turn_until(Duration::from_secs(20), "the many", |crowd| crowd.all_served(&all));
    assert_eq!(versions(&editor.set), [(1, sessions)]);

    let mut half = 0;
    for number in 0..edits {
        if number == edits / 2 {
            half = editor.set.weir.resident_bytes();
        }
        editor.edit(number);
        if number % BETWEEN_SESSIONS == 0 {
            all.push(join(&mut crowd));
            crowd.turn_until(Duration::from_secs(20), "one more", |crowd| crowd.all_served(&all));
        }
        crowd.turn(Duration::ZERO);
    }
    let grown = editor.set.weir.resident_bytes().saturating_sub(half);
    assert!(grown <= GROWTH_BYTES_MAX, "{grown} bytes over {} edits", edits - edits / 2);

    crowd.ask_each(&all);
    assert!(crowd.all_served(&all), "no edit cuts a session");
    let rows = versions(&editor.set);
    assert_eq!(rows.iter().map(|(_, sessions)| sessions).sum::<u64>(), all.len() as u64);
    assert_eq!(rows.last(), Some(&(1, sessions)), "those of the beginning");
    let between = edits.div_ceil(BETWEEN_SESSIONS);
    let with_sessions = rows.iter().filter(|(_, sessions)| *sessions > 0).count() as u64;
    assert_eq!(with_sessions, between + 1, "a version for each session that came: {rows:?}");
    assert_eq!(rows[0].0, editor.set.weir.version(), "the one in force comes first");

    for number in all.drain(..) {
        drop(crowd.drop_stream(number));
    }
    crowd
        .turn_until(Duration::from_secs(20), "the end of all", |_| editor.set.weir.sessions() == 0);
    assert_eq!(versions(&editor.set), [(editor.set.weir.version(), 0)]);
}
