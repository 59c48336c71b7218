//! A git server that repeats itself without end instead of sending its pack.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::SeqCst;

use crate::listener::{Listener, Traffic};

/// The part of an answer that has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitFlood {
    /// Announcements of the service, before anything else. Over HTTP only.
    Announcements,
    /// Version 2: capabilities.
    Capabilities,
    /// Version 2: references.
    References,
    /// Version 2: acknowledgements.
    Acknowledgements,
    /// Version 2: shallow commits.
    Shallow,
    /// Version 2: progress, where the pack should be.
    Progress,
    /// Version 2: errors beside a pack, where the pack should be.
    Errors,
    /// Version 2: pieces of a pack that are empty.
    EmptyPieces,
    /// Version 0: references.
    OldReferences,
    /// Version 0: shallow commits among the references.
    OldAdvertisedShallow,
    /// Version 0: shallow commits.
    OldShallow,
    /// Version 0: "NAK".
    OldNaks,
}

impl GitFlood {
    /// All floods.
    pub const ALL: [Self; 12] = [
        Self::Announcements,
        Self::Capabilities,
        Self::References,
        Self::Acknowledgements,
        Self::Shallow,
        Self::Progress,
        Self::Errors,
        Self::EmptyPieces,
        Self::OldReferences,
        Self::OldAdvertisedShallow,
        Self::OldShallow,
        Self::OldNaks,
    ];

    /// Returns the answers to the requests in turn, and the piece that is repeated without end after the last.
    fn script(self) -> (Vec<Vec<u8>>, Vec<u8>) {
        let greeting = lines(&["version 2\n", "agent=flood\n", "ls-refs\n", "fetch=shallow\n"]);
        let refs = lines(&[&format!("{ID} HEAD symref-target:refs/heads/master\n")]);
        let both = || vec![ended(greeting.clone()), ended(refs.clone())];
        let answer = |begin: &[&str]| both().into_iter().chain([lines(begin)]).collect();
        let piece = |band: u8, text: &str| [&[band][..], text.as_bytes()].concat();
        let capabilities = "shallow side-band-64k multi_ack_detailed ofs-delta symref=HEAD:refs/heads/master";
        let advertisement = lines(&[&format!("{ID} HEAD\0{capabilities}\n")]);
        let old = || vec![ended(advertisement.clone()), Vec::new()];
        let (said, line) = match self {
            Self::Announcements => (vec![Vec::new()], "# service=git-upload-pack\n".into()),
            Self::Capabilities => (vec![greeting], "x=y\n".into()),
            Self::References => (vec![ended(greeting), Vec::new()], format!("{ID} r").into()),
            Self::Acknowledgements => (answer(&["acknowledgments\n"]), format!("ACK {ID}\n").into()),
            Self::Shallow => (answer(&["shallow-info\n"]), format!("shallow {ID}\n").into()),
            Self::Progress => (answer(&["packfile\n"]), piece(2, "Compressing objects: 1% (1/100)\r")),
            Self::Errors => (answer(&["packfile\n"]), piece(3, "no\n")),
            Self::EmptyPieces => (answer(&["packfile\n"]), piece(1, "")),
            Self::OldReferences => (vec![advertisement], format!("{ID} r\n").into()),
            Self::OldAdvertisedShallow => (vec![advertisement], format!("shallow {ID}\n").into()),
            Self::OldShallow => (old(), format!("shallow {ID}\n").into()),
            Self::OldNaks => (old(), "NAK\n".into()),
        };
        (said, packet(&line).repeat(PIECE_BYTES / line.len()))
    }
}

/// A commit that no repository has.
const ID: &str = "1111111111111111111111111111111111111111";
/// The approximate size of a piece that is written at once.
const PIECE_BYTES: usize = 64 << 10;

fn packet(line: &[u8]) -> Vec<u8> {
    [format!("{:04x}", line.len() + 4).as_bytes(), line].concat()
}

fn lines(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| packet(text.as_bytes())).collect()
}

