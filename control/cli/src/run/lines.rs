//! The difference between two texts, line by line, as `diff -u` shows it.

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;
/// The largest table of the comparison, in cells. Past it, everything between the common start and
/// the common end counts as changed: true, if not the shortest.
const CELLS_MAX: usize = 4 << 20;

/// Hunks with `@@`, ` `, `-` and `+` lines; empty if the texts are equal.
pub(super) fn diff(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    hunks(&steps(&old, &new))
}

/// One line of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    Same(&'a str),
    Gone(&'a str),
    Come(&'a str),
}

fn steps<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Step<'a>> {
    let same =
        |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(a, b)| a == b).count();
    let start = same(&mut old.iter().zip(new));
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let end = same(&mut old_rest.iter().rev().zip(new_rest.iter().rev()));
    let old_middle = &old_rest[..old_rest.len() - end];
    let new_middle = &new_rest[..new_rest.len() - end];
    let mut steps: Vec<Step<'a>> = old[..start].iter().map(|line| Step::Same(line)).collect();
    middle(old_middle, new_middle, &mut steps);
    steps.extend(old[old.len() - end..].iter().map(|line| Step::Same(line)));
    steps
}

/// The longest common subsequence by the table of lengths.
fn middle<'a>(old: &[&'a str], new: &[&'a str], steps: &mut Vec<Step<'a>>) {
    let width = new.len() + 1;
    if (old.len() + 1).saturating_mul(width) > CELLS_MAX {
        steps.extend(old.iter().map(|line| Step::Gone(line)));
        steps.extend(new.iter().map(|line| Step::Come(line)));
        return;
    }
    let mut lengths = vec![0u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            lengths[i * width + j] = if old[i] == new[j] {
                lengths[(i + 1) * width + j + 1] + 1
            } else {
                lengths[(i + 1) * width + j].max(lengths[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            steps.push(Step::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || i < old.len() && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]
        {
            steps.push(Step::Gone(old[i]));
            i += 1;
        } else {
            steps.push(Step::Come(new[j]));
            j += 1;
        }
    }
}

fn hunks(steps: &[Step<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    // Of the next step, counted from 0 on each side.
    let (mut old_at, mut new_at) = (0, 0);
    let mut at = 0;
    while at < steps.len() {
        let Some(first) = steps[at..].iter().position(|step| !matches!(step, Step::Same(_))) else {
            break;
        };
        let begin = (at + first).saturating_sub(CONTEXT).max(at);
        old_at += begin - at;
        new_at += begin - at;
        let end = hunk_end(steps, at + first);
        let hunk = &steps[begin..end];
        let old_count = hunk.iter().filter(|step| !matches!(step, Step::Come(_))).count();
        let new_count = hunk.iter().filter(|step| !matches!(step, Step::Gone(_))).count();
        let head = |at: usize, count: usize| format!("{},{count}", at + usize::from(count > 0));
        lines.push(format!("@@ -{} +{} @@", head(old_at, old_count), head(new_at, new_count)));
        lines.extend(hunk.iter().map(|step| match step {
            Step::Same(line) => format!(" {line}"),
            Step::Gone(line) => format!("-{line}"),
            Step::Come(line) => format!("+{line}"),
        }));
        old_at += old_count;
        new_at += new_count;
        at = end;
    }
    lines
}

/// Where the hunk ends that has a change at `from`: changes that are close share one.
fn hunk_end(steps: &[Step<'_>], from: usize) -> usize {
    let mut end = from;
    for (index, step) in steps.iter().enumerate().skip(from) {
        if !matches!(step, Step::Same(_)) {
            end = index + 1;
        } else if index >= end + 2 * CONTEXT {
            break;
        }
    }
    (end + CONTEXT).min(steps.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_no_hunks() {
        assert_eq!(diff("a\nb\n", "a\nb\n"), [""; 0]);
        assert_eq!(diff("", ""), [""; 0]);
    }

    #[test]
    fn a_hunk_looks_like_that_of_diff_u() {
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let after = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n";
        let wanted = ["@@ -2,7 +2,7 @@", " 2", " 3", " 4", "-5", "+five", " 6", " 7", " 8"];
        assert_eq!(diff(before, after), wanted);
        assert_eq!(diff("", "a\n"), ["@@ -0,0 +1,1 @@", "+a"]);
        assert_eq!(diff("a\n", ""), ["@@ -1,1 +0,0 @@", "-a"]);
    }

    #[test]
    fn changes_far_apart_are_two_hunks() {
        let text = |first: &str, last: &str| {
            let middle: String = (0..10).map(|n| format!("{n}\n")).collect();
            format!("{first}\n{middle}{last}\n")
        };
        let lines = diff(&text("a", "b"), &text("A", "B"));
        let heads: Vec<&String> = lines.iter().filter(|line| line.starts_with("@@")).collect();
        assert_eq!(heads, ["@@ -1,4 +1,4 @@", "@@ -9,4 +9,4 @@"]);
        assert_eq!(lines.iter().filter(|line| line.starts_with('-')).count(), 2);
    }

    #[test]
    fn texts_too_long_to_compare_are_replaced_whole() {
        let text = |c: char| (0..3000).map(|n| format!("{c}{n}\n")).collect::<String>();
        let lines = diff(&text('a'), &text('b'));
        assert_eq!(lines.len(), 6001);
        assert_eq!(lines[0], "@@ -1,3000 +1,3000 @@");
    }
}
