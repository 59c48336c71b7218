//! `cargo xtask docs`: runs the commands in the documents.

mod blocks;
mod monitoring;
mod powershell;
mod skips;
mod world;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};

use blocks::{Command, Shell};
use world::World;

/// The documents to try.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only documents whose path ends with one of these, as in `cargo xtask docs policy.md`. Without any: all.
    endings: Vec<String>,
    /// Directory of the programs. Without it they are built in the profile `dev`.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// How a command ended.
enum Verdict {
    Ran,
    Parsed,
    Skipped(&'static str),
    Failed(String),
}

/// What the commands of all documents came to.
#[derive(Default)]
struct Tally {
    commands: usize,
    ran: usize,
    parsed: usize,
    skipped: usize,
    failed: Vec<String>,
    /// The skips that a command needed.
    used: BTreeSet<usize>,
}

/// Runs the commands of the documents, each document in a directory of its own; fails when one of them does.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let programs = match &options.programs {
        Some(dir) => dir.canonicalize().with_context(|| format!("could not find {}", dir.display()))?,
        None => crate::cases::built(root)?,
    };
    let pages = chosen(root, &options.endings)?;
    let world = World::new(root, &programs)?;
    let mut tally = Tally::default();
    for page in &pages {
        try_page(root, page, &world, &mut tally)?;
    }
    if options.endings.is_empty() {
        monitoring::check(root, &world)?;
    }
    println!(
        "{} commands in {} documents: {} ran, {} parsed, {} skipped, {} failed, {:.1} s",
        tally.commands,
        pages.len(),
        tally.ran,
        tally.parsed,
        tally.skipped,
        tally.failed.len(),
        began.elapsed().as_secs_f64()
    );
    if !tally.failed.is_empty() {
        bail!("{} commands of the documents fail:\n{}", tally.failed.len(), tally.failed.join("\n"));
    }
    let unused = skips::unused(&tally.used);
    if options.endings.is_empty() && !unused.is_empty() {
        bail!(
            "no document has these commands any more; remove them from xtask/src/docs/skips.rs: {unused:?}"
        );
    }
    Ok(())
}

/// Returns the documents with commands for users, relative to the root: README.md and docs/*.md.
fn chosen(root: &Path, endings: &[String]) -> anyhow::Result<Vec<String>> {
    let dir = root.join("docs");
    let mut pages = vec!["README.md".to_owned()];
    for entry in std::fs::read_dir(&dir).with_context(|| format!("could not list {}", dir.display()))? {
        let name = entry.with_context(|| format!("could not list {}", dir.display()))?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    pages.sort();
    pages.retain(|page| endings.is_empty() || endings.iter().any(|ending| page.ends_with(ending.as_str())));
    if pages.is_empty() {
        bail!("no document has such a name");
    }
    Ok(pages)
}

fn try_page(root: &Path, page: &str, world: &World, tally: &mut Tally) -> anyhow::Result<()> {
    let path = root.join(page);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    for line in blocks::unfenced(&text) {
        println!("FAILED {page}:{line}: fence this command with ```sh, so that it is run");
        tally.failed.push(format!("{page}:{line}: an indented command"));
    }
    let commands = blocks::commands(&text);
    if commands.is_empty() {
        return Ok(());
    }
    let place = world.place(page)?;
    for command in &commands {
        let verdict = try_command(page, command, world, place.path(), tally)?;
        let at = format!("{page}:{}", command.line);
        tally.commands += 1;
        match verdict {
            Verdict::Ran => tally.ran += 1,
            Verdict::Parsed => tally.parsed += 1,
            Verdict::Skipped(reason) => {
                tally.skipped += 1;
                println!("skipped {at}: {} ({reason})", command.first_line());
            }
            Verdict::Failed(why) => {
                println!("FAILED {at}: {}\n{why}", command.text);
                tally.failed.push(format!("{at}: {}", command.first_line()));
            }
        }
    }
    Ok(())
}

fn try_command(
    page: &str,
    command: &Command,
    world: &World,
    place: &Path,
    tally: &mut Tally,
) -> anyhow::Result<Verdict> {
    if command.shell == Shell::Power {
        let faults = powershell::faults(&command.text)?;
        return Ok(if faults.is_empty() { Verdict::Parsed } else { Verdict::Failed(faults.join("\n")) });
    }
    if let Some((number, reason)) = skips::of(page, &command.text) {
        tally.used.insert(number);
        return Ok(Verdict::Skipped(reason));
    }
    world.run(page, &command.text, place)
}
