//! Lists what a remote has, and asks it for a pack.
//!
//! gix's own fetch does the same, but indexes the pack without a bound that suits packs of any number of objects.
//! Therefore its steps are taken one by one here, and the pack goes to the caller.

use std::any::Any;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use gix::DynNestedProgress;
use gix::error::Result;
use gix::negotiate::Algorithm;
use gix::protocol::Handshake;
use gix::protocol::fetch::{self, RefMap, Shallow, Tags, negotiate, refmap};
use gix::protocol::handshake::Ref;
use gix::protocol::transport::Service;
use gix::protocol::transport::client::TransportWithoutIO as _;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::remote::{Connection, Direction};

use super::allowance::{Allowance, Stage};
use super::connect::connect;
use super::supervise::Meter;

type Feature = (&'static str, Option<String>);

/// A remote that has listed what it has.
pub(super) struct Session<'s, 'r> {
    repo: &'r gix::Repository,
    connection: Connection<'s, 'static, 'r, Box<dyn Transport + Send>>,
    handshake: Handshake,
    refs: RefMap,
    agent: Feature,
    allowance: Allowance,
}

impl<'s, 'r> Session<'s, 'r> {
    /// Connects to `remote`, and lists those of its references that its refspecs name. `options` are for the transport;
    /// without them, those of git's configuration apply. The remote may send as much as `allowance` has left, which
    /// shows afterwards whether that was the reason of a failure.
    pub(super) fn open(
        repo: &'r gix::Repository,
        remote: &'s gix::Remote<'r>,
        options: Option<Box<dyn Any>>,
        agent: &str,
        meter: &Meter,
        allowance: &Allowance,
    ) -> Result<Self> {
        allowance.enter(Stage::Listing);
        let mut connection = remote.to_connection_with_transport(connect(repo, remote, allowance)?);
        let mut authenticate = connection.configured_credentials_for_current_url();
        let transport = connection.transport_mut();
        let options = match options {
            Some(options) => Some(options),
            None => repo.transport_options(transport.to_url().as_ref(), None)?,
        };
        if let Some(options) = options {
            transport.configure(&*options)?;
        }
        let agent = ("agent", Some(gix::protocol::agent(agent)));
        let (service, mut progress) = (Service::UploadPack, meter.root());
        let mut handshake =
            gix::protocol::handshake(&mut *transport, service, &mut authenticate, Vec::new(), &mut progress)?;
        let context = refmap::init::Context {
            fetch_refspecs: remote.refspecs(Direction::Fetch).to_vec(),
            extra_refspecs: Vec::new(),
        };
        let asked = handshake.prepare_lsrefs_or_extract_refmap(agent.clone(), true, context)?;
        let refs = asked.fetch_blocking(progress, transport, false)?;
        Ok(Self { repo, connection, handshake, refs, agent, allowance: allowance.clone() })
    }

    /// Returns the references of the remote.
    pub(super) fn refs(&self) -> &[Ref] {
        &self.refs.remote_refs
    }

    /// Asks for a pack and passes it to `take`, unless everything is there. Changes no refs.
    pub(super) fn receive(
        mut self,
        shallow: &Shallow,
        meter: &Meter,
        interrupt: &AtomicBool,
        take: impl FnOnce(&mut dyn BufRead, &mut dyn DynNestedProgress) -> Result<()>,
    ) -> Result<()> {
        let repo = self.repo;
        if self.refs.object_hash != repo.object_hash() {
            let text = format!("its objects have {} names, ours SHA-1 names", self.refs.object_hash);
            return Err(gix::Error::from_error(gix::error::unsupported(text)));
        }
        let mut local = repo.clone();
        // Missing objects are looked up often, and do not appear meanwhile.
        local.objects.refresh_never();
        local.objects.unset_object_cache();
        let commits = local.commit_graph_if_enabled().ok().flatten();
        let mut graph = local.revision_graph(commits.as_ref());
        let mut negotiate = Negotiate {
            local: &local,
            graph: &mut graph,
            alternates: repo.objects.store_ref().alternate_db_paths()?,
            refs: &self.refs,
            shallow,
            negotiator: Algorithm::Consecutive.into_negotiator(),
        };
        let context = fetch::Context {
            handshake: &mut self.handshake,
            transport: self.connection.transport_mut(),
            user_agent: self.agent.clone(),
            trace_packetlines: false,
        };
        let options = fetch::Options {
            // GIT_SHALLOW_FILE does not count.
            shallow_file: repo.common_dir().join("shallow"),
            shallow,
            tags: Tags::None,
            reject_shallow_remote: repo.config_snapshot().boolean("clone.rejectShallow").unwrap_or(false),
        };
        let allowance = self.allowance;
        allowance.enter(Stage::Negotiating);
        let take = |pack: &mut dyn BufRead, progress: &mut dyn DynNestedProgress, _: &AtomicBool| {
            allowance.enter(Stage::Sending);
            take(&mut allowance.renewed_by(pack), progress).map(|()| true)
        };
        gix::protocol::fetch(&mut negotiate, take, meter.root(), interrupt, context, options).map(drop)
    }
}

/// The objects that we have and want, as gix computes them.
struct Negotiate<'a, 'g, 'c> {
    local: &'a gix::Repository,
    graph: &'a mut gix::negotiate::Graph<'g, 'c>,
    alternates: Vec<PathBuf>,
    refs: &'a RefMap,
    shallow: &'a Shallow,
    negotiator: Box<dyn gix::negotiate::Negotiator>,
}

impl fetch::Negotiate for Negotiate<'_, '_, '_> {
    fn mark_complete_and_common_ref(&mut self) -> Result<negotiate::Action> {
        let alternates = std::mem::take(&mut self.alternates);
        // Their references show which part of the history is there.
        let open = |objects: PathBuf| {
            let repo = gix::open_opts(objects.parent()?, crate::repository::options()).ok()?;
            Some((repo.refs, repo.objects))
        };
        negotiate::mark_complete_and_common_ref(
            &self.local.objects,
            &self.local.refs,
            move || Ok(alternates.into_iter().filter_map(open)),
            &mut *self.negotiator,
            self.graph,
            self.refs,
            self.shallow,
            negotiate::make_refmapping_ignore_predicate(Tags::None, self.refs),
        )
    }

    fn add_wants(&mut self, arguments: &mut fetch::Arguments, known: &[bool]) -> bool {
        let ignored = negotiate::make_refmapping_ignore_predicate(Tags::None, self.refs);
        negotiate::add_wants(&self.local.objects, arguments, self.refs, known, self.shallow, ignored)
    }

    fn one_round(
        &mut self,
        state: &mut negotiate::one_round::State,
        arguments: &mut fetch::Arguments,
        previous: Option<&fetch::Response>,
    ) -> Result<(negotiate::Round, bool)> {
        negotiate::one_round(&mut *self.negotiator, self.graph, state, arguments, previous)
    }
}
