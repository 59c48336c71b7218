//! A listener with a thread for each connection, and counters of its traffic.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The traffic through a [`Listener`].
#[derive(Default)]
pub(crate) struct Traffic {
    /// Bytes of answers, to any client.
    pub(crate) sent: AtomicU64,
    connections: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
    stop: AtomicBool,
}

/// A listener at a port of its own. Dropping it ends all connections.
pub(crate) struct Listener {
    traffic: Arc<Traffic>,
    addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Calls `talk` for each connection, on a thread of its own. The connection ends with it.
    ///
    /// # Panics
    /// When no port is free: this is test code.
    pub(crate) fn start(talk: impl Fn(&TcpStream, &Traffic) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port to listen at");
        let addr = listener.local_addr().expect("address");
        let traffic = Arc::new(Traffic::default());
        let (state, talk) = (Arc::clone(&traffic), Arc::new(talk));
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if state.stop.load(SeqCst) {
                    return;
                }
                let (Ok(client), state, talk) = (client, Arc::clone(&state), Arc::clone(&talk)) else {
                    continue;
                };
                state.connections.fetch_add(1, SeqCst);
                state.open.lock().expect("lock").push(client.try_clone().expect("a second handle"));
                std::thread::spawn(move || {
                    talk(&client, &state);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { traffic, addr, thread: Some(thread) }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn sent(&self) -> u64 {
        self.traffic.sent.load(SeqCst)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.traffic.connections.load(SeqCst)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.traffic.stop.store(true, SeqCst);
        let _ = TcpStream::connect(self.addr);
        for client in self.traffic.open.lock().expect("lock").drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
