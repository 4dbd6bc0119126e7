//! A failing seed made smaller: without the faults that it does not need, with fewer clients, fewer
//! steps.

use weir_engine_sim::Failure;

use crate::run_scenario;
use crate::scenario::Scenario;

/// The faults, clients and steps that a seed runs without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Less {
    /// Faults that are off, by name.
    pub without: Vec<String>,
    pub clients: Option<usize>,
    pub steps: Option<usize>,
}

impl Less {
    /// The scenario that is left.
    #[must_use]
    pub fn apply(&self, seed: u64) -> Scenario {
        let mut scenario = Scenario::of_seed(seed);
        for name in &self.without {
            if let Some(rate) = scenario.rate(name) {
                *rate = 0;
            }
        }
        let swarm = &mut scenario.swarm;
        swarm.clients = self.clients.unwrap_or(swarm.clients);
        swarm.steps = self.steps.unwrap_or(swarm.steps);
        scenario
    }
}

/// As words of the command line.
impl core::fmt::Display for Less {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if !self.without.is_empty() {
            write!(f, " --without {}", self.without.join(","))?;
        }
        if let Some(clients) = self.clients {
            write!(f, " --clients {clients}")?;
        }
        self.steps.map_or(Ok(()), |steps| write!(f, " --steps {steps}"))
    }
}

/// The smallest world of `seed` that this finds which fails still, perhaps in another way: every
/// random draw moves when a fault is gone. `None` if the seed does not fail.
#[must_use]
pub fn shrink(seed: u64) -> Option<(Less, Failure)> {
    let mut less = Less::default();
    let mut failure = fails(seed, &less)?;
    let mut keep_if_fails = |less: &mut Less, smaller: Less| match fails(seed, &smaller) {
        Some(found) => {
            (*less, failure) = (smaller, found);
            true
        }
        None => false,
    };
    for name in Scenario::rates() {
        if less.apply(seed).rate(name).is_none_or(|rate| *rate == 0) {
            continue;
        }
        let mut smaller = less.clone();
        smaller.without.push(name.to_owned());
        keep_if_fails(&mut less, smaller);
    }
    loop {
        let clients = less.apply(seed).swarm.clients;
        let smaller = Less { clients: Some(clients / 2), ..less.clone() };
        if clients == 0 || !keep_if_fails(&mut less, smaller) {
            break;
        }
    }
    let (mut low, mut high) = (0, less.apply(seed).swarm.steps);
    while low < high {
        let steps = low.midpoint(high);
        let smaller = Less { steps: Some(steps), ..less.clone() };
        if keep_if_fails(&mut less, smaller) { high = steps } else { low = steps + 1 }
    }
    Some((less, failure))
}

fn fails(seed: u64, less: &Less) -> Option<Failure> {
    run_scenario(seed, &less.apply(seed), false).err().map(|failure| *failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rate_has_its_name() {
        let mut scenario = Scenario::of_seed(3);
        for name in Scenario::rates() {
            let rate = scenario.rate(name);
            *rate.unwrap_or_else(|| panic!("there is no rate {name}")) = 1;
        }
        assert!(scenario.rate("luck").is_none());
    }

    #[test]
    fn less_is_said_as_it_is_read() {
        let without = vec!["stalls".to_owned(), "kills".to_owned()];
        let less = Less { without, clients: Some(1), steps: Some(20) };
        assert_eq!(less.to_string(), " --without stalls,kills --clients 1 --steps 20");
        let Scenario { swarm, .. } = less.apply(3);
        assert_eq!((swarm.stalls, swarm.kills, swarm.clients, swarm.steps), (0, 0, 1, 20));
    }

    #[test]
    fn a_seed_that_does_not_fail_has_nothing_to_shrink() {
        assert_eq!(shrink(0).map(|(less, _)| less), None);
    }
}
