//! A primary process killed with SIGKILL in the middle of its work.

use outlive_pair::{Member, Request, Role, SessionId};

use crate::support::child::{self, listen, say};
use crate::support::counter::Counter;
use crate::support::{Server, becomes, config, eventually, number, settled, within};

/// Numbered requests that the child has under way at a time: as many replies are remembered.
const UNDER_WAY: u64 = 32;

/// In the child: adds one again and again under a session, and says each acknowledged number.
async fn work(session: outlive::Session) {
    let member = Member::start(session, config("pair", "child:1"), Counter::default()).expect("a member");
    settled(&member, Role::Primary).await;
    let id = member.open_session().await.expect("a session");
    say(id);
    listen();
    let mut replies = std::collections::VecDeque::new();
    for n in 1.. {
        replies.push_back((
            n,
            member
                .send(Request::numbered(id, n, "add 1"))
                .await
                .expect("accepted"),
        ));
        if replies.len() as u64 == UNDER_WAY {
            let (n, reply) = replies.pop_front().expect("not empty");
            assert_eq!(reply.await, Ok(n.to_string().into_bytes()));
            say(n);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_is_followed_with_nothing_lost_and_nothing_done_twice() {
    if let Some(session) = child::session() {
        return work(session).await;
    }
    for acknowledged_before in [1, 300] {
        let server = Server::start();
        let mut primary = child::start(
            "takeover::a_killed_primary_is_followed_with_nothing_lost_and_nothing_done_twice",
            &server,
        );
        let session: SessionId = primary.hear().parse().expect("a session");
        let backup = server.member("pair", "b:2");
        settled(&backup, Role::Backup).await;
        primary.tell("go");
        let mut acknowledged: u64 = 0;
        while acknowledged < acknowledged_before {
            acknowledged = primary.hear().parse().expect("a number");
        }
        primary.kill();

        becomes(&backup, Role::Primary).await;
        let value = number(&backup, Request::plain("get")).await.expect("a value");
        let value = u64::try_from(value).expect("positive");
        assert!(value >= acknowledged, "{value} of {acknowledged} acknowledged");
        // What was under way is sent again: each is carried out once, whether it was before or not.
        for n in value.saturating_sub(UNDER_WAY / 2).max(1)..=value + UNDER_WAY {
            assert_eq!(
                number(&backup, Request::numbered(session, n, "add 1")).await,
                Ok(i64::try_from(n).expect("small"))
            );
        }
        let takeover = within(backup.wait_until(|view| view.last_takeover.is_some()))
            .await
            .last_takeover;
        let takeover = takeover.expect("a takeover");
        assert_eq!(
            takeover.generation,
            takeover.fenced_generation + 1,
            "{takeover:?}"
        );
        assert!(takeover.total >= takeover.fence + takeover.read, "{takeover:?}");
        // `status` shows it.
        let (session, generation) = (server.session(), takeover.generation);
        let reported = eventually(|| {
            let status = session.status().expect("a status");
            let pair = status.pairs.into_iter().find(|pair| pair.name == "pair")?;
            pair.last_takeover.filter(|last| last.generation == generation)
        })
        .await;
        assert_eq!(reported.member, "b:2");
    }
}
