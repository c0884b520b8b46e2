//! The end of an app, in its order: workers drain, what is still open is cut, exporters deliver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::App;
use crate::export::status::Reason;
use crate::listener::drain::Stage;
use crate::listener::sockets::Sockets;
use crate::worker::{Command, Thread};

/// Part of the grace that is kept for delivering traces once the workers have ended.
const DELIVERY: Duration = Duration::from_secs(5);

/// Why an app ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is to stop.
    Stop,
    /// Another process has its listeners.
    HandedOver,
}

impl App {
    /// Stops accepting, lets what is under way end within the grace or until `hurry`, delivers the traces.
    pub async fn shutdown(&self, end: End, hurry: impl Future<Output = ()>) {
        self.draining.send_replace(true);
        let grace = self.generation.load().config.shutdown_grace;
        let deadline = Instant::now() + grace;
        tracing::info!(grace_seconds = grace.as_secs(), "draining");
        for bound in self.listening.lock().await.values_mut() {
            bound.sockets.clear();
        }
        *self.doors() = Sockets::default();
        let hurried = tokio::select! {
            () = self.end_requests(end, grace, deadline) => false,
            () = hurry => true,
        };
        if hurried {
            tracing::warn!("asked again to stop; cutting what is still open");
        }
        let workers = std::mem::take(&mut *self.workers());
        let exporters = Arc::clone(&self.exporters);
        let receiver = self.receiver.clone();
        let store = self.store();
        let ended = tokio::task::spawn_blocking(move || {
            workers.into_iter().for_each(Thread::join);
            exporters.keep_local(None);
            if let Some(store) = store {
                store.close();
            }
            let soon = Instant::now() + DELIVERY.min(grace);
            let deadline = if hurried { soon } else { deadline.max(soon) };
            let ended = exporters.shutdown(deadline);
            if let Some(receiver) = receiver {
                receiver.shutdown(deadline);
            }
            ended
        });
        for status in ended.await.unwrap_or_default() {
            let lost = status.dropped(Reason::Shutdown);
            if lost > 0 {
                tracing::error!(
                    exporter = status.exporter,
                    traces = lost,
                    "not delivered before the end"
                );
            }
        }
        if let Some(log) = self.generation().access_log.clone() {
            // Its thread writes; nobody else needs this one any more.
            log.flush();
        }
        tracing::info!("stopped");
    }

    /// Returns once requests have ended, or when what is left of the grace is for delivering.
    async fn end_requests(&self, end: End, grace: Duration, deadline: Instant) {
        let kept = DELIVERY.min(grace / 2);
        let cut = deadline.checked_sub(kept).unwrap_or(deadline);
        if end == End::HandedOver {
            // Clients go by themselves with their next response; of a short grace too, something is
            // left for those that stay silent.
            let gently = Instant::now() + (grace / 2).min(grace.saturating_sub(kept) * 3 / 4);
            let ended = self.drain(Stage::Leaving);
            if tokio::time::timeout_at(gently.into(), ended).await.is_ok() {
                return;
            }
        }
        let ended = self.drain(Stage::Closing);
        if tokio::time::timeout_at(cut.into(), ended).await.is_err() {
            tracing::warn!("grace has passed; cutting what is still open");
        }
    }

    /// Returns once all workers have drained.
    async fn drain(&self, stage: Stage) {
        // Twice, because one that has drained may get a connection from another that still accepts.
        for _ in 0..2 {
            let mut drained = Vec::new();
            self.tell(|| {
                let (sender, receiver) = oneshot::channel();
                drained.push(receiver);
                Command::Drain(stage, sender)
            });
            for worker in drained {
                // A worker that is gone has drained.
                let _ = worker.await;
            }
        }
    }
}
