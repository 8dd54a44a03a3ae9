//! The manager's audit log: one line for each grant, refusal, fence, takeover and administrative act.

use std::path::Path;

use outlive_audit::{Audit, AuditOptions};
use outlive_manager::limits;
use outlive_proto::v1::*;
use serde_json::Value;

use crate::support::{self, Calls, World, memory, raw, typed};

async fn audited(path: &Path) -> World {
    let unit = support::unit(&memory(64));
    let mut options = support::options(unit.admin_client());
    options.name = "the manager".into();
    options.audit = Audit::open(path, AuditOptions::default()).unwrap();
    World::with(unit, options).await
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A line without its time, source and reason.
fn brief(line: &Value) -> String {
    let names = [
        "act",
        "outcome",
        "identity",
        "region",
        "subject",
        "right",
        "generation",
        "count",
    ];
    let fields = names.iter().filter_map(|name| match &line[name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        number => Some(format!("{}={number}", name.chars().next().unwrap())),
    });
    fields.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_has_exactly_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let world = audited(&path).await;
    let admin = world.client.clone();
    let [p, q, b, ann, nobody] = ["p", "q", "b", "ann", "nobody"].map(|name| world.client_as(name));
    let started = lines(&path).len();
    assert_eq!(started, 2);

    support::create(&admin, raw("r", &["p"], &["b"])).await.unwrap();
    p.primary("r", "").await.unwrap();
    b.backup("r").await.unwrap();
    b.primary("r", "").await.unwrap_err();
    nobody.primary("r", "").await.unwrap_err();
    p.reconnect("r", 1).await.unwrap();
    admin.change("r", "q", AccessRight::Owner, true).await.unwrap();
    q.take_over("r", 1, "").await.unwrap();
    p.take_over("r", 1, "").await.unwrap_err();
    p.close("r", 1).await.unwrap_err();
    q.close("r", 2).await.unwrap();
    admin.change("r", "p", AccessRight::Owner, false).await.unwrap();
    admin.admit("ann", true).await.unwrap();
    typed(ann.clone().open_catalog(OpenCatalogRequest {}).await).unwrap();
    typed(b.clone().list_identities(ListIdentitiesRequest {}).await).unwrap_err();
    b.show("nowhere").await.unwrap_err();
    // Nothing is said of who looks at what it may see, nor of an administrator who looks for what is not there.
    b.show("r").await.unwrap();
    admin.list().await;
    admin.whoami().await.unwrap();
    admin.show("nowhere").await.unwrap_err();
    admin.resize("r", 2 << 20, 2).await.unwrap_err();
    let request = IssueIdentityRequest {
        name: "eve".into(),
        ..IssueIdentityRequest::default()
    };
    typed(admin.clone().issue_identity(request).await).unwrap_err();
    admin.revoke("ann").await.unwrap();
    ann.whoami().await.unwrap_err();
    let request = SwitchoverRequest {
        pair: "r".into(),
        timeout_ms: 1,
    };
    typed(admin.clone().switchover(request).await).unwrap_err();
    admin.delete("r").await.unwrap();

    let expected = [
        "admit_identity done the manager administrator +administrator",
        "attach done the manager g=1",
        "create_region done administrator r",
        "fence done p r g=1 c=0",
        "open done p r owner g=1",
        "open done b r reader g=1",
        "open refused b r owner",
        "open refused nobody r owner",
        "fence done p r g=1 c=0",
        "reconnect done p r holder g=1",
        "change_access done administrator r q +owner c=0",
        "fence done q r g=2 c=0",
        "takeover done q r owner g=2",
        "takeover failed p r owner g=2",
        "close failed p r holder g=2",
        "fence done q r g=2 c=0",
        "close done q r g=2",
        "change_access done administrator r p -owner c=0",
        "admit_identity done administrator ann +administrator c=0",
        "open_catalog done ann administrator g=1",
        "inspect refused b administrator",
        "inspect refused b nowhere",
        "resize_region refused administrator r owner",
        "issue_identity failed administrator eve administrator",
        "revoke_identity done administrator ann c=0",
        "inspect refused ann",
        "switchover failed administrator r owner",
        "delete_region done administrator r g=2",
    ];
    let lines = lines(&path);
    let found: Vec<_> = lines.iter().map(brief).collect();
    assert_eq!(found, expected);
    for line in &lines[started..] {
        assert_eq!(line["source"], "192.0.2.1:7", "{line}");
        assert!(line["time"].is_string(), "{line}");
        assert_eq!(line["reason"].is_string(), line["outcome"] != "done", "{line}");
    }
    // What is hidden is said here and nowhere else.
    let hidden = |at: usize| {
        lines[at]["reason"]
            .as_str()
            .unwrap()
            .contains("told that it does not exist")
    };
    let at = |of: &str| expected.iter().position(|line| *line == of).unwrap();
    assert!(hidden(at("open refused nobody r owner")));
    assert!(!hidden(at("inspect refused b nowhere")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_manager_stops_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let unit = support::unit(&memory(64));
    let fuse = support::faults::Fuse::new();
    let admin = support::faults::fused_admin(unit.admin_client(), fuse.clone()).await;
    let world = World::with(unit, support::options(admin)).await;
    support::create(&world.client, raw("r", &["p"], &[]))
        .await
        .unwrap();
    let opened = world.client_as("p").primary("r", "").await.unwrap();
    let mut data = support::Data::connect(&opened).unwrap();
    data.read(0, 1).unwrap();
    fuse.refuse_revocations(true);
    world
        .client
        .change("r", "p", AccessRight::Owner, false)
        .await
        .unwrap_err();
    let mut options = support::options(world.unit.admin_client());
    options.name = "the next".into();
    options.audit = Audit::open(&path, AuditOptions::default()).unwrap();
    outlive_manager::Manager::attach(options).await.unwrap();
    let found: Vec<_> = lines(&path).iter().map(brief).collect();
    assert_eq!(
        found,
        ["disconnect done the next r p c=1", "attach done the next g=2"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_too_often_is_told_to_wait_and_others_are_not_affected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let world = audited(&path).await;
    support::create(&world.client, raw("secret", &["p"], &["mallory-reads"]))
        .await
        .unwrap();
    let mallory = world.client_as("mallory");
    let mut codes = Vec::new();
    for number in 0..4 * limits::REFUSAL_BURST {
        let region = if number % 2 == 0 {
            "secret".to_owned()
        } else {
            format!("guess-{number}")
        };
        codes.push(mallory.show(&region).await.unwrap_err().code);
    }
    let explained = codes
        .iter()
        .filter(|code| **code == ErrorCode::NoSuchRegion)
        .count();
    let burst = limits::REFUSAL_BURST as usize;
    assert!(codes[..burst].iter().all(|code| *code == ErrorCode::NoSuchRegion));
    assert!(
        codes[burst..].contains(&ErrorCode::Limit),
        "{explained} of {}",
        codes.len()
    );
    // Who may, may; from the same host, and even with the same identity.
    world.client_as("p").primary("secret", "").await.unwrap();
    assert!(mallory.list().await.is_empty());
    let lines = lines(&path);
    let of = |identity: &str| lines.iter().filter(|line| line["identity"] == identity).count();
    assert!(of("mallory") < codes.len() / 4, "{} lines", of("mallory"));
    assert_eq!(of("p"), 2);
}
