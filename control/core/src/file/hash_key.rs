//! The key of maglev's hash.

use core::fmt;
use core::str::FromStr;

/// 128 bits, written as 32 hexadecimal digits. Clients that know it can choose source addresses
/// that lead to one backend, so it is never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey((u64, u64));

impl HashKey {
    /// For the engine.
    #[must_use]
    pub fn seed(self) -> (u64, u64) {
        self.0
    }
}

/// A constant, and no secret: a client finds its backend again after a restart, and through another
/// weir with the same pool.
impl Default for HashKey {
    fn default() -> HashKey {
        HashKey((0x7765_6972_206d_6167, 0x6c65_7620_6861_7368))
    }
}

impl FromStr for HashKey {
    type Err = ();

    fn from_str(text: &str) -> Result<HashKey, ()> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let half = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| ());
        if !is_hex {
            return Err(());
        }
        Ok(HashKey((half(&text[..16])?, half(&text[16..])?)))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(hidden)")
    }
}
