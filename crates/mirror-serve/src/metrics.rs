//! The counters of the server.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mirror_manifest::HeldTotals;

/// The subject of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Index,
    Crate,
    Search,
    Other,
}

const KINDS: [(&str, Kind); 4] =
    [("index", Kind::Index), ("crate", Kind::Crate), ("search", Kind::Search), ("other", Kind::Other)];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// Counters of a server.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: [[AtomicU64; 4]; 4],
    pub(crate) bytes: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) turned_away: AtomicU64,
    pub(crate) cut_off: AtomicU64,
    pub(crate) made_room: AtomicU64,
    pub(crate) prepared: AtomicU64,
}

impl Counters {
    pub(crate) fn answered(&self, kind: Kind, status: u16, bytes: u64) {
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        self.requests[kind as usize][class].fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Renders Prometheus' text format, version 0.0.4.
    pub(crate) fn render(&self, generation: u64, census: Option<HeldTotals>) -> String {
        let mut text = String::new();
        let head = |text: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        let name = "crates_serve_requests_total";
        head(&mut text, name, "counter", "Requests by what was asked for and class of status.");
        for (label, kind) in KINDS {
            for (class, count) in CLASSES.iter().zip(&self.requests[kind as usize]) {
                let _ =
                    writeln!(text, "{name}{{kind=\"{label}\",status=\"{class}\"}} {}", count.load(Relaxed));
            }
        }
        let mut rows = vec![
            ("bytes_total", "counter", "Bytes of bodies that were answered with.", self.bytes.load(Relaxed)),
            ("connections_total", "counter", "Connections that were taken.", self.connections.load(Relaxed)),
            ("connections", "gauge", "Connections that are open.", self.open.load(Relaxed)),
            (
                "connections_refused_total",
                "counter",
                "Connections beyond the limit.",
                self.turned_away.load(Relaxed),
            ),
            (
                "connections_cut_total",
                "counter",
                "Connections closed for moving nothing.",
                self.cut_off.load(Relaxed),
            ),
            (
                "connections_made_room_total",
                "counter",
                "Connections closed for moving nothing while others wanted their place.",
                self.made_room.load(Relaxed),
            ),
            ("index_files_prepared_total", "counter", "Index files prepared.", self.prepared.load(Relaxed)),
            ("generation", "gauge", "States of the mirror that were seen.", generation),
        ];
        if let Some(census) = census {
            rows.push(("held_crates", "gauge", "Crates of which something is held.", census.crates));
            rows.push(("held_releases", "gauge", "Releases that are held.", census.releases));
            rows.push(("held_bytes", "gauge", "Bytes of releases that are held.", census.bytes));
        }
        for (name, kind, help, value) in rows {
            let name = format!("crates_serve_{name}");
            head(&mut text, &name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
        text
    }
}
