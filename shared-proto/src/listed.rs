//! Lists that may be long, in one line.

use core::fmt::Display;

/// The first `most` of them, then how many more there are: `a, b and 3 more`. Only those that are
/// shown are formatted.
#[must_use]
pub fn listed(
    mut items: impl ExactSizeIterator<Item = impl Display>,
    most: usize,
    separator: &str,
) -> String {
    let first: Vec<String> = items.by_ref().take(most).map(|item| item.to_string()).collect();
    let first = first.join(separator);
    match items.len() {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_ends_with_the_number_of_the_others() {
        let all = ["a", "b", "c", "d"];
        assert_eq!(listed(all.iter(), 4, ", "), "a, b, c, d");
        assert_eq!(listed(all.iter(), 2, "; "), "a; b and 2 more");
        assert_eq!(listed(all[..0].iter(), 2, ", "), "");
    }
}
