//! Why a backend, as a person sees it.

use weir_proto::answer::Explanation;

use crate::render::Style;
use crate::render::human::{count, plain};
use crate::render::table::{Cell, Column, Table};

use Column::{Left, Right};

pub(super) fn why(body: &Explanation, style: Style) -> String {
    let Explanation { pool, strategy, version, client, chosen, because, session, .. } = body;
    let whose = match (session, client) {
        (Some(session), Some(client)) => format!("session {session} from {client}"),
        (Some(session), None) => format!("session {session}"),
        (None, client) => format!("client {}", client.as_deref().unwrap_or_default()),
    };
    let chosen = chosen.as_deref().unwrap_or("no certain backend");
    let at = body.listener.as_ref().map(|it| format!(" at listener {it}")).unwrap_or_default();
    let mut text = plain(&format!("{whose}{at} in pool {pool}: {chosen}")) + "\n";
    text += &plain(&format!("{because} ({}, version {version})", strategy.word()));
    text += "\n\n";
    let slots = body.candidates.iter().any(|it| it.slot.is_some());
    let mut columns =
        vec![Left("BACKEND"), Left("STATE"), Right("WEIGHT"), Right("SESSIONS"), Left("WHY NOT")];
    if slots {
        columns.insert(4, Right("SLOT"));
    }
    let mut table = Table::new(&columns);
    for row in &body.candidates {
        let mut cells = vec![
            Cell::from(&row.name),
            Cell::state(row.state.word()),
            row.weight.to_string().into(),
            count(row.sessions, style).into(),
            plain(row.why_not.as_deref().unwrap_or("-")).into(),
        ];
        if slots {
            let slot = row.slot.map_or_else(|| "-".to_owned(), |slot| slot.to_string());
            cells.insert(4, slot.into());
        }
        table.row(cells);
    }
    text + &table.print(style)
}
