//! Media that are not what they should be.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::process::Command;

use crate::descriptors::serve_with_log;
use crate::ends_well;
use crate::support::World;

/// A medium that is not one of ours, or not of this version, or not whole, is refused by name and left as it is, by the unit and by the check.
#[test]
fn what_is_no_medium_is_refused_and_left_alone() {
    let world = World::new();
    world.serve().stop();
    let whole = fs::read(world.medium()).unwrap();
    let edited = |at: &[usize]| {
        let mut bytes = whole.clone();
        at.iter().for_each(|at| bytes[*at] ^= 0x40);
        bytes
    };
    let copies = |at: usize| [at, at + 4096];
    let cases = [
        ("magic", edited(&copies(0))),
        ("version", edited(&copies(8))),
        ("checksum", edited(&copies(100))),
        ("short", whole[..whole.len() - 4096].to_vec()),
        ("stub", whole[..9000].to_vec()),
        ("long", [&whole[..], &[0; 8192]].concat()),
        ("text", b"Dear diary, ".repeat(10_000)),
    ];
    for (name, bytes) in cases {
        let path = world.path(name);
        fs::write(&path, &bytes).unwrap();
        refuse(&world, path.to_str().unwrap(), &[11, 12, 13]);
        assert!(fs::read(&path).unwrap() == bytes, "{name} was left as it was");
    }
}

/// What is no file at all: refused at once, without waiting for whoever has the other end.
#[test]
fn what_is_no_file_is_refused_at_once() {
    let world = World::new();
    let pipe = world.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let folder = world.path("folder");
    fs::create_dir(&folder).unwrap();
    for path in [
        pipe.to_str().unwrap(),
        folder.to_str().unwrap(),
        "/dev/full",
        "/dev/zero",
    ] {
        let said = refuse(&world, path, &[12]);
        assert!(said.contains("not a regular file"), "{said}");
    }
}

/// One unit for each medium, under whatever name; the check is told to wait, too. Whoever is killed leaves no lock behind.
#[test]
fn a_medium_belongs_to_one_unit_under_every_name() {
    let world = World::new();
    let serve = world.serve();
    let (hard, soft) = (world.path("hard"), world.path("soft"));
    fs::hard_link(world.medium(), &hard).unwrap();
    symlink(world.medium(), &soft).unwrap();
    let around = world
        .path("../")
        .join(world.path("").file_name().unwrap())
        .join("unit.media");
    for path in [&world.medium(), &hard, &soft, &around] {
        let said = refuse(&world, path.to_str().unwrap(), &[12]);
        assert!(said.contains("in use"), "{said}");
    }
    world.ok(&["status"]);
    serve.kill();
    world.ok(&["fsck", hard.to_str().unwrap()]);
    world.serve().stop();
}

/// A medium that somebody cuts off under its unit: what is gone cannot be promised any more, and is not.
#[test]
fn a_medium_that_is_cut_off_in_use_is_given_up() {
    let world = World::new();
    let log = world.path("server.log");
    let (serve, _) = serve_with_log(&world, &log);
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok_with_input(&["save", "orders"], b"state");
    let file = OpenOptions::new().write(true).open(world.medium()).unwrap();
    file.set_len(32 << 20).unwrap();
    // Nothing is acknowledged from then on, whoever asks.
    for _ in 0..2 {
        let outcome = world.run_with_input(&["--retry-for", "1s", "append", "orders"], b"more");
        assert!([10, 12].contains(&outcome.code), "{}", outcome.stderr);
    }
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(
        said.contains("truncated it from 67108864 to 33554432 bytes"),
        "{said}"
    );
    drop(serve);
    refuse(&world, world.medium().to_str().unwrap(), &[11, 12, 13]);
    // With its length back it is what it was: nothing lay in the part that went.
    file.set_len(64 << 20).unwrap();
    file.sync_all().unwrap();
    let mut begin = [0; 8];
    fs::File::open(world.medium())
        .unwrap()
        .read_exact_at(&mut begin, 0)
        .unwrap();
    assert_eq!(begin, *b"OUTLIVE\x01");
    let _serve = world.serve();
    assert_eq!(world.ok(&["load", "orders"]), b"state");
}

/// Neither a unit nor a check takes it; what they say is one line each, and the same is said twice.
fn refuse(world: &World, path: &str, codes: &[i32]) -> String {
    let media = format!("file:{path}");
    let other = world.path("other.json");
    let arguments = [
        "--context",
        other.to_str().unwrap(),
        "serve",
        "--media",
        &media,
        "--control",
        "127.0.0.1:0",
        "--data",
        "127.0.0.1:0",
    ];
    let served = ends_well(&mut world.command(arguments), codes);
    let checked = ends_well(&mut world.command(["fsck", path]), codes);
    assert!(
        !other.exists(),
        "nothing is made beside a medium that is not this server's"
    );
    served.stderr + &checked.stderr
}
