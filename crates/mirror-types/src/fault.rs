//! The kind of fault of an error, and the exit status of a program.

/// The kind of fault of an error. Every error type of the workspace that can end a run has a `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A fault of the program itself.
    Internal,
    /// The request makes no sense, or does not fit the existing state; a person has to decide or correct it.
    Usage,
    /// A held release, or a record of it, is damaged.
    Integrity,
    /// The other side refused, did not answer, or answered nonsense.
    Origin,
    /// Disk, file system or operating system refused.
    Storage,
    /// Another run has the lock.
    Locked,
    /// A snapshot, a delivery or a signature is not accepted.
    Refused,
    /// Stopped on request.
    Stopped,
}

impl FaultKind {
    /// Returns the exit status of a program that ends with an error of this kind.
    #[must_use]
    pub const fn exit_status(self) -> ExitStatus {
        match self {
            Self::Internal => ExitStatus::Internal,
            Self::Usage => ExitStatus::Usage,
            Self::Integrity => ExitStatus::Integrity,
            Self::Origin => ExitStatus::Origin,
            Self::Storage => ExitStatus::Storage,
            Self::Locked => ExitStatus::Locked,
            Self::Refused => ExitStatus::Refused,
            Self::Stopped => ExitStatus::Interrupted,
        }
    }
}

/// The exit status of a program. Scripts may rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitStatus {
    /// Everything that was requested is done.
    Complete = 0,
    /// A fault of the program.
    Internal = 1,
    /// Flags or input files.
    Usage = 2,
    /// Some records failed or are unavailable.
    Records = 3,
    /// Something held is damaged.
    Integrity = 4,
    /// The origin refused or did not answer.
    Origin = 5,
    /// Disk full, I/O error.
    Storage = 6,
    /// Another run holds the output.
    Locked = 7,
    /// A snapshot, a delivery or a signature was refused.
    Refused = 8,
    /// Stopped by SIGINT.
    Interrupted = 130,
    /// Stopped by SIGTERM.
    Terminated = 143,
}

impl ExitStatus {
    /// Returns the number for the operating system.
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

/// One failed record of a run.
#[derive(Debug, Clone)]
pub struct FailedRecord {
    /// Crate and version, or the name of another object.
    pub what: String,
    /// The reason, in one line.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts rely on these numbers.
    #[test]
    fn every_kind_of_fault_has_its_exit_code() {
        for (kind, code) in [
            (FaultKind::Internal, 1),
            (FaultKind::Usage, 2),
            (FaultKind::Integrity, 4),
            (FaultKind::Origin, 5),
            (FaultKind::Storage, 6),
            (FaultKind::Locked, 7),
            (FaultKind::Refused, 8),
            (FaultKind::Stopped, 130),
        ] {
            assert_eq!(kind.exit_status().code(), code, "{kind:?}");
        }
        assert_eq!((ExitStatus::Complete.code(), ExitStatus::Records.code()), (0, 3));
        assert_eq!(ExitStatus::Terminated.code(), 128 + 15);
    }
}
