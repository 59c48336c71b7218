//! The advisory database in the program: its flags, its log lines, and its row of the summary.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use mirror_sync::{
    Advisories, AdvisoriesUsed, AdvisoryUpdate, DatabaseCommit, UpdateError, UpdateEvent, Updated,
};

use crate::flags::Flags;

/// Faults that are shown one by one.
const MAX_NAMED: usize = 10;

/// Resolves --update-advisories and --advisory-url. `database` is the path of the database, if a policy or a flag names
/// one.
pub(crate) fn update(flags: &Flags, database: Option<&Path>) -> Result<Option<AdvisoryUpdate>> {
    if flags.update_advisories && flags.offline {
        bail!(
            "--offline sends no requests, and --update-advisories fetches the advisory database; leave one of them out"
        );
    }
    if flags.update_advisories && database.is_none() {
        bail!(
            "--update-advisories needs to know where the advisory database is: give --advisory-db DIR, or name it in the \
             policy"
        );
    }
    let with_index = (flags.update_index || flags.index_only) && !flags.skip_index_update;
    if database.is_none() || !(flags.update_advisories || with_index) {
        if flags.advisory_url.is_some() && !flags.skip_index_update {
            bail!(
                "--advisory-url says where --update-advisories or --update-index fetches the advisory database from; give \
                 one of them, and the place of the database"
            );
        }
        return Ok(None);
    }
    let mut update = AdvisoryUpdate::default();
    update.url = flags.advisory_url.clone().map(Into::into);
    if !flags.idle_timeout.is_zero() {
        update.idle_timeout = flags.idle_timeout;
    }
    Ok(Some(update))
}

pub(crate) fn log_left(dir: &Path, is_dry_run: bool) {
    if is_dry_run {
        tracing::info!("a dry run does not update the advisory database; it uses what is there");
    } else {
        tracing::info!(database = %dir.display(), "the advisory database is no git clone, so it is used as it is");
    }
}

pub(crate) fn log_update(dir: &Path, event: &UpdateEvent) {
    match event {
        UpdateEvent::Started { url, clone: true, .. } => {
            tracing::info!(database = %dir.display(), "cloning the advisory database from {url}");
        }
        UpdateEvent::Started { url, .. } => {
            tracing::info!(database = %dir.display(), "updating the advisory database from {url}");
        }
        UpdateEvent::Retrying { why, wait } => tracing::warn!(
            "fetching the advisory database failed, again in {:.1}s: {why}",
            wait.as_secs_f64()
        ),
        UpdateEvent::Notice(text) => tracing::info!("{text}"),
        _ => {}
    }
}

pub(crate) fn log_updated(updated: &Updated) {
    let took = updated.elapsed.as_secs_f64();
    tracing::info!("the advisory database is up to date at {}, {took:.1}s", short(&updated.new));
}

/// Logs that the database could not be updated, and why.
pub(crate) fn log_outdated(dir: &Path, error: &UpdateError) {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        why.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    tracing::error!(
        database = %dir.display(),
        "the advisory database could not be brought up to date, and is used as it is: {why}"
    );
}

/// Logs how old the database is, and what of it cannot be read.
pub(crate) fn log_read(dir: &Path, advisories: &Advisories, now: SystemTime) {
    let faults = advisories.faults();
    for fault in faults.iter().take(MAX_NAMED) {
        tracing::warn!("an advisory does not count, because it cannot be read: {fault}");
    }
    if faults.len() > MAX_NAMED {
        tracing::warn!("{} more advisories cannot be read", faults.len() - MAX_NAMED);
    }
    match advisories.commit() {
        Some(commit) if commit.is_stale(now) => tracing::warn!(
            database = %dir.display(),
            "the newest commit of the advisory database is {} old; what became known since is not denied. \
             --update-advisories brings it up to date",
            age(commit.age(now))
        ),
        Some(commit) => tracing::info!(
            database = %dir.display(),
            "{} advisories of commit {}, {} old",
            advisories.len(),
            short(&commit.id),
            age(commit.age(now))
        ),
        None => {
            tracing::info!(database = %dir.display(), "{} advisories of a plain directory", advisories.len());
        }
    }
}

/// Writes the row of the summary.
pub(crate) fn row(used: &AdvisoriesUsed) -> String {
    let from = match (&used.commit, used.age) {
        (Some(DatabaseCommit { id, .. }), Some(old)) => {
            format!("of commit {}, {} old", short(id), age(old))
        }
        _ => "of a plain directory, whose age is not known".to_owned(),
    };
    let outdated = if used.is_outdated { "; the database could not be brought up to date" } else { "" };
    format!("{} {from}{outdated}", used.advisories)
}

/// Writes an age in whole days, or in whole hours below two days.
fn age(age: Duration) -> String {
    let hours = age.as_secs() / 3_600;
    match hours {
        0 => "less than an hour".to_owned(),
        1 => "1 hour".to_owned(),
        2..48 => format!("{hours} hours"),
        _ => format!("{} days", hours / 24),
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_hours_and_days() {
        for (seconds, text) in [
            (3_599, "less than an hour"),
            (3_600, "1 hour"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
            (31 * 86_400, "31 days"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
