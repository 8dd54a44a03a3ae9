use super::*;

fn report(id: u8, role: Role, generation: u64, wait_ms: u64) -> ReportMemberRequest {
    let member = MemberStatus {
        id: vec![id; 16],
        address: format!("member-{id}"),
        role: role.into(),
        generation,
        ..MemberStatus::default()
    };
    ReportMemberRequest {
        pair: "p".into(),
        member: Some(member),
        wait_ms,
        ..Default::default()
    }
}

async fn pair() -> Arc<Pairs> {
    let pairs = Arc::new(Pairs::default());
    pairs.report(report(1, Role::Primary, 4, 0)).await.unwrap();
    pairs.report(report(2, Role::Backup, 4, 0)).await.unwrap();
    pairs
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_hears_of_a_switchover_at_once_and_the_successor_ends_it() {
    let pairs = pair().await;
    let begun = Instant::now();
    let poll = tokio::spawn({
        let pairs = Arc::clone(&pairs);
        async move { pairs.report(report(1, Role::Primary, 4, 10_000)).await }
    });
    let backup = tokio::spawn({
        let pairs = Arc::clone(&pairs);
        async move { pairs.report(report(2, Role::Backup, 4, 10_000)).await }
    });
    tokio::task::yield_now().await;
    let switch = tokio::spawn({
        let pairs = Arc::clone(&pairs);
        async move { pairs.switchover("p", Duration::from_secs(5)).await }
    });
    assert!(poll.await.unwrap().unwrap().switchover);
    assert_eq!(
        begun.elapsed(),
        Duration::ZERO,
        "the request must not wait for the next report"
    );
    assert!(!backup.is_finished(), "only the primary is asked");
    pairs.report(report(1, Role::Backup, 4, 0)).await.unwrap();
    pairs.report(report(2, Role::Primary, 5, 0)).await.unwrap();
    let done = switch.await.unwrap().unwrap();
    assert_eq!(
        (done.old_primary.as_str(), done.new_primary.as_str()),
        ("member-1", "member-2")
    );
    let after = pairs.report(report(2, Role::Primary, 5, 0)).await.unwrap();
    assert!(!after.switchover, "the request ends with the switchover");
}

#[tokio::test(start_paused = true)]
async fn a_switchover_that_nobody_follows_times_out_and_is_taken_back() {
    let pairs = pair().await;
    let error = pairs
        .switchover("p", Duration::from_millis(300))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::TimedOut);
    assert!(error.message.contains("member-1"), "{error}");
    assert!(
        !pairs
            .report(report(1, Role::Primary, 4, 0))
            .await
            .unwrap()
            .switchover
    );
}

#[tokio::test(start_paused = true)]
async fn without_primary_or_backup_there_is_nobody_to_ask() {
    let pairs = Pairs::default();
    let asked = async |pairs: &Pairs| pairs.switchover("p", Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(asked(&pairs).await.code, ErrorCode::NoSuchPair);
    pairs.report(report(1, Role::Primary, 4, 0)).await.unwrap();
    assert!(asked(&pairs).await.message.contains("no backup"));
    tokio::time::advance(PRESENT).await;
    pairs.report(report(2, Role::Backup, 4, 0)).await.unwrap();
    assert!(asked(&pairs).await.message.contains("no primary"));
}

#[tokio::test(start_paused = true)]
async fn one_switchover_at_a_time() {
    let pairs = pair().await;
    let first = pairs.switchover("p", Duration::from_secs(1));
    let second = async {
        tokio::task::yield_now().await;
        pairs.switchover("p", Duration::from_secs(1)).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap_err().code, ErrorCode::TimedOut);
    assert_eq!(second.unwrap_err().code, ErrorCode::Invalid);
}

#[tokio::test(start_paused = true)]
async fn members_that_are_silent_or_leave_are_dropped() {
    let pairs = pair().await;
    let takeover = Takeover {
        generation: 5,
        ..Takeover::default()
    };
    let mut told = report(2, Role::Backup, 4, 0);
    told.takeover = Some(takeover.clone());
    pairs.report(told).await.unwrap();
    assert_eq!(pairs.status(|_| true)[0].members.len(), 2);
    assert_eq!(pairs.status(|_| true)[0].last_takeover, Some(takeover));
    let mut leaving = report(1, Role::Primary, 4, 10_000);
    leaving.leaving = true;
    pairs.report(leaving).await.unwrap();
    assert_eq!(pairs.status(|_| true)[0].members.len(), 1);
    tokio::time::advance(limits::MEMBER_SILENT / 2).await;
    assert_eq!(
        u128::from(pairs.status(|_| true)[0].members[0].silent_ms),
        limits::MEMBER_SILENT.as_millis() / 2
    );
    tokio::time::advance(limits::MEMBER_SILENT / 2).await;
    assert!(pairs.status(|_| true).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_tables_are_bounded() {
    let pairs = Pairs::default();
    for start in 0..100 {
        pairs.report(report(start, Role::Backup, 1, 0)).await.unwrap();
    }
    assert_eq!(pairs.status(|_| true)[0].members.len(), limits::MEMBERS_PER_PAIR);
    for number in 1..limits::PAIRS {
        let mut other = report(1, Role::Backup, 1, 0);
        other.pair = format!("pair-{number}");
        pairs.report(other).await.unwrap();
    }
    let mut beyond = report(1, Role::Backup, 1, 0);
    beyond.pair = "beyond".into();
    assert_eq!(
        pairs.report(beyond.clone()).await.unwrap_err().code,
        ErrorCode::Limit
    );
    tokio::time::advance(limits::MEMBER_SILENT).await;
    pairs.report(beyond).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reports_are_checked() {
    let pairs = Pairs::default();
    let mut nameless = report(1, Role::Backup, 1, 0);
    nameless.pair = String::new();
    let mut idless = report(1, Role::Backup, 1, 0);
    idless.member.as_mut().unwrap().id.pop();
    let mut long = report(1, Role::Backup, 1, 0);
    long.member.as_mut().unwrap().address = "x".repeat(limits::OWNER_BYTES + 1);
    let memberless = ReportMemberRequest {
        pair: "p".into(),
        ..Default::default()
    };
    for request in [nameless, idless, long, memberless] {
        assert_eq!(pairs.report(request).await.unwrap_err().code, ErrorCode::Invalid);
    }
    assert!(pairs.status(|_| true).is_empty());
}
