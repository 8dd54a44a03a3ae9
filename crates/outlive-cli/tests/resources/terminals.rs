//! What a shell gives a command, or does not.

use std::ffi::OsStr;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use crate::ends_well;
use crate::support::World;

/// A closed standard input is not an empty state: nothing replaces the last one because a job's input was forgotten.
#[test]
fn a_closed_input_is_not_an_empty_set() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok_with_input(&["save", "orders"], b"state");
    for arguments in [
        &["save", "orders"][..],
        &["append", "orders"],
        &["append", "orders", "--lines"],
    ] {
        let mut command = world.wrapped("sh", &["-c", "exec \"$0\" \"$@\" <&-"], arguments);
        let outcome = ends_well(&mut command, &[2]);
        assert!(
            outcome.stderr.contains("standard input is closed"),
            "{}",
            outcome.stderr
        );
    }
    assert_eq!(world.ok(&["load", "orders"]), b"state");
    // Who says so may store nothing.
    world.ok(&["append", "orders", "/dev/null"]);
    ends_well(world.command(["save", "orders"]).stdin(Stdio::null()), &[0]);
}

/// Whoever reads the output may stop; a full disk behind it is an error.
#[test]
fn an_output_that_nobody_takes_ends_a_command() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "16MiB"]);
    world.ok_with_input(&["save", "orders"], &[9; 4 << 20]);
    for arguments in [&["load", "orders"][..], &["log", "orders"], &["status", "--json"]] {
        let mut command = world.wrapped(
            "sh",
            &["-c", "\"$0\" \"$@\" | head -c 1 >/dev/null; exit 0"],
            arguments,
        );
        let outcome = ends_well(&mut command, &[0]);
        assert_eq!(outcome.stderr, "", "{arguments:?}");
        let mut command = world.command(arguments);
        let full = command.stdout(Stdio::from(File::create("/dev/full").unwrap()));
        let child = full.spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&child.stderr).into_owned();
        assert_eq!(child.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("No space left"), "{said}");
        ends_well(
            &mut world.wrapped("sh", &["-c", "exec \"$0\" \"$@\" >&-"], arguments),
            &[0, 1],
        );
    }
}

/// No home, no locale, names that are no text: said in one line where it matters, and no matter elsewhere.
#[test]
fn a_bare_environment_and_odd_names_are_no_reason_to_break() {
    let world = World::new();
    let _serve = world.serve();
    let mut bare = world.command(["status"]);
    let outcome = ends_well(bare.env_clear(), &[9]);
    assert!(outcome.stderr.contains("OUTLIVE_CONTEXT"), "{}", outcome.stderr);
    let odd = OsStr::from_bytes(b"odd\xff\xfename");
    let (context, folder) = (world.path("").join(odd), world.path("into").join(odd));
    std::fs::copy(world.path("context.json"), &context).unwrap();
    ends_well(
        world
            .command(["status"])
            .env_clear()
            .env("OUTLIVE_CONTEXT", &context)
            .env("LC_ALL", "C"),
        &[0],
    );
    ends_well(world.command(["status", "--context"]).arg(&context), &[0]);
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok_with_input(&["save", "orders"], b"state");
    ends_well(world.command(["load", "orders", "--into"]).arg(&folder), &[0]);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    let media = OsStr::from_bytes(b"file:odd\xff,size=64MiB");
    ends_well(world.command(["serve", "--media"]).arg(media), &[2]);
}

/// An address that is taken: which, and what to do.
#[test]
fn an_address_in_use_says_what_to_do() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (option, other) in [
        ("--control", "--data"),
        ("--data", "--control"),
        ("--metrics", "--data"),
    ] {
        let media = "memory:size=64MiB";
        let mut arguments = vec!["serve", "--media", media, option, &address, other, "127.0.0.1:0"];
        if option == "--metrics" {
            arguments.extend(["--control", "127.0.0.1:0"]);
        }
        let outcome = ends_well(&mut world.command(arguments), &[1]);
        assert!(outcome.stderr.contains(&address), "{}", outcome.stderr);
        assert!(
            outcome
                .stderr
                .contains(&format!("name another address with {option}")),
            "{}",
            outcome.stderr
        );
    }
    let outcome = ends_well(
        &mut world.command([
            "serve",
            "--media",
            "memory:size=64MiB",
            "--control",
            "192.0.2.1:1",
            "--data",
            "127.0.0.1:0",
        ]),
        &[1],
    );
    assert!(outcome.stderr.contains("no such address"), "{}", outcome.stderr);
}
