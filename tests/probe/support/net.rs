//! Servers that speak no protocol, or speak it badly.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What to do with a connection.
#[derive(Clone, Debug)]
pub(crate) enum Manners {
    /// Keep it and say nothing.
    Silent,
    /// Say this at once, then nothing.
    Say(&'static str),
    /// Say this when something came, and close.
    Answer(&'static str),
    /// Reset it.
    Reset,
    /// Say this and close.
    Leave(&'static str),
}

/// A TCP server on every address of 127.0.0.0/8, until dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) accepted: Arc<AtomicUsize>,
    /// Connections that the other side has ended.
    pub(crate) ended: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(manners: Manners) -> Self {
        let listener = listen();
        let port = listener.local_addr().unwrap().port();
        let (accepted, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counters = (Arc::clone(&accepted), Arc::clone(&ended));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counters.0.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(treat(stream, manners.clone(), Arc::clone(&counters.1)));
            }
        });
        Self { port, accepted, ended, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn treat(mut stream: TcpStream, manners: Manners, ended: Arc<AtomicUsize>) {
    match manners {
        Manners::Silent => {}
        Manners::Say(text) => stream.write_all(text.as_bytes()).await.unwrap_or(()),
        Manners::Answer(text) => {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Manners::Leave(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Manners::Reset => {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            return;
        }
    }
    while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    ended.fetch_add(1, Ordering::SeqCst);
}

/// A listener with room for thousands.
pub(crate) fn listen() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).unwrap();
    socket.listen(4096).unwrap();
    socket.set_nonblocking(true).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

/// A listener whose queue is full: the kernel drops whatever else knocks.
pub(crate) struct Full {
    pub(crate) port: u16,
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl Full {
    pub(crate) async fn start() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let port = listener.local_addr().unwrap().as_socket().unwrap().port();
        let mut waiting = Vec::new();
        let knock =
            || tokio::time::timeout(Duration::from_millis(300), TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
        while let Ok(Ok(stream)) = knock().await {
            waiting.push(stream);
            assert!(waiting.len() < 100, "the queue does not fill");
        }
        Self { port, _listener: listener, _waiting: waiting }
    }
}

/// A port that nobody listens on.
pub(crate) fn closed_port() -> u16 {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
