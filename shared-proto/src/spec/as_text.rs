//! Values that stand in a spec as the text that operators write.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{NoBackend, Percent, Rate, Size, Span};

/// Serializes by `Display` and deserializes by `FromStr`.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

as_text!(NoBackend, Percent, Rate, Size, Span);
