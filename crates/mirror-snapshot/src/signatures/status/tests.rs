use super::*;

const KEY: &str = "52E66A8AF26508C7C45F61073E49FC016AB1A618";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn lines(lines: &[&str]) -> String {
    let lines = lines.iter().map(|line| format!("[GNUPG:] {line}\n"));
    lines.collect::<String>().replace("FPR", KEY)
}

fn one(given: &[&str]) -> Result<Checked, String> {
    let all = [&["NEWSIG"], given].concat();
    let results = read(&lines(&all), "OpenPGP signature 1", at(1_800_000_000));
    results.map(|mut results| results.remove(0)).map_err(|error| error.to_string())
}

const GOOD: &str = "GOODSIG 3E49FC016AB1A618 A \u{1b} <a@example.org>";
const VALID: &str = "VALIDSIG FPR 2026-11-27 1795777890 0 4 0 22 8 00 FPR";

#[test]
fn only_a_signature_that_is_good_and_valid_counts() {
    let signer = Signer { key: KeyId::OpenPgp(KEY.to_owned()), name: "A \\u{1b} <a@example.org>".to_owned() };
    assert_eq!(one(&["KEY_CONSIDERED FPR 0", GOOD, VALID, "TRUST_UNDEFINED 0 tofu"]), Ok(Ok(signer)));
    let not_valid = "the OpenPGP signature 1 is bad: gpg did not report that it is valid";
    let not_good = "the OpenPGP signature 1 is bad: gpg did not report that it is good";
    let table: [(&[&str], &str); 12] = [
        (&[], not_valid),
        (&[GOOD], not_valid),
        (&[GOOD, VALID, VALID], not_valid),
        (&[GOOD, "VALIDSIG FPR 2026-11-27 1795777890 0 4 0 22 8 00"], not_valid),
        (&[GOOD, "VALIDSIG FPR 2026-11-27 20261127T000000 0 4 0 22 8 00 FPR"], not_valid),
        (&[VALID], not_good),
        (&[GOOD, GOOD, VALID], not_good),
        (&["GOODSIG 0000000000000000 B", VALID], not_good),
        (&["GOODSIG  B", VALID], not_good),
        (&["GOODSIG", VALID], not_good),
        (
            &[GOOD, "VALIDSIG FPR 2026-11-27 1795777890 0 4 0 22 8 01 FPR"],
            "the OpenPGP signature 1 is bad: it is not over the document as it is",
        ),
        (
            &[GOOD, "VALIDSIG FPR 2026-11-27 1795777890 0 4 0 22 2 00 FPR"],
            "the OpenPGP signature 1 is bad: it was made with a broken hash",
        ),
    ];
    for (given, message) in table {
        assert_eq!(one(given).expect_err(message), message, "{given:?}");
    }
}

#[test]
fn bad_signatures_and_unexpected_output_are_refused() {
    let bad = "the OpenPGP signature 1 is bad: its key did not make it over these bytes";
    assert_eq!(one(&[GOOD, VALID, "BADSIG 3E49FC016AB1A618 A"]), Err(bad.to_owned()));
    for text in ["", "[GNUPG:] NODATA 4\n", "[GNUPG:] GOODSIG 3E49FC016AB1A618 A\n"] {
        let error = read(text, "OpenPGP signature 1", at(0)).expect_err("refused").to_string();
        assert_eq!(error, "the OpenPGP signature 1 is bad: it is not an OpenPGP signature");
    }
    let injected = lines(&["NEWSIG", GOOD, VALID]) + "something else\n";
    let error = read(&injected, "OpenPGP signature 1", at(0)).expect_err("refused").to_string();
    assert_eq!(error, "the OpenPGP signature 1 is bad: gpg printed something else than status lines");
}

#[test]
fn a_good_signature_by_a_key_that_does_not_count_is_passed_over() {
    let expired = "VALIDSIG FPR 2026-11-27 1795777890 1795777900 4 0 22 8 00 FPR";
    let outside = |after, before| Reason::OutsideValidity { after, before };
    let error = |code: &str| format!("ERRSIG 3E49FC016AB1A618 22 8 00 1795777890 {code} {KEY}");
    let (missing, unknown, future) = (error("9"), error("4"), error("6"));
    let table: [(&[&str], Reason); 8] = [
        (&["REVKEYSIG 3E49FC016AB1A618 A", VALID], Reason::Revoked),
        (&["KEYREVOKED", GOOD, VALID], Reason::Revoked),
        (&["EXPKEYSIG 3E49FC016AB1A618 A", VALID], outside(None, None)),
        (&["EXPSIG 3E49FC016AB1A618 A", expired], outside(None, Some(at(1_795_777_900)))),
        (
            &[GOOD, "VALIDSIG FPR 2027-11-27 1900000000 0 4 0 22 8 00 FPR"],
            outside(Some(at(1_900_000_000)), None),
        ),
        (&[&missing, "NO_PUBKEY 3E49FC016AB1A618"], Reason::Unknown),
        (&[&unknown], Reason::Unsupported),
        (&[&future], outside(None, None)),
    ];
    for (given, reason) in table {
        let passed_over = PassedOver { key: KeyId::OpenPgp(KEY.to_owned()), reason };
        assert_eq!(one(given), Ok(Err(passed_over)), "{given:?}");
    }
    assert!(one(&["ERRSIG 3E49FC016AB1A618 22 8 00 1795777890 1 -"]).is_err());
    let short = one(&["ERRSIG 3E49FC016AB1A618 22 8 00 1795777890 9 -"]).expect("a result");
    assert_eq!(short.expect_err("unknown").key, KeyId::OpenPgp("3E49FC016AB1A618".to_owned()));
}

#[test]
fn each_signature_of_a_file_is_judged_by_itself() {
    let other = "52E66A8AF26508C7C45F61073E49FC016AB1A619";
    let text = lines(&[
        "KEYEXPIRED 1",
        "NEWSIG",
        GOOD,
        VALID,
        "NEWSIG",
        &format!("ERRSIG 3E49FC016AB1A619 22 8 00 1795777890 9 {other}"),
        "NO_PUBKEY 3E49FC016AB1A619",
    ]);
    let results = read(&text, "x", at(1_800_000_000)).expect("results");
    assert_eq!(results.len(), 2);
    assert!(results[0].is_ok());
    assert_eq!(results[1].as_ref().expect_err("unknown").key, KeyId::OpenPgp(other.to_owned()));
}
