//! `cargo xtask synth` and `cargo xtask origin`: a registry made from a seed, as files or served.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use mirror_testkit::{Origin, OriginOptions, Protocol, TestRegistry};

/// What registry to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Shape {
    /// The same seed makes the same registry.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of releases.
    #[arg(long, default_value_t = 5_000)]
    releases: usize,
    /// Mean size of a release in bytes.
    #[arg(long, default_value_t = 20_000)]
    mean_bytes: usize,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Synth {
    #[command(flatten)]
    shape: Shape,
    /// Directory to fill: index/, www/crates/, urls.txt, checksums.jsonl.
    #[arg(long)]
    out: PathBuf,
    /// Base of the URLs in urls.txt and checksums.jsonl.
    #[arg(long, default_value = "https://localhost:8443")]
    base: String,
    /// Also commit the index with git, as a checkout at index-git/.
    #[arg(long)]
    git: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    shape: Shape,
    /// Every answer is this late, in milliseconds.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Plain HTTP/1.1 without TLS.
    #[arg(long)]
    plain: bool,
}

impl Shape {
    fn make(&self) -> TestRegistry {
        TestRegistry::generate(self.seed, self.releases, self.mean_bytes)
    }
}

pub(crate) fn synth(options: &Synth) -> anyhow::Result<()> {
    let registry = options.shape.make();
    registry.write_index(&options.out.join("index"));
    registry.write_crates(&options.out.join("www"));
    let write = |name: &str, text: String| {
        let path = options.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    write("urls.txt", registry.url_list(&options.base))?;
    write("checksums.jsonl", registry.checksums(&options.base))?;
    if options.git {
        registry.commit_git(&options.out.join("index-git"));
    }
    println!(
        "{} releases of {} crates below {}",
        registry.len(),
        registry.crates.len(),
        options.out.display()
    );
    Ok(())
}

pub(crate) fn serve(options: &Serve) -> anyhow::Result<()> {
    let registry = options.shape.make();
    let origin = Origin::start(
        OriginOptions {
            protocol: if options.plain { Protocol::Http1 } else { Protocol::Http2 },
            listen: ([127, 0, 0, 1], options.port).into(),
            delay: Duration::from_millis(options.delay_ms),
            workers: 2,
            ..OriginOptions::default()
        },
        std::sync::Arc::new(|_| None),
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
