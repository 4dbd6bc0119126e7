//! Text of manual pages, in roff (man(7)).

/// Text as it is typed: no escapes of roff, no line that begins like a request, and every hyphen
/// one that can be copied.
#[must_use]
pub fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// A paragraph with a bold head.
#[must_use]
pub fn paragraph(head: &str, text: &str) -> String {
    format!(".TP\n.B {}\n{}\n", escape(head), escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_typed_is_a_request_of_roff() {
        assert_eq!(escape(r"a\nb --yes"), r"a\enb \-\-yes");
        assert_eq!(escape(".SH x"), r"\&.SH x");
        assert_eq!(paragraph("-y", "yes"), ".TP\n.B \\-y\nyes\n");
    }
}
