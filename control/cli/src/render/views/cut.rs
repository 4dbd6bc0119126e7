//! Long tables on a terminal: the rows in trouble first, and as many as fit; how to see the rest.

use std::borrow::Cow;

use weir_proto::answer::Backends;

use crate::render::Style;
use crate::render::human::count;

/// Backends of `pool show` on a terminal, and rows of each table of `status`.
pub(super) const BACKENDS_MAX: usize = 40;
pub(super) const ROWS_MAX: usize = 20;
/// A list of more backends than this says how to see fewer.
const MANY: usize = 200;

/// The rows that are shown, and a line about the others: `command` shows them. A pipe gets all.
pub(super) fn cut<'a, T: Clone>(
    (rows, most): (&'a [T], usize),
    is_ill: impl Fn(&T) -> bool,
    command: &str,
    style: Style,
) -> (Cow<'a, [T]>, String) {
    if !style.human || rows.len() <= most {
        return (rows.into(), String::new());
    }
    let (ill, well): (Vec<&T>, Vec<&T>) = rows.iter().partition(|row| is_ill(row));
    let first: Vec<T> = ill.into_iter().chain(well).take(most).cloned().collect();
    let rest = count((rows.len() - most) as u64, style);
    (first.into(), format!("and {rest} more: {command}\n"))
}

/// The way to fewer rows than a list has that no screen holds.
pub(super) fn after(body: &Backends) -> Option<String> {
    let all = body.backends.len();
    let fewer = "weirctl backend list POOL, or --state down";
    (all > MANY).then(|| format!("{all} backends; for fewer: {fewer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUMAN: Style = Style { human: true, colour: false };

    #[test]
    fn those_in_trouble_come_first_and_the_rest_is_counted() {
        let rows: Vec<u32> = (0..10).collect();
        let (shown, more) = cut((&rows, 3), |row| *row == 7, "weirctl x", HUMAN);
        assert_eq!((&*shown, more.as_str()), (&[7, 0, 1][..], "and 7 more: weirctl x\n"));
        let (shown, more) = cut((&rows, 10), |row| *row == 7, "weirctl x", HUMAN);
        assert_eq!((&*shown, more.as_str()), (&rows[..], ""), "their order stays");
        let (shown, more) = cut((&rows, 3), |_| false, "weirctl x", Style::default());
        assert_eq!((&*shown, more.as_str()), (&rows[..], ""), "a pipe gets all");
    }
}
