//! The answers of the server, header by header.

use std::io::Read as _;

use mirror_sync::{Layout, Storage};
use mirror_testkit::check_metrics;

use crate::client::{ask, get};
use crate::world::{MOST, World, add, registry};

#[test]
fn index_files_are_byte_for_byte_and_answered_under_conditions() {
    let mut registry = registry();
    for n in 0..40 {
        add(&mut registry, "many", &format!("1.{n}.0"), &[]);
    }
    let world = World::new(registry);
    world.sync();
    let server = world.serve(&[]);
    for (path, text) in world.registry.index_files() {
        for root in ["", "/index"] {
            let got = get(&server.base, &format!("{root}/{path}"));
            assert_eq!((got.status, got.body.as_ref()), (200, text.as_slice()), "{path}");
        }
    }
    let got = get(&server.base, "/index/ma/ny/many");
    let tag = got.header("etag").to_owned();
    assert!(tag.starts_with('"') && got.header("accept-ranges") == "bytes");
    let not = |name: &str, value: &str| ask(&server.base, None, "GET", "/ma/ny/many", &[(name, value)]);
    let same = not("if-none-match", &tag);
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, tag.as_str()));
    assert_eq!(not("if-none-match", "\"x\"").status, 200);

    let packed = not("accept-encoding", "gzip, br");
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() < got.body.len() / 4);
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(packed.body.as_ref()).read_to_end(&mut plain).unwrap();
    assert_eq!(plain, got.body);
    assert_ne!(packed.header("etag"), tag);
    assert_eq!(not("if-none-match", packed.header("etag")).status, 304);
    assert_eq!(packed.header("vary"), "accept-encoding");

    // A date is sent once the clock has moved past it.
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    let date = get(&server.base, "/ma/ny/many").header("last-modified").to_owned();
    assert_eq!(not("if-modified-since", &date).status, 304);
    assert_eq!(not("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT").status, 200);
    let part = not("range", "bytes=5-9");
    assert_eq!((part.status, part.body.as_ref()), (206, &got.body[5..10]));

    assert_eq!(get(&server.base, "/index/no/su/nosuch").status, 404);
    assert_eq!(get(&server.base, "/index/2/zz").status, 404);
    let head = ask(&server.base, None, "HEAD", "/index/ma/ny/many", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), got.body.len().to_string());
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
        let refused = ask(&server.base, None, method, "/index/ma/ny/many", &[]);
        assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"), "{method}");
    }
}

#[test]
fn releases_come_from_everywhere_with_all_their_headers() {
    for (layout, storage, seal) in [
        (Layout::Shard, Storage::Loose, false),
        (Layout::Cargo, Storage::Loose, false),
        (Layout::Shard, Storage::Bundle, false),
        (Layout::Shard, Storage::Bundle, true),
        (Layout::Cargo, Storage::Both, false),
    ] {
        let mut registry = registry();
        registry.add("large", "1.0.0", &vec![7; 3 << 20]);
        registry.add("larger", "1.0.0", &b"0123456789abcdef".repeat(700_000));
        let world = World::with(registry, layout, storage);
        world.sync_with(|options| options.bundle_seal = seal);
        let server = world.serve(&[]);
        for release in world.registry.releases() {
            let got = get(&server.base, &release.url_path());
            assert_eq!((got.status, got.body.len()), (200, release.body.len()), "{}", release.id);
            assert_eq!(got.body, release.body);
            assert_eq!(got.header("etag"), format!("\"{}\"", release.cksum));
            assert_eq!(got.header("content-length"), release.body.len().to_string());
            let (name, version) = (&release.id.name, &release.id.version);
            let own = get(&server.base, &format!("/api/v1/crates/{name}/{version}/download"));
            assert_eq!(own.body, release.body);
            let ask = |method: &str, header: (&str, &str)| {
                ask(&server.base, None, method, &release.url_path(), &[header])
            };
            assert_eq!(ask("GET", ("if-none-match", got.header("etag"))).status, 304);
            assert_eq!(ask("GET", ("if-modified-since", got.header("last-modified"))).status, 304);
            let head = ask("HEAD", ("range", "bytes=1000000000-"));
            assert_eq!(head.status, 416);
            let head = ask("HEAD", ("x", "y"));
            assert_eq!((head.status, head.body.len()), (200, 0));
            assert_eq!(head.header("content-length"), release.body.len().to_string());
            let middle = release.body.len() / 2;
            let part = ask("GET", ("range", &format!("bytes={middle}-")));
            assert_eq!((part.status, part.body.as_ref()), (206, &release.body[middle..]), "{}", release.id);
            let len = release.body.len();
            assert_eq!(part.header("content-range"), format!("bytes {middle}-{}/{len}", len - 1));
            let part = ask("GET", ("range", "bytes=10-20"));
            assert_eq!((part.status, part.body.as_ref()), (206, &release.body[10..21]));
            let all = ask("GET", ("range", "bytes=0-1,3-4"));
            assert_eq!((all.status, all.body.len()), (200, len));
        }
        assert_eq!(get(&server.base, "/crates/a/a-9.9.9.crate").status, 404);
        assert_eq!(get(&server.base, "/crates/A/A-1.0.0.crate").status, 404);
        let (code, _) = server.stop();
        assert_eq!(code, Some(0));
    }
}

