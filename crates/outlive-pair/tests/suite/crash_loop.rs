//! A pair that keeps crashing stops, and says so.

use outlive_pair::{CallError, CrashLoop, Member, Request, Role};

use crate::support::{Server, becomes, config, settled, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_keeps_crashing_stops_with_a_message_and_so_does_a_newcomer() {
    const LIMIT: u32 = 3;
    let server = Server::start();
    let start = |advertise: String| -> Member {
        let mut config = config("pair", &advertise);
        config.crash_loop = CrashLoop {
            takeovers: LIMIT,
            window: std::time::Duration::from_secs(600),
        };
        server.member_with(config)
    };
    let mut primary = start("m:0".into());
    settled(&primary, Role::Primary).await;
    let mut takeovers = 0;
    let stopped = loop {
        let backup = start(format!("m:{}", takeovers + 1));
        settled(&backup, Role::Backup).await;
        let crashed = within(primary.call(Request::plain("crash"))).await;
        assert!(
            matches!(
                crashed,
                Err(CallError::OutcomeUnknown { .. } | CallError::Stopped { .. })
            ),
            "{crashed:?}"
        );
        let view = within(backup.wait_until(|view| view.role == Role::Primary)).await;
        if view.role == Role::Stopped {
            break view;
        }
        takeovers += 1;
        assert!(takeovers <= LIMIT, "never stops");
        primary = backup;
    };
    assert_eq!(takeovers, LIMIT);
    let why = stopped.stopped.expect("a message");
    assert!(why.contains("crash loop") && why.contains("3 takeovers"), "{why}");

    let newcomer = start("m:9".into());
    becomes(&newcomer, Role::Stopped).await;
    let refused = within(newcomer.call(Request::plain("get"))).await;
    assert!(matches!(refused, Err(CallError::Stopped { why }) if why.contains("crash loop")));
}
