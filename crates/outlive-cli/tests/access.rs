//! Identities over the real command: issued, granted, revoked; and what that does to what is open.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use support::{Process, World};

/// Issues an identity; its context file.
fn issue(world: &World, name: &str, more: &[&str]) -> String {
    let path = world.path(&format!("{}.json", name.replace('/', "_")));
    let path = path.to_str().unwrap().to_owned();
    world.ok(&[&["access", "issue", name, "--output", &path], more].concat());
    path
}

/// Arguments, asked by the identity of that context.
fn by<'a>(context: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--context", context]].concat()
}

fn names(regions: &[Value]) -> Vec<String> {
    let list = regions[0].as_array().unwrap().iter();
    list.map(|region| region["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_identity_sees_nothing_until_it_is_granted_something() {
    let world = World::new();
    let serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "1MiB"]);
    world.ok_with_input(&["save", "orders"], b"whole");
    let alice = issue(&world, "alice@ward-7", &[]);
    assert_eq!(fs::metadata(&alice).unwrap().permissions().mode() & 0o777, 0o600);
    let who = world.json(&by(&alice, &["access", "whoami"]));
    assert_eq!(who[0]["name"], "alice@ward-7");
    assert_eq!(
        (&who[0]["administrator"], &who[0]["revoked"]),
        (&false.into(), &false.into())
    );

    assert!(names(&world.json(&by(&alice, &["region", "ls"]))).is_empty());
    // The same as for a region that does not exist.
    let hidden = world.fails(&by(&alice, &["load", "orders"]), 3, "orders");
    let absent = world.fails(&by(&alice, &["load", "nobody"]), 3, "nobody");
    assert_eq!(hidden.replace("orders", "nobody"), absent);
    for arguments in [
        &["region", "create", "hers", "--size", "1MiB"][..],
        &["access", "ls"],
        &["access", "issue", "carol", "--output", "/dev/null/x"],
        &["access", "revoke", "administrator", "--yes"],
        &["region", "ls", "--catalog"],
    ] {
        let outcome = world.run(&by(&alice, arguments));
        assert_ne!(outcome.code, 0, "{arguments:?}");
    }
    world.fails(&by(&alice, &["access", "ls"]), 9, "administrator");

    world.ok(&["region", "grant", "orders", "--reader", "alice@ward-7"]);
    assert_eq!(names(&world.json(&by(&alice, &["region", "ls"]))), ["orders"]);
    assert_eq!(world.ok(&by(&alice, &["load", "orders"])), b"whole");
    world.fails_with_input(&by(&alice, &["save", "orders"]), b"hers", 9, "owner");
    world.ok(&["region", "grant", "orders", "--owner", "alice@ward-7"]);
    world.ok_with_input(&by(&alice, &["save", "orders"]), b"hers");

    // All of it is in the catalog.
    let before = serve.kill();
    let _serve = world.serve_again(&before);
    assert_eq!(world.ok(&by(&alice, &["load", "orders"])), b"hers");
    world.ok(&["region", "deny", "orders", "--owner", "alice@ward-7"]);
    world.ok(&["region", "deny", "orders", "--reader", "alice@ward-7"]);
    world.fails(&by(&alice, &["load", "orders"]), 3, "orders");
}

#[test]
fn a_revocation_ends_what_is_open_and_survives_a_restart() {
    let world = World::new();
    let serve = world.serve();
    let create = ["region", "create", "orders", "--size", "1MiB"];
    world.ok(&[&create[..], &["--owner", "bob", "--reader", "administrator"]].concat());
    let bob = issue(&world, "bob", &[]);
    let mut watch = Process::start(world.command(by(&bob, &["watch", "orders", "--json"])));
    let mut primary = world
        .command(by(&bob, &["append", "orders", "--lines"]))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = primary.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"before\n").unwrap();
    assert_eq!(watch.json_line()["kind"], "update");

    world.fails(&["access", "revoke", "bob"], 14, "--yes");
    let revoked = world.json(&["access", "revoke", "bob", "--yes"]);
    assert_eq!(revoked[0]["revoked"], "bob");
    assert!(revoked[0]["stopped"].as_u64().unwrap() >= 2, "{revoked:?}");
    assert_eq!(watch.wait(), 9);
    std::io::Write::write_all(&mut stdin, b"after\n").unwrap();
    drop(stdin);
    let ended = primary.wait_with_output().unwrap();
    assert_eq!(
        ended.status.code(),
        Some(9),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );

    let before = serve.kill();
    let _serve = world.serve_again(&before);
    world.fails(&by(&bob, &["region", "ls"]), 9, "revoked");
    world.fails(&by(&bob, &["access", "whoami"]), 9, "revoked");
    let known = world.json(&["access", "ls"]);
    let known = known[0].as_array().unwrap();
    let entry = known.iter().find(|entry| entry["name"] == "bob").unwrap();
    assert_eq!(entry["revoked"], true);
    assert_eq!(world.ok(&["load", "orders", "--updates"]), b"before");
    world.ok(&["access", "admit", "bob"]);
    world.ok(&by(&bob, &["load", "orders", "--updates"]));
}

