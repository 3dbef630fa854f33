//! The shared contract, with one event a request and with many.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use relay_core::Epoch;
use relay_core::cloudevents::Source;
use relay_core::contract::{Fault, Peer, Seen};
use relay_sinks::webhook::{Config, Mode, Webhook};
use relay_sinks::{Format, Secret};
use relay_tests::servers::receiver::{Answer, Receiver};

use super::world::SECRET;

/// A receiver that misbehaves on command. The checks ask for total order: one request at a time.
struct HttpPeer {
    receiver: Receiver,
    mode: Mode,
}

impl HttpPeer {
    async fn start(mode: Mode) -> Self {
        Self {
            receiver: Receiver::start().await,
            mode,
        }
    }
}

impl Peer for HttpPeer {
    type Sink = Webhook;

    fn sink(&self) -> impl FnMut() -> Webhook + Send + 'static {
        relay_tests::install_crypto();
        let config = Config {
            url: self.receiver.url("/hook"),
            secret: Some(Secret::Literal(SECRET.to_owned())),
            headers: Vec::new(),
            timeout: Duration::from_secs(20),
            mode: self.mode,
            format: Format::default(),
            concurrency: 1,
            tls: Default::default(),
        };
        let source = Source::new("acme", Epoch(1));
        move || Webhook::new(config.clone(), source.clone())
    }

    async fn seen(&self) -> Vec<Seen> {
        let events = self.receiver.events().into_iter();
        let seen = events.map(|event| Seen {
            number: event.number,
            key: event.key,
        });
        seen.collect()
    }

    async fn inject(&self, fault: Fault) -> bool {
        let answer = match fault {
            Fault::Away => Answer::cut(),
            Fault::Blocked => Answer::status(401),
            Fault::Gone => Answer::status(410),
            Fault::Stalled => Answer::late(),
            Fault::Hang => Answer::hang(),
            Fault::Poison => {
                self.receiver.answers(|request| {
                    if request.holds("poison") {
                        Answer::status(422).body("no such agent")
                    } else {
                        Answer::ok()
                    }
                });
                return true;
            }
            Fault::Partly => {
                let left_out = Mutex::new(HashSet::new());
                self.receiver.answers(move |request| {
                    let first = &request.events()[0];
                    let odd = first.number % 2 == 1;
                    if odd && left_out.lock().unwrap().insert(first.number) {
                        Answer::status(503)
                    } else {
                        Answer::ok()
                    }
                });
                return true;
            }
            // With one request at a time nothing is confirmed late and out of order.
            Fault::Reversed | Fault::Panic => return false,
        };
        self.receiver.answers_all(answer);
        true
    }

    async fn mend(&self) {
        self.receiver.answers_all(Answer::ok());
    }
}

mod single {
    use super::*;
    relay_core::sink_contract!(HttpPeer::start(Mode::Single).await);
}

mod batch {
    use super::*;
    relay_core::sink_contract!(HttpPeer::start(Mode::Batch).await);
}
