//! Effects of changes.

use std::fmt::Write as _;

use weir_proto::ids::IdSource;

use super::*;
use crate::file;

const LISTENERS: &str = "[listener.a]\nbind = \"127.0.0.1:1\"\npool = \"web\"\n\
                         [listener.b]\nbind = \"127.0.0.1:2\"\npool = \"web\"\n";

/// Versions of files, one after another.
#[derive(Default)]
struct Lineage {
    ids: IdSource,
}

impl Lineage {
    fn version(&mut self, toml: &str, before: &Snapshot) -> Snapshot {
        let spec = file::parse(toml, "x").unwrap().spec;
        Snapshot::build(&spec, before.version.next(), before, &mut self.ids).unwrap()
    }

    fn two(&mut self, before: &str, after: &str) -> [Snapshot; 2] {
        let before = self.version(before, &Snapshot::empty());
        let after = self.version(after, &before);
        [before, after]
    }
}

fn pool(lines: &[&str]) -> String {
    let mut text = "[pool.web.backend]\n".to_owned();
    for line in lines {
        writeln!(text, "{line}").unwrap();
    }
    text
}

fn id(snapshot: &Snapshot, backend: &str) -> BackendId {
    snapshot.pool("web").unwrap().backend(backend).unwrap().id
}

#[test]
fn sessions_stay_drain_or_are_cut_as_their_backend_does() {
    let b = ["b1", "b2", "b3", "b4"].map(|name| {
        format!(
            "{name} = {{ address = \"127.0.0.1:{}\" }}",
            10 + name.len() + usize::from(name.as_bytes()[1])
        )
    });
    let before = LISTENERS.to_owned() + &pool(&[&b[0], &b[1], &b[2], &b[3]]);
    let drained = b[1].replace(" }", ", state = \"drain\" }");
    let moved = b[3].replace("127.0.0.1:", "127.0.0.2:");
    let after = LISTENERS.to_owned() + &pool(&[&b[0], &drained, &moved]);
    let [before, after] = Lineage::default().two(&before, &after);
    let count = |(name, sessions)| (id(&before, name), sessions);
    let backends = [("b1", 5), ("b2", 7), ("b3", 11), ("b4", 13)].map(count).into();
    let load = Load { backends, all: 40, ..Load::default() };

    let (rows, impact) = tell((&before, &after), &[], &load);
    assert_eq!(impact.sessions, SessionImpact { stay: 9, drain: 31, cut: 0 });
    assert_eq!(impact.backends.added, ["web/b4"]);
    assert_eq!(impact.backends.removed, ["web/b3", "web/b4"]);
    assert_eq!(impact.backends.drained, ["web/b2"]);
    let told: Vec<_> =
        rows.iter().map(|row| (row.object.as_str(), row.key.as_str(), row.class)).collect();
    assert_eq!(
        told,
        [
            ("backend web/b3", "", Class::Drain),
            ("backend web/b2", "state", Class::Drain),
            ("backend web/b4", "address", Class::Drain),
        ]
    );
    let (rows, impact) = tell((&before, &after), &[id(&before, "b3")], &load);
    assert_eq!(impact.sessions, SessionImpact { stay: 9, drain: 20, cut: 11 });
    assert_eq!(rows[0].class, Class::Cut);

    let (rows, nothing) = tell((&after, &after), &[], &load);
    assert_eq!(rows, []);
    assert_eq!(nothing.sessions, SessionImpact { stay: 40, drain: 0, cut: 0 });
    assert_eq!(Impact { sessions: SessionImpact::default(), ..nothing }, Impact::default());
    let removed = Load { cut: vec![id(&before, "b1")], ..load };
    assert_eq!(of_kill(&removed).sessions, SessionImpact { stay: 35, drain: 0, cut: 5 });
}

