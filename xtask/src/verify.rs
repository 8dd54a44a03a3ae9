//! The steps of `cargo verify`, in the order in which their failures are cheapest; tests last, so that
//! a run ends with the test runner's own summary.

use std::time::Instant;

use crate::step::{self, Failure, cargo, shown};
use crate::{advisories, attacks, dependencies, links, requirements, rules, sources, test_runner};

/// Every step; stops at the first that fails.
pub(crate) fn everything() -> Result<(), Failure> {
    let started = Instant::now();
    step::run("format", || shown(&mut cargo(&["fmt", "--all", "--check"])))?;
    sources()?;
    dependencies()?;
    advisories()?;
    step::run("lints", || {
        shown(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    step::run("documentation", || {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
        shown(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    step::run("examples in the documentation", || {
        shown(&mut cargo(&[
            "test",
            "--workspace",
            "--doc",
            "--locked",
            "--quiet",
        ]))
    })?;
    println!(
        "\nall steps before the tests took {:.1} s",
        started.elapsed().as_secs_f64()
    );
    println!("\n=== tests ===");
    test_runner::run()
}

/// Licences, origins and kinds of everything that we depend on.
pub(crate) fn dependencies() -> Result<(), Failure> {
    step::run("dependencies and licences", dependencies::check)
}

/// Known vulnerabilities, where a database of them is at hand.
pub(crate) fn advisories() -> Result<(), Failure> {
    step::run_if_possible("advisories", advisories::check)
}

/// Rules on our own files that no lint knows.
pub(crate) fn sources() -> Result<(), Failure> {
    step::run("sources", sources::check)?;
    step::run("links in documents", links::check)?;
    step::run("requirements and their tests", requirements::check)?;
    step::run("attacks and their tests", attacks::check)?;
    step::run("rules of the design and their tests", rules::check)
}
