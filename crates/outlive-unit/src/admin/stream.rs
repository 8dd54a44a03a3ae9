//! The stream of events that one manager gets.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use outlive_proto::ControlError;
use outlive_proto::v1::{ErrorCode, UnitEvent, unit_event};
use tokio::sync::broadcast::Receiver;
use tokio_stream::Stream;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tonic::Status;

use crate::events::Event;

/// Events from the moment of the call on. Ends with an error when its manager is superseded, or was so slow
/// that events were lost: then ask for the connections anew.
pub struct EventStream {
    events: BroadcastStream<Event>,
    generation: u64,
    ended: bool,
}

impl EventStream {
    pub(super) fn new(events: Receiver<Event>, generation: u64) -> Self {
        Self {
            events: BroadcastStream::new(events),
            generation,
            ended: false,
        }
    }

    fn end(&mut self, code: ErrorCode, reason: String) -> Option<Result<UnitEvent, Status>> {
        self.ended = true;
        Some(Err(ControlError::new(code, reason).into()))
    }
}

impl Stream for EventStream {
    type Item = Result<UnitEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended {
            let Some(event) = ready!(Pin::new(&mut self.events).poll_next(context)) else {
                break;
            };
            let event = match event {
                Ok(Event::Opened(connection)) => unit_event::Event::Opened(connection),
                Ok(Event::Closed(connection)) => unit_event::Event::Closed(connection),
                Ok(Event::MediaFailed(reason)) => unit_event::Event::MediaFailed(reason),
                Ok(Event::Attached(generation)) if generation <= self.generation => continue,
                Ok(Event::Attached(generation)) => {
                    let reason = format!("superseded by manager generation {generation}");
                    return Poll::Ready(self.end(ErrorCode::Superseded, reason));
                }
                Ok(Event::Ending) => break,
                Err(BroadcastStreamRecvError::Lagged(lost)) => {
                    let reason = format!("{lost} events were lost; ask for the connections anew");
                    return Poll::Ready(self.end(ErrorCode::Limit, reason));
                }
            };
            return Poll::Ready(Some(Ok(UnitEvent { event: Some(event) })));
        }
        self.ended = true;
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use outlive_proto::FromStatus;
    use outlive_proto::v1::LiveConnection;
    use tokio_stream::StreamExt;

    use super::*;
    use crate::events::{BOUND, Events};

    #[tokio::test]
    async fn a_manager_that_lags_is_told_so_and_the_stream_ends() {
        let events = Events::new();
        let mut stream = EventStream::new(events.subscribe(), 1);
        let opened = |connection| LiveConnection {
            connection,
            ..LiveConnection::default()
        };
        events.send(Event::Attached(1));
        events.send(Event::Opened(opened(0)));
        let first = stream.next().await.expect("an event").expect("no error");
        assert_eq!(first.event, Some(unit_event::Event::Opened(opened(0))));
        for connection in 0..=BOUND as u64 {
            events.send(Event::Opened(opened(connection)));
        }
        let status = stream
            .next()
            .await
            .expect("the end's reason")
            .expect_err("events were lost");
        assert_eq!(status.control_error().expect("typed").code, ErrorCode::Limit);
        assert!(stream.next().await.is_none());
    }
}
