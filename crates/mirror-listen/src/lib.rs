//! The accept loop of every server of this system.
//!
//! [`accept()`] takes connections until it is stopped. A server says through [`Connections`] how many it bears and what
//! it does with each. What a client may do on a connection, and for how long, is the server's business.

mod accept;
#[cfg(test)]
mod tests;

pub use tokio::net::{TcpListener, TcpStream};
pub use tokio_util::sync::CancellationToken;

pub use accept::{Connections, Incoming, accept};
