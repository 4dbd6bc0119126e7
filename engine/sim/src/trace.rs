//! What happened, as a rolling hash that two runs of a seed must share, and as lines for a person.

/// One run's trace.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    print: bool,
    /// How many things were noted.
    pub events: u64,
}

impl Trace {
    /// `print`: every event becomes a line on standard output.
    #[must_use]
    pub fn new(print: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, print, events: 0 }
    }

    /// Notes that `what` happened at `now` (nanoseconds). `what` names the values.
    pub fn note(&mut self, now: u64, what: &'static str, values: [u64; 2]) {
        self.events += 1;
        for byte in what.bytes() {
            self.add(u64::from(byte));
        }
        for value in [now, values[0], values[1]] {
            self.add(value);
        }
        if self.print {
            let micros = now / 1000;
            let time = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            println!("{time:>16}  {what:<32} {:>8} {:>8}", values[0], values[1]);
        }
    }

    /// The same for two runs that did the same.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    fn add(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
}
