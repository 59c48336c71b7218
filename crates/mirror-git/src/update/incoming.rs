//! Receives what arrives into a repository of its own below the index, until it is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use gix::ObjectId;
use gix::protocol::handshake::Ref;
use gix::remote::{Direction, fetch::Shallow, fetch::Tags};
use mirror_types::{Address, Advice, Cause, chain, one_line};

use super::allowance::Allowance;
use super::disk;
use super::error::{INDEX, UpdateError};
use super::options::{UpdateEvent, UpdateObserver, UpdateOptions};
use super::receive::Session;
use super::refs::Head;
use super::sift::SiftError;
use super::supervise::{Halt, Meter, Patience, supervised};
use super::take::Place;
use super::transport;
use super::whole::{self, Flaw};

/// The prefix of directories that the next update removes.
pub(crate) const PREFIX: &str = "mirror-incoming-";
/// The remote's HEAD, whatever branch it names.
const SPEC: &str = "+HEAD:refs/heads/incoming";

/// Longest time for all attempts together: enough for a whole history at 50 KB/s.
const DEADLINE: Duration = Duration::from_secs(6 * 3600);

/// A commit that arrived whole, or that was there already.
pub(crate) struct Incoming {
    /// The directory of its files.
    pub(crate) git_dir: PathBuf,
    pub(crate) tip: ObjectId,
    /// The remote's default branch, in full.
    pub(crate) branch: String,
    pub(crate) bytes: u64,
    pub(crate) objects: u64,
    pub(crate) url: String,
    /// True if the branch of HEAD is no longer on the remote, or never was.
    pub(crate) renamed: bool,
    /// The number of large objects that became files of their own.
    pub(crate) aside: u32,
}

/// The state of the remote, and what it sent.
struct Received {
    tip: ObjectId,
    branch: String,
    renamed: bool,
    aside: u32,
}

/// Removes what an interrupted run left. Must be called under the lock.
pub(crate) fn remove_leftovers(common_dir: &Path) -> Result<(), UpdateError> {
    for entry in fs::read_dir(common_dir).map_err(UpdateError::storage("list", common_dir))? {
        let entry = entry.map_err(UpdateError::storage("list", common_dir))?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            disk::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// The reason why one attempt failed.
enum Failure {
    /// Another attempt may succeed.
    Transient(String),
    /// The pack is damaged or lacks something. Another download will probably have the same fault, and is tried once.
    Broken(String),
    /// Another attempt will fail, too.
    Final(String),
    Storage(String),
    /// An object is too large to be processed in memory.
    Large(String),
    /// The existing repository must not be touched; the text says what to do instead.
    Refused(String, Option<Advice>),
    Stopped,
}

/// Everything an attempt needs; it may outlive the caller, who stops waiting for a hanging one.
#[derive(Clone)]
struct Attempt {
    common_dir: PathBuf,
    incoming: PathBuf,
    url: Address,
    old: Option<ObjectId>,
    branch: Option<String>,
    bare: bool,
    shallow: bool,
    settings: Vec<String>,
    options: UpdateOptions,
}

/// Fetches the remote's default branch; tries again after failures of the network.
pub(crate) fn fetch(
    dir: &Path,
    repo: &gix::Repository,
    head: &Head,
    url: &Address,
    options: &UpdateOptions,
    observer: &dyn UpdateObserver,
) -> Result<Incoming, UpdateError> {
    let old = head.commit;
    let shallow = match old {
        Some(_) => super::state::is_shallow(repo),
        None => options.history == super::History::Shallow,
    };
    observer.event(UpdateEvent::Started {
        url: url.to_string(),
        clone: old.is_none(),
        old: old.map(|id| id.to_string()),
    });
    if options.history == super::History::Full && shallow {
        observer.event(UpdateEvent::Notice(format!(
            "the {} is a shallow clone and stays one; its full history comes only with a new clone",
            options.what
        )));
    }
    let patience = Patience { idle: options.idle_timeout, until: Some(Instant::now() + DEADLINE) };
    let (mut wait, mut broken) = (options.retry_base, false);
    for number in 0..=options.retries {
        let attempt = Attempt {
            common_dir: repo.common_dir().to_owned(),
            incoming: repo.common_dir().join(format!("{PREFIX}{number}")),
            url: url.clone(),
            old,
            branch: head.branch.clone(),
            bare: repo.is_bare(),
            shallow,
            settings: transport::settings(repo),
            options: options.clone(),
        };
        let place = attempt.incoming.clone();
        let made = supervised(observer, patience, move |meter, interrupt| attempt.make(meter, interrupt));
        let failure = match made {
            Ok(Ok(incoming)) => return Ok(incoming),
            Ok(Err(failure)) => failure,
            Err(halt) => halt.into(),
        };
        // An abandoned thread may still write there; the next run removes the directory.
        let _ = disk::remove_tree(&place);
        let why = match failure {
            Failure::Transient(why) if number < options.retries => why,
            Failure::Broken(why) if number < options.retries && !broken => {
                broken = true;
                why
            }
            failure => return Err(failure.into_error(dir, url, number + 1)),
        };
        observer.event(UpdateEvent::Retrying { why: url.scrub(&why), wait });
        if !sleep(wait, observer) {
            return Err(UpdateError::Stopped);
        }
        wait = (wait * 2).min(options.retry_max);
    }
    Err(UpdateError::Stopped)
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Stopped => Self::Stopped,
            Halt::Stalled(after) => Self::Transient(format!("nothing came for {after:?}")),
            Halt::Endless => {
                Self::Final(format!("it was not done within {} hours", DEADLINE.as_secs() / 3600))
            }
            Halt::Broken(why) => Self::Final(why),
        }
    }
}

