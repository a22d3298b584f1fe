//! A TCP proxy that breaks on command, between the service and a model server.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Nothing,
    /// Nobody listens, and connections that were open are closed.
    Refuses,
    /// Connections open and stay open, and nothing passes.
    Freezes,
    /// So many more bytes of answers come on each connection, and then its end.
    Cuts(usize),
    /// Every piece of an answer comes so much later.
    Delays(Duration),
    /// Answers are replaced by bytes that are no HTTP/2.
    Babbles,
    /// Answers come in pieces of this size, one a millisecond.
    Trickles(usize),
}

/// The proxy; it ends with this.
pub struct Proxy {
    address: SocketAddr,
    trouble: watch::Sender<Trouble>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of the server at this URL.
    pub async fn before(url: &str) -> Self {
        let server: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trouble, troubles) = watch::channel(Trouble::Nothing);
        let task = tokio::spawn(listen(listener, server, troubles));
        Self { address, trouble, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, also on connections that are open.
    pub fn set(&self, trouble: Trouble) {
        self.trouble.send_replace(trouble);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, server: SocketAddr, mut trouble: watch::Receiver<Trouble>) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    loop {
        if *trouble.borrow_and_update() == Trouble::Refuses {
            listener = None;
            trouble.changed().await.unwrap();
            continue;
        }
        let open = match &mut listener {
            Some(open) => open,
            none => none.insert(TcpListener::bind(address).await.unwrap()),
        };
        let client = tokio::select! {
            accepted = open.accept() => accepted.unwrap().0,
            _ = trouble.changed() => continue,
        };
        let trouble = trouble.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else { return };
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            // Whichever ends first takes the other with it: both halves are dropped, and the connection is closed.
            tokio::select! {
                () = pass(from_client, to_server, trouble.clone(), Carries::Questions) => {}
                () = pass(from_server, to_client, trouble, Carries::Answers) => {}
            }
        });
    }
}

/// What goes one way.
#[derive(Clone, Copy)]
enum Carries {
    Questions,
    Answers,
}

/// Passes bytes on for as long as nothing is wrong.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut trouble: watch::Receiver<Trouble>,
    carries: Carries,
) {
    let mut piece = vec![0; 64 << 10];
    // Bytes that have come since the connection is to be cut.
    let mut passed = 0;
    loop {
        let length = tokio::select! {
            read = from.read(&mut piece) => read.unwrap_or(0),
            changed = trouble.changed() => match changed {
                Ok(()) if *trouble.borrow() != Trouble::Refuses => continue,
                Ok(()) | Err(_) => return,
            },
        };
        if length == 0 {
            return;
        }
        let piece = &piece[..length];
        while *trouble.borrow_and_update() == Trouble::Freezes {
            if trouble.changed().await.is_err() {
                return;
            }
        }
        let now = *trouble.borrow();
        passed = if matches!(now, Trouble::Cuts(_)) { passed + length } else { 0 };
        let written = match (now, carries) {
            (Trouble::Refuses, _) => return,
            (Trouble::Cuts(bytes), Carries::Answers) if passed > bytes => {
                let _ = to.write_all(&piece[..length.saturating_sub(passed - bytes)]).await;
                return;
            }
            (Trouble::Babbles, Carries::Answers) => {
                let _ = to.write_all(&[0xAA; 4096]).await;
                return;
            }
            (Trouble::Delays(time), Carries::Answers) => {
                tokio::time::sleep(time).await;
                to.write_all(piece).await
            }
            (Trouble::Trickles(size), Carries::Answers) => trickle(&mut to, piece, size).await,
            _ => to.write_all(piece).await,
        };
        if written.is_err() {
            return;
        }
    }
}

async fn trickle(to: &mut OwnedWriteHalf, bytes: &[u8], size: usize) -> std::io::Result<()> {
    for piece in bytes.chunks(size) {
        to.write_all(piece).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
