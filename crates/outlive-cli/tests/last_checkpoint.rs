//! X6 over the real command: whatever is done to a region, by its owner, by others or to its server, `outlive load` (after a
//! clear `load --cleared`) gives the last verified checkpoint, until the region is deleted by name and confirmed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Stdio;

use support::{Process, Serve, World, noise};

const REGION: &str = "orders";
const MEDIA: &str = "16MiB";
/// Two slots of this and a journal of some 50 KiB.
const SIZE: &str = "224KiB";
const MAX_SNAPSHOT: usize = 64 << 10;
const STEPS: u64 = 40;
const SEED: u64 = 7;

/// Codes of `outlive`, as `docs/cli.md` lists them.
const NO_SUCH_REGION: i32 = 3;
const EXISTS: i32 = 4;
const FULL: i32 = 5;
const NO_SPACE: i32 = 6;
const OWNED: i32 = 7;
const NOT_CONFIRMED: i32 = 14;
const NO_SUCH_SET: i32 = 15;

/// What the region must give.
struct Model {
    world: World,
    serve: Option<Serve>,
    checkpoint: Vec<u8>,
    cleared: bool,
    numbered: u64,
}

impl Model {
    fn begin() -> Self {
        let world = World::with_media(MEDIA);
        let serve = world.serve();
        let max_snapshot = MAX_SNAPSHOT.to_string();
        world.ok(&[
            "region",
            "create",
            REGION,
            "--size",
            SIZE,
            "--max-snapshot",
            &max_snapshot,
        ]);
        let mut model = Self {
            world,
            serve: Some(serve),
            checkpoint: Vec::new(),
            cleared: false,
            numbered: 0,
        };
        model.save();
        model
    }

    /// What `outlive load` gives is the last verified checkpoint.
    fn look(&self, step: &str) {
        let current = self.world.run(&["load", REGION]);
        let found = if self.cleared {
            assert_eq!(current.code, NO_SUCH_SET, "{step}: {}", current.stderr);
            self.world.run(&["load", REGION, "--cleared"])
        } else {
            current
        };
        assert_eq!(found.code, 0, "{step}: {}", found.stderr);
        assert!(
            found.stdout == self.checkpoint,
            "{step}: {} bytes that are not the last verified checkpoint",
            found.stdout.len()
        );
    }

    fn payload(&mut self, most: usize) -> Vec<u8> {
        self.numbered += 1;
        let spread = usize::try_from(self.numbered * 7919).unwrap();
        noise(self.numbered, 1 + spread % most)
    }

    fn save(&mut self) {
        let payload = self.payload(MAX_SNAPSHOT);
        self.world.ok_with_input(&["save", REGION], &payload);
        self.checkpoint = payload;
        self.cleared = false;
    }

    fn clear(&mut self) {
        self.world.fails(&["clear", REGION], NOT_CONFIRMED, "--yes");
        self.look("a clear that nobody confirmed");
        // A journal full of updates takes a clear all the same.
        self.world.ok(&["clear", REGION, "--yes"]);
        self.cleared = true;
    }

    fn append_until_full(&mut self) {
        for _ in 0..100 {
            let payload = self.payload(6000);
            let appended = self.world.run_with_input(&["append", REGION], &payload);
            if appended.code == FULL {
                return;
            }
            assert_eq!(appended.code, 0, "{}", appended.stderr);
        }
        panic!("the journal is never full");
    }

    fn resize(&mut self) {
        let shown = self.world.json(&["region", "show", REGION]);
        let size = shown[0]["size"].as_u64().unwrap() + 16384;
        let resized = self
            .world
            .run(&["region", "resize", REGION, "--size", &size.to_string()]);
        // Its journal may be wrapped by more than that.
        assert!([0, 2].contains(&resized.code), "{}", resized.stderr);
        self.world
            .fails(&["region", "resize", REGION, "--size", "1GiB"], NO_SPACE, "");
    }

    /// A save that dies in the middle leaves the old or the new.
    fn kill_save(&mut self) {
        let new = self.payload(MAX_SNAPSHOT);
        let file = self.world.path("state");
        std::fs::write(&file, &new).unwrap();
        let arguments = ["save", REGION, file.to_str().unwrap(), "--take-over"];
        let mut process = Process::start(self.world.command(arguments));
        let pause = std::time::Duration::from_millis(self.numbered * 13 % 40);
        std::thread::sleep(pause);
        let was_done = process.has_ended();
        process.kill();
        self.free();
        let found = self.world.run(&["load", REGION]);
        if found.code == 0 && found.stdout == new {
            (self.checkpoint, self.cleared) = (new, false);
        } else {
            assert!(!was_done, "a save that ended well is not there");
        }
    }

