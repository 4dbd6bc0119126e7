//! After `kill -9`, and on a state that was damaged: what comes back, and what is refused.
//! (kills.rs kills at random moments.)

use weir_tests::clock::{self, PATIENCE};
use weir_tests::net::{Script, noise, own_ip};
use weir_tests::story::Plan;
use weir_tests::weir::{Start, Weir};

#[test]
fn the_file_does_not_come_back_over_what_was_changed_later() {
    let mut set = Plan::new(2, Script::Banner).start();
    set.weir.ok(&["backend", "remove", "web/b2"]);
    let bind = weir_tests::net::free(own_ip());
    set.weir.ok(&["listener", "add", "two", &bind.to_string(), "--pool", "web"]);
    let (version, exported) = (set.weir.version(), set.weir.ok(&["config", "export"]));
    set.weir.kill();
    set.weir.run();
    assert_eq!(set.weir.version(), version);
    assert_eq!(set.weir.ok(&["config", "export"]), exported);
    assert_eq!(set.spread(10, None), [10, 0]);
    let mut client = weir_tests::net::Peer::connect(bind);
    assert_eq!(client.line(), "b1", "the listener that was added is there");
}

/// The files of a state directory, largest first.
fn state_files(weir: &Weir) -> Vec<std::path::PathBuf> {
    let directory = weir.dir.path.join("state");
    let entries = std::fs::read_dir(directory).expect("the state directory is there");
    let mut files: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file())
        .collect();
    let length = |path: &std::path::PathBuf| path.metadata().map_or(0, |data| data.len());
    files.sort_by_key(|path| std::cmp::Reverse(length(path)));
    files
}

#[test]
fn a_damaged_state_file_is_refused_with_a_way_out() {
    let mut set = Plan::new(1, Script::Banner).start();
    set.weir.ok(&["backend", "weight", "web/b1", "9"]);
    set.weir.kill();
    let file = state_files(&set.weir).remove(0);
    let length = usize::try_from(file.metadata().expect("it is there").len()).expect("small");
    std::fs::write(&file, noise(1, length)).expect("the file can be written");
    set.weir.spawn();
    assert_eq!(set.weir.wait_exit(PATIENCE), 1);
    clock::wait_for("the reason", || set.weir.log().contains(&*file.to_string_lossy()));
    assert!(set.weir.log().contains("hint"), "no way out in: {}", set.weir.log());
    assert_eq!(std::fs::read(&file).expect("it is there"), noise(1, length), "left as it was");
}

#[test]
fn an_empty_or_truncated_state_file_is_not_an_empty_configuration() {
    let mut set = Plan::new(1, Script::Banner).start();
    set.weir.kill();
    let file = state_files(&set.weir).remove(0);
    let bytes = std::fs::read(&file).expect("it is there");
    // More of it may be without anything but free pages: then the state is whole, and is served.
    for length in [8192, 100] {
        std::fs::write(&file, &bytes[..length]).expect("the file can be written");
        set.weir.spawn();
        assert_eq!(set.weir.wait_exit(PATIENCE), 1, "with {length} of {} bytes", bytes.len());
        clock::wait_for("the reason", || set.weir.log().contains(&*file.to_string_lossy()));
    }
    std::fs::write(&file, &bytes).expect("the file can be written");
    set.weir.run();
    set.session().0.echo(b"whole again");
}

#[test]
fn a_second_weir_on_the_same_state_or_address_refuses_clearly() {
    let set = Plan::new(1, Script::Banner).start();
    // The same file: the same state directory, control socket, admin address and listener.
    let mut second = Weir::prepare(set.weir.web, &set.objects, Start::default());
    second.file.clone_from(&set.weir.file);
    second.spawn();
    assert_eq!(second.wait_exit(PATIENCE), 1);
    clock::wait_for("the reason", || !second.log().is_empty());
    // A state directory of its own, but the same listener's address.
    let mut third = Weir::prepare(set.weir.web, &set.objects, Start::default());
    third.spawn();
    assert_eq!(third.wait_exit(PATIENCE), 1);
    clock::wait_for("the address", || third.log().contains(&set.weir.web.to_string()));
    set.session().0.echo(b"the first one is not disturbed");
    set.weir.ok(&["status"]);
}

#[test]
fn a_stale_control_socket_does_not_stand_in_the_way() {
    let mut set = Plan::new(1, Script::Banner).start();
    set.weir.kill();
    assert!(std::path::Path::new(&set.weir.socket).exists(), "kill -9 leaves the socket");
    set.weir.ctl(&["status"]).expect_code(5);
    set.weir.run();
    set.weir.ok(&["status"]);
}

#[test]
fn a_process_that_is_killed_resets_what_it_cuts() {
    let mut set = Plan::new(1, Script::ByHand).start();
    let mut pairs: Vec<_> = (0..10).map(|_| set.pair()).collect();
    let bytes = noise(1, 10_000);
    for (client, server) in &mut pairs {
        // Half an answer, and half an upload.
        server.send(&bytes);
        client.expect(&bytes).send(&bytes);
        server.expect(&bytes);
    }
    set.weir.kill();
    for (client, server) in &mut pairs {
        client.expect_rst();
        server.expect_rst();
    }
}
