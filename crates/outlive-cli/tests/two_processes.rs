//! Unit and manager as two processes: each knows the other, either may be killed, and nobody else manages anything
//! (M3, M8).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outlive::{Context, OpenOptions, RegionSpec, Session, SessionOptions};
use outlive_fabric::tcp::{ConnectOptions, connect};
use outlive_fabric::{FabricError, Refusal, RegionId, Rights, Terms, Ticket};
use outlive_identity::{Authority, Credentials, DEFAULT_VALIDITY, Folder, Party};
use serde_json::Value;
use support::{Process, World, noise};

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
const NO_ACCESS: i32 = 9;
const UNREACHABLE: i32 = 10;

/// A unit and its manager, with one trust folder on one machine.
struct Pair {
    world: World,
}

/// A running `outlive unit` or `outlive manager`.
struct Running {
    process: Process,
    ready: Value,
}

impl Running {
    fn start(command: std::process::Command) -> Self {
        let process = Process::start(command);
        let ready = process.json_line();
        assert_eq!(ready["event"], "ready");
        Self { process, ready }
    }

    fn address(&self, name: &str) -> String {
        self.ready[name].as_str().expect("an address").to_owned()
    }

    /// SIGTERM, and a clean end.
    fn stop(mut self) {
        self.process.signal(rustix::process::Signal::TERM);
        assert_eq!(self.process.wait(), 0);
    }
}

impl Pair {
    fn new() -> Self {
        Self { world: World::new() }
    }

    fn trust(&self) -> PathBuf {
        self.world.path("trust")
    }

    fn unit_on(&self, trust: &Path, admin: &str, data: &str) -> Running {
        self.unit_with(trust, admin, data, "off")
    }

    fn unit_with(&self, trust: &Path, admin: &str, data: &str, data_tls: &str) -> Running {
        let media = format!("file:{},size=64MiB", self.world.medium().display());
        let trust = trust.to_str().unwrap();
        let arguments = [
            "unit",
            "--json",
            "--media",
            &media,
            "--admin",
            admin,
            "--data",
            data,
            "--trust",
            trust,
            "--data-tls",
            data_tls,
        ];
        Running::start(self.world.command(arguments))
    }

    fn unit(&self) -> Running {
        self.unit_on(&self.trust(), "127.0.0.1:0", "127.0.0.1:0")
    }

    /// Starts the unit again, where it was before.
    fn unit_again(&self, before: &Value) -> Running {
        let address = |name: &str| before[name].as_str().unwrap();
        self.unit_on(&self.trust(), address("admin"), address("data"))
    }

    fn manager_arguments(&self, trust: &Path, unit: &str, control: &str, context: &str) -> Vec<String> {
        let context = self.world.path(context);
        let words = [
            "manager",
            "--json",
            "--unit",
            unit,
            "--control",
            control,
            "--trust",
            trust.to_str().unwrap(),
            "--context",
            context.to_str().unwrap(),
        ];
        words.map(str::to_owned).to_vec()
    }

    fn manager_with(&self, unit: &Running, control: &str, context: &str) -> Running {
        let arguments = self.manager_arguments(&self.trust(), &unit.address("admin"), control, context);
        Running::start(self.world.command(arguments))
    }

    fn manager(&self, unit: &Running) -> Running {
        self.manager_with(unit, "127.0.0.1:0", "context.json")
    }

    /// A manager that must not get to work: how it ended, and what it said.
    fn refused_manager(&self, trust: &Path, unit: &Running) -> String {
        let arguments = self.manager_arguments(trust, &unit.address("admin"), "127.0.0.1:0", "refused.json");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let outcome = self.world.run(&arguments);
        assert_eq!(outcome.code, NO_ACCESS, "{}", outcome.stderr);
        assert_eq!(outcome.stdout, b"");
        outcome.stderr
    }

    fn session(&self) -> Session {
        let context = Context::load(&self.world.path("context.json")).unwrap();
        let options = SessionOptions { retry_for: PATIENCE };
        Session::connect_with(&context, options).unwrap()
    }

    fn authority(&self) -> Authority {
        let folder = Folder::open(&self.trust(), &[]).unwrap();
        folder.authority().unwrap().unwrap()
    }

