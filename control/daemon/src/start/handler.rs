//! What the gate asks of the control thread.

use std::sync::Arc;

use weir_proto::answer::{Answer, Author, EventKind};
use weir_proto::request::{Command, Query, Refusal};

use super::page;
use crate::api::audit::AuditEvent;
use crate::api::gate::Handler;
use crate::rt::{self, Bulky};
use crate::serve::Shared;
use crate::serve::answers::Queries;
use weir_control_core::control::Input;
use weir_control_core::events::Events;

impl Handler for Shared {
    async fn refresh(&self, query: &Query) {
        Shared::refresh(self, query).await;
    }

    async fn query(&self, query: Query) -> Result<Answer, Refusal> {
        Shared::query(self, query).await
    }

    async fn command(&self, command: Command, by: Author) -> Result<Answer, Refusal> {
        Shared::command(self, command, by).await
    }

    fn version(&self) -> u64 {
        self.control().snapshot.version.0
    }

    fn record(&self, event: AuditEvent) {
        let AuditEvent { subject, text, kept } = event;
        self.handle(Input::Audited { kept, kind: EventKind::Audit, subject, text });
    }

    fn answering(&self) -> impl Sized {
        Shared::answering(self)
    }

    async fn metrics(&self, http_streams: usize) -> Arc<Bulky<String>> {
        page::page(self, http_streams).await
    }

    fn with_events<T>(&self, look: impl FnOnce(&Events) -> T) -> T {
        look(&self.control().events)
    }

    async fn events_after(&self, last: u64) {
        Shared::events_after(self, last).await;
    }

    async fn live_history(&self) -> Arc<String> {
        Shared::live_history(self).await
    }

    async fn live_figures(&self) -> Arc<String> {
        Shared::live_figures(self).await
    }

    fn live_points(&self) -> u64 {
        Shared::live_points(self)
    }

    async fn live_points_after(&self, seen: u64) {
        Shared::live_points_after(self, seen).await;
    }

    fn ready(&self) -> Result<(), String> {
        let control = self.control();
        if !control.is_serving() {
            return Err("draining".to_owned());
        }
        if let Some(full) = control.fullness.get() {
            return Err(full.to_string());
        }
        if control.is_unreachable() {
            return Err("no address of a listener could be bound yet".to_owned());
        }
        let (now, hash_seed) = (rt::now(), self.hash_seed());
        let seen = Queries { control: &control, now, hash_seed };
        let pools = &control.snapshot.pools;
        let indices = control.snapshot.listeners.iter().flat_map(|listener| listener.pools());
        let mut used = indices.map(|index| &pools[index]);
        match used.find(|pool| seen.is_empty(pool)) {
            Some(pool) => Err(format!("pool {}: no backend can take sessions", pool.name)),
            None => Ok(()),
        }
    }
}
