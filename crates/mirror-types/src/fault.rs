//! The kind of fault of an error, and the exit status of a program.

/// The kind of fault of an error. Every error type of the workspace that can end a run has a `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A fault of the program itself.
    Internal,
    /// The request makes no sense, or does not fit what is there; for a person to decide or mend.
    Usage,
    /// A held release, or a record of it, is not what it should be.
    Integrity,
    /// The other side refused, never answered, or answered nonsense.
    Origin,
    /// Disk, file system or operating system said no.
    Storage,
    /// Another run is at work there.
    Locked,
    /// Stopped on request.
    Stopped,
}

impl FaultKind {
    /// Returns how a program ends when an error of this kind ends it.
    #[must_use]
    pub const fn exit_status(self) -> ExitStatus {
        match self {
            Self::Internal => ExitStatus::Internal,
            Self::Usage => ExitStatus::Usage,
            Self::Integrity => ExitStatus::Integrity,
            Self::Origin => ExitStatus::Origin,
            Self::Storage => ExitStatus::Storage,
            Self::Locked => ExitStatus::Locked,
            Self::Stopped => ExitStatus::Interrupted,
        }
    }
}

/// The exit status of a program. The numbers are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitStatus {
    /// Everything that was asked for is so.
    Complete = 0,
    /// A fault of the program.
    Internal = 1,
    /// Flags or input files.
    Usage = 2,
    /// Some records failed or are unavailable.
    Records = 3,
    /// Something held is not what it should be.
    Integrity = 4,
    /// The origin refused or never answered.
    Origin = 5,
    /// Disk full, I/O error.
    Storage = 6,
    /// Another run holds the output.
    Locked = 7,
    /// Stopped by SIGINT.
    Interrupted = 130,
    /// Stopped by SIGTERM.
    Terminated = 143,
}

impl ExitStatus {
    /// Returns the number that the operating system is told.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitStatus> for u8 {
    fn from(status: ExitStatus) -> Self {
        status.code()
    }
}

/// The number of failures and bad lines that an outcome keeps for its summary.
pub const KEPT_FAILURES: usize = 10;

/// One record that is not held at the end of the run.
#[derive(Debug, Clone)]
pub struct FailedRecord {
    /// Crate and version, or what else failed.
    pub what: String,
    /// Why, in one line.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts have these numbers.
    #[test]
    fn every_kind_of_fault_has_its_exit_code() {
        for (kind, code) in [
            (FaultKind::Internal, 1),
            (FaultKind::Usage, 2),
            (FaultKind::Integrity, 4),
            (FaultKind::Origin, 5),
            (FaultKind::Storage, 6),
            (FaultKind::Locked, 7),
            (FaultKind::Stopped, 130),
        ] {
            assert_eq!(kind.exit_status().code(), code, "{kind:?}");
        }
        assert_eq!((ExitStatus::Complete.code(), ExitStatus::Records.code()), (0, 3));
        assert_eq!(ExitStatus::Terminated.code(), 128 + 15);
    }
}
