use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ConfigBuilder, ServerConfig, WantsVerifier};
use rustls_pki_types::UnixTime;

/// Begins the configuration of a client.
///
/// # Errors
/// When the provider has no suites for the versions of TLS that are spoken.
pub fn client() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_details(provider(), Arc::new(Clock)).with_safe_default_protocol_versions()
}

/// Begins the configuration of a server.
///
/// # Errors
/// When the provider has no suites for the versions of TLS that are spoken.
pub fn server() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_details(provider(), Arc::new(Clock)).with_safe_default_protocol_versions()
}

/// Names the provider explicitly: a second one in the dependency tree must not change it.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The clock of TLS.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        unix_time(SystemTime::now())
    }
}

/// Returns a time as TLS takes it. A clock that stands before 1970 has none to tell, and certificates cannot be judged;
/// the default of rustls would panic.
fn unix_time(now: SystemTime) -> Option<UnixTime> {
    now.duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_before_1970_tells_no_time() {
        let day = Duration::from_secs(86_400);
        assert_eq!(unix_time(SystemTime::UNIX_EPOCH - day), None);
        assert_eq!(unix_time(SystemTime::UNIX_EPOCH + day).map(|time| time.as_secs()), Some(86_400));
    }

    #[test]
    fn both_sides_have_suites() {
        assert!(client().is_ok());
        assert!(server().is_ok());
    }
}
