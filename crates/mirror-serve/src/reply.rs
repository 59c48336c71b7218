//! Builds answers: status, headers and texts.

use std::io::Write as _;
use std::time::SystemTime;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::body::ServeBody;
use crate::conditions::{Entity, Part};

pub(crate) type Answer = Response<ServeBody>;

/// Shortest text that is worth packing, bytes.
const WORTH_GZIP: usize = 860;

/// Returns `config.json` of the registry at `base` when it consists of files, so that no server answers searches.
pub(crate) fn config_of_files(base: &str) -> String {
    let dl = format!("{base}/crates/{{crate}}/{{crate}}-{{version}}.crate");
    format!("{}\n", serde_json::json!({"dl": dl}))
}

/// Returns `config.json` of the registry at `base`.
pub(crate) fn config(base: &str) -> String {
    let dl = format!("{base}/crates/{{crate}}/{{crate}}-{{version}}.crate");
    let config = serde_json::json!({"dl": dl, "api": base});
    format!("{config}\n")
}

/// Packs a text if that is worth it.
pub(crate) fn gzip(text: &[u8]) -> Option<Bytes> {
    if text.len() < WORTH_GZIP {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text).ok()?;
    let mut packed = encoder.finish().ok()?;
    packed.shrink_to_fit();
    Some(packed.into())
}

/// Returns status and headers of an entity, or of a part of it, without the body.
pub(crate) fn entity_answer(part: &Part, entity: Entity<'_>, suffix: &str) -> Answer {
    let mut answer = Response::new(ServeBody::Empty);
    *answer.status_mut() = match part {
        Part::Whole => StatusCode::OK,
        Part::Range(_) => StatusCode::PARTIAL_CONTENT,
        Part::NotModified => StatusCode::NOT_MODIFIED,
        Part::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
    };
    match part {
        Part::Range(range) => {
            let (first, last) = (range.start, range.end - 1);
            set(&mut answer, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{}", entity.len));
        }
        Part::Unsatisfiable => {
            set(&mut answer, header::CONTENT_RANGE, &format!("bytes */{}", entity.len));
        }
        _ => {}
    }
    set(&mut answer, header::ACCEPT_RANGES, "bytes");
    set(&mut answer, header::ETAG, &format!("\"{}{suffix}\"", entity.tag));
    if let Some(date) = entity.modified.and_then(http_date) {
        set(&mut answer, header::LAST_MODIFIED, &date);
    }
    answer
}

/// Returns a time in the form of headers; `None` for one out of their range: files may have any time.
fn http_date(time: SystemTime) -> Option<String> {
    /// The first second of the year 10,000.
    const END_S: u64 = 253_402_300_800;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() < END_S).then(|| httpdate::fmt_http_date(time))
}

pub(crate) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

pub(crate) fn typed(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(ServeBody::of(body));
    set(&mut answer, header::CONTENT_TYPE, kind);
    set(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer
}

pub(crate) fn json(body: String) -> Answer {
    let mut answer = typed("application/json", body);
    set(&mut answer, header::CACHE_CONTROL, "no-cache");
    answer
}

/// Makes an answer with a text.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = typed("text/plain; charset=utf-8", body);
    *answer.status_mut() = status;
    answer
}

/// Converts an answer with a text into the form in which Cargo reads errors of a registry.
pub(crate) fn as_api_error(answer: &mut Answer) {
    if let ServeBody::Whole(text) = answer.body() {
        let detail = String::from_utf8_lossy(text).trim_end().to_owned();
        let body = serde_json::json!({"errors": [{"detail": detail}]}).to_string();
        *answer.body_mut() = ServeBody::of(body);
        set(answer, header::CONTENT_TYPE, "application/json");
    }
}

pub(crate) fn bad_host() -> Answer {
    text(StatusCode::BAD_REQUEST, "the request names no host that could be written into an answer\n")
}

pub(crate) fn clip(text: &str) -> &str {
    const MOST: usize = 300;
    let mut end = text.len().min(MOST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_worth_it_for_long_texts_only() {
        assert!(gzip(b"short").is_none());
        let packed = gzip(&b"{\"name\":\"serde\"}\n".repeat(200)).expect("packed");
        assert!(packed.len() < 200 && packed.starts_with(&[0x1f, 0x8b]));
    }

    #[test]
    fn the_configuration_is_what_cargo_reads() {
        let config: serde_json::Value = serde_json::from_str(&config("http://h:1")).expect("json");
        assert_eq!(config["dl"], "http://h:1/crates/{crate}/{crate}-{version}.crate");
        assert_eq!(config["api"], "http://h:1");
    }
}
