//! The thread that goes on when the control thread has died: it looks at signals and reports until
//! the process is to end. What it decides is in [`weir_control_core::fallback`].

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use weir_control_core::deadlines::DRAIN_MAX;
use weir_control_core::fallback::Fallback;
use weir_proto::order::Order;

use crate::listen;
use crate::rt;
use crate::signals::Flags;
use crate::systemd;
use crate::watchdog::{Newest, SupervisedEngine};

/// Between two looks at reports and signals.
const STEP: Duration = Duration::from_millis(50);

/// What control leaves behind, put here as soon as it is there.
#[derive(Debug, Default)]
pub(crate) struct FallbackParts {
    pub(crate) engine: OnceLock<Arc<SupervisedEngine>>,
    pub(crate) flags: OnceLock<Flags>,
    /// The control socket: whoever connects to it now would wait for nobody.
    pub(crate) socket: OnceLock<PathBuf>,
}

/// Serves on until a signal. The exit code.
///
/// # Errors
/// Control died before there was anything to serve.
pub(crate) fn run(parts: &FallbackParts) -> Result<u8, String> {
    let (Some(engine), Some(flags)) = (parts.engine.get(), parts.flags.get()) else {
        return Err("the control thread died while it started".to_owned());
    };
    if let Some(socket) = parts.socket.get() {
        // Its guard may have removed it already.
        let _ = std::fs::remove_file(socket);
    }
    let newest = engine.newest().map(|newest| newest.snapshot);
    let version = newest.as_ref().map_or(0, |snapshot| snapshot.version.0);
    tracing::error!(
        "the control thread has died. Sessions go on and new ones are taken, by version {version}; \
         nothing can be changed, asked or checked. Start weir again when it suits you: SIGTERM \
         drains for {DRAIN_MAX:?}"
    );
    let status = "STATUS=the control thread has died; traffic goes on; start weir again";
    // Without systemd there is nobody to tell.
    let _ = systemd::tell(status);
    let mut fallback = Fallback::after(Arc::clone(engine), newest.as_deref());
    while fallback.look(flags.take(), &|| newest_sockets(engine), rt::now()) {
        thread::park_timeout(STEP);
    }
    tracing::info!("stopped");
    Ok(1)
}

/// The newest configuration with new sockets for what is bound of it, for a shard that has none.
fn newest_sockets(engine: &SupervisedEngine) -> Option<Order> {
    let Newest { snapshot, bound } = engine.newest()?;
    let again = listen::bind_beside(&snapshot, &bound);
    for error in &again.failed {
        tracing::error!("{}", error.refusal().message);
    }
    Some(Order::Adopt { snapshot, sockets: again.into_first(), health: Vec::new() })
}
