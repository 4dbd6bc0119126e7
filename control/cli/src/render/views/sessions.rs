//! Live sessions, as a person sees them.

use std::borrow::Cow;

use weir_proto::answer::{Killed, SessionDetail, SessionRow, Sessions};
use weir_proto::session::LegRow;

use crate::render::Style;
use crate::render::human::{byte_rate, bytes, count, plain, seconds};
use crate::render::table::{Cell, Column, Table, pairs};

use Column::{Left, Right};

pub(super) fn list(body: &Sessions, style: Style) -> String {
    let columns = [
        Left("SESSION"),
        Left("CLIENT"),
        Left("LISTENER"),
        Left("BACKEND"),
        Left("STATE"),
        Left("BLOCKED ON"),
        Right("AGE"),
        Right("IDLE"),
        Right("RECEIVED"),
        Right("SENT"),
        Right("RATE"),
        Right("VERSION"),
    ];
    let mut table = Table::new(&columns);
    for row in &body.sessions {
        table.row(vec![
            (&row.id).into(),
            or_dash(row.client.as_deref()),
            (&row.listener).into(),
            backend(row),
            Cell::state(row.state.word()),
            or_dash(row.blocked_on.map(|side| side.word())),
            seconds(row.age_s, style).into(),
            seconds(row.idle_s, style).into(),
            bytes(row.received_bytes, style).into(),
            bytes(row.sent_bytes, style).into(),
            rate(row, style).into(),
            row.version.to_string().into(),
        ]);
    }
    if body.sessions.is_empty() { String::new() } else { table.print(style) }
}

/// The count, below the list.
pub(super) fn after(body: &Sessions) -> Option<Cow<'static, str>> {
    let Sessions { shown, matched, missing_shards, .. } = body;
    let missing = silent(missing_shards);
    let text = match (*matched, *shown) {
        (0, _) => format!("no sessions{missing}"),
        (matched, shown) if shown < matched => {
            format!("{shown} of {matched} sessions; --limit N shows more{missing}")
        }
        (matched, _) => format!("sessions: {matched}{missing}"),
    };
    Some(text.into())
}

pub(super) fn one(body: &SessionDetail, style: Style) -> String {
    let SessionDetail { session: row, legs, blocked_s } = body;
    let rows = [
        ("session", Cell::from(&row.id)),
        ("client", or_dash(row.client.as_deref())),
        ("listener", (&row.listener).into()),
        ("pool", (&row.pool).into()),
        ("route", or_dash(row.route.map(|number| number.to_string()).as_deref())),
        ("server name", or_dash(row.sni.as_deref())),
        ("backend", backend(row)),
        ("state", Cell::state(row.state.word())),
        ("blocked on", or_dash(row.blocked_on.map(|side| side.word()))),
        ("age", seconds(row.age_s, style).into()),
        ("idle", seconds(row.idle_s, style).into()),
        ("received", bytes(row.received_bytes, style).into()),
        ("sent", bytes(row.sent_bytes, style).into()),
        ("rate", rate(row, style).into()),
        ("accepted under", format!("version {}", row.version).into()),
        ("shard", row.shard.to_string().into()),
    ];
    let mut text = pairs(&rows, style);
    let sides =
        [("client", &legs.client, blocked_s.client), ("backend", &legs.backend, blocked_s.backend)];
    for (name, leg, blocked) in sides {
        text.push('\n');
        text += &match leg {
            Some(row) => leg_of(name, row, blocked, style),
            None => format!("{name}: its connection is not there\n"),
        };
    }
    text
}

/// One leg, by the kernel.
fn leg_of(name: &str, leg: &LegRow, blocked_s: f64, style: Style) -> String {
    let sent = format!("{} acknowledged", bytes(leg.acked_bytes_total, style));
    let waiting = format!(
        "{} not sent yet, {} segments on their way",
        bytes(leg.unsent_bytes, style),
        leg.unacked_segments
    );
    let round_trip = format!(
        "{} (least {}, varies by {})",
        seconds(leg.rtt_s, style),
        seconds(leg.min_rtt_s, style),
        seconds(leg.rtt_variance_s, style)
    );
    let limits = format!(
        "{} of {} busy; by the memory for it {}",
        seconds(blocked_s, style),
        seconds(leg.busy_s, style),
        seconds(leg.buffer_limited_s, style)
    );
    let rows = [
        (name, Cell::from(format!("{} to {}, {}", leg.local, leg.peer, leg.tcp_state))),
        ("  received", bytes(leg.received_bytes_total, style).into()),
        ("  sent", sent.into()),
        ("  waiting", waiting.into()),
        ("  round trip", round_trip.into()),
        ("  retransmits", count(leg.retransmits_total, style).into()),
        ("  window", format!("{} segments", leg.congestion_window).into()),
        ("  blocked by its window", limits.into()),
        ("  last byte", format!("{} ago", seconds(leg.last_received_s, style)).into()),
    ];
    pairs(&rows, style)
}

pub(super) fn killed(body: &Killed, style: Style) -> String {
    let Killed { matched, killed, dry_run, missing_shards } = body;
    let missing = silent(missing_shards);
    match dry_run {
        true => format!("would end {} sessions{missing}\n", count(*matched, style)),
        false if *killed == 1 => format!("ended 1 session{missing}\n"),
        false => format!("ended {} sessions{missing}\n", count(*killed, style)),
    }
}

fn silent(shards: &[u16]) -> String {
    let shards: Vec<String> = shards.iter().map(ToString::to_string).collect();
    match shards.is_empty() {
        true => String::new(),
        false => format!("; without those of shards that do not answer: {}", shards.join(", ")),
    }
}

fn backend(row: &SessionRow) -> Cell {
    or_dash(row.backend.as_deref())
}

fn or_dash(text: Option<&str>) -> Cell {
    plain(text.unwrap_or("-")).into()
}

#[allow(clippy::cast_precision_loss)] // some bytes a second too few
fn rate(row: &SessionRow, style: Style) -> String {
    byte_rate(row.rate_bytes_per_s as f64, style)
}
