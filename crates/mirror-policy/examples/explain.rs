//! Shows what a policy decides about a release, and the finding of each rule.
//!
//! `cargo run -p mirror-policy --example explain -- POLICY NAME@VERSION`. The release has no facts here but its name: a
//! program that knows its index line, size and licence puts them into the candidate.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use mirror_policy::{Advisories, Candidate, IndexRecord, Policy, Sha256, Verdict};
use mirror_types::ReleaseId;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [policy, release] = arguments.as_slice() else {
        return Err("usage: explain POLICY NAME@VERSION".into());
    };
    explain(Path::new(policy), release, &mut io::stdout().lock())
}

/// Writes the verdict, and a line for each rule below it.
pub(crate) fn explain(policy: &Path, release: &str, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let policy = Policy::load(policy)?;
    let advisories = match policy.advisory_database() {
        Some(database) => Advisories::load(Path::new(database))?,
        None => Advisories::default(),
    };
    let (name, version) = release.split_once('@').ok_or("the release is not NAME@VERSION")?;
    let id = ReleaseId { name: name.parse()?, version: version.parse()? };
    let record = IndexRecord { id, cksum: Sha256::from_bytes([0; 32]), yanked: false, published: None };

    let evaluation = policy.evaluate(&Candidate::new(&record), &advisories, SystemTime::now());
    match &evaluation.verdict {
        Verdict::Offered => writeln!(out, "{}: offered", record.id)?,
        Verdict::HeldBack(held_back) => writeln!(out, "{}: {held_back}", record.id)?,
        Verdict::Undecided(facts) => writeln!(out, "{}: undecided without its {facts}", record.id)?,
    }
    for finding in &evaluation.findings {
        writeln!(out, "    {}: {}", finding.rule, finding.reason)?;
    }
    Ok(())
}
