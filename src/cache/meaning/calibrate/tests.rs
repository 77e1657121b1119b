//! Pairs that are read, and thresholds that are proposed.

use super::*;
use crate::cache::meaning::agreement::agree;

/// Labelled pairs, and their similarities by multilingual-e5-small (see `tests/data/similarities.py`).
const PAIRS: [&str; 2] = [
    include_str!("../../../../tests/data/question_pairs.jsonl"),
    include_str!("../../../../tests/data/question_pairs.e5.txt"),
];
/// The same for pairs that were written after the rules of `agreement` were fixed.
const UNSEEN: [&str; 2] = [
    include_str!("../../../../tests/data/question_pairs_unseen.jsonl"),
    include_str!("../../../../tests/data/question_pairs_unseen.e5.txt"),
];

/// Pairs as they are measured, each with a hash by which they can be split.
fn measured([pairs, similarities]: [&str; 2]) -> Vec<(u32, Measured)> {
    let pairs = read_pairs(pairs.as_bytes()).unwrap();
    let similarities: Vec<f32> = similarities
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(pairs.len(), similarities.len());
    let measured = pairs.iter().zip(similarities).map(|(pair, similarity)| {
        let hash = crc32fast::hash(format!("{}\n{}", pair.a, pair.b).as_bytes());
        let agrees = agree(&pair.a, &pair.b);
        let same = pair.same;
        (
            hash,
            Measured {
                similarity,
                agrees,
                same,
            },
        )
    });
    measured.collect()
}

#[test]
fn a_threshold_of_a_real_model_holds_for_pairs_that_it_was_not_found_with() {
    let all = measured(PAIRS);
    let half = |odd: u32| -> Vec<Measured> {
        let half = all.iter().filter(|(hash, _)| hash % 2 == odd);
        half.map(|(_, pair)| *pair).collect()
    };
    let whole: Vec<Measured> = all.iter().map(|(_, pair)| *pair).collect();
    let unseen: Vec<Measured> = measured(UNSEEN).into_iter().map(|(_, pair)| pair).collect();
    for (from, to) in [(half(0), half(1)), (half(1), half(0)), (whole, unseen)] {
        let found = propose(&from, WANTED_PRECISION).unwrap();
        let held = count(&to, found.threshold);
        assert!(
            found.counts.precision() >= Some(WANTED_PRECISION),
            "{found}"
        );
        assert!(
            held.precision() >= Some(WANTED_PRECISION),
            "{found}: {held}"
        );
        assert!(held.recall() >= Some(0.3), "{found}: {held}");
    }
}

#[test]
fn without_the_comparison_of_texts_no_threshold_of_a_real_model_is_good() {
    let pairs = measured(PAIRS).into_iter().map(|(_, pair)| Measured {
        agrees: true,
        ..pair
    });
    let pairs: Vec<Measured> = pairs.collect();
    let best = match propose(&pairs, WANTED_PRECISION) {
        Err(CalibrationError::Unreachable(best)) => best.and_then(|best| best.counts.precision()),
        _ => None,
    };
    assert!(best.is_some_and(|precision| precision < 0.6), "{best:?}");
}

fn pair(similarity: f32, agrees: bool, same: bool) -> Measured {
    Measured {
        similarity,
        agrees,
        same,
    }
}

#[test]
fn pairs_are_read_and_mistakes_name_their_line() {
    let text = "{\"a\":\"x\",\"b\":\"y\",\"same\":true}\n\n {\"same\":false,\"b\":\"\u{e9}\",\"a\":\"z\"}\r\n";
    let pairs = read_pairs(text.as_bytes()).unwrap();
    assert_eq!(pairs.len(), 2);
    assert_eq!(
        (&*pairs[1].a, &*pairs[1].b, pairs[1].same),
        ("z", "\u{e9}", false)
    );
    for (text, line) in [
        ("{\"a\":\"x\"}", "line 1 "),
        ("\n[]", "line 2 "),
        ("{\"a\":\"x\",\"b\":\"y\",\"same\":1}", "line 1 "),
        ("{\"a\":\"x\",\"b\":\"y\",\"same\":true,\"c\":1}", "line 1 "),
        (
            "\n\n{\"a\":\" \",\"b\":\"y\",\"same\":true}",
            "line 3: one of the texts is blank",
        ),
        ("{\"a\":\"\\ud800\",\"b\":\"y\",\"same\":true}", "line 1 "),
    ] {
        let error = read_pairs(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(line), "{error}");
    }
    assert!(matches!(
        read_pairs(&b"\xff\n"[..]),
        Err(PairsError::Line(1, _))
    ));
}

