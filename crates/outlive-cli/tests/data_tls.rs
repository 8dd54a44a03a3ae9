//! Encrypted data connections of a real server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;
mod wire;

use std::net::TcpStream;

use outlive_fabric::Refusal;
use outlive_fabric::tcp::PinnedCertificate;
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::testing::raw;
use outlive_proto::v1::{DataTls, Role};
use support::{World, noise};
use wire::Control;

#[test]
fn commands_work_the_same_whether_data_is_encrypted_or_not() {
    for when in ["require", "allow", "off"] {
        let world = World::new();
        let serve = world.serve_at("127.0.0.1:0", &["--data-tls", when]);
        world.ok(&["region", "create", "orders", "--size", "16MiB"]);
        let (snapshot, update) = (noise(1, 3_000_001), noise(2, 100_000));
        world.ok_with_input(&["save", "orders"], &snapshot);
        world.ok_with_input(&["append", "orders"], &update);
        assert!(world.ok(&["load", "orders"]) == snapshot, "{when}");
        // The manager reaches the catalog in the same way, also after a kill.
        let before = serve.kill();
        let data = before["data"].as_str().unwrap();
        let _serve = world.serve_at(data, &["--data-tls", when]);
        assert!(
            world.ok(&["load", "orders"]) == snapshot,
            "{when} after a restart"
        );
    }
}

#[test]
fn what_is_required_is_told_and_held_to() {
    let world = World::in_memory();
    let _serve = world.serve_at("127.0.0.1:0", &["--data-tls", "require"]);
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    let mut control = Control::of(&world);
    let opened = control.open("orders", Role::Backup);
    assert_eq!(opened.data_tls(), DataTls::Require);
    let ticket = wire::ticket_of(&opened);
    let connect = || TcpStream::connect(&opened.data_address).unwrap();
    let plain = raw::greet(&mut connect(), &ticket).unwrap();
    assert_eq!(plain, Reply::Refused(Refusal::Unencrypted));
    let pinned = PinnedCertificate::new(opened.data_certificate.clone());
    let (mut stream, binding) = raw::encrypt(connect(), &pinned).unwrap();
    let encrypted = raw::greet_bound(&mut stream, &ticket, binding).unwrap();
    assert!(matches!(encrypted, Reply::Welcome { .. }), "{encrypted:?}");
}

#[test]
fn on_loopback_nothing_is_encrypted_unless_asked_for() {
    let world = World::in_memory();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    let opened = Control::of(&world).open("orders", Role::Backup);
    assert_eq!(opened.data_tls(), DataTls::Off);
    assert!(opened.data_certificate.is_empty());
    world.fails(&["serve", "--data-tls", "sometimes"], 2, "require");
}
