//! The two forms of an event on its way to a broker (PRODUCT section 3, `format`).

/// How an event is written into a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The body is the event's bytes; CloudEvents attributes stand in headers.
    #[default]
    Binary,
    /// The body is the `CloudEvent` as JSON.
    Structured,
}
