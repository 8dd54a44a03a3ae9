//! Random sequences of operations, with restarts of the manager, against a model of what must come of them.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a failed step is a failed test"
)]

mod support;

use std::collections::BTreeMap;

use outlive_proto::ControlError;
use outlive_proto::v1::{ErrorCode, RegionKind, Role};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::{Calls, Data, World, memory};

const PAGE: u64 = 4096;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Step {
    Create { name: usize, pages: u64 },
    Delete { name: usize },
    Resize { name: usize, more_pages: u64 },
    Open { name: usize, take_over: bool },
    TakeOver { name: usize, behind: u64 },
    Reconnect { name: usize, behind: u64 },
    Close { name: usize, behind: u64 },
    Write { name: usize },
    Disconnect { name: usize },
    Restart,
}

/// What the model knows of a region.
struct Known {
    pages: u64,
    generation: u64,
    open: bool,
    /// The owner's connection, until it is lost.
    owner: Option<Data>,
    /// The last byte pattern written.
    pattern: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    prop_oneof![
        3 => (name.clone(), 1..400_u64).prop_map(|(name, pages)| Step::Create { name, pages }),
        2 => name.clone().prop_map(|name| Step::Delete { name }),
        2 => (name.clone(), 0..100_u64).prop_map(|(name, more_pages)| Step::Resize { name, more_pages }),
        4 => (name.clone(), any::<bool>()).prop_map(|(name, take_over)| Step::Open { name, take_over }),
        2 => (name.clone(), 0..2_u64).prop_map(|(name, behind)| Step::TakeOver { name, behind }),
        2 => (name.clone(), 0..2_u64).prop_map(|(name, behind)| Step::Reconnect { name, behind }),
        2 => (name.clone(), 0..2_u64).prop_map(|(name, behind)| Step::Close { name, behind }),
        4 => name.clone().prop_map(|name| Step::Write { name }),
        2 => name.prop_map(|name| Step::Disconnect { name }),
        1 => Just(Step::Restart),
    ]
}

#[test]
fn random_operations_do_what_the_model_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: 16,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    runner
        .run(&prop::collection::vec(step(), 1..60), |steps| {
            runtime.block_on(run(steps));
            Ok(())
        })
        .unwrap();
}

async fn run(steps: Vec<Step>) {
    let mut world = World::new(&memory(10)).await;
    let mut model: BTreeMap<usize, Known> = BTreeMap::new();
    for (number, step) in steps.into_iter().enumerate() {
        let pattern = u8::try_from(number % 250).unwrap() + 1;
        apply(&mut world, &mut model, step, pattern).await;
    }
    let audit = world.audit().await;
    audit.check();
    let expected: Vec<_> = model
        .iter()
        .map(|(name, known)| (NAMES[*name].to_owned(), known.pages * PAGE, known.generation))
        .collect();
    let entries = audit.catalog.regions_by_name();
    assert_eq!(
        entries
            .map(|entry| (entry.name.clone(), entry.size, entry.generation))
            .collect::<Vec<_>>(),
        expected
    );
    for (name, known) in &model {
        let mut data = Data::connect(&world.client.backup(NAMES[*name]).await.unwrap()).unwrap();
        let bytes = data.read(0, known.pages * PAGE).unwrap();
        assert!(
            bytes.iter().all(|byte| *byte == known.pattern || *byte == 0),
            "{name}: foreign bytes"
        );
        assert_eq!(bytes[0], known.pattern);
    }
}

async fn apply(world: &mut World, model: &mut BTreeMap<usize, Known>, step: Step, pattern: u8) {
    let client = world.client.clone();
    match step {
        Step::Create { name, pages } => match client.create(NAMES[name], RegionKind::Raw, pages * PAGE).await
        {
            Ok(_) => {
                let fresh = Known {
                    pages,
                    generation: 0,
                    open: false,
                    owner: None,
                    pattern: 0,
                };
                assert!(model.insert(name, fresh).is_none());
            }
            Err(error) if model.contains_key(&name) => assert_eq!(error.code, ErrorCode::RegionExists),
            Err(error) => assert_eq!(error.code, ErrorCode::NoSpace, "{error}"),
        },
        Step::Restart => {
            world.restart_manager().await;
            // Whoever was lost before has time to come back, which the model does not know: so they give up.
            for (name, known) in model
                .iter_mut()
                .filter(|(_, known)| known.open && known.owner.is_none())
            {
                world.client.close(NAMES[*name], known.generation).await.unwrap();
                known.open = false;
            }
        }
        Step::Delete { name } => {
            let outcome = client.delete(NAMES[name]).await;
            match model.get(&name) {
                None => refused(outcome, ErrorCode::NoSuchRegion),
                Some(known) if known.is_alive() => refused(outcome, ErrorCode::Owned),
                Some(_) => {
                    outcome.unwrap();
                    model.remove(&name);
                }
            }
        }
        step => apply_to_region(&client, model, step, pattern).await,
    }
}

