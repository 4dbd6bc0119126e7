//! Prometheus' text format: families with help and type, rows with escaped labels.

use std::fmt::{Display, Write};

use weir_proto::counters::{CounterKind, Counts};

/// A page under construction.
#[derive(Default)]
pub(super) struct Page(String);

/// One metric of a page.
pub(super) struct Family<'a> {
    page: &'a mut String,
    name: &'static str,
}

/// A label: its name and its value.
type Label<'a> = (&'static str, &'a str);

impl Page {
    /// A count that only grows; its name ends in `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// Its rows are `_bucket`, `_sum` and `_count`.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    /// Its rows are `_sum` and `_count`.
    pub(super) fn summary(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "summary", help)
    }

    /// Every counter of a table, for each object with its labels and its counts.
    pub(super) fn counters<T: Counts>(&mut self, objects: &[(Vec<Label<'_>>, T)]) {
        for counter in T::TABLE {
            let kind = match counter.kind {
                CounterKind::Count | CounterKind::Seconds => "counter",
                CounterKind::LongestSeconds => "gauge",
            };
            let mut family = self.family(counter.name, kind, counter.help);
            for (labels, counts) in objects {
                let mut labels = labels.clone();
                let own = labels.len();
                for (index, value) in (counter.values)(counts).iter().enumerate() {
                    labels.truncate(own);
                    labels.extend(counter.label.map(|(name, of)| (name, of(index))));
                    match counter.kind {
                        CounterKind::Count => family.row(&labels, value),
                        CounterKind::Seconds | CounterKind::LongestSeconds => {
                            family.row(&labels, *value as f64 / 1e9);
                        }
                    }
                }
            }
        }
    }

    pub(super) fn text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        let page = &mut self.0;
        write(page, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { page, name }
    }
}

impl Family<'_> {
    pub(super) fn row(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.part("", labels, value);
    }

    /// A row whose name has a suffix.
    pub(super) fn part(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        write(self.page, format_args!("{}{suffix}", self.name));
        for (index, (name, value)) in labels.iter().enumerate() {
            self.page.push(if index == 0 { '{' } else { ',' });
            write(self.page, format_args!("{name}=\""));
            escape(self.page, value);
            self.page.push('"');
        }
        if !labels.is_empty() {
            self.page.push('}');
        }
        write(self.page, format_args!(" {value}\n"));
    }
}

/// A label's value: backslash, quote and line feed are escaped.
fn escape(page: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => page.push_str("\\\\"),
            '"' => page.push_str("\\\""),
            '\n' => page.push_str("\\n"),
            other => page.push(other),
        }
    }
}

fn write(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a String takes all text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_rows_are_whole() {
        let mut page = Page::default();
        page.gauge("a", "What a is.").row(&[], 0.5);
        let mut family = page.histogram("b_seconds", "What b is.");
        family.part("_sum", &[("x", "q\"b\\n\n"), ("y", "")], 7);
        assert_eq!(
            page.text(),
            "# HELP a What a is.\n# TYPE a gauge\na 0.5\n\
             # HELP b_seconds What b is.\n# TYPE b_seconds histogram\n\
             b_seconds_sum{x=\"q\\\"b\\\\n\\n\",y=\"\"} 7\n"
        );
    }
}