#[test]
fn an_administrator_is_made_and_unmade_but_never_the_last() {
    let world = World::new();
    let _serve = world.serve();
    let deputy = issue(&world, "deputy", &["--administrator"]);
    world.ok(&by(&deputy, &["region", "create", "orders", "--size", "1MiB"]));
    world.ok(&["access", "admit", "deputy"]);
    world.fails(
        &by(&deputy, &["region", "rm", "orders", "--yes"]),
        9,
        "administrator",
    );
    world.ok(&["access", "admit", "deputy", "--administrator"]);
    world.ok(&by(&deputy, &["access", "revoke", "administrator", "--yes"]));
    world.fails(&["region", "ls"], 9, "revoked");
    world.fails(
        &by(&deputy, &["access", "revoke", "deputy", "--yes"]),
        2,
        "last administrator",
    );
}

#[test]
fn issuing_writes_one_private_file_and_replaces_none_unasked() {
    let world = World::new();
    let serve = world.serve();
    let bob = issue(&world, "bob", &[]);
    let first = fs::read(&bob).unwrap();
    let again = ["access", "issue", "bob", "--output", &bob];
    world.fails(&again, 2, "--force");
    world.fails(&[&again[..], &["--force"]].concat(), 2, "--renew");
    assert_eq!(
        fs::read(&bob).unwrap(),
        first,
        "refused before anything was written"
    );
    world.ok(&[&again[..], &["--renew", "--force"]].concat());
    assert_ne!(fs::read(&bob).unwrap(), first);
    world.ok(&by(&bob, &["access", "whoami"]));
    // The certificate so far counts, too, until it expires.
    let kept = world.path("kept.json");
    fs::write(&kept, &first).unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
    world.ok(&by(kept.to_str().unwrap(), &["access", "whoami"]));

    for (name, code, text) in [
        ("system/manager", 2, "system/"),
        ("no good", 2, "identity's name"),
        ("-x", 2, ""),
    ] {
        let path = world.path("never.json");
        world.fails(
            &["access", "issue", name, "--output", path.to_str().unwrap()],
            code,
            text,
        );
        assert!(!path.exists());
    }
    let unwritable = ["access", "issue", "carol", "--output", "/proc/carol.json"];
    world.fails(&unwritable, 1, "--output");
    let known = String::from_utf8(world.ok(&["access", "ls"])).unwrap();
    assert!(
        known.contains("bob") && !known.contains("carol"),
        "nothing was signed in vain: {known}"
    );

    // By default beside whoever asks, under a name without folders.
    let mut command = world.command(["access", "issue", "team/dave"]);
    let folder = world.path("elsewhere");
    fs::create_dir(&folder).unwrap();
    assert!(command.current_dir(&folder).status().unwrap().success());
    assert!(folder.join("team_dave.context.json").exists());
    drop(serve);
}

#[test]
fn a_certificate_that_has_expired_is_told_so() {
    let world = World::new();
    let _serve = world.serve();
    let brief = issue(&world, "brief", &["--valid", "1s"]);
    let began = std::time::Instant::now();
    loop {
        let outcome = world.run(&by(&brief, &["region", "ls"]));
        if outcome.code == 9 {
            assert!(outcome.stderr.contains("expired"), "{}", outcome.stderr);
            break;
        }
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert!(began.elapsed().as_secs() < 60, "it never expires");
    }
}

#[test]
fn ones_own_authority_issues_nothing_here_and_admits() {
    let world = World::new();
    let serve = world.serve();
    // Signed before the key was taken away: a certificate of one's own authority, as far as the server knows.
    let erin = issue(&world, "erin", &[]);
    let before = serve.stop();
    fs::remove_file(world.path("unit.media.trust").join("authority.key.pem")).unwrap();
    let _serve = world.serve_again(&before);
    let path = world.path("frank.json");
    world.fails(
        &["access", "issue", "frank", "--output", path.to_str().unwrap()],
        2,
        "outlive access admit frank",
    );
    world.ok(&["access", "admit", "erin", "--administrator"]);
    world.ok(&by(&erin, &["region", "create", "orders", "--size", "1MiB"]));
}
