//! Client sessions: what was carried out once stays so.

use outlive_pair::{CallError, Request, Role, SessionId};

use crate::support::{Server, ask, becomes, config, number, open_session, settled, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_again_is_answered_again_also_by_the_successor() {
    let server = Server::start();
    let first = server.member("pair", "a:1");
    settled(&first, Role::Primary).await;
    let second = server.member("pair", "b:2");
    settled(&second, Role::Backup).await;
    let session = open_session(std::slice::from_ref(&first)).await;
    let add = |n| Request::numbered(session, n, "add 10");

    assert_eq!(number(&first, add(1)).await, Ok(10));
    assert_eq!(number(&first, add(2)).await, Ok(20));
    assert_eq!(number(&first, add(1)).await, Ok(10), "the same reply");
    assert_eq!(
        number(&first, add(4)).await,
        Err(CallError::OutOfOrder {
            number: 4,
            expected: 3
        })
    );

    within(first.leave()).await;
    becomes(&second, Role::Primary).await;
    assert_eq!(
        number(&second, add(2)).await,
        Ok(20),
        "the same reply from the successor"
    );
    assert_eq!(number(&second, Request::plain("get")).await, Ok(20));
    assert_eq!(number(&second, add(3)).await, Ok(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_session_is_unknown_and_nothing_is_done_twice() {
    let server = Server::start();
    let mut config = config("pair", "a:1");
    config.replies.sessions = 2;
    let member = server.member_with(config);
    settled(&member, Role::Primary).await;
    let members = [member.clone()];
    let evicted = open_session(&members).await;
    assert_eq!(
        number(&member, Request::numbered(evicted, 1, "add 1")).await,
        Ok(1)
    );
    open_session(&members).await;
    open_session(&members).await;

    for n in [1, 2] {
        let refused = number(&member, Request::numbered(evicted, n, "add 1")).await;
        assert_eq!(refused, Err(CallError::UnknownSession { session: evicted }));
    }
    let never = SessionId(1);
    let refused = number(&member, Request::numbered(never, 1, "add 1")).await;
    assert_eq!(refused, Err(CallError::UnknownSession { session: never }));
    assert_eq!(ask(&members, &Request::plain("get")).await, b"1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_forgotten_is_not_earned_again() {
    let server = Server::start();
    let mut config = config("pair", "a:1");
    config.replies.replies_per_session = 1;
    let member = server.member_with(config);
    settled(&member, Role::Primary).await;
    let session = open_session(std::slice::from_ref(&member)).await;
    for n in 1..=2 {
        within(member.call(Request::numbered(session, n, "add 1")))
            .await
            .expect("added");
    }
    let refused = number(&member, Request::numbered(session, 1, "add 1")).await;
    assert_eq!(refused, Err(CallError::ReplyForgotten { number: 1 }));
    assert_eq!(number(&member, Request::plain("get")).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_keep_their_order_and_share_sets() {
    let server = Server::start();
    let member = server.member("pair", "a:1");
    settled(&member, Role::Primary).await;
    let mut replies = Vec::new();
    for i in 0..2000 {
        let request = if i % 2 == 0 {
            Request::plain("add 1")
        } else {
            Request::plain("get")
        };
        replies.push(within(member.send(request)).await.expect("accepted"));
    }
    for (i, reply) in replies.into_iter().enumerate() {
        assert_eq!(
            within(reply).await,
            Ok((i / 2 + 1).to_string().into_bytes()),
            "request {i}"
        );
    }
    let metrics = member.metrics();
    assert!(
        metrics.batches + metrics.confirms < 1000,
        "group commit: {metrics:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_is_refused_before_it_waits() {
    let server = Server::start();
    let mut config = config("pair", "a:1");
    config.flow.batch_bytes = 1000;
    let member = server.member_with(config);
    settled(&member, Role::Primary).await;
    let refused = number(&member, Request::plain(vec![b' '; 1001])).await;
    assert_eq!(
        refused,
        Err(CallError::TooLarge {
            bytes: 1001,
            limit_bytes: 1000
        })
    );
    let mut padded = b"add 1 ".to_vec();
    padded.resize(1000, b'.');
    assert_eq!(number(&member, Request::plain(padded)).await, Ok(1));
}
