//! `cargo xtask synth` and `cargo xtask origin`: make a registry from a seed, as files or served.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mirror_testkit::{DayChanges, GitForm, Origin, OriginOptions, Protocol, Scale, Synthetic, git};

/// The shape of the registry to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Shape {
    /// The same seed makes the same registry.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of releases; the whole registry has 2500000.
    #[arg(long, default_value_t = 5_000)]
    releases: usize,
    /// Number of crates; 0 takes a tenth of the releases.
    #[arg(long, default_value_t = 0)]
    crates: usize,
}

impl Shape {
    fn make(&self, mean_bytes: usize) -> Synthetic {
        let crates = if self.crates == 0 { self.releases.div_ceil(10) } else { self.crates };
        Synthetic::new(Scale { seed: self.seed, releases: self.releases, crates, mean_bytes })
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Synth {
    #[command(flatten)]
    shape: Shape,
    /// Also make the `.crate` files, of this mean size in bytes: www/crates/, urls.txt,
    /// checksums.jsonl.
    #[arg(long, default_value_t = 0)]
    mean_bytes: usize,
    /// Directory to fill: index/ (a work tree without git, and a sparse registry's root) unless
    /// another form is asked for.
    #[arg(long)]
    out: PathBuf,
    /// The index as a bare git repository at index.git/.
    #[arg(long)]
    bare: bool,
    /// The index as a git repository with a work tree at index-git/.
    #[arg(long)]
    checkout: bool,
    /// The index as a directory at index/, beside the git repositories.
    #[arg(long)]
    tree: bool,
    /// Further commits of the bare repository: new versions, yanks, deletions, new crates.
    #[arg(long, default_value_t = 0)]
    days: usize,
    /// Crates that change in each of these.
    #[arg(long, default_value_t = 500)]
    daily: usize,
    /// Add a last commit without parents that keeps the tree.
    #[arg(long)]
    squash: bool,
    /// Pack the bare repository as a server does, with deltas.
    #[arg(long)]
    repack: bool,
    /// Base of the URLs in urls.txt and checksums.jsonl.
    #[arg(long, default_value = "https://localhost:8443")]
    base: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    shape: Shape,
    /// Mean size of a release in bytes.
    #[arg(long, default_value_t = 20_000)]
    mean_bytes: usize,
    /// Delay of every answer, in milliseconds.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Plain HTTP/1.1 without TLS.
    #[arg(long)]
    plain: bool,
}

pub(crate) fn synth(options: &Synth) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut index = options.shape.make(options.mean_bytes);
    if options.tree || !(options.bare || options.checkout) {
        index.write_tree(&options.out.join("index"));
    }
    if options.checkout {
        index.create_git(&options.out.join("index-git"), GitForm::Checkout);
    }
    if options.mean_bytes > 0 {
        index.write_crates(&options.out.join("www"));
        write_lists(&index, options)?;
    }
    println!(
        "{} releases of {} crates below {}, {:.1} s",
        index.releases(),
        index.crates(),
        options.out.display(),
        began.elapsed().as_secs_f64()
    );
    if !options.bare {
        return Ok(());
    }
    let bare = options.out.join("index.git");
    index.create_git(&bare, GitForm::Bare);
    for _ in 0..options.days {
        let some = options.daily / 10;
        let changes = DayChanges {
            published: options.daily - 4 * some,
            yanked: some,
            deleted: some,
            created: some,
            removed: some,
            republished: 0,
        };
        index.commit_day(&bare, &changes);
    }
    if options.squash {
        Synthetic::squash(&bare);
    }
    println!(
        "{} releases at HEAD of {}, {:.1} s",
        index.releases(),
        bare.display(),
        began.elapsed().as_secs_f64()
    );
    if options.repack {
        git(&bare, &["repack", "-a", "-d", "-f", "--quiet", "--window=10", "--depth=50"]);
        println!("repacked, {:.1} s", began.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Writes the URLs, and the checksums as JSONL.
fn write_lists(index: &Synthetic, options: &Synth) -> anyhow::Result<()> {
    let mut urls = String::new();
    let mut sums = String::new();
    for at in index.numbers() {
        let name = index.name(at);
        for release in index.releases_of(at) {
            let url = format!("{}/crates/{name}/{name}-{}.crate", options.base, release.version);
            writeln!(urls, "{}", url.replace('+', "%2B")).context("a text")?;
            writeln!(sums, "{}", serde_json::json!({"url": url, "sha256": index.cksum(&release).to_hex()}))
                .context("a text")?;
        }
    }
    for (name, text) in [("urls.txt", urls), ("checksums.jsonl", sums)] {
        let path = options.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

pub(crate) fn serve(options: &Serve) -> anyhow::Result<()> {
    let registry = Arc::new(options.shape.make(options.mean_bytes));
    let origin = Origin::start(
        OriginOptions {
            protocol: if options.plain { Protocol::Http1 } else { Protocol::Http2 },
            listen: ([127, 0, 0, 1], options.port).into(),
            delay: Duration::from_millis(options.delay_ms),
            workers: 2,
            ..OriginOptions::default()
        },
        Arc::new(|_| None),
    );
    let base = origin.base();
    origin.replace_site(registry.site(&format!("{base}/crates/{{crate}}/{{crate}}-{{version}}.crate")));
    println!("sparse index      sparse+{base}/index/");
    println!("downloads         {base}/crates");
    if !options.plain {
        println!("certificate       {}", origin.ca().display());
    }
    println!("press Enter to stop");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("waiting for Enter")?;
    Ok(())
}
