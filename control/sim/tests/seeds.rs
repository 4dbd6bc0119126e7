//! Two hundred seeds of the simulation, in every test run; some of them twice.

use weir_sim::run_seed;

const SEEDS: u64 = 200;

#[test]
fn two_hundred_seeds_break_no_rule() {
    let mut connects = 0;
    let mut ejections = 0;
    let mut bytes = 0;
    let (mut acks, mut recoveries, mut deaths) = (0, 0, 0);
    for seed in 0..SEEDS {
        let summary = run_seed(seed, false).unwrap_or_else(|failure| panic!("{failure}"));
        if seed.is_multiple_of(7) {
            let again = run_seed(seed, false).unwrap_or_else(|failure| panic!("{failure}"));
            assert_eq!(summary, again, "seed {seed} does not do the same twice");
        }
        connects += summary.connects_checked;
        ejections += summary.ejections_checked;
        bytes += summary.bytes;
        acks += summary.acks;
        recoveries += summary.recoveries;
        deaths += summary.deaths;
    }
    // Without this much load the run would say nothing.
    assert!(connects > 1000, "{connects} connects");
    assert!(ejections > 5, "{ejections} ejections");
    assert!(bytes > 1_000_000, "{bytes} bytes");
    assert!(acks > 100, "{acks} acknowledged changes");
    assert!(recoveries > 50, "{recoveries} starts from disk");
    assert!(deaths > 20, "{deaths} deaths");
}
