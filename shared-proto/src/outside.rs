//! Text from outside (a client's words, a file, a backend's answer) before people read it in a log,
//! on a terminal or in a browser.

use std::borrow::Cow;

/// True for a letter that steers a terminal, begins a line or turns text around: C0, DEL and C1
/// (ECMA-48), the line separators, and the marks of bidirectional text (UAX #9).
#[must_use]
pub fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns `text` with a `·` for each letter that steers, cut to `bytes_max` bytes. A `…` behind
/// them says that it was cut.
#[must_use]
pub fn cleaned(text: &str, bytes_max: usize) -> String {
    let kept = &text[..text.floor_char_boundary(bytes_max)];
    let letters = kept.chars().map(|letter| if steers(letter) { '·' } else { letter });
    let mut clean: String = letters.collect();
    if kept.len() < text.len() || clean.len() > bytes_max {
        // A `·` may be longer than what it stands for.
        clean.truncate(clean.floor_char_boundary(bytes_max));
        clean.push('…');
    }
    clean
}

/// Returns `text` with the letters that steer spelled out, as in `\u{1b}`.
#[must_use]
pub fn spelled(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return text.into();
    }
    let mut clean = String::new();
    for letter in text.chars() {
        match letter {
            '\n' => clean += "\\n",
            '\t' => clean += "\\t",
            '\r' => clean += "\\r",
            letter if steers(letter) => clean.extend(letter.escape_unicode()),
            letter => clean.push(letter),
        }
    }
    clean.into()
}

/// Returns `text` with each letter that steers replaced by one of as many bytes; lines and tabs
/// stay. For text of which places are known.
#[must_use]
pub fn masked(text: &str) -> Cow<'_, str> {
    let is_masked = |letter: char| steers(letter) && letter != '\n' && letter != '\t';
    if !text.contains(is_masked) {
        return text.into();
    }
    let mask = |letter: char| match letter.len_utf8() {
        _ if !is_masked(letter) => letter,
        1 => '?',
        2 => '·',
        _ => '\u{fffd}',
    };
    text.chars().map(mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ESC, C1's CSI, DEL, a line's end, a line separator, right-to-left override and isolate.
    const BAD: &str = "a\u{1b}\u{9b}\u{7f}\n\u{2028}\u{202e}\u{2066}é";

    #[test]
    fn what_steers_a_terminal_or_begins_a_line_is_replaced() {
        assert_eq!(cleaned(BAD, 100), "a·······é");
        assert_eq!(spelled(BAD), "a\\u{1b}\\u{9b}\\u{7f}\\n\\u{2028}\\u{202e}\\u{2066}é");
        assert_eq!(masked(BAD), "a?·?\n\u{fffd}\u{fffd}\u{fffd}é");
        assert_eq!(masked(BAD).len(), BAD.len());
        for clean in ["", "web/b1 → äöü 漢字"] {
            assert_eq!(cleaned(clean, 100), clean);
            assert!(matches!(spelled(clean), Cow::Borrowed(_)) && masked(clean) == clean);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        assert_eq!(cleaned("abcdef", 3), "abc…");
        assert_eq!(cleaned("abc", 3), "abc");
        assert_eq!(cleaned("aéé", 4), "aé…");
        let long = cleaned(&"\n".repeat(1 << 20), 200);
        assert!(long.len() <= 203 && long.ends_with("·…"), "{} bytes", long.len());
    }
}
