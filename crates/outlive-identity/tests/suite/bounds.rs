//! What strangers can hold.

use outlive_identity::{Authority, ConnectError, Incoming, ListenOptions, connector, listen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::StreamExt;
use tower::Service;

use crate::support::{PATIENCE, Server, client, client_tls, server_tls};

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

#[tokio::test]
async fn identities_that_take_all_they_may_lock_nobody_out() {
    let authority = Authority::generate().unwrap();
    let options = ListenOptions {
        max_connections: 4,
        max_connections_per_identity: 2,
        ..ListenOptions::default()
    };
    let mut server = Server::start_with(server_tls(&authority), options).await;
    let connect = async |name: &str| {
        server
            .connect(client_tls(authority.certificate_pem(), &client(&authority, name)))
            .await
    };
    // In this order, so that the oldest is known.
    let mut greedy = connect("greedy").await.unwrap();
    let mut others = Vec::new();
    for name in ["greedy", "grasping", "grasping"] {
        others.push(connect(name).await.unwrap());
    }
    let mut administrator = connect("administrator").await.unwrap();
    administrator.read_exact(&mut [0; 6]).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, greedy.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "the oldest of those who hold most was not ended");
    // Everybody else stays: what is sent comes back.
    for mut kept in others {
        kept.read_exact(&mut [0; 6]).await.unwrap();
        kept.write_all(b"again").await.unwrap();
        kept.flush().await.unwrap();
        kept.read_exact(&mut [0; 5]).await.unwrap();
    }
    for name in ["greedy", "greedy", "grasping", "grasping", "administrator"] {
        assert_eq!(server.callers.recv().await.unwrap().name.as_str(), name);
    }
}

#[tokio::test]
async fn a_connection_whose_client_reads_nothing_is_ended_all_the_same() {
    let authority = Authority::generate().unwrap();
    let options = ListenOptions {
        max_connections: 2,
        max_connections_per_identity: 2,
        ..ListenOptions::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut incoming = listen(listener, server_tls(&authority), options, |_| ()).unwrap();
    let address = incoming.local_addr().to_string();
    let connect = async |name: &str| {
        let tls = client_tls(authority.certificate_pem(), &client(&authority, name));
        let mut connector = connector(tls, address.clone(), PATIENCE);
        connector.call("https://ignored".parse().unwrap()).await.unwrap()
    };
    let greeted = async |incoming: &mut Incoming| {
        let mut connection = incoming.next().await.unwrap().unwrap();
        connection.write_all(b"let in").await.unwrap();
        connection
    };
    let (_silent, first) = tokio::join!(connect("greedy"), greeted(&mut incoming));
    // Written to without end, never read from: only writing can tell that it has to go.
    let mut first = first;
    let writing = tokio::spawn(async move {
        loop {
            if let Err(error) = first.write_all(&[0; 4096]).await {
                return error.kind();
            }
        }
    });
    let _second = tokio::join!(connect("greedy"), greeted(&mut incoming));
    let _newcomer = tokio::join!(connect("newcomer"), greeted(&mut incoming));
    let ended = tokio::time::timeout(PATIENCE, writing).await.unwrap();
    assert_eq!(ended.unwrap(), std::io::ErrorKind::ConnectionAborted);
}
