//! What we depend on: licences, origins, versions, foreign code, duplicates. Reads `cargo metadata`,
//! of this machine's platform only, so that nothing is downloaded that is not built anyway.

use std::collections::BTreeMap;
use std::process::Command;

use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::policy;
use crate::step::{Failure, captured, cargo};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Prints findings and fails on any; duplicates are only reported.
pub(crate) fn check() -> Result<(), Failure> {
    let metadata = metadata()?;
    let findings = findings(&metadata.packages);
    for duplicate in duplicates(&metadata.packages) {
        println!("note: {duplicate}");
    }
    for finding in &findings {
        println!("error: {finding}");
    }
    println!(
        "{} packages, {} finding(s)",
        metadata.packages.len(),
        findings.len()
    );
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Failure::Findings {
            check: "dependencies and licences",
            count: findings.len(),
        })
    }
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Clone, Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for the workspace's own.
    source: Option<String>,
    dependencies: Vec<Dependency>,
    /// Native library that the package links, by its own account.
    links: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Dependency {
    name: String,
    req: String,
    kind: Option<String>,
    source: Option<String>,
    path: Option<String>,
    #[serde(default)]
    optional: bool,
}

fn metadata() -> Result<Metadata, Failure> {
    let platform = platform()?;
    let output = captured(&mut cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        &platform,
    ]))?;
    serde_json::from_slice(&output).map_err(|error| Failure::check("cannot read `cargo metadata`", error))
}

fn platform() -> Result<String, Failure> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = captured(rustc.arg("-vV"))?;
    String::from_utf8_lossy(&output)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .ok_or_else(|| Failure::check("cannot read `rustc -vV`", "it names no host"))
}

fn findings(packages: &[Package]) -> Vec<String> {
    packages.iter().flat_map(package_findings).collect()
}

fn package_findings(package: &Package) -> Vec<String> {
    let who = format!("{} {}", package.name, package.version);
    let mut findings = Vec::new();
    if let Err(why) = licence(package.license.as_deref()) {
        findings.push(format!("{who}: {why}"));
    }
    if let Some((_, why)) = policy::BANNED.iter().find(|(name, _)| *name == package.name) {
        findings.push(format!("{who}: banned: {why}"));
    }
    if package
        .source
        .as_deref()
        .is_some_and(|source| source != CRATES_IO)
    {
        findings.push(format!("{who}: does not come from crates.io"));
    }
    if !policy::FOREIGN_CODE.contains(&package.name.as_str())
        && let Some(why) = foreign_code(package)
    {
        findings.push(format!("{who}: {why}; not in the list of packages that may"));
    }
    if package.source.is_none() {
        findings.extend(
            package
                .dependencies
                .iter()
                .filter_map(|dependency| own_dependency(&who, dependency)),
        );
    }
    findings
}

/// Whether our licence list satisfies the expression.
fn licence(expression: Option<&str>) -> Result<(), String> {
    let text = expression.ok_or("names no licence")?;
    let parsed = Expression::parse_mode(text, ParseMode::LAX)
        .map_err(|error| format!("licence {text:?}: {}", error.reason))?;
    let allowed = parsed.evaluate(|requirement| {
        requirement
            .license
            .id()
            .is_some_and(|id| policy::LICENCES.contains(&id.name))
    });
    if allowed {
        Ok(())
    } else {
        Err(format!("licence {text:?} is not in the list of allowed ones"))
    }
}

fn foreign_code(package: &Package) -> Option<String> {
    if package.name.ends_with("-sys") && package.name != "linux-raw-sys" && package.name != "windows-sys" {
        return Some("is a -sys crate, which binds a native library".to_owned());
    }
    let tool = package.dependencies.iter().find(|dependency| {
        dependency.kind.as_deref() == Some("build")
            && !dependency.optional
            && policy::FOREIGN_CODE_TOOLS.contains(&dependency.name.as_str())
    });
    if let Some(tool) = tool {
        return Some(format!(
            "compiles or looks for foreign code when it is built (through {})",
            tool.name
        ));
    }
    // Cargo's `links` key is also used to keep two versions of one Rust crate apart.
    let native = package
        .links
        .as_deref()
        .filter(|links| links.starts_with("lib") || links.ends_with("_native"));
    native.map(|links| format!("links the native library {links:?}"))
}

