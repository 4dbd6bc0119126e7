//! What sessions can make the kernel hold, and where the kernel draws the line.

use super::{Finding, ok, warn};

/// Bytes of a page, and of a pipe that bulk goes through.
const PAGE: u64 = 4096;
const PIPE_PAGES: u64 = (1 << 20) / PAGE;

/// Pipes of one shard.
const PIPES: u64 = 256;

/// Bytes that the kernel keeps unsent for a reader that has read nothing (TCP_NOTSENT_LOWAT).
const UNSENT: u64 = 128 << 10;

/// What weir asks of SO_RCVBUF for bulk.
const RECEIVED: u64 = 2 << 20;

/// fs.pipe-user-pages-soft, which does not hold for the privileged; 0 is no limit.
pub(super) fn pipes(pages: Option<u64>, privileged: bool) -> Finding {
    const NAME: &str = "pipe_user_pages_soft";
    let need = PIPES * PIPE_PAGES;
    let mend = format!("sysctl -w fs.pipe-user-pages-soft={need} for each shard, or 0");
    match pages {
        _ if privileged => ok(NAME, "does not hold for root"),
        Some(0) => ok(NAME, "0: no limit"),
        Some(pages) if pages < need => {
            let pipes = pages / PIPE_PAGES;
            let found = format!("{pages}: {pipes} pipes of {PIPES} a shard; other bulk is copied");
            warn(NAME, found, mend)
        }
        Some(pages) => ok(NAME, pages),
        None => warn(NAME, "cannot be read", mend),
    }
}

/// net.ipv4.tcp_mem, of which the second number is where the kernel begins to press.
pub(super) fn tcp(pressure: Option<u64>, sessions: u64) -> Finding {
    const NAME: &str = "tcp_mem";
    let need = sessions * UNSENT / PAGE;
    let mend = format!(
        "sysctl -w net.ipv4.tcp_mem='{need} {need} {}', or max-sessions= of the listeners",
        need * 3 / 2
    );
    let Some(pages) = pressure else { return warn(NAME, "cannot be read", mend) };
    let (mib, readers) = ((pages * PAGE) >> 20, pages * PAGE / UNSENT);
    let found = format!("presses at {mib} MiB: {readers} readers that read nothing");
    if pages < need {
        warn(NAME, format!("{found}, of {sessions} sessions"), mend)
    } else {
        ok(NAME, found)
    }
}

/// net.core.rmem_max, which bounds what a program may ask for.
pub(super) fn receive(bytes: Option<u64>) -> Finding {
    const NAME: &str = "rmem_max";
    let mend = format!("sysctl -w net.core.rmem_max={RECEIVED}");
    match bytes {
        Some(bytes) if bytes < RECEIVED => {
            let what = "receive buffers of bulk grow to net.ipv4.tcp_rmem's largest";
            warn(NAME, format!("{bytes}: {what}"), mend)
        }
        Some(bytes) => ok(NAME, bytes),
        None => warn(NAME, "cannot be read", mend),
    }
}
