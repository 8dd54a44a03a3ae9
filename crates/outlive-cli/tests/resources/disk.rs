//! Disk space.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Process, World};
use crate::{ends_well, is_root, skipped};

/// A medium for which there is no room is not made, and nothing of it stays.
#[test]
fn a_medium_that_does_not_fit_is_not_made() {
    let world = World::new();
    let media = format!("file:{},size=64MiB", world.medium().display());
    let arguments = [
        "serve",
        "--media",
        &media,
        "--control",
        "127.0.0.1:0",
        "--data",
        "127.0.0.1:0",
    ];
    // Files of at most 8 MiB.
    let outcome = ends_well(&mut world.limited("-f 8192", &arguments), &[12]);
    assert!(outcome.stderr.contains("no room"), "{}", outcome.stderr);
    assert!(!world.medium().exists());
    world.serve().stop();
}

/// What was made has its space: on a disk that is full since, everything is stored that the regions take. What else would be
/// written (the audit log, a context file, a loaded set) is missing by name, and what was there before is whole.
#[test]
fn a_disk_that_is_full_takes_nothing_from_the_medium() {
    if !is_root() {
        return skipped("only the superuser can mount a disk that is soon full");
    }
    let world = World::new();
    let Some(disk) = Disk::mount(&world, "80m") else {
        return skipped("no mount namespaces here");
    };
    let context = disk.path("context.json");
    let media = format!("file:{},size=64MiB", disk.path("unit.media").display());
    let mut serve = disk.command(&world, &context);
    serve.args([
        "serve",
        "--json",
        "--media",
        &media,
        "--control",
        "127.0.0.1:0",
        "--data",
        "127.0.0.1:0",
    ]);
    let log = world.path("server.log");
    let mut server = Process::start_logging(serve, &log);
    server.json_line();
    disk.ok(
        &world,
        &context,
        &["region", "create", "orders", "--size", "32MiB"],
    );
    let state = world.path("state");
    fs::write(&state, vec![7; 1 << 20]).unwrap();
    let state = state.to_str().unwrap();
    let into = disk.path("loaded");
    let into = into.to_str().unwrap();
    disk.ok(&world, &context, &["save", "orders", state]);
    disk.ok(&world, &context, &["load", "orders", "--into", into]);
    let (before, loaded) = (disk.read(&context), disk.files("loaded"));

    disk.fill();
    // More than the disk has: it is all in the medium.
    for _ in 0..12 {
        disk.ok(&world, &context, &["save", "orders", state]);
        disk.ok(&world, &context, &["append", "orders", state]);
    }
    let failed = disk.run(&world, &context, &["load", "orders", "--into", into], &[1]);
    assert!(failed.contains("No space left"), "{failed}");
    assert_eq!(
        disk.files("loaded"),
        loaded,
        "nothing half written is left, and what was there is whole"
    );
    let out = disk.path("worker.json");
    let issued = ["access", "issue", "other", "--output", out.to_str().unwrap()];
    let failed = disk.run(&world, &context, &issued, &[1, 9]);
    assert!(failed.contains("No space left"), "{failed}");
    // A second server that would replace the context file.
    let other = format!("file:{},size=64MiB", world.path("other.media").display());
    let second = [
        "serve",
        "--media",
        &other,
        "--control",
        "127.0.0.1:0",
        "--data",
        "127.0.0.1:0",
    ];
    let failed = disk.run(&world, &context, &second, &[1, 9]);
    assert!(failed.contains("No space left"), "{failed}");
    assert_eq!(disk.read(&context), before, "the context file is what it was");
    assert!(!server.has_ended());

    disk.free();
    disk.ok(&world, &context, &["load", "orders", "--into", into]);
    disk.ok(&world, &context, &["status"]);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait(), 0);
    disk.ok(
        &world,
        &context,
        &["fsck", disk.path("unit.media").to_str().unwrap()],
    );
}

/// A small disk in a mount namespace of its own; gone with the process that holds it.
struct Disk {
    holder: Child,
    at: PathBuf,
}

impl Disk {
    fn mount(world: &World, size: &str) -> Option<Self> {
        use std::io::{BufRead, BufReader};
        let at = world.path("disk");
        fs::create_dir(&at).unwrap();
        let script = format!(
            "mount -t tmpfs -o size={size} tmpfs '{0}' && chmod 700 '{0}' && echo mounted && exec cat",
            at.display()
        );
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take()?).read_line(&mut line).ok()?;
        let disk = Self { holder, at };
        (line == "mounted\n").then_some(disk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// The same place, as it looks from outside.
    fn outside(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").unwrap();
        Path::new("/proc")
            .join(self.holder.id().to_string())
            .join("root")
            .join(inside)
    }

    fn read(&self, path: &Path) -> Vec<u8> {
        fs::read(self.outside(path)).unwrap()
    }

    /// Names and contents.
    fn files(&self, folder: &str) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let folder = self.outside(&self.path(folder));
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.outside(&self.path("fill"))).unwrap();
        // The last page, too.
        for piece in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; piece]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.outside(&self.path("fill"))).unwrap();
    }

    fn command(&self, world: &World, context: &Path) -> Command {
        let holder = self.holder.id().to_string();
        let mut command = world.wrapped("nsenter", &["--target", &holder, "--mount"], &[]);
        command.env("OUTLIVE_CONTEXT", context);
        command
    }

    fn run(&self, world: &World, context: &Path, arguments: &[&str], codes: &[i32]) -> String {
        ends_well(self.command(world, context).args(arguments), codes).stderr
    }

    fn ok(&self, world: &World, context: &Path, arguments: &[&str]) {
        self.run(world, context, arguments, &[0]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
