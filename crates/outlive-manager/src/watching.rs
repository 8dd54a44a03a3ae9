//! Streams of what happens to a region.

use std::sync::Arc;

use outlive_fabric::RegionId;
use outlive_proto::ControlError;
use outlive_proto::v1::region_event::Kind;
use outlive_proto::v1::{ErrorCode, RegionEvent};
use tokio::sync::broadcast::error::RecvError;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::limits;
use crate::shared::Shared;

/// Events that wait for gRPC's flow control: the rest waits, bounded, in the broadcast channel.
const STREAM_QUEUE: usize = 1;

impl Shared {
    /// Streams what happens to a region: its present state first. The stream ends after `DELETED`.
    ///
    /// # Errors
    /// `NO_SUCH_REGION`; `LIMIT` when too many watch.
    pub(crate) async fn watch(
        self: Arc<Self>,
        name: &str,
    ) -> Result<impl Stream<Item = Result<RegionEvent, Status>> + Send + 'static, ControlError> {
        self.attachment().await?;
        let permit = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_full| {
            let message = format!("{} streams watch regions, which is the limit", limits::WATCHERS);
            ControlError::new(ErrorCode::Limit, message)
        })?;
        let region = self.catalog.named(name)?.id;
        let mut kinds = self.live.watch(region);
        let (events, stream) = tokio::sync::mpsc::channel(STREAM_QUEUE);
        tokio::spawn(async move {
            let _permit = permit;
            let mut kind = Kind::Present;
            let mut last = None;
            while let Some(event) = self.region_event(region, kind, &mut last) {
                let is_last = kind == Kind::Deleted;
                if events.send(Ok(event)).await.is_err() || is_last {
                    return;
                }
                let next = tokio::select! {
                    next = kinds.recv() => next,
                    () = events.closed() => return,
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
