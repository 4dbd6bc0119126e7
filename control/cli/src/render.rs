//! Answers as tables for people and as JSON for programs. Pure: an answer and a style become text.

pub(crate) mod changed;
pub(crate) mod human;
pub(crate) mod impact;
pub(crate) mod json;
pub(crate) mod table;
pub(crate) mod views;

/// How text is dressed. A pipe gets full precision and no colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// Numbers are rounded and given units, JSON is indented.
    pub(crate) human: bool,
    pub(crate) colour: bool,
}

/// What a piece of text means; colour is never the only sign of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    Dim,
}

impl Style {
    /// The style for a stream. `env` looks up an environment variable.
    pub(crate) fn detect(terminal: bool, env: impl Fn(&str) -> Option<String>) -> Style {
        let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
        let forced = env("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
        let dumb = env("TERM").is_some_and(|term| term == "dumb");
        let colour = !set("NO_COLOR") && (forced || terminal && !dumb);
        Style { human: terminal, colour }
    }

    pub(crate) fn paint(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// What a state means.
pub(crate) fn tone_of(state: &str) -> Tone {
    match state {
        "up" | "open" | "serving" | "ok" | "running" | "done" => Tone::Good,
        "draining" | "maint" | "pending" | "cancelled" => Tone::Warn,
        "removed" | "off" => Tone::Dim,
        _ => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_the_environment() {
        let style = |terminal, vars: &[(&str, &str)]| {
            let find = |name: &str| {
                vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            let style = Style::detect(terminal, find);
            (style.human, style.colour)
        };
        assert_eq!(style(true, &[("TERM", "xterm")]), (true, true));
        assert_eq!(style(false, &[("TERM", "xterm")]), (false, false));
        assert_eq!(style(true, &[("TERM", "dumb")]), (true, false));
        assert_eq!(style(true, &[("NO_COLOR", "1")]), (true, false));
        assert_eq!(style(true, &[("NO_COLOR", "")]), (true, true));
        assert_eq!(style(false, &[("CLICOLOR_FORCE", "1")]), (false, true));
        assert_eq!(style(false, &[("CLICOLOR_FORCE", "0")]), (false, false));
        assert_eq!(style(false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), (false, false));
    }
}
