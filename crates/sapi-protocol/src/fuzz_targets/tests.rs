//! Runs the committed corpus of the fuzz targets, with small changes to each input, without a fuzzer.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let inputs: Vec<_> = entries.map(|path| std::fs::read(path).unwrap()).collect();
    assert!(inputs.len() >= 5, "the corpus of {target} is not there");
    inputs
}

/// Every input, every one cut short, and every one with each byte taken out.
fn run(target: &str, body: fn(&[u8])) {
    for input in corpus(target) {
        body(&input);
        for at in 0..input.len().min(400) {
            body(&input[..at]);
            body(&[&input[..at], &input[at + 1..]].concat());
        }
    }
}

#[test]
fn framing_holds_for_the_corpus() {
    run("framing", framing);
}

#[test]
fn subscribe_path_holds_for_the_corpus() {
    run("subscribe_path", subscribe_path);
}

proptest! {
    #[test]
    fn framing_holds_for_pieces_of_the_corpus(cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_usize..40), 1..12)) {
        let all = corpus("framing");
        let pieces = cuts.iter().map(|(input, from, length)| {
            let input = input.get(&all);
            let from = from.index(input.len());
            &input[from..input.len().min(from + length)]
        });
        framing(&pieces.collect::<Vec<_>>().concat());
    }
}
