//! Everything that can be asked of a manager, by an administrator, an owner, a reader and a stranger: requests of arbitrary
//! bytes, carried out on a unit in memory.
//!
//! Whatever is asked for, each call is answered, the catalog on the medium keeps its rules and says what the manager says, and
//! a manager that comes after finds the same.

use std::sync::Arc;

use outlive_identity::{Caller, Serial};
use outlive_layout::RegionId;
use outlive_layout::catalog::{Catalog, Extent};
use outlive_manager::{Manager, ManagerOptions};
use outlive_media::superblock::MIN_MEDIA_LEN;
use outlive_media::{Medium, MemoryMedia, Stored, Volume};
use outlive_proto::v1::{self, AccessRight, RegionKind, Role};
use outlive_unit::{AttachSecret, Unit, UnitOptions};
use prost::Message;
use tokio::runtime::{self, Runtime};
use tonic::service::Routes;

use super::frames::{Frames, framed};
use super::grpc;
use super::medium::{catalog_of, recover};
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "control",
    about: "requests of clients to the manager, carried out",
    run,
    seeds,
    // A unit on its medium, a manager, their threads, and messages as long as the manager takes them.
    allowance_bytes: 96 << 20,
};

const SECRET: &[u8] = b"the unit's secret";
const ADMINISTRATOR: &str = "administrator";
/// Who calls: an input names them by number.
const CALLERS: [&str; 4] = [ADMINISTRATOR, "alice", "bob", "mallory"];
/// Calls of one input.
const MAX_CALLS: usize = 24;
/// What can be called: an input names it by number.
const CALLS: [&str; 21] = [
    "CreateRegion",
    "DeleteRegion",
    "ResizeRegion",
    "ListRegions",
    "DescribeRegion",
    "OpenRegion",
    "ReconnectRegion",
    "TakeoverRegion",
    "CloseRegion",
    "WatchRegion",
    "AddressContext",
    "OpenCatalog",
    "Status",
    "ReportMember",
    "WhoAmI",
    "ChangeAccess",
    "ListIdentities",
    "IssueIdentity",
    "AdmitIdentity",
    "RevokeIdentity",
    "Switchover",
];

fn run(input: &[u8]) {
    let runtime = runtime();
    runtime.block_on(async {
        let mut world = World::new().await;
        for frame in Frames(input).take(MAX_CALLS) {
            let Some((&[call, caller], message)) = frame.split_first_chunk() else {
                continue;
            };
            let path = path(CALLS[usize::from(call) % CALLS.len()]);
            let caller = CALLERS[usize::from(caller) % CALLERS.len()];
            // A panic would be told as well: the harness hears of each.
            let _ = grpc::call(&world.routes, &path, Some(named(caller)), message).await;
        }
        world.check().await;
        world.restart().await;
        world.check().await;
    });
    runtime.shutdown_background();
}

/// One thread is enough; what blocks has threads of its own.
pub(super) fn runtime() -> Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn path(call: &str) -> String {
    format!("/outlive.v1.Manager/{call}")
}

fn named(name: &str) -> Caller {
    Caller {
        name: name.parse().expect("a name"),
        serial: Serial(vec![1]),
        source: None,
    }
}

/// A unit in memory, and the manager in charge of it.
struct World {
    medium: Arc<Medium>,
    catalog: (RegionId, Extent),
    allocatable: Extent,
    unit: Unit,
    manager: Manager,
    routes: Routes,
}

impl World {
    async fn new() -> Self {
        let volume = volume();
        let medium = Arc::clone(volume.medium());
        let geometry = volume.geometry();
        let data = Extent {
            start: geometry.catalog_data_start(),
            len: geometry.catalog_data_len(),
        };
        let allocatable = Extent {
            start: geometry.allocatable_start,
            len: geometry.allocatable_len,
        };
        let catalog = (RegionId(geometry.catalog_region), data);
        let unit = Unit::on(volume, UnitOptions::new(AttachSecret::new(SECRET)));
        unit.serve_data(([127, 0, 0, 1], 0).into())
            .expect("loopback can be bound");
        let manager = attach(&unit).await;
        let routes = manager.routes();
        Self {
            medium,
            catalog,
            allocatable,
            unit,
            manager,
            routes,
        }
    }

    async fn restart(&mut self) {
        self.manager.stop();
        self.manager = attach(&self.unit).await;
        self.routes = self.manager.routes();
    }

