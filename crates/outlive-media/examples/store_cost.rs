//! How should bytes reach the page cache: `pwrite`, several gathered into one, or stores through a mapping?
//!
//! `cargo run --release -p outlive-media --example store_cost [FOLDER]` prints ratios; see
//! `docs/decisions.md`. Each round places a batch of writes and then makes them persistent once, as the
//! unit does. The ways take turns, so that a drifting machine is unfair to none.

#![allow(
    unsafe_code,
    reason = "a measurement of a mapping, which the crate does not use for files"
)]

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::pwritev;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync};

const LEN: usize = 256 << 20;
const ROUNDS: usize = 150;
/// The kernel takes at most this many parts in one call.
const MAX_PARTS: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Each,
    Gathered,
    Mapped,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    println!(
        "medium    bytes x writes   place: each / gathered / mapped   place and persist: each / gathered / mapped"
    );
    for written in [false, true] {
        for (bytes, writes) in [(64, 1), (64, 64), (4096, 1), (4096, 32), (1 << 20, 1)] {
            compare(&folder, written, bytes, writes)?;
        }
    }
    Ok(())
}

fn compare(folder: &Path, written: bool, bytes: usize, writes: usize) -> Result<(), Box<dyn Error>> {
    let ways = [Way::Each, Way::Gathered, Way::Mapped];
    let mut targets = Vec::new();
    for way in ways {
        targets.push(Target::new(&folder.join(format!("store_cost.{way:?}")), written)?);
    }
    let payload = vec![0xA5; bytes];
    let mut took = [(); 3].map(|()| Vec::new());
    for round in 0..ROUNDS {
        for (index, (way, target)) in ways.iter().zip(&targets).enumerate() {
            let at = round * bytes * writes % (LEN / 2);
            took[index].push(target.round(*way, at, &payload, writes)?);
        }
    }
    let median = |of: fn(&(Duration, Duration)) -> Duration| {
        took.each_ref().map(|rounds| {
            let mut sorted: Vec<Duration> = rounds.iter().map(of).collect();
            sorted.sort_unstable();
            sorted[sorted.len() / 2].as_secs_f64() * 1e6
        })
    };
    let (place, all) = (median(|(place, _)| *place), median(|(_, all)| *all));
    let ratios = |of: [f64; 3]| {
        format!(
            "1 / {:.2} / {:.2} ({:.1} us)",
            of[1] / of[0],
            of[2] / of[0],
            of[0]
        )
    };
    let kind = if written { "written" } else { "allocated" };
    println!(
        "{kind:10}{bytes:8} x {writes:3}    {:34} {}",
        ratios(place),
        ratios(all)
    );
    Ok(())
}

struct Target {
    file: File,
    map: *mut u8,
    path: PathBuf,
}

impl Target {
    /// Allocated only, or written once so that later writes change no metadata.
    fn new(path: &Path, written: bool) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        fallocate(&file, FallocateFlags::empty(), 0, LEN as u64)?;
        if written {
            let zeros = vec![0; 1 << 20];
            for at in (0..LEN).step_by(zeros.len()) {
                file.write_all_at(&zeros, at as u64)?;
            }
        }
        file.sync_all()?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new shared mapping at an address of the kernel's choice replaces nothing.
        let map = unsafe { mmap(ptr::null_mut(), LEN, protection, MapFlags::SHARED, &file, 0)? };
        Ok(Self {
            file,
            map: map.cast(),
            path: path.to_owned(),
        })
    }

    /// How long placing took, and placing and persisting together.
    fn round(&self, way: Way, at: usize, payload: &[u8], writes: usize) -> io::Result<(Duration, Duration)> {
        let begun = Instant::now();
        let len = payload.len() * writes;
        match way {
            Way::Each => {
                for index in 0..writes {
                    self.file
                        .write_all_at(payload, (at + index * payload.len()) as u64)?;
                }
            }
            Way::Gathered => {
                assert!(writes <= MAX_PARTS, "one call");
                let parts: Vec<_> = (0..writes).map(|_| IoSlice::new(payload)).collect();
                assert_eq!(pwritev(&self.file, &parts, at as u64)?, len);
            }
            Way::Mapped => {
                for index in 0..writes {
                    let into = self.map.wrapping_add(at + index * payload.len());
                    // SAFETY: `at` and the length stay inside the mapping, which only this thread uses.
                    unsafe { ptr::copy_nonoverlapping(payload.as_ptr(), into, payload.len()) };
                }
            }
        }
        let placed = begun.elapsed();
        if way == Way::Mapped {
            let first = at / 4096 * 4096;
            let pages = self.map.wrapping_add(first);
            // SAFETY: whole pages inside the mapping.
            unsafe { msync(pages.cast(), at + len - first, MsyncFlags::SYNC)? };
        } else {
            self.file.sync_data()?;
        }
        Ok((placed, begun.elapsed()))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // A measurement's file: if it stays, it is seen.
        let _ = std::fs::remove_file(&self.path);
    }
}
