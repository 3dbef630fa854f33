//! A fake upstream that speaks raw bytes, and an intake that records.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use relay_core::Admit;
use relay_core::admit::{Connected, DisconnectReason, Disconnected, Received, Stopped};
use sapi_protocol::Framed;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

/// Nothing here takes so long unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it never came")
}

/// A listening socket.
pub(super) struct Peer(TcpListener);

impl Peer {
    pub(super) async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(super) async fn stream(&self) -> TcpStream {
        soon(self.0.accept()).await.unwrap().0
    }

    /// The next request, not yet answered.
    pub(super) async fn request(&self) -> Talk<TcpStream> {
        Talk::read(self.stream().await).await
    }

    /// The next request, upgraded.
    pub(super) async fn upgraded(&self) -> Talk<TcpStream> {
        let mut talk = self.request().await;
        talk.upgrade().await;
        talk
    }
}

/// One connection, from the server's side.
pub(super) struct Talk<S> {
    pub(super) stream: S,
    pub(super) request: String,
    buffer: BytesMut,
}

/// What the client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Pong(Vec<u8>),
    Close(u16),
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    pub(super) async fn read(mut stream: S) -> Self {
        let mut buffer = BytesMut::new();
        while !buffer.ends_with(b"\r\n\r\n") {
            assert!(
                soon(stream.read_buf(&mut buffer)).await.unwrap() > 0,
                "no request"
            );
        }
        let request = String::from_utf8(buffer.split().to_vec()).unwrap();
        Self {
            stream,
            request,
            buffer,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.request.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(super) async fn upgrade(&mut self) {
        self.upgrade_with(b"").await;
    }

    /// Upgrades, and sends more in the same write.
    pub(super) async fn upgrade_with(&mut self, more: &[u8]) {
        let key = self.header("Sec-WebSocket-Key").unwrap();
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.raw(&[answer.as_bytes(), more].concat()).await;
    }

    pub(super) async fn answer(mut self, status: u16, headers: &str) {
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n{headers}\r\n");
        self.raw(answer.as_bytes()).await;
        // Until the client has read it: a reset would take it away.
        soon(self.stream.read_buf(&mut self.buffer)).await.ok();
    }

    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(super) async fn frame(&mut self, opcode: OpCode, payload: &[u8]) {
        self.raw(&frame(opcode, payload)).await;
    }

    pub(super) async fn text(&mut self, text: &str) {
        self.frame(OpCode::Data(Data::Text), text.as_bytes()).await;
    }

    pub(super) async fn close(&mut self, code: u16) {
        self.frame(OpCode::Control(Control::Close), &code.to_be_bytes())
            .await;
    }

    /// The next frame of the client.
    pub(super) async fn heard(&mut self) -> Heard {
        loop {
            let mut cursor = Cursor::new(&self.buffer[..]);
            if let Some((header, length)) = FrameHeader::parse(&mut cursor).unwrap() {
                let at = usize::try_from(cursor.position()).unwrap();
                let length = usize::try_from(length).unwrap();
                if self.buffer.len() >= at + length {
                    let mask = header.mask.expect("a client masks");
                    self.buffer.advance(at);
                    let masked = self.buffer.split_to(length);
                    let bytes = masked.iter().zip(mask.iter().cycle());
                    let bytes: Vec<u8> = bytes.map(|(byte, mask)| byte ^ mask).collect();
                    return match header.opcode {
                        OpCode::Control(Control::Pong) => Heard::Pong(bytes),
                        OpCode::Control(Control::Close) => {
                            Heard::Close(u16::from_be_bytes([bytes[0], bytes[1]]))
                        }
                        other @ (OpCode::Control(_) | OpCode::Data(_)) => {
                            panic!("a client sends no {other:?}")
                        }
                    };
                }
            }
            match soon(self.stream.read_buf(&mut self.buffer)).await {
                Ok(0) | Err(_) => return Heard::End,
                Ok(_) => {}
            }
        }
    }
}

pub(super) fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Frame::message(payload.to_vec(), OpCode::Data(Data::Text), true);
    frame.header_mut().opcode = opcode;
    let mut bytes = Vec::new();
    frame.format(&mut bytes).unwrap();
    bytes
}

/// What intake was told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Connected(String),
    Document(String),
    Malformed(&'static str),
    Disconnected(DisconnectReason, String),
}

/// An intake that records.
#[derive(Clone)]
pub(super) struct Recorder {
    told: Arc<watch::Sender<Vec<Told>>>,
    trouble: Arc<Mutex<Trouble>>,
    held: Arc<watch::Sender<bool>>,
}

/// What goes wrong at the next documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trouble {
    #[default]
    None,
    Panic,
    Stopped,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            told: Arc::new(watch::channel(vec![]).0),
            trouble: Arc::default(),
            held: Arc::new(watch::channel(false).0),
        }
    }

    pub(super) fn next(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    /// What is told waits from now on, as for a disk that gives nothing; or no longer.
    pub(super) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Returns once something waits.
    pub(super) async fn holds(&self) {
        soon(async {
            while self.held.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub(super) fn told(&self) -> Vec<Told> {
        self.told.borrow().clone()
    }

    /// Waits until what was told fulfils a condition.
    pub(super) async fn until(&self, condition: impl Fn(&[Told]) -> bool) -> Vec<Told> {
        let mut told = self.told.subscribe();
        let told = soon(told.wait_for(|told| condition(told))).await.unwrap();
        told.clone()
    }

    /// Waits for the end of a connection; why it ended.
    pub(super) async fn end(&self, nth: usize) -> (DisconnectReason, String) {
        let ends = |told: &[Told]| -> Vec<_> {
            let ends = told.iter().filter_map(|told| match told {
                Told::Disconnected(reason, text) => Some((*reason, text.clone())),
                Told::Connected(_) | Told::Document(_) | Told::Malformed(_) => None,
            });
            ends.collect()
        };
        let told = self.until(|told| ends(told).len() > nth).await;
        ends(&told)[nth].clone()
    }

    pub(super) async fn document(&self, text: &str) {
        let wanted = Told::Document(text.to_owned());
        self.until(|told| told.contains(&wanted)).await;
    }

    /// Returns once nothing is held.
    async fn is_given(&self) {
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.unwrap();
    }

    fn tell(&self, told: impl IntoIterator<Item = Told>) {
        self.told.send_modify(|all| all.extend(told));
    }
}

impl Admit for Recorder {
    async fn connected(&self, event: Connected) -> Result<(), Stopped> {
        self.is_given().await;
        self.tell([Told::Connected(event.subscription.to_string())]);
        Ok(())
    }

    async fn documents(&self, received: Received) -> Result<(), Stopped> {
        let trouble = std::mem::take(&mut *self.trouble.lock().unwrap());
        assert!(trouble != Trouble::Panic, "asked for");
        if trouble == Trouble::Stopped {
            return Err(Stopped);
        }
        self.is_given().await;
        self.tell(received.documents.iter().map(|framed| match framed {
            Framed::Document(document) => {
                Told::Document(String::from_utf8_lossy(document.bytes()).into_owned())
            }
            Framed::Malformed(malformed) => Told::Malformed(malformed.reason.as_str()),
        }));
        Ok(())
    }

    async fn disconnected(&self, ended: Disconnected) -> Result<(), Stopped> {
        self.tell([Told::Disconnected(ended.reason, ended.detail)]);
        Ok(())
    }
}
