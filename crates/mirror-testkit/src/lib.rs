#![doc = include_str!("../README.md")]
#![expect(clippy::disallowed_methods, reason = "tests and benchmarks write their own files")]

mod body;
mod fault;
mod git_daemon;
mod git_http;
mod hostile;
#[cfg(unix)]
mod kills;
mod listener;
mod origin;
mod pages;
mod program;
mod proxy;
mod real_index;
mod registry;
mod serve;
mod signing;
mod site;
mod synthetic;
mod tls;
mod tree;
mod worker;

pub use fault::{Ask, Fault};
pub use git_daemon::{GitDaemon, GitFault};
pub use git_http::GitHttp;
pub use hostile::{
    ClientFault, FloodingGit, GitFlood, HostileClients, HostileOrigin, Hostility, Http1Fault, Http2Fault,
};
#[cfg(unix)]
pub use kills::{KillKind, KillOptions, KillReport, kill};
pub use origin::{Origin, OriginOptions, Protocol, Site};
pub use pages::{check_completion, check_man, check_pages};
pub use program::{Ended, check_metrics, has, peak_of, run, run_measured};
pub use proxy::{ProxyKind, TestProxy};
pub use real_index::{
    EmbodiedIndex, IndexFacts, POLICY_CASES, PolicyCase, PolicyCounts, WELL_KNOWN, cargo_lock, check_policy,
    check_sidecars, count_index, date_index, held_files,
};
pub use registry::{TestRegistry, TestRelease};
pub use serve::Served;
pub use signing::{Gpg, SSH_IDENTITY, Ssh, SshAgent};
pub use site::{git, git_says};
pub use synthetic::{DayChanges, GitForm, Scale, Synthetic, SyntheticRelease};
pub use tls::CertificateFiles;
pub use tree::tree;
