//! TLS as every part of this system speaks it. Blocking code.
//!
//! [`client`] and [`server`] begin a configuration with the provider and the clock that are used everywhere;
//! [`read_certificates`] reads the certificates that an operator names.

mod certificates;
mod config;

pub use certificates::{CertificateFileError, MAX_PEM_BYTES, read_certificates};
pub use config::{client, server};
pub use rustls;
pub use rustls_pki_types::CertificateDer;
