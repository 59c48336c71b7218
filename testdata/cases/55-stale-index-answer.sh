#!/bin/bash
# A cache before a registry answers with an old index file, which lacks a version that a new release needs. A closure
# asks past the cache, once for each such crate, and mirrors what Cargo would choose.
. "$(dirname "$0")/common.sh"
need download-crates python3
release top 1.0.0 top
release leaf 1.0.0 old
release leaf 1.1.0 new
release late 1.0.0 late
needs() { printf '{"name":"%s","req":"%s","features":[],"optional":false,"default_features":true,"target":null,"kind":"normal"}' "$1" "$2"; }
mkdir -p ix
line top 1.0.0 | sed "s|\"deps\":\[\]|\"deps\":[$(needs leaf ^1.1),$(needs late ^1),$(needs never ^1)]|" | in_index top
{ line leaf 1.0.0; line leaf 1.1.0; } | in_index leaf
line late 1.0.0 | in_index late
serve origin www <<'PY'
class Handler(Files):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path.startswith("/index/") and not query:
            # The cache: it has the first line of leaf, and nothing of late.
            if path.endswith("/leaf"):
                self.asked()
                body = open(root + path, "rb").readline()
                return self.answer(200, body, ETag='"old"')
            if path.endswith("/late"):
                self.asked()
                return self.answer(404)
        super().do_GET()
PY
BASE=http://127.0.0.1:$PORT/crates
printf '{"dl":"%s/{crate}/{crate}-{version}.crate"}\n' "$BASE" >ix/config.json
publish
run 20 closed "${D[@]}" --index-url "sparse+http://127.0.0.1:$PORT/index/" --crates top --closure --latest 1 --out m
[ "$RC" = 0 ] || wrong "exit $RC, expected 0: $(last closed)"
found=$(releases m)
[ "$found" = "late-1.0.0.crate leaf-1.1.0.crate top-1.0.0.crate" ] || wrong "mirrored '$found', expected late, leaf 1.1.0 and top"
for crate in late leaf never; do
  asked=$(grep -c "^GET /index/.*/$crate?cache-buster=[0-9]* " origin.requests)
  [ "$asked" = 1 ] || wrong "$crate was asked for $asked times past the cache, expected once"
done
[ "$(grep -c '/top?' origin.requests)" = 0 ] || wrong "top was asked for past the cache, and nothing of it was missing"
grep -q 'never ^1' closed.out || wrong "the summary does not name the requirement that nothing satisfies"

# A cache that answers with "not found" to any query: what is known stays.
serve strict www <<'PY'
class Handler(Files):
    def do_GET(self):
        if "?" in self.path:
            self.asked()
            return self.answer(404)
        super().do_GET()
PY
printf '{"dl":"http://127.0.0.1:%s/crates/{crate}/{crate}-{version}.crate"}\n' "$PORT" >ix/config.json
line leaf 1.0.0 | in_index leaf
publish
run 20 strict "${D[@]}" --index-url "sparse+http://127.0.0.1:$PORT/index/" --crates top,leaf --closure --latest 1 --out m2
found=$(releases m2)
[ "$found" = "late-1.0.0.crate leaf-1.0.0.crate top-1.0.0.crate" ] || wrong "strict: mirrored '$found', expected late, leaf 1.0.0 and top: $(last strict)"
run 10 offline "${D[@]}" --index-url "sparse+http://127.0.0.1:$PORT/index/" --crates top,leaf --closure --latest 1 --out m2 --offline
[ "$(releases m2)" = "$found" ] || wrong "offline: '$(releases m2)'"
verdict "a closure asks past caches for index files that lack what is required"
