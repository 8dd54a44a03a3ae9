//! One identity cannot shut the others out.

use outlive_fabric::tcp::Limits;
use outlive_fabric::{FabricError, Refusal, RegionId};
use outlive_media::MediaSpec;
use outlive_proto::v1::ErrorCode;

use crate::rig::{Rig, options};

#[test]
fn the_connections_of_one_identity_are_bounded_and_others_still_get_in() {
    let mut options = options();
    options.max_connections_per_identity = 2;
    let spec = MediaSpec::Memory { size: 16 << 20 };
    let rig = Rig::on(spec.open_volume().unwrap(), options);
    let (first, second) = (rig.region(1, &[(0, 2)]), rig.region(2, &[(4, 2)]));
    let held = rig.open_as("greedy", first, true);
    let _held = rig.open_as("greedy", second, false);
    let ticket = rig.admit_for("greedy", first, false, 1, 10_000).unwrap();
    let refused = rig.connect(&ticket).err().unwrap();
    let FabricError::Refused(refusal) = refused else {
        panic!("{refused}");
    };
    let expected = Refusal::Limit {
        what: "data connections of one identity".into(),
        limit: 2,
    };
    assert_eq!(refusal, expected);
    rig.open_as("modest", first, false);

    // Whoever has the bound's number of connections can make room.
    rig.revoke("greedy", Some(first), false).unwrap();
    drop(held);
    rig.open_as("greedy", first, false);
}

#[test]
fn nobody_keeps_the_manager_from_its_catalog_by_taking_its_name() {
    let mut options = options();
    options.max_connections_per_identity = 1;
    let spec = MediaSpec::Memory { size: 16 << 20 };
    let rig = Rig::on(spec.open_volume().unwrap(), options);
    let region = rig.region(1, &[(0, 2)]);
    let _held = rig.open_as("manager", region, false);
    let catalog = RegionId(rig.attached.catalog_region.clone().try_into().unwrap());
    let mut manager = rig.open_as("manager", catalog, true);
    manager.write(manager.data, 0, b"x").unwrap();
}

#[test]
fn the_tickets_of_one_identity_are_bounded_and_others_still_get_theirs() {
    let mut options = options();
    options.max_tickets_per_identity = 2;
    let spec = MediaSpec::Memory { size: 16 << 20 };
    let rig = Rig::on(spec.open_volume().unwrap(), options);
    let region = rig.region(1, &[(0, 2)]);
    let first = rig.admit_for("greedy", region, false, 1, 10_000).unwrap();
    rig.admit_for("greedy", region, false, 1, 10_000).unwrap();
    let refused = rig.admit_for("greedy", region, false, 1, 10_000).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Limit);
    assert!(
        refused.message.contains("of this identity"),
        "{}",
        refused.message
    );
    rig.admit_for("modest", region, false, 1, 10_000).unwrap();
    // Using one makes room.
    let _reader = rig.connect(&first).unwrap();
    rig.admit_for("greedy", region, false, 1, 10_000).unwrap();
}

#[test]
fn a_crowd_of_clients_leaves_room_for_the_manager() {
    let spec = MediaSpec::Memory { size: 16 << 20 };
    let limits = Limits {
        connections: 4,
        ..Limits::default()
    };
    let mut rig = Rig::bounded(spec.open_volume().unwrap(), options(), limits);
    let region = rig.region(1, &[(0, 2)]);
    let catalog = RegionId(rig.attached.catalog_region.clone().try_into().unwrap());
    let mut first = rig.open_as("manager", catalog, true);
    let _held = [
        rig.open_as("one", region, false),
        rig.open_as("two", region, false),
    ];
    let ticket = rig.admit_for("three", region, false, 1, 10_000).unwrap();
    let refused = rig.connect(&ticket).err().unwrap();
    assert!(
        matches!(&refused, FabricError::Refused(Refusal::Limit { what, limit: 2 }) if what == "connections"),
        "{refused}"
    );
    // The next manager finds a place while the one before still has its own.
    rig.generation = rig.attach().manager_generation;
    let ticket = rig
        .admit_for("manager", catalog, true, rig.generation, 10_000)
        .unwrap();
    let mut second = rig.connect(&ticket).unwrap();
    second.write(second.data, 0, b"x").unwrap();
    first.end();
}
