//! The catalog's journal fills, is emptied behind a verified snapshot, and goes round many times.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a failed step is a failed test"
)]

mod support;

use outlive_proto::v1::RegionKind;
use support::{Calls, World, memory};

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_goes_through_many_laps_and_restarts_anywhere() {
    // The smallest catalog: its journal holds a few hundred kilobytes, a change about 400 bytes.
    let mut world = World::new(&memory(16)).await;
    for number in 0..20 {
        world
            .client
            .create(&format!("kept-{number}"), RegionKind::Raw, 4096)
            .await
            .unwrap();
    }
    let owner = "x".repeat(200);
    let mut generation = 0;
    for round in 0..10 {
        let changes: Vec<_> = (0..20)
            .map(|number| {
                let (client, owner) = (world.client.clone(), owner.clone());
                tokio::spawn(async move {
                    let name = format!("kept-{number}");
                    for step in 0..10 {
                        client.take_over(&name, generation + step, &owner).await.unwrap();
                    }
                })
            })
            .collect();
        for change in changes {
            change.await.unwrap();
        }
        generation += 10;
        let name = format!("round-{round}");
        world.client.create(&name, RegionKind::Raw, 4096).await.unwrap();
        if round % 3 == 2 {
            world.restart_manager().await;
        }
        let audit = world.audit().await;
        audit.check();
        assert_eq!(audit.catalog.regions().len(), 21 + round);
        for entry in audit
            .catalog
            .regions()
            .filter(|entry| entry.name.starts_with("kept"))
        {
            assert_eq!(entry.generation, generation, "{}", entry.name);
        }
    }
    // 2,000 changes of some 350 bytes went through a journal of less than half of that.
    let state = world
        .client
        .clone()
        .status(outlive_proto::v1::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    let written = state.units[0].bytes_written;
    let capacity = support::audit::catalog_geometry(&world.client)
        .await
        .journal_capacity();
    assert!(
        written > 2 * capacity,
        "{written} bytes are no second lap of {capacity}"
    );
}
