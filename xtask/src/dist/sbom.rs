//! Writes the bill of materials: CycloneDX 1.6, JSON (ECMA-424).

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::PRODUCT;
use super::build::Build;
use super::packages::{Id, Package, Packages};

/// Writes the components of the programs. The serial number is derived from the contents, so equal contents share it.
pub(crate) fn document(packages: &Packages, build: &Build, epoch: u64) -> anyhow::Result<String> {
    let root = format!("{PRODUCT}@{}", packages.version());
    let programs: Vec<String> =
        packages.all.keys().filter(|id| super::PROGRAMS.contains(&id.name.as_str())).map(reference).collect();
    let mut dependencies = vec![json!({ "ref": root, "dependsOn": programs })];
    dependencies.extend(packages.all.iter().map(|(id, package)| {
        json!({ "ref": reference(id), "dependsOn": package.uses.iter().map(reference).collect::<Vec<_>>() })
    }));
    let mut document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(epoch)?,
            "lifecycles": [{ "phase": "build" }],
            "tools": { "components": [
                { "type": "application", "name": "cargo xtask dist", "version": packages.version() },
                { "type": "application", "name": "rustc", "version": compiler_version(build) },
            ] },
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": PRODUCT,
                "version": packages.version(),
                "licenses": [{ "license": { "id": "MIT" } }],
                "properties": [{ "name": "rust:target", "value": build.target }],
            },
        },
        "components": packages.all.iter().map(|(id, package)| component(id, package)).collect::<Vec<_>>(),
        "dependencies": dependencies,
    });
    let contents = serde_json::to_vec(&document).context("could not write the SBOM")?;
    document["serialNumber"] = Value::String(serial_number(&contents));
    let text = serde_json::to_string_pretty(&document).context("could not write the SBOM")?;
    Ok(text + "\n")
}

fn component(id: &Id, package: &Package) -> Value {
    let mut fields = Map::new();
    let is_program = super::PROGRAMS.contains(&id.name.as_str());
    fields.insert("type".to_owned(), json!(if is_program { "application" } else { "library" }));
    fields.insert("bom-ref".to_owned(), json!(reference(id)));
    fields.insert("name".to_owned(), json!(id.name));
    fields.insert("version".to_owned(), json!(id.version));
    if let Some(description) = &package.description {
        let words: Vec<&str> = description.split_whitespace().collect();
        fields.insert("description".to_owned(), json!(words.join(" ")));
    }
    fields.insert("scope".to_owned(), json!(if package.is_shipped { "required" } else { "excluded" }));
    if let Some(licence) = &package.licence {
        // Old packages separate alternatives by a slash, which is not SPDX.
        let expression = licence.replace(" / ", "/").replace('/', " OR ");
        fields.insert("licenses".to_owned(), json!([{ "expression": expression }]));
    }
    if let Some(checksum) = &package.checksum {
        fields.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": checksum }]));
        fields.insert("purl".to_owned(), json!(format!("pkg:cargo/{}@{}", id.name, encoded(&id.version))));
    }
    if let Some(repository) = &package.repository {
        fields.insert("externalReferences".to_owned(), json!([{ "type": "vcs", "url": repository }]));
    }
    Value::Object(fields)
}

fn reference(id: &Id) -> String {
    format!("{}@{}", id.name, id.version)
}

/// Returns a version for a package URL, which encodes the plus before build metadata.
fn encoded(version: &str) -> String {
    version.replace('+', "%2B")
}

fn compiler_version(build: &Build) -> &str {
    build.compiler.strip_prefix("rustc ").unwrap_or(&build.compiler)
}

/// Returns a UUID of version 8, which is for custom schemes (RFC 9562).
fn serial_number(contents: &[u8]) -> String {
    let digest = Sha256::digest(contents);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = "urn:uuid:".to_owned();
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn timestamp(epoch: u64) -> anyhow::Result<String> {
    let seconds = i64::try_from(epoch).context("the time of the commit is out of range")?;
    let time = jiff::Timestamp::from_second(seconds).context("the time of the commit is out of range")?;
    Ok(time.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::packages::make::{id, package, packages};
    use super::*;

    fn made() -> Value {
        let here = Path::new("/x");
        let mut program = package(here, "MIT", None);
        program.uses = BTreeSet::from([id("used")]);
        let mut used = package(here, "MIT/Apache-2.0", Some("ab12"));
        used.repository = Some("https://example.org/used".to_owned());
        let macros = Package { is_shipped: false, ..package(here, "MIT", Some("cd34")) };
        let all = packages([(id("serve-mirror"), program), (id("used"), used), (id("macros"), macros)]);
        let text = || document(&all, &Build::of_a_test(here), 1_700_000_000).unwrap();
        assert_eq!(text(), text(), "the same packages have the same document");
        serde_json::from_str(&text()).unwrap()
    }

    /// Checks the fields that the schema requires, and the forms of their values.
    #[test]
    fn required_fields_are_present() {
        let document = made();
        assert_eq!((&document["bomFormat"], &document["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
        assert_eq!(document["version"], 1);
        assert_eq!(document["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
        let serial = document["serialNumber"].as_str().unwrap();
        let parts: Vec<&str> = serial.strip_prefix("urn:uuid:").unwrap().split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('8') && parts.concat().bytes().all(|byte| byte.is_ascii_hexdigit()));
        for component in document["components"].as_array().unwrap() {
            for field in ["type", "name", "version", "bom-ref", "scope"] {
                assert!(component[field].is_string(), "{field} of {component}");
            }
        }
    }

    #[test]
    fn every_reference_names_a_component_once() {
        let document = made();
        let references = |field: &str, key: &str| -> Vec<String> {
            let all = document[field].as_array().unwrap();
            all.iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
        };
        let mut components = references("components", "bom-ref");
        components.push(document["metadata"]["component"]["bom-ref"].as_str().unwrap().to_owned());
        components.sort();
        let unique: BTreeSet<&String> = components.iter().collect();
        assert_eq!(unique.len(), components.len());
        let mut edges = references("dependencies", "ref");
        edges.sort();
        assert_eq!(edges, components);
        for edge in document["dependencies"].as_array().unwrap() {
            for used in edge["dependsOn"].as_array().unwrap() {
                assert!(components.iter().any(|component| used == component), "{used}");
            }
        }
    }

    #[test]
    fn a_package_is_described_as_in_its_registry() {
        let document = made();
        let find = |name: &str| {
            let all = document["components"].as_array().unwrap();
            all.iter().find(|component| component["name"] == name).unwrap().clone()
        };
        let used = find("used");
        assert_eq!(used["purl"], "pkg:cargo/used@1.0.0");
        assert_eq!(used["hashes"], json!([{ "alg": "SHA-256", "content": "ab12" }]));
        assert_eq!(used["licenses"], json!([{ "expression": "MIT OR Apache-2.0" }]));
        assert_eq!((&used["scope"], &used["type"]), (&json!("required"), &json!("library")));
        assert_eq!(find("macros")["scope"], "excluded");
        assert_eq!(find("serve-mirror")["type"], "application");
        assert_eq!(find("serve-mirror")["purl"], Value::Null);
        assert_eq!(encoded("1.0.0+zlib"), "1.0.0%2Bzlib");
    }
}
