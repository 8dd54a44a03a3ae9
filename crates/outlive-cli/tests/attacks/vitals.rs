//! What a process costs, as the kernel counts it.

use crate::support::Serve;

/// Resident memory and threads of a server at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    pub(crate) resident_bytes: u64,
    pub(crate) threads: u64,
}

impl Vitals {
    pub(crate) fn of(serve: &Serve) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{}/status", serve.process.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        Self {
            resident_bytes: field("VmRSS:") * 1024,
            threads: field("Threads:"),
        }
    }

    /// Fails if the server has grown since by more than this.
    pub(crate) fn assert_grown_by_less_than(self, serve: &Serve, resident_bytes: u64, threads: u64) {
        let now = Self::of(serve);
        let grown = now.resident_bytes.saturating_sub(self.resident_bytes);
        assert!(
            grown < resident_bytes,
            "{grown} bytes more: {self:?}, now {now:?}"
        );
        let more = now.threads.saturating_sub(self.threads);
        assert!(more < threads, "{more} threads more: {self:?}, now {now:?}");
    }
}
