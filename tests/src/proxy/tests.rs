use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::Proxy;
use crate::soon;

/// A server that answers each byte with `mark`, until its client ends.
async fn server(mark: u8) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut clients = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            clients.spawn(async move {
                while client.read_u8().await.is_ok() {
                    if client.write_u8(mark).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, tasks)
}

async fn ask(client: &mut TcpStream) -> std::io::Result<u8> {
    client.write_u8(0).await?;
    soon("an answer", client.read_u8()).await
}

#[tokio::test]
async fn forwards_both_ways_and_to_another_target() {
    let (first, _one) = server(b'a').await;
    let (second, _two) = server(b'b').await;
    let proxy = Proxy::start(first).await;
    let mut old = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut old).await.unwrap(), b'a');
    proxy.retarget(second);
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut new).await.unwrap(), b'b');
    assert_eq!(ask(&mut old).await.unwrap(), b'a', "the old one stays");
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn cuts_and_refuses_until_healed() {
    let (target, _server) = server(b'a').await;
    let proxy = Proxy::start(target).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    ask(&mut client).await.unwrap();
    proxy.cut();
    assert!(soon("the end", client.read_u8()).await.is_err());
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    ask(&mut client).await.unwrap();
    proxy.refuse();
    assert!(soon("the end", client.read_u8()).await.is_err());
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    proxy.heal();
    crate::until("a connection", || async {
        TcpStream::connect(proxy.address()).await.ok()
    })
    .await;
}

#[tokio::test]
async fn swallows_what_is_sent_until_healed() {
    let (target, _server) = server(b'a').await;
    let proxy = Proxy::start(target).await;
    let mut old = TcpStream::connect(proxy.address()).await.unwrap();
    ask(&mut old).await.unwrap();
    proxy.black_hole();
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    for client in [&mut old, &mut new] {
        client.write_u8(0).await.unwrap();
        let silence = timeout(Duration::from_millis(50), client.read_u8()).await;
        assert!(silence.is_err(), "nothing comes: {silence:?}");
    }
    proxy.heal();
    for client in [&mut old, &mut new] {
        assert_eq!(soon("what was held", client.read_u8()).await.unwrap(), b'a');
    }
}

#[tokio::test]
async fn closes_one_direction_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = soon("the proxy", listener.accept()).await.unwrap();
    client.write_u8(1).await.unwrap();
    assert_eq!(soon("a byte", server.read_u8()).await.unwrap(), 1);
    proxy.half_close();
    let end = soon("the end", client.read_u8()).await.unwrap_err();
    assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    client.write_u8(2).await.unwrap();
    assert_eq!(soon("a byte", server.read_u8()).await.unwrap(), 2);
}

#[tokio::test]
async fn delays_without_holding_up_what_follows() {
    let (target, _server) = server(b'a').await;
    let proxy = Proxy::start(target).await;
    let delay = Duration::from_millis(50);
    proxy.delay(delay);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let begun = Instant::now();
    ask(&mut client).await.unwrap();
    assert!(begun.elapsed() >= 2 * delay, "both directions wait");
}
