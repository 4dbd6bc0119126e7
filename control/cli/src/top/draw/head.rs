//! The first lines: how weir is, and what an operator should know before all else.

use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::dress::{HUMAN, bold, cut, dress, whole};
use crate::render::human::{plain, seconds, share};
use crate::render::{Tone, tone_of};
use crate::top::model::{Model, Reach};

/// The strip: name, state, uptime, version, drift, shards.
pub(super) fn strip(model: &Model, width: usize) -> Line<'static> {
    let Some(figures) = &model.figures else { return Line::from("weir  no figures yet") };
    let status = &figures.status;
    let (word, tone) = state(model);
    let busiest = status.shards.iter().map(|shard| shard.busy).fold(0.0, f64::max);
    let drift = match status.drift_keys {
        0 => ("drift none".to_owned(), Tone::Plain),
        1 => ("drift 1 key".to_owned(), Tone::Warn),
        keys => (format!("drift {keys} keys"), Tone::Warn),
    };
    let adopted = status.shards.iter().filter(|shard| shard.version == status.version).count();
    let parts = [
        (word, tone),
        (format!("up {}", seconds(status.uptime_s, HUMAN)), Tone::Plain),
        (version(status.version, adopted, status.shards.len()), Tone::Plain),
        drift,
        (format!("{} shards, {} busy", status.shards.len(), share(busiest, HUMAN)), Tone::Plain),
    ];
    let mut spans = vec![Span::styled(format!("weir {}", plain(&status.program)), bold())];
    let mut used = spans[0].width();
    for (text, tone) in parts {
        // What does not fit is left out whole; what comes first matters most.
        let text = cut(&text, width.saturating_sub(used + 2));
        used += 2 + text.chars().count();
        let mut style = dress(tone, model.colour);
        if tone == Tone::Bad {
            style = style.add_modifier(Modifier::BOLD);
        }
        spans.push(Span::raw("  "));
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

fn version(version: u64, adopted: usize, shards: usize) -> String {
    if adopted == shards {
        return format!("version {version}");
    }
    format!("version {version} on {adopted}/{shards} shards")
}

/// How weir is, in a word or two.
fn state(model: &Model) -> (String, Tone) {
    match model.reach() {
        Reach::Away(..) => ("AWAY".to_owned(), Tone::Bad),
        Reach::Silent(..) => ("SILENT".to_owned(), Tone::Bad),
        Reach::There if model.is_paused => ("PAUSED".to_owned(), Tone::Warn),
        Reach::There => {
            let word = model.figures.as_ref().map_or("", |figures| figures.status.state.word());
            (word.to_owned(), tone_of(word))
        }
    }
}

/// At most `most` lines, the worst first; the last one says how many more there are.
pub(super) fn alerts(model: &Model, most: usize, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some((text, tone)) = absence(model) {
        let style = dress(tone, model.colour).add_modifier(Modifier::BOLD);
        lines.push(Line::styled(cut(&text, width), style));
    }
    for alert in &model.alerts {
        let (word, style) = (alert.word(), dress(alert.tone, model.colour));
        let rest = format!(" {}  {}", plain(&alert.subject), plain(&alert.text));
        let rest = cut(&rest, width.saturating_sub(word.len()));
        let word = Span::styled(word, style.add_modifier(Modifier::BOLD));
        lines.push(Line::from(vec![word, Span::raw(rest)]));
    }
    if lines.len() > most {
        let more = lines.len() + 1 - most.max(1);
        lines.truncate(most.saturating_sub(1));
        if most > 0 {
            let text = format!("and {more} more: a shows them all");
            lines.push(Line::styled(text, dress(Tone::Dim, model.colour)));
        }
    }
    lines
}

/// That there are no fresh figures, since when and why.
fn absence(model: &Model) -> Option<(String, Tone)> {
    let at = model.figures.as_ref().map_or(0.0, |figures| figures.at);
    match model.reach() {
        Reach::There => None,
        Reach::Silent(since) => {
            let since = seconds(since.as_secs_f64().floor(), HUMAN);
            let text = format!("ALERT weir has not answered for {since}, since {} UTC", clock(at));
            Some((text, Tone::Bad))
        }
        Reach::Away(since, why) => {
            let since = seconds(since.as_secs_f64().floor(), HUMAN);
            let text = format!(
                "ALERT weir is away for {since}, since {} UTC; tried again each second: {}",
                clock(at),
                plain(&why)
            );
            Some((text, Tone::Bad))
        }
    }
}

/// The time of day of a time in seconds since 1970, UTC.
fn clock(at: f64) -> String {
    let second = whole(at) % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}
