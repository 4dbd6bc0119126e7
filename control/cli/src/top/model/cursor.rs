//! The cursor in a list: once it was moved it stays on its object, in whatever place that is.

/// A place in a list of which a page is shown.
#[derive(Clone, Debug, Default)]
pub(in crate::top) struct Cursor {
    names: Vec<String>,
    index: usize,
    /// The row that it was moved to; `None`: it is on the first one, whatever that is.
    on: Option<String>,
    /// The first row that is shown.
    offset: usize,
    page: usize,
}

impl Cursor {
    pub(in crate::top) fn index(&self) -> usize {
        self.index
    }

    pub(in crate::top) fn offset(&self) -> usize {
        self.offset
    }

    /// The rows that are shown, from 1, and how many there are.
    pub(in crate::top) fn shown(&self) -> (usize, usize, usize) {
        let all = self.names.len();
        ((self.offset + 1).min(all), (self.offset + self.page).min(all), all)
    }

    /// Takes in how many rows are shown.
    pub(super) fn fit(&mut self, page: usize) {
        self.page = page.max(1);
        self.scroll();
    }

    /// Takes in the rows, by names of which there are no two.
    pub(super) fn settle(&mut self, names: Vec<String>) {
        self.names = names;
        let found = self.on.as_ref().and_then(|on| self.names.iter().position(|it| it == on));
        let index = found.unwrap_or(self.index).min(self.names.len().saturating_sub(1));
        // What it was on is gone: its neighbour is next.
        if self.on.is_some() {
            self.on = self.names.get(index).cloned();
        }
        self.index = index;
        self.scroll();
    }

    /// Moves by rows, as far as there are some.
    pub(super) fn step(&mut self, by: isize) {
        let last = self.names.len().saturating_sub(1);
        self.index = self.index.saturating_add_signed(by).min(last);
        self.on = self.names.get(self.index).cloned();
        self.scroll();
    }

    pub(super) fn step_page(&mut self, is_forward: bool) {
        let page = isize::try_from(self.page.max(1)).unwrap_or(isize::MAX);
        self.step(if is_forward { page } else { -page });
    }

    /// Stays on the row that it is on now, as after a move.
    pub(super) fn hold(&mut self) {
        self.on = self.names.get(self.index).cloned();
    }

    /// Moves to the first row, and stays there.
    pub(super) fn home(&mut self) {
        (self.index, self.on) = (0, None);
        self.scroll();
    }

    fn scroll(&mut self) {
        let page = self.page.max(1);
        let last = self.names.len().saturating_sub(page);
        let least = (self.index + 1).saturating_sub(page);
        self.offset = self.offset.min(last).clamp(least, self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn it_follows_its_object_and_never_leaves_the_list() {
        let mut cursor = Cursor::default();
        cursor.fit(3);
        cursor.settle(names("a b c d e"));
        assert_eq!((cursor.index(), cursor.shown()), (0, (1, 3, 5)));
        cursor.settle(names("z a b c d e"));
        assert_eq!(cursor.index(), 0, "it was never moved: the first row is the first row");
        cursor.step(3);
        assert_eq!((cursor.index(), cursor.shown()), (3, (2, 4, 6)));
        cursor.settle(names("c z a b d e"));
        assert_eq!((cursor.index(), cursor.shown()), (0, (1, 3, 6)), "it is on c still");
        cursor.step_page(true);
        cursor.step_page(true);
        cursor.step_page(true);
        assert_eq!((cursor.index(), cursor.shown()), (5, (4, 6, 6)));
        cursor.settle(names("c z"));
        assert_eq!((cursor.index(), cursor.shown()), (1, (1, 2, 2)));
        cursor.settle(Vec::new());
        assert_eq!((cursor.index(), cursor.shown()), (0, (0, 0, 0)));
        cursor.step(-1);
        cursor.step(1);
        cursor.home();
        assert_eq!(cursor.index(), 0);
    }
}
