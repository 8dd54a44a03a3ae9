//! Streams of what happens to a region.

use std::sync::Arc;

use outlive_fabric::RegionId;
use outlive_identity::Caller;
use outlive_proto::ControlError;
use outlive_proto::v1::RegionEvent;
use outlive_proto::v1::region_event::Kind;
use tokio::sync::broadcast::error::RecvError;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::access::Want;
use crate::shared::Shared;

/// Events that wait for gRPC's flow control: the rest waits, bounded, in the broadcast channel.
const STREAM_QUEUE: usize = 1;

impl Shared {
    /// Streams what happens to a region: its present state first. The stream ends after `DELETED`, and as soon as the
    /// caller may not see the region any more.
    ///
    /// # Errors
    /// `NO_SUCH_REGION`; `LIMIT` when too many watch.
    pub(crate) async fn watch(
        self: Arc<Self>,
        caller: Caller,
        name: String,
    ) -> Result<impl Stream<Item = Result<RegionEvent, Status>> + Send + 'static, ControlError> {
        self.attachment().await?;
        let share = self.share(&self.watchers, &caller)?;
        // Before the decision: a right that is lost in between is noticed.
        let mut rights = self.catalog.rights();
        let region = self.catalog.authorised(&caller, &Want::See(&name))?.id;
        let mut kinds = self.live.watch(region);
        let (events, stream) = tokio::sync::mpsc::channel(STREAM_QUEUE);
        tokio::spawn(async move {
            let _share = share;
            let mut kind = Kind::Present;
            let mut last = None;
            while let Some(event) = self.region_event(region, kind, &mut last) {
                if let Err(error) = self.still_sees(&caller, &name, region) {
                    drop(events.send(Err(error.into())).await);
                    return;
                }
                let is_last = kind == Kind::Deleted;
                if events.send(Ok(event)).await.is_err() || is_last {
                    return;
                }
                let next = loop {
                    let lost = tokio::select! {
                        next = kinds.recv() => break next,
                        changed = rights.changed() => changed.is_err(),
                        () = events.closed() => return,
                    };
                    match self.still_sees(&caller, &name, region) {
                        Ok(()) if !lost => {}
                        Ok(()) => return,
                        Err(error) => {
                            drop(events.send(Err(error.into())).await);
                            return;
                        }
                    }
                };
                kind = match next {
                    Ok(kind) => kind,
                    Err(RecvError::Lagged(_)) => Kind::Present,
                    Err(RecvError::Closed) => Kind::Deleted,
                };
            }
        });
        Ok(ReceiverStream::new(stream))
    }

    /// That a watcher may see its region, where that still exists: its end is told to whoever saw it.
    fn still_sees(&self, caller: &Caller, name: &str, region: RegionId) -> Result<(), ControlError> {
        if self.catalog.identified(region).is_none() {
            return Ok(());
        }
        self.catalog.authorise(caller, &Want::See(name))
    }

    /// An event with the region's state now. `last` keeps the state for the event that says it was deleted;
    /// `None` only if the region was deleted before its first event.
    fn region_event(
        &self,
        region: RegionId,
        kind: Kind,
        last: &mut Option<RegionEvent>,
    ) -> Option<RegionEvent> {
        let event = match self.catalog.identified(region) {
            Some(record) => RegionEvent {
                region: Some(self.region_of(&record)),
                incarnation: self.incarnation(),
                kind: kind.into(),
            },
            None => RegionEvent {
                kind: Kind::Deleted.into(),
                ..last.take()?
            },
        };
        *last = Some(event.clone());
        Some(event)
    }
}
