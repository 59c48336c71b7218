#![doc = include_str!("../README.md")]

mod accept;
mod events;
#[cfg(test)]
mod tests;

pub use tokio::net::{TcpListener, TcpStream};
pub use tokio_util::sync::CancellationToken;

pub use accept::{Connections, Incoming, accept};
pub use events::{EventPlaces, EventSender, EventStream};
