//! Work that is done a batch at a time: pools, each with its backends, none of which is cut.

/// The room of one batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    left: usize,
    /// It has something: a pool that is larger than a batch is one by itself.
    begun: bool,
}

impl Batch {
    /// A batch of at most `most` backends, or of one pool.
    pub(crate) fn of(most: usize) -> Batch {
        Batch { left: most, begun: false }
    }

    /// True if a pool of that many backends still belongs to it.
    pub(crate) fn takes(&mut self, backends: usize) -> bool {
        let fits = backends <= self.left || !self.begun;
        if fits {
            self.left = self.left.saturating_sub(backends);
            self.begun |= backends > 0;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_one_pool_or_as_many_as_fit() {
        let taken = |most: usize, pools: &[usize]| {
            let mut batch = Batch::of(most);
            pools.iter().take_while(|backends| batch.takes(**backends)).count()
        };
        assert_eq!(taken(10, &[4, 6, 1]), 2);
        assert_eq!(taken(10, &[11, 1]), 1, "a large one is alone");
        assert_eq!(taken(10, &[0, 11, 0, 1]), 3, "one without backends is no work");
        assert_eq!(taken(10, &[4, 7]), 1);
        assert_eq!(taken(1, &[1, 1]), 1);
        assert_eq!(taken(usize::MAX, &[4; 9]), 9);
    }
}
