//! The event streams of the console.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mirror_testkit::Fault;
use serde_json::Value;

use crate::client::{ask, get, tls};
use crate::world::{MOST, Serving, World, add, registry};

/// Most event streams at a time.
const MAX_STREAMS: usize = 24;

/// An open page.
struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    fn open(server: &Serving) -> Self {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(MOST)).unwrap();
        stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut events = Self { stream, text: String::new() };
        events.read_until("\r\n\r\n");
        events
    }

    /// Reads up to the next `mark`, and returns what comes before it.
    fn read_until(&mut self, mark: &str) -> String {
        loop {
            if let Some((before, after)) = self.text.split_once(mark) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.text = after;
                return before;
            }
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes).unwrap();
            assert_ne!(read, 0, "the stream ended: {}", self.text);
            self.text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    }

    /// Reads the next status.
    fn status(&mut self) -> Value {
        self.read_until("event: status\ndata: ");
        serde_json::from_str(&self.read_until("\n\n")).unwrap()
    }
}

#[test]
fn an_open_page_sees_what_a_run_changes() {
    let mut world = World::new(registry());
    world.sync();
    let server = world.serve(&[]);
    let mut events = Events::open(&server);
    let first = events.status();
    assert_eq!((&first["kind"], &first["failing"]), (&"mirror".into(), &0.into()), "{first}");
    assert_eq!(
        first["views"],
        serde_json::from_slice::<Value>(&get(&server.base, "/api/status").body).unwrap()["views"]
    );

    add(&mut world.registry, "newcomer", "1.0.0", &[]);
    world.origin.script(|ask| match ask.path.contains("newcomer-1.0.0") {
        true => Fault::Status(404),
        false => Fault::None,
    });
    world.sync_with(|_| {});
    let began = Instant::now();
    let changed = loop {
        let status = events.status();
        if status["failing"] == 1 {
            break status;
        }
        assert!(began.elapsed() < MOST, "the page does not see the run: {status}");
    };
    assert_eq!(changed["verdict"]["headline"], "Serving, with gaps", "{changed}");
    assert!(changed["generation"].as_u64() > first["generation"].as_u64(), "{changed}");
}

#[test]
fn event_streams_are_bounded_and_their_places_reused() {
    let world = World::new(registry());
    world.sync();
    let server = world.serve(&[]);
    let head = ask(&server.base, None, "HEAD", "/api/events", &[]);
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
    assert_eq!(head.header("cache-control"), "no-store");
    let mut open: Vec<Events> = (0..MAX_STREAMS).map(|_| Events::open(&server)).collect();
    for events in &mut open {
        events.status();
    }
    // `ask` reads an answer to its end: a stream would have none.
    let refused = get(&server.base, "/api/events");
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("ask for /api/status instead"), "{}", refused.text());
    assert_eq!(get(&server.base, "/api/status").status, 200);
    open.pop();
    let began = Instant::now();
    loop {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(MOST)).unwrap();
        stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        if answer == *b"HTTP/1.1 200" {
            break;
        }
        assert!(began.elapsed() < MOST, "the place of a page that is gone does not become free");
    }
}

/// Requests in progress may take minutes to end; an event stream is none.
#[test]
fn a_server_with_open_pages_stops_at_once() {
    let world = World::new(registry());
    world.sync();
    let server = world.serve(&["--grace", "5m"]);
    let mut events = Events::open(&server);
    events.status();
    let began = Instant::now();
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(began.elapsed() < MOST, "{:?}", began.elapsed());
    assert!(!log.contains("cut off connections"), "{log}");
    let mut rest = String::new();
    events.stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream ends in good order: {rest}");
}

/// An event stream that reserved the window of its connection would starve all other requests over it.
#[test]
fn over_http_2_an_open_page_leaves_room_for_other_requests() {
    const WINDOW_BYTES: u32 = 65_535;
    let world = World::new(registry());
    world.sync();
    let args = world.tls_args();
    let server = world.serve(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let ca: &Path = world.origin.ca();
    let release = world.registry.releases().next().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let talk = async {
        let stream = tls(server.addr(), ca).await;
        let (mut send, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = |path: &str| {
            Request::get(format!("https://{}{path}", server.addr())).body(Empty::<Bytes>::new()).unwrap()
        };
        let mut events = send.send_request(request("/api/events")).await.unwrap();
        let mut text = String::new();
        let mut until = async |mark: &str| {
            while !text.contains(mark) {
                let frame = events.body_mut().frame().await.unwrap().unwrap();
                text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
            }
            text.clear();
        };
        until("\"kind\":\"mirror\"").await;
        let got = send.send_request(request(&release.url_path())).await.unwrap();
        assert_eq!(got.into_body().collect().await.unwrap().to_bytes(), release.body);
        until("\"kind\":\"mirror\"").await;
    };
    runtime.block_on(async { tokio::time::timeout(MOST, talk).await.expect("every request is answered") });
}
