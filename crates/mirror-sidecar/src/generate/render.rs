//! Makes the sidecars of an index file, line by line.

use std::ops::ControlFlow;

use crate::{Facts, Line};
use mirror_index::sparse::DlTemplate;
use mirror_index::{FileChecker, IndexLimits, LineFault, lines};
use mirror_types::{CrateName, IndexRecord, Layout, last_of_each};

use super::licences::Licences;
use super::manifest::{Enrichment, Member};
use super::offered::Offered;

/// Most faults that a run keeps, so that the first ones in index order are among them.
const MAX_KEPT_FAULTS: usize = 10_000;

/// Download URLs.
pub(super) enum Urls {
    /// `{base}/{name}/{name}-{version}.crate`; no slash at the end of the base.
    Base(String),
    /// The template of a sparse registry.
    Template(DlTemplate),
}

/// The rules for making sidecars.
pub(super) struct Rules {
    pub(super) urls: Urls,
    pub(super) layout: Layout,
    pub(super) include_yanked: bool,
    pub(super) limits: IndexLimits,
    pub(super) facts: Option<Enrichment>,
    pub(super) licences: Option<Licences>,
    /// Selects these alone.
    pub(super) offered: Option<Offered>,
}

/// The counts of a thread.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) selected: u64,
    pub(super) written: u64,
    pub(super) existing: u64,
    pub(super) refreshed: u64,
    pub(super) yanked_refreshed: u64,
    pub(super) yanked_skipped: u64,
    pub(super) not_offered: u64,
    pub(super) bytes: u64,
    pub(super) bad_lines: u64,
    pub(super) faults: Vec<LineFault>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.selected += other.selected;
        self.written += other.written;
        self.existing += other.existing;
        self.refreshed += other.refreshed;
        self.yanked_refreshed += other.yanked_refreshed;
        self.yanked_skipped += other.yanked_skipped;
        self.not_offered += other.not_offered;
        self.bytes += other.bytes;
        self.bad_lines += other.bad_lines;
        self.faults.extend(other.faults);
        if self.faults.len() > MAX_KEPT_FAULTS {
            self.faults.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
            self.faults.truncate(MAX_KEPT_FAULTS / 2);
        }
    }

    fn fault(&mut self, fault: LineFault) {
        self.bad_lines += 1;
        if self.faults.len() < MAX_KEPT_FAULTS {
            self.faults.push(fault);
        }
    }
}

/// A good line of the index.
pub(super) struct ParsedLine<'a> {
    pub(super) line: Line<'a>,
    pub(super) bytes: &'a [u8],
    /// The number of the line in the file, without blank lines, from 0.
    pub(super) at: usize,
    pub(super) record: IndexRecord,
}

/// Passes every good line of a file to `visit`, yanked or not, and the last line of each release; counts what is
/// selected. Returns `false` when some of its lines are bad.
pub(super) fn each<'d>(
    rules: &Rules,
    path: &str,
    data: &'d [u8],
    tally: &mut Tally,
    visit: &mut dyn FnMut(&mut Tally, ParsedLine<'d>, bool) -> ControlFlow<()>,
) -> (ControlFlow<()>, bool) {
    let mut checker = FileChecker::new(path, &rules.limits);
    let (mut whole, mut all) = (true, Vec::new());
    for (at, (number, bytes)) in lines(data).enumerate() {
        let read = checker.fits(bytes).and_then(|()| {
            let line = Line::read(bytes).map_err(|error| error.to_string())?;
            let record = checker.check(&line.name, &line.version, &line.cksum, line.yanked)?;
            Ok(ParsedLine { line, bytes, at, record })
        });
        match read {
            Ok(parsed) => all.push(parsed),
            Err(reason) => {
                whole = false;
                tally.fault(LineFault { file: path.to_owned(), line: number, reason });
            }
        }
    }
    last_of_each(&mut all, |parsed| &parsed.record.id);
    for parsed in all {
        let wanted = rules.include_yanked || !parsed.record.yanked;
        let selected = wanted && rules.offered.as_ref().is_none_or(|offered| offered.has(&parsed.record));
        match (wanted, selected) {
            (_, true) => tally.selected += 1,
            (true, false) => tally.not_offered += 1,
            (false, false) => tally.yanked_skipped += 1,
        }
        if visit(tally, parsed, selected).is_break() {
            return (ControlFlow::Break(()), whole);
        }
    }
    (ControlFlow::Continue(()), whole)
}

/// Makes the facts of one release after another, and reuses its texts.
pub(super) struct FactsBuilder<'r> {
    rules: &'r Rules,
    name: Option<CrateName>,
    file: String,
    url: String,
    /// The length of the part of each text that stays the same for the versions of a crate.
    kept: (usize, usize),
    member: String,
}

impl<'r> FactsBuilder<'r> {
    pub(super) fn new(rules: &'r Rules) -> Self {
        Self {
            rules,
            name: None,
            file: String::new(),
            url: String::new(),
            kept: (0, 0),
            member: String::new(),
        }
    }

    fn begin(&mut self, name: &CrateName) {
        if self.name.as_ref() == Some(name) {
            self.file.truncate(self.kept.0);
            self.url.truncate(self.kept.1);
            return;
        }
        self.file.clear();
        self.url.clear();
        self.file.extend([&self.rules.layout.dir(name), "/", name.as_str(), "-"]);
        if let Urls::Base(base) = &self.rules.urls {
            self.url.extend([base, "/", name.as_str(), "/", name.as_str(), "-"]);
        }
        self.kept = (self.file.len(), self.url.len());
        self.name = Some(name.clone());
    }

    /// Returns the facts of a line.
    pub(super) fn facts<'s>(&'s mut self, parsed: &ParsedLine<'_>, path: &'s str) -> Facts<'s> {
        let IndexRecord { id, cksum, .. } = &parsed.record;
        if let Urls::Template(template) = &self.rules.urls {
            self.begin(&id.name);
            self.url = template.readable(id, cksum);
        }
        let license = self.rules.licences.as_ref().and_then(|licences| licences.of(&parsed.record));
        Facts { license, ..self.of(&id.name, id.version.as_str(), path) }
    }

    /// Returns the facts of a release from its name and version alone, which are not enough for its licence; the URL is
    /// right only with [`Urls::Base`].
    pub(super) fn of<'s>(&'s mut self, name: &CrateName, version: &str, path: &'s str) -> Facts<'s> {
        if let Urls::Base(_) = self.rules.urls {
            self.begin(name);
            self.url.extend([version, ".crate"]);
        }
        self.file.extend([version, ".crate"]);
        let facts = self.rules.facts.as_ref();
        let held = facts.and_then(|facts| facts.held(name.as_str(), version)).unwrap_or_default();
        let member = match held.member {
            Member::Unknown => None,
            Member::Own { separator } => {
                let dir = Layout::Shard.dir(name);
                self.member.clear();
                self.member.extend([&*dir, "/", name.as_str(), "-", version, ".crate"]);
                if separator != '/' {
                    self.member = self.member.replace('/', separator.encode_utf8(&mut [0; 4]));
                }
                Some(&*self.member)
            }
            Member::Other(member) => Some(member),
        };
        Facts {
            crate_file: self.file.rsplit_once('/').map_or(&*self.file, |(_, name)| name),
            crate_path: &self.file,
            crate_url: &self.url,
            index_path: path,
            storage: held.storage,
            bundle_path: held.bundle_path,
            bundle_member: member,
            license: None,
        }
    }
}
