//! Roles: found at the start, kept exclusive, handed over.

use outlive_pair::{CallError, Member, Request, Role};

use crate::support::{Server, becomes, number, settled, within};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_is_primary_and_serves_and_the_second_names_it() {
    let server = Server::start();
    let first = server.member("pair", "a:1");
    settled(&first, Role::Primary).await;
    let second = server.member("pair", "b:2");
    settled(&second, Role::Backup).await;

    assert_eq!(number(&first, Request::plain("add 5")).await, Ok(5));
    assert_eq!(number(&first, Request::plain("get")).await, Ok(5));
    let refused = number(&second, Request::plain("get")).await;
    assert_eq!(
        refused,
        Err(CallError::NotPrimary {
            primary: Some("a:1".into())
        })
    );
    let metrics = first.metrics();
    assert_eq!((metrics.requests, metrics.replies, metrics.reads), (2, 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_start_at_once_become_exactly_one_primary() {
    let server = Server::start();
    for round in 0..5 {
        let pair = format!("pair{round}");
        let members: Vec<Member> = (0..4).map(|i| server.member(&pair, &format!("m:{i}"))).collect();
        let mut primaries = 0;
        for member in &members {
            primaries += usize::from(within(member.settled()).await.role == Role::Primary);
        }
        assert_eq!(primaries, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_leaves_is_followed_at_once_and_nothing_is_lost() {
    let server = Server::start();
    let first = server.member("pair", "a:1");
    settled(&first, Role::Primary).await;
    let second = server.member("pair", "b:2");
    settled(&second, Role::Backup).await;
    assert_eq!(number(&first, Request::plain("add 7")).await, Ok(7));

    let left = within(first.leave()).await;
    assert_eq!((left.role, left.stopped), (Role::Stopped, None));
    becomes(&second, Role::Primary).await;
    assert_eq!(number(&second, Request::plain("get")).await, Ok(7));
    assert!(matches!(
        number(&first, Request::plain("get")).await,
        Err(CallError::Stopped { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_handles_are_dropped_is_followed() {
    let server = Server::start();
    let first = server.member("pair", "a:1");
    settled(&first, Role::Primary).await;
    let second = server.member("pair", "b:2");
    settled(&second, Role::Backup).await;
    assert_eq!(number(&first, Request::plain("add 7")).await, Ok(7));
    drop(first);
    becomes(&second, Role::Primary).await;
    assert_eq!(number(&second, Request::plain("add 1")).await, Ok(8));
}
