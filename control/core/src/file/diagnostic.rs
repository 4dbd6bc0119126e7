//! One thing that is wrong with a file, shown as rustc shows it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

/// A text and what it is called.
#[derive(Debug)]
pub(super) struct SourceText {
    pub(super) origin: String,
    pub(super) text: String,
}

/// Something wrong, before it is known in which text.
#[derive(Debug)]
pub(super) struct Problem {
    /// In bytes.
    pub(super) span: Range<usize>,
    pub(super) message: String,
    /// How to fix it; may be empty.
    pub(super) hint: String,
}

/// Something wrong at a place of a file.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostic {
    pub file: String,
    /// From 1; 0 if the file could not be read at all.
    pub line: usize,
    /// In characters, from 1; 0 if the file could not be read at all.
    pub column: usize,
    pub message: String,
    /// How to fix it; may be empty.
    pub hint: String,
    #[serde(skip)]
    place: Option<TextPosition>,
}

#[derive(Clone, Debug)]
struct TextPosition {
    source: Arc<SourceText>,
    span: Range<usize>,
}

impl Diagnostic {
    pub(super) fn new(problem: Problem, source: &Arc<SourceText>) -> Diagnostic {
        let Problem { span, message, hint } = problem;
        let text = &source.text;
        // A span comes from the parser, yet nothing here may panic over it.
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let end = text.floor_char_boundary(span.end.min(text.len())).max(start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Diagnostic {
            file: source.origin.clone(),
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
            hint,
            place: Some(TextPosition { source: Arc::clone(source), span: start..end }),
        }
    }

    /// The file called `origin` could not be read at all.
    #[must_use]
    pub fn unreadable(origin: &str, fault: &io::Error) -> Diagnostic {
        Diagnostic {
            file: origin.to_owned(),
            line: 0,
            column: 0,
            message: format!("cannot read {origin}: {fault}"),
            hint: String::new(),
            place: None,
        }
    }

    /// As rustc would: what, the line with carets, a hint.
    pub fn render(&self, colour: bool) -> String {
        let mut group = Level::ERROR.primary_title(self.message.as_str()).elements(
            self.place.as_ref().map(|place| {
                Snippet::source(place.source.text.as_str())
                    .path(place.source.origin.as_str())
                    .annotation(AnnotationKind::Primary.span(place.span.clone()))
            }),
        );
        if !self.hint.is_empty() {
            group = group.element(Level::HELP.with_name(Some("hint")).message(self.hint.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}
