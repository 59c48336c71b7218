//! Both outputs, from every form of an index.

use mirror_testkit::git;

use crate::world::{World, assert_same, tree};

#[test]
fn every_form_of_an_index_gives_the_same_sidecars() {
    let world = World::new(1, 700);
    world.commit();
    git(world.dir.path(), &["clone", "--quiet", "--bare", "index", "bare.git"]);
    git(&world.path("bare.git"), &["repack", "-a", "-d", "-f", "--quiet", "--depth=50"]);
    world.registry.write_index(&world.path("plain"));
    for yanked in [true, false] {
        let flag = format!("--include-yanked={yanked}");
        let (mut bytes, mut files) = (Vec::new(), Vec::new());
        for index in ["index", "bare.git", "plain"] {
            let lines = format!("{index}.jsonl");
            let run = world.run(&["-index-dir", index, "-output-mode", "jsonl", "-jsonl-out", &lines, &flag]);
            let run = run.expect(0);
            let expected = world.in_order(yanked);
            assert_eq!(run.count("written"), expected.len() as u64);
            assert!(world.lines(&lines) == expected, "{index}");
            bytes.push(std::fs::read(world.path(&lines)).unwrap());

            let out = format!("{index}-{yanked}");
            let run = world.run(&["--index-dir", index, "--out", &out, &flag]).expect(0);
            assert_eq!(run.count("written"), expected.len() as u64);
            assert_same(&world.files(&out), &world.expected(yanked));
            files.push(tree(&world.path(&out)));
        }
        assert!(bytes.windows(2).all(|pair| pair[0] == pair[1]));
        assert!(files.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn files_are_for_people() {
    let mut world = World::new(2, 0);
    world.registry.add("a-foo", "0.1.0+build.1", b"x");
    world.commit();
    world.run(&["--index-dir", "index"]).expect(0);
    let text = std::fs::read_to_string(world.path("out/a-/fo/a-foo-0.1.0+build.1.crate.json")).unwrap();
    let line = world.registry.releases().next().unwrap().cksum;
    let expected = format!(
        "{{\n  \"cksum\": \"{line}\",\n  \"crate_file\": \"a-foo-0.1.0+build.1.crate\",\n  \
         \"crate_path\": \"a-/fo/a-foo-0.1.0+build.1.crate\",\n  \"crate_url\": \
         \"http://h/crates/a-foo/a-foo-0.1.0+build.1.crate\",\n  \"deps\": [],\n  \"features\": {{\n    \"yanked\": \
         []\n  }},\n  \"index_path\": \"a-/fo/a-foo\",\n  \"name\": \"a-foo\",\n  \"vers\": \"0.1.0+build.1\",\n  \
         \"x-unknown\": {{\n    \"n\": 1.50\n  }},\n  \"yanked\": false\n}}\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn the_limit_takes_the_first_records_of_the_index() {
    let world = World::new(3, 300);
    world.commit();
    for yanked in [true, false] {
        let all = world.in_order(yanked);
        for limit in [1, 7, 64, all.len() - 1, all.len(), all.len() + 5] {
            let first = &all[..limit.min(all.len())];
            let (limit, flag) = (limit.to_string(), format!("-include-yanked={yanked}"));
            let common = ["-index-dir", "index", "-limit", &limit, &flag];
            let jsonl = [&common[..], &["-output-mode", "jsonl", "-jsonl-out", "l.jsonl"]].concat();
            assert_eq!(world.run(&jsonl).expect(0).count("written"), first.len() as u64);
            assert_eq!(world.lines("l.jsonl"), first);
            let out = format!("out-{limit}-{yanked}");
            world.run(&[&common[..], &["-out", &out]].concat()).expect(0);
            let wanted = first
                .iter()
                .map(|value| (format!("{}.json", value["crate_path"].as_str().unwrap()), value.clone()));
            assert_same(&world.files(&out), &wanted.collect());
        }
    }
}

#[test]
fn odd_lines_come_through_and_bad_ones_are_reported() {
    let world = World::new(4, 40);
    let plain = world.path("plain");
    world.registry.write_index(&plain);
    let sum = "ab".repeat(32);
    let odd = [
        format!(
            r#"{{ "name" : "oddity", "vers":"1.0.0" ,"cksum":"{sum}","big":123456789012345678901234567890,"f":1.50e+3 }}"#
        ),
        format!(
            r#"{{"n\u0061me":"oddity","vers":"1.0.1","cksum":"{sum}","crate_file":"mine","note":"\u00e9é\"\\"}}"#
        ),
        format!(
            r#"{{"name":"other","name":"oddity","vers":"1.0.2","cksum":"{sum}","deps":[{{"k":1,"k":2}}]}}"#
        ),
        "nonsense".to_owned(),
        format!(r#"{{"name":"oddity","vers":"1.0.3","cksum":"{sum}","deps":[1,,2]}}"#),
        // The last of two lines of one release counts.
        format!(r#"{{"name":"oddity","vers":"1.0.4","cksum":"{sum}","yanked":true}}"#),
        format!(r#"{{"name":"oddity","vers":"../../x","cksum":"{sum}"}}"#),
        format!(r#"{{"name":"../oddity","vers":"1.0.9","cksum":"{sum}"}}"#),
        "[1,2]".to_owned(),
        "  ".to_owned(),
        format!("{{\"name\":\"oddity\",\"vers\":\"1.0.4\",\"cksum\":\"{sum}\"}}\r"),
    ];
    std::fs::create_dir_all(plain.join("od/di")).unwrap();
    std::fs::write(plain.join("od/di/oddity"), odd.join("\n")).unwrap();
    let jsonl =
        ["--index-dir", "plain", "--output-mode", "jsonl", "--jsonl-out", "s.jsonl", "--include-yanked"];
    let run = world.run(&jsonl).expect(3);
    assert_eq!(run.count("bad index lines"), 5, "{}", run.stdout);
    assert!(
        run.stdout.contains("od/di/oddity, line 5: it is no JSON: a value expected at byte"),
        "{}",
        run.stdout
    );
    let text = std::fs::read_to_string(world.path("s.jsonl")).unwrap();
    assert!(text.contains(r#""big":123456789012345678901234567890"#) && text.contains("1.50e+3"), "{text}");
    let lines = world.lines("s.jsonl");
    let odd: Vec<_> = lines.iter().filter(|line| line["name"] == "oddity").collect();
    let versions: Vec<_> = odd.iter().map(|line| line["vers"].as_str().unwrap()).collect();
    assert_eq!(versions, ["1.0.0", "1.0.1", "1.0.2", "1.0.4"]);
    assert_eq!(odd[1]["crate_file"], "oddity-1.0.1.crate");
    assert_eq!(odd[1]["crate_path"], "o/dd/oddity-1.0.1.crate");
    assert_eq!(odd[1]["note"], "éé\"\\");
    assert_eq!(odd[2]["deps"], serde_json::json!([{"k": 2}]));

    let run = world.run(&["--index-dir", "plain", "--include-yanked"]).expect(3);
    assert_eq!(run.count("written"), lines.len() as u64);
    let by_file = lines
        .into_iter()
        .map(|line| (format!("{}.json", line["crate_path"].as_str().unwrap()), line))
        .collect();
    assert_same(&world.files("out"), &by_file);
    // No file was written elsewhere.
    let mut names: Vec<_> =
        std::fs::read_dir(world.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["out", "plain", "s.jsonl"]);
}