#[test]
fn only_what_is_there_is_listed() {
    let world = World::new(registry());
    world.sync_with(|options| options.include_yanked = false);
    // Files that were not mirrored, and one that was removed by hand.
    std::fs::remove_file(world.path("out/2/ab-1.2.0.crate")).ok();
    std::fs::remove_file(world.path("out/ab/ab-1.2.0.crate")).unwrap();
    let server = world.serve(&[]);
    let listed = get(&server.base, "/index/wi/th/with-dash").text();
    assert_eq!(listed.lines().count(), 2);
    assert!(!listed.contains("0.2.0\""));
    assert_eq!(get(&server.base, "/index/2/ab").status, 404);
    assert_eq!(get(&server.base, "/crates/ab/ab-1.2.0.crate").status, 404);
    assert_eq!(get(&server.base, "/index/1/a").status, 200);
    // Bytes of another length are not those that the catalogue lists.
    std::fs::write(world.path("out/a/a-1.0.0.crate"), b"other").unwrap();
    assert_eq!(get(&server.base, "/crates/a/a-1.0.0.crate").status, 404);
    assert_eq!(get(&server.base, "/index/1/a").status, 404, "and it is not listed any more");
}

/// Scrapes a server until it has counted what it holds: a scrape does not wait long for that.
fn scraped_metrics(base: &str) -> String {
    let began = std::time::Instant::now();
    loop {
        let metrics = get(base, "/metrics").text();
        if metrics.contains("crates_serve_held_releases") {
            return metrics;
        }
        assert!(began.elapsed() < MOST, "{metrics}");
    }
}

#[test]
fn the_configuration_is_for_the_host_that_was_asked() {
    let world = World::new(registry());
    world.sync();
    let server = world.serve(&[]);
    let dl = |host: &str| {
        let got = ask(&server.base, None, "GET", "/index/config.json", &[("host", host)]);
        let config: serde_json::Value = serde_json::from_slice(&got.body).unwrap_or_default();
        (got.status, config["dl"].as_str().unwrap_or_default().to_owned())
    };
    let template = "/crates/{crate}/{crate}-{version}.crate";
    assert_eq!(dl("mirror.lan:81"), (200, format!("http://mirror.lan:81{template}")));
    assert_eq!(dl("[::1]:81"), (200, format!("http://[::1]:81{template}")));
    for bad in ["a\"b", "a b", "a/b", "a@b", "<x>", ""] {
        assert_eq!(dl(bad).0, 400, "{bad}");
    }
    let page = get(&server.base, "/setup").text();
    assert!(page.contains(&format!("sparse+{}/index/", server.base)) && page.contains("just now"), "{page}");
    assert!(page.contains("<dd>8</dd>"), "{page}");
    let metrics = get(&server.base, "/metrics").text();
    assert!(metrics.contains("crates_serve_requests_total{kind=\"index\",status=\"4xx\"} 6"), "{metrics}");
    assert!(metrics.contains("crates_serve_held_releases 8"), "{metrics}");
    check_metrics(&metrics);
    assert_eq!(get(&server.base, "/healthz").text(), "ok\n");

    // Also where nobody has looked at a page: what Prometheus scrapes is counted for it.
    let scraped = world.serve(&[]);
    let metrics = scraped_metrics(&scraped.base);
    let value = |name: &str| {
        let found = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{name} is not in\n{metrics}")).parse::<f64>().unwrap()
    };
    assert!(value("crates_mirror_disk_free_bytes") <= value("crates_mirror_disk_size_bytes"));
    assert_eq!(
        value("crates_mirror_stored_bytes{place=\"loose\"}"),
        value("crates_serve_held_bytes"),
        "all of it is in loose files"
    );
    assert_eq!(value("crates_mirror_bundles{state=\"sealed\"}"), 0.0);
    let (ran, succeeded) =
        ("crates_mirror_last_run_timestamp_seconds", "crates_mirror_last_success_timestamp_seconds");
    assert!(value(ran) > 1.7e9 && (value(succeeded) - value(ran)).abs() < 100.0, "{metrics}");
    check_metrics(&metrics);

    let behind = world.serve(&["--public-url", "https://crates.example.org/x/"]);
    let config = get(&behind.base, "/config.json").text();
    assert!(config.contains(&format!("\"https://crates.example.org/x{template}\"")), "{config}");
}

