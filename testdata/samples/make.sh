#!/bin/bash
# Makes the samples anew, below DIR, with the programs of the PATH: bash make.sh DIR. Case 54 compares them with those
# here; to replace these, run it with this directory. Only the server below, on this machine, is asked.
set -euo pipefail
umask 022
[ $# = 1 ] || { echo "usage: make.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
to=$(cd "$1" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/samples.XXXXXX")
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT
cd "$work"
export LC_ALL=C TZ=UTC
unset https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY MIRROR_CONTACT

# A proxy that answers for crates.example.org, so that no address of this machine is in a record.
cat >proxy.py <<'PY'
import http.server, os, sys
class Proxy(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *a):
        super().__init__(*a, directory=sys.argv[1])
    def log_message(self, *a):
        pass
    def translate_path(self, path):
        return super().translate_path(path.removeprefix("http://crates.example.org"))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
with open("port.new", "w") as port:
    port.write(str(server.server_port))
os.rename("port.new", "port")
server.serve_forever()
PY
python3 proxy.py "$here/upstream" &
server=$!
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
http_proxy=http://127.0.0.1:$(cat port)
export http_proxy

cp -r "$here/upstream/index" index
ssh-keygen -q -t ed25519 -N '' -C mirror@example.org -f key
common=(--index-dir index --out mirror --include-yanked --concurrency 1 --listen= --log-level error)
download-crates "${common[@]}" --bundle --bundle-mode add --bundle-seal --sign-key key --valid-for 36500days >/dev/null
sidecars=(--index-dir index --include-yanked --manifest mirror/manifest.jsonl --log-level error)
generate-sidecars "${sidecars[@]}" --out mirror >/dev/null
generate-sidecars "${sidecars[@]}" --output-mode jsonl --jsonl-out sidecars.jsonl >/dev/null
generate-sidecars "${sidecars[@]}" --output-mode tar.zst --tar-out sidecars.tar.zst >/dev/null

rm -rf "$to"/{bundles,snapshots,sidecars} "$to"/{manifest.jsonl,sidecars.jsonl,sidecars.tar.zst,allowed_signers}
cp mirror/manifest.jsonl sidecars.jsonl sidecars.tar.zst "$to"
cp -r mirror/snapshots "$to/snapshots"
mkdir "$to/bundles" "$to/sidecars"
cp mirror/bundles/*.* "$to/bundles"
(cd mirror && find . -name '*.crate.json' | tar -cf - -T -) | tar -xf - -C "$to/sidecars"
printf 'mirror@example.org namespaces="mirror-snapshot" %s\n' "$(cut -d' ' -f1,2 key.pub)" >"$to/allowed_signers"