impl Failure {
    /// Turns the failure that ended the attempts into an error.
    fn into_error(self, dir: &Path, url: &Address, attempts: u32) -> UpdateError {
        match self {
            Self::Transient(reason) | Self::Broken(reason) | Self::Final(reason) | Self::Large(reason) => {
                UpdateError::Origin {
                    what: INDEX,
                    url: url.to_string(),
                    source: Cause::new(url.scrub(&reason)),
                    attempts,
                }
            }
            Self::Storage(reason) => UpdateError::Unstorable {
                what: INDEX,
                dir: dir.to_owned(),
                source: Cause::new(url.scrub(&reason)),
            },
            Self::Refused(why, advice) => UpdateError::refused(dir, why, advice),
            Self::Stopped => UpdateError::Stopped,
        }
    }
}

/// Sleeps; returns whether nothing stopped it.
fn sleep(pause: Duration, observer: &dyn UpdateObserver) -> bool {
    let until = Instant::now() + pause;
    while Instant::now() < until {
        if observer.stopped() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20).min(pause));
    }
    !observer.stopped()
}

impl Attempt {
    fn make(self, meter: &Meter, interrupt: &AtomicBool) -> Result<Incoming, Failure> {
        let repo = self.prepare()?;
        let mut received = self.receive(&repo, meter, interrupt, false);
        drop(repo);
        if let Err(Failure::Large(_)) = received {
            // Again, in a way that takes longer and has room for large objects.
            meter.start_again();
            let repo = self.prepare()?;
            received = self.receive(&repo, meter, interrupt, true);
        }
        let Received { tip, branch, renamed, aside } = received?;
        let (bytes, objects) = meter.received();
        if self.old != Some(tip) {
            self.verify(tip, meter, interrupt)?;
        }
        Ok(Incoming {
            git_dir: self.incoming,
            tip,
            branch,
            bytes,
            objects,
            url: self.url.to_string(),
            renamed,
            aside,
        })
    }

    /// Makes an empty repository that borrows the objects of the index and has its shallow boundary.
    fn prepare(&self) -> Result<gix::Repository, Failure> {
        let stored = |error: UpdateError| Failure::Storage(one_line(&chain(&error)));
        disk::remove_tree(&self.incoming).map_err(stored)?;
        gix::init_bare(&self.incoming).map_err(classify)?;
        let objects = self.common_dir.join("objects");
        let objects = objects.canonicalize().map_err(|error| Failure::Storage(error.to_string()))?;
        let alternates = self.incoming.join("objects/info/alternates");
        let line = format!("{}\n", quoted(&objects));
        disk::make_dir(&self.incoming.join("objects/info")).map_err(stored)?;
        disk::replace(&alternates, &alternates.with_extension("new"), line.as_bytes()).map_err(stored)?;
        if let Ok(shallow) = fs::read(self.common_dir.join("shallow")) {
            let to = self.incoming.join("shallow");
            disk::replace(&to, &to.with_extension("new"), &shallow).map_err(stored)?;
        }
        // There may be no person at the terminal.
        let own = [
            "gitoxide.credentials.terminalPrompt=false".to_owned(),
            format!("gitoxide.userAgent={}", self.agent()),
        ];
        // A base that is already here may be as large, and so may an object made from it.
        let bound = crate::repository::bound(self.options.max_object_bytes);
        let own = self.settings.iter().cloned().chain(own).chain([bound]);
        let options = super::state::options_to_fetch().config_overrides(own);
        let mut repo = gix::open_opts(&self.incoming, options).map_err(classify)?;
        repo.clear_namespace();
        Ok(repo)
    }

