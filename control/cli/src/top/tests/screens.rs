//! The whole screen at its sizes.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use weir_proto::answer::{BackendState, Live};

use super::sample::{live, model, shown};
use crate::exit::{Exit, Failure};
use crate::top::draw::{self, HEIGHT_MIN, WIDTH_MIN};
use crate::top::model::Model;
use crate::top::news::News;

fn terminal(model: &Model, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, model)).unwrap();
    terminal
}

/// The screen's lines, without the spaces at their ends.
pub(super) fn screen(model: &Model, width: u16, height: u16) -> Vec<String> {
    let terminal = terminal(model, width, height);
    let cells: Vec<&str> =
        terminal.backend().buffer().content().iter().map(|cell| cell.symbol()).collect();
    cells.chunks(usize::from(width)).map(|row| row.concat().trim_end().to_owned()).collect()
}

pub(super) fn text(model: &Model, width: u16, height: u16) -> String {
    screen(model, width, height).join("\n")
}

/// Compares a screen with the one that is kept in a file; `WEIR_WRITE_DOCS=1` writes it again.
fn same(name: &str, wanted: &str, model: &Model, (width, height): (u16, u16)) {
    let now = text(model, width, height) + "\n";
    if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
        let path = format!("{}/src/top/tests/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, now).unwrap();
        return;
    }
    assert_eq!(now, wanted, "{name}: is it as it should be? WEIR_WRITE_DOCS=1 keeps it");
}

#[test]
fn the_overview_at_its_three_sizes() {
    for (name, wanted, size) in [
        ("overview-80x24", include_str!("overview-80x24.txt"), (80, 24)),
        ("overview-120x40", include_str!("overview-120x40.txt"), (120, 40)),
        ("overview-200x60", include_str!("overview-200x60.txt"), (200, 60)),
    ] {
        same(name, wanted, &model(size.0, size.1), size);
    }
}

#[test]
fn the_handbook_shows_the_screen_as_it_is() {
    let path = format!("{}/../../docs/operating.md", env!("CARGO_MANIFEST_DIR"));
    let handbook = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = handbook.split_once("## Reading `weirctl top`").unwrap();
    let (between, rest) = rest.split_once("```text\n").unwrap();
    let (shown, after) = rest.split_once("```\n").unwrap();
    let now = text(&model(80, 24), 80, 24) + "\n";
    if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
        let whole = format!("{before}## Reading `weirctl top`{between}```text\n{now}```\n{after}");
        std::fs::write(&path, whole).unwrap();
        return;
    }
    assert_eq!(shown, now, "WEIR_WRITE_DOCS=1 puts the screen into docs/operating.md");
}

#[test]
fn sessions_events_and_help_are_screens_too() {
    let at = |keys: &[KeyCode]| {
        let mut model = model(80, 24);
        for key in keys {
            model.key(KeyEvent::new(*key, KeyModifiers::NONE));
            shown(&mut model, 80, 24);
        }
        model
    };
    let sessions = at(&[KeyCode::Down, KeyCode::Enter]);
    same("sessions-80x24", include_str!("sessions-80x24.txt"), &sessions, (80, 24));
    let events = at(&[KeyCode::Char('3')]);
    same("events-80x24", include_str!("events-80x24.txt"), &events, (80, 24));
    let help = at(&[KeyCode::Char('?')]);
    same("help-80x24", include_str!("help-80x24.txt"), &help, (80, 24));
}

#[test]
fn a_tiny_screen_says_so_and_none_panics() {
    let lines = screen(&model(30, 8), 30, 8);
    assert_eq!(lines[..3], ["30x8 is too small", "top needs 50x14", "q quits"]);
    for (width, height) in [(1, 1), (3, 2), (200, 1), (1, 60), (WIDTH_MIN, HEIGHT_MIN)] {
        assert_eq!(screen(&model(width, height), width, height).len(), usize::from(height));
    }
    let least = text(&model(WIDTH_MIN, HEIGHT_MIN), WIDTH_MIN, HEIGHT_MIN);
    assert!(least.contains("ALERT pool api") && least.contains("○ down"), "{least}");
    for width in (WIDTH_MIN..200).step_by(7) {
        for height in (HEIGHT_MIN..60).step_by(3) {
            let lines = screen(&model(width, height), width, height);
            assert!(lines[usize::from(height) - 1].starts_with("? help  q quit"), "{lines:?}");
        }
    }
}

