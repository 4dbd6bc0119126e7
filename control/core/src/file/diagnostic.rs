//! One thing that is wrong with a file, shown as rustc shows it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;
use weir_proto::complaint::Complaint;
use weir_proto::outside::{cleaned, masked};

/// A text and what it is called.
#[derive(Debug)]
pub(super) struct SourceText {
    pub(super) origin: String,
    pub(super) text: String,
    /// Where each line begins, in bytes.
    line_starts: Vec<usize>,
}

impl SourceText {
    pub(super) fn new(origin: &str, text: &str) -> SourceText {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(starts.map(|(at, _)| at + 1)).collect();
        SourceText { origin: cleaned(origin, ORIGIN_MAX), text: text.to_owned(), line_starts }
    }

    /// The line of a byte, from 0.
    fn line_of(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at) - 1
    }

    /// The first byte behind a line, its end included.
    fn line_end(&self, line: usize) -> usize {
        self.line_starts.get(line + 1).copied().unwrap_or(self.text.len())
    }
}

/// The most lines of which a diagnostic shows something.
const LINES_MAX: usize = 20;
/// Bytes of a message or a hint that are shown: both may quote the file.
const MESSAGE_MAX: usize = 1000;
/// Bytes of a file's name that are shown, as many as a path may have.
const ORIGIN_MAX: usize = 4096;

/// Something wrong, before it is known in which text.
#[derive(Debug)]
pub(super) struct Problem {
    /// In bytes.
    pub(super) span: Range<usize>,
    pub(super) complaint: Complaint,
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
        let Problem { span, complaint: Complaint { what: message, hint } } = problem;
        let text = &source.text;
        // A span comes from the parser, yet nothing here may panic over it.
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let end = text.floor_char_boundary(span.end.min(text.len())).max(start);
        let line = source.line_of(start);
        Diagnostic {
            file: source.origin.clone(),
            line: line + 1,
            column: text[source.line_starts[line]..start].chars().count() + 1,
            message: cleaned(&message, MESSAGE_MAX),
            hint: cleaned(&hint, MESSAGE_MAX),
            place: Some(TextPosition { source: Arc::clone(source), span: start..end }),
        }
    }

    /// Stands for `count` more, from the place of `first` on.
    pub(super) fn and_more(count: usize, first: Problem, source: &Arc<SourceText>) -> Diagnostic {
        let plural = if count == 1 { "" } else { "s" };
        let message = format!("{count} more error{plural} from here on");
        let hint = "mend these first; many errors often have one cause";
        Diagnostic::new(Problem { complaint: Complaint::new(message, hint), ..first }, source)
    }

    /// The file called `origin` could not be read at all.
    #[must_use]
    pub fn unreadable(origin: &str, fault: &io::Error) -> Diagnostic {
        let file = cleaned(origin, ORIGIN_MAX);
        Diagnostic {
            line: 0,
            column: 0,
            message: format!("cannot read {file}: {fault}"),
            file,
            hint: String::new(),
            place: None,
        }
    }

    /// As rustc would: what, the line with carets, a hint.
    pub fn render(&self, colour: bool) -> String {
        let mut group = Level::ERROR.primary_title(self.message.as_str()).elements(
            self.place.as_ref().map(|place| {
                // The renderer walks all that it is given, so it is given the lines it shows.
                let (source, span) = (&place.source, &place.span);
                let first = source.line_of(span.start);
                let last = source.line_of(span.end).min(first + LINES_MAX);
                let (begin, end) = (source.line_starts[first], source.line_end(last));
                Snippet::source(masked(&source.text[begin..end]))
                    .line_start(first + 1)
                    .path(source.origin.as_str())
                    .annotation(
                        AnnotationKind::Primary.span(span.start - begin..span.end.min(end) - begin),
                    )
            }),
        );
        if !self.hint.is_empty() {
            group = group.element(Level::HELP.with_name(Some("hint")).message(self.hint.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}
