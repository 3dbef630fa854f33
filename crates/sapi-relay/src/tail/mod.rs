//! Owns `tail`: events printed as they come, from a running relay or from 8x8 itself.

mod direct;
mod print;
mod stream;

use std::io::IsTerminal;

use crate::cli::{Tail, TailFormat};
use crate::config::{Log, LogFormat};
use crate::failure::Failure;
use crate::logging;

use print::Printer;

/// Runs until interrupted.
pub(crate) async fn run(args: Tail) -> Result<(), Failure> {
    let terminal = std::io::stdout().is_terminal();
    let format = args.format.unwrap_or(if terminal {
        TailFormat::Pretty
    } else {
        TailFormat::Raw
    });
    let printer = Printer::new(format, terminal);
    if args.direct {
        // What keeps the subscription away is said as the relay says it.
        logging::start(&Log {
            level: "warn".to_owned(),
            format: LogFormat::Text,
        });
        direct::run(args, printer).await
    } else {
        stream::run(args, printer).await
    }
}
