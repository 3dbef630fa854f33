use proptest::prelude::*;

use super::*;

fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Frame::message(
        Bytes::copy_from_slice(payload),
        OpCode::Data(Data::Text),
        true,
    );
    frame.header_mut().opcode = opcode;
    frame.header_mut().is_final = is_final;
    let mut bytes = Vec::new();
    frame.format(&mut bytes).unwrap();
    bytes
}

fn text(is_final: bool, payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Text), is_final, payload)
}

fn more(is_final: bool, payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Continue), is_final, payload)
}

/// Feeds a stream in steps of a size; the pieces, or the violation.
fn decode(stream: &[u8], step: usize, max: u64) -> Result<Vec<Piece>, Violation> {
    let (mut decoder, mut buffer, mut pieces) = (Decoder::new(max), BytesMut::new(), Vec::new());
    for part in stream.chunks(step) {
        buffer.extend_from_slice(part);
        while let Some(piece) = decoder.next(&mut buffer)? {
            pieces.push(piece);
        }
    }
    Ok(pieces)
}

fn data(pieces: &[Piece]) -> Vec<u8> {
    let parts = pieces.iter().map(|piece| match piece {
        Piece::Data(bytes) => &bytes[..],
        Piece::Ping(_) | Piece::Pong | Piece::Close(_) => &[],
    });
    parts.flatten().copied().collect()
}

#[test]
fn a_small_message_comes_whole_even_byte_by_byte() {
    let stream = [text(true, b"{}"), text(true, b""), text(true, b"[1]")].concat();
    for step in [1, 2, 100] {
        let pieces = decode(&stream, step, 100).unwrap();
        assert_eq!(
            pieces,
            [Piece::Data("{}".into()), Piece::Data("[1]".into())]
        );
    }
}

#[test]
fn a_large_message_comes_in_parts_before_it_is_complete() {
    let payload = "x\u{e9}{".repeat(200_000).into_bytes();
    let stream = text(true, &payload);
    let half = decode(&stream[..stream.len() / 2], 1000, 1 << 30).unwrap();
    assert!(data(&half).len() > payload.len() / 2 - 2 * PART);
    let all = decode(&stream, 1000, 1 << 30).unwrap();
    assert_eq!(data(&all), payload);
    for piece in &all[1..] {
        let Piece::Data(bytes) = piece else { panic!() };
        assert!(!matches!(bytes[0], b'{' | 0x80..=0xBF), "{:?}", &bytes[..4]);
    }
}

#[test]
fn a_fragment_holds_back_what_might_look_like_a_document() {
    let stream = [
        text(false, b"{\"a\": "),
        more(false, b"{\xC3"),
        more(true, b"\xA9}}"),
    ]
    .concat();
    let pieces = decode(&stream, 100, 100).unwrap();
    assert_eq!(
        pieces,
        [
            Piece::Data("{\"a\"".into()),
            Piece::Data(": {".into()),
            Piece::Data("\u{e9}}}".into())
        ]
    );
}

#[test]
fn control_frames_come_between_fragments() {
    let ping = frame(OpCode::Control(Control::Ping), true, b"hi");
    let close = frame(OpCode::Control(Control::Close), true, b"\x03\xE8bye");
    let stream = [text(false, b"ab"), ping, more(true, b"c"), close].concat();
    let pieces = decode(&stream, 3, 100).unwrap();
    assert_eq!(data(&pieces), b"abc");
    assert!(pieces.contains(&Piece::Ping("hi".into())));
    let closed = Closed {
        code: 1000,
        reason: "bye".to_owned(),
    };
    assert_eq!(pieces.last(), Some(&Piece::Close(Some(closed))));
}

#[test]
fn what_breaks_the_protocol_is_told() {
    let is = |stream: &[u8], max| decode(stream, 10, max).unwrap_err();
    assert!(matches!(is(&text(true, b"\xFF"), 9), Violation::Utf8));
    let split = [text(false, b"a\xC3"), more(true, b"b")].concat();
    assert!(matches!(is(&split, 9), Violation::Utf8));
    assert!(matches!(is(&text(true, b"\xC3"), 9), Violation::Utf8));
    let over = [text(false, b"12345"), more(true, b"67890")].concat();
    assert!(matches!(is(&over, 9), Violation::TooLarge(9)));
    assert!(matches!(is(&more(true, b"a"), 9), Violation::Order));
    let two = [text(false, b"a"), text(true, b"b")].concat();
    assert!(matches!(is(&two, 9), Violation::Order));
    let ping = frame(OpCode::Control(Control::Ping), false, b"");
    assert!(matches!(is(&ping, 9), Violation::Control));
    assert!(matches!(is(&[0xC1, 0], 9), Violation::Header));
    assert!(matches!(
        is(&[0x81, 0x80, 1, 2, 3, 4], 9),
        Violation::Header
    ));
    // Not one byte of a message that is too large is waited for.
    assert!(matches!(
        is(&text(true, &[b'a'; 10])[..2], 9),
        Violation::TooLarge(9)
    ));
}

#[test]
fn a_binary_message_may_hold_anything() {
    let stream = frame(OpCode::Data(Data::Binary), true, b"\xFF\xC3");
    assert_eq!(data(&decode(&stream, 1, 9).unwrap()), b"\xFF\xC3");
}

proptest! {
    #[test]
    fn any_message_cut_anywhere_arrives_unchanged(
        text_of in "[ {}a\u{e9}\u{1F600}X]{0,200}",
        fragments in proptest::collection::vec(0_usize..40, 0..8),
        step in 1_usize..50,
    ) {
        let mut rest = text_of.as_bytes();
        let mut stream = Vec::new();
        for (index, length) in fragments.iter().enumerate() {
            let (head, tail) = rest.split_at((*length).min(rest.len()));
            stream.extend(if index == 0 { text(false, head) } else { more(false, head) });
            rest = tail;
        }
        stream.extend(if fragments.is_empty() { text(true, rest) } else { more(true, rest) });
        let pieces = decode(&stream, step, 10_000).unwrap();
        prop_assert_eq!(data(&pieces), text_of.as_bytes());
    }

    #[test]
    fn garbage_never_panics(stream: Vec<u8>, step in 1_usize..9) {
        let _any = decode(&stream, step, 1000);
    }
}