    /// Takes the region from an owner that was killed, so that the next command finds it free.
    fn free(&self) {
        let taken = self.world.run(&["append", REGION, "/dev/null", "--take-over"]);
        assert!([0, FULL].contains(&taken.code), "{}", taken.stderr);
    }

    fn kill_serve(&mut self) {
        let before = self.serve.take().unwrap().kill();
        self.serve = Some(self.world.serve_again(&before));
        self.free();
    }

    /// The medium is checked, and repaired where that is needed, while nobody serves it.
    fn check(&mut self) {
        let before = self.serve.take().unwrap().kill();
        let medium = self.world.medium();
        self.world.ok(&["fsck", medium.to_str().unwrap(), "--repair"]);
        self.serve = Some(self.world.serve_again(&before));
        self.free();
    }

    /// Everything that could end it by mistake or by somebody else.
    fn mistakes(&mut self, alice: &str) {
        let world = &self.world;
        world.fails(&["region", "rm", REGION], NOT_CONFIRMED, "--yes");
        world.fails_with_input(
            &["region", "rm", REGION],
            b"yes\n",
            NOT_CONFIRMED,
            "not a terminal",
        );
        world.fails(&["region", "rm", "order", "--yes"], NO_SUCH_REGION, "order");
        world.fails(&["region", "rm", "ORDERS", "--yes"], NO_SUCH_REGION, "ORDERS");
        world.fails(&["region", "create", REGION, "--size", SIZE], EXISTS, REGION);
        for arguments in [
            &["region", "rm", REGION, "--yes"][..],
            &["clear", REGION, "--yes"],
            &["save", REGION, "/dev/null"],
            &["save", REGION, "/dev/null", "--take-over"],
        ] {
            let by_alice = [arguments, &["--context", alice]].concat();
            world.fails(&by_alice, NO_SUCH_REGION, REGION);
        }
        let too_large = vec![1; MAX_SNAPSHOT + 1];
        world.fails_with_input(&["save", REGION], &too_large, FULL, "65536");
        world.fails(&["save", REGION, "/nonexistent"], 1, "/nonexistent");
    }

    /// An owner that lives: nobody deletes, clears or saves beside it.
    fn beside_a_live_owner(&self) {
        let mut command = self.world.command(["append", REGION, "--lines"]);
        let mut owner = command.stdin(Stdio::piped()).spawn().unwrap();
        while !self.is_owned() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        self.world
            .fails(&["region", "rm", REGION, "--yes"], OWNED, REGION);
        self.world.fails(&["clear", REGION, "--yes"], OWNED, REGION);
        self.world.fails(&["save", REGION, "/dev/null"], OWNED, REGION);
        drop(owner.stdin.take());
        assert!(owner.wait().unwrap().success());
    }

    fn is_owned(&self) -> bool {
        let shown = self.world.json(&["region", "show", REGION]);
        shown[0]["owner_alive"] == true
    }
}

#[test]
fn only_a_confirmed_delete_ends_the_last_verified_checkpoint() {
    let mut model = Model::begin();
    let alice = model.world.path("alice.json");
    let alice = alice.to_str().unwrap().to_owned();
    model.world.ok(&["access", "issue", "alice", "--output", &alice]);
    for step in 0..STEPS {
        // Spread as by chance, and the same each time.
        let chance = u64::from_le_bytes(noise(SEED + step, 8).try_into().unwrap()) >> 33;
        let name = match chance % 12 {
            0 | 1 => {
                model.save();
                "save"
            }
            2 => {
                model.clear();
                "clear"
            }
            3 => {
                model.clear();
                model.world.ok(&["clear", REGION, "--yes"]);
                "clear twice"
            }
            4 => {
                model.append_until_full();
                "a full journal"
            }
            5 => {
                model.resize();
                "resize"
            }
            6 | 7 => {
                model.kill_save();
                "a killed save"
            }
            8 => {
                model.kill_serve();
                "a killed server"
            }
            9 => {
                model.check();
                "a repair"
            }
            10 => {
                model.mistakes(&alice);
                "mistakes"
            }
            _ => {
                model.beside_a_live_owner();
                "a live owner"
            }
        };
        println!("{name}");
        model.look(name);
    }
    model.world.ok(&["region", "rm", REGION, "--yes"]);
    model.world.fails(&["load", REGION], NO_SUCH_REGION, REGION);
    model
        .world
        .fails(&["load", REGION, "--cleared"], NO_SUCH_REGION, REGION);
}
