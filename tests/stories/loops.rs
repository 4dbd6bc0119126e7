//! weir is not its own backend: not by an address that this host has, not by one that it gets
//! later; and what goes round through another weir ends when one of them is drained.

use std::net::SocketAddr;
use std::process::Command;

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::namespace;
use weir_tests::net::{self, Peer, Script};
use weir_tests::story::{Plan, Set};
use weir_tests::weir::{Ran, Weir};

/// An address that the namespace gets in the middle of the story.
const LATER: &str = "10.66.0.1";

fn accepted(weir: &Weir) -> u64 {
    count(&weir.get("/metrics").body, "weir_listener_sessions_accepted_total", &[])
}

/// A client comes and is reset; what it has set off is over soon. How many clients weir has
/// accepted since it was started.
fn visit(set: &Set, to: SocketAddr) -> u64 {
    if let Ok(mut client) = Peer::try_connect(to) {
        let _ = client.try_line().expect_err("nobody is there to answer");
    }
    clock::wait_for("it to be over", || set.weir.sessions() == 0);
    let mut seen = u64::MAX;
    clock::wait_for("the figures to stand still", || {
        let before = std::mem::replace(&mut seen, accepted(&set.weir));
        before == seen && seen > 0
    });
    seen
}

#[test]
fn a_backend_that_becomes_weir_itself_is_refused() {
    namespace::story("loops::a_backend_that_becomes_weir_itself_is_refused", &[], || {
        let mut set = Plan::new(0, Script::Silent).prepare();
        let port = net::free("0.0.0.0".parse().expect("an address")).port();
        let checked = "{ kind = \"tcp\", interval = \"100ms\", rise = 1, fall = 1 }";
        set.weir.write(&format!(
            "[listener.web]\nbind = \"0.0.0.0:{port}\"\npool = \"web\"\n\
             [pool.web]\nhealth = {{ kind = \"none\" }}\n\
             [pool.web.backend]\nb1 = {{ address = \"{LATER}:{port}\" }}\n\
             m1 = {{ address = \"[::ffff:{LATER}]:{port}\" }}\n\
             [pool.checked]\nhealth = {checked}\n\
             [pool.checked.backend]\nc1 = {{ address = \"{LATER}:{port}\" }}\n\
             m1 = {{ address = \"[::ffff:{LATER}]:{port}\" }}\n"
        ));
        set.weir.run();
        let route = ["address", "add", &format!("{LATER}/32"), "dev", "lo"].map(str::to_owned);
        assert_eq!(Ran::of(Command::new("ip").args(route)).code, 0);
        // One session a client, and the leg that came back; a few more where it is quicker than
        // the word of its connect. It was 19,164 in three seconds.
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        let of_one = visit(&set, here);
        assert!((1..=50).contains(&of_one), "one client made {of_one} sessions");
        for name in ["checked/c1", "checked/m1"] {
            let check = || set.weir.backend(name)["check"]["result"].clone();
            clock::wait_for("the check to tell", || check() == "leads back to weir");
        }
        // By every door, in each spelling.
        let again = format!("{LATER}:{port}");
        for address in [&again, &format!("[::ffff:{LATER}]:{port}")] {
            let ran = set.weir.ctl(&["backend", "add", "web/b2", address]).expect_code(1);
            assert!(ran.stderr.contains("is this host"), "{ran}");
        }
        let text = set.weir.with_settings(&format!(
            "[listener.web]\nbind = \"0.0.0.0:{port}\"\npool = \"web\"\n[pool.web]\n\
             [pool.web.backend]\nb9 = {{ address = \"{again}\" }}\n"
        ));
        let more = set.weir.dir.write("more.toml", &text);
        let ran = set.weir.ctl(&["config", "apply", &more, "--force"]).expect_code(1);
        assert!(ran.stderr.contains("is this host"), "{ran}");
        // What stands is no reason to refuse what has nothing to do with it, or to start.
        set.weir.ok(&["backend", "weight", "web/b1", "7"]);
        set.weir.kill();
        set.weir.run();
        assert_eq!(set.weir.backend("web/b1")["weight"], 7);
        let of_one = visit(&set, here);
        assert!((1..=50).contains(&of_one), "one client made {of_one} sessions");
    });
}

/// No weir can tell that another one leads back to it. Resets run through the ring about as fast as
/// it grows, so that it may outlive its client; its way ahead ends where a listener is drained.
#[test]
fn a_ring_of_two_ends_when_one_of_them_is_drained() {
    const MANY: u64 = 200;
    let mut one = Plan::new(0, Script::Silent).nofile(2_000).prepare();
    let mut two = Plan::new(0, Script::Silent).nofile(2_000).prepare();
    let to = |set: &mut Set, address: SocketAddr| {
        let objects = format!("{}b1 = {{ address = \"{address}\" }}\n", set.objects);
        set.weir.write(&objects);
        set.weir.run();
    };
    let (first, second) = (one.weir.web, two.weir.web);
    to(&mut one, second);
    to(&mut two, first);
    let client = one.client();
    clock::wait_for("the ring to be there", || one.weir.sessions() >= MANY);
    client.rst();
    two.weir.ok(&["listener", "drain", "web", "--yes"]);
    clock::wait_for("the ring to be gone", || one.weir.sessions() + two.weir.sessions() == 0);
    eprintln!("gone: {} and {}", accepted(&one.weir), accepted(&two.weir));
}