    /// The catalog keeps its rules, and the manager says what it says.
    async fn check(&self) {
        let catalog = self.catalog();
        assert_eq!(catalog.check(), []);
        // The manager's own view, whoever is an administrator still.
        let status = self.manager.status().await.expect("it is attached");
        let told: Vec<_> = status
            .regions
            .iter()
            .map(|region| (region.name.clone(), region.size, region.generation))
            .collect();
        let regions = catalog.regions_by_name();
        let written: Vec<_> = regions
            .map(|entry| (entry.name.clone(), entry.size, entry.generation))
            .collect();
        assert_eq!(told, written, "the manager says what is on the medium");
        assert_eq!(
            status.units[0].free_bytes,
            catalog.free_bytes(),
            "space is leaked or shared"
        );
    }

    fn catalog(&self) -> Catalog {
        let (region, data) = self.catalog;
        let found = recover(&self.medium, region, &[data]).expect("the catalog is whole");
        catalog_of(&found, self.allocatable).expect("the catalog decodes")
    }
}

/// The smallest medium there is, new.
pub(super) fn volume() -> Volume {
    let medium = Medium::new(Box::new(
        MemoryMedia::new(MIN_MEDIA_LEN).expect("memory for a small medium"),
    ));
    Volume::start(medium, Stored::New).expect("a new medium")
}

async fn attach(unit: &Unit) -> Manager {
    let options = ManagerOptions::new(unit.admin_client(), SECRET.to_vec());
    let options = options.with_administrator(ADMINISTRATOR.parse().expect("a name"));
    Manager::attach(options).await.expect("the unit is there")
}

fn seeds() -> Vec<Seed> {
    let name = || "orders".to_owned();
    let create = v1::CreateRegionRequest {
        name: name(),
        kind: RegionKind::Checkpoint.into(),
        size: 256 << 10,
        slots: 3,
        max_snapshot: 8192,
        owners: vec!["alice".into()],
        readers: vec!["bob".into()],
    };
    let raw = v1::CreateRegionRequest {
        name: "raw".into(),
        kind: RegionKind::Raw.into(),
        size: 4096,
        ..Default::default()
    };
    let open = v1::OpenRegionRequest {
        name: name(),
        role: Role::Primary.into(),
        take_over: true,
        owner: "host:1".into(),
    };
    let reconnect = v1::ReconnectRegionRequest {
        name: name(),
        role: Role::Primary.into(),
        generation: 1,
    };
    let takeover = v1::TakeoverRegionRequest {
        name: name(),
        expected_generation: 1,
        owner: "host:2".into(),
    };
    let resize = v1::ResizeRegionRequest {
        name: name(),
        size: 512 << 10,
        generation: 2,
    };
    let close = v1::CloseRegionRequest {
        name: name(),
        generation: 2,
    };
    let change = v1::ChangeAccessRequest {
        name: name(),
        identity: "mallory".into(),
        right: AccessRight::Owner.into(),
        allow: true,
    };
    let issue = v1::IssueIdentityRequest {
        name: "carol".into(),
        signing_request: vec![0x30, 0],
        ..Default::default()
    };
    let admit = v1::AdmitIdentityRequest {
        name: "alice".into(),
        administrator: true,
    };
    let revoke = v1::RevokeIdentityRequest { name: "bob".into() };
    let switch = v1::SwitchoverRequest::default();
    let named = |call: u8, caller: u8| request(call, caller, &v1::DescribeRegionRequest { name: name() });
    let empty = |call: u8| request(call, 0, &v1::WhoAmIRequest {});
    let owner = [
        request(0, 0, &create),
        request(5, 1, &open),
        request(6, 1, &reconnect),
        request(7, 1, &takeover),
    ];
    let life = [
        request(2, 1, &resize),
        request(8, 1, &close),
        named(4, 2),
        named(9, 1),
        named(10, 1),
        named(1, 0),
    ];
    let access = [
        request(0, 0, &create),
        request(0, 0, &raw),
        request(15, 0, &change),
        request(18, 0, &admit),
    ];
    let people = [
        request(17, 0, &issue),
        request(19, 0, &revoke),
        request(20, 1, &switch),
        empty(16),
        empty(14),
    ];
    let looks = [empty(3), empty(11), empty(12), empty(13)];
    vec![
        ("owner", framed(&[&owner[..], &life].concat())),
        ("people", framed(&[&access[..], &people].concat())),
        ("looks", framed(&[&access[..2], &looks].concat())),
    ]
}

fn request(call: u8, caller: u8, message: &impl Message) -> Vec<u8> {
    [vec![call, caller], message.encode_to_vec()].concat()
}
