//! The kinds of failures in words, and what to do about each.

/// A kind of failure, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// The kind in a few words.
    pub title: &'static str,
    /// What to do about it. Names no flags: another program may show it.
    pub advice: &'static str,
}

/// Returns the words for a kind of failure, as the failure ledger names it.
#[must_use]
pub fn reason(kind: &str) -> Reason {
    let (title, advice) = match kind {
        "wrong_hash" => (
            "Other bytes than the index promises",
            "If all releases fail like this, the download address is wrong or a proxy answers for the origin: open one of \
             the addresses yourself. If it is a few, the next run tries them again.",
        ),
        "connect" => (
            "No connection",
            "The origin, or the proxy on the way, refuses connections. Check that it is up and that a firewall lets this \
             machine through.",
        ),
        "dns" => (
            "The name does not resolve",
            "Check how the host is spelled, and the name server of this machine.",
        ),
        "tls" => (
            "No trusted TLS connection",
            "The certificate of the origin is not trusted here. Behind a proxy that opens TLS, this machine needs the \
             proxy's certificate.",
        ),
        "timeout" | "idle" => (
            "No answer in time",
            "The origin or the line is too slow for what is asked of it. Fewer requests at a time, or a longer time limit, \
             may help.",
        ),
        "reset" | "truncated" | "protocol" => (
            "Broken connection",
            "The origin or something on the way closes connections early. The next run tries these releases again; fewer \
             requests at a time may help.",
        ),
        "http_status" => (
            "Refused by the origin",
            "The message has the status. 403 or 404: upstream does not have the release, which is a known gap once you \
             acknowledge it. 429 or 503: ask more slowly. 401 or 407: credentials are missing.",
        ),
        "too_large" => (
            "Larger than allowed",
            "The answer is larger than any release may be. Check the download address: something else answers.",
        ),
        "redirect" => (
            "Redirected to where a run does not follow",
            "Check the download address: it leads from https to http, in a circle, or to another kind of address.",
        ),
        "proxy" => ("The proxy cannot be used", "Check the proxy settings in the environment of this run."),
        "spool" => (
            "The disk refused",
            "Look at free space and permissions where the mirror is. Nothing is lost: the next run fetches these releases.",
        ),
        "address" => {
            ("No usable address", "The index or the list gives an address that cannot be asked for.")
        }
        "encoding" => (
            "An encoding that was not asked for",
            "A proxy changes the answers. Ask the origin directly, or mend the proxy.",
        ),
        "planned" => {
            ("A run could not fetch it", "The message says why. The run goes on with everything else.")
        }
        "offline" => {
            ("Offline", "The run was told to send no requests. A run with a network fetches these releases.")
        }
        "not-in-index" => (
            "Not in the index",
            "Check how the crate or the version is spelled, and whether the index is up to date.",
        ),
        "checksum-conflict" => (
            "Two checksums that differ",
            "The message has both. Find out which is right before you take the release: one of the files was changed, or is \
             of another registry.",
        ),
        "no-checksum" => (
            "No checksum was given",
            "The list of addresses needs a checksum for each, because nothing else says what the bytes should be.",
        ),
        "index" => (
            "The index file is not readable",
            "The message says why. Bring the index up to date; if that changes nothing, make it anew.",
        ),
        "cancelled" => ("Stopped", "The run ended before this release came. The next run fetches it."),
        _ => ("Failed", "The message says why. The next run tries again."),
    };
    Reason { title, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_no_flags() {
        let kinds = [
            "wrong_hash",
            "connect",
            "dns",
            "tls",
            "timeout",
            "reset",
            "http_status",
            "too_large",
            "redirect",
            "proxy",
            "spool",
            "address",
            "encoding",
            "offline",
            "not-in-index",
            "checksum-conflict",
            "no-checksum",
            "index",
            "",
        ];
        for kind in kinds {
            let Reason { title, advice } = reason(kind);
            assert!(!advice.contains("--") && advice.ends_with('.') && !title.ends_with('.'), "{kind}");
        }
    }
}
