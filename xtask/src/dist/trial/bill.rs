//! Compares the documents about packages with the packages that Cargo compiled for the programs.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::super::packages::Id;

/// Checks that the components which the SBOM calls required are exactly those that were compiled for the target.
pub(super) fn check(sbom: &str, compiled: &BTreeSet<Id>) -> anyhow::Result<()> {
    let document: Value = serde_json::from_str(sbom).context("the SBOM is not JSON")?;
    let components = document["components"].as_array().context("the SBOM has no components")?;
    let required: BTreeSet<Id> =
        components.iter().filter(|component| component["scope"] == "required").filter_map(id).collect();
    let missing = names(compiled.difference(&required));
    ensure!(missing.is_empty(), "the SBOM lacks what is in the programs: {missing}");
    let more = names(required.difference(compiled));
    ensure!(more.is_empty(), "the SBOM lists as required what was not compiled for the programs: {more}");
    Ok(())
}

/// Checks that the list of licences has every package of other people.
pub(super) fn licences(text: &str, compiled: &BTreeSet<Id>) -> anyhow::Result<()> {
    let listed = |id: &&Id| text.contains(&format!("\n{} {}: ", id.name, id.version));
    let missing = names(compiled.iter().filter(|id| !is_own(id)).filter(|id| !listed(id)));
    ensure!(missing.is_empty(), "the list of licences lacks {missing}");
    Ok(())
}

fn is_own(id: &Id) -> bool {
    id.name.starts_with("mirror-") || crate::dist::PROGRAMS.contains(&id.name.as_str())
}

fn id(component: &Value) -> Option<Id> {
    let text = |field: &str| component[field].as_str().map(str::to_owned);
    Some(Id { name: text("name")?, version: text("version")? })
}

fn names<'a>(ids: impl Iterator<Item = &'a Id>) -> String {
    ids.map(|id| format!("{} {}", id.name, id.version)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::super::packages::make::id as of;
    use super::*;

    const SBOM: &str = r#"{"components":[
        {"name":"serde","version":"1.0.0","scope":"required"},
        {"name":"syn","version":"1.0.0","scope":"excluded"}]}"#;

    #[test]
    fn the_bill_has_what_was_compiled_and_nothing_else() {
        check(SBOM, &[of("serde")].into()).unwrap();
        let lacks = check(SBOM, &[of("serde"), of("url")].into()).unwrap_err().to_string();
        assert!(lacks.contains("lacks") && lacks.ends_with("url 1.0.0"), "{lacks}");
        let more = check(SBOM, &[].into()).unwrap_err().to_string();
        assert!(more.ends_with("serde 1.0.0"), "{more}");
        // A macro runs in the compiler alone.
        assert!(check(SBOM, &[of("serde"), of("syn")].into()).is_err());
        assert!(check("{", &[].into()).is_err());
    }

    #[test]
    fn every_package_of_others_has_a_licence() {
        let compiled = [of("serde"), of("mirror-fs"), of("serve-mirror")].into();
        licences("Licences:\n\nserde 1.0.0: MIT\n", &compiled).unwrap();
        assert!(licences("Licences:\n\nserde 1.0.1: MIT\n", &compiled).is_err());
    }
}