fn own_dependency(who: &str, dependency: &Dependency) -> Option<String> {
    let name = &dependency.name;
    if dependency.path.is_some() {
        return None;
    }
    if dependency
        .source
        .as_deref()
        .is_some_and(|source| source.starts_with("git+"))
    {
        return Some(format!("{who}: depends on {name} from git"));
    }
    dependency.req.contains('*').then(|| {
        format!(
            "{who}: depends on {name} with the wildcard version {:?}",
            dependency.req
        )
    })
}

/// Packages that are there in more than one version.
fn duplicates(packages: &[Package]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| {
            format!(
                "{name} is there in {} versions: {}",
                versions.len(),
                versions.join(", ")
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, licence: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: Some(licence.to_owned()),
            source: Some(CRATES_IO.to_owned()),
            dependencies: Vec::new(),
            links: None,
        }
    }

    fn dependency(name: &str, req: &str, kind: Option<&str>) -> Dependency {
        Dependency {
            name: name.to_owned(),
            req: req.to_owned(),
            kind: kind.map(str::to_owned),
            source: Some(CRATES_IO.to_owned()),
            path: None,
            optional: false,
        }
    }

    #[test]
    fn licences_are_judged_as_expressions() {
        for allowed in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
        ] {
            assert_eq!(licence(Some(allowed)), Ok(()), "{allowed}");
        }
        for refused in [
            "GPL-3.0-only",
            "MIT AND GPL-2.0-only",
            "AGPL-3.0-or-later",
            "no such licence",
        ] {
            assert!(licence(Some(refused)).is_err(), "{refused}");
        }
        assert!(licence(None).is_err());
    }

    #[test]
    fn a_clean_package_gives_no_finding() {
        assert_eq!(
            package_findings(&package("serde", "MIT OR Apache-2.0")),
            Vec::<String>::new()
        );
        assert_eq!(
            package_findings(&package("linux-raw-sys", "MIT")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn banned_and_foreign_packages_are_found() {
        let banned = package_findings(&package("openssl-sys", "MIT"));
        assert!(
            banned.iter().any(|finding| finding.contains("banned")),
            "{banned:?}"
        );

        let mut compiles = package("zstd-thing", "MIT");
        compiles.dependencies.push(dependency("cc", "^1", Some("build")));
        assert!(package_findings(&compiles)[0].contains("through cc"));

        let mut elsewhere = package("mine", "MIT");
        elsewhere.source = Some("git+https://example.org/mine".to_owned());
        assert!(package_findings(&elsewhere)[0].contains("crates.io"));
    }

    #[test]
    fn our_own_manifests_may_not_use_wildcards_or_git() {
        let mut own = package("outlive", "MIT");
        own.source = None;
        own.dependencies.push(dependency("serde", "*", None));
        let mut git = dependency("tonic", "^0.14", None);
        git.source = Some("git+https://example.org/tonic".to_owned());
        own.dependencies.push(git);
        let mut path = dependency("outlive-layout", "*", None);
        path.path = Some("crates/outlive-layout".to_owned());
        path.source = None;
        own.dependencies.push(path);
        let findings = package_findings(&own);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].contains("wildcard") && findings[1].contains("git"));
    }

    #[test]
    fn duplicates_are_named_with_their_versions() {
        let mut newer = package("syn", "MIT");
        newer.version = "2.0.0".to_owned();
        let found = duplicates(&[package("syn", "MIT"), newer, package("serde", "MIT")]);
        assert_eq!(found, ["syn is there in 2 versions: 1.0.0, 2.0.0"]);
    }
}
