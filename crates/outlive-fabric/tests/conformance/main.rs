//! Every provider passes the same list, and the table of it is printed:
//! `cargo test -p outlive-fabric --test conformance -- --nocapture`. `OUTLIVE_CASE=name` runs only the cases whose
//! names contain that.

mod broken;
mod sim;
mod tcp;
mod teeth;

use std::collections::BTreeSet;

use outlive_fabric::conformance::{Provider, cases, run};

/// What each provider cannot show. A new entry wants a reason that holds.
fn providers() -> Vec<Provider> {
    vec![
        Provider::of::<sim::Sim>("sim").unable(&sim::UNABLE),
        Provider::of::<sim::InRealTime>("sim, clock").unable(&sim::UNABLE),
        Provider::of::<tcp::Plain>("tcp"),
        Provider::of::<tcp::Encrypted>("tcp + TLS"),
    ]
}

#[test]
fn every_provider_passes_the_same_list() {
    let filter = std::env::var("OUTLIVE_CASE").unwrap_or_default();
    let report = run(&providers(), &filter);
    println!("{report}");
    assert!(report.cases() > 0, "no case is called {filter:?}");
    assert_eq!(report.failures(), Vec::<String>::new());
}

#[test]
fn a_name_is_one_case() {
    let cases = cases::<sim::Sim>();
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
}
