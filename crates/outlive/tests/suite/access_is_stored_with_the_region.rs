//! M5, U3: when a primary opens a region its access information is stored with the region, in the unit's own memory,
//! where everybody who may use the region reads it; it follows the ownership and outlives the unit's process.

use outlive::{OpenOptions, RegionMetadata, Session, TakeoverOptions};

use crate::support::{Server, primary_of};

#[test]
fn the_metadata_page_follows_the_ownership() {
    let mut server = Server::on_file("16MiB");
    let session = server.session();
    let (_, unnamed) = primary_of(&server, "r");
    let process = format!("process {}", std::process::id());
    assert_eq!(
        owned_by(&page(&session)),
        (1, process.as_str()),
        "it gave no name"
    );
    unnamed.close().expect("closed");
    assert_eq!(owned_by(&page(&session)), (1, ""));

    let named = OpenOptions {
        owner: "first:1".to_owned(),
        ..OpenOptions::default()
    };
    let first = session.primary("r", &named).expect("opened");
    assert_eq!(owned_by(&page(&session)), (2, "first:1"));
    assert!(
        page(&session)
            .access
            .iter()
            .any(|(identity, writable)| identity == "administrator" && *writable)
    );
    let mut backup = session.backup("r").expect("opened");
    let taken = backup
        .takeover(&TakeoverOptions::owner("second:2"))
        .expect("taken over");
    assert_eq!(owned_by(&page(&session)), (3, "second:2"));
    assert!(
        first
            .append(b"late")
            .and_then(outlive::Commit::wait)
            .is_err_and(|error| error.is_fenced())
    );

    server.restart();
    assert_eq!(owned_by(&page(&session)), (3, "second:2"), "also after a restart");
    taken.primary.close().expect("closed");
    assert_eq!(page(&session).owner, "");
}

/// What a newcomer reads of the region.
fn page(session: &Session) -> RegionMetadata {
    let mut reader = session.raw_reader("r").expect("opened");
    let page = reader.metadata().expect("read");
    let told = session.describe("r").expect("described");
    assert_eq!((page.generation, &page.owner), (told.generation, &told.owner));
    page
}

fn owned_by(page: &RegionMetadata) -> (u64, &str) {
    (page.generation, &page.owner)
}
