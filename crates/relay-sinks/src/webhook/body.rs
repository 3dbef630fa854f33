//! As much of an answer's body as is worth reading: a few kilobytes, and not for long.

use std::time::Duration;

use reqwest::Response;
use tokio::time::timeout;

/// What is read of a body.
const MOST: usize = 4 << 10;
/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads the beginning. A body that is longer, or slower, costs its connection and nothing else.
pub(super) async fn beginning(response: &mut Response) -> Vec<u8> {
    let mut text = Vec::new();
    let reading = async {
        while text.len() < MOST {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = MOST - text.len();
                    text.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                }
                Ok(None) | Err(_) => return,
            }
        }
    };
    // What was read by then serves as well.
    timeout(PATIENCE, reading).await.unwrap_or_default();
    text
}
