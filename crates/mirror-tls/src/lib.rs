#![doc = include_str!("../README.md")]

mod certificates;
mod config;
mod named;
mod trust;

pub use certificates::{CertificateFileError, MAX_PEM_BYTES, read_certificates};
pub use config::{client, server};
pub use rustls;
pub use rustls_pki_types::CertificateDer;
pub use trust::Trust;
