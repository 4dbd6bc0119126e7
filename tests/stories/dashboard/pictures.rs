//! The pictures of the documents: a weir with traffic, written when `WEIR_WRITE_DOCS` asks.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_tests::browser::Browser;
use weir_tests::clock;
use weir_tests::net::{Backend, Peer, Script, free, noise, own_ip};
use weir_tests::source;
use weir_tests::story::{Plan, Set};

use super::wait_text;

/// How long traffic flows before the pictures: the charts begin with it.
const TRAFFIC: Duration = Duration::from_secs(150);

/// Takes them with this browser.
pub(super) fn write_if_asked(browser: &Browser) {
    if std::env::var_os("WEIR_WRITE_DOCS").is_none() {
        return;
    }
    let (set, doors, _backends) = stage();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (number, door) in doors.iter().cycle().take(48).enumerate() {
            let stop = &stop;
            scope.spawn(move || talk(*door, number as u64, stop));
        }
        browser.size(1440, 900);
        browser.open(&format!("http://{}/", set.weir.admin));
        let _ = browser.run("localStorage.clear()");
        browser.open(&format!("http://{}/", set.weir.admin));
        clock::park(TRAFFIC);
        let docs = source::root().join("docs");
        wait_text(browser, "#alerts", "db/replica-2");
        browser.screenshot(&docs.join("dashboard.png"));
        browser.press("t");
        browser.screenshot(&docs.join("dashboard-dark.png"));
        browser.press("t");
        browser.size(390, 844);
        let wide = "return document.querySelector('.plot').clientWidth < 390";
        browser.wait("the charts to be narrow", wide);
        browser.screenshot(&docs.join("dashboard-phone.png"));
        stop.store(true, Ordering::SeqCst);
    });
}

/// Three pools, one of them without one of its backends.
fn stage() -> (Set, Vec<SocketAddr>, Vec<Backend>) {
    let plan = Plan::new(3, Script::Banner).strategy("least-conn").weights(&[1, 1, 2]);
    let mut set = plan.health("{ interval = \"1s\" }").prepare();
    let (mut doors, mut backends) = (vec![set.weir.web], Vec::new());
    for (pool, strategy, names) in [
        ("cache", "two-choices", ["c1", "c2", ""]),
        ("db", "maglev", ["primary", "replica-1", "replica-2"]),
    ] {
        let door = free(own_ip());
        doors.push(door);
        let text = &mut set.objects;
        let _ = writeln!(text, "[listener.{pool}]\nbind = \"{door}\"\npool = \"{pool}\"");
        let _ = writeln!(text, "[pool.{pool}]\nstrategy = \"{strategy}\"\n[pool.{pool}.backend]");
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            let backend = Backend::start(name, own_ip(), Script::Banner);
            let address = backend.address;
            let _ = writeln!(text, "{name} = {{ address = \"{address}\" }}");
            if name == "replica-2" {
                drop(backend); // the one that is down
            } else {
                backends.push(backend);
            }
        }
    }
    set.weir.write(&set.objects);
    set.weir.run();
    (set, doors, backends)
}

/// Sessions of different lengths and sizes, one after the other.
fn talk(door: SocketAddr, number: u64, stop: &AtomicBool) {
    let mut turn = 0;
    while !stop.load(Ordering::SeqCst) {
        turn += 1;
        let dice = noise(number * 1000 + turn, 4);
        let source = std::net::Ipv4Addr::new(127, 9, dice[0], dice[1].max(1));
        let mut client = Peer::connect_from(source.into(), door);
        client.line();
        for _ in 0..=dice[2] / 8 {
            client.echo(&noise(turn, 1 + usize::from(dice[3]) * 64));
            clock::park(Duration::from_millis(20 + u64::from(dice[3])));
        }
        client.fin().expect_fin();
    }
}
