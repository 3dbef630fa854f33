mod harness;
mod lifecycle;
mod peer;
mod refusals;
mod tls;
