//! The summaries that are printed at the end.

use mirror_cli::row;
use mirror_serve::{ExportFormat, ExportOptions, ExportOutcome, Printable};

use crate::doctor::{Finding, Verdict};

/// Most releases that are named here; the log names them all.
const MAX_NAMED: usize = 50;

fn more(text: &mut String, count: usize) {
    if count > MAX_NAMED {
        text.push_str(&format!("  and {} more, which the log names\n", count - MAX_NAMED));
    }
}

/// Describes the result of an export, and how to use it.
pub(crate) fn exported(outcome: &ExportOutcome, options: &ExportOptions) -> String {
    let mut text = String::new();
    row(&mut text, "crates", outcome.crates);
    row(&mut text, "releases", outcome.releases);
    row(&mut text, "linked", outcome.linked);
    row(&mut text, "written", outcome.written);
    row(&mut text, "bytes written", outcome.bytes);
    row(&mut text, "there already", outcome.kept);
    row(&mut text, "removed", outcome.removed);
    if !outcome.missing.is_empty() {
        text.push_str(&format!(
            "\n{} releases are held and could not be exported; download-crates --verify-existing repairs the mirror:\n",
            outcome.missing.len()
        ));
        for (id, why) in outcome.missing.iter().take(MAX_NAMED) {
            text.push_str(&format!("  {id}: {}\n", Printable(why)));
        }
        more(&mut text, outcome.missing.len());
    }
    if !outcome.left_out.is_empty() {
        text.push_str(&format!("\n{} are left out:\n", outcome.left_out.len()));
        for (what, why) in outcome.left_out.iter().take(MAX_NAMED) {
            text.push_str(&format!("  {}: {why}\n", Printable(what)));
        }
        more(&mut text, outcome.left_out.len());
    }
    if let Some(sentence) = outcome.held_back.sentence() {
        text.push_str(&format!("\n{sentence}\n"));
    }
    if outcome.interrupted {
        text.push_str("\nStopped before the end; the same command continues.\n");
        return text;
    }
    let source = match &options.format {
        ExportFormat::Static { base_url } => format!("registry = \"sparse+{base_url}/index/\""),
        ExportFormat::LocalRegistry => {
            let dir = std::path::absolute(&options.dir).unwrap_or_else(|_| options.dir.clone());
            format!("local-registry = {:?}", dir.display().to_string())
        }
    };
    text.push_str(
        "\nFor Cargo's configuration:\n\n[source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\n",
    );
    text.push_str(&source);
    text.push('\n');
    text
}

/// Writes a table of the checks.
pub(crate) fn found(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Works => "works",
            Verdict::Fails => "FAILS",
            Verdict::Warns => "warns",
            Verdict::NotTried => "-",
        };
        let mut lines = finding.detail.lines();
        let first = lines.next().unwrap_or_default();
        text.push_str(&format!("{:<width$}  {verdict:<5}  {first}\n", finding.what));
        for line in lines {
            text.push_str(&format!("{:width$}         {line}\n", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_stand_in_columns() {
        let finding = |what, verdict, detail: &str| Finding { what, verdict, detail: detail.to_owned() };
        let text = found(&[
            finding("fetch", Verdict::Works, "a 1.0.0"),
            finding("build", Verdict::Fails, "one\ntwo"),
            finding("+", Verdict::NotTried, "none is held"),
        ]);
        assert_eq!(
            text,
            "fetch  works  a 1.0.0\nbuild  FAILS  one\n              two\n+      -      none is held\n"
        );
    }
}