    /// A trust folder as somebody makes it who was given certificates: no authority's key.
    fn given(&self, name: &str, roots: &str, certificates: &[(&str, &Credentials)]) -> PathBuf {
        let folder = self.world.path(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let write = |name: String, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("authority.pem".into(), roots);
        for (stem, credentials) in certificates {
            write(format!("{stem}.pem"), &credentials.certificate_pem);
            write(format!("{stem}.key.pem"), &credentials.key_pem);
        }
        folder
    }
}

fn audit(trust: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(trust.join(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn made_up_ticket() -> Ticket {
    let terms = Terms {
        identity: "administrator".into(),
        region: RegionId([1; 16]),
        generation: 1,
        rights: Rights::Read,
        incarnation: 2,
    };
    Ticket::random(terms).unwrap()
}

#[test]
fn regions_are_served_through_both_and_both_end_cleanly() {
    let pair = Pair::new();
    let unit = pair.unit();
    let manager = pair.manager(&unit);
    let world = &pair.world;
    world.ok(&["region", "create", "orders", "--size", "8MiB"]);
    world.ok_with_input(&["save", "orders"], &noise(1, 1_000_000));
    world.ok_with_input(&["append", "orders", "--lines"], b"one\ntwo\n");
    assert!(world.ok(&["load", "orders"]) == noise(1, 1_000_000));
    assert_eq!(
        world.ok(&["load", "orders", "--updates", "--lines"]),
        b"one\ntwo\n"
    );
    let status = world.json(&["status"]).remove(0);
    assert_eq!(status["units"][0]["data_address"], unit.ready["data"]);

    let lines = audit(&pair.trust(), "audit.unit.jsonl");
    let of = |act: &str| lines.iter().filter(|line| line["act"] == act).count();
    assert_eq!(of("attach"), 1);
    assert!(of("connect") >= 3, "{lines:?}");
    // The manager goes first, or last: the unit does not mind.
    manager.stop();
    unit.stop();
}

#[test]
fn an_encrypted_unit_is_managed_and_used_and_its_new_certificate_found_after_a_restart() {
    let pair = Pair::new();
    let unit = pair.unit_with(&pair.trust(), "127.0.0.1:0", "127.0.0.1:0", "require");
    let _manager = pair.manager(&unit);
    let world = &pair.world;
    world.ok(&["region", "create", "orders", "--size", "8MiB"]);
    world.ok_with_input(&["save", "orders"], &noise(1, 1_000_000));
    let before = unit.ready.clone();
    unit.process.kill();
    let address = |name: &str| before[name].as_str().unwrap();
    let _unit = pair.unit_with(&pair.trust(), address("admin"), address("data"), "require");
    assert!(world.ok(&["load", "orders", "--retry-for", "60s"]) == noise(1, 1_000_000));
}

#[test]
fn a_manager_waits_for_its_unit() {
    let pair = Pair::new();
    let vacant = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let arguments = pair.manager_arguments(&pair.trust(), &vacant.to_string(), "127.0.0.1:0", "context.json");
    let manager = Process::start(pair.world.command(arguments));
    // Either may have made the trust folder.
    let unit = pair.unit_on(&pair.trust(), &vacant.to_string(), "127.0.0.1:0");
    assert_eq!(manager.json_line()["unit"], unit.ready["admin"]);
    pair.world.ok(&["region", "create", "orders", "--size", "1MiB"]);
}

#[test]
fn a_killed_manager_disturbs_no_writer_and_is_replaced_by_starting_it_again() {
    let pair = Pair::new();
    let unit = pair.unit();
    let manager = pair.manager(&unit);
    let control = manager.address("control");
    let session = pair.session();
    session
        .create("orders", &RegionSpec::checkpoint(4 << 20))
        .unwrap();
    let primary = session.primary("orders", &OpenOptions::default()).unwrap();
    primary.append(b"before").unwrap().wait().unwrap();
    let generation = primary.generation();

    manager.process.kill();
    for number in 0..50_u64 {
        primary.append(number.to_le_bytes()).unwrap().wait().unwrap();
    }
    let _manager = pair.manager_with(&unit, &control, "context.json");
    let region = pair.session().describe("orders").unwrap();
    // Still the same owner, on the same connection.
    assert!(region.owner_alive);
    assert_eq!(region.generation, generation);
    primary.append(b"after").unwrap().wait().unwrap();
    primary.close().unwrap();
    let updates = pair.world.json(&["load", "orders", "--updates"]);
    assert_eq!(updates.len(), 52);
    assert_eq!(updates[51]["text"], "after");
}

#[test]
fn a_unit_whose_manager_does_not_come_serves_nothing() {
    let pair = Pair::new();
    let unit = pair.unit();
    let manager = pair.manager(&unit);
    let control = manager.address("control");
    pair.world.ok(&["region", "create", "orders", "--size", "8MiB"]);
    pair.world.ok_with_input(&["save", "orders"], b"kept");
    manager.stop();
    let before = unit.ready.clone();
    unit.process.kill();
    let unit = pair.unit_again(&before);
    let connected = pair.world.run(&["load", "orders", "--retry-for", "0s"]);
    assert_eq!((connected.code, connected.text().as_str()), (UNREACHABLE, ""));
    // Only a manager makes tickets, and without one nobody gets in.
    let refused = connect(
        &unit.address("data"),
        &made_up_ticket(),
        &ConnectOptions::default(),
    )
    .err();
    assert!(
        matches!(refused, Some(FabricError::Refused(Refusal::Ticket))),
        "{refused:?}"
    );

    let _manager = pair.manager_with(&unit, &control, "context.json");
    assert_eq!(pair.world.ok(&["load", "orders"]), b"kept");
}

#[test]
fn a_killed_unit_is_found_again_by_its_manager() {
    let pair = Pair::new();
    let unit = pair.unit();
    let mut manager = pair.manager(&unit);
    pair.world.ok(&["region", "create", "orders", "--size", "8MiB"]);
    pair.world.ok_with_input(&["save", "orders"], b"kept");
    let before = unit.ready.clone();
    unit.process.kill();
    pair.world
        .fails(&["status", "--retry-for", "0s"], UNREACHABLE, "unit");

    let unit = pair.unit_again(&before);
    assert_eq!(
        unit.ready["incarnation"].as_u64().unwrap(),
        before["incarnation"].as_u64().unwrap() + 1
    );
    assert_eq!(pair.world.ok(&["load", "orders", "--retry-for", "60s"]), b"kept");
    pair.world.ok_with_input(&["append", "orders"], b"more");
    assert!(!manager.process.has_ended());
}

#[test]
fn an_impostor_manager_programs_nothing() {
    let pair = Pair::new();
    let unit = pair.unit();
    let _manager = pair.manager(&unit);
    pair.world.ok(&["region", "create", "orders", "--size", "8MiB"]);
    let authority = pair.authority();
    let server = |authority: &Authority| {
        let hosts = ["127.0.0.1".to_owned()];
        authority
            .issue_server(&Party::Server.name(), &hosts, DEFAULT_VALIDITY)
            .unwrap()
    };
    let client = |authority: &Authority, name: &str| {
        authority
            .issue_client(&name.parse().unwrap(), DEFAULT_VALIDITY)
            .unwrap()
    };
    // What a tenant has, and what an administrator has.
    for (number, name) in ["tenant", "administrator"].into_iter().enumerate() {
        let own = client(&authority, name);
        let certificates = [
            ("manager", &own),
            ("server", &server(&authority)),
            ("administrator", &own),
        ];
        let folder = pair.given(
            &format!("given{number}"),
            authority.certificate_pem(),
            &certificates,
        );
        let said = pair.refused_manager(&folder, &unit);
        assert!(
            said.contains(&format!("{name} is not one of the managers")),
            "{said}"
        );
    }
    // The right name, signed by somebody else; who trusts the unit, but whom the unit does not trust.
    let foreign = Authority::generate().unwrap();
    let own = client(&foreign, "system/manager");
    let certificates = [
        ("manager", &own),
        ("server", &server(&foreign)),
        ("administrator", &own),
    ];
    let folder = pair.given("foreign", authority.certificate_pem(), &certificates);
    let said = pair.refused_manager(&folder, &unit);
    assert!(said.contains("refused our certificate"), "{said}");

    // The one in charge was not disturbed, and the attempts stand in the log.
    pair.world
        .ok_with_input(&["save", "orders", "--retry-for", "0s"], b"served");
    let lines = audit(&pair.trust(), "audit.unit.jsonl");
    for name in ["tenant", "administrator"] {
        let refused = lines
            .iter()
            .find(|line| line["identity"] == name && line["outcome"] == "refused");
        assert_eq!(refused.expect("a line")["act"], "attach");
    }
}

#[test]
fn an_impostor_unit_is_named_and_not_used() {
    let pair = Pair::new();
    // Makes the authority, and ends.
    pair.unit().stop();
    let authority = pair.authority();
    let hosts = ["127.0.0.1".to_owned()];
    let impostors = [
        // A client's certificate, even of the right name.
        authority
            .issue_client(&Party::Unit.name(), DEFAULT_VALIDITY)
            .unwrap(),
        // Another server of the same authority.
        authority
            .issue_server(&Party::Server.name(), &hosts, DEFAULT_VALIDITY)
            .unwrap(),
        // Another authority.
        Authority::generate()
            .unwrap()
            .issue_server(&Party::Unit.name(), &hosts, DEFAULT_VALIDITY)
            .unwrap(),
    ];
    for (number, credentials) in impostors.iter().enumerate() {
        let name = format!("impostor{number}");
        let folder = pair.given(&name, authority.certificate_pem(), &[("unit", credentials)]);
        let unit = pair.unit_on(&folder, "127.0.0.1:0", "127.0.0.1:0");
        let said = pair.refused_manager(&pair.trust(), &unit);
        assert!(said.contains("cannot be trusted"), "{said}");
        assert!(said.contains(&unit.address("admin")), "{said}");
        unit.stop();
    }
}

#[test]
fn of_two_managers_the_later_one_is_in_charge() {
    let pair = Pair::new();
    let unit = pair.unit();
    let first = pair.manager_with(&unit, "127.0.0.1:0", "first.json");
    let of_first = pair.world.path("first.json");
    let of_first = of_first.to_str().unwrap();
    let world = &pair.world;
    world.ok(&[
        "region",
        "create",
        "orders",
        "--size",
        "8MiB",
        "--context",
        of_first,
    ]);
    let _second = pair.manager(&unit);
    for refused in [
        &["status", "--retry-for", "0s", "--context", of_first][..],
        &[
            "region",
            "create",
            "more",
            "--size",
            "1MiB",
            "--retry-for",
            "0s",
            "--context",
            of_first,
        ],
        &["save", "orders", "--retry-for", "0s", "--context", of_first],
    ] {
        world.fails_with_input(refused, b"late", UNREACHABLE, "superseded");
    }
    world.ok_with_input(&["save", "orders"], b"by the second");
    let regions = world.json(&["region", "ls"]);
    assert_eq!(regions.len(), 1, "{regions:?}");
    first.stop();
    assert_eq!(world.ok(&["load", "orders"]), b"by the second");
}

#[test]
fn service_managers_are_told_when_each_is_ready() {
    let pair = Pair::new();
    let told = |name: &str| {
        let socket = UnixDatagram::bind(pair.world.path(name)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let expect = |socket: &UnixDatagram, word: &str| {
        let mut bytes = [0; 4096];
        let len = socket.recv(&mut bytes).unwrap();
        let text = std::str::from_utf8(&bytes[..len]).unwrap();
        assert!(text.lines().any(|line| line == word), "{word} in {text}");
    };
    let (of_unit, of_manager) = (told("of_unit"), told("of_manager"));
    let media = format!("file:{},size=64MiB", pair.world.medium().display());
    let trust = pair.trust();
    let trust = trust.to_str().unwrap();
    let arguments = [
        "unit",
        "--json",
        "--media",
        &media,
        "--admin",
        "127.0.0.1:0",
        "--data",
        "127.0.0.1:0",
        "--trust",
        trust,
    ];
    let mut command = pair.world.command(arguments);
    command.env("NOTIFY_SOCKET", pair.world.path("of_unit"));
    let unit = Running::start(command);
    expect(&of_unit, "READY=1");
    let arguments = pair.manager_arguments(
        &pair.trust(),
        &unit.address("admin"),
        "127.0.0.1:0",
        "context.json",
    );
    let mut command = pair.world.command(arguments);
    command.env("NOTIFY_SOCKET", pair.world.path("of_manager"));
    let manager = Running::start(command);
    expect(&of_manager, "READY=1");
    pair.world.ok(&["status", "--retry-for", "0s"]);
    manager.stop();
    expect(&of_manager, "STOPPING=1");
    unit.stop();
    expect(&of_unit, "STOPPING=1");
}
