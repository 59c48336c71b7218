//! `cargo xtask tidy`: checks the rules that neither the compiler nor clippy checks.
//!
//! `workspace` reads the input once. Each check is a pure function from that input to a list of
//! faults, so that a unit test shows it pass and fail.

mod docs;
mod edges;
mod flags;
mod manifest;
mod members;
mod profiles;
mod sources;
mod toolchain;
mod trees;
mod upstream;
mod workflows;
mod workspace;

use std::path::Path;

use anyhow::bail;

pub(crate) use workspace::{Member, members};

use workspace::Workspace;

/// Runs every check and prints all faults, so that one run shows them all.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let workspace = Workspace::read(root)?;
    let faults = check(&workspace);
    for fault in &faults {
        println!("tidy: {fault}");
    }
    match faults.len() {
        0 => {
            let (members, files) = (workspace.members.len(), workspace.files.len());
            println!("tidy: {members} packages and {files} tracked text files keep the rules");
            Ok(())
        }
        1 => bail!("tidy found 1 fault"),
        n => bail!("tidy found {n} faults"),
    }
}

fn check(workspace: &Workspace) -> Vec<String> {
    let Workspace { root, members, trees, files, other_paths } = workspace;
    let mut faults = Vec::new();
    faults.extend(edges::table(members));
    faults.extend(edges::unused(members));
    faults.extend(edges::blocking_crates(members));
    faults.extend(members::package_sections(members));
    faults.extend(members::licences(members, files));
    faults.extend(members::own_versions(root, members));
    faults.extend(members::inherited_dependencies(members));
    faults.extend(members::used_dependencies(root, members));
    faults.extend(profiles::optimised(root, members));
    faults.extend(trees::absent(trees));
    faults.extend(sources::lengths(files));
    faults.extend(sources::forbidden_text(files));
    faults.extend(flags::in_libraries(files));
    faults.extend(upstream::one_home(files));
    faults.extend(workflows::pinned_actions(files));
    faults.extend(toolchain::versions(root, files));
    faults.extend(toolchain::programs_of_the_image(files));
    faults.extend(docs::required_files(files, other_paths));
    faults.extend(docs::architecture(files, members));
    faults.extend(docs::readmes(files));
    faults
}
