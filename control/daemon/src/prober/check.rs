//! One check of one backend, on the network.

use std::io;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rustix::io::Errno;

use weir_control_core::health::dialogue::{ANSWER_MAX, Dialogue, Move};
use weir_control_core::health::{CheckOutcome, CheckPlan, Talk};
use weir_core::proxy_header::Header;
use weir_proto::address::Address;

use crate::listen::is_own_address;
use crate::rt::{self, Stream};

/// Makes the check.
pub(super) async fn check(plan: &CheckPlan) -> CheckOutcome {
    let talk = async {
        let connected = match plan.address {
            Address::Ip(address) => rt::connect_tcp(address, &plan.sources, plan.timeout)
                .await
                .map_err(|it| on_fault(&it)),
            Address::Unix(path) => rt::connect_unix(path).map_err(|fault| on_path_fault(&fault)),
        };
        let mut stream = match connected {
            Ok(stream) => stream,
            Err(outcome) => return outcome,
        };
        let leads_back = || stream.stays_here() || is_own(plan);
        if plan.may_be_weir && leads_back() {
            return CheckOutcome::Bad("leads back to weir".to_owned());
        }
        if let Some(version) = plan.header
            && let Err(fault) = stream.write_all(Header::local(version).bytes()).await
        {
            return on_fault(&fault);
        }
        let (outcome, farewell) = match converse(&mut stream, &plan.talk).await {
            Ok(end) => end,
            Err(fault) => (on_fault(&fault), Vec::new()),
        };
        rt::spawn("part", part(stream, farewell));
        outcome
    };
    rt::timeout(plan.timeout, talk).await.unwrap_or_else(|| CheckOutcome::Bad("timeout".to_owned()))
}

/// True if the check comes from another address than the kernel would choose, and goes to one of
/// this host's.
fn is_own(plan: &CheckPlan) -> bool {
    !plan.sources.is_empty() && plan.address.ip().is_some_and(is_own_address)
}

/// Holds the conversation to its end. The outcome, and the backend's farewell.
async fn converse(stream: &mut Stream, talk: &Talk) -> io::Result<(CheckOutcome, Vec<u8>)> {
    let mut dialogue = Dialogue::new(talk);
    let mut buffer = [0; 2048];
    loop {
        match dialogue.step() {
            Move::Send(bytes) => stream.write_all(&bytes).await?,
            Move::Receive => match stream.read(&mut buffer).await? {
                0 => dialogue.end(),
                count => dialogue.receive(&buffer[..count]),
            },
            Move::Part { outcome, farewell } => return Ok((outcome, farewell)),
        }
    }
}

/// Leaves without a reset, which servers would log: says that nothing more comes and reads for a
/// little while what the backend still had to say.
async fn part(mut stream: Stream, farewell: Vec<u8>) {
    // The backend may be gone already: then there is nothing to be polite about.
    if stream.write_all(&farewell).await.is_err() || stream.close().await.is_err() {
        return;
    }
    let drain = async {
        let mut buffer = [0; 2048];
        let mut seen = 0;
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            seen += count;
            if seen >= ANSWER_MAX {
                break;
            }
        }
    };
    rt::timeout(PARTING, drain).await;
}

/// How long a connection outlives its check.
const PARTING: Duration = Duration::from_millis(250);

/// The outcome of a connect to a Unix socket that has failed.
fn on_path_fault(fault: &io::Error) -> CheckOutcome {
    match fault.kind() {
        io::ErrorKind::NotFound => CheckOutcome::Bad("no such file".to_owned()),
        io::ErrorKind::PermissionDenied => CheckOutcome::Bad("permission denied".to_owned()),
        _ => on_fault(fault),
    }
}

fn on_fault(fault: &io::Error) -> CheckOutcome {
    let bad = |why: &str| CheckOutcome::Bad(why.to_owned());
    if let Some(why) = rt::local_fault(fault) {
        return CheckOutcome::Local(why.to_owned());
    }
    match Errno::from_io_error(fault) {
        Some(Errno::CONNREFUSED) => bad("refused"),
        Some(Errno::TIMEDOUT) => bad("timeout"),
        Some(Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED) => bad("closed"),
        Some(_) => bad("unreachable"),
        None if fault.kind() == io::ErrorKind::ConnectionRefused => bad("refused"),
        None if fault.kind() == io::ErrorKind::TimedOut => bad("timeout"),
        None if fault.kind() == io::ErrorKind::WriteZero => bad("closed"),
        None => CheckOutcome::Local(fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_nowhere_is_the_backends_fault() {
        let outcome = |errno: Errno| on_path_fault(&io::Error::from(errno));
        let bad = |why: &str| CheckOutcome::Bad(why.to_owned());
        assert_eq!(outcome(Errno::NOENT), bad("no such file"));
        assert_eq!(outcome(Errno::ACCESS), bad("permission denied"));
        assert_eq!(outcome(Errno::CONNREFUSED), bad("refused"));
        assert!(matches!(outcome(Errno::MFILE), CheckOutcome::Local(_)));
    }

    #[test]
    fn local_faults_are_told_from_the_backends() {
        let outcome = |errno: Errno| on_fault(&io::Error::from(errno));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ADDRNOTAVAIL]
        {
            assert!(matches!(outcome(errno), CheckOutcome::Local(_)), "{errno}");
        }
        for (errno, why) in [
            (Errno::CONNREFUSED, "refused"),
            (Errno::TIMEDOUT, "timeout"),
            (Errno::HOSTUNREACH, "unreachable"),
            (Errno::NETUNREACH, "unreachable"),
            (Errno::CONNRESET, "closed"),
        ] {
            assert_eq!(outcome(errno), CheckOutcome::Bad(why.to_owned()));
        }
        let own = io::ErrorKind::ConnectionRefused.into();
        assert_eq!(on_fault(&own), CheckOutcome::Bad("refused".to_owned()));
        let late = io::Error::new(io::ErrorKind::TimedOut, "connection timed out");
        assert_eq!(on_fault(&late), CheckOutcome::Bad("timeout".to_owned()));
    }
}
