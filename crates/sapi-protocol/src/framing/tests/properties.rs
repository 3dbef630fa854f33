//! What holds for any stream: against the naive splitter, against the pass, and after garbage.

use proptest::prelude::*;

use super::super::scan::{Scan, Scanner};
use super::*;

/// Pieces of a whole, cut at these places.
fn cut<'a>(whole: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for place in places {
        pieces.push(&whole[from..place]);
        from = place;
    }
    pieces.push(&whole[from..]);
    pieces
}

fn between() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "\n",
        "\r\n",
        "  \n",
        "X",
        "\u{feff}",
        "\n\n",
        "<?xml version=\"1.0\"?>",
        "<!-- x -->",
    ])
}

/// Grammar pieces that go together well enough to confuse.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        &b"{"[..],
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b":",
        b",",
        b"1",
        b"-",
        b"tru",
        b"null",
        b"\"a\":",
        b"{\"A\":",
        b"<",
        b">",
        b"<a>",
        b"</a>",
        b"<Interaction>",
        b"<!--",
        b"-->",
        b"<![CDATA[",
        b"]]>",
        b"<?",
        b"?>",
        b"X",
        b"\n",
        b" ",
        b"\xff",
        b"\xef\xbb\xbf",
        b"&",
        b"='",
        b"/",
    ]);
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn cuts_do_not_matter(
        documents in proptest::collection::vec((between(), samples::document()), 0..6),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole: String = documents.iter().map(|(between, document)| format!("{between}{document}")).collect::<Vec<_>>().concat();
        let out = frame(cut(whole.as_bytes(), &cuts));
        let expected: Vec<Out> = documents.into_iter().map(|(_, document)| Out::Good(document)).collect();
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn one_byte_a_message_is_the_same(documents in proptest::collection::vec(samples::document(), 1..3)) {
        let whole = documents.concat();
        let expected: Vec<Out> = documents.into_iter().map(Out::Good).collect();
        prop_assert_eq!(frame(whole.as_bytes().chunks(1)), expected);
    }

    #[test]
    fn good_documents_come_out_after_any_garbage(
        messages in proptest::collection::vec(garbage(), 0..10),
        documents in proptest::collection::vec(samples::json_document(), 2..4),
    ) {
        // Garbage can begin a comment or CDATA that takes in everything behind it, so the last word is the end.
        let all: Vec<&[u8]> = messages.iter().map(Vec::as_slice).chain(documents.iter().map(String::as_bytes)).collect();
        let out = frame(&all);
        let found = goods(&out);
        for document in &documents {
            prop_assert!(found.contains(&document.as_str()), "{:?} is missing in {:?}", document, out);
        }
    }

    #[test]
    fn no_byte_is_lost_or_made_up(messages in proptest::collection::vec(garbage(), 0..10), max in 1_usize..200) {
        let came: usize = messages.iter().map(Vec::len).sum();
        let mut framer = Framer::new(max);
        let mut told = 0;
        for message in messages {
            framer.push(message.into());
            while let Some(framed) = framer.next() {
                told += size(&framed);
            }
            prop_assert!(framer.buffered() <= max);
        }
        while let Some(malformed) = framer.finish() {
            told += size(&Framed::Malformed(malformed));
            while let Some(framed) = framer.next() {
                told += size(&framed);
            }
        }
        prop_assert!(told <= came as u64);
    }

    #[test]
    fn the_scanner_agrees_with_the_pass(bytes in garbage(), document in samples::document(), at in any::<prop::sample::Index>(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        // A document with garbage put in somewhere.
        let mut whole = document.into_bytes();
        let at = 1 + at.index(whole.len());
        whole.splice(at..at, bytes);
        let mut scanner = Scanner::of(whole.first());
        let mut fed = 0;
        let mut scan = Scan::Incomplete;
        for piece in cut(&whole, &cuts) {
            scan = scanner.feed(piece);
            if scan != Scan::Incomplete {
                break;
            }
            fed += piece.len();
        }
        let comment = document::misc(&whole, 0);
        let pass = match comment {
            Ok(Some(length)) => Ok(length),
            Ok(None) => document::read(&whole).map(|parsed| parsed.end),
            Err(stop) => Err(stop),
        };
        match (scan, pass) {
            (Scan::Complete(end), Ok(length)) => prop_assert_eq!(fed + end, length),
            (Scan::Incomplete, Err(Stop::Incomplete)) | (Scan::Invalid(_), Err(Stop::Invalid(_))) => {}
            // The pass compares an end tag's name byte by byte, the scanner at its end.
            (Scan::Incomplete, Err(Stop::Invalid(_))) if whole.first() == Some(&b'<') => {}
            other => prop_assert!(false, "{:?} for {:?}", other, String::from_utf8_lossy(&whole)),
        }
    }
}

fn size(framed: &Framed) -> u64 {
    match framed {
        Framed::Document(document) => document.bytes().len() as u64,
        Framed::Malformed(malformed) => malformed.size,
    }
}
