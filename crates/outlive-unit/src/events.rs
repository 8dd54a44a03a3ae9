//! What a manager is told without asking.

use std::sync::atomic::{AtomicBool, Ordering};

use outlive_media::MediaError;
use outlive_proto::v1::LiveConnection;
use tokio::sync::broadcast;

/// Events kept for a stream that is slow. Several times the connections of a busy unit; a manager that falls further
/// behind is told so and asks for the present state anew.
pub(crate) const BOUND: usize = 4096;

/// Tells every event stream what happened. Never blocks.
#[derive(Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
    media_failed: AtomicBool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Opened(LiveConnection),
    Closed(LiveConnection),
    MediaFailed(String),
    /// A manager attached with this generation: streams of those before it end.
    Attached(u64),
    /// The unit ends, and with it every stream.
    Ending,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(BOUND),
            media_failed: AtomicBool::new(false),
        }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    pub(crate) fn send(&self, event: Event) {
        // An error says that nobody listens, which is fine.
        let _ = self.sender.send(event);
    }

    /// Tells, the first time, that the medium is poisoned.
    pub(crate) fn note_media(&self, error: &MediaError) {
        if let MediaError::Poisoned { reason } = error
            && !self.media_failed.swap(true, Ordering::Relaxed)
        {
            tracing::error!(%reason, "the unit's medium failed; everything is refused until it is opened anew");
            self.send(Event::MediaFailed(reason.clone()));
        }
    }
}
