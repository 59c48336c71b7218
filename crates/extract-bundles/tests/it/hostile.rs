//! Hostile archives, and broken ones: each is refused with the right name, nothing is written outside the output, and
//! every accepted archive means the same to GNU tar and to Python.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use mirror_bundle::{BundleLimits, BundleReader};
use sha2::Digest as _;

use super::source::stream;
use super::world::{World, shell, tree};

const NAME: &str = "s/er/serde-1.0.0.crate";
const OTHER: &str = "t/ok/tokio-1.0.0.crate";

/// Makes a header with its checksum, before or after `change`.
fn header(name: &str, kind: u8, size: u64, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let bytes = header.as_mut_bytes();
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[156] = kind;
    change(bytes);
    fix(bytes);
    bytes.to_vec()
}

/// Corrects the checksum of a header.
fn fix(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn data(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(512), 0);
    padded
}

fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    [header(name, b'0', bytes.len() as u64, |_| {}), data(bytes)].concat()
}

fn pax(kind: u8, records: &str) -> Vec<u8> {
    [header("PaxHeaders.0/x", kind, records.len() as u64, |_| {}), data(records.as_bytes())].concat()
}

pub(crate) fn record(key: &str, value: &str) -> String {
    let body = key.len() + value.len() + 3;
    let len = (body..).find(|len| len.to_string().len() + body == *len).unwrap();
    format!("{len} {key}={value}\n")
}

const END: [u8; 1024] = [0; 1024];

fn ended(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), END.to_vec()].concat()
}

fn size_field(text: &'static [u8; 12]) -> impl FnOnce(&mut [u8]) {
    move |bytes| bytes[124..136].copy_from_slice(text)
}

