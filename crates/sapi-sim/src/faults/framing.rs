//! Owns the faults of documents in messages and frames (B6, B16, B21): their names and words, not
//! the encoding that carries them out.

use super::{
    Takes::{Nothing, Number},
    family,
};

family! {
    CONCAT = "B6" "concat" Number(3), "so many documents in one message, where they are there";
    CONCAT_NEWLINE = "B6" "concat-newline" Nothing, "with concat and replay-one-message: a newline between the documents";
    SPLIT = "B6" "split" Number(2), "a document over so many messages";
    FRAGMENT = "B6" "fragment" Number(3), "a message over so many frames";
    PADDING = "B6" "padding" Number(2048), "so many blanks and a newline before each document";
    STRAY_X = "B6" "stray-x" Nothing, "a message `X` between the documents";
    BLANK = "B6" "blank" Nothing, "a message of blanks between the documents";
    BINARY = "B6" "binary" Nothing, "binary instead of text messages";
    BOM = "B6" "bom" Nothing, "a byte-order mark before each document";
    CRLF = "B6" "crlf" Nothing, "CR LF after each document";
    PRETTY = "B6" "pretty" Nothing, "pretty-printed JSON, line breaks inside";
    NEWLINE_CRLF = "B16" "newline-crlf" Nothing, "NEWLINE_ variants end in CR LF";
    NEWLINE_BEFORE = "B16" "newline-before" Nothing, "NEWLINE_ variants have the newline before the document";
    XML_DECLARATION = "B21" "xml-declaration" Nothing, "an XML declaration before each root";
    XML_COMMENT = "B21" "xml-comment" Nothing, "an XML comment before each root";
}
