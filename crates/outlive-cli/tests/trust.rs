//! Trust folders: made at the first start, kept, one's own, replaced while a server runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::{Process, World};

fn trust(world: &World) -> PathBuf {
    world.path("unit.media.trust")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn serve_arguments(world: &World) -> Vec<String> {
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
    arguments.map(str::to_owned).to_vec()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// Tries again until it holds.
fn eventually(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "not within a minute");
    }
}

#[test]
fn a_first_start_makes_what_only_its_user_can_read() {
    let world = World::new();
    let serve = world.serve();
    assert_eq!(serve.ready["trust"], trust(&world).to_str().unwrap());
    assert_eq!(mode(&trust(&world)), 0o700);
    assert_eq!(mode(&world.path("context.json")), 0o600);
    for name in ["authority", "server", "administrator"] {
        let key = trust(&world).join(format!("{name}.key.pem"));
        assert_eq!(mode(&key), 0o600, "{name}");
        assert!(trust(&world).join(format!("{name}.pem")).exists(), "{name}");
    }
    let limits = read(Path::new(&format!("/proc/{}/limits", serve.process.id())));
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    assert_eq!(core.unwrap().split_whitespace().nth(4), Some("0"), "{limits}");
}

#[test]
fn a_first_start_that_is_killed_leaves_nothing_half_written() {
    let world = World::new();
    for wait_ms in [0, 3, 6, 10, 15, 20, 30, 50] {
        let process = Process::start(world.command(serve_arguments(&world)));
        // Anywhere into the start: this is what is tried here.
        std::thread::sleep(Duration::from_millis(wait_ms));
        process.kill();
    }
    let serve = world.serve();
    world.ok(&["status"]);
    let authority = read(&trust(&world).join("authority.pem"));
    let before = serve.kill();
    let _serve = world.serve_again(&before);
    world.ok(&["status"]);
    assert_eq!(read(&trust(&world).join("authority.pem")), authority);
}

#[test]
fn ones_own_authority_is_used_and_not_touched() {
    let world = World::new();
    let before = world.serve().stop();
    let files = trust(&world);
    // The authority's key is somewhere else, and the administrator has taken its own along.
    fs::rename(files.join("authority.key.pem"), world.path("authority.key.pem")).unwrap();
    fs::rename(
        files.join("administrator.key.pem"),
        world.path("administrator.key.pem"),
    )
    .unwrap();
    let context = world.path("context.json");
    let kept = read(&context);
    let server = read(&files.join("server.pem"));
    let serve = world.serve_again(&before);
    assert!(serve.ready["context"].is_null(), "nobody's key is here");
    assert_eq!((read(&context), read(&files.join("server.pem"))), (kept, server));
    world.ok(&["region", "ls"]);
    serve.stop();

    fs::remove_file(files.join("server.key.pem")).unwrap();
    let arguments = serve_arguments(&world);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.fails(&arguments, 9, "missing: server.key.pem");
    assert!(!files.join("server.key.pem").exists());
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let world = World::new();
    world.serve().stop();
    let key = trust(&world).join("server.key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let arguments = serve_arguments(&world);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.fails(&arguments, 9, "chmod 600");
}

#[test]
fn replaced_certificates_count_without_a_restart() {
    let (world, other) = (World::new(), World::new());
    let serve = world.serve();
    other.serve().stop();
    let mut theirs: Value = serde_json::from_str(&read(&other.path("context.json"))).unwrap();
    theirs["control"] = serve.ready["control"].clone();
    let context = world.path("theirs.json");
    fs::write(&context, theirs.to_string()).unwrap();
    fs::set_permissions(&context, fs::Permissions::from_mode(0o600)).unwrap();
    let list = ["region", "ls", "--context", context.to_str().unwrap()];
    world.fails(&list, 9, "cannot be trusted");
    world.ok(&["region", "create", "orders", "--size", "1MiB"]);

    for name in ["server.key.pem", "server.pem", "authority.pem"] {
        let staged = trust(&world).join("staged");
        fs::copy(trust(&other).join(name), &staged).unwrap();
        fs::rename(&staged, trust(&world).join(name)).unwrap();
    }
    serve.process.signal(Signal::HUP);
    eventually(|| world.run(&list).code == 0);
    assert!(
        String::from_utf8(world.ok(&list)).unwrap().contains("orders"),
        "same name, same rights"
    );
    world.fails(&["region", "ls"], 9, "cannot be trusted");
}

#[test]
fn a_server_covers_the_addresses_that_it_is_told_of() {
    let world = World::new();
    let mut arguments = serve_arguments(&world);
    arguments.extend([
        "--json".to_owned(),
        "--advertise-control".to_owned(),
        "unit.example:7780".to_owned(),
    ]);
    let serve = Process::start(world.command(&arguments));
    let ready = serve.json_line();
    assert_eq!(ready["control"], "unit.example:7780");
    // Nobody resolves that name here; the address does, and the name is what the certificate is checked for.
    let mut context: Value = serde_json::from_str(&read(&world.path("context.json"))).unwrap();
    assert_eq!(context["control"], "unit.example:7780");
    let listening = listening_ports(serve.id());
    context["server_name"] = "unit.example".into();
    let reached = listening.iter().any(|port| {
        context["control"] = format!("127.0.0.1:{port}").into();
        let path = world.path("named.json");
        fs::write(&path, context.to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let arguments = ["status", "--retry-for", "0s", "--context", path.to_str().unwrap()];
        world.run(&arguments).code == 0
    });
    assert!(reached, "{listening:?}");
}

#[test]
fn a_client_that_fails_shows_no_key() {
    let (world, other) = (World::new(), World::new());
    let (_serve, elsewhere) = (world.serve(), other.serve());
    let good: Value = serde_json::from_str(&read(&world.path("context.json"))).unwrap();
    let theirs: Value = serde_json::from_str(&read(&other.path("context.json"))).unwrap();
    let key = good["key"].as_str().unwrap();
    let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    let with = |name: &str, value: Value| {
        let mut context = good.clone();
        context[name] = value;
        context
    };
    let contexts = [
        good.clone(),
        with("control", elsewhere.ready["control"].clone()),
        with("authority", theirs["authority"].clone()),
        with("certificate", theirs["certificate"].clone()),
        with("certificate", "nowhere.pem".into()),
        with("key", key.replacen('M', "N", 1).into()),
        with("key", lines.concat().into()),
        with("key", lines.join("\n").into()),
        with("version", 1.into()),
    ];
    for (number, context) in contexts.iter().enumerate() {
        let path = world.path("tried.json");
        fs::write(&path, context.to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let arguments = [
            "status",
            "-vvv",
            "--retry-for",
            "0s",
            "--context",
            path.to_str().unwrap(),
        ];
        let outcome = world.run(&arguments);
        assert_eq!(outcome.code == 0, number == 0, "{number}: {}", outcome.stderr);
        let said = outcome.text() + &outcome.stderr;
        for line in &lines {
            assert!(!said.contains(line), "{number} shows the key: {said}");
        }
    }
}

/// The ports on which a process listens.
fn listening_ports(process: u32) -> Vec<u16> {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    read(Path::new("/proc/net/tcp"))
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let ours = sockets.contains(&format!("socket:[{}]", fields[9]));
            let (_, port) = fields[1].split_once(':')?;
            (ours && fields[3] == "0A").then(|| u16::from_str_radix(port, 16).ok())?
        })
        .collect()
}