/// Returns tar files, and the words of the error for each.
fn tars() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = || file(NAME, b"serde");
    let one = |name: &str| ended(&[file(name, b"x")]);
    let kind = |kind: u8| ended(&[header(NAME, kind, 0, |_| {})]);
    let with = |records: String| ended(&[pax(b'x', &records), good()]);
    let link = |kind: u8| ended(&[header(NAME, kind, 0, |b| b[157..168].copy_from_slice(b"/etc/passwd"))]);
    let long = format!("s/er/serde-1.0.0-{}.crate", "a".repeat(120));
    vec![
        ("absolute", one("/s/er/serde-1.0.0.crate"), "its path is absolute"),
        ("parent", one("../serde-1.0.0.crate"), "empty, `.` or `..`"),
        ("parent inside", one("s/../../serde-1.0.0.crate"), "empty, `.` or `..`"),
        ("dot", one("./s/er/serde-1.0.0.crate"), "empty, `.` or `..`"),
        ("backslash", one("s\\er\\serde-1.0.0.crate"), "a backslash or a colon"),
        ("drive", one("C:/er/serde-1.0.0.crate"), "a backslash or a colon"),
        ("the mirror's own", one(".mirror/mirror.json"), "not that of a release"),
        ("not a release", one("s/er/evil.sh"), "not that of a release"),
        ("another directory", one("x/yz/serde-1.0.0.crate"), "not that of a release"),
        ("symlink", link(b'2'), "it is a link"),
        ("hard link", link(b'1'), "it is a link"),
        ("character device", kind(b'3'), "it is a device"),
        ("block device", kind(b'4'), "it is a device"),
        ("fifo", kind(b'6'), "it is a named pipe"),
        ("directory", kind(b'5'), "it is a directory"),
        ("contiguous", kind(b'7'), "its type 0x37"),
        ("GNU sparse", kind(b'S'), "a sparse file"),
        (
            "GNU long name",
            ended(&[file("././@LongLink", b"x"), good()].map(|mut part| {
                if part.starts_with(b"./") {
                    part[156] = b'L';
                    fix(&mut part[..512]);
                }
                part
            })),
            "GNU's long names",
        ),
        ("GNU long link", kind(b'K'), "GNU's long names"),
        ("PAX global", ended(&[pax(b'g', &record("path", OTHER)), good()]), "a global PAX header"),
        ("PAX size", with(record("size", "1024")), "another size"),
        ("PAX path", with(record("path", OTHER)), "another path"),
        ("PAX path, absolute and long", with(record("path", &format!("/{long}"))), "another path"),
        ("PAX path twice", with(record("path", NAME) + &record("path", NAME)), "malformed"),
        ("PAX link", with(record("linkpath", "/etc/passwd")), "it is a link"),
        ("PAX sparse", with(record("GNU.sparse.major", "1")), "a sparse file"),
        ("PAX sparse name", with(record("GNU.sparse.name", "/etc/x")), "a sparse file"),
        ("PAX charset", with(record("hdrcharset", "BINARY")), "the record hdrcharset"),
        ("PAX length", with("99 path=x\n".to_owned()), "malformed"),
        (
            "PAX of nothing",
            ended(&[pax(b'x', &record("path", NAME)), Vec::new()]),
            "of another format|checksum of its header",
        ),
        ("duplicate", ended(&[good(), file(OTHER, b"x"), good()]), "is in the bundle twice"),
        (
            "header sum",
            {
                let mut bad = ended(&[good()]);
                bad[3] ^= 1;
                bad
            },
            "checksum of its header",
        ),
        (
            "size in base 256",
            ended(&[header(NAME, b'0', 5, size_field(b"\x80\0\0\0\0\0\0\0\0\0\0\x05")), data(b"serde")]),
            "its size is not octal",
        ),
        (
            "negative size",
            ended(&[header(NAME, b'0', 5, size_field(b"-0000000005\0")), data(b"serde")]),
            "its size is not octal",
        ),
        (
            "size with junk",
            ended(&[header(NAME, b'0', 5, size_field(b"5\0\x309999999\0\0")), data(b"serde")]),
            "its size is not octal",
        ),
        (
            "huge size",
            ended(&[header(NAME, b'0', 5, size_field(b"77777777777\0")), data(b"serde")]),
            "more than the limit",
        ),
        (
            "old magic",
            ended(&[header(NAME, b'0', 5, |b| b[257..265].copy_from_slice(b"ustar  \0")), data(b"serde")]),
            "of another format",
        ),
        (
            "name behind a zero",
            ended(&[header(NAME, b'0', 5, |b| b[40..44].copy_from_slice(b"evil")), data(b"serde")]),
            "its name is not plain",
        ),
        (
            "control characters",
            ended(&[header("s/er/\x1b[2Jserde-1.0.0.crate", b'0', 0, |_| {})]),
            "its name is not plain",
        ),
        (
            "padding",
            ended(&[header(NAME, b'0', 5, |_| {}), {
                let mut d = data(b"serde");
                d[300] = 1;
                d
            }]),
            "the padding",
        ),
        ("no trailer", good(), "the end of the archive"),
        ("half a trailer", [good(), vec![0; 512]].concat(), "the end of the archive"),
        (
            "one zero block",
            [good(), vec![0; 512], file(OTHER, b"x"), END.to_vec()].concat(),
            "the end of the archive",
        ),
        ("cut in a header", [good(), good()[..100].to_vec()].concat(), "ends in the middle"),
        ("cut in data", good()[..514].to_vec(), "ends in the middle"),
        ("behind the end", [ended(&[good()]), good()].concat(), "follows the end"),
        ("a byte behind the end", [ended(&[good()]), b"x".to_vec()].concat(), "follows the end"),
        ("empty file", Vec::new(), "the end of the archive"),
    ]
}