async fn apply_to_region(
    client: &support::Client,
    model: &mut BTreeMap<usize, Known>,
    step: Step,
    pattern: u8,
) {
    let (Step::Resize { name, .. }
    | Step::Open { name, .. }
    | Step::TakeOver { name, .. }
    | Step::Reconnect { name, .. }
    | Step::Close { name, .. }
    | Step::Write { name }
    | Step::Disconnect { name }) = step
    else {
        unreachable!("the others are done")
    };
    let label = NAMES[name];
    let Some(known) = model.get_mut(&name) else {
        return refused(client.primary(label, "").await, ErrorCode::NoSuchRegion);
    };
    let generation = known.generation;
    match step {
        Step::Open { take_over, .. } => {
            let outcome = client.open(label, Role::Primary, take_over, "o").await;
            if known.is_alive() && !take_over {
                refused(outcome, ErrorCode::Owned)
            } else {
                known.owned(outcome.unwrap())
            }
        }
        Step::TakeOver { behind, .. } => {
            let outcome = client
                .take_over(label, generation.wrapping_sub(behind), "t")
                .await;
            if behind > 0 {
                refused(outcome, ErrorCode::LostRace)
            } else {
                known.owned(outcome.unwrap())
            }
        }
        Step::Reconnect { behind, .. } => {
            let outcome = client.reconnect(label, generation.wrapping_sub(behind)).await;
            if behind > 0 || !known.open {
                return refused(outcome, ErrorCode::Fenced);
            }
            let opened = outcome.unwrap();
            assert_eq!(opened.region.as_ref().unwrap().generation, generation);
            known.owner = None;
            known.owner = Some(Data::connect(&opened).unwrap());
        }
        Step::Close { behind, .. } => {
            let outcome = client.close(label, generation.wrapping_sub(behind)).await;
            if behind > 0 || !known.open {
                return refused(outcome, ErrorCode::Fenced);
            }
            outcome.unwrap();
            (known.open, known.owner) = (false, None);
        }
        Step::Resize { more_pages, .. } => {
            let pages = known.pages + more_pages;
            match client.resize(label, pages * PAGE, generation).await {
                Ok(region) => {
                    assert!(known.open);
                    assert_eq!(region.size, pages * PAGE);
                    known.pages = pages;
                }
                Err(error) if known.open => assert_eq!(error.code, ErrorCode::NoSpace, "{error}"),
                Err(error) => assert_eq!(error.code, ErrorCode::Fenced),
            }
        }
        Step::Write { .. } => {
            if let Some(owner) = &mut known.owner {
                let len = usize::try_from(owner.len).unwrap();
                owner.write(0, &vec![pattern; len]).unwrap().unwrap();
                known.pattern = pattern;
            }
        }
        Step::Disconnect { .. } => {
            if known.owner.take().is_some() {
                let mut watch = support::Watch::start(client, label).await;
                while client.show(label).await.unwrap().owner_alive {
                    watch.next().await;
                }
            }
        }
        Step::Create { .. } | Step::Delete { .. } | Step::Restart => unreachable!("done before"),
    }
}

impl Known {
    fn is_alive(&self) -> bool {
        self.open && self.owner.is_some()
    }

    fn owned(&mut self, opened: outlive_proto::v1::Opened) {
        self.generation += 1;
        assert_eq!(opened.region.as_ref().unwrap().generation, self.generation);
        self.open = true;
        self.owner = Some(Data::connect(&opened).unwrap());
    }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, ControlError>, code: ErrorCode) {
    assert_eq!(outcome.unwrap_err().code, code);
}
