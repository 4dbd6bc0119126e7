//! How text and figures are dressed. Colour is never the only sign: a tone comes with a word or a
//! mark.

use ratatui::style::{Color, Modifier, Style};

use crate::render::human::rate;
use crate::render::{Style as Text, Tone};

/// Numbers are for people here.
pub(super) const HUMAN: Text = Text { human: true, colour: false };

/// The style of a tone; without colour only what is dim differs.
pub(super) fn dress(tone: Tone, colour: bool) -> Style {
    let style = match tone {
        Tone::Plain => Style::new(),
        Tone::Dim => return Style::new().add_modifier(Modifier::DIM),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Warn => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red),
    };
    if colour { style } else { Style::new() }
}

pub(super) fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// The style of a curve: the first of a chart, or the second.
pub(super) fn curve(index: usize, colour: bool) -> Style {
    match (colour, index) {
        (false, _) => Style::new(),
        (true, 0) => Style::new().fg(Color::Cyan),
        (true, _) => Style::new().fg(Color::Magenta),
    }
}

/// A mark that tells a state without its colour.
pub(super) fn mark(state: &str) -> &'static str {
    match state {
        "up" | "open" => "●",
        "draining" | "maint" => "◐",
        "removed" => "·",
        _ => "○",
    }
}

/// Bits a second of bytes a second, without the unit: `1.23M`.
pub(super) fn bits(bytes_per_s: f64) -> String {
    rate(bytes_per_s * 8.0, HUMAN).trim_end_matches("/s").to_owned()
}

/// Without what is behind the point; 0 for what is below it.
pub(super) fn whole(value: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "it saturates, and makes NaN a 0")]
    let whole = value as u64;
    whole
}

/// A bar of `width` columns for a share from 0 to 1, in eighths of a column.
pub(super) fn bar(share: f64, width: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = usize::try_from(whole((share * width as f64 * 8.0).round())).unwrap_or(0);
    // Something is never shown as nothing.
    let eighths = if share > 0.0 { eighths.max(1) } else { eighths };
    format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8])
}

/// The text in at most `width` columns: what is longer ends in `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!((bits(0.0), bits(154_000.0)), ("0".into(), "1.23M".into()));
        assert_eq!((bar(0.5, 3), bar(1.0, 3), bar(0.0, 3)), ("█▌".into(), "███".into(), "".into()));
        assert_eq!((bar(1e-9, 3), bar(f64::NAN, 3)), ("▏".into(), String::new()));
        assert_eq!(
            (cut("abc", 3), cut("abcd", 3), cut("a", 0)),
            ("abc".into(), "ab…".into(), "".into())
        );
    }
}
