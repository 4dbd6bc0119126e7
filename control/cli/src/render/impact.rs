//! The effect of a change on what runs now, told before it is made.

use weir_proto::impact::Impact;
use weir_proto::listed::listed;

use super::human::plain;
use super::{Style, Tone};

/// Names in one line.
const SHOWN_MAX: usize = 8;

/// A line for each kind of effect. Sessions are always told of: that none is cut is an answer, too.
pub(crate) fn impact(impact: &Impact, style: Style) -> String {
    let sessions = impact.sessions;
    let cut = format!("{} cut", sessions.cut);
    let cut = if sessions.cut > 0 { style.paint(&cut, Tone::Bad) } else { cut };
    let mut text = format!("sessions: {} stay, {} drain, {cut}\n", sessions.stay, sessions.drain);
    let listeners = &impact.listeners;
    let backends = &impact.backends;
    for (what, names) in [
        ("listeners that open", &listeners.open),
        ("listeners that close", &listeners.close),
        ("listeners at other addresses", &listeners.rebind),
        ("backends added", &backends.added),
        ("backends removed", &backends.removed),
        ("backends drained", &backends.drained),
    ] {
        if !names.is_empty() {
            text += &format!("{what}: {}\n", shown(names));
        }
    }
    if let Some(share) = impact.maglev_keys_moved {
        text += &format!("clients that get another backend (maglev): {:.1} %\n", share * 100.0);
    }
    for warning in &impact.warnings {
        text += &format!("{} {}\n", style.paint("warning:", Tone::Warn), plain(warning));
    }
    text
}

fn shown(names: &[String]) -> String {
    listed(names.iter().map(|name| plain(name)), SHOWN_MAX, ", ")
}

#[cfg(test)]
mod tests {
    use weir_proto::impact::{BackendImpact, ListenerImpact, SessionImpact};

    use super::*;

    #[test]
    fn every_kind_of_effect_has_its_line_and_long_lists_end() {
        let names = |count: usize| (0..count).map(|n| format!("web/b{n}")).collect();
        let told = Impact {
            listeners: ListenerImpact {
                open: vec!["a".to_owned()],
                close: vec!["b".to_owned()],
                rebind: vec!["c".to_owned()],
            },
            backends: BackendImpact { added: names(10), removed: names(8), drained: names(1) },
            sessions: SessionImpact { stay: 5, drain: 3, cut: 1 },
            maglev_keys_moved: Some(0.125),
            warnings: vec!["beware".to_owned()],
        };
        assert_eq!(
            impact(&told, Style::default()),
            "sessions: 5 stay, 3 drain, 1 cut\n\
             listeners that open: a\n\
             listeners that close: b\n\
             listeners at other addresses: c\n\
             backends added: web/b0, web/b1, web/b2, web/b3, web/b4, web/b5, web/b6, web/b7 and 2 \
             more\n\
             backends removed: web/b0, web/b1, web/b2, web/b3, web/b4, web/b5, web/b6, web/b7\n\
             backends drained: web/b0\n\
             clients that get another backend (maglev): 12.5 %\n\
             warning: beware\n"
        );
        let nothing = "sessions: 0 stay, 0 drain, 0 cut\n";
        assert_eq!(impact(&Impact::default(), Style::default()), nothing);
    }
}
