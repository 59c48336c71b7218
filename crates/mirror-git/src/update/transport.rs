//! HTTP transport: over reqwest, with the one TLS provider of this project.

use std::any::Any;
use std::sync::{Arc, Mutex};

use gix::protocol::transport::client::blocking_io::http;
use mirror_tls::Trust;
use mirror_tls::rustls::ClientConfig;

use super::options::UpdateOptions;

/// Returns the options for gix's transport, in addition to git's configuration for `url`. `None` for other schemes.
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
            // After a redirect, a proxy that cannot be used is replaced by a name that does not resolve.
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

/// Returns the settings of the repository's own configuration for reaching a remote, as `key=value`; the rest of git's
/// configuration applies anyway.
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

/// Configures TLS with the system's roots (SSL_CERT_FILE and SSL_CERT_DIR are honoured), those of `--cacert`, and git's
/// GIT_SSL_CAINFO or `http.sslCAInfo`.
fn tls(options: &UpdateOptions, configured: Option<&std::path::Path>) -> Result<ClientConfig, String> {
    let mut trust = Trust::of_system();
    for path in options.cacert.as_deref().into_iter().chain(configured) {
        let told = |error| format!("the certificates of {} cannot be used: {error}", path.display());
        trust.add_file(path).map_err(told)?;
    }
    trust.client().map_err(|error| error.to_string())
}
