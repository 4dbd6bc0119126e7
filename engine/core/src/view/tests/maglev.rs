//! Slow start where a client has its own backend.

use super::*;

/// The backend of each of many clients under maglev at that time.
fn clients(view: &mut View, millis: u32) -> Vec<usize> {
    let now = T0.plus_millis(millis);
    let mut pick = |key| view.pick(POOL, key, &mut Prng::new(1), Tried::NONE, now).unwrap();
    (0..1024).map(|client| pick(client * (u64::MAX / 1024)).backend.index()).collect()
}

#[test]
fn under_maglev_clients_go_over_one_by_one_and_stay() {
    let mut config = Config::new(&["b1", "b2", "b3"]);
    config.pool().strategy = Strategy::Maglev;
    config.build();
    let mut view = view_of(&config);
    let home = clients(&mut view, 0);
    view.set_health(config.id("b1"), Down, T0);
    let away = clients(&mut view, 0);
    view.set_health(config.id("b1"), Up, T0);
    assert_eq!(clients(&mut view, 0), away, "it has no share yet");
    let of_b1 = home.iter().filter(|backend| **backend == 0).count();
    let mut before = away.clone();
    for percent in [10, 25, 50, 75, 99] {
        let now = clients(&mut view, percent * 100);
        for (client, (then, now)) in before.iter().zip(&now).enumerate() {
            assert!(then == now || *now == 0, "client {client} moved from {then} to {now}");
            assert!(*now == home[client] || *now == away[client], "client {client}");
        }
        let moved = now.iter().filter(|backend| **backend == 0).count();
        let share = u32::try_from(moved * 100 / of_b1).unwrap();
        assert!(share.abs_diff(percent) <= 10, "{share} % at {percent} %");
        before = now;
    }
    assert_eq!(clients(&mut view, 10_000), home);
}

#[test]
fn maglev_leads_no_client_astray_where_all_begin_at_once() {
    let mut config = Config::new(&["b1", "b2"]);
    config.pool().strategy = Strategy::Maglev;
    config.build();
    let mut view = view_of(&config);
    let home = clients(&mut view, 0);
    for health in [Down, Up] {
        for name in ["b1", "b2"] {
            view.set_health(config.id(name), health, T0);
        }
    }
    assert_eq!(clients(&mut view, 0), home);
    assert_eq!(clients(&mut view, 5_000), home);
}
