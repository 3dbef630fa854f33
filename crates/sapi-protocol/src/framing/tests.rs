mod properties;

use std::fmt::Write as _;

use super::*;
use crate::samples;

const MAX: usize = 16 << 20;

/// What came out: a document's text, or a reason and the malformed bytes.
#[derive(Clone, Debug, PartialEq)]
enum Out {
    Good(String),
    Bad(MalformedReason, String),
}

fn good(text: &str) -> Out {
    Out::Good(text.to_owned())
}

fn bad(reason: MalformedReason, text: &str) -> Out {
    Out::Bad(reason, text.to_owned())
}

fn shown(framed: Framed) -> Out {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    match framed {
        Framed::Document(document) => Out::Good(text(document.bytes())),
        Framed::Malformed(malformed) => Out::Bad(malformed.reason, text(&malformed.bytes)),
    }
}

fn drain(framer: &mut Framer, out: &mut Vec<Out>) {
    while let Some(framed) = framer.next() {
        out.push(shown(framed));
    }
}

/// Everything that comes of some messages, the end of the connection included.
fn frame_within<M: AsRef<[u8]>>(max: usize, messages: impl IntoIterator<Item = M>) -> Vec<Out> {
    let mut framer = Framer::new(max);
    let mut out = Vec::new();
    for message in messages {
        let message = message.as_ref();
        framer.push(Bytes::copy_from_slice(message));
        drain(&mut framer, &mut out);
        assert!(
            framer.buffered() <= max,
            "{} bytes are held",
            framer.buffered()
        );
    }
    finish(&mut framer, &mut out);
    out
}

fn finish(framer: &mut Framer, out: &mut Vec<Out>) {
    while let Some(framed) = framer.last() {
        out.push(shown(framed));
    }
    assert_eq!(framer.buffered(), 0);
}

fn frame<M: AsRef<[u8]>>(messages: impl IntoIterator<Item = M>) -> Vec<Out> {
    frame_within(MAX, messages)
}

fn goods(out: &[Out]) -> Vec<&str> {
    let texts = out.iter().map(|out| match out {
        Out::Good(text) => Some(text.as_str()),
        Out::Bad(..) => None,
    });
    texts.flatten().collect()
}

fn samples_in_both_formats() -> Vec<String> {
    let mut all = Vec::new();
    for sample in samples::ALL {
        all.push(sample.trim().to_owned());
        all.push(samples::compact(sample));
        all.push(String::from_utf8(crate::xml::json_to_xml(sample.as_bytes()).unwrap()).unwrap());
    }
    all
}

#[test]
fn a_document_a_message() {
    let all = samples_in_both_formats();
    assert_eq!(goods(&frame(&all)), all);
}

#[test]
fn documents_are_slices_of_their_message() {
    let message = Bytes::from(samples_in_both_formats().concat());
    let range = message.as_ptr_range();
    let mut framer = Framer::new(MAX);
    framer.push(message.clone());
    let mut documents = 0;
    while let Some(framed) = framer.next() {
        let Framed::Document(document) = framed else {
            panic!("{framed:?}")
        };
        assert!(range.contains(&document.bytes().as_ptr()));
        documents += 1;
    }
    assert_eq!(documents, 18);
}

#[test]
fn many_documents_in_one_message_however_they_are_joined() {
    let all = samples_in_both_formats();
    for between in [
        "",
        "\n",
        "\r\n",
        " \t\n\n",
        "X",
        "\nXX \n",
        "\u{feff}",
        "<?xml version=\"1.0\"?>\n",
        "<!-- {\"a\":1} -->",
        "<?p <A> ?>",
    ] {
        let whole: String = all
            .iter()
            .map(|text| format!("{between}{text}"))
            .collect::<Vec<_>>()
            .concat()
            + between;
        assert_eq!(goods(&frame([&whole])), all, "{between:?}");
        assert_eq!(frame([&whole]).len(), all.len(), "{between:?}");
        // One byte a message.
        let bytes = whole.as_bytes().chunks(1);
        let out = frame(bytes);
        assert_eq!(goods(&out), all, "{between:?}");
        assert_eq!(out.len(), all.len(), "{between:?}");
    }
}

