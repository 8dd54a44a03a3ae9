//! What strangers can hold.

use outlive_identity::{Authority, ConnectError, ListenOptions};
use tokio::net::TcpStream;

use crate::support::{Server, client, client_tls, server_tls};

#[tokio::test]
async fn a_thousand_half_open_handshakes_lock_nobody_out() {
    let authority = Authority::generate().unwrap();
    let options = ListenOptions {
        handshake_timeout: std::time::Duration::from_secs(600),
        max_unfinished: 32,
        ..ListenOptions::default()
    };
    let mut server = Server::start_with(server_tls(&authority), options).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(TcpStream::connect(server.address).await.unwrap());
    }
    let alice = client(&authority, "alice");
    server
        .connect(client_tls(authority.certificate_pem(), &alice))
        .await
        .unwrap();
    assert_eq!(server.callers.recv().await.unwrap().name.as_str(), "alice");
    // The oldest were broken off: reading ends at once.
    let mut oldest = held.remove(0);
    let read = tokio::io::AsyncReadExt::read(&mut oldest, &mut [0; 1]).await;
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_broken_off() {
    let authority = Authority::generate().unwrap();
    let options = ListenOptions {
        handshake_timeout: std::time::Duration::from_millis(100),
        ..ListenOptions::default()
    };
    let server = Server::start_with(server_tls(&authority), options).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let read = tokio::io::AsyncReadExt::read(&mut silent, &mut [0; 1]).await;
    assert!(matches!(read, Ok(0) | Err(_)));
    assert!(
        server
            .await_rejected()
            .await
            .reason
            .contains("no handshake within")
    );
}

#[tokio::test]
async fn one_identity_cannot_take_every_place() {
    let authority = Authority::generate().unwrap();
    let options = ListenOptions {
        max_connections: 4,
        max_connections_per_identity: 2,
        ..ListenOptions::default()
    };
    let server = Server::start_with(server_tls(&authority), options).await;
    let connect = async |name: &str| {
        server
            .connect(client_tls(authority.certificate_pem(), &client(&authority, name)))
            .await
    };
    let first = connect("greedy").await.unwrap();
    let _second = connect("greedy").await.unwrap();
    assert!(matches!(
        connect("greedy").await,
        Err(ConnectError::Unreachable(_))
    ));
    assert!(
        server
            .await_rejected()
            .await
            .reason
            .contains("2 connections open")
    );
    let _other = connect("modest").await.unwrap();
    drop(first);
    // Its place comes free as soon as the server has seen the end.
    let began = std::time::Instant::now();
    while connect("greedy").await.is_err() {
        assert!(
            began.elapsed() < crate::support::PATIENCE,
            "the place never came free"
        );
    }
}
