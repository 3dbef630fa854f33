//! What SAPI says on the wire: documents and their boundaries, msgInfo, URLs, credentials, output formats.
//!
//! Pure: bytes in, values out. It knows no sockets, no clock, no tasks and nothing of the relay.

mod credentials;
mod document;
mod framing;
#[doc(hidden)]
pub mod fuzz_targets;
mod heartbeat;
mod output;
#[cfg(test)]
mod samples;
mod test_page;
mod text;
mod url;
pub mod xml;

pub use credentials::{BasicCredentials, basic_header, parse_basic};
pub use document::{Document, Labels, MsgInfo, event_id, write_event_id};
pub use framing::{Framed, Framer, Malformed, MalformedReason};
pub use heartbeat::Heartbeat;
pub use output::{Format, OutputType, UnknownOutputType};
pub use test_page::{PageLogin, test_page};
pub use url::{
    Origin, OriginError, PathStyle, SubscribeError, SubscribeRequest, SubscribeTarget,
    parse_subscribe_path, platform_origin, valid_subs_id,
};
