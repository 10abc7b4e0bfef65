//! One connection through the relay, without I/O: requests in, effects out; answers leave in the order of the requests.
//!
//! ```text
//! request  ── takes the next place ──► what goes to the broker, each noted as (place, or none to swallow its answer)
//! answer   ── belongs to the first note ──► waits until all places before it are answered
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::frame::{decode_request_body, request_frame, response_frame};
use keylane_protocol::header::RequestHeader;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use keylane_protocol::offset::Offset;
use keylane_protocol::record::Record;
use keylane_protocol::record_batch::RecordBatch;

use super::rewrite::{answer, framed};
use super::wrong::{Wrong, WrongState, anonymous, bent, plain_records};

/// What is to be done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Send this to the broker.
    ToBroker(Vec<Bytes>),
    /// Send this to the client.
    ToClient(Vec<Bytes>),
    /// Give the connection up.
    Close,
}

/// A request the broker was sent.
#[derive(Debug)]
struct Asked {
    /// The place of its answer among those the client expects; `None` swallows it.
    place: Option<u64>,
    api_key: i16,
    version: i16,
}

/// A Produce request that is read.
#[derive(Debug)]
struct Produce {
    header: RequestHeader,
    request: ProduceRequest,
    /// `None` if the client expects no answer.
    place: Option<u64>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct RelayCore {
    address: SocketAddr,
    next_place: u64,
    next_answer: u64,
    asked: VecDeque<Asked>,
    answers: BTreeMap<u64, Vec<Bytes>>,
    /// The request that waits to be sent after the next of its partition.
    held: Option<Produce>,
}

impl RelayCore {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            next_place: 0,
            next_answer: 0,
            asked: VecDeque::new(),
            answers: BTreeMap::new(),
            held: None,
        }
    }

    /// Returns whether a request is held back.
    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Takes a request of the client.
    pub(super) fn on_request(
        &mut self,
        frame: &Bytes,
        state: &mut WrongState,
        effects: &mut Vec<Effect>,
    ) {
        let Ok((header, body)) = RequestHeader::decode(frame.clone()) else {
            return effects.push(Effect::Close);
        };
        let is_produce = header.api_key == ApiKey::Produce.code() && header.supported().is_ok();
        let version = header.api_version;
        let request = is_produce.then(|| decode_request_body::<ProduceRequest>(body, version));
        match request {
            Some(Ok(mut request)) => {
                make_anonymous(&mut request);
                let place = (request.acks != 0).then(|| self.take_place());
                let produce = Produce {
                    header,
                    request,
                    place,
                };
                self.on_produce(produce, state, effects);
            }
            Some(Err(_)) => effects.push(Effect::Close),
            None => {
                let place = Some(self.take_place());
                self.asked.push_back(Asked {
                    place,
                    api_key: header.api_key,
                    version,
                });
                effects.push(Effect::ToBroker(framed(frame)));
            }
        }
    }

    fn take_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place - 1
    }

    fn on_produce(&mut self, produce: Produce, state: &mut WrongState, effects: &mut Vec<Effect>) {
        if let Some(held) = self.held.take_if(|held| is_neighbour(held, &produce)) {
            if let Some((topic, partition, records)) = only_batch(&held.request) {
                state.set_done(&topic, partition, &records[0]);
            }
            self.forward(&produce, effects);
            self.forward(&held, effects);
            return;
        }
        let found = only_batch(&produce.request).filter(|_| !self.is_holding());
        let Some((topic, partition, records)) = found.filter(|_| state.is_next()) else {
            return self.forward(&produce, effects);
        };
        match state.plan.wrong {
            Wrong::Remove => {
                state.set_done(&topic, partition, &records[0]);
                self.pretend(&produce, effects);
            }
            Wrong::Double => {
                state.set_done(&topic, partition, &records[0]);
                self.forward(&produce, effects);
                let again = Produce {
                    place: None,
                    ..produce
                };
                self.forward(&again, effects);
            }
            Wrong::Swap => self.held = Some(produce),
            Wrong::Bend => match bent(&records, state.plan.seed) {
                None => self.forward(&produce, effects),
                Some((batch, index)) => {
                    state.set_done(&topic, partition, &records[index]);
                    let mut produce = produce;
                    produce.request.topic_data[0].partition_data[0].records = Some(batch);
                    self.forward(&produce, effects);
                }
            },
        }
    }

    /// Sends on what was held back too long: the next batch like it will be swapped instead.
    pub(super) fn on_hold_over(&mut self, effects: &mut Vec<Effect>) {
        if let Some(held) = self.held.take() {
            self.forward(&held, effects);
        }
    }

    fn forward(&mut self, produce: &Produce, effects: &mut Vec<Effect>) {
        let header = &produce.header;
        let id = header.correlation_id;
        let client = header.client_id.as_deref();
        match request_frame(&produce.request, header.api_version, id, client) {
            Ok(segments) => effects.push(Effect::ToBroker(segments)),
            Err(_) => return effects.push(Effect::Close),
        }
        if produce.request.acks != 0 {
            self.asked.push_back(Asked {
                place: produce.place,
                api_key: header.api_key,
                version: header.api_version,
            });
        }
    }

    /// Answers as a broker would that has written everything.
    fn pretend(&mut self, produce: &Produce, effects: &mut Vec<Effect>) {
        let Some(place) = produce.place else {
            return;
        };
        let topics = produce.request.topic_data.iter().map(|topic| {
            let partitions =
                topic
                    .partition_data
                    .iter()
                    .map(|partition| PartitionProduceResponse {
                        index: partition.index,
                        base_offset: Offset(0),
                        log_start_offset: Offset(0),
                        ..PartitionProduceResponse::default()
                    });
            TopicProduceResponse {
                name: topic.name.clone(),
                partition_responses: partitions.collect(),
            }
        });
        let response = ProduceResponse {
            responses: topics.collect(),
            ..ProduceResponse::default()
        };
        let header = &produce.header;
        match response_frame(&response, header.api_version, header.correlation_id) {
            Ok(segments) => self.put_answer(place, segments, effects),
            Err(_) => effects.push(Effect::Close),
        }
    }

    /// Takes an answer of the broker.
    pub(super) fn on_response(&mut self, frame: &Bytes, effects: &mut Vec<Effect>) {
        let Some(asked) = self.asked.pop_front() else {
            return effects.push(Effect::Close);
        };
        let Some(place) = asked.place else {
            return;
        };
        match answer(frame, asked.api_key, asked.version, self.address) {
            Some(segments) => self.put_answer(place, segments, effects),
            None => effects.push(Effect::Close),
        }
    }

    fn put_answer(&mut self, place: u64, segments: Vec<Bytes>, effects: &mut Vec<Effect>) {
        self.answers.insert(place, segments);
        while let Some(segments) = self.answers.remove(&self.next_answer) {
            effects.push(Effect::ToClient(segments));
            self.next_answer += 1;
        }
    }
}

fn make_anonymous(request: &mut ProduceRequest) {
    let topics = request.topic_data.iter_mut();
    for partition in topics.flat_map(|topic| &mut topic.partition_data) {
        partition.records = partition.records.take().map(|records| {
            let is_batch = RecordBatch::check(records.clone());
            if is_batch.is_ok() {
                anonymous(records)
            } else {
                records
            }
        });
    }
}

/// Returns topic, partition and records of the batch of a request that holds exactly one, not compressed.
fn only_batch(request: &ProduceRequest) -> Option<(String, PartitionIndex, Vec<Record>)> {
    let [topic] = &request.topic_data[..] else {
        return None;
    };
    let [partition] = &topic.partition_data[..] else {
        return None;
    };
    let records = plain_records(partition.records.as_ref()?)?;
    Some((topic.name.to_string(), partition.index, records))
}

/// Returns whether both requests hold one batch, of the same partition.
fn is_neighbour(first: &Produce, second: &Produce) -> bool {
    let place = |produce: &Produce| {
        let (topic, partition, _) = only_batch(&produce.request)?;
        Some((topic, partition))
    };
    place(second).is_some() && place(first) == place(second)
}
