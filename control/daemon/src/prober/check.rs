//! One check of one backend, on the network.

use std::io;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rustix::io::Errno;

use weir_control_core::health::reply::{STATUS_LINE_MAX, Seeker, StatusLine, status_line};
use weir_control_core::health::{CheckOutcome, CheckPlan, Talk};
use weir_core::proxy_header::Header;

use crate::rt::{self, Stream};

/// Makes the check.
pub(super) async fn check(plan: &CheckPlan) -> CheckOutcome {
    let talk = async {
        let mut stream = match rt::connect_tcp(plan.address, plan.timeout).await {
            Ok(stream) => stream,
            Err(fault) => return on_fault(&fault),
        };
        if plan.may_be_weir && stream.stays_here() {
            return CheckOutcome::Bad("leads back to weir".to_owned());
        }
        if let Some(version) = plan.header
            && let Err(fault) = stream.write_all(Header::local(version).bytes()).await
        {
            return on_fault(&fault);
        }
        let outcome = match &plan.talk {
            Talk::Silent => CheckOutcome::Good,
            Talk::Http { request, expect } => ask_http(&mut stream, request, *expect).await,
            Talk::Bytes { send, expect } => ask_bytes(&mut stream, send, expect).await,
        };
        rt::spawn("part", part(stream));
        outcome
    };
    rt::timeout(plan.timeout, talk).await.unwrap_or_else(|| CheckOutcome::Bad("timeout".to_owned()))
}

async fn ask_http(stream: &mut Stream, request: &[u8], expect: Option<u16>) -> CheckOutcome {
    if let Err(fault) = stream.write_all(request).await {
        return on_fault(&fault);
    }
    let mut line = [0; STATUS_LINE_MAX];
    let mut length = 0;
    loop {
        match status_line(&line[..length]) {
            StatusLine::Unfinished => {}
            StatusLine::Foreign => return CheckOutcome::Bad("unexpected answer".to_owned()),
            StatusLine::Status(status) => {
                let good = expect.map_or((200..400).contains(&status), |expect| status == expect);
                return if good {
                    CheckOutcome::Good
                } else {
                    CheckOutcome::Bad(format!("status {status}"))
                };
            }
        }
        match stream.read(&mut line[length..]).await {
            Ok(0) => return CheckOutcome::Bad("closed".to_owned()),
            Ok(count) => length += count,
            Err(fault) => return on_fault(&fault),
        }
    }
}

async fn ask_bytes(stream: &mut Stream, send: &[u8], expect: &[u8]) -> CheckOutcome {
    if let Err(fault) = stream.write_all(send).await {
        return on_fault(&fault);
    }
    let mut seeker = Seeker::new(expect);
    let mut buffer = [0; 2048];
    let mut seen = 0;
    while !seeker.feed(&[]) {
        let count = match stream.read(&mut buffer).await {
            Ok(count) => count,
            Err(fault) => return on_fault(&fault),
        };
        seen += count;
        if seeker.feed(&buffer[..count]) {
            break;
        }
        if count == 0 && seen == 0 {
            return CheckOutcome::Bad("closed".to_owned());
        }
        if count == 0 || seen >= ANSWER_MAX {
            return CheckOutcome::Bad("unexpected answer".to_owned());
        }
    }
    CheckOutcome::Good
}

/// Leaves without a reset, which servers would log: says that nothing more comes and reads for a
/// little while what the backend still had to say.
async fn part(mut stream: Stream) {
    // The backend may be gone already: then there is nothing to be polite about.
    if stream.close().await.is_err() {
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

/// The most bytes of an answer that are read, in bytes.
const ANSWER_MAX: usize = 64 << 10;

/// How long a connection outlives its check.
const PARTING: Duration = Duration::from_millis(250);

fn on_fault(fault: &io::Error) -> CheckOutcome {
    let bad = |why: &str| CheckOutcome::Bad(why.to_owned());
    match Errno::from_io_error(fault) {
        Some(Errno::CONNREFUSED) => bad("refused"),
        Some(Errno::TIMEDOUT) => bad("timeout"),
        Some(Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED) => bad("closed"),
        Some(Errno::MFILE | Errno::NFILE) => {
            CheckOutcome::Local("no file descriptors left".to_owned())
        }
        Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE | Errno::AGAIN) => {
            CheckOutcome::Local("no local ports left".to_owned())
        }
        Some(Errno::NOMEM | Errno::NOBUFS) => CheckOutcome::Local("no memory".to_owned()),
        Some(Errno::PERM | Errno::ACCESS) => {
            CheckOutcome::Local("this host's firewall forbids it".to_owned())
        }
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
