# Makes what the documents presuppose, in the working directory: an index, a mirror with loose files, bundles and seven
# signed snapshots, keys.
. "$(dirname "$0")/environment.sh"

advisories=$UPSTREAM-advisories
mkdir -p "$advisories/crates/left-pad"
cat >"$advisories/crates/left-pad/RUSTSEC-2026-0001.md" <<'EOT'
```toml
[advisory]
id = "RUSTSEC-2026-0001"
package = "left-pad"
date = "2026-01-02"
informational = "unmaintained"

[versions]
patched = []
```

# Nobody maintains it
EOT
git -C "$advisories" init --quiet --initial-branch=main
git -C "$advisories" add --all
git -C "$advisories" -c user.name=test -c user.email=test@example.org commit --quiet --message advisories

git clone --quiet --bare "$UPSTREAM" crates.io-index
ssh-keygen -q -t ed25519 -N '' -C test -f key
mkdir .ssh && cp key .ssh/id_ed25519 && cp key.pub .ssh/id_ed25519.pub && cp key other_key && cp key.pub other_key.pub
printf 'mirror@example.org namespaces="mirror-snapshot" %s\n' "$(cat key.pub)" >allowed_signers
common=(--index-dir crates.io-index --out mirror --bundle --bundle-mode add --sign-key key)
for crates in serde serde,tokio serde,tokio,just serde,tokio,just,ripgrep serde,left-pad,tokio,just,ripgrep \
    serde,left-pad,some-crate,tokio,just,ripgrep; do
    download-crates "${common[@]}" --crates "$crates"
done
download-crates "${common[@]}" --include-yanked --bundle-seal
ls mirror/snapshots
