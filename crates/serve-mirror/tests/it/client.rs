//! A small client: HTTP/1.1 and HTTP/2, with or without TLS.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncWrite};

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) version: http::Version,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }
}

/// Sends one request over a connection of its own. `base` is the address that the server prints; with `ca`, uses TLS
/// and HTTP/2.
pub(crate) fn ask(base: &str, ca: Option<&Path>, method: &str, path: &str, headers: &[(&str, &str)]) -> Got {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let addr = base.rsplit_once("//").unwrap().1;
    let mut request = Request::builder().method(method);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    runtime.block_on(async {
        match ca {
            None => {
                let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
                let host = headers.iter().any(|(name, _)| *name == "host");
                let request = if host { request } else { request.header("host", addr) };
                let request = request.uri(path).body(Empty::<Bytes>::new()).unwrap();
                over(stream, request, false).await
            }
            Some(ca) => {
                let request = request.uri(format!("https://{addr}{path}")).body(Empty::new()).unwrap();
                let stream = tls(addr, ca).await;
                over(stream, request, true).await
            }
        }
    })
}

/// Connects over TLS, for HTTP/2.
pub(crate) async fn tls(addr: &str, ca: &Path) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
    h2: bool,
) -> Got {
    let io = TokioIo::new(stream);
    let answer = if h2 {
        let (mut send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        send.send_request(request).await.unwrap()
    } else {
        let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        send.send_request(request).await.unwrap()
    };
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Got { status: head.status.as_u16(), headers: head.headers, body, version: head.version }
}

/// Sends a GET without TLS.
pub(crate) fn get(base: &str, path: &str) -> Got {
    ask(base, None, "GET", path, &[])
}
