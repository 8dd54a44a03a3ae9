//! Reads the catalog as an administrator does, and checks it against everything else.

use std::io;

use outlive_layout::catalog::{Catalog, Extent, Record};
use outlive_layout::{Geometry, ReadOptions, Reader, RegionId, Source};
use outlive_proto::v1::{ListRegionsRequest, OpenCatalogRequest, StatusRequest};

use super::{Client, Data};

/// What the catalog's bytes say.
pub struct Audit {
    pub catalog: Catalog,
    /// What the manager says is free.
    pub free: u64,
    listed: Vec<(String, u64, u64)>,
}

impl Audit {
    pub async fn of(client: &mut Client) -> Self {
        let opened = client
            .open_catalog(OpenCatalogRequest {})
            .await
            .unwrap()
            .into_inner();
        let status = client.status(StatusRequest {}).await.unwrap().into_inner();
        let listed = client
            .list_regions(ListRegionsRequest::default())
            .await
            .unwrap()
            .into_inner();
        let mut data = Data::connect(&opened).unwrap();
        let id = RegionId(opened.region.unwrap().id.as_slice().try_into().unwrap());
        // What lies behind the catalog is allocatable.
        let media = status.units[0].media_bytes;
        let start = media - super::allocatable_len(media);
        let allocatable = Extent {
            start,
            len: super::allocatable_len(media),
        };
        Self {
            catalog: read(&mut data, id, allocatable),
            free: status.units[0].free_bytes,
            listed: listed
                .regions
                .into_iter()
                .map(|region| (region.name, region.size, region.generation))
                .collect(),
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.catalog
            .regions_by_name()
            .map(|entry| entry.name.clone())
            .collect()
    }

    /// That no extent is leaked or shared, and that the manager says what the medium says.
    pub fn check(&self) {
        assert_eq!(self.catalog.check(), [], "the catalog breaks its own rules");
        assert_eq!(self.free, self.catalog.free_bytes(), "space is leaked or shared");
        let written = self.catalog.regions_by_name();
        let written: Vec<_> = written
            .map(|entry| (entry.name.clone(), entry.size, entry.generation))
            .collect();
        assert_eq!(
            written, self.listed,
            "the manager's state is not what is on the medium"
        );
    }
}

fn read(data: &mut Data, region: RegionId, allocatable: Extent) -> Catalog {
    let len = data.len;
    let mut reader = Reader::open(data, region, len).unwrap();
    let reading = reader.read(data, &ReadOptions::default()).unwrap();
    let mut catalog = match &reading.snapshot {
        Some(set) => Catalog::decode(&set.payload, allocatable).unwrap(),
        None => Catalog::new(allocatable),
    };
    for update in &reading.updates {
        for record in Record::decode_all(&update.payload).unwrap() {
            catalog.apply(&record).unwrap();
        }
    }
    catalog
}

/// The layout of a checkpoint region, as its bytes have it.
pub fn geometry(data: &mut Data, id: &[u8]) -> Geometry {
    let len = data.len;
    Reader::open(data, RegionId(id.try_into().unwrap()), len)
        .unwrap()
        .geometry()
        .clone()
}

impl Source for Data {
    type Error = io::Error;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        into.copy_from_slice(&self.read(offset, into.len() as u64).map_err(io::Error::other)?);
        Ok(())
    }
}

/// The catalog's own layout.
pub async fn catalog_geometry(client: &Client) -> Geometry {
    let opened = client
        .clone()
        .open_catalog(OpenCatalogRequest {})
        .await
        .unwrap()
        .into_inner();
    let id = opened.region.as_ref().unwrap().id.clone();
    geometry(&mut Data::connect(&opened).unwrap(), &id)
}

/// Sequence of the catalog's newest snapshot.
pub async fn snapshot_sequence(client: &Client) -> u64 {
    let opened = client
        .clone()
        .open_catalog(OpenCatalogRequest {})
        .await
        .unwrap()
        .into_inner();
    let id = RegionId(opened.region.as_ref().unwrap().id.as_slice().try_into().unwrap());
    let mut data = Data::connect(&opened).unwrap();
    let len = data.len;
    let head = Reader::open(&mut data, id, len).unwrap().head(&mut data).unwrap();
    head.snapshots()
        .iter()
        .map(|seal| seal.sequence)
        .max()
        .unwrap_or(0)
}
