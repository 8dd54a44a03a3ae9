//! What the tests share: a server to talk to, a primary in a process of its own, damage to a medium.

pub(crate) mod child;
mod device;
mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use outlive::{OpenOptions, Primary, RegionSpec, Session};

pub(crate) use device::Device;
pub(crate) use server::Server;

/// A session and an open region of 1 MiB.
pub(crate) fn primary_of(server: &Server, name: &str) -> (Session, Primary) {
    let session = server.session();
    session
        .create(name, &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let primary = session.primary(name, &OpenOptions::default()).expect("opened");
    (session, primary)
}

/// Every byte of a region's data.
pub(crate) fn whole_region(session: &Session, name: &str) -> Vec<u8> {
    let mut reader = session.raw_reader(name).expect("opened");
    let mut bytes = vec![0; usize::try_from(reader.size()).expect("small")];
    reader.read(0, &mut bytes).expect("read");
    bytes
}

/// Tries again until `done` gives something; fails after a minute.
pub(crate) fn eventually<T>(mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "not within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Offset of the only occurrence of `needle` in the medium's file.
pub(crate) fn find_in(path: &Path, needle: &[u8]) -> u64 {
    let bytes = std::fs::read(path).expect("a medium");
    let mut found = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle);
    let (at, _) = found.next().expect("the bytes are on the medium");
    assert!(found.next().is_none(), "the bytes are there once");
    at as u64
}

/// Changes bytes of a file.
pub(crate) fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("a medium");
    file.write_all_at(bytes, at).expect("written");
}