#[test]
fn five_hundred_documents_in_one_message() {
    let all: Vec<String> = (0..500)
        .map(|n| format!("{{\"Interaction\":{{\"n\":{n}}}}}"))
        .collect();
    assert_eq!(goods(&frame([all.join("\n")])), all);
}

#[test]
fn a_document_over_fifty_messages() {
    for document in samples_in_both_formats() {
        let pieces = document
            .as_bytes()
            .chunks(document.len().div_ceil(50).max(1));
        assert_eq!(frame(pieces), [good(&document)]);
    }
}

#[test]
fn blank_messages_padding_and_stray_heartbeats_are_nothing() {
    let padding = " ".repeat(2048) + "\n";
    let messages = [
        "",
        "X",
        " \r\n",
        "\u{feff}",
        &padding,
        "XXX",
        "\u{feff}X \n{\"A\":1}  X",
        "X",
    ];
    assert_eq!(frame(messages), [good("{\"A\":1}")]);
    // A byte-order mark in pieces.
    assert_eq!(
        frame([&b"\xef"[..], b"\xbb", b"\xbf{\"A\":1}"]),
        [good("{\"A\":1}")]
    );
}

#[test]
fn declarations_and_comments_may_come_in_pieces() {
    let whole = "<?xml version='1.0'?>\n<!-- <A> --><A>1</A><!-- end -->{\"B\":2}<?end?>";
    for size in 1..whole.len() {
        assert_eq!(
            frame(whole.as_bytes().chunks(size)),
            [good("<A>1</A>"), good("{\"B\":2}")]
        );
    }
}

#[test]
fn nested_elements_of_the_roots_name_are_inside_it() {
    let document = "<A b='>' c=\"/>\"><A><A/></A><![CDATA[</A>]]><!-- </A> --><A\n>x</A ></A>";
    for size in 1..document.len() {
        let out = frame(document.as_bytes().chunks(size).chain([&b"<B/>"[..]]));
        assert_eq!(out, [good(document), good("<B/>")]);
    }
}

/// A document cut at every place, with good ones before and after it, in one message each, and in one with newlines.
#[test]
fn a_truncated_document_costs_only_itself() {
    let before = "{\"ClientCheck\":{\"a\":1}}";
    for document in [
        "{\"Interaction\":{\"a\\\"b\":\"x\\u00e9y\",\"c\":[1,-2.5e+1,true,null,{\"d\":\"\"}],\"e\":{}}}",
        "<Interaction x='1'><a>text &amp;</a><!-- c --><![CDATA[d]]><b/>tail</Interaction>",
    ] {
        // A comment or CDATA cut open would go on to the end of the next one's.
        let next = document
            .replace("text", "other")
            .replace("<!-- c --><![CDATA[d]]>", "");
        let after = [
            next.clone(),
            "<ClientCheck><a>2</a></ClientCheck>".to_owned(),
            next,
        ];
        for cut in 1..document.len() {
            let cut_short = &document[..cut];
            let mut messages = vec![before, cut_short];
            messages.extend(after.iter().map(String::as_str));
            let expected: Vec<&str> = [before]
                .into_iter()
                .chain(after.iter().map(String::as_str))
                .collect();
            let out = frame(&messages);
            assert_eq!(goods(&out), expected, "{cut_short}");
            assert_eq!(out.len(), expected.len() + 1, "{cut_short} {out:?}");
            assert!(
                matches!(&out[1], Out::Bad(_, text) if text == cut_short),
                "{cut_short} {out:?}"
            );
            let out = frame([messages.join("\n")]);
            assert_eq!(goods(&out), expected, "{cut_short} in one message");
        }
    }
}