#[test]
fn over_tls_by_http_2() {
    let world = World::new(registry());
    world.sync();
    let args = world.tls_args();
    let server = world.serve(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(server.base.starts_with("https://"));
    let got = ask(&server.base, Some(world.origin.ca()), "GET", "/index/wi/th/with-dash", &[]);
    assert_eq!((got.status, got.version), (200, http::Version::HTTP_2));
    assert_eq!(got.body.as_ref(), world.registry.index_files()["wi/th/with-dash"]);
    let config = ask(&server.base, Some(world.origin.ca()), "GET", "/config.json", &[]).text();
    assert!(config.contains(&format!("{}/crates/", server.base)), "{config}");
    let release = world.registry.releases().next().unwrap();
    let head = ask(&server.base, Some(world.origin.ca()), "HEAD", &release.url_path(), &[]);
    assert_eq!(head.header("content-length"), release.body.len().to_string());
}

#[test]
fn search_finds_what_is_held() {
    let world = World::new(registry());
    world.sync();
    let server = world.serve(&[]);
    let search = |query: &str| -> serde_json::Value {
        serde_json::from_slice(&get(&server.base, &format!("/api/v1/crates?{query}")).body).unwrap()
    };
    let found = search("q=with_DASH&per_page=5");
    assert_eq!(found["meta"]["total"], 1);
    assert_eq!(found["crates"][0]["name"], "with-dash");
    assert_eq!(found["crates"][0]["max_version"], "0.1.1", "yanked releases are not the newest");
    assert_eq!(search("q=a&per_page=2")["crates"].as_array().unwrap().len(), 2);
    assert_eq!(search("q=a&per_page=2")["crates"][0]["name"], "a");
    assert_eq!(search("q=%27%22%25&per_page=2")["meta"]["total"], 0);
    assert_eq!(search("")["meta"]["total"], 6, "of all");
}

/// Files from other machines may have any times.
#[test]
fn a_file_whose_time_no_header_can_have_is_served_without_one() {
    use std::time::{Duration, SystemTime};
    let mut registry = registry();
    add(&mut registry, "timely", "1.0.0", &[]);
    let world = World::new(registry);
    world.sync();
    let server = world.serve(&[]);
    let id: mirror_sync::ReleaseId = world.registry.crates["timely"][0].id.clone();
    let path = world.path("out").join(Layout::Shard.path(&id));
    let day = Duration::from_secs(86_400);
    for time in
        [SystemTime::UNIX_EPOCH - 400 * day, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + 170_000 * day]
    {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        for asked in ["/crates/timely/1.0.0/download", "/crates/timely/timely-1.0.0.crate"] {
            let got = get(&server.base, asked);
            let conditions = [("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")];
            assert!([200, 404].contains(&got.status), "{time:?}: {}", got.status);
            let _ = ask(&server.base, None, "GET", asked, &conditions);
        }
        let body = get(&server.base, "/crates/timely/1.0.0/download");
        assert_eq!(
            (body.status, body.body.as_ref()),
            (200, &world.registry.crates["timely"][0].body[..]),
            "{time:?}"
        );
    }
}

#[test]
fn refusals_say_why_in_the_form_that_is_asked_for() {
    let mut world = World::new(registry());
    world.sync();
    let gone = world.registry.crates.get_mut("with-dash").unwrap().remove(0);
    world.sync();
    let server = world.serve(&[]);
    let deleted = get(&server.base, &gone.url_path());
    let text = "with-dash 0.1.0 was deleted upstream; this mirror does not offer it";
    assert_eq!((deleted.status, deleted.text()), (404, format!("{text}\n")));
    assert_eq!(deleted.header("content-type"), "text/plain; charset=utf-8");
    let missing = get(&server.base, "/crates/with-dash/with-dash-9.0.0.crate");
    assert_eq!((missing.status, missing.text().contains("deleted")), (404, false));
    for (method, path, status, detail) in [
        ("GET", "/api/v1/crates/with-dash/0.1.0/download", 404, text),
        ("GET", "/api/v1/crates/nosuch/owners", 404, "there is nothing here"),
        ("GET", "/api/v1/me", 404, "there is nothing here"),
        ("PUT", "/api/v1/crates/new", 405, "only GET and HEAD are answered"),
    ] {
        let got = ask(&server.base, None, method, path, &[]);
        assert_eq!((got.status, got.header("content-type")), (status, "application/json"), "{path}");
        let said: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!(said, serde_json::json!({"errors": [{"detail": detail}]}), "{path}");
    }
}

#[test]
fn the_console_is_there_under_names_that_are_allowed_and_the_registry_under_all() {
    let world = World::new(registry());
    world.sync();
    let server = world.serve(&["--allow-host", "mirror.lan", "--public-url", "https://crates.example.org"]);
    let status = |path: &str, host: &str| ask(&server.base, None, "GET", path, &[("host", host)]);
    for host in ["localhost:1", "mirror.lan:81", "crates.example.org"] {
        assert_eq!(status("/api/status", host).status, 200, "{host}");
    }
    let views = ["status", "events", "runs", "storage", "failures", "browse?q=a", "crate?name=a"];
    for path in views.map(|view| format!("/api/{view}")) {
        let refused = status(&path, "attacker.test");
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.text().contains("attacker.test is not a name of this server"), "{}", refused.text());
    }
    assert_eq!(status("/config.json", "attacker.test").status, 200, "Cargo asks under any name");
    assert_eq!(status("/api/v1/crates?q=a", "attacker.test").status, 200);
    // The page has no data, so that it can say what is wrong.
    let page = status("/", "attacker.test");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    let foreign = ask(&server.base, None, "GET", "/api/status", &[("origin", "http://attacker.test")]);
    assert_eq!(foreign.status, 403);
}
