//! The model and the verifier: what they say, beside what the training's own program says, and what they refuse.
#![expect(
    clippy::expect_used,
    reason = "helpers of tests, outside of test functions"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sparkle_embed::{Bundled, OpenError, ReadError, Verifier, VerifyError};

/// What rounding the reference to four digits and adding in another order may do.
const LOGIT_TOLERANCE: f32 = 0.001;

static MODEL: LazyLock<Bundled> =
    LazyLock::new(|| Bundled::open(&weights()).expect("the bundled model"));
static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::open(&weights()).expect("the verifier"));

fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("weights")
}

#[derive(Deserialize)]
struct TestVectors {
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    a: String,
    b: String,
    z: f32,
}

#[test]
fn the_weights_are_those_that_the_readme_names() {
    let readme = fs::read_to_string(weights().join("README.md")).unwrap();
    let sums = fs::read_to_string(weights().join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), 4);
    for line in sums.lines() {
        let (sum, file) = line.split_once("  ").unwrap();
        let digest = Sha256::digest(fs::read(weights().join(file)).unwrap());
        let found = format!("{digest:x}");
        assert_eq!(found, sum, "{file}");
        assert!(readme.contains(line), "{file} in README.md");
    }
}

#[test]
fn verdicts_are_those_of_the_training_program() {
    let read = fs::read(weights().join("test_vectors.json")).unwrap();
    let vectors: TestVectors = serde_json::from_slice(&read).unwrap();
    assert!(vectors.pairs.len() >= 20);
    for Pair { a, b, z } in &vectors.pairs {
        let (one, other) = (MODEL.read(a).unwrap(), MODEL.read(b).unwrap());
        let logit = VERIFIER.logit(one.states(), other.states()).unwrap();
        assert!(
            (logit - z).abs() < LOGIT_TOLERANCE,
            "{a} / {b}: {logit} instead of {z}"
        );
    }
}

#[test]
fn near_questions_are_nearer_than_others() {
    let vector = |text| MODEL.read(text).unwrap().vector().clone();
    let question = vector("为什么天空是蓝色的？");
    let near = question
        .similarity(&vector("天空为什么会呈现蓝色？"))
        .unwrap();
    let far = question
        .similarity(&vector("怎么用Python读取文件"))
        .unwrap();
    assert!(near > 0.9 && far < 0.5, "{near} {far}");
    assert!(
        question
            .similarity(&vector("Why is the sky blue?"))
            .unwrap()
            > far
    );
}

#[test]
fn what_has_no_text_is_blank() {
    for blank in ["", " ", "\n\t", "\u{3000}", "\u{1}\u{2}", "\u{200b}"] {
        assert_eq!(
            MODEL.read(blank).unwrap_err(),
            ReadError::Blank,
            "{blank:?}"
        );
    }
}

#[test]
fn a_text_is_read_whole_or_not_at_all() {
    // Each word is a token; five are put around it.
    assert!(MODEL.read(&"word ".repeat(507)).is_ok());
    assert_eq!(
        MODEL.read(&"word ".repeat(508)).unwrap_err(),
        ReadError::TooLong
    );
    for long in [
        "水".repeat(10_000),
        "a".repeat(32 * 1024),
        "e\u{301}".repeat(8 * 1024),
        " a".repeat(1 << 20),
    ] {
        assert_eq!(MODEL.read(&long).unwrap_err(), ReadError::TooLong);
    }
}

#[test]
fn a_question_longer_than_those_learned_is_not_judged() {
    let reading = |words: usize| MODEL.read(&"word ".repeat(words)).unwrap();
    let (short, longest, long) = (reading(1), reading(59), reading(60));
    assert!(VERIFIER.logit(short.states(), longest.states()).is_ok());
    let refused = Err(VerifyError::TooLong { tokens: 65 });
    assert_eq!(VERIFIER.logit(short.states(), long.states()), refused);
    assert_eq!(VERIFIER.logit(long.states(), short.states()), refused);
}

#[test]
fn special_tokens_in_a_text_do_not_end_it() {
    let (plain, marked) = (MODEL.read("a b").unwrap(), MODEL.read("a </s> b").unwrap());
    assert!(plain.vector() != marked.vector());
}

#[test]
fn odd_texts_are_read() {
    for odd in [
        "👩‍👩‍👧‍👦",
        "\u{301}",
        "e\u{301}\u{302}\u{303}",
        "한국어",
        "\u{feff}?",
        "▁",
        "\u{10ffff}",
        "\u{1f1e9}\u{1f1ea}",
    ] {
        let read = MODEL.read(odd);
        assert!(
            matches!(read, Ok(_) | Err(ReadError::Blank | ReadError::Unknown)),
            "{odd:?}: {read:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_two_texts_are_judged_the_same_in_either_order(a in ".{1,24}", b in ".{1,24}") {
        if let (Ok(a), Ok(b)) = (MODEL.read(&a), MODEL.read(&b)) {
            let logit = VERIFIER.logit(a.states(), b.states()).unwrap();
            prop_assert!(logit.is_finite());
            prop_assert_eq!(logit.to_bits(), VERIFIER.logit(b.states(), a.states()).unwrap().to_bits());
        }
    }
}

/// A folder of this name with links to the weights, but for one file.
fn folder_with(name: &str, file: &str, bytes: Option<&[u8]>) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _was_there = fs::remove_dir_all(&folder).is_ok();
    fs::create_dir_all(&folder).expect("a folder");
    for each in [
        "model.gguf",
        "tokenizer.json",
        "mean.f32",
        "verifier.gguf",
        "SHA256SUMS",
    ] {
        if each != file {
            fs::hard_link(weights().join(each), folder.join(each))
                .or_else(|_other_disk| fs::copy(weights().join(each), folder.join(each)).map(drop))
                .expect("a link");
        } else if let Some(bytes) = bytes {
            fs::write(folder.join(each), bytes).expect("a file");
        }
    }
    folder
}

#[test]
fn a_folder_that_lacks_a_file_or_has_a_damaged_one_is_refused_by_the_files_name() {
    let verifier = fs::read(weights().join("verifier.gguf")).unwrap();
    let damaged: [(&str, &[u8]); 8] = [
        ("model.gguf", &verifier),
        ("model.gguf", b"GGUF\x03\0\0\0"),
        ("model.gguf", b""),
        ("tokenizer.json", b"{}"),
        ("mean.f32", b"\0\0\x80\x3f"),
        ("SHA256SUMS", b"0  other"),
        ("verifier.gguf", &verifier[..100_000]),
        (
            "verifier.gguf",
            b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
    ];
    let open = |folder: &Path| {
        Bundled::open(folder)
            .map(drop)
            .and_then(|()| Verifier::open(folder).map(drop))
    };
    for (number, (name, bytes)) in damaged.into_iter().enumerate() {
        let error = open(&folder_with(
            &format!("damaged-{number}"),
            name,
            Some(bytes),
        ))
        .unwrap_err();
        assert!(
            matches!(&error, OpenError::Damaged { file, .. } if file == name),
            "{name}: {error}"
        );
    }
    for name in [
        "model.gguf",
        "tokenizer.json",
        "mean.f32",
        "SHA256SUMS",
        "verifier.gguf",
    ] {
        let error = open(&folder_with(&format!("without-{name}"), name, None)).unwrap_err();
        assert!(
            matches!(&error, OpenError::Unreadable { path, .. } if path.ends_with(name)),
            "{error}"
        );
    }
}
