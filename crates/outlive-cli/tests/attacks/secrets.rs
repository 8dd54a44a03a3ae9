//! Keys and ticket secrets are looked for wherever somebody else may look: logs, outputs, arguments, the environment,
//! the audit log, and what files let others do.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use outlive::RegionSpec;
use outlive_fabric::{Ticket, TicketSecret};
use outlive_proto::v1::Role;
use serde_json::Value;

use crate::people::People;
use crate::session;
use crate::support::World;
use crate::wire::{Control, ticket_of};

/// A server that logs all it can into a file.
struct Talkative {
    child: Child,
    log: PathBuf,
    ready: Value,
}

impl Talkative {
    fn start(world: &World) -> Self {
        let log = world.path("log");
        let media = format!("file:{},size=64MiB", world.medium().display());
        let mut command: Command = world.command([
            "serve",
            "--json",
            "--media",
            &media,
            "--control",
            "127.0.0.1:0",
            "--data",
            "127.0.0.1:0",
        ]);
        command.env("RUST_LOG", "trace").stdout(Stdio::piped());
        command.stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = serde_json::from_str(&line).unwrap();
        Self { child, log, ready }
    }
}

impl Drop for Talkative {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every way in which a secret could be written.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{:?}", &secret[..8]);
    let list = list.trim_matches(['[', ']']).to_owned();
    let spaced = format!("{:02x?}", &secret[..8]);
    let spaced = spaced.trim_matches(['[', ']']).to_owned();
    vec![
        secret[..8].to_vec(),
        hex.as_bytes()[..16].to_vec(),
        hex[..16].to_uppercase().into_bytes(),
        list.into_bytes(),
        spaced.into_bytes(),
    ]
}

/// The lines of a private key's PEM, each of which would give a part of it away.
fn key_lines(pem: &str) -> Vec<Vec<u8>> {
    let lines = pem
        .lines()
        .filter(|line| line.len() >= 40 && !line.starts_with("-----"));
    let lines: Vec<_> = lines.map(|line| line.as_bytes().to_vec()).collect();
    assert!(!lines.is_empty(), "a key");
    lines
}

#[test]
fn no_secret_is_written_where_others_may_read_it() {
    let world = World::new();
    let serve = Talkative::start(&world);
    let people = People::of(&world);
    let session = session(&world);
    session.create("target", &RegionSpec::raw(1 << 20)).unwrap();
    let mut outputs: Vec<(String, Vec<u8>)> = Vec::new();
    let issued = world.path("tenant.json");
    for arguments in [
        &["access", "issue", "tenant", "--output", issued.to_str().unwrap()][..],
        &[
            "access",
            "issue",
            "tenant",
            "--json",
            "--output",
            issued.to_str().unwrap(),
        ],
        &["access", "ls", "--json"],
        &["access", "whoami", "--json"],
        &["region", "show", "target", "--json", "--address-context"],
        &["status", "--json"],
        &[
            "access",
            "issue",
            "system/unit",
            "--output",
            issued.to_str().unwrap(),
        ],
        &["status", "--context", "/nowhere/context.json"],
        &["--nonsense"],
    ] {
        let mut command = world.command(arguments);
        let output = command.env("RUST_LOG", "trace").output().unwrap();
        outputs.push((format!("{arguments:?}"), [output.stdout, output.stderr].concat()));
    }
    // Tickets that are used, refused, and answered wrongly.
    let mut secrets: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
    for (number, wrong) in [false, true].into_iter().enumerate() {
        let ticket = ticket_of(&Control::of(&world).open("target", Role::Primary));
        secrets.push((format!("ticket {number}"), spellings(ticket.secret.as_bytes())));
        let shown = Ticket {
            secret: if wrong {
                TicketSecret::new([1; 32])
            } else {
                ticket.secret.clone()
            },
            ..ticket
        };
        let mut stream = std::net::TcpStream::connect(serve.ready["data"].as_str().unwrap()).unwrap();
        outlive_fabric::testing::raw::greet(&mut stream, &shown).unwrap();
        outputs.push((
            format!("Debug of ticket {number}"),
            format!("{shown:?}").into_bytes(),
        ));
    }
    let tenant = people.credentials("tenant");
    outputs.push((
        "Debug of credentials".to_owned(),
        format!("{tenant:?}").into_bytes(),
    ));
    secrets.push(("a tenant's key".to_owned(), key_lines(&tenant.key_pem)));
    let context = outlive::Context::load(&world.path("context.json")).unwrap();
    outputs.push((
        "Debug of a context".to_owned(),
        format!("{context:?} {session:?}", session = "").into_bytes(),
    ));
    for name in ["authority.key.pem", "server.key.pem"] {
        let pem = std::fs::read_to_string(world.trust().join(name)).unwrap();
        secrets.push((name.to_owned(), key_lines(&pem)));
    }
    for path in [world.path("context.json"), issued] {
        let value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        secrets.push((
            path.display().to_string(),
            key_lines(value["key"].as_str().unwrap()),
        ));
    }
    let process = format!("/proc/{}", serve.child.id());
    for path in [
        serve.log.clone(),
        world.trust().join("audit.jsonl"),
        Path::new(&process).join("cmdline"),
        Path::new(&process).join("environ"),
    ] {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.is_empty(), "{}", path.display());
        outputs.push((path.display().to_string(), bytes));
    }
    for (whose, spellings) in &secrets {
        for (place, bytes) in &outputs {
            for spelling in spellings {
                let found = bytes.windows(spelling.len()).any(|window| window == spelling);
                assert!(!found, "{whose} stands in {place}");
            }
        }
    }
}

#[test]
fn files_with_secrets_are_their_owners_only() {
    let world = World::new();
    let _serve = world.serve();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.trust()), 0o700);
    let mut keys = 0;
    for entry in std::fs::read_dir(world.trust()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".key.pem") || name.ends_with(".jsonl") {
            assert_eq!(mode(&path), 0o600, "{name}");
            keys += usize::from(name.ends_with(".key.pem"));
        }
        assert_eq!(mode(&path) & 0o022, 0, "{name} can be changed by others");
    }
    assert!(keys >= 2, "{keys} keys");
    assert_eq!(mode(&world.path("context.json")), 0o600);
    assert_eq!(mode(&world.medium()), 0o600);
}