    /// The protocol has room only for words of printable ASCII.
    fn agent(&self) -> String {
        let fair = |c: char| if c.is_ascii_graphic() { c } else { '.' };
        self.options.user_agent.chars().map(fair).collect()
    }

    /// Opens a connection that asks for `spec`.
    fn connect<T>(
        &self,
        repo: &gix::Repository,
        spec: &str,
        meter: &Meter,
        then: impl FnOnce(Session<'_, '_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let remote = repo.remote_at(self.url.reveal()).map_err(classify)?.with_fetch_tags(Tags::None);
        let remote = remote.with_refspecs([spec], Direction::Fetch).map_err(classify)?;
        // This is checked before anything is sent: the client could only report a failed connection.
        if self.url.reveal().starts_with("http") {
            self.options.proxies.of(self.url.reveal()).map_err(|why| Failure::Refused(why, None))?;
        }
        let http = transport::options(repo, self.url.reveal(), &self.options).map_err(Failure::Final)?;
        let allowance = Allowance::default();
        let session = Session::open(repo, &remote, http, &self.agent(), meter, &allowance);
        let done = session.map_err(classify).and_then(then);
        // Whatever became of the error on the way here, another attempt would meet the same limit.
        done.map_err(|failure| allowance.exceeded().map_or(failure, Failure::Final))
    }

    /// Fetches what is new; in the way that takes the pack apart, objects may have any size.
    fn receive(
        &self,
        repo: &gix::Repository,
        meter: &Meter,
        interrupt: &AtomicBool,
        apart: bool,
    ) -> Result<Received, Failure> {
        self.connect(repo, SPEC, meter, |session| {
            let (tip, branch) = default_branch(session.refs())?;
            let renamed = match &self.branch {
                Some(own) if *own != branch => self.is_gone(repo, own, &branch, meter)?,
                _ => false,
            };
            let mut aside = 0;
            if self.old != Some(tip) {
                let depth = if self.shallow {
                    Shallow::DepthAtRemote(std::num::NonZeroU32::MIN)
                } else {
                    Shallow::NoChange
                };
                let place = Place { repo, max_bytes: self.options.max_object_bytes, meter, interrupt };
                let mut ended = None;
                let taken = session.receive(&depth, meter, interrupt, |pack, progress| {
                    aside = place.take(pack, apart, progress).map_err(|error| match error {
                        SiftError::Io(error) => gix::Error::from_error(error),
                        SiftError::Git(error) => error,
                        SiftError::Damaged(ref why) => {
                            ended = Some(Failure::Broken(one_line(why)));
                            gix::Error::from_error(error)
                        }
                        SiftError::Beyond(ref why) => {
                            ended = Some(Failure::Final(one_line(why)));
                            gix::Error::from_error(error)
                        }
                    })?;
                    Ok(())
                });
                taken.map_err(|error| ended.unwrap_or_else(|| classify(error)))?;
            }
            Ok(Received { tip, branch, renamed, aside })
        })
    }

    /// Returns whether the remote no longer has the branch `own`. If it still has the branch, a person chose to check
    /// it out.
    fn is_gone(
        &self,
        repo: &gix::Repository,
        own: &str,
        default: &str,
        meter: &Meter,
    ) -> Result<bool, Failure> {
        let spec = format!("+{own}:refs/heads/own");
        let there = self.connect(repo, &spec, meter, |session| {
            Ok(session.refs().iter().any(|found| match found {
                Ref::Direct { full_ref_name, .. }
                | Ref::Symbolic { full_ref_name, .. }
                | Ref::Peeled { full_ref_name, .. }
                | Ref::Unborn { full_ref_name, .. } => full_ref_name == own,
            }))
        })?;
        if there && !self.bare {
            let why = format!(
                "{own} is checked out there, but the index is {default} now; run `git switch` to that"
            );
            return Err(Failure::Refused(why, Some(Advice::AnotherIndex)));
        }
        Ok(!there)
    }

    /// Checks that every object of the new tree is there; those of the old tree were there before.
    fn verify(&self, tip: ObjectId, meter: &Meter, interrupt: &AtomicBool) -> Result<(), Failure> {
        let repo = gix::open_opts(&self.incoming, crate::repository::options()).map_err(classify)?;
        let tree = |id: ObjectId| -> gix::error::Result<ObjectId> {
            Ok(repo.find_object(id)?.try_into_commit()?.tree_id()?.detach())
        };
        let lacking = |what: &dyn std::fmt::Display| {
            Failure::Broken(one_line(&format!("what the remote sent is not whole: {what}")))
        };
        let new = tree(tip).map_err(|error| lacking(&error))?;
        // An old tree that cannot be read vouches for nothing.
        let old = self.old.and_then(|id| tree(id).ok());
        whole::complete(&repo, new, old, meter, interrupt).map_err(|flaw| match flaw {
            Flaw::Broken(why) => lacking(&why),
            Flaw::Monstrous(why) => Failure::Final(why),
        })
    }
}

/// Returns the remote's HEAD and the branch that it names.
fn default_branch(refs: &[Ref]) -> Result<(ObjectId, String), Failure> {
    let head = refs.iter().find(|r| match r {
        Ref::Direct { full_ref_name, .. }
        | Ref::Symbolic { full_ref_name, .. }
        | Ref::Peeled { full_ref_name, .. }
        | Ref::Unborn { full_ref_name, .. } => full_ref_name == "HEAD",
    });
    match head {
        Some(Ref::Symbolic { target, object, .. }) => {
            let branch = target.to_string();
            let fair = gix::refs::FullName::try_from(branch.as_str()).is_ok();
            if fair && branch.starts_with("refs/heads/") {
                Ok((*object, branch))
            } else {
                Err(Failure::Final(one_line(&format!("its HEAD is at {branch}, which is no branch"))))
            }
        }
        // Detached, or a server that does not name the branch: the branch is found by the commit.
        Some(Ref::Direct { object, .. }) => Ok((*object, named_like(refs, object))),
        Some(Ref::Peeled { .. }) => Err(Failure::Final("its HEAD is a tag".to_owned())),
        Some(Ref::Unborn { .. }) | None => Err(Failure::Final(
            "it has no commit at HEAD: the repository is empty, or it is no index".to_owned(),
        )),
    }
}

fn named_like(refs: &[Ref], head: &ObjectId) -> String {
    let branches = refs.iter().filter_map(|r| match r {
        Ref::Direct { full_ref_name, object } if object == head => Some(full_ref_name.to_string()),
        _ => None,
    });
    let mut branches: Vec<_> = branches.filter(|name| name.starts_with("refs/heads/")).collect();
    branches.sort_by_key(|name| {
        (!matches!(name.as_str(), "refs/heads/master" | "refs/heads/main"), name.clone())
    });
    branches.into_iter().next().unwrap_or_else(|| "refs/heads/master".to_owned())
}

/// Quotes a path for git's alternates, which have one path a line; a path that begins with `"` is C-quoted.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains(['"', '\n', '\\']) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
    } else {
        text
    }
}

/// Classifies an error of gix.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` is given")]
fn classify(error: gix::error::Error) -> Failure {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let mut texts: Vec<String> = Vec::new();
    let mut full = false;
    for part in error.iter_errors() {
        let text = one_line(&part.to_string());
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        if let Some(error) = part.downcast_ref::<std::io::Error>() {
            full |= matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | FileTooLarge);
        }
    }
    let text = texts.join(": ");
    if error.is_resource_exhausted() {
        return Failure::Large(text);
    }
    let unknown_host = text.contains("failed to lookup address");
    if full {
        Failure::Storage(text)
    } else if text.contains("invalid peer certificate") {
        Failure::Final(text)
    } else if unknown_host || error.can_retry_lenient() {
        Failure::Transient(text)
    } else if error.is_corrupted() {
        Failure::Broken(text)
    } else {
        Failure::Final(text)
    }
}