/// Returns whole bundles with hostile frames.
fn frames() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = stream(&ended(&[file(NAME, b"serde")]));
    let skippable = |content: &[u8]| {
        [&[0x50, 0x2a, 0x4d, 0x18][..], &u32::try_from(content.len()).unwrap().to_le_bytes(), content]
            .concat()
    };
    let window = |log: i32| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(u32::try_from(log).unwrap()).unwrap();
        std::io::Write::write_all(&mut encoder, &ended(&[file(NAME, b"serde")])).unwrap();
        encoder.finish().unwrap()
    };
    let bomb = zstd::bulk::compress(&ended(&[file(NAME, &vec![0; 64 << 20])]), 3).unwrap();
    let table = |frames: &[(usize, u32)]| {
        let mut content = Vec::new();
        for (len, size) in frames {
            content.extend_from_slice(&u32::try_from(*len).unwrap().to_le_bytes());
            content.extend_from_slice(&size.to_le_bytes());
        }
        content.extend_from_slice(&u32::try_from(frames.len()).unwrap().to_le_bytes());
        content.extend_from_slice(&[0, 0xb1, 0xea, 0x92, 0x8f]);
        let mut skippable = skippable(&content);
        skippable[0] = 0x5e;
        skippable
    };
    let a = zstd::bulk::compress(&file(NAME, b"serde"), 1).unwrap();
    let b = zstd::bulk::compress(&file(OTHER, b"tokio"), 1).unwrap();
    let end = zstd::bulk::compress(&END, 1).unwrap();
    let both = [a.clone(), b.clone(), end.clone()].concat();
    let cat = |parts: &[&[u8]]| parts.concat();
    vec![
        ("not zstd", b"PK\x03\x04 and so on".to_vec(), "no zstd frame"),
        ("window of 256 MiB", window(28), "a window of 268435456"),
        ("bomb", bomb, "far more bytes"),
        ("skippable first", cat(&[&skippable(b"hidden"), &good]), "a skippable frame"),
        ("skippable between", cat(&[&a, &skippable(b"hidden"), &b, &end]), "a skippable frame"),
        ("skippable last", cat(&[&good, &skippable(b"hidden")]), "a skippable frame"),
        ("junk behind", cat(&[&good, b"junk"]), "no zstd frame"),
        ("cut frame", good[..good.len() - 3].to_vec(), "ends in the middle"),
        (
            "checksum",
            {
                let mut bad = good.clone();
                let at = bad.len() - 1;
                bad[at] ^= 1;
                bad
            },
            "the frame is damaged",
        ),
        ("another archive behind", cat(&[&good, &good]), "follows the end"),
        (
            "table too short",
            cat(&[&both, &table(&[(a.len(), 1024), (b.len(), 1024)])]),
            "the seek table is wrong",
        ),
        (
            "table of other lengths",
            cat(&[&both, &table(&[(b.len() + 1, 1024), (a.len() - 1, 1024), (end.len(), 1024)])]),
            "the seek table is wrong|ends in the middle",
        ),
        (
            "table of other sizes",
            cat(&[&both, &table(&[(a.len(), 1024), (b.len(), 2048), (end.len(), 1024)])]),
            "the seek table is wrong",
        ),
        ("table with a footer of its own", cat(&[&both, &table(&[(7, 7)])]), "the seek table is wrong"),
        (
            "no end before the table",
            cat(&[&a, &b, &table(&[(a.len(), 1024), (b.len(), 1024)])]),
            "the end of the archive",
        ),
        (
            "end before the last frame",
            cat(&[&a, &end, &b, &table(&[(a.len(), 1024), (end.len(), 1024), (b.len(), 1024)])]),
            "follows the end",
        ),
        (
            "duplicate frames",
            cat(&[&a, &a, &end, &table(&[(a.len(), 1024), (a.len(), 1024), (end.len(), 1024)])]),
            "is in the bundle twice",
        ),
        (
            "behind the table",
            cat(&[&both, &table(&[(a.len(), 1024), (b.len(), 1024), (end.len(), 1024)]), b"x"]),
            "follows the end",
        ),
    ]
}

