//! A setting whose value is one item or a list of them.

use core::net::SocketAddr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// One, or a list of them, which is `expected`.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
    expected: &'static str,
) -> Result<Vec<T>, D::Error> {
    match OneOrMany::deserialize(deserializer) {
        Ok(OneOrMany::One(one)) => Ok(vec![one]),
        Ok(OneOrMany::Many(many)) => Ok(many),
        // Its own error says nothing but that neither fits.
        Err(_) => Err(de::Error::custom(expected)),
    }
}

pub(super) fn serialize<S: Serializer>(
    addresses: &[SocketAddr],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match addresses {
        [one] => one.serialize(serializer),
        many => many.serialize(serializer),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SocketAddr>, D::Error> {
    list(deserializer, "an address like \"0.0.0.0:443\" or a list of them")
}