#[test]
fn listeners_open_close_and_bind_elsewhere() {
    let backends = pool(&["b1 = { address = \"127.0.0.1:9\" }"]);
    let two = LISTENERS.to_owned() + &backends;
    let tell = |before: &str, after: &str| {
        let [before, after] = Lineage::default().two(before, after);
        let (rows, impact) = tell((&before, &after), &[], &Load::default());
        let classes: Vec<Class> = rows.iter().map(|row| row.class).collect();
        let ListenerImpact { open, close, rebind } = impact.listeners;
        ([open, close, rebind].map(|names| names.join(" ")), classes, impact.warnings)
    };
    let no_names = || ["", "", ""].map(str::to_owned);
    assert_eq!(tell(&two, &two), (no_names(), vec![], vec![]));
    let gone = LISTENERS.split("[listener.b]").next().unwrap().to_owned() + &backends;
    let (names, classes, warnings) = tell(&two, &gone);
    assert_eq!((names, classes), (["", "b", ""].map(str::to_owned), vec![Class::Rebind]));
    assert_eq!(warnings, [""; 0]);
    let (names, _, warnings) = tell(&gone, &two);
    assert_eq!(names, ["b", "", ""]);
    assert_eq!(warnings, ["not tried before it is made: whether 127.0.0.1:2 can be bound"]);
    let (names, classes, _) = tell(&two, &two.replace("127.0.0.1:2", "127.0.0.1:3"));
    assert_eq!((names, classes), (["", "", "b"].map(str::to_owned), vec![Class::Rebind]));
    let drained = two.replace("127.0.0.1:2\"\n", "127.0.0.1:2\"\nstate = \"drain\"\n");
    assert_eq!(tell(&two, &drained).0, ["", "b", ""]);
    assert_eq!(tell(&drained, &two).0, ["b", "", ""]);
    // One that has another name at the same address is the same.
    assert_eq!(tell(&two, &two.replace("listener.b", "listener.c")).0, ["", "", ""]);
}

#[test]
fn what_cannot_be_known_and_what_is_over_its_limit_already_is_said() {
    let file = |idle: &str, limit: u32, more: &[&str]| {
        let listeners =
            LISTENERS.replace("[listener.b]", &format!("max-sessions = {limit}\n[listener.b]"));
        let timeout = format!("[pool.web.timeout]\nidle = \"{idle}\"\n");
        let mut lines = vec!["b1 = { address = \"127.0.0.1:9\" }"];
        lines.extend(more);
        listeners + &timeout + &pool(&lines)
    };
    let new: Vec<String> =
        (2..6).map(|n| format!("b{n} = {{ address = \"127.0.0.1:{n}\" }}")).collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    let [before, after] = Lineage::default().two(&file("1h", 100, &[]), &file("5s", 3, &new));
    let load = Load {
        backends: [(id(&before, "b1"), 8)].into(),
        listeners: [(before.listener("a").unwrap().id, 8)].into(),
        all: 8,
        ..Load::default()
    };
    let (_, impact) = tell((&before, &after), &[], &load);
    assert_eq!(
        impact.warnings,
        [
            "listener a has 8 sessions, more than its new limit of 3: they stay, and new ones wait \
             until there are fewer",
            "not known before it is made: the health of web/b2, web/b3, web/b4 and 1 more",
        ]
    );
    let (_, back) = tell((&after, &before), &[], &load);
    assert_eq!(back.warnings, [""; 0]);
}

#[test]
fn a_tenth_of_the_clients_moves_with_one_of_ten_backends() {
    let lines: Vec<String> =
        (0..10).map(|n| format!("b{n} = {{ address = \"127.0.0.1:1{n}\" }}")).collect();
    let file = |skip: Option<usize>, state: &str, strategy: &str| {
        let lines = lines.iter().enumerate().filter(|(n, _)| Some(*n) != skip);
        let lines: Vec<String> = lines
            .map(|(n, line)| if n == 3 { line.replace(" }", state) } else { line.clone() })
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        format!("{LISTENERS}[pool.web]\nstrategy = \"{strategy}\"\n{}", pool(&lines))
    };
    let moved = |before: &str, after: &str, is_down: bool| {
        let [before, after] = Lineage::default().two(before, after);
        let down = if is_down { [id(&before, "b3")].into() } else { BTreeSet::new() };
        tell((&before, &after), &[], &Load { down, ..Load::default() }).1.maglev_keys_moved
    };
    let all = file(None, " }", "maglev");
    let near = |share: Option<f64>, wanted: f64| {
        let share = share.unwrap();
        assert!((share - wanted).abs() < 0.02, "{share}, not {wanted}");
    };
    near(moved(&all, &file(Some(3), " }", "maglev"), false), 0.1);
    near(moved(&all, &file(None, ", state = \"drain\" }", "maglev"), false), 0.1);
    near(moved(&all, &file(None, ", state = \"drain\" }", "maglev"), true), 0.0);
    assert_eq!(moved(&all, &all, false), None);
    assert_eq!(moved(&all, &file(Some(3), " }", "random"), false), None);
}
