//! A value that versions share as long as none of them changes it.

use core::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Shared until it is changed: a clone is a reference, and writing to one of several makes a copy.
/// Comparing what is shared with itself takes no time, whatever its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyOnWrite<T: Eq>(Arc<T>);

impl<T: Eq> CopyOnWrite<T> {
    /// True if both are one value in memory: then they are equal. `false` says nothing.
    #[must_use]
    pub fn is_shared_with(&self, other: &CopyOnWrite<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: Eq> From<T> for CopyOnWrite<T> {
    fn from(value: T) -> CopyOnWrite<T> {
        CopyOnWrite(Arc::new(value))
    }
}

impl<T: Eq> Deref for CopyOnWrite<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Eq + Clone> DerefMut for CopyOnWrite<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: Eq + Serialize> Serialize for CopyOnWrite<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Eq + Deserialize<'de>> Deserialize<'de> for CopyOnWrite<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CopyOnWrite<T>, D::Error> {
        T::deserialize(deserializer).map(CopyOnWrite::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_to_one_leaves_the_other_as_it_was() {
        let first = CopyOnWrite::from(vec![1, 2]);
        let mut second = first.clone();
        assert!(first.is_shared_with(&second));
        second.push(3);
        assert_eq!((first.to_vec(), second.to_vec()), (vec![1, 2], vec![1, 2, 3]));
        assert!(!first.is_shared_with(&second) && first != second);
        second.pop();
        assert_eq!(first, second, "equal without being shared");
    }
}
