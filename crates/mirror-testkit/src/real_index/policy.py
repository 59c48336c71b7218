"""Counts what a dry run under a policy has to count, with nothing of the programs: Python alone.

usage: policy.py date INDEX OUT
       policy.py count INDEX POLICY NOW [FLAG VALUE]...

INDEX is a directory of index files. `date` writes a copy in which nearly every release has a publication time, which
follows from its name and version alone, and prints how many have one. `count` reads a policy and those flags of the
selection that change counts, and prints the counts as JSON; NOW is in seconds since 1970.
"""
import datetime, fnmatch, hashlib, json, os, re, sys, tomllib

FIRST, LAST = (datetime.datetime(*day, tzinfo=datetime.timezone.utc) for day in [(2015, 1, 1), (2019, 11, 10)])
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400, "month": 30 * 86400}
NUMBER = r"(?:0|[1-9][0-9]*)"
SEMVER = re.compile(rf"({NUMBER})\.({NUMBER})\.({NUMBER})(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?")


def files(index):
    for at, dirs, names in os.walk(index):
        dirs[:] = [name for name in dirs if name != ".git"]
        for name in names:
            path = os.path.relpath(os.path.join(at, name), index)
            if name != "config.json" and os.sep in path:
                with open(os.path.join(index, path), "rb") as file:
                    yield path, [line for line in file.read().split(b"\n") if line.strip()]


