//! A bound on how often something may happen.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Lets through `burst` at once and `per_second` for ever.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u32,
    burst: u32,
    state: Mutex<(f64, Instant)>,
}

impl Rate {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second,
            burst,
            state: Mutex::new((f64::from(burst), Instant::now())),
        }
    }

    /// Whether one more may happen now.
    pub(crate) fn allows(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *state;
        let now = Instant::now();
        let refilled = left + now.duration_since(since).as_secs_f64() * f64::from(self.per_second);
        let left = refilled.min(f64::from(self.burst));
        let allowed = left >= 1.0;
        *state = (if allowed { left - 1.0 } else { left }, now);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_then_the_rate_holds() {
        let rate = Rate::new(10, 5);
        assert_eq!((0..100).filter(|_| rate.allows()).count(), 5);
        tokio::time::advance(Duration::from_millis(350)).await;
        assert_eq!((0..100).filter(|_| rate.allows()).count(), 3);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!((0..100).filter(|_| rate.allows()).count(), 5);
    }
}
