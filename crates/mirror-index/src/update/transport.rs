//! How HTTP is spoken: over reqwest, with the one TLS provider of this project.

use std::any::Any;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use gix::protocol::transport::client::blocking_io::http;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::options::UpdateOptions;

/// Longest PEM file that is read, bytes.
const PEM_LIMIT: u64 = 16 << 20;

/// Options for gix's transport, on top of what git's configuration says of `url`. `None` for other
/// schemes.
pub(crate) fn options(
    repo: &gix::Repository,
    url: &str,
    options: &UpdateOptions,
) -> Result<Option<Box<dyn Any>>, String> {
    let configured = repo.transport_options(url, None).map_err(|error| error.to_string())?;
    let Some(configured) = configured else { return Ok(None) };
    let Ok(mut http) = configured.downcast::<http::Options>() else { return Ok(None) };
    let tls = tls(options, http.ssl_ca_info.as_deref())?;
    let (connect, idle) = (options.connect_timeout, options.idle_timeout);
    let proxies = options.proxies.clone();
    let backend = http::reqwest::Options {
        configure_client: Some(Box::new(move |builder| {
            let rule = proxies.clone();
            // One that cannot be used, after a redirect: a name that leads nowhere.
            let proxy = reqwest::Proxy::custom(move |url| match rule.of(url.as_str()) {
                Ok(proxy) => proxy.map(|proxy| proxy.reveal().to_owned()),
                Err(_) => Some("http://proxy.invalid".to_owned()),
            });
            let builder = builder.no_proxy().proxy(proxy);
            Ok(builder.tls_backend_preconfigured(tls.clone()).connect_timeout(connect).timeout(idle))
        })),
        configure_request: None,
    };
    http.backend = Some(Arc::new(Mutex::new(backend)));
    Ok(Some(http))
}

/// What the repository's own configuration says about getting to a remote, as `key=value`; the rest
/// of git's configuration holds anyway.
pub(crate) fn settings(repo: &gix::Repository) -> Vec<String> {
    const SECTIONS: [&str; 5] = ["http", "url", "credential", "ssh", "protocol"];
    let mut settings = Vec::new();
    let config = repo.config_snapshot();
    for section in config.plumbing().sections() {
        let (header, body) = (section.header(), section.body());
        let name = header.name().to_string().to_ascii_lowercase();
        if section.meta().source != gix::config::Source::Local {
            continue;
        }
        for key in body.value_names() {
            if !(SECTIONS.contains(&name.as_str())
                || name == "core" && key.eq_ignore_ascii_case("sshCommand"))
            {
                continue;
            }
            let prefix = match header.subsection_name() {
                Some(sub) => format!("{name}.{sub}.{key}"),
                None => format!("{name}.{key}"),
            };
            settings.extend(body.values(&key).into_iter().map(|value| format!("{prefix}={value}")));
        }
    }
    settings
}

/// The system's roots (SSL_CERT_FILE and SSL_CERT_DIR are honoured), those of `--cacert`, and git's
/// GIT_SSL_CAINFO or `http.sslCAInfo`.
fn tls(
    options: &UpdateOptions,
    configured: Option<&std::path::Path>,
) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for path in options.cacert.as_deref().into_iter().chain(configured) {
        let fail = |why: String| format!("the certificates of {} cannot be used: {why}", path.display());
        let mut pem = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(PEM_LIMIT).read_to_end(&mut pem))
            .map_err(|error| fail(error.to_string()))?;
        let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certs = certs.map_err(|error| fail(error.to_string()))?;
        if roots.add_parsable_certificates(certs).0 == 0 {
            return Err(fail("there is none in it".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_details(provider, Arc::new(Clock))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Tells TLS the time. A clock that stands before 1970 has none to tell, and certificates cannot be judged; the default
/// would panic.
#[derive(Debug)]
struct Clock;

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.ok().map(rustls_pki_types::UnixTime::since_unix_epoch)
    }
}
