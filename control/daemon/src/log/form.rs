//! The form of a line of weir's own log: text for people, or an object (`WEIR_LOG_FORMAT=json`)
//! with the keys that tracing's own has.

use serde_json::json;
use weir_control_core::timestamp::rfc3339;
use weir_proto::outside::cleaned;

use crate::rt;

/// The form of every line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LineForm {
    #[default]
    Text,
    Json,
}

impl LineForm {
    /// The form of that name, text if there is none.
    ///
    /// # Errors
    /// A sentence for the operator: there is no such form.
    pub(super) fn named(name: &str) -> Result<LineForm, String> {
        match name {
            "" | "text" => Ok(LineForm::Text),
            "json" => Ok(LineForm::Json),
            other => {
                Err(format!("WEIR_LOG_FORMAT: {:?} is neither text nor json", cleaned(other, 100)))
            }
        }
    }

    /// A line that does not come from tracing, with the time and its newline.
    pub(super) fn line(self, level: &str, text: &str) -> Vec<u8> {
        match self {
            LineForm::Text => format!("{} {level:>5} {text}\n", rfc3339(rt::wall_ms())),
            LineForm::Json => object(level, text),
        }
        .into_bytes()
    }

    /// Text that is a line as it is.
    pub(super) fn bare(self, level: &str, text: &str) -> Vec<u8> {
        match self {
            LineForm::Text => format!("{text}\n"),
            LineForm::Json => object(level, text),
        }
        .into_bytes()
    }
}

fn object(level: &str, text: &str) -> String {
    let line = json!({"timestamp": rfc3339(rt::wall_ms()), "level": level, "message": text});
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_of_text_has_a_time_and_a_level() {
        let line = text(LineForm::Text.line("WARN", "two\nlines"));
        assert!(line.starts_with("20") && line.ends_with("Z  WARN two\nlines\n"), "{line}");
        assert_eq!(text(LineForm::Text.bare("ERROR", "error: no")), "error: no\n");
    }

    #[test]
    fn an_object_is_one_line_whatever_it_says() {
        for bytes in
            [LineForm::Json.line("WARN", "a\n\"b\""), LineForm::Json.bare("WARN", "a\n\"b\"")]
        {
            let line = text(bytes);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!((&value["level"], &value["message"]), (&"WARN".into(), &"a\n\"b\"".into()));
            assert_eq!(line.lines().count(), 1);
        }
    }

    #[test]
    fn a_form_that_does_not_exist_is_refused() {
        assert_eq!(LineForm::named(""), Ok(LineForm::Text));
        assert_eq!(LineForm::named("json"), Ok(LineForm::Json));
        let refused = LineForm::named("jsno").unwrap_err();
        assert_eq!(refused, "WEIR_LOG_FORMAT: \"jsno\" is neither text nor json");
    }
}