#[test]
fn a_document_cut_after_a_colon_gives_back_what_it_swallowed() {
    let out = frame(["{\"Interaction\":", "{\"Other\":1}", "{\"Other\":2}"]);
    assert_eq!(
        out,
        [
            bad(MalformedReason::Truncated, "{\"Interaction\":"),
            good("{\"Other\":1}"),
            good("{\"Other\":2}")
        ]
    );
    // Of a known class it is given back at once.
    let mut framer = Framer::new(MAX);
    let mut out = Vec::new();
    for message in ["{\"Interaction\":", "{\"Interaction\":{}}"] {
        framer.push(Bytes::from_static(message.as_bytes()));
        drain(&mut framer, &mut out);
    }
    assert_eq!(
        out,
        [
            bad(MalformedReason::Truncated, "{\"Interaction\":"),
            good("{\"Interaction\":{}}")
        ]
    );
    // And at the end of the connection in any case.
    let out = frame(["{\"Interaction\":", "{\"Other\":1}"]);
    assert_eq!(
        out,
        [
            bad(MalformedReason::Truncated, "{\"Interaction\":"),
            good("{\"Other\":1}")
        ]
    );
}

#[test]
fn a_value_that_fills_a_message_stays_where_it_belongs() {
    assert_eq!(
        frame(["{\"Interaction\":", "{\"a\":1}", "}"]),
        [good("{\"Interaction\":{\"a\":1}}")]
    );
    assert_eq!(
        frame(["[", "{\"Interaction\":1}", ",", "{\"Interaction\":2}", "]"]),
        [good("[{\"Interaction\":1},{\"Interaction\":2}]")]
    );
    assert_eq!(
        frame(["<Interaction>", "<a>1</a>", "\n<b/>", "</Interaction>"]),
        [good("<Interaction><a>1</a>\n<b/></Interaction>")]
    );
}

#[test]
fn a_pretty_printed_document_cut_short_gives_no_parts_of_itself() {
    let value: serde_json::Value = serde_json::from_str(samples::ALL[4]).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    let cut_short = &pretty[..pretty.len() - 40];
    for messages in [
        vec![format!("{cut_short}\n{{\"A\":1}}\n")],
        vec![cut_short.to_owned(), "{\"A\":1}".to_owned()],
    ] {
        let out = frame(&messages);
        assert_eq!(goods(&out), ["{\"A\":1}"]);
        assert_eq!(out.len(), 2);
    }
}

#[test]
fn invalid_utf8_costs_only_its_own_document() {
    let message = b"{\"A\":1}{\"A\":\"\xff\"}{\"A\":2}<A>\xc3</A><B/>";
    let out = frame([&message[..]]);
    assert_eq!(goods(&out), ["{\"A\":1}", "{\"A\":2}", "<B/>"]);
    assert!(matches!(out[1], Out::Bad(MalformedReason::InvalidUtf8, _)));
    assert_eq!(
        goods(&frame(message.chunks(1))),
        ["{\"A\":1}", "{\"A\":2}", "<B/>"]
    );
    // Between tokens it is no JSON at all.
    let out = frame([&b"{\"A\":\xff}"[..], b"{\"A\":2}"]);
    assert!(matches!(out[0], Out::Bad(MalformedReason::InvalidJson, _)));
    assert_eq!(goods(&out), ["{\"A\":2}"]);
}

#[test]
fn what_begins_like_no_document_runs_up_to_the_next_that_does() {
    use MalformedReason::NotADocument;
    assert_eq!(
        frame(["hello {\"a\":1}"]),
        [bad(NotADocument, "hello {\"a\":1}")]
    );
    assert_eq!(
        frame(["hello\n{\"a\":1}"]),
        [bad(NotADocument, "hello\n"), good("{\"a\":1}")]
    );
    let out = frame(["hello", " world", "X", "again", "{\"a\":1}", "51|"]);
    assert_eq!(
        out,
        [
            bad(NotADocument, "hello"),
            bad(NotADocument, " worldagain"),
            good("{\"a\":1}"),
            bad(NotADocument, "51|")
        ]
    );
    assert_eq!(
        frame(["{\"a\":1},{\"a\":2}", "{\"a\":3}"]),
        [
            good("{\"a\":1}"),
            bad(NotADocument, ",{\"a\":2}"),
            good("{\"a\":3}")
        ]
    );
}

