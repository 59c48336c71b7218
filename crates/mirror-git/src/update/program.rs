//! Connects to a remote through a program: `git upload-pack` for a path, ssh for another machine.
//!
//! gix has such a transport, too, but it keeps its pipes to itself, so that no caller could count what arrives through
//! them, and it buffers a line of standard error of any length.

use std::any::Any;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use gix::bstr::{BStr, BString, ByteSlice as _};
use gix::error::Result;
use gix::protocol::transport::client::blocking_io::ssh::{ProgramKind, connect::Options};
use gix::protocol::transport::client::blocking_io::{RequestWriter, SetServiceResponse, Transport};
use gix::protocol::transport::client::git::{ConnectMode, blocking_io::Connection};
use gix::protocol::transport::client::{Account, Error, MessageKind, TransportWithoutIO, WriteMode};
use gix::protocol::transport::{Protocol, Service};
use gix::url::ArgumentSafety::{Absent, Dangerous, Usable};

use super::allowance::{Allowance, Counted};

/// Bytes of a program's standard error that are kept: its end.
const KEPT_ERRORS_BYTES: usize = 4 << 10;

/// The time to wait for the rest of its standard error after its output has ended. A process that ssh leaves in the
/// background may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Variables by which git means one repository: they must not reach the one at the other end.
const OF_ONE_REPOSITORY: [&str; 15] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// A remote behind a program. The handshake starts the program; dropping this kills it.
pub(super) struct Program {
    url: gix::Url,
    version: Protocol,
    /// `None` for a path on this machine.
    ssh: Option<Ssh>,
    allowance: Allowance,
    running: Option<Running>,
}

struct Ssh {
    command: OsString,
    kind: ProgramKind,
    shell: bool,
}

/// Fields are dropped in this order: the pipes before the program.
struct Running {
    connection: Connection<Counted<BufReader<Output>>, ChildStdin>,
    _child: Killed,
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    /// Prepares for a repository on this machine.
    pub(super) fn local(url: gix::Url, version: Protocol, allowance: Allowance) -> Self {
        Self { url, version, ssh: None, allowance, running: None }
    }

    /// Prepares for ssh. A command whose name does not show its variant of ssh is run once to find out.
    pub(super) fn ssh(
        url: gix::Url,
        version: Protocol,
        options: &Options,
        allowance: Allowance,
    ) -> Result<Self> {
        let command = options.ssh_command().to_owned();
        let shell = !options.disallow_shell;
        let named = ProgramKind::from(command.as_os_str());
        let kind = match options.kind {
            Some(kind) => kind,
            None if named == ProgramKind::Simple => kind_by_trial(&command, shell, &url)?,
            None => named,
        };
        let ssh = Some(Ssh { command, kind, shell });
        Ok(Self { url, version, ssh, allowance, running: None })
    }

    fn command(&self, service: Service) -> Result<Command> {
        if self.url.path.trim().first() == Some(&b'-') {
            return Err(refused("its path begins with '-', which a program would take for an option"));
        }
        let mut command = match &self.ssh {
            Some(ssh) => ssh.command(service, &self.url, self.version)?,
            None => {
                let mut command = Command::new(gix::path::env::exe_invocation());
                command
                    .arg(service.as_git_subcommand())
                    .arg(gix::path::from_bstr(self.url.path.as_bstr())?.as_ref());
                if self.version != Protocol::V1 {
                    command.env("GIT_PROTOCOL", protocol(self.version));
                }
                command
            }
        };
        for name in OF_ONE_REPOSITORY {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    fn start(&self, service: Service) -> std::result::Result<Running, Error> {
        let mut command = self.command(service).map_err(|error| Error::Io(io::Error::other(error)))?;
        let name = command.get_program().to_owned();
        let spawned = command.spawn();
        let mut child = Killed(spawned.map_err(|source| Error::InvokeProgram { source, command: name })?);
        let (Some(stdin), Some(stdout)) = (child.0.stdin.take(), child.0.stdout.take()) else {
            return Err(Error::Io(io::Error::other("a program was started without pipes")));
        };
        let output = Output { stdout, last_words: child.0.stderr.take().map(last_words).transpose()? };
        let output = self.allowance.counted(BufReader::new(output));
        let path = self.url.path.clone();
        let nobody = None::<(&str, _)>;
        let connection =
            Connection::new(output, stdin, self.version, path, nobody, ConnectMode::Process, false);
        Ok(Running { connection, _child: child })
    }
}

impl TransportWithoutIO for Program {
    fn set_identity(&mut self, identity: Account) -> std::result::Result<(), Error> {
        if self.ssh.is_none() {
            return Err(Error::AuthenticationUnsupported);
        }
        self.url.set_user(Some(identity.username).filter(|name| !name.is_empty()));
        Ok(())
    }

    fn to_url(&self) -> Cow<'_, BStr> {
        Cow::Owned(self.url.to_bstring())
    }

    fn connection_persists_across_multiple_requests(&self) -> bool {
        true
    }

    fn configure(&mut self, _: &dyn Any) -> Result {
        Ok(())
    }
}

impl Transport for Program {
    fn handshake<'a>(
        &mut self,
        service: Service,
        extra_parameters: &'a [(&'a str, Option<&'a str>)],
    ) -> std::result::Result<SetServiceResponse<'_>, Error> {
        // A program from an earlier request has to end first.
        self.running = None;
        let running = self.running.insert(self.start(service)?);
        running.connection.handshake(service, extra_parameters)
    }

    fn request(
        &mut self,
        write_mode: WriteMode,
        on_into_read: MessageKind,
        trace: bool,
    ) -> std::result::Result<RequestWriter<'_>, Error> {
        let running = self.running.as_mut().ok_or(Error::MissingHandshake)?;
        running.connection.request(write_mode, on_into_read, trace)
    }
}

