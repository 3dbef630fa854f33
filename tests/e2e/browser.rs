//! The pages, in a real Chromium: the dashboard of the admin server, and the test page of SAPI.

mod dashboard;
mod login;
mod sinks;
mod tail;
mod test_page;
mod world;