#[test]
fn an_invalid_document_says_so_with_its_bytes() {
    let out = frame([
        "{\"a\":tru}",
        "<a></b>",
        "<!DOCTYPE html>\n<html>",
        "{\"b\":1}",
    ]);
    assert_eq!(
        out,
        [
            bad(MalformedReason::InvalidJson, "{\"a\":tru}"),
            bad(MalformedReason::InvalidXml, "<a></b>"),
            bad(MalformedReason::InvalidXml, "<!DOCTYPE html>\n<html>"),
            good("{\"b\":1}")
        ]
    );
    let deep = "[".repeat(200);
    assert_eq!(
        frame([&deep, "{\"b\":1}"]),
        [bad(MalformedReason::InvalidJson, &deep), good("{\"b\":1}")]
    );
}

fn too_large(max: usize, messages: &[&str]) -> (Vec<Malformed>, Vec<String>) {
    let mut framer = Framer::new(max);
    let (mut lost, mut found) = (Vec::new(), Vec::new());
    for message in messages {
        framer.push(Bytes::copy_from_slice(message.as_bytes()));
        while let Some(framed) = framer.next() {
            match framed {
                Framed::Malformed(malformed) => lost.push(malformed),
                Framed::Document(document) => {
                    found.push(String::from_utf8_lossy(document.bytes()).into_owned());
                }
            }
        }
        assert!(framer.buffered() <= max);
    }
    lost.extend(framer.finish());
    (lost, found)
}

#[test]
fn a_document_too_large_is_cut_and_the_next_is_read() {
    let large = format!("{{\"Large\":\"{}\"}}", "x".repeat(200));
    let xml = format!("<Large>{}</Large>", "<a>x</a>\n".repeat(20));
    for large in [large, xml] {
        let (head, tail) = large.split_at(120);
        let (first, second) = head.split_at(60);
        let line = format!("{large}\n{{\"A\":1}}");
        let joined = format!("{large}{{\"A\":1}}");
        let cases: [&[&str]; 6] = [
            &[&large, "{\"A\":1}"],
            &[&line],
            &[&joined],
            &[head, tail, "{\"A\":1}"],
            &[first, second, tail, "\n{\"A\":1}"],
            &[
                first,
                second,
                &tail[..10],
                &format!("{}{{\"A\":1}}", &tail[10..]),
            ],
        ];
        for messages in cases {
            let (lost, found) = too_large(100, messages);
            assert_eq!(found, ["{\"A\":1}"], "{messages:?}");
            assert_eq!(lost.len(), 1, "{messages:?}");
            assert_eq!(lost[0].reason, MalformedReason::TooLarge);
            assert_eq!(
                (lost[0].bytes.as_ref(), lost[0].size, lost[0].truncated),
                (&large.as_bytes()[..100], large.len() as u64, true)
            );
        }
        // As large as allowed is not too large.
        assert_eq!(too_large(large.len(), &[&large]).1, [large.as_str()]);
        assert_eq!(too_large(large.len(), &[head, tail]).1, [large]);
    }
}

#[test]
fn a_document_too_large_that_never_ends_gives_way_to_the_next() {
    let endless = format!("{{\"Large\":\"{}", "x".repeat(200));
    for next in ["{\"A\":1}", "{\"Interaction\":1}", "<ClientCheck/>"] {
        let (lost, found) = too_large(100, &[&endless, next, next]);
        assert_eq!(found, [next, next]);
        assert_eq!(lost.len(), 1);
        assert_eq!(
            (lost[0].size, lost[0].truncated),
            (endless.len() as u64, true)
        );
    }
    let endless = format!("<Large>{}", "x".repeat(200));
    let (lost, found) = too_large(100, &[&endless, "<ClientCheck/>", "{\"A\":1}"]);
    assert_eq!(found, ["<ClientCheck/>", "{\"A\":1}"]);
    assert_eq!(lost.len(), 1);
}

