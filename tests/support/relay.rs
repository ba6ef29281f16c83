//! A relay of bytes between clients and a server on the loopback interface, which may go wrong on the way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// What becomes of answers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fate {
    /// They come after a while.
    Late(Duration),
    /// After so many bytes nothing comes.
    Silent(usize),
    /// After so many bytes the connection ends.
    Cut(usize),
    /// After so many bytes comes something else.
    Garbage(usize),
}

/// Relays until it is dropped.
pub struct Relay {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
}

impl Relay {
    /// Starts on a free port. `to` is `HOST:PORT`.
    pub fn start(to: &str, fate: Fate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the address of a listener");
        let (connections, stopping) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (to, count, stop) = (to.to_owned(), Arc::clone(&connections), Arc::clone(&stopping));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                count.fetch_add(1, Ordering::Relaxed);
                // A server that is gone is seen by the client as what it is.
                let _ = client.and_then(|client| relay(client, TcpStream::connect(&to)?, fate));
            }
        });
        Self { address, connections, stopping }
    }

    /// `HOST:PORT`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// How many there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it should end.
        let _ = TcpStream::connect(self.address);
    }
}

fn relay(client: TcpStream, server: TcpStream, fate: Fate) -> std::io::Result<()> {
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let _ = answer(server, &client, fate);
        let _ = client.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Passes on what a server says.
fn answer(mut server: TcpStream, mut client: &TcpStream, fate: Fate) -> std::io::Result<()> {
    let (mut piece, mut passed) = (vec![0; 64 << 10], 0);
    loop {
        let length = server.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        let (Fate::Silent(limit) | Fate::Cut(limit) | Fate::Garbage(limit)) = fate else {
            if let Fate::Late(wait) = fate {
                std::thread::sleep(wait);
            }
            client.write_all(&piece[..length])?;
            continue;
        };
        let right = length.min(limit.saturating_sub(passed));
        client.write_all(&piece[..right])?;
        passed += right;
        match fate {
            _ if right == length => {}
            Fate::Cut(_) => return Ok(()),
            Fate::Garbage(_) => client.write_all(&vec![0xaa; length - right])?,
            _ => {}
        }
    }
}
