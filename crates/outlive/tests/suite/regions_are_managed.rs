//! M4, M7, U3: regions are created, listed and deleted; what is mapped where can be read by everybody who may use it.

use outlive::{Error, OpenOptions, RegionKind, RegionSpec, Session};

use crate::support::{Server, primary_of};

#[test]
fn regions_are_created_listed_and_deleted() {
    let server = Server::in_memory("32MiB");
    let session = server.session();
    for name in ["b", "a", "c"] {
        session
            .create(name, &RegionSpec::checkpoint(1 << 20))
            .expect("created");
    }
    let names = |session: &Session| -> Vec<String> {
        session
            .regions()
            .expect("listed")
            .into_iter()
            .map(|region| region.name)
            .collect()
    };
    assert_eq!(names(&session), ["a", "b", "c"]);
    let again = session.create("a", &RegionSpec::checkpoint(1 << 20));
    assert!(matches!(again, Err(Error::RegionExists { region }) if region == "a"));
    assert!(matches!(
        session.create("", &RegionSpec::raw(4096)),
        Err(Error::Invalid { .. })
    ));
    assert!(matches!(
        session.create("x", &RegionSpec::raw(1 << 40)),
        Err(Error::NoSpace { .. })
    ));

    let primary = session.primary("a", &OpenOptions::default()).expect("opened");
    assert!(matches!(session.delete("a"), Err(Error::Owned { .. })));
    let owned = session.primary("a", &OpenOptions::default()).err();
    assert!(matches!(owned, Some(Error::Owned { generation: 1, .. })));
    primary.close().expect("closed");
    session.delete("a").expect("deleted");
    assert_eq!(names(&session), ["b", "c"]);
    assert!(matches!(session.describe("a"), Err(Error::NoSuchRegion { region }) if region == "a"));
    assert!(matches!(
        session.primary("a", &OpenOptions::default()).err(),
        Some(Error::NoSuchRegion { .. })
    ));
}

#[test]
fn the_address_context_is_read_by_control_and_by_one_sided_reads() {
    let server = Server::in_memory("16MiB");
    let (session, _primary) = primary_of(&server, "r");
    let mut backup = session.backup("r").expect("opened");
    let context = session.address_context("r").expect("an address context");
    assert_eq!(context.region.name, "r");
    assert_eq!(
        context.mappings.iter().map(|(_, len)| len).sum::<u64>(),
        context.region.size
    );
    assert_eq!(
        context
            .connections
            .iter()
            .filter(|connected| connected.writable)
            .count(),
        1
    );
    assert_eq!(
        context
            .connections
            .iter()
            .filter(|connected| !connected.writable)
            .count(),
        1
    );

    let page = backup.metadata().expect("a metadata page");
    assert_eq!(
        (page.name.as_str(), page.id, page.kind),
        ("r", context.region.id, RegionKind::Checkpoint)
    );
    assert_eq!((page.size, page.generation), (context.region.size, 1));
    assert_eq!(page.mappings, context.mappings);
    assert_eq!(page.owner, context.region.owner);
}

#[test]
fn the_catalog_is_read_one_sidedly() {
    let server = Server::in_memory("32MiB");
    let session = server.session();
    let mut catalog = session.catalog().expect("opened");
    assert!(catalog.regions().expect("read").is_empty());
    session
        .create("c", &RegionSpec::checkpoint(1 << 20).slots(3))
        .expect("created");
    session.create("r", &RegionSpec::raw(1 << 20)).expect("created");
    let _primary = session.primary("c", &OpenOptions::default()).expect("opened");
    let regions = catalog.regions().expect("read");
    let told = session.regions().expect("listed");
    for (read, told) in regions.iter().zip(&told) {
        assert_eq!((&read.name, read.id, read.kind), (&told.name, told.id, told.kind));
        assert_eq!(
            (read.size, read.slots, read.generation),
            (told.size, told.slots, told.generation)
        );
        assert_eq!((&read.owner, read.extents), (&told.owner, told.extents));
    }
    assert_eq!(regions.len(), 2);
    let unit = &session.status().expect("status").units[0];
    let allocated = catalog.allocated_bytes().expect("read");
    assert!(allocated >= 2 << 20 && unit.free_bytes + allocated <= unit.media_bytes);
}

#[test]
fn a_refused_certificate_has_no_access_and_is_told_why_at_once() {
    let (server, other) = (Server::in_memory("16MiB"), Server::in_memory("16MiB"));
    let began = std::time::Instant::now();
    let refused = |context: outlive::Context| match Session::connect(&context).err() {
        Some(Error::NoAccess { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let (ours, theirs) = (server.credentials("bob"), other.credentials("bob"));
    let said = refused(server.context_with(theirs.clone()));
    assert!(said.contains("does not know the authority"), "{said}");
    // Its own authority vouches for a client, and the server that answers is another one.
    let said = refused(other.context_at(server.address(), theirs));
    assert!(said.contains("cannot be trusted"), "{said}");
    let said = refused(server.context_with(outlive::Credentials {
        key_pem: server.credentials("bob").key_pem,
        ..ours.clone()
    }));
    assert!(said.contains("private key") && !said.contains("BEGIN"), "{said}");
    let patient = outlive::SessionOptions::default().retry_for;
    assert!(began.elapsed() < patient, "it was not tried again");
    Session::connect(&server.context_with(ours)).expect("let in");
}

#[test]
fn nobody_there_is_unreachable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address");
    let server = Server::in_memory("16MiB");
    let nobody = server.context_at(free, server.credentials("bob"));
    let retry_for = std::time::Duration::from_millis(200);
    let options = outlive::SessionOptions { retry_for };
    let error = Session::connect_with(&nobody, options)
        .err()
        .expect("nobody is there");
    let line = error.to_string();
    assert!(
        matches!(&error, Error::Unreachable { tried, .. } if *tried > retry_for / 2),
        "{line}"
    );
    assert!(line.contains(&free.to_string()), "{line}");
}

#[test]
fn new_credentials_in_the_context_file_count_without_a_restart() {
    let mut server = Server::in_memory("16MiB");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("context.json");
    server.context().save(&path).expect("saved");
    let session = Session::connect(&outlive::Context::load(&path).expect("loaded")).expect("let in");
    server.change_authority();
    server.context().save(&path).expect("saved");
    server.stop_manager();
    server.resume_manager();
    assert_eq!(session.regions().expect("the new certificate is shown"), []);
}