#[test]
fn colour_changes_no_letter_and_without_it_there_is_none() {
    for (width, height) in [(80, 24), (120, 40), (200, 60)] {
        let plain = model(width, height);
        let mut coloured = plain.clone();
        coloured.colour = true;
        assert_eq!(screen(&plain, width, height), screen(&coloured, width, height));
        let used = |model: &Model| {
            let terminal = terminal(model, width, height);
            let cells = terminal.backend().buffer().content().iter();
            cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
        };
        assert_eq!(used(&plain), 0);
        assert!(used(&coloured) > 0);
    }
}

#[test]
fn a_weir_that_went_away_is_said_with_the_time_and_comes_back() {
    let mut model = model(100, 30);
    model.tick(Duration::from_secs(12));
    let lines = screen(&model, 100, 30);
    assert!(lines[0].contains("SILENT"), "{}", lines[0]);
    assert_eq!(lines[1], "ALERT weir has not answered for 12s, since 12:00:00 UTC");
    model.take(News::Away("weir is not running: there is no socket /s".into()));
    model.tick(Duration::from_secs(75));
    let lines = screen(&model, 100, 30);
    assert!(lines[0].contains("AWAY"), "{}", lines[0]);
    let wanted = "ALERT weir is away for 1m 15s, since 12:00:00 UTC; tried again each second: weir \
                  is not running: th…";
    assert_eq!(lines[1], wanted);
    assert!(lines.iter().any(|line| line.contains("10.0.0.11:443") || line.contains("  b1")));
    let mut back = live();
    back.figures.status.uptime_s = 2.0;
    model.take(News::Figures(back.into()));
    let lines = screen(&model, 100, 30);
    assert!(lines[0].contains("serving  up 2s") && !lines[1].contains("away"), "{lines:?}");
}

#[test]
fn figures_that_are_not_there_are_not_shown_as_0() {
    let mut model = Model::new(false);
    let mut first: Live = live();
    (first.history, first.figures.point) = (None, None);
    model.take(News::Figures(first.into()));
    shown(&mut model, 80, 24);
    let text = text(&model, 80, 24);
    assert!(text.contains("sessions –") && text.contains("connect p50 – p99 –"), "{text}");
    assert!(text.contains("no events yet"), "{text}");
}

#[test]
fn connects_that_fail_are_a_warning_for_a_minute() {
    let mut model = model(100, 60);
    let warning = "WARNING web/b2  2 connects failed in the last minute";
    let mut next = live();
    (next.history, next.figures.at) = (None, next.figures.at + 1.0);
    next.figures.backends[1].row.connect_failures_total += 2;
    model.take(News::Figures(next.clone().into()));
    assert!(text(&model, 100, 60).contains(warning));
    next.figures.at += 70.0;
    model.take(News::Figures(next.into()));
    assert!(!text(&model, 100, 60).contains(warning));
}

#[test]
fn many_that_are_down_are_one_line() {
    let mut model = model(120, 40);
    let mut bad = live();
    bad.figures.backends.iter_mut().for_each(|it| it.row.state = BackendState::Down);
    model.take(News::Figures(bad.into()));
    let wanted = "ALERT 4 backends are down  web/b1 ok, web/b2 ok, web/b3 ok, api/a1 refused";
    assert!(text(&model, 120, 40).contains(wanted), "{}", text(&model, 120, 40));
}

#[test]
fn more_backends_than_weir_shows_are_said() {
    let mut model = model(120, 40);
    assert!(!text(&model, 120, 40).contains("backend list has all"));
    let mut many = live();
    many.figures.backends_total = 100_000;
    model.take(News::Figures(many.into()));
    let wanted = "note shown  4 of 100000 backends, those in trouble and the busiest";
    assert!(text(&model, 120, 40).contains(wanted));
}

#[test]
fn text_from_outside_cannot_steer_the_terminal() {
    let mut bad = live();
    bad.figures.status.warnings = vec!["pool x: \u{1b}[2J".into()];
    bad.figures.backends[0].row.name = "web/\u{1b}]0;".into();
    bad.figures.backends[0].row.state = BackendState::Down;
    let mut model = model(200, 60);
    model.take(News::Figures(bad.into()));
    let escape = Failure::new(Exit::Failed, "no \u{1b}[31m", "");
    model.key(KeyEvent::new(KeyCode::Char('2'), KeyModifiers::NONE));
    draw::fit(&mut model, 200, 60);
    for order in model.orders() {
        if let crate::top::news::Order::Look(Some(look)) = order {
            model.take(News::Listed(look, Err(escape.clone())));
        }
    }
    for key in ['1', '2'] {
        model.key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE));
        assert!(!text(&model, 200, 60).contains('\u{1b}'));
    }
}
