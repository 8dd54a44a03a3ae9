//! Everything that a manager can ask of a unit: requests of arbitrary bytes, carried out on a unit in memory, by who has
//! attached and by who has not.
//!
//! A unit does what its manager says, but each call is answered, and superblock and catalog are not to be written by it:
//! regions lie behind them.

use std::sync::Arc;

use outlive_media::Superblock;
use outlive_proto::v1::unit_admin_server::UnitAdminServer;
use outlive_proto::v1::{self, AttachResponse, Extent};
use outlive_unit::{AttachSecret, Unit, UnitOptions};
use prost::Message;
use tonic::service::Routes;

use super::control::{runtime, volume};
use super::frames::{Frames, framed};
use super::grpc;
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "admin",
    about: "requests of a manager to the unit, carried out",
    run,
    seeds,
    // A unit on its medium, its threads, and messages as long as the unit takes them.
    allowance_bytes: 96 << 20,
};

const SECRET: &[u8] = b"the unit's secret";
/// Calls of one input.
const MAX_CALLS: usize = 24;
/// What can be called: an input names it by number.
const CALLS: [&str; 11] = [
    "Attach",
    "Prepare",
    "Program",
    "Withdraw",
    "Admit",
    "Fence",
    "Revoke",
    "Describe",
    "Connections",
    "Events",
    "UnitState",
];

fn run(input: &[u8]) {
    let runtime = runtime();
    runtime.block_on(async {
        let volume = volume();
        let medium = Arc::clone(volume.medium());
        let geometry = *volume.geometry();
        let unit = Unit::on(volume, UnitOptions::new(AttachSecret::new(SECRET)));
        unit.serve_data(([127, 0, 0, 1], 0).into())
            .expect("loopback can be bound");
        let routes = Routes::new(UnitAdminServer::new(unit.admin()));
        let attach = v1::AttachRequest {
            proof: SECRET.to_vec(),
            manager: "fuzz".into(),
        };
        let attached: AttachResponse = grpc::typed(&routes, &path("Attach"), None, &attach)
            .await
            .expect("the secret");
        assert_eq!(attached.manager_generation, 1);
        let mut head = vec![0; usize::try_from(geometry.allocatable_start).expect("a small medium")];
        medium.load(0, &mut head).expect("inside the medium");
        for frame in Frames(input).take(MAX_CALLS) {
            let Some((&[call], message)) = frame.split_first_chunk() else {
                continue;
            };
            let path = path(CALLS[usize::from(call) % CALLS.len()]);
            // A panic would be told as well: the harness hears of each.
            let _ = grpc::call(&routes, &path, None, message).await;
        }
        let superblock = Superblock::read(&medium).expect("the superblock is whole");
        assert_eq!(superblock.geometry, geometry);
        let mut now = vec![0; head.len()];
        medium.load(0, &mut now).expect("inside the medium");
        // What stands in front of it changes with each attach.
        let behind = usize::try_from(geometry.catalog_start).expect("a small medium");
        assert!(
            now[behind..] == head[behind..],
            "the catalog is written by nobody but its owner"
        );
    });
    runtime.shutdown_background();
}

fn path(call: &str) -> String {
    format!("/outlive.v1.UnitAdmin/{call}")
}

fn seeds() -> Vec<Seed> {
    let manager_generation = 1;
    let geometry = *volume().geometry();
    let extents = || {
        let start = geometry.allocatable_start;
        vec![
            Extent { start, len: 16 << 10 },
            Extent {
                start: start + (64 << 10),
                len: 8 << 10,
            },
        ]
    };
    let region = || vec![9; 16];
    let write = v1::Write {
        offset: 0,
        bytes: b"page".to_vec(),
    };
    let prepare = v1::PrepareRequest {
        manager_generation,
        extents: extents(),
        writes: vec![write],
    };
    let program = v1::ProgramRequest {
        manager_generation,
        region: region(),
        extents: extents(),
        data_len: 20 << 10,
        min_generation: 1,
    };
    let admit = v1::AdmitRequest {
        manager_generation,
        ticket_id: vec![1; 16],
        region: region(),
        identity: "alice".into(),
        writable: true,
        generation: 1,
        valid_ms: 1000,
        secret: vec![2; 32],
    };
    let withdraw = v1::WithdrawRequest {
        manager_generation,
        region: region(),
    };
    let revoke = v1::RevokeRequest {
        manager_generation,
        identity: "alice".into(),
        ..Default::default()
    };
    let fence = v1::FenceRequest {
        manager_generation,
        region: region(),
        ..Default::default()
    };
    let describe = v1::DescribeRequest {
        manager_generation,
        region: region(),
        ..Default::default()
    };
    let state = v1::UnitStateRequest { manager_generation };
    let attach = v1::AttachRequest {
        proof: SECRET.to_vec(),
        manager: "another".into(),
    };
    let calls = [
        request(1, &prepare),
        request(2, &program),
        request(4, &admit),
        request(7, &describe),
        request(5, &fence),
        request(6, &revoke),
        request(8, &state),
        request(9, &state),
        request(10, &state),
        request(3, &withdraw),
    ];
    let overlapping = v1::PrepareRequest {
        manager_generation,
        extents: vec![
            Extent { start: 0, len: 8192 },
            Extent {
                start: u64::MAX - 4095,
                len: 8192,
            },
        ],
        writes: Vec::new(),
    };
    vec![
        ("life", framed(&calls)),
        ("superseded", framed(&[request(0, &attach), request(2, &program)])),
        ("outside", framed(&[request(1, &overlapping)])),
    ]
}

fn request(call: u8, message: &impl Message) -> Vec<u8> {
    [vec![call], message.encode_to_vec()].concat()
}
