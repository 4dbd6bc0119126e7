//! Names that operators type: reading them, and saying which live one was meant.

use weir_proto::request::{Code, Refusal};
use weir_proto::snapshot::{Backend, Listener, Pool, Snapshot};
use weir_proto::spec::Name;

/// The most suggestions in a refusal.
const SUGGESTIONS_MAX: usize = 3;
/// Longer words than a backend with its pool get no suggestions: a comparison costs the product of
/// both lengths, and a viewer may send a word of a megabyte.
const TYPED_MAX: usize = 2 * Name::LENGTH_MAX + 1;
/// The most live names that are compared: some 20 ms of the control thread's time.
const CANDIDATES_MAX: usize = 2_000;
/// How alike two words must be (Jaro-Winkler, 0 to 1) to be suggested whatever their lengths.
const ALIKE_MIN: f64 = 0.85;

/// A new name.
///
/// # Errors
/// It has characters that names do not have, or is too long.
pub(super) fn parse(text: &str) -> Result<Name, Refusal> {
    text.parse().map_err(|why: String| Refusal::new(Code::Invalid, why, "a name like web or b1"))
}

/// The two halves of `pool/backend`.
///
/// # Errors
/// There is no slash, or more than one.
pub fn split(name: &str) -> Result<(&str, &str), Refusal> {
    match name.split_once('/') {
        Some((pool, backend)) if !backend.contains('/') => Ok((pool, backend)),
        _ => Err(Refusal::new(
            Code::Invalid,
            format!("{} does not name a backend: write POOL/BACKEND", shown(name)),
            "weirctl backend list",
        )),
    }
}

/// The live listener of that name.
pub(super) fn listener<'a>(current: &'a Snapshot, name: &str) -> Result<&'a Listener, Refusal> {
    current.listener(name).ok_or_else(|| no_listener(current, name))
}

/// The live pool of that name.
pub(super) fn pool<'a>(current: &'a Snapshot, name: &str) -> Result<&'a Pool, Refusal> {
    current.pool(name).ok_or_else(|| no_pool(current, name))
}

/// The live backend of that name, with its pool.
pub(super) fn backend<'a>(
    current: &'a Snapshot,
    name: &str,
) -> Result<(&'a Pool, &'a Backend), Refusal> {
    let (pool, backend) = split(name)?;
    let found = current.pool(pool).and_then(|pool| Some((pool, pool.backend(backend)?)));
    match found {
        None => Err(no_backend(current, name)),
        Some((pool, backend)) if backend.is_discovered => Err(discovered(pool, backend)),
        Some(found) => Ok(found),
    }
}

/// The backend is no configuration, so nothing of it can be set.
pub(super) fn discovered(pool: &Pool, backend: &Backend) -> Refusal {
    let source = pool.spec.discover.source();
    let source = source.map_or_else(String::new, |source| format!(" ({source})"));
    let (name, address) = (&backend.name, backend.address);
    Refusal::new(
        Code::Invalid,
        format!("{}/{name} is no configuration: DNS names it{source}", pool.name),
        format!(
            "change it in DNS, or configure a backend with its address, which takes its place: \
             weirctl backend add {}/NAME {address}",
            pool.name
        ),
    )
}

/// There is no such listener.
pub fn no_listener(current: &Snapshot, name: &str) -> Refusal {
    let live = current.listeners.iter().map(|listener| listener.name.to_string());
    not_found("listener", name, live, "weirctl listener list")
}

/// There is no such pool.
pub fn no_pool(current: &Snapshot, name: &str) -> Refusal {
    let live = current.pools.iter().map(|pool| pool.name.to_string());
    not_found("pool", name, live, "weirctl pool list")
}

/// There is no such backend.
pub fn no_backend(current: &Snapshot, name: &str) -> Refusal {
    let live = current.backends().map(|(pool, backend)| format!("{}/{}", pool.name, backend.name));
    not_found("backend", name, live, "weirctl backend list")
}

/// The words of `live` that are most like `typed`, best first.
pub fn alike(typed: &str, live: impl Iterator<Item = String>) -> Vec<String> {
    // One slip in a short word, one more for every four letters; or much the same beginning.
    let slips_max = 1 + typed.len() / 4;
    if typed.len() > TYPED_MAX {
        return Vec::new();
    }
    let mut scored: Vec<(usize, String)> = live
        .take(CANDIDATES_MAX)
        .map(|word| (strsim::osa_distance(typed, &word), word))
        .filter(|(slips, word)| {
            *slips <= slips_max || strsim::jaro_winkler(typed, word) >= ALIKE_MIN
        })
        .collect();
    scored.sort();
    scored.into_iter().take(SUGGESTIONS_MAX).map(|(_, word)| word).collect()
}

fn not_found(noun: &str, name: &str, live: impl Iterator<Item = String>, hint: &str) -> Refusal {
    Refusal {
        did_you_mean: alike(name, live),
        ..Refusal::new(Code::NotFound, format!("there is no {noun} {}", shown(name)), hint)
    }
}

/// Quotes a typed word, and only its beginning if it is longer than any name.
fn shown(typed: &str) -> String {
    if typed.len() <= TYPED_MAX {
        return format!("{typed:?}");
    }
    let beginning: String = typed.chars().take(32).collect();
    format!("{beginning:?}… ({} bytes; a name has at most {})", typed.len(), Name::LENGTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_longer_than_any_name_is_not_compared() {
        let live = || ["b1", "web/b1"].map(str::to_owned).into_iter();
        assert_eq!(alike("web/b2", live()), ["web/b1"]);
        let long = "x".repeat(1_000_000);
        assert_eq!(alike(&long, std::iter::once(long.clone())), Vec::<String>::new());
        let refusal = not_found("backend", &long, live(), "");
        assert!(refusal.message.len() < 200, "{}", refusal.message);
        assert!(refusal.message.contains("1000000 bytes"), "{}", refusal.message);
    }

    #[test]
    fn only_so_many_names_are_compared() {
        let seen = std::cell::Cell::new(0);
        let live = (0..1_000_000).map(|number| {
            seen.set(seen.get() + 1);
            format!("b{number}")
        });
        alike("web", live);
        assert_eq!(seen.get(), CANDIDATES_MAX);
    }
}
