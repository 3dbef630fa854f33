//! A scriptable receiver of webhooks.
