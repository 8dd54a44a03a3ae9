//! False suspicion costs takeovers and nothing else.

use std::time::Duration;

use outlive_pair::{CrashLoop, Member, Request, Role};

use crate::support::{Server, ask, config, open_session, settled, within};

#[tokio::test(flavor = "multi_thread")]
async fn false_suspicion_is_harmless() {
    const TASKS: u64 = 4;
    const EACH: u64 = 150;
    let server = Server::start();
    let start = |advertise: &str| -> Member {
        let mut config = config("pair", advertise);
        // No primary can live up to this.
        config.heartbeat = Duration::from_millis(40);
        config.suspect_after = Duration::from_millis(120);
        config.crash_loop = CrashLoop {
            takeovers: 250,
            window: Duration::from_secs(1),
        };
        server.member_with(config)
    };
    let first = start("a:1");
    settled(&first, Role::Primary).await;
    let second = start("b:2");
    settled(&second, Role::Backup).await;
    let members = [first, second];
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let members = members.clone();
        tasks.push(tokio::spawn(async move {
            let session = open_session(&members).await;
            for n in 1..=EACH {
                ask(&members, &Request::numbered(session, n, "add 1")).await;
            }
        }));
    }
    // Whoever is primary is taken over from while it works and lives: by the library, as a mistaken person would.
    for _ in 0..4 {
        let session = server.session();
        let mistaken = tokio::task::spawn_blocking(move || {
            let mut backup = session.backup("pair").expect("a backup");
            backup.read_all().expect("read");
            // Losing the race to a member is as good.
            drop(backup.takeover(&outlive::TakeoverOptions::owner("mistaken")));
        });
        within(mistaken).await.expect("no panic");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for task in tasks {
        within(task).await.expect("no panic");
    }
    let total = TASKS * EACH;
    assert_eq!(
        ask(&members, &Request::plain("get")).await,
        total.to_string().into_bytes()
    );
    let takeovers: u64 = members.iter().map(|member| member.metrics().takeovers).sum();
    assert!(takeovers >= 1, "nobody was suspected");
}