impl Ssh {
    /// Makes the command line that asks for `service` at the other end.
    fn command(&self, service: Service, url: &gix::Url, version: Protocol) -> Result<Command> {
        let mut prepared = prepare(&self.command, self.shell);
        match self.kind {
            ProgramKind::Ssh => {
                if version != Protocol::V1 {
                    prepared = prepared.args(["-o", "SendEnv=GIT_PROTOCOL"]);
                    prepared = prepared.env("GIT_PROTOCOL", protocol(version));
                }
                if let Some(port) = url.port {
                    prepared = prepared.arg(format!("-p{port}"));
                }
            }
            ProgramKind::Plink | ProgramKind::Putty | ProgramKind::TortoisePlink => {
                if self.kind == ProgramKind::TortoisePlink {
                    prepared = prepared.arg("-batch");
                }
                if let Some(port) = url.port {
                    prepared = prepared.args(["-P".to_owned(), port.to_string()]);
                }
            }
            ProgramKind::Simple if url.port.is_some() => {
                return Err(refused("its ssh program accepts no port; ssh.variant says which program it is"));
            }
            ProgramKind::Simple => {}
        }
        let place = match (url.user_as_argument(), url.host_as_argument()) {
            // With a user name before it, any host is safe.
            (Usable(user), Usable(host) | Dangerous(host)) => format!("{user}@{host}"),
            (Absent, Usable(host)) => host.to_owned(),
            _ => return Err(refused("its user or host would be taken for an option of ssh")),
        };
        let path = gix::url::expand_path::for_shell(url.path.clone());
        let path: BString = gix::quote::single(path.as_bstr());
        prepared =
            prepared.arg(place).arg(service.as_str()).arg(gix::path::from_bstr(path.as_bstr())?.as_ref());
        // Its errors are recognized by their English text.
        Command::try_from(prepared.env("LANG", "C").env("LC_ALL", "C"))
    }
}

fn prepare(command: &OsStr, shell: bool) -> gix::command::Prepare {
    let mut prepared = gix::command::prepare(command).command_may_be_shell_script();
    prepared.use_shell &= shell;
    prepared
}

fn protocol(version: Protocol) -> String {
    format!("version={}", version as usize)
}

fn refused(why: &'static str) -> gix::Error {
    gix::Error::from_error(gix::error::validation(why))
}

/// Finds out whether a command knows OpenSSH's `-G`, as git does.
fn kind_by_trial(command: &OsStr, shell: bool, url: &gix::Url) -> Result<ProgramKind> {
    let Usable(host) = url.host_as_argument() else {
        return Err(refused("its host would be taken for an option of ssh"));
    };
    let mut asked = Command::try_from(prepare(command, shell).arg("-G").arg(host))?;
    asked.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let knows = asked.status().is_ok_and(|status| status.success());
    Ok(if knows { ProgramKind::Ssh } else { ProgramKind::Simple })
}

/// A program's standard output. When it ends, the last words of the program about that are the error.
struct Output {
    stdout: ChildStdout,
    last_words: Option<Receiver<String>>,
}

