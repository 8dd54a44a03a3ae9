//! Handshakes that have begun and not ended.

use std::collections::HashMap;
use std::net::IpAddr;

use tokio::task::AbortHandle;

/// A bounded table of handshakes in progress. When it is full the newcomer still gets in: the oldest one of the
/// source that holds most has to go, so that holding handshakes open locks nobody out.
#[derive(Debug)]
pub(super) struct Unfinished {
    limit: usize,
    /// In the order in which they began.
    began: Vec<(u64, IpAddr, AbortHandle)>,
    next: u64,
}

impl Unfinished {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            began: Vec::new(),
            next: 0,
        }
    }

    /// Takes one up; `begin` starts it, knowing its number. Returns the source of the one that had to go.
    pub(super) fn add(&mut self, source: IpAddr, begin: impl FnOnce(u64) -> AbortHandle) -> Option<IpAddr> {
        let evicted = (self.began.len() >= self.limit).then(|| self.evict()).flatten();
        self.next += 1;
        self.began.push((self.next, source, begin(self.next)));
        evicted
    }

    /// That one has ended.
    pub(super) fn remove(&mut self, number: u64) {
        self.began.retain(|(begun, _, _)| *begun != number);
    }

    /// Ends the oldest of the source that holds most.
    pub(super) fn evict(&mut self) -> Option<IpAddr> {
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for (_, source, _) in &self.began {
            *held.entry(*source).or_default() += 1;
        }
        let most = held.values().copied().max()?;
        let oldest = self
            .began
            .iter()
            .position(|(_, source, _)| held[source] == most)?;
        let (_, source, handshake) = self.began.remove(oldest);
        handshake.abort();
        Some(source)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        for (_, _, handshake) in &self.began {
            handshake.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_of_the_greediest_has_to_go() {
        let mut table = Unfinished::new(3);
        let source = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut tasks = Vec::new();
        for (last, evicted) in [(1, None), (2, None), (2, None), (3, Some(2)), (4, Some(1))] {
            let task = tokio::spawn(std::future::pending::<()>());
            let handle = task.abort_handle();
            tasks.push(task);
            // The fourth: 2 holds most. The fifth: all hold one, and 1 is the oldest.
            assert_eq!(table.add(source(last), |_| handle), evicted.map(source));
        }
        for _ in 0..2 {
            assert!(tasks.remove(0).await.unwrap_err().is_cancelled());
        }
        table.remove(3);
        let task = tokio::spawn(std::future::pending::<()>());
        assert_eq!(
            table.add(source(5), |_| task.abort_handle()),
            None,
            "one has ended"
        );
    }
}
