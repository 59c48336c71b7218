//! One request: the right answer, or the fault from the script.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio_util::sync::CancellationToken;

use crate::body::{End, ScriptedBody};
use crate::fault::Fault;

/// The contents of a path.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its bytes.
    pub body: Bytes,
    /// `ETag`, quoted.
    pub etag: Option<String>,
    /// `Last-Modified`
    pub last_modified: Option<String>,
}

impl Served {
    /// Serves bytes with an ETag made from them.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        let hash = body
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
        Self { body, etag: Some(format!("\"{hash:016x}\"")), last_modified: None }
    }
}

pub(crate) type Answer = Response<ScriptedBody>;

fn answer(status: u16, body: ScriptedBody) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn text(status: u16, text: &'static str) -> Answer {
    answer(status, ScriptedBody::whole(Bytes::from_static(text.as_bytes())))
}

fn set(response: &mut Answer, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Returns the correct answer: conditions, ranges, the body.
fn well(served: Option<&Served>, asked: &HeaderMap) -> Answer {
    let Some(served) = served else { return text(404, "there is no such file\n") };
    let of = |name: header::HeaderName| asked.get(name).and_then(|value| value.to_str().ok());
    let unchanged = match (of(header::IF_NONE_MATCH), of(header::IF_MODIFIED_SINCE)) {
        (Some(tag), _) => served.etag.as_deref() == Some(tag),
        (None, Some(date)) => served.last_modified.as_deref() == Some(date),
        _ => false,
    };
    if unchanged {
        return with_validators(answer(304, ScriptedBody::whole(Bytes::new())), served);
    }
    let same = match of(header::IF_RANGE) {
        Some(tag) => served.etag.as_deref() == Some(tag) || served.last_modified.as_deref() == Some(tag),
        None => true,
    };
    let from = of(header::RANGE)
        .filter(|_| same)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
        .filter(|from| *from < served.body.len());
    match from {
        Some(from) => range(served, from, from),
        None => with_validators(answer(200, ScriptedBody::whole(served.body.clone())), served),
    }
}

fn range(served: &Served, from: usize, said: usize) -> Answer {
    let len = served.body.len();
    let mut response = answer(206, ScriptedBody::whole(served.body.slice(from..)));
    set(&mut response, header::CONTENT_RANGE, &format!("bytes {said}-{}/{len}", len - 1));
    with_validators(response, served)
}

fn with_validators(mut response: Answer, served: &Served) -> Answer {
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    if let Some(tag) = &served.etag {
        set(&mut response, header::ETAG, tag);
    }
    if let Some(date) = &served.last_modified {
        set(&mut response, header::LAST_MODIFIED, date);
    }
    response
}

/// Answers a request; `connection` closes its connection.
pub(crate) fn respond(
    fault: Fault,
    served: Option<&Served>,
    asked: &HeaderMap,
    connection: &CancellationToken,
) -> Answer {
    let body = || served.map(|served| served.body.clone()).unwrap_or_default();
    let head = |at: usize| {
        let whole = body();
        whole.slice(..at.min(whole.len()))
    };
    // The headers of the right answer, with its length when `announced`, and another body.
    let instead = |bytes: Bytes, end: End, announced: bool| {
        let mut response = well(served, &HeaderMap::new());
        if announced {
            set(&mut response, header::CONTENT_LENGTH, &body().len().to_string());
        }
        *response.body_mut() = ScriptedBody::broken(bytes, end);
        response
    };
    match fault {
        Fault::None | Fault::Late(_) | Fault::Silence => well(served, asked),
        Fault::Status(status) => text(status, "scripted\n"),
        Fault::RetryAfter(status, seconds) => {
            let mut response = text(status, "later\n");
            set(&mut response, header::RETRY_AFTER, &seconds.to_string());
            response
        }
        Fault::Reset(at) => instead(head(at), End::Error, true),
        Fault::Drop(at) => instead(head(at), End::Drop(connection.clone()), true),
        Fault::Truncate(at) => instead(head(at), End::Well, true),
        Fault::TruncateUnannounced(at) => instead(head(at), End::Well, false),
        Fault::Stall(at) => instead(head(at), End::Never, true),
        Fault::WrongBytes => {
            let mut bytes = body().to_vec();
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
            answer(200, ScriptedBody::whole(bytes.into()))
        }
        Fault::Html => {
            let mut response = text(200, "<!doctype html><title>Welcome</title><p>Please log in.\n");
            set(&mut response, header::CONTENT_TYPE, "text/html");
            response
        }
        Fault::Drip(pause) => {
            instead(Bytes::new(), End::Drip(body(), Box::pin(tokio::time::sleep(pause)), pause), true)
        }
        Fault::Endless => {
            let chunk = Bytes::from(vec![b'x'; 16 << 10]);
            answer(200, ScriptedBody::broken(chunk.clone(), End::Repeat(chunk)))
        }
        Fault::EmptyChunks => {
            let pause = Box::pin(tokio::time::sleep(std::time::Duration::ZERO));
            answer(200, ScriptedBody::broken(head(1), End::Empty(pause)))
        }
        Fault::Redirect(to) => {
            let mut response = text(302, "elsewhere\n");
            set(&mut response, header::LOCATION, &to);
            response
        }
        Fault::WrongRange | Fault::OtherVersion if !asked.contains_key(header::RANGE) => well(served, asked),
        Fault::WrongRange => served.map_or_else(|| text(404, ""), |served| range(served, 0, 1)),
        Fault::OtherVersion => {
            let mut response = well(served, asked);
            set(&mut response, header::ETAG, "\"another\"");
            response
        }
        Fault::Encoding(name) => {
            let mut response = well(served, &HeaderMap::new());
            set(&mut response, header::CONTENT_ENCODING, name);
            response
        }
        Fault::HeaderFlood => {
            let mut response = well(served, &HeaderMap::new());
            let value = HeaderValue::from_str(&"x".repeat(4 << 10)).expect("header");
            for n in 0..2_000 {
                let name = header::HeaderName::try_from(format!("x-flood-{n}")).expect("header");
                response.headers_mut().insert(name, value.clone());
            }
            response
        }
    }
}