impl Read for Output {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.stdout.read(buf)?;
        if read > 0 || buf.is_empty() {
            return Ok(read);
        }
        let said = self.last_words.take().and_then(|words| words.recv_timeout(LAST_WORDS).ok());
        match said.filter(|text| !text.trim().is_empty()) {
            Some(text) => Err(io::Error::new(kind_of(&text), text)),
            None => Ok(0),
        }
    }
}

/// Reads standard error to its end on a thread of its own, and sends the last of it.
fn last_words(mut stderr: impl Read + Send + 'static) -> io::Result<Receiver<String>> {
    let (send, receive) = sync_channel(1);
    std::thread::Builder::new().name("update-index-errors".to_owned()).spawn(move || {
        let _ = send.send(tail(&mut stderr));
    })?;
    Ok(receive)
}

fn tail(from: &mut impl Read) -> String {
    let (mut kept, mut chunk, mut cut) = (Vec::new(), [0; KEPT_ERRORS_BYTES], false);
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..read]);
        cut |= kept.len() > KEPT_ERRORS_BYTES;
        kept.drain(..kept.len().saturating_sub(KEPT_ERRORS_BYTES));
    }
    let text = String::from_utf8_lossy(&kept);
    // A first line without its beginning is worth less than the lines after it.
    let whole = text.split_once('\n').map(|(_, rest)| rest).filter(|rest| cut && !rest.is_empty());
    whole.unwrap_or(&text).to_owned()
}

/// Classifies a message of ssh: a failed login and an unreachable host will not be better in a moment.
fn kind_of(said: &str) -> io::ErrorKind {
    let says = |words: &str| said.contains(words);
    if says("ermission denied") {
        io::ErrorKind::PermissionDenied
    } else if says("resolve hostname") {
        io::ErrorKind::ConnectionRefused
    } else if says("connect to host") || says("Connection to ") || says("Connection closed by ") {
        io::ErrorKind::NotFound
    } else {
        io::ErrorKind::UnexpectedEof
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_endless_errors_is_kept() {
        let mut flood = io::repeat(b'x').take(3_000_000).chain(&b"\nssh: no route\nbye"[..]);
        assert_eq!(tail(&mut flood), "ssh: no route\nbye");
        assert_eq!(tail(&mut io::repeat(b'x').take(3_000_000)), "x".repeat(KEPT_ERRORS_BYTES));
        assert_eq!(tail(&mut &b"one\ntwo"[..]), "one\ntwo");
    }

    #[test]
    fn what_ssh_says_is_sorted() {
        for (said, kind) in [
            ("git@h: Permission denied (publickey).", io::ErrorKind::PermissionDenied),
            (
                "ssh: Could not resolve hostname x: Name or service not known",
                io::ErrorKind::ConnectionRefused,
            ),
            ("ssh: connect to host h port 22: Connection timed out", io::ErrorKind::NotFound),
            ("client_loop: send disconnect: Broken pipe", io::ErrorKind::UnexpectedEof),
        ] {
            assert_eq!(kind_of(said), kind, "{said}");
        }
    }

    fn line(url: &str, kind: ProgramKind) -> Option<Vec<String>> {
        let url = gix::Url::try_from(url).expect("an address");
        let ssh = Ssh { command: "ssh".into(), kind, shell: true };
        let command = ssh.command(Service::UploadPack, &url, Protocol::V2).ok()?;
        Some(command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn each_ssh_program_is_called_in_its_way() {
        let ssh = line("ssh://git@h:22/a'b", ProgramKind::Ssh).expect("a command");
        assert_eq!(ssh[..4], ["-o", "SendEnv=GIT_PROTOCOL", "-p22", "git@h"]);
        assert_eq!(ssh[4..], ["git-upload-pack", r"'/a'\''b'"]);
        let plink = line("ssh://h:22/a", ProgramKind::TortoisePlink).expect("a command");
        assert_eq!(plink, ["-batch", "-P", "22", "h", "git-upload-pack", "'/a'"]);
        assert_eq!(line("ssh://h/~u/a", ProgramKind::Simple).expect("a command")[0], "h");
        assert_eq!(line("ssh://h:22/a", ProgramKind::Simple), None, "it knows no port");
        assert_eq!(line("ssh://-oProxyCommand=x/a", ProgramKind::Ssh), None, "an option");
        assert_eq!(line("ssh://-ox@h/a", ProgramKind::Ssh), None, "an option");
    }
}
