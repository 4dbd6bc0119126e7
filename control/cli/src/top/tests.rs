//! The screen as text, and what keys do to it.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;

use super::draw::{backend_rows, draw};
use super::model::{HISTORY_MAX, Model, Sample, Sort};
use crate::render::views::tests as sample;

fn one() -> Sample {
    Sample {
        status: sample::status(),
        stats: sample::stats(),
        backends: vec![sample::backend_down(), sample::backend()],
    }
}

/// The screen's lines, without the spaces at their ends.
fn screen(model: &Model, width: u16, height: u16, colour: bool) -> Vec<String> {
    let mut model = model.clone();
    model.fit(backend_rows(Rect::new(0, 0, width, height), &model));
    let model = &model;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, colour)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
    cells.chunks(usize::from(width)).map(|row| row.concat().trim_end().to_owned()).collect()
}

fn press(model: &mut Model, code: KeyCode) -> bool {
    model.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn the_screen_has_heading_curves_backends_and_keys() {
    let mut model = Model::new(one());
    for sessions in [0, 6, 12] {
        let mut next = one();
        next.stats.sessions = sessions;
        model.take(Ok(next));
    }
    let wanted = "\
weir 0.1.0  serving  up 2h 3m  version 7 on 2/2 shards  sessions 12 of 10000
! pool api has no backend that can take sessions
sessions 12────────────────────────────  new 1.23k/s────────────────────────────
█  █                                     ████
█ ▄█                                     ████
█ ██                                     ████
in 1 KiB/s out 0 B/s───────────────────  connect p50 300µs p99 1.25ms───────────
████                                     ████
████                                     ████
████                                     ████
BACKEND STATE      SESSIONS    TOTAL FAILURES       IN      OUT CHECK
web/b1  ● up             12     123k        3  1.2 MiB    2 KiB ok 2h 3m
web/b2  ○ down            0     123k        3  1.2 MiB    2 KiB refused 4.5s






q quit  ? help  p pause  ↑↓ scroll  n s t f b sort: name  1-2 of 2";
    assert_eq!(screen(&model, 80, 20, false).join("\n"), wanted);
}

#[test]
fn colour_changes_no_letter() {
    let model = Model::new(one());
    for (width, height) in [(120, 40), (80, 24), (60, 12)] {
        assert_eq!(screen(&model, width, height, true), screen(&model, width, height, false));
    }
}

#[test]
fn small_screens_keep_what_matters() {
    let model = Model::new(one());
    for (width, height) in [(60, 14), (80, 24), (120, 14)] {
        let text = screen(&model, width, height, false).join("\n");
        assert!(text.contains("connect p50 300µs p99 1.25ms"), "{text}");
    }
    let text = screen(&model, 28, 8, false).join("\n");
    assert!(text.contains("BACKEND STATE      SESSIONS\nweb/b1  ● up"), "{text}");
    let text = screen(&model, 60, 8, false).join("\n");
    assert!(text.contains("serving") && text.contains("web/b1") && !text.contains('█'), "{text}");
    for (width, height) in [(1, 1), (3, 2), (10, 3), (200, 1), (1, 60)] {
        assert_eq!(screen(&model, width, height, false).len(), usize::from(height));
    }
}

#[test]
fn a_daemon_that_went_away_is_said_and_comes_back() {
    let mut model = Model::new(one());
    model.take(Err("weir is not running: nobody listens on /s".into()));
    let lines = screen(&model, 100, 24, false);
    assert!(lines[0].contains("gone, reconnecting"), "{}", lines[0]);
    assert_eq!(lines[1], "! weir is not running: nobody listens on /s");
    assert!(lines.iter().any(|line| line.starts_with("web/b1")), "the last sample stays");
    model.take(Ok(one()));
    assert!(screen(&model, 100, 24, false)[0].contains("serving"));
}

#[test]
fn keys_sort_scroll_and_leave() {
    let mut model = Model::new(one());
    let names = |model: &Model| -> Vec<String> {
        model.sample.backends.iter().map(|row| row.name.clone()).collect()
    };
    assert_eq!(names(&model), ["web/b1", "web/b2"]);
    let mut busy = one();
    busy.backends[0].sessions = 99;
    model.take(Ok(busy));
    assert!(!press(&mut model, KeyCode::Char('s')));
    assert_eq!(
        (model.sort, names(&model)),
        (Sort::Sessions, vec!["web/b2".into(), "web/b1".into()])
    );
    assert_eq!(model.offset, 0);
    assert!(press(&mut model, KeyCode::Char('q')));
    assert!(press(&mut model, KeyCode::Esc));
    assert!(!press(&mut model, KeyCode::Char('c')));
    assert!(model.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
}

#[test]
fn history_is_bounded_and_keeps_the_newest() {
    let mut model = Model::new(one());
    for sessions in 0..200 {
        let mut next = one();
        next.stats.sessions = sessions;
        model.take(Ok(next));
    }
    assert_eq!(model.sessions.newest(1000).len(), HISTORY_MAX);
    assert_eq!(model.sessions.newest(2), [198, 199]);
}

/// A model of this many backends on a screen that shows ten of them.
fn many(count: usize) -> Model {
    let mut sample = one();
    let name = |number: usize| format!("web/b{number:03}");
    sample.backends = (0..count)
        .map(|number| weir_proto::answer::BackendRow { name: name(number), ..sample::backend() })
        .collect();
    let mut model = Model::new(sample);
    model.fit(10);
    model
}

#[test]
fn scrolling_ends_with_the_last_page() {
    let mut model = many(25);
    assert_eq!(model.shown(), (1, 10, 25));
    for (key, shown) in [
        (KeyCode::Down, (2, 11, 25)),
        (KeyCode::PageDown, (12, 21, 25)),
        (KeyCode::PageDown, (16, 25, 25)),
        (KeyCode::Down, (16, 25, 25)),
        (KeyCode::Up, (15, 24, 25)),
        (KeyCode::End, (16, 25, 25)),
        (KeyCode::PageUp, (6, 15, 25)),
        (KeyCode::Home, (1, 10, 25)),
        (KeyCode::Up, (1, 10, 25)),
    ] {
        assert!(!press(&mut model, key));
        assert_eq!(model.shown(), shown, "{key:?}");
    }
    press(&mut model, KeyCode::End);
    model.fit(20);
    assert_eq!(model.shown(), (6, 25, 25), "a larger screen shows more, not less");
    assert_eq!(many(3).shown(), (1, 3, 3));
    assert_eq!(many(0).shown(), (0, 0, 0));
    let screen = screen(&many(100), 80, 24, false);
    assert!(screen[23].ends_with("1-12 of 100"), "{}", screen[23]);
}

#[test]
fn a_pause_keeps_the_screen_and_help_gives_way_to_q() {
    let mut model = Model::new(one());
    press(&mut model, KeyCode::Char('p'));
    let mut next = one();
    next.stats.sessions = 99;
    model.take(Ok(next.clone()));
    assert_ne!(model.sample.stats.sessions, 99);
    let lines = screen(&model, 80, 24, false);
    assert!(lines[0].contains("  paused  ") && lines[23].contains("p go on"), "{lines:?}");
    press(&mut model, KeyCode::Char(' '));
    model.take(Ok(next));
    assert_eq!(model.sample.stats.sessions, 99);

    assert!(!press(&mut model, KeyCode::Char('?')));
    let lines = screen(&model, 80, 24, false).join("\n");
    assert!(lines.contains("sort by failed connects") && !lines.contains("web/b1"), "{lines}");
    assert!(!press(&mut model, KeyCode::Char('q')), "q leaves the help first");
    assert!(press(&mut model, KeyCode::Char('q')));
}

#[test]
fn a_tall_screen_shows_pools_and_shards_and_a_wide_one_listeners_too() {
    let model = Model::new(one());
    let small = screen(&model, 80, 24, false).join("\n");
    assert!(!small.contains("STRATEGY"), "{small}");
    let tall = screen(&model, 120, 40, false).join("\n");
    assert!(tall.contains("POOL ") && tall.contains("SHARD VERSION SESSIONS BUSY"), "{tall}");
    assert!(!tall.contains("LISTENER"), "{tall}");
    let large = screen(&model, 200, 60, false).join("\n");
    assert!(large.contains("LISTENER") && large.contains("WEIGHT"), "{large}");
}
