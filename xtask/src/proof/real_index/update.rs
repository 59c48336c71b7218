//! Clones and updates the index from a copy that real git serves.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use mirror_testkit::{GitDaemon, GitHttp, git, git_says};

use super::world::{BARE, CHECKOUT, World, print_row};

/// The copy that is served, in a separate folder.
const SERVED: &str = "served/index";

/// Clones from each kind of server, and updates without and with a new commit.
pub(super) fn run(world: &World) -> anyhow::Result<()> {
    std::fs::create_dir_all(world.path("served")).context("a folder to serve")?;
    git(world.dir.path(), &["clone", "--quiet", "--bare", BARE, SERVED]);
    let (daemon, http) =
        (GitDaemon::start(&world.path("served")), GitHttp::start(&world.path("served"), false));
    let file = format!("file://{}", world.path(SERVED).display());
    let kinds = [("file", file), ("daemon", daemon.url("index")), ("http", http.url("index"))];
    for (kind, url) in &kinds {
        let began = Instant::now();
        let index = format!("updated-{kind}");
        for _ in 0..2 {
            update(world, &index, url)?;
        }
        world.dry_run(&index)?;
        print_row(
            &format!("update, {kind}"),
            "cloned, and brought up to date: the same tree, the same releases",
            began,
        );
    }
    let began = Instant::now();
    commit(world)?;
    for (kind, url) in &kinds {
        update(world, &format!("updated-{kind}"), url)?;
    }
    print_row("update, a commit later", "from file, daemon and http: the new tree", began);
    Ok(())
}

/// Runs the downloader with an update. It selects only yanked releases, so that there is nothing to fetch.
fn update(world: &World, index: &str, url: &str) -> anyhow::Result<()> {
    let yanked =
        world.facts.all_yanked.as_deref().context("the index has no crate whose releases are all yanked")?;
    world.download(&[
        "--update-index",
        "--index-dir",
        index,
        "--index-url",
        url,
        "--crates",
        yanked,
        "--out",
        &format!("{index}-mirror"),
    ])?;
    let tree = |dir: &str| git_says(&world.path(dir), &["rev-parse", "HEAD^{tree}"]);
    let (found, expected) = (tree(index), tree(SERVED));
    ensure!(found == expected, "{index} is at the tree {found}, and the served copy at {expected}");
    git(&world.path(index), &["fsck", "--no-progress"]);
    Ok(())
}

/// Commits another release to the served copy, and removes it from the checkout again.
fn commit(world: &World) -> anyhow::Result<()> {
    let checkout = world.path(CHECKOUT);
    let path = checkout.join("1/a");
    let mut text = std::fs::read_to_string(&path).context("reading the file of a crate")?;
    let last = text.lines().last().context("it has no line")?.to_owned();
    let (before, after) = last.split_once(r#""vers":""#).context("it has no version")?;
    let (_, after) = after.split_once('"').context("its version has no end")?;
    text.push_str(&format!("{before}\"vers\":\"999.0.0\"{after}\n"));
    std::fs::write(&path, text).context("writing the file of a crate")?;
    git(&checkout, &["commit", "--quiet", "--all", "--message", "a release more"]);
    git(&checkout, &["push", "--quiet", &world.path(SERVED).display().to_string(), "HEAD:master"]);
    git(&checkout, &["reset", "--quiet", "--hard", "HEAD~"]);
    Ok(())
}
