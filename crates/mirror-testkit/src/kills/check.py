"""Checks a mirror on disk with nothing of the programs: Python, zstd and tar read what is there.

usage: check.py after|final|final-loose|final-only|pruning FACTS OUT MANIFEST BUNDLES

FACTS is JSON: `allowed` has every checksum that a release ever had upstream, by its path in the layout; `expected` has
what upstream offers now. `after` is what a kill may leave, `pruning` the same of a run that removes releases, whose
records come behind the removals; `final` is what a run leaves that came to its end. One that writes no bundles
(`final-loose`), or bundles alone (`final-only`), leaves to the next of the other kind what a kill left without a
record. Prints each fault, and exits with 1
when there is one.
"""
import hashlib, io, json, os, re, subprocess, sys, tarfile

mode, facts, out, manifest, bundles = sys.argv[1:6]
final = mode.startswith("final")
facts = json.load(open(facts))
allowed, expected = facts["allowed"], facts["expected"]
faults = []


def fault(text):
    faults.append(text)


def sha(data):
    return hashlib.sha256(data).hexdigest()


# Files with their final names are whole, and what upstream had.
loose = {}
for at, dirs, names in os.walk(out):
    if at == out and ".mirror" in dirs:
        dirs.remove(".mirror")
    for name in names:
        if name.endswith(".crate"):
            path = os.path.join(at, name)
            rel = os.path.relpath(path, out).replace(os.sep, "/")
            loose[rel] = sha(open(path, "rb").read())
            if loose[rel] not in allowed.get(rel, []):
                fault(f"{rel} has its final name and bytes that upstream never had")

# Members of bundles, the sealed ones by the programs that anybody has.
members = {}
sealed, partial = [], []
for name in sorted(os.listdir(bundles)) if os.path.isdir(bundles) else []:
    if re.fullmatch(r"bundle-\d+\.tar\.zst", name):
        sealed.append(name)
    elif re.fullmatch(r"bundle-\d+\.tar\.zst\.partial", name):
        partial.append(name)
for name in sealed + partial:
    path = os.path.join(bundles, name)
    unpacked = subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if name in sealed:
        if unpacked.returncode:
            fault(f"zstd cannot unpack {name}: {unpacked.stderr.decode(errors='replace').strip()}")
        listed = subprocess.run(["tar", "--zstd", "-tf", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if listed.returncode:
            fault(f"tar cannot list {name}: {listed.stderr.decode(errors='replace').strip()}")
    stem = name.removesuffix(".partial")
    try:
        with tarfile.open(fileobj=io.BytesIO(unpacked.stdout), mode="r|") as tar:
            for member in tar:
                data = tar.extractfile(member).read()
                if len(data) < member.size:
                    break
                members[stem, member.name] = sha(data)
                if sha(data) not in allowed.get(member.name, []):
                    fault(f"{member.name} in {name} has bytes that upstream never had")
    except (tarfile.TarError, EOFError, OSError) as error:
        # What grows may end anywhere.
        if name in sealed:
            fault(f"{name} is no whole tar: {error}")

# The manifest: what it calls held is there.
held_loose, held_member = {}, {}
lines = open(manifest, "rb").read().split(b"\n") if os.path.exists(manifest) else [b""]
torn = lines.pop()
if torn and final:
    fault("the manifest ends in a torn line")
for number, line in enumerate(lines, 1):
    try:
        record = json.loads(line)
    except ValueError:
        fault(f"line {number} of the manifest is no JSON")
        continue
    path = record.get("path", "")
    if not record.get("ok") or not path:
        continue
    rel = "/".join(path.replace("\\", "/").split("/")[1:])
    if record["status"] == "pruned":
        held_loose.pop(rel, None)
        held_member.pop(rel, None)
        continue
    if (held_loose.get(rel) or held_member.get(rel, (0, record["sha256"]))[1]) != record["sha256"]:
        held_loose.pop(rel, None)
        held_member.pop(rel, None)
    if "filesystem" in record["storage"]:
        held_loose[rel] = record["sha256"]
    if "bundle" in record["storage"]:
        bundle = re.split(r"[/\\]", record["bundle_path"])[-1]
        held_member[rel] = bundle, record["sha256"]
for rel, sum in held_loose.items():
    if loose.get(rel) != sum and not (mode == "pruning" and rel not in loose):
        fault(f"the manifest calls {rel} held, and its file is {'another' if rel in loose else 'not there'}")
for rel, (bundle, sum) in held_member.items():
    if members.get((bundle, rel)) != sum:
        fault(f"the manifest says that {bundle} holds {rel}, and it does not")

if final:
    in_bundles = {rel: sum for (_, rel), sum in members.items()}
    for rel, sum in expected.items():
        if sum not in (loose.get(rel), in_bundles.get(rel)):
            fault(f"{rel} is missing")
    for rel in loose:
        if rel not in expected and rel not in in_bundles and rel in held_loose:
            fault(f"{rel} is not offered any more and still there")
        # A run that wrote both was killed between the file and its record, and a bundle holds it since.
        if rel not in held_loose and rel not in held_member and rel in expected and mode != "final-only":
            fault(f"no record speaks of {rel}")
    for bundle, rel in members if mode != "final-loose" else ():
        if rel not in held_member:
            fault(f"no record speaks of {rel} in {bundle}")
    stage = os.path.join(out, ".mirror", "stage")
    if os.listdir(stage):
        fault(f"the stage holds {len(os.listdir(stage))} files")
    index = os.path.join(bundles, "bundles.index.jsonl")
    known = [json.loads(line) for line in open(index)] if os.path.exists(index) else []
    for name in sealed:
        sums = [line["sha256"] for line in known if re.split(r"[/\\]", line["bundle_path"])[-1] == name]
        if sums != [sha(open(os.path.join(bundles, name), "rb").read())]:
            fault(f"the index of the bundles does not say what {name} is")
    if not json.load(open(os.path.join(out, ".mirror", "mirror.json"))).get("layout"):
        fault("the mirror's record has no layout")

print("\n".join(faults[:20]))
if len(faults) > 20:
    print(f"and {len(faults) - 20} more")
sys.exit(1 if faults else 0)