#[test]
fn hostile_archives_are_refused_by_name_and_nothing_is_written_outside() {
    let world = World::new(1, 10);
    fs::create_dir_all(world.bundles()).unwrap();
    let before: BTreeSet<_> = ["bundles", "out"].map(str::to_owned).into();
    let tars = tars().into_iter().map(|(name, tar, words)| (name, stream(&tar), words));
    for (name, bundle, words) in tars.chain(frames()) {
        fs::write(world.bundles().join("bundle-0000.tar.zst"), bundle).unwrap();
        let ended = world.run(&["--out", "out"]).expect(4);
        let named = words.split('|').any(|words| ended.stdout.contains(words));
        assert!(named, "{name}: {words}\n{}", ended.stdout);
        let left = tree(&world.path("out"));
        for (path, data) in &left {
            let good = [(NAME, &b"serde"[..]), (OTHER, b"x"), (OTHER, b"tokio")];
            assert!(good.contains(&(path.as_str(), data.as_slice())), "{name} left {path}");
        }
        let here: BTreeSet<_> = fs::read_dir(world.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(here, before, "{name}");
        fs::remove_dir_all(world.path("out")).unwrap();
        world.run(&["--verify"]).expect(4);
    }
}

/// Checks that the same building blocks without a fault are accepted: the fault is what makes the others be refused.
#[test]
fn the_good_twins_are_accepted() {
    let world = World::new(1, 10);
    fs::create_dir_all(world.bundles()).unwrap();
    let long = format!("s/er/serde-1.0.0-{}.crate", "a".repeat(120));
    let short = |bytes: Vec<u8>| {
        let mut bytes = bytes;
        bytes[..100].copy_from_slice(&long.as_bytes()[..100]);
        fix(&mut bytes[..512]);
        bytes
    };
    for tar in [
        ended(&[file(NAME, b"serde"), file(OTHER, b"x")]),
        ended(&[pax(b'x', &record("path", NAME)), file(NAME, b"serde")]),
        ended(&[pax(b'x', &record("size", "5")), file(NAME, b"serde")]),
        ended(&[pax(b'x', &record("path", &long)), short(file(NAME, b"serde"))]),
        ended(&[file(NAME, b"")]),
        [ended(&[file(NAME, b"serde")]), vec![0; 8192]].concat(),
        END.to_vec(),
    ] {
        fs::write(world.bundles().join("bundle-0000.tar.zst"), stream(&tar)).unwrap();
        world.run(&["--out", "out"]).expect(0);
        fs::remove_dir_all(world.path("out")).unwrap();
    }
}

/// Returns an archive of good members with a random change.
fn generated(rng: &mut fastrand::Rng) -> Vec<u8> {
    let names = [
        NAME,
        OTHER,
        "ab/ab-0.1.0.crate",
        "a-/fo/a-foo-0.1.0+build.1.crate",
        "se/rd/serde/serde-1.0.0.crate",
    ];
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for name in &names[..rng.usize(1..4)] {
        let body: Vec<u8> = (0..rng.usize(0..1500)).map(|_| rng.u8(..)).collect();
        if rng.u8(..) < 40 {
            let (key, value) = *rng.choice(PAX).unwrap();
            parts.push(pax(*rng.choice(b"xxxg").unwrap(), &record(key, value)));
        }
        parts.push(file(name, &body));
    }
    for _ in 0..rng.usize(0..3) {
        let at = rng.usize(..parts.len());
        let block = &mut parts[at];
        match rng.u8(0..10) {
            0 => block[rng.usize(..512)] ^= 1 << rng.u8(..8),
            1 => {
                block[rng.usize(..512)] = rng.u8(..);
                fix(&mut block[..512]);
            }
            2 => {
                block[156] = *rng.choice(b"\x000123457LKSgxVMNDA").unwrap();
                fix(&mut block[..512]);
            }
            3 => {
                let size = rng.u64(..2_000);
                block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
                fix(&mut block[..512]);
            }
            4 => {
                let field = *rng.choice(&[100, 108, 116, 124, 136, 329]).unwrap();
                let text = *rng
                    .choice(&[
                        &b"     17\0"[..],
                        b"0000017 ",
                        b"\x80\0\0\0\0\0\0\x05",
                        b"\0\0\0\0\0\0\0\0",
                        b"17\0junk\0",
                        b"0000018\0",
                    ])
                    .unwrap();
                block[field..field + 8].copy_from_slice(text);
                fix(&mut block[..512]);
            }
            5 => {
                let magic = *rng
                    .choice(&[&b"ustar  \0"[..], b"ustar\x0000", b"\0\0\0\0\0\0\0\0", b"ustar\x0001"])
                    .unwrap();
                block[257..265].copy_from_slice(magic);
                fix(&mut block[..512]);
            }
            6 => {
                block[345..350]
                    .copy_from_slice(*rng.choice(&[b"pre\0x", b"a/b\0\0", b"../..", b"s\0\0\0\0"]).unwrap());
                fix(&mut block[..512]);
            }
            7 => {
                let last = block.len() - 1;
                block[last] ^= rng.u8(..);
            }
            8 => {
                let cut = rng.usize(..=block.len() / 512) * 512;
                block.truncate(cut.max(512));
            }
            _ => {
                let again = parts[at].clone();
                parts.push(again);
            }
        }
    }
    let mut tar = parts.concat();
    match rng.u8(0..12) {
        0 => {}
        1 => tar.extend_from_slice(&[0; 512]),
        2 => tar.extend_from_slice(&[0; 600]),
        3 => tar.extend_from_slice(&[END.to_vec(), file(OTHER, b"hidden")].concat()),
        4 => tar.extend_from_slice(&[0; 10_240]),
        _ => tar.extend_from_slice(&END),
    }
    tar
}

const PAX: &[(&str, &str)] = &[
    ("path", NAME),
    ("path", "../../evil"),
    ("path", "t/ok/tokio-9.0.0.crate"),
    ("size", "3"),
    ("size", "0"),
    ("linkpath", "/etc/passwd"),
    ("mtime", "12.5"),
    ("comment", "x"),
    ("GNU.sparse.size", "10"),
    ("uid", "77"),
    ("hdrcharset", "BINARY"),
];

/// Returns a line for each member, then one for all of their bytes; `None` when the archive is refused.
fn our_reading(bundle: &std::path::Path) -> Option<String> {
    let reader = BundleReader::open(bundle, BundleLimits::default()).unwrap();
    let (mut text, mut all) = (String::new(), sha2::Sha256::new());
    let read = reader.stream(&mut |member| {
        let _ = writeln!(text, "{} {}", member.path(), member.size());
        all.update(member.read_all()?);
        Ok::<_, Box<dyn std::error::Error>>(())
    });
    let _ = writeln!(text, "{}", hex(&all.finalize()));
    read.is_ok().then_some(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const PYTHON: &str = r#"
import hashlib, sys, tarfile
for number in sys.stdin.read().split():
    lines, total = [], hashlib.sha256()
    try:
        with tarfile.open(number + ".tar", errorlevel=2) as tar:
            for member in tar:
                if hasattr(tarfile, "data_filter"):
                    tarfile.data_filter(member, "/out")
                data = tar.extractfile(member).read() if member.isreg() else b"?"
                total.update(data)
                lines.append("%s %d" % (member.name, member.size) if member.isreg() else "irregular")
        print("== " + number, *lines, total.hexdigest(), sep="\n")
    except Exception as error:
        print("== " + number, "refused", sep="\n")
"#;

const GNU: &str = r#"
for n in $(cat accepted); do
    echo "== $n"
    LC_ALL=C tar --numeric-owner -tvf $n.tar 2>&1 | awk '{ if ($1 ~ /^-/ && NF == 6) print $6, $3; else print "odd", $0 }'
    tar -xOf $n.tar | sha256sum | cut -d' ' -f1
done
"#;

#[test]
fn what_we_accept_of_5_000_archives_gnu_tar_and_python_read_alike() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(42);
    let (mut expected, mut accepted) = (String::new(), String::new());
    let mut count = 0;
    for number in 0..5_000 {
        let tar = generated(&mut rng);
        let bundle = dir.path().join("b.tar.zst");
        fs::write(&bundle, zstd::bulk::compress(&tar, 1).unwrap()).unwrap();
        if let Some(text) = our_reading(&bundle) {
            fs::write(dir.path().join(format!("{number}.tar")), &tar).unwrap();
            let _ = write!(expected, "== {number}\n{text}");
            let _ = writeln!(accepted, "{number}");
            count += 1;
        }
    }
    assert!((800..4_000).contains(&count), "{count} of 5,000 were accepted: too one-sided to tell anything");
    fs::write(dir.path().join("accepted"), accepted).unwrap();
    fs::write(dir.path().join("read.py"), PYTHON).unwrap();
    for (script, who) in [("python3 read.py < accepted", "Python"), (GNU, "GNU tar")] {
        let theirs = shell(script, dir.path()).expect(0).stdout;
        for (ours, theirs) in expected.split("== ").zip(theirs.split("== ")) {
            assert_eq!(ours, theirs, "{who}");
        }
        assert_eq!(expected.len(), theirs.len(), "{who}");
    }
}
