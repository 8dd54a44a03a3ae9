//! The unit is killed and comes back under a running pair; and both members are gone and come back.

use outlive_pair::{Request, Role};

use crate::support::{Server, ask, becomes, number, open_session, settled, within};

#[tokio::test(flavor = "multi_thread")]
async fn the_pair_survives_the_unit() {
    let mut server = Server::start();
    let first = server.member("pair", "a:1");
    settled(&first, Role::Primary).await;
    let second = server.member("pair", "b:2");
    settled(&second, Role::Backup).await;
    let members = [first, second];
    let session = open_session(&members).await;
    for n in 1..=20 {
        ask(&members, &Request::numbered(session, n, "add 1")).await;
        if n % 5 == 0 {
            server.restart();
        }
    }
    assert_eq!(ask(&members, &Request::plain("get")).await, b"20");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_members_and_the_unit_are_gone_and_come_back() {
    let mut server = Server::start();
    let first = server.member("pair", "a:1");
    settled(&first, Role::Primary).await;
    let session = open_session(std::slice::from_ref(&first)).await;
    assert_eq!(
        number(&first, Request::numbered(session, 1, "add 4")).await,
        Ok(4)
    );
    within(first.leave()).await;
    server.restart();
    let again = server.member("pair", "a:1");
    becomes(&again, Role::Primary).await;
    assert_eq!(
        number(&again, Request::numbered(session, 1, "add 4")).await,
        Ok(4),
        "not twice"
    );
    assert_eq!(number(&again, Request::plain("get")).await, Ok(4));
}