fn ended(mut lines: Vec<u8>) -> Vec<u8> {
    lines.extend_from_slice(b"0000");
    lines
}

/// A git server that floods its clients, over `git://` or over HTTP. Stopped when dropped.
pub struct FloodingGit {
    listener: Listener,
    http: bool,
}

impl FloodingGit {
    /// Listens for clients.
    ///
    /// # Panics
    /// When no port is free: this is test code.
    #[must_use]
    pub fn start(flood: GitFlood, http: bool) -> Self {
        let talk = if http { over_http } else { over_git };
        let listener = Listener::start(move |client, traffic| {
            // A client that has enough closes the connection, which ends the answer.
            let _ = talk(client, flood, traffic);
        });
        Self { listener, http }
    }

    /// Returns the address of its only repository.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}/index", if self.http { "http" } else { "git" }, self.listener.addr())
    }

    /// Returns the bytes that the network accepted from it so far, for any client.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.listener.sent()
    }

    /// Returns the number of connections so far. Over HTTP, each request makes one.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.listener.connections()
    }
}

fn over_git(client: &TcpStream, flood: GitFlood, traffic: &Traffic) -> io::Result<()> {
    let mut requests = BufReader::new(client);
    let (said, endless) = flood.script();
    for (number, answer) in said.iter().enumerate() {
        // The first request is one line, all others end with a flush.
        while read_packet(&mut requests)? && number > 0 {}
        send(client, answer, traffic)?;
    }
    loop {
        send(client, &endless, traffic)?;
    }
}

/// Reads a packet; returns whether it was a line or a delimiter.
fn read_packet(from: &mut impl Read) -> io::Result<bool> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = std::str::from_utf8(&length).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
    let length = length.ok_or(io::ErrorKind::InvalidData)?;
    io::copy(&mut from.take(length.saturating_sub(4) as u64), &mut io::sink())?;
    Ok(length > 0)
}

fn over_http(client: &TcpStream, flood: GitFlood, traffic: &Traffic) -> io::Result<()> {
    let (said, endless) = flood.script();
    let (get, body) = read_request(&mut BufReader::new(client))?;
    let lists = body.windows(7).any(|word| word == b"ls-refs");
    let number = if get { 0 } else { said.len() - if lists && said.len() > 2 { 2 } else { 1 } };
    let kind = if get { "advertisement" } else { "result" };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\nConnection: close\r\n\r\n"
    );
    send(client, head.as_bytes(), traffic)?;
    if get && flood != GitFlood::Announcements {
        send(client, &ended(lines(&["# service=git-upload-pack\n"])), traffic)?;
    }
    send(client, &said[number], traffic)?;
    while number + 1 == said.len() {
        send(client, &endless, traffic)?;
    }
    Ok(())
}

/// Reads a request to its end, so that closing the connection does not discard the answer. Returns whether it is a GET,
/// and its body.
fn read_request(from: &mut BufReader<&TcpStream>) -> io::Result<(bool, Vec<u8>)> {
    let (mut head, mut length, mut chunked) = (String::new(), 0, false);
    loop {
        let begin = head.len();
        if from.read_line(&mut head)? <= 2 {
            break;
        }
        let line = head[begin..].trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().map_err(io::Error::other)?;
        }
        chunked |= line == "transfer-encoding: chunked";
    }
    let mut body = Vec::new();
    from.take(length).read_to_end(&mut body)?;
    while chunked && !body.ends_with(b"0\r\n\r\n") {
        let chunk = from.fill_buf()?;
        let length = chunk.len();
        body.extend_from_slice(chunk);
        from.consume(length);
        chunked = length > 0;
    }
    Ok((head.starts_with("GET "), body))
}

fn send(mut client: &TcpStream, bytes: &[u8], traffic: &Traffic) -> io::Result<()> {
    client.write_all(bytes)?;
    traffic.sent.fetch_add(bytes.len() as u64, SeqCst);
    Ok(())
}