#[test]
fn lines_and_files_have_a_bound() {
    let line = "{\"a\":\"x\",\"b\":\"y\",\"same\":true}";
    let longest = format!("{line}{}", " ".repeat(MAX_LINE_BYTES - line.len()));
    assert_eq!(read_pairs(longest.as_bytes()).unwrap().len(), 1);
    let longer = format!("\n{longest} ");
    let read = read_pairs(longer.as_bytes());
    assert!(matches!(read, Err(PairsError::TooLong(2))));
    let many = format!("{line}\n").repeat(MAX_PAIRS);
    assert_eq!(read_pairs(many.as_bytes()).unwrap().len(), MAX_PAIRS);
    let more = format!("{many}{line}");
    assert!(matches!(
        read_pairs(more.as_bytes()),
        Err(PairsError::TooMany)
    ));
}

#[test]
fn the_lowest_threshold_with_the_precision_is_proposed() {
    let pairs = [
        pair(0.95, true, true),
        pair(0.90, true, false),
        pair(0.85, true, true),
        pair(0.80, true, true),
        pair(0.75, true, true),
        pair(0.70, true, false),
        pair(0.60, true, true),
    ];
    let exact = propose(&pairs, 1.0).unwrap();
    assert!(exact.threshold > 0.90 && exact.threshold < 0.95);
    assert_eq!(exact.counts, count(&pairs, 0.95));
    // Below the wrong one at 0.90 there are enough right ones again.
    let most = propose(&pairs, 0.8).unwrap();
    assert!(most.threshold > 0.70 && most.threshold < 0.75);
    let counts = Counts {
        right: 4,
        wrong: 1,
        missed: 1,
        refused: 1,
    };
    assert_eq!(most.counts, counts);
    assert_eq!(
        (counts.precision(), counts.recall()),
        (Some(0.8), Some(0.8))
    );
    assert_eq!(
        most.to_string(),
        "threshold 0.7250: precision 0.800 (right 4, wrong 1), recall 0.800 (found 4 of 5), 7 pairs"
    );
}

#[test]
fn a_pair_that_does_not_agree_is_never_a_hit() {
    let pairs = [
        pair(0.99, false, false),
        pair(0.9, true, true),
        pair(0.8, false, true),
    ];
    let found = propose(&pairs, 1.0).unwrap();
    let counts = Counts {
        right: 1,
        wrong: 0,
        missed: 1,
        refused: 1,
    };
    assert_eq!((found.threshold, found.counts), (0.9, counts));
}

#[test]
fn equal_similarities_stay_together() {
    let next = f32::from_bits(0.5_f32.to_bits() + 1);
    let pairs = [
        pair(0.5, true, true),
        pair(0.5, true, false),
        pair(next, true, true),
    ];
    let found = propose(&pairs, 0.9).unwrap();
    assert_eq!((found.threshold, found.counts.right), (next, 1));
}

#[test]
fn what_says_nothing_proposes_nothing() {
    let good = [pair(0.9, true, true), pair(0.1, true, false)];
    for precision in [0.0, -1.0, 1.1, f64::NAN] {
        assert_eq!(propose(&good, precision), Err(CalibrationError::Precision));
    }
    assert_eq!(propose(&[], 0.98), Err(CalibrationError::NoSame));
    assert_eq!(propose(&good[1..], 0.98), Err(CalibrationError::NoSame));
    assert_eq!(
        propose(&good[..1], 0.98),
        Err(CalibrationError::NoDifferent)
    );
    let nan = [pair(f32::NAN, true, true), good[1]];
    assert_eq!(propose(&nan, 0.98), Err(CalibrationError::NotFinite));
    let none_agree = [pair(0.9, false, true), pair(0.1, false, false)];
    assert_eq!(
        propose(&none_agree, 0.98),
        Err(CalibrationError::Unreachable(None))
    );
    let mixed = [
        pair(0.9, true, false),
        pair(0.8, true, true),
        pair(0.7, true, false),
    ];
    // With the pair that is the same, one that is not.
    let threshold = 0.8_f32.midpoint(0.7);
    let counts = count(&mixed, threshold);
    assert_eq!((counts.right, counts.wrong), (1, 1));
    let best = Calibration { threshold, counts };
    assert_eq!(
        propose(&mixed, 0.98),
        Err(CalibrationError::Unreachable(Some(best)))
    );
}
