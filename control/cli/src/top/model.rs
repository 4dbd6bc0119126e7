//! What `top` knows: the last sample, two minutes of history, and what the keys have chosen.

use std::cmp::Reverse;
use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use weir_proto::answer::{BackendRow, Stats, Status};

/// How many samples of each curve are kept: two minutes, one a second.
pub(super) const HISTORY_MAX: usize = 120;

/// Everything that weir said in one look.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) status: Status,
    pub(super) stats: Stats,
    pub(super) backends: Vec<BackendRow>,
}

/// The order of the backends' table. Each has the key that chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Sessions,
    Total,
    Failures,
    Bytes,
}

impl Sort {
    pub(super) const ALL: [(char, Sort, &'static str); 5] = [
        ('n', Sort::Name, "name"),
        ('s', Sort::Sessions, "sessions"),
        ('t', Sort::Total, "total"),
        ('f', Sort::Failures, "failures"),
        ('b', Sort::Bytes, "bytes"),
    ];
}

/// One curve: whole numbers, the newest last.
#[derive(Clone, Debug, Default)]
pub(super) struct Curve(VecDeque<u64>);

impl Curve {
    fn push(&mut self, value: f64) {
        if self.0.len() == HISTORY_MAX {
            self.0.pop_front();
        }
        // Rates are above zero and far below 2^64; the cast saturates and makes NaN a 0.
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        self.0.push_back(value as u64);
    }

    /// The newest `most` values, oldest first.
    pub(super) fn newest(&self, most: usize) -> Vec<u64> {
        self.0.iter().skip(self.0.len().saturating_sub(most)).copied().collect()
    }
}

/// The state of the view.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) sample: Sample,
    pub(super) sessions: Curve,
    /// New sessions, thousandths a second, so that a slow rate has a curve too.
    pub(super) session_rate: Curve,
    /// Bytes a second, both ways.
    pub(super) byte_rate: Curve,
    /// Connect p99 in microseconds.
    pub(super) connect_p99: Curve,
    pub(super) sort: Sort,
    /// The first row of the backends' table that is shown.
    pub(super) offset: usize,
    /// How many rows of it fit on the screen.
    page: usize,
    /// The help is shown in the place of the tables.
    pub(super) is_help: bool,
    /// The screen stays as it is: new samples are counted and put aside.
    pub(super) is_paused: bool,
    /// Why there is no fresh sample.
    pub(super) gone: Option<String>,
}

impl Model {
    pub(super) fn new(sample: Sample) -> Model {
        let mut model = Model {
            sample: sample.clone(),
            sessions: Curve::default(),
            session_rate: Curve::default(),
            byte_rate: Curve::default(),
            connect_p99: Curve::default(),
            sort: Sort::Name,
            offset: 0,
            page: 1,
            is_help: false,
            is_paused: false,
            gone: None,
        };
        model.take(Ok(sample));
        model
    }

    /// Takes in how many rows of the backends' table the screen has. It never scrolls beyond the
    /// last page.
    pub(super) fn fit(&mut self, page: usize) {
        self.page = page.max(1);
        self.offset = self.offset.min(self.offset_max());
    }

    /// The rows that are shown, from 1, and how many there are.
    pub(super) fn shown(&self) -> (usize, usize, usize) {
        let all = self.sample.backends.len();
        ((self.offset + 1).min(all), (self.offset + self.page).min(all), all)
    }

    fn offset_max(&self) -> usize {
        self.sample.backends.len().saturating_sub(self.page)
    }

    /// Takes in a sample, or the reason why there is none. The last one stays on the screen.
    pub(super) fn take(&mut self, news: Result<Sample, String>) {
        match news {
            Ok(_) if self.is_paused => {}
            Ok(sample) => {
                let stats = &sample.stats;
                self.sessions.push(stats.sessions as f64);
                self.session_rate.push(stats.session_rate_per_s * 1e3);
                self.byte_rate.push(stats.received_bytes_per_s + stats.sent_bytes_per_s);
                let connect = stats.connect_duration_recent_s.unwrap_or_default();
                self.connect_p99.push(connect.p99 * 1e6);
                self.gone = None;
                self.sample = sample;
                self.sort();
            }
            Err(why) => self.gone = Some(why),
        }
    }

    /// Obeys a key. True if it ends the view.
    pub(super) fn key(&mut self, key: KeyEvent) -> bool {
        let last = self.offset_max();
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Esc | KeyCode::Char('q' | '?' | 'h') if self.is_help => self.is_help = false,
            KeyCode::Char('?' | 'h') => self.is_help = true,
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Up | KeyCode::Char('k') => self.offset = self.offset.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.offset = (self.offset + 1).min(last),
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(self.page),
            KeyCode::PageDown => self.offset = (self.offset + self.page).min(last),
            KeyCode::Home => self.offset = 0,
            KeyCode::End => self.offset = last,
            KeyCode::Char(typed) => {
                if let Some((_, sort, _)) = Sort::ALL.iter().find(|(key, ..)| *key == typed) {
                    self.sort = *sort;
                    self.offset = 0;
                    self.sort();
                }
            }
            _ => {} // Other keys mean nothing.
        }
        false
    }

    /// Largest first, except by name; equal ones by name.
    fn sort(&mut self) {
        let sort = self.sort;
        self.sample.backends.sort_by_cached_key(|row| {
            let size = match sort {
                Sort::Name => 0,
                Sort::Sessions => row.sessions,
                Sort::Total => row.sessions_total,
                Sort::Failures => row.connect_failures_total,
                Sort::Bytes => row.received_bytes_total.saturating_add(row.sent_bytes_total),
            };
            (Reverse(size), row.name.clone())
        });
        self.offset = self.offset.min(self.offset_max());
    }
}
