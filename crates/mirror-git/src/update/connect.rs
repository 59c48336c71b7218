//! Connects to a remote over a transport that counts what arrives.

use std::any::Any;
use std::io::BufReader;

use gix::error::Result;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::client::blocking_io::connect::{Options, connect as refuse};
use gix::protocol::transport::client::blocking_io::http::{
    self, GetResponse, Http, PostBodyDataKind, PostResponse,
};
use gix::protocol::transport::client::git::ConnectMode;
use gix::protocol::transport::client::git::blocking_io::{Connection, connect as reach_daemon};
use gix::remote::Direction;
use gix::url::Scheme;

use super::allowance::{Allowance, Counted};
use super::program::Program;

/// Connects to the address from which `remote` is fetched, as git's configuration allows. Starts programs and requests
/// over HTTP only when something is asked.
pub(super) fn connect(
    repo: &gix::Repository,
    remote: &gix::Remote<'_>,
    allowance: &Allowance,
) -> Result<Box<dyn Transport + Send>> {
    let (url, version) = remote.sanitized_url_and_version(Direction::Fetch)?;
    let nameless = url.user().is_none();
    match url.scheme {
        Scheme::Http | Scheme::Https => {
            let http = CountedHttp { inner: http::reqwest::Remote::default(), allowance: allowance.clone() };
            Ok(Box::new(http::Transport::new_http(http, url, version, false)))
        }
        Scheme::Git if nameless && url.host().is_some() => daemon(url, version, allowance),
        Scheme::Ssh if url.host().is_some() => {
            Ok(Box::new(Program::ssh(url, version, &repo.ssh_connect_options()?, allowance.clone())?))
        }
        Scheme::File if nameless && url.host().is_none() && url.port.is_none() => {
            Ok(Box::new(Program::local(url, version, allowance.clone())))
        }
        // No other address can be spoken to; gix reports why.
        _ => refuse(url, Options { version, ..Options::default() }),
    }
}

fn daemon(url: gix::Url, version: Protocol, allowance: &Allowance) -> Result<Box<dyn Transport + Send>> {
    let host = url.host().unwrap_or_default().to_owned();
    let (read, write) = reach_daemon(&host, url.path.clone(), version, url.port, false)?.into_inner();
    let read = allowance.counted(BufReader::new(read));
    let name = Some((host, url.port));
    Ok(Box::new(Connection::new(read, write, version, url.path, name, ConnectMode::Daemon, false)))
}

/// gix's HTTP with counted bodies. The HTTP client bounds the headers.
struct CountedHttp<H> {
    inner: H,
    allowance: Allowance,
}

impl<H: Http> Http for CountedHttp<H> {
    type Headers = H::Headers;
    type ResponseBody = Counted<H::ResponseBody>;
    type PostBody = H::PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<GetResponse<Self::Headers, Self::ResponseBody>> {
        self.allowance.request().map_err(gix::Error::from_error)?;
        let GetResponse { headers, body } = self.inner.get(url, base_url, headers)?;
        Ok(GetResponse { headers, body: self.allowance.counted(body) })
    }

    fn post(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        kind: PostBodyDataKind,
    ) -> Result<PostResponse<Self::Headers, Self::ResponseBody, Self::PostBody>> {
        self.allowance.request().map_err(gix::Error::from_error)?;
        let PostResponse { post_body, headers, body } = self.inner.post(url, base_url, headers, kind)?;
        Ok(PostResponse { post_body, headers, body: self.allowance.counted(body) })
    }

    fn configure(&mut self, config: &dyn Any) -> Result {
        self.inner.configure(config)
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.inner.redirected_base_url()
    }
}