#[test]
fn a_cut_short_rival_gives_way_to_the_next() {
    let out = frame([
        "<Interaction><a>te",
        "<ClientCheck><a",
        "<?x",
        "<ClientCheck/>",
        "{\"A\":1}",
    ]);
    assert_eq!(goods(&out), ["<ClientCheck/>", "{\"A\":1}"]);
}

#[test]
fn the_message_that_makes_a_document_too_large_may_begin_the_next() {
    let beginning = format!("[{}", "1,".repeat(40));
    let next = format!("{{\"ClientCheck\":\"{}\"}}", "x".repeat(40));
    let (lost, found) = too_large(100, &[&beginning, &next, &next]);
    assert_eq!(found, [next.as_str(), &next]);
    assert_eq!(
        (lost[0].bytes.as_ref(), lost[0].size, lost.len()),
        (beginning.as_bytes(), 81, 1)
    );
}

#[test]
fn what_is_left_at_the_end_is_told() {
    let (lost, _) = too_large(100, &["{\"A\":"]);
    assert_eq!(
        (lost[0].reason, lost[0].truncated),
        (MalformedReason::Truncated, false)
    );
    let (lost, _) = too_large(10, &[&"[1,".repeat(100)]);
    assert_eq!(
        (lost[0].reason, lost[0].size, lost[0].bytes.len()),
        (MalformedReason::TooLarge, 300, 10)
    );
    assert!(Framer::new(10).finish().is_none());
}

#[test]
fn eight_megabytes_in_one_document() {
    let item = samples::compact(samples::ALL[4]);
    let document = format!(
        "{{\"Large\":[{}]}}",
        vec![item.as_str(); (8 << 20) / item.len()].join(",\n")
    );
    assert_eq!(frame([&document]), [good(&document)]);
    let pieces = document.as_bytes().chunks(1000);
    assert_eq!(frame(pieces), [good(&document)]);
}

#[test]
fn a_megabyte_in_one_document_byte_by_byte() {
    let item = samples::compact(samples::ALL[4]);
    let document = format!(
        "{{\"Large\":[{}]}}",
        vec![item.as_str(); (1 << 20) / item.len()].join(",\n")
    );
    assert_eq!(frame(document.as_bytes().chunks(1)), [good(&document)]);
}

#[test]
fn a_hundred_megabytes_in_one_message() {
    let mut message = String::with_capacity(101 << 20);
    let filler = "x".repeat(16 << 10);
    let mut documents = 0;
    while message.len() < 100 << 20 {
        write!(
            message,
            "{{\"Interaction\":{{\"n\":{documents},\"filler\":\"{filler}\"}}}}"
        )
        .unwrap();
        documents += 1;
    }
    let mut framer = Framer::new(MAX);
    framer.push(message.into());
    let mut found = 0;
    while let Some(Framed::Document(_)) = framer.next() {
        found += 1;
    }
    assert_eq!(found, documents);
}

/// Inputs that invite reading again and again: each must end soon, which a bound on the steps alone can give.
#[test]
fn adversarial_input_takes_linear_work() {
    let size = 2 << 20;
    let openings = "{\"a\":\n".repeat(size / 6);
    let mut wide = "[\n".repeat(100);
    wide.push_str(&"1,".repeat(size / 2));
    wide.push('x');
    let comments = "<!--\n".repeat(size / 5);
    let tags = "<Ab>\n".repeat(size / 5);
    let known = "<Interaction>\n".repeat(size / 14);
    let cut_short = "<Ab>x\n<Interaction>y\n".repeat(size / 21);
    let quotes = "{\"A\":\"\n".repeat(size / 7);
    for input in [openings, wide, comments, tags, known, cut_short, quotes] {
        let mut framer = Framer::new(MAX);
        for messages in [input.len(), 4096, 5] {
            for message in input.as_bytes().chunks(messages).take(100_000) {
                framer.push(Bytes::copy_from_slice(message));
                while framer.next().is_some() {}
            }
            while framer.finish().is_some() {
                while framer.next().is_some() {}
            }
            assert!(framer.allowance.is_kept());
        }
    }
}