def pubtime(name, version):
    """Returns a moment on a whole hour, or nothing for every sixteenth release."""
    number = int.from_bytes(hashlib.sha256(f"{name} {version}".encode()).digest()[:8], "big")
    if number % 16 == 0:
        return None
    hours = int((LAST - FIRST).total_seconds()) // 3600
    return (FIRST + datetime.timedelta(hours=number // 16 % hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def date(index, out):
    dated = 0
    for path, lines in files(index):
        os.makedirs(os.path.dirname(os.path.join(out, path)), exist_ok=True)
        with open(os.path.join(out, path), "wb") as file:
            for line in lines:
                read = json.loads(line)
                at = pubtime(read["name"], read["vers"])
                if at is not None:
                    line = line.rstrip()[:-1] + b',"pubtime":"' + at.encode() + b'"}'
                    dated += 1
                file.write(line + b"\n")
    return dated


def canonical(name):
    return name.lower().replace("-", "_")


def matches(pattern, name):
    # Within brackets, a hyphen makes a range.
    parts = re.split(r"(\[[^]]*\])", pattern)
    pattern = "".join(part.lower() if part.startswith("[") else canonical(part) for part in parts)
    return fnmatch.fnmatchcase(canonical(name), pattern)


def identifiers(text):
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in text.split(".")] if text else []


def version_key(text):
    """Returns a key that sorts by precedence; nothing where the text is no semantic version."""
    found = SEMVER.fullmatch(text)
    return found and (tuple(int(found[at]) for at in (1, 2, 3)), (not found[4], identifiers(found[4])))


def order_key(text):
    """Returns a key that sorts as Cargo does: where the precedence is the same, build metadata decides."""
    found = SEMVER.fullmatch(text)
    return (version_key(text), identifiers(found[5])) if found else (((-1,), (False, [])), [])


def comparators(requirement):
    """Returns pairs of bounds, of which the second is excluded. Only forms without pre-releases are understood."""
    for part in requirement.split(","):
        op, numbers = re.fullmatch(r"\s*(<|>=|=|\^|)\s*([0-9.]+)\s*", part).groups()
        numbers = [int(number) for number in numbers.split(".")]
        least = tuple(numbers + [0] * (3 - len(numbers)))
        stable = (True, [])
        if op == "<":
            yield None, (least, stable)
        elif op == ">=":
            yield (least, stable), None
        else:
            # The number that may not change: of `=` the last one, of `^` the first that is not zero.
            fixed = len(numbers) - 1
            if op != "=":
                fixed = next((at for at, number in enumerate(numbers) if number), fixed)
            above = least[:fixed] + (least[fixed] + 1,) + (0,) * (2 - fixed)
            yield (least, stable), (above, (False, [(0, 0, "")]))


def within(key, requirement):
    return all(
        (least is None or key >= least) and (above is None or key < above)
        for least, above in comparators(requirement)
    )


def listed(entries, name, version, denies):
    for entry in entries:
        pattern, _, requirement = (part.strip() for part in entry.partition("@"))
        if not matches(pattern, name):
            continue
        key = version_key(version)
        if not requirement or (key is None and denies):
            return True
        # Cargo lets no pre-release match that a requirement does not name; a list of denied ones covers them.
        if key is not None and within(key, requirement) and (denies or key[1][0]):
            return True
    return False


def published(line):
    text = line.get("pubtime")
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else None


def newest(lines, number):
    lines = [line for line in lines if not line["yanked"]]
    stable = [line for line in lines if (version_key(line["vers"]) or (0, (False,)))[1][0]]
    order = sorted(stable or lines, key=lambda line: order_key(line["vers"]), reverse=True)
    return {line["vers"] for line in order[:number]}


def held_back_by(line, policy, now):
    """Returns the first rule that holds a release back whatever the other releases of its crate are."""
    name, version = line["name"], line["vers"]
    if listed(policy.get("deny", []), name, version, True):
        return "deny"
    if policy.get("allow") and not listed(policy["allow"], name, version, False):
        return "allow"
    if policy.get("yanked") == "deny" and line["yanked"]:
        return "yanked"
    number, unit = (policy.get("min-publish-age", "0 seconds").split() + ["seconds"])[:2]
    age = int(number) * UNITS[unit.rstrip("s")]
    at = published(line)
    return "min-publish-age" if age and (at is None or at + age > now) else None


def wanted(name, flags):
    names, not_names = (flags.get(flag, "").split(",") for flag in ("--crates", "--exclude"))
    return (names == [""] or any(matches(name_, name) for name_ in names)) and not any(
        matches(name_, name) for name_ in not_names if name_
    )


def count(index, policy, now, flags):
    found = {"selected": 0, "would_fetch": 0, "yanked_skipped": 0, "undated": 0, "deferred": {}}
    by_name = {}
    for _, lines in files(index):
        for line in map(json.loads, lines):
            if wanted(line["name"], flags):
                # Of several lines of one release the last counts.
                by_name.setdefault(line["name"], {})[line["vers"]] = line
    for of_crate in by_name.values():
        rules = {version: held_back_by(line, policy, now) for version, line in of_crate.items()}
        if policy.get("newest"):
            offered = newest([of_crate[version] for version, rule in rules.items() if rule is None], policy["newest"])
            rules = {version: rule or (None if version in offered else "newest") for version, rule in rules.items()}
        lines = list(of_crate.values())
        if "--as-of" in flags:
            end = datetime.datetime.fromisoformat(flags["--as-of"] + "T00:00:00+00:00").timestamp() + 86400
            found["undated"] += sum(published(line) is None for line in lines)
            lines = [line for line in lines if published(line) is not None and published(line) < end]
        with_yanked = "--include-yanked" in flags
        if not with_yanked:
            found["yanked_skipped"] += sum(line["yanked"] for line in lines)
        if "--latest" in flags:
            latest = newest(lines, int(flags["--latest"]))
            lines = [line for line in lines if line["vers"] in latest and not line["yanked"]]
        for line in lines:
            if line["yanked"] and not with_yanked:
                continue
            found["selected"] += 1
            rule = rules[line["vers"]]
            if rule is None:
                found["would_fetch"] += 1
            else:
                found["deferred"][rule] = found["deferred"].get(rule, 0) + 1
    return found


if sys.argv[1] == "date":
    print(date(sys.argv[2], sys.argv[3]))
else:
    with open(sys.argv[3], "rb") as file:
        policy = tomllib.load(file)
    print(json.dumps(count(sys.argv[2], policy, float(sys.argv[4]), dict(zip(sys.argv[5::2], sys.argv[6::2])))))
