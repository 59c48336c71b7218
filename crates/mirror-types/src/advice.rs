/// Defines the enum together with the list of its variants, so that the two always match.
macro_rules! advice {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Advice to a person about an error, in addition to its message. Libraries return it from `advice()` of their
        /// errors and name no flag; a program words it with flags of its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Advice {
            $($(#[$doc])+ $name,)+
        }

        impl Advice {
            /// All advice, in order of definition.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

advice! {
    /// Use another directory for the mirror.
    AnotherRoot,
    /// Leave the layout to the mirror, which remembers its own; or use another directory.
    KeepTheLayout,
    /// Use another directory; or rebuild the catalogue, which moves the releases to their places in a mirror.
    AdoptReleases,
    /// Rebuild the catalogue, which continues the interrupted move of releases.
    FinishAdopting,
    /// Make the mirror first.
    MakeTheMirror,
    /// Name the mirror's own manifest, or a file that is not there yet.
    NameTheManifest,
    /// Rebuild the catalogue from the manifest, the bundles and the files.
    RebuildCatalogue,
    /// Hash everything that is held again, and read the whole index again.
    VerifyExisting,
    /// Name the directory of the mirror's bundles.
    NameTheBundles,
    /// Name the directory of the mirror's bundles; or, when they are gone for good, rebuild the catalogue without them.
    FindOrForgetBundles,
    /// Rebuild the catalogue after the damaged bundle was moved away.
    ForgetTheBundle,
    /// Give the mirror a directory of its own for its bundles.
    AnotherBundlesDirectory,
    /// Give a glob for the names of bundles.
    PatternOfBundles,
    /// Name another directory of bundles, or another pattern of their names.
    NameTheBundlesOrPattern,
    /// Name the index.
    NameTheIndex,
    /// Name the index, or clone one.
    NameOrCloneTheIndex,
    /// Name another path for the index, or use the existing one without an update.
    AnotherIndexOrNoUpdate,
    /// Name another path for the index: at an empty one, a bare clone is made.
    AnotherIndex,
    /// Use the index as it is, without an update.
    SkipIndexUpdate,
    /// Name the remote that the index is fetched from.
    NameTheRemote,
    /// Name another remote, or use the index as it is.
    AnotherRemoteOrNoUpdate,
    /// Name the registry.
    NameTheRegistry,
    /// Name the address that crates are downloaded from.
    NameTheDownloads,
    /// Name the crates one by one, or use an index that lists them.
    NameCrates,
    /// Run online.
    RunOnline,
    /// Clone the index first, and nothing else.
    CloneTheIndex,
    /// Clone the advisory database first.
    CloneTheAdvisories,
    /// Either include yanked releases or remove them.
    IncludeOrPruneYanked,
    /// Name another directory to archive.
    AnotherInput,
    /// Name another directory for the outputs.
    AnotherOutputDirectory,
    /// Choose the names of the outputs.
    NameTheOutputs,
    /// Choose other names for the outputs.
    RenameTheOutputs,
    /// Name the inventory.
    NameTheInventory,
    /// Name the tar.
    NameTheTar,
    /// Compare with the directory; there is no tar to compare with.
    CompareTheDirectory,
    /// Name the public key of the sender, or skip the signature.
    NameThePublicKeyOrSkip,
    /// Name the public key of the sender.
    NameThePublicKey,
    /// Give the passphrase of the private key.
    GivePassphrase,
    /// Make no signature, or check none.
    DoWithoutSignature,
    /// List the snapshots of the mirror.
    ListSnapshots,
    /// Name the advisory database, or where it is fetched from.
    NameTheAdvisories,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_list_has_every_advice_once() {
        assert_eq!(Advice::ALL.iter().collect::<HashSet<_>>().len(), Advice::ALL.len());
        assert!(Advice::ALL.iter().enumerate().all(|(place, advice)| *advice as usize == place));
        assert!(
            Advice::ALL.contains(&Advice::AnotherRoot) && Advice::ALL.contains(&Advice::NameTheAdvisories)
        );
    }
}
