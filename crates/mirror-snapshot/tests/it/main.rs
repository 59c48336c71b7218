//! Makes snapshots and checks them, with the programs that people have: ssh-keygen, ssh-agent, gpg, sha256sum, jq.
//!
//! Tests that need a missing program report that and pass; with `MIRROR_REQUIRE_TOOLS` set, as `.ci/run` does, they fail.
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "tests write their own files")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod acceptance;
mod document;
mod flips;
mod openpgp;
mod rows;
mod ssh;
mod world;
