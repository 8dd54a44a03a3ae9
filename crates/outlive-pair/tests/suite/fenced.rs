//! A primary that is stopped (SIGSTOP) for the whole of a takeover, and then goes on.

use std::time::Duration;

use outlive_pair::{CallError, Member, Request, Role};

use crate::support::child::{self, say};
use crate::support::counter::Counter;
use crate::support::{Server, becomes, config, number, settled};

/// In the child: reads and writes in turn, and says what it is told, then its role when it is no longer primary.
async fn work(session: outlive::Session) {
    let member = Member::start(session, config("pair", "child:1"), Counter::default()).expect("a member");
    settled(&member, Role::Primary).await;
    say("ready");
    for i in 0.. {
        let request = if i % 2 == 0 {
            Request::plain("get")
        } else {
            Request::plain("add 1")
        };
        match member.call(request).await {
            Ok(reply) => say(format!("answered {}", String::from_utf8_lossy(&reply))),
            Err(CallError::OutcomeUnknown { .. }) => say("unknown"),
            Err(CallError::NotPrimary { .. }) => break,
            Err(error) => say(error),
        }
    }
    becomes(&member, Role::Backup).await;
    say("backup");
    let primary = member
        .wait_until(|view| view.primary.as_deref() == Some("b:2"))
        .await
        .primary;
    say(primary.unwrap_or_default());
    child::listen();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_primary_answers_nothing_and_becomes_backup() {
    if let Some(session) = child::session() {
        return work(session).await;
    }
    let server = Server::start();
    let mut primary = child::start(
        "fenced::a_fenced_primary_answers_nothing_and_becomes_backup",
        &server,
    );
    assert_eq!(primary.hear(), "ready");
    let mut following = config("pair", "b:2");
    following.suspect_after = Duration::from_millis(300);
    let backup = server.member_with(following);
    settled(&backup, Role::Backup).await;
    for _ in 0..20 {
        let said = primary.hear();
        assert!(said.starts_with("answered "), "{said}");
    }
    primary.pause();
    becomes(&backup, Role::Primary).await;
    number(&backup, Request::plain("add 1000000"))
        .await
        .expect("the new primary serves");
    primary.go_on();

    // It had one request under way at a time. Whatever was answered before the stop may still be in the pipe;
    // whatever it accepts afterwards is not answered, so it says at last that it is backup.
    let mut last = String::new();
    loop {
        let said = primary.hear();
        if said == "backup" {
            break;
        }
        if let Some(value) = said.strip_prefix("answered ") {
            let value: i64 = value.parse().expect("a number");
            assert!(
                value < 1_000_000,
                "answered with what only the new primary can know"
            );
            assert_ne!(last, "unknown", "answered after it was fenced");
        }
        last = said;
    }
    assert_eq!(primary.hear(), "b:2", "it knows the new primary");
    // Nothing that it did after the stop reached the state.
    let value = number(&backup, Request::plain("get")).await.expect("a value");
    assert_eq!(number(&backup, Request::plain("add 1")).await, Ok(value + 1));
    assert!(value >= 1_000_000);
}
