//! Detects requests with two meanings, of which a proxy in between may have chosen the other one. Pure.

use http::request::Parts;
use http::{HeaderValue, StatusCode, Version, header};

use crate::reply::{Answer, set, text};

/// Refuses a request that a server and a proxy before it could understand differently; `None` for a proper one.
pub(crate) fn improper(head: &Parts) -> Option<Answer> {
    let hosts: Vec<&HeaderValue> = head.headers.get_all(header::HOST).iter().collect();
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let why = if head.headers.contains_key(header::TRANSFER_ENCODING) {
        // hyper has removed a length that came with it before this code sees the request.
        "a request here has no body, so that it needs no Transfer-Encoding\n"
    } else if head.headers.get_all(header::CONTENT_LENGTH).iter().count() > 1 {
        "the request has more than one Content-Length\n"
    } else if hosts.len() > 1 {
        "the request has more than one Host\n"
    } else if head.version == Version::HTTP_11 && hosts.is_empty() {
        "the request has no Host\n"
    } else if head.version == Version::HTTP_2
        && hosts.iter().any(|host| authority.is_some_and(|of| !of.eq_ignore_ascii_case(host.as_bytes())))
    {
        "the request has a Host that is not its :authority\n"
    } else {
        return None;
    };
    let mut answer = text(StatusCode::BAD_REQUEST, why);
    if head.version != Version::HTTP_2 {
        // It is unknown where the next request begins.
        set(&mut answer, header::CONNECTION, "close");
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn refused(version: Version, uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        improper(&request.body(()).expect("request").into_parts().0).is_some()
    }

    #[test]
    fn what_can_be_understood_in_two_ways_is_refused() {
        let v1 = |headers: &[(&str, &str)]| refused(Version::HTTP_11, "/", headers);
        let v2 = |headers: &[(&str, &str)]| refused(Version::HTTP_2, "http://h:1/", headers);
        assert!(!v1(&[("host", "h")]));
        assert!(!v1(&[("host", "h"), ("content-length", "0")]));
        assert!(v1(&[("host", "h"), ("host", "h")]));
        assert!(v1(&[("host", "h"), ("host", "other")]));
        assert!(v1(&[]));
        assert!(v1(&[("host", "h"), ("transfer-encoding", "chunked"), ("content-length", "3")]));
        assert!(v1(&[("host", "h"), ("transfer-encoding", "chunked")]));
        assert!(v1(&[("host", "h"), ("content-length", "3"), ("content-length", "3")]));
        assert!(!refused(Version::HTTP_10, "/", &[]));
        assert!(!v2(&[]) && !v2(&[("host", "H:1")]));
        assert!(v2(&[("host", "other")]) && v2(&[("host", "h:1"), ("host", "h:1")]));
    }
}
