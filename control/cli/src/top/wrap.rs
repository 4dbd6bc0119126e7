//! The room that a dialog has, and text in lines that fit it.

/// The widest that a dialog is.
const WIDTH_MAX: u16 = 96;
/// Columns and rows of a dialog's frame, with a space at each side.
const FRAME: (u16, u16) = (4, 2);

/// The columns of a dialog on a screen of this width, its frame too.
pub(super) fn dialog_width(screen: u16) -> u16 {
    WIDTH_MAX.min(screen)
}

/// Columns and rows of text in a dialog on a screen of this size.
pub(super) fn room((columns, rows): (u16, u16)) -> (usize, usize) {
    let width = dialog_width(columns).saturating_sub(FRAME.0).max(1);
    (width.into(), rows.saturating_sub(FRAME.1).max(1).into())
}

/// The text in lines of at most `width` letters, parted between words where that is possible.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > width {
        let space = rest[..=width].iter().rposition(|letter| *letter == ' ');
        let end = space.filter(|at| *at > 0).unwrap_or(width);
        lines.push(rest.drain(..end).collect());
        if space.is_some_and(|at| at == end) {
            rest.remove(0);
        }
    }
    lines.push(rest.into_iter().collect());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_part_between_words_and_lose_no_letter() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrapped(" abcdef", 3), [" ab", "cde", "f"]);
        assert_eq!(
            (wrapped("", 3), wrapped("ab", 0)),
            (vec![String::new()], vec!["a".into(), "b".into()])
        );
        assert_eq!((room((80, 24)), room((200, 60)), room((1, 1))), ((76, 22), (92, 58), (1, 1)));
    }
}
