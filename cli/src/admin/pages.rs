//! What each page of the admin port says.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keylane_protocol::identifiers::TopicName;
use tokio::time::timeout;

use super::registry::Registry;
use super::request::{Page, Status};
use super::text::{CONTENT_TYPE, Exposition};
use super::{Node, keys, partitions};

/// A runtime that has not answered by then is taken to hang: none waits for a disk or for another node.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

const JSON: &str = "application/json";

const WORDS: &str = "text/plain; charset=utf-8";

const CONTENTS: &str = "/metrics  what this process counts, for Prometheus\n\
                        /healthz  200 while the process lives and its threads answer\n\
                        /readyz   200 while it serves clients; else 503 and why not\n\
                        /keys?topic=NAME  hot keys, fullness of partitions and foreign partitioners, as routers see them\n";

/// An answer.
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

/// The pages of a process.
#[derive(Debug)]
pub(super) struct Pages {
    registry: Registry,
    /// How many nodes the process has once all are started.
    expected: usize,
    nodes: Mutex<Vec<Node>>,
}

impl Answer {
    fn words(status: Status, mut body: String) -> Self {
        body.push('\n');
        Self {
            status,
            content_type: WORDS,
            body,
        }
    }

    /// Returns what is said to what is not answered.
    pub(super) fn refusal(refused: super::request::Refused) -> Self {
        Self::words(refused.status(), refused.to_string())
    }

    fn verdict(faults: &[String]) -> Self {
        match faults {
            [] => Self::words(Status::Ok, "ok".to_owned()),
            faults => Self::words(Status::Unavailable, faults.join("\n")),
        }
    }
}

impl Pages {
    pub(super) fn new(registry: Registry, expected: usize) -> Self {
        Self {
            registry,
            expected,
            nodes: Mutex::default(),
        }
    }

    pub(super) fn show(&self, node: Node) {
        self.lock().push(node);
    }

    pub(super) async fn answer(&self, page: Page) -> Answer {
        match page {
            Page::Contents => Answer {
                status: Status::Ok,
                content_type: WORDS,
                body: CONTENTS.to_owned(),
            },
            Page::Metrics => self.metrics(),
            Page::Health => self.health().await,
            Page::Readiness => self.readiness(),
            Page::Keys(topic) => self.keys(&topic),
        }
    }

    fn metrics(&self) -> Answer {
        let nodes = self.nodes();
        nodes.iter().for_each(Node::refresh);
        let mut exposition = Exposition::default();
        self.registry.write(&mut exposition);
        let brokers: Vec<_> = nodes
            .iter()
            .filter_map(|node| match node {
                Node::Broker(probe) => Some((node.name().to_owned(), probe.partitions())),
                Node::Router(_) => None,
            })
            .collect();
        if !brokers.is_empty() {
            partitions::write(&brokers, &mut exposition);
        }
        let routers = routers(&nodes);
        if !routers.is_empty() {
            let skews = routers.iter();
            let skews = skews.map(|probe| (probe.node().to_owned(), probe.skews()));
            keys::write(&skews.collect::<Vec<_>>(), &mut exposition);
        }
        Answer {
            status: Status::Ok,
            content_type: CONTENT_TYPE,
            body: exposition.into_text(),
        }
    }

    fn keys(&self, topic: &TopicName) -> Answer {
        let routers = routers(&self.nodes());
        if routers.is_empty() {
            let words = "this process has no router, and only routers look at keys";
            return Answer::words(Status::NotFound, words.to_owned());
        }
        Answer {
            status: Status::Ok,
            content_type: JSON,
            body: keys::page(topic, &routers),
        }
    }

    async fn health(&self) -> Answer {
        let mut faults = Vec::new();
        for node in self.nodes() {
            if timeout(ANSWER_TIMEOUT, node.answers()).await.is_err() {
                faults.push(format!(
                    "{}: a thread has not answered within {ANSWER_TIMEOUT:?}",
                    node.name()
                ));
            }
        }
        Answer::verdict(&faults)
    }

    fn readiness(&self) -> Answer {
        let nodes = self.nodes();
        let faults = nodes.iter().filter_map(|node| {
            let reason = node.readiness().err()?;
            Some(format!("{}: {reason}", node.name()))
        });
        let mut faults: Vec<String> = faults.collect();
        if nodes.len() < self.expected {
            faults.push(format!(
                "{} of {} nodes of this process are started; a broker recovers its data folder first, and waits for \
                 its cluster",
                nodes.len(),
                self.expected
            ));
        }
        Answer::verdict(&faults)
    }

    fn nodes(&self) -> Vec<Node> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn routers(nodes: &[Node]) -> Vec<keylane_router::Probe> {
    let routers = nodes.iter().filter_map(|node| match node {
        Node::Router(probe) => Some(probe.clone()),
        Node::Broker(_) => None,
    });
    routers.collect()
}
