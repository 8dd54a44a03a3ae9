//! Somebody on the path of encrypted data connections: sees nothing, and changes nothing that is not noticed.

use std::io::IoSlice;
use std::net::TcpStream;
use std::time::Duration;

use outlive::{RawOptions, RegionSpec};
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::tcp::{ConnectOptions, PinnedCertificate, TcpEndpoint, connect};
use outlive_fabric::testing::raw;
use outlive_fabric::{Endpoint, ExposedPart, RemoteKey};
use outlive_proto::v1::{Opened, Role};

use crate::bystander::Bystander;
use crate::proxy::{Proxy, Way};
use crate::session;
use crate::support::World;
use crate::wire::{Control, ticket_of};

const SIZE: usize = 1 << 20;
const WRITTEN: usize = 64 << 10;
const OLD: u8 = 0x11;
const NEW: u8 = 0xaa;

/// Connects as the library does, and says under which key the data are.
fn encrypted(opened: &Opened) -> Result<(TcpEndpoint, RemoteKey), outlive_fabric::FabricError> {
    let options = ConnectOptions {
        op_timeout: Duration::from_secs(3),
        tls: Some(PinnedCertificate::new(opened.data_certificate.clone())),
        ..ConnectOptions::default()
    };
    let endpoint = connect(&opened.data_address, &ticket_of(opened), &options)?;
    let mut access = endpoint.session().access.iter();
    let data = access.find(|info| info.part == ExposedPart::Data).unwrap().key;
    Ok((endpoint, data))
}

#[test]
fn encrypted_payload_is_neither_seen_nor_changed_on_the_way() {
    let world = World::in_memory();
    let proxy = Proxy::start();
    let _serve = proxy.serve(&world, &["--data-tls", "require"]);
    let session = session(&world);
    session.create("target", &RegionSpec::raw(SIZE as u64)).unwrap();
    let mut region = session.raw("target", &RawOptions::default()).unwrap();
    region.write(0, &[OLD; SIZE]).unwrap();
    region
        .write(SIZE as u64 - 64, b"a payload that nobody on the way may read")
        .unwrap();
    drop(region);
    for way in [Way::Up, Way::Down] {
        let seen = proxy.taken(way);
        assert!(
            !seen
                .windows(16)
                .any(|window| window == b"that nobody on t" || window == [OLD; 16])
        );
    }
    let mut control = Control::of(&world);
    // In the handshakes, in the first record behind them, in the middle and near the end of the payload.
    for at in [0, 3, 40, 300, 700, 1200, 5_000, 30_000, 66_000] {
        let opened = control.open("target", Role::Primary);
        proxy.flip(Some((Way::Up, at)));
        let placed = encrypted(&opened).is_ok_and(|(mut endpoint, key)| {
            let mut completions = Vec::new();
            let posted = endpoint.post_write(key, 0, &[IoSlice::new(&[NEW; WRITTEN])]);
            let waited = posted.and_then(|_| endpoint.wait(&mut completions, Duration::from_secs(5)));
            waited.is_ok() && completions.iter().any(|completion| completion.result.is_ok())
        });
        proxy.flip(None);
        assert!(!placed, "byte {at} was changed and the write acknowledged");
        let mut bytes = vec![0; SIZE];
        session.raw_reader("target").unwrap().read(0, &mut bytes).unwrap();
        let alien = bytes[..WRITTEN]
            .iter()
            .position(|byte| ![OLD, NEW].contains(byte));
        assert_eq!(alien, None, "byte {at} was changed and something else placed");
    }
    let opened = control.open("target", Role::Primary);
    assert!(encrypted(&opened).is_ok(), "it is served again");
}

#[test]
fn what_is_not_encrypted_is_refused_where_it_must_be() {
    let world = World::in_memory();
    let _serve = world.serve_at("127.0.0.1:0", &["--data-tls", "require"]);
    session(&world)
        .create("target", &RegionSpec::raw(SIZE as u64))
        .unwrap();
    let bystander = Bystander::start(session(&world));
    let opened = Control::of(&world).open("target", Role::Backup);
    let mut plain = TcpStream::connect(&opened.data_address).unwrap();
    let reply = raw::greet(&mut plain, &ticket_of(&opened)).unwrap();
    let Reply::Refused(why) = reply else {
        panic!("let in without encryption: {reply:?}");
    };
    assert!(why.to_string().contains("encrypted"), "{why}");
    // The ticket is still good for who does as it must be done.
    assert!(encrypted(&opened).is_ok());
    bystander.finish();
}
