"""Counts a registry's index, and holds sidecars against it, with nothing of the programs: Python and git alone.

usage: check.py count INDEX
       check.py sidecars INDEX BASE yanked|unyanked SIDECARS

INDEX is a bare repository, whose objects are read, or a directory, whose files are read (of a checkout its work tree).
`count` prints what it found as JSON. `sidecars` computes the sidecar of every release, byte for byte, and compares:
SIDECARS is one JSONL, or a mirror with files beside the crates. It prints how many it compared, and exits with 1 and
the first faults where something is missing, different or in excess.
"""
import json, os, subprocess, sys, tempfile

SHOWN = 10


def index_path(name):
    """Where an index has the file of a crate."""
    lower = name.lower()
    if len(lower) <= 2:
        return f"{len(lower)}/{lower}"
    if len(lower) == 3:
        return f"3/{lower[0]}/{lower}"
    return f"{lower[:2]}/{lower[2:4]}/{lower}"


def crate_dir(name):
    """Where a mirror has the releases of a crate."""
    if len(name) <= 3:
        return name
    if name[0] in "123":
        return f"{name[0]}/{name[1:3]}"
    if name[1] == "-":
        return f"{name[:2]}/{name[2:4]}"
    return f"{name[0]}/{name[1:3]}"


def is_index_file(path):
    return index_path(path.rsplit("/", 1)[-1]) == path


def objects(index):
    """Returns every index file of HEAD's tree, straight from the objects."""
    listed = subprocess.run(["git", "-C", index, "ls-tree", "-r", "-z", "HEAD"], stdout=subprocess.PIPE, check=True)
    entries = [entry.split(b"\t", 1) for entry in listed.stdout.split(b"\0") if entry]
    wanted = [(path.decode(), meta.split()[2]) for meta, path in entries if is_index_file(path.decode())]
    with tempfile.TemporaryFile() as asked:
        asked.write(b"".join(id + b"\n" for _, id in wanted))
        asked.seek(0)
        command = ["git", "-C", index, "cat-file", "--batch", "--buffer"]
        with subprocess.Popen(command, stdin=asked, stdout=subprocess.PIPE) as batch:
            for path, id in wanted:
                found, kind, size = batch.stdout.readline().split()
                assert (found, kind) == (id, b"blob"), path
                yield path, batch.stdout.read(int(size))
                batch.stdout.read(1)


def files(index):
    """Returns every index file that lies in a directory."""
    for at, dirs, names in os.walk(index):
        if ".git" in dirs:
            dirs.remove(".git")
        for name in names:
            path = os.path.relpath(os.path.join(at, name), index).replace(os.sep, "/")
            if is_index_file(path):
                with open(os.path.join(at, name), "rb") as file:
                    yield path, file.read()


def read(index):
    """Returns paths with their lines, parsed and as they are, in bytewise order of the paths."""
    bare = os.path.isfile(os.path.join(index, "HEAD"))
    for path, data in sorted(objects(index) if bare else files(index)):
        yield path, [(json.loads(line), line) for line in data.split(b"\n") if line.strip()]


def count(index):
    found = {"files": 0, "lines": 0, "releases": 0, "yanked": 0, "duplicates": 0, "crates": 0, "all_yanked": None}
    for path, lines in read(index):
        # Of several lines of one release the last counts.
        last = {(line["name"], line["vers"]): line for line, _ in lines}
        found["files"] += 1
        found["lines"] += len(lines)
        found["releases"] += len(last)
        found["duplicates"] += len(lines) - len(last)
        found["yanked"] += sum(line["yanked"] for line in last.values())
        found["crates"] += len({name for name, _ in last})
        if found["all_yanked"] is None and last and all(line["yanked"] for line in last.values()):
            found["all_yanked"] = next(iter(last))[0]
    return found


def sidecars(index, base, with_yanked):
    """Returns for every release where its sidecar is, its fields, and its own bytes of the index."""
    for path, lines in read(index):
        last = {(line["name"], line["vers"]): at for at, (line, _) in enumerate(lines)}
        for at, (line, text) in enumerate(lines):
            name, version = line["name"], line["vers"]
            if last[name, version] != at or (line["yanked"] and not with_yanked):
                continue
            file = f"{name}-{version}.crate"
            facts = {
                "crate_file": file,
                "crate_path": f"{crate_dir(name)}/{file}",
                "crate_url": f"{base}/{name}/{file}",
                "index_path": path,
            }
            yield facts, line, text


def compact(facts, text):
    """Returns a line of the JSONL: the index's own bytes, and behind its fields ours."""
    return text[:-1] + b"," + json.dumps(facts, separators=(",", ":")).encode()[1:]


def pretty(facts, line):
    return (json.dumps({**line, **facts}, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def compare(index, base, with_yanked, found):
    """Compares; returns how many are right, and the faults."""
    faults, right = [], 0
    expected = sidecars(index, base, with_yanked)
    if os.path.isdir(found):
        there = set()
        for at, dirs, names in os.walk(found):
            if at == found and ".mirror" in dirs:
                dirs.remove(".mirror")
            there.update(os.path.relpath(os.path.join(at, name), found).replace(os.sep, "/") for name in names)
        there.discard("manifest.jsonl")
        for facts, line, _ in expected:
            path = facts["crate_path"] + ".json"
            if path not in there:
                faults.append(f"{path} is missing")
                continue
            there.remove(path)
            with open(os.path.join(found, path), "rb") as file:
                if file.read() != pretty(facts, line):
                    faults.append(f"{path} is another one")
                else:
                    right += 1
        faults += [f"{path} is in excess" for path in sorted(there)]
    else:
        with open(found, "rb") as file:
            for number, (facts, _, text) in enumerate(expected, 1):
                if file.readline() != compact(facts, text) + b"\n":
                    faults.append(f"line {number} is not that of {facts['crate_file']}")
                else:
                    right += 1
            if file.read(1):
                faults.append("there are more lines than releases")
    return right, faults


if sys.argv[1] == "count":
    print(json.dumps(count(sys.argv[2])))
else:
    right, faults = compare(sys.argv[2], sys.argv[3], sys.argv[4] == "yanked", sys.argv[5])
    print(right)
    for fault in faults[:SHOWN]:
        print(fault)
    if len(faults) > SHOWN:
        print(f"and {len(faults) - SHOWN} more")
    sys.exit(1 if faults else 0)
