//! `weirctl` and no more: what to do, and whether a weir is there.

use std::path::PathBuf;
use std::time::Duration;

use weir_proto::answer::{Answer, Status};
use weir_proto::request::Query;

use crate::ask::{Client, SOCKET};
use crate::exit::Failure;
use crate::interrupt::Interrupt;

/// How long weir may take to answer before it counts as absent.
const PATIENCE: Duration = Duration::from_millis(500);

const WHAT_TO_DO: &str = "\
weirctl steers weir, the TCP load balancer. To begin with:

  weirctl status               everything on one screen
  weirctl top                  the same, live
  weirctl backend list         every backend: state, sessions, last check
  weirctl session list         who is connected, to which backend
  weirctl events -f            what happens
  weirctl backend drain P/B    take a backend out; --wait waits for its last session
  weirctl config apply FILE    --dry-run says what it would do to live sessions

weirctl --help lists every verb, weirctl VERB --help has examples, weirctl man is the manual.";

/// For stderr: nothing was asked, so nothing was answered.
pub(crate) fn text() -> String {
    let socket = std::env::var_os("WEIR_SOCKET").map_or_else(|| SOCKET.into(), PathBuf::from);
    let here = match status(&socket) {
        Ok(status) => line(&status),
        Err(failure) => format!("{}\nhint: {}", failure.message, failure.hint),
    };
    format!("{WHAT_TO_DO}\n\n{here}\n")
}

fn status(socket: &std::path::Path) -> Result<Status, Failure> {
    let interrupt = Interrupt::deaf()?;
    match Client::connect(socket, interrupt, PATIENCE)?.ask(Query::Status)? {
        Answer::Status(status) => Ok(status),
        _ => Err(Failure::unexpected()),
    }
}

fn line(status: &Status) -> String {
    let sessions: u64 = status.shards.iter().map(|shard| shard.sessions).sum();
    let alerts = match status.warnings.len() {
        0 => String::new(),
        1 => ", 1 warning: weirctl status".to_owned(),
        count => format!(", {count} warnings: weirctl status"),
    };
    let (state, version) = (status.state.word(), status.version);
    format!("weir is here: {state}, version {version}, {sessions} sessions{alerts}")
}
