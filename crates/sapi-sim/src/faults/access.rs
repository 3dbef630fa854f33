//! Owns the faults of path, parameters and credentials (B1, B2, B3, B15, B17, B20): their names
//! and words, not the HTTP that carries them out.

use super::{
    Takes::{Nothing, Number, Text},
    family,
};

family! {
    PATH_SUFFIXED_ONLY = "B1" "path-suffixed-only" Nothing, "404 for the path without -{tenant}-{subsId}";
    PATH_BARE_ONLY = "B1" "path-bare-only" Nothing, "404 for the path with -{tenant}-{subsId}";
    PATH_MISMATCH_403 = "B1" "path-mismatch-403" Nothing, "403 instead of 400 where path and query disagree";
    PATH_QUERY_WINS = "B1" "path-query-wins" Nothing, "the query decides where path and query disagree";
    PATH_ANY_CASE = "B1" "path-any-case" Nothing, "letter case of the last path segment does not matter";

    AUTH_REJECT = "B2" "auth-reject" Nothing, "good credentials are refused like bad ones";
    AUTH_403_XML = "B2" "auth-403-xml" Nothing, "bad credentials: 403 with an <API><Error> body";
    AUTH_404 = "B2" "auth-404" Nothing, "bad credentials: 404";
    AUTH_302_HTML = "B2" "auth-302-html" Nothing, "bad credentials: 302 to a login page, with HTML";
    AUTH_101_CLOSE = "B2" "auth-101-close" Number(1008), "bad credentials: 101, then closed with this code";
    AUTH_101_SILENCE = "B2" "auth-101-silence" Nothing, "bad credentials: 101, then not a byte";
    AUTH_IN_BAND = "B2" "auth-in-band" Nothing, "bad credentials: 101, an error document, then silence";

    TOKEN_ROTATED = "B3" "token-rotated" Text("NEW"), "the token is NEW from now on; connected sessions stay until their cut";
    TOKEN_ROTATED_CLOSE = "B3" "token-rotated-close" Text("NEW"), "the token is NEW from now on; connected sessions are closed at once (1008)";
    TOKEN_ROTATED_SILENT = "B3" "token-rotated-silent" Text("NEW"), "the token is NEW from now on; connected sessions fall silent";

    XML_BY_DEFAULT = "B15" "xml-by-default" Nothing, "an unset desiredOutputType means XML";
    OUTPUT_UNSET_400 = "B15" "output-unset-400" Nothing, "an unset desiredOutputType is a 400";
    OUTPUT_IGNORED = "B15" "output-ignored" Nothing, "JSON whatever desiredOutputType says";
    OUTPUT_WRONG_FORMAT = "B15" "output-wrong-format" Nothing, "XML where JSON was asked for, JSON where XML was";

    SUBS_ID_STRICT = "B17" "subs-id-strict" Nothing, "400 for a subsId with other characters than [A-Za-z0-9_]";
    SUBS_ID_ANY_CASE = "B17" "subs-id-any-case" Nothing, "letter case of a subsId does not matter";
    SUBS_ID_MAX = "B17" "subs-id-max" Number(32), "400 for a subsId longer than this";

    BRIDGE = "B20" "bridge" Nothing, "the SAPI bridge: no cut, no limit of clients, the token in X-API-Key too";
}
