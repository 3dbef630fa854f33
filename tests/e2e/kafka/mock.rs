//! The contract on librdkafka's mock cluster: what is left of these tests where Kafka can't be had. It shows
//! no transactions, no access, and no data that outlives a restart.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use relay_core::contract::{self, Fault, Peer, Relay, Seen};
use relay_sinks::kafka::Kafka;
use tokio::sync::oneshot;

use super::contract::{config, seen};
use super::records;

/// What the cluster is to do; it answers when that is done.
enum Order {
    Topic(String),
    Down,
    Up,
}

type Ordered = (Order, oneshot::Sender<()>);

/// A cluster of one broker, on a thread of its own, which it may not leave. It ends with the last sender.
struct Cluster {
    brokers: String,
    orders: SyncSender<Ordered>,
}

impl Cluster {
    async fn start() -> Self {
        let (orders, taken) = sync_channel(1);
        let (ready, brokers) = oneshot::channel();
        std::thread::spawn(move || serve(ready, &taken));
        Self {
            brokers: brokers.await.unwrap(),
            orders,
        }
    }

    async fn obey(&self, order: Order) {
        let (done, obeyed) = oneshot::channel();
        self.orders.send((order, done)).unwrap();
        obeyed.await.unwrap();
    }
}

fn serve(ready: oneshot::Sender<String>, orders: &Receiver<Ordered>) {
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    ready.send(cluster.bootstrap_servers()).unwrap();
    for (order, done) in orders {
        let obeyed = match order {
            Order::Topic(topic) => cluster.create_topic(&topic, 1, 1),
            Order::Down => cluster.broker_down(1),
            Order::Up => cluster.broker_up(1),
        };
        obeyed.unwrap();
        done.send(()).unwrap();
    }
}

struct MockPeer {
    cluster: Arc<Cluster>,
    topic: &'static str,
}

impl MockPeer {
    async fn new(cluster: &Arc<Cluster>, topic: &'static str) -> Self {
        cluster.obey(Order::Topic(topic.to_owned())).await;
        Self {
            cluster: Arc::clone(cluster),
            topic,
        }
    }
}

impl Peer for MockPeer {
    type Sink = Kafka;

    fn sink(&self) -> impl FnMut() -> Kafka + Send + 'static {
        let config = config(&self.cluster.brokers, self.topic);
        let source = Relay::new().source();
        move || Kafka::new(config.clone(), source.clone())
    }

    async fn seen(&self) -> Vec<Seen> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.cluster.brokers);
        seen(&records::all_by(client, self.topic).await)
    }

    async fn inject(&self, fault: Fault) -> bool {
        if fault != Fault::Away {
            return false;
        }
        self.cluster.obey(Order::Down).await;
        true
    }

    async fn mend(&self) {
        self.cluster.obey(Order::Up).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_check_that_it_allows() {
    let cluster = Arc::new(Cluster::start().await);
    macro_rules! checks {
        ($($check:ident),+ $(,)?) => {
            $( contract::$check(MockPeer::new(&cluster, stringify!($check)).await).await; )+
        };
    }
    checks! {
        confirms_and_does_not_repeat, keeps_the_order, crosses_from_disk_to_memory, seeks,
        pauses_across_a_restart, goes_on_from_its_cursor, stops_cleanly, survives_a_crash,
        redelivers_after_an_absence,
    }
}
