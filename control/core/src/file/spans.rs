//! Where in the text a dotted path like `pool.web.health.rise` or `listener.web.route.2` stands.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The span of the value at `path`; if it is not written there, of the nearest table around it.
pub(super) fn find(root: &DeTable<'_>, path: &str) -> Range<usize> {
    find_below(root, path).map_or(0..0, |found| found.span)
}

struct FoundSpan {
    span: Range<usize>,
    /// How much of the path was found, in bytes.
    depth: usize,
}

/// Names may have dots in them, so every key that begins the path is tried; the deepest find wins.
fn find_below(table: &DeTable<'_>, path: &str) -> Option<FoundSpan> {
    let found = table.iter().filter_map(|(key, value)| {
        let name: &str = key.get_ref();
        let rest = path.strip_prefix(name)?;
        if rest.is_empty() {
            return Some(FoundSpan { span: span(key.span(), value), depth: name.len() });
        }
        let rest = rest.strip_prefix('.')?;
        let deeper = match value.get_ref() {
            DeValue::Table(inner) => find_below(inner, rest),
            DeValue::Array(items) => find_among(items, rest),
            _ => None,
        };
        Some(match deeper {
            Some(found) => FoundSpan { span: found.span, depth: name.len() + 1 + found.depth },
            None => FoundSpan { span: span(key.span(), value), depth: name.len() },
        })
    });
    found.max_by_key(|found| found.depth)
}

/// The first part of `path` is a place in a list, the first of which is 1.
fn find_among(items: &[Spanned<DeValue<'_>>], path: &str) -> Option<FoundSpan> {
    let (place, rest) = path.split_once('.').unwrap_or((path, ""));
    let item = items.get(place.parse::<usize>().ok()?.checked_sub(1)?)?;
    let deeper = item.get_ref().as_table().and_then(|inner| find_below(inner, rest));
    Some(match deeper {
        Some(found) => FoundSpan { span: found.span, depth: place.len() + 1 + found.depth },
        None => FoundSpan { span: item.span(), depth: place.len() },
    })
}

/// A table is shown by its name, anything else by its value.
fn span(key: Range<usize>, value: &Spanned<DeValue<'_>>) -> Range<usize> {
    if value.get_ref().is_table() { key } else { value.span() }
}
