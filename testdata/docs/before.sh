# Sourced before each command: what the text around it tells a reader to have at that moment.

# with_inventory: the outputs of archive-hasher beside the mirror.
with_inventory() { [ -e mirror.yaml ] || archive-hasher --dir mirror --out-dir . --progress=false >/dev/null 2>&1; }
# with_gpg: a key of gpg that can sign, and its public half in signer.asc.
with_gpg() {
    [ -e signer.asc ] && return
    mkdir -p -m 700 "$GNUPGHOME"
    gpg --quiet --batch --pinentry-mode loopback --passphrase '' --quick-generate-key signer@example.org ed25519 sign 1y
    gpg --armor --export signer@example.org >signer.asc
}

case ${DOC##*/}:$COMMAND in
airgap.md:cp\ artifacts* | airgap.md:archive-hasher\ --dir*) mkdir -p media/carry ;;
airgap.md:archive-hasher\ verify*) cp artifacts/mirror.public.asc . ;;
airgap.md:*--check-snapshot*) mkdir -p accepted && cp mirror/snapshots/snapshot-6.json accepted/ ;;
archive-hasher.md:archive-hasher\ --dir*) ;;
archive-hasher.md:archive-hasher\ verify*sender.asc*) cp artifacts/mirror.public.asc sender.asc ;;
archive-hasher.md:gpg\ --import*) with_inventory && mkdir -p -m 700 "$GNUPGHOME" ;;
archive-hasher.md:*) with_inventory ;;
bundles.md:bsdtar*) mkdir -p somewhere ;;
bundles.md:dd*)
    member=$(cat mirror/bundles/bundle-0000-*.manifest.jsonl | jq -cn 'first(inputs | select(.frame_len))')
    frame_offset=$(jq .frame_offset <<<"$member") frame_len=$(jq .frame_len <<<"$member")
    ;;
install.md:*--generate*)
    mkdir -p .local/share/man/man1 .local/share/bash-completion/completions .zfunc .config/fish/completions
    ;;
network.md:*) COMMAND=${COMMAND//https:\/\/crates.example.org\/index/$ORIGIN\/index} ;;
policy.md:*draft.toml*) printf 'min-publish-age = "7 days"\ndeny = ["left-pad@<2"]\n' >draft.toml ;;
prometheus.md:*) ln -sfn "${DOC%/*}" docs ;;
snapshot.md:*rows*) sed -n '/^```text$/,/^```$/{/^[A-Za-z-]* [0-9.]*.* [0-9a-f]\{64\} /p}' "$DOC" >rows ;;
recipes.md:*--list*)
    jq -cn 'first(inputs | select(.url // "" | endswith("/serde-1.0.0.crate")) | {url, sha256})' mirror/manifest.jsonl \
        >sums.jsonl
    jq -r .url sums.jsonl >urls.txt
    ;;
snapshot.md:*snapshot-1.json) cp mirror/snapshots/snapshot-1.json . ;;
snapshot.md:ssh-keygen\ -Y\ sign*) rm -f snapshot-7.json.sig ;;
snapshot.md:gpg\ --armor*)
    with_gpg
    rm -f snapshot-7.json.asc
    COMMAND=${COMMAND/FINGERPRINT/signer@example.org}
    ;;
snapshot.md:gpg*)
    cp mirror/snapshots/snapshot-7.json .
    with_gpg
    [ -e snapshot-7.json.asc ] || gpg --quiet --armor --detach-sign snapshot-7.json
    ;;
snapshot.md:*) cp mirror/snapshots/snapshot-6.json mirror/snapshots/snapshot-7.json mirror/snapshots/snapshot-7.json.sig . ;;
esac
