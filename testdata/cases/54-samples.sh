#!/bin/bash
# testdata/samples shows what the programs write today, and stock tools agree with what its README says of it.
. "$(dirname "$0")/common.sh"
need download-crates generate-sidecars extract-bundles ssh-keygen tar zstd python3
samples=$(dirname "$CASE")/../samples
run 30 make bash "$samples/make.sh" made
[ "$RC" = 0 ] || fail "make.sh: exit $RC, expected 0: $(last make)"
said=$(python3 - "$samples" made <<'PY'
import pathlib, re, sys
# Times, ids and keys differ each time; everything else is the same.
FORMS = [
    (rb'"(started_at|finished_at|run_id|created|expires)": ?"[^"]*"', rb'"\1"'),
    (rb'"mirror": ?"[0-9a-f]{32}"', rb'"mirror"'),
    (rb"ssh-ed25519 \S+", rb"ssh-ed25519"),
]
OWN = {"README.md", "make.sh", "upstream"}
def files(root):
    root = pathlib.Path(root)
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and name.parts[0] not in OWN:
            data = path.read_bytes()
            if path.suffix == ".sig":
                data = data.splitlines()[0]
            for form, plain in FORMS if path.suffix != ".zst" else []:
                data = re.sub(form, plain, data)
            found[str(name)] = data
    return found
here, made = map(files, sys.argv[1:])
for name in sorted(here.keys() | made.keys()):
    if here.get(name) != made.get(name):
        where = "only in the samples" if name not in made else "only made" if name not in here else "differs"
        print(f"{name} {where}")
if len(here) < 12:
    print(f"only {len(here)} samples")
size = sum(path.stat().st_size for path in pathlib.Path(sys.argv[1]).rglob("*") if path.is_file())
if size > 100 << 10:
    print(f"the samples have {size} bytes, more than 100 KiB")
PY
)
[ -z "$said" ] || wrong "$(echo "$said" | head -n 5); if that is meant, run testdata/samples/make.sh testdata/samples"

cd "$samples" || fail "no samples"
at() { run 10 "$T/check" "$@"; [ "$RC" = 0 ] || wrong "$1 $2: exit $RC, expected 0: $(last "$T/check")"; }
at download-crates --check-snapshot snapshots/snapshot-1.json --allowed-signers allowed_signers --log-path "$T/log"
ssh-keygen -Y verify -n mirror-snapshot -I mirror@example.org -f allowed_signers -s snapshots/snapshot-1.json.sig \
  <snapshots/snapshot-1.json >/dev/null 2>&1 || wrong "ssh-keygen does not accept the signature of the snapshot"
cp -r bundles "$T/bundles"
at extract-bundles --bundles-dir "$T/bundles" --verify
mkdir "$T/crates" "$T/sidecars"
zstd -dc bundles/bundle-0000.tar.zst | tar -xf - -C "$T/crates" || wrong "tar and zstd do not unpack the bundle"
for crate in upstream/crates/*/*.crate; do
  found=$(find "$T/crates" -name "$(basename "$crate")")
  cmp -s "$crate" "$found" || wrong "$(basename "$crate") is not in the bundle as it is upstream"
done
zstd -dc sidecars.tar.zst | tar -xf - -C "$T/sidecars" || wrong "tar and zstd do not unpack the sidecars"
diff -r sidecars "$T/sidecars" >/dev/null || wrong "the packed sidecars are not those beside them"
verdict "the samples are what the programs write today"
