//! InitRoutedProducer (key 20001, ours), version 0: gives a routed producer its id and epoch.
//!
//! The id is 2^62 or above, where plain ids never are: from the id alone a broker knows, also when it reads its log after
//! a crash, by which rule a batch was numbered. See [`super::routed_produce`].

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::ProducerId;
use crate::offset::ProducerEpoch;

exchange!(InitRoutedProducer: InitRoutedProducerRequest => InitRoutedProducerResponse);

message! {
    /// Asks for an id that nobody else has.
    pub struct InitRoutedProducerRequest {
        /// How long after it was first sent a batch is given up at the latest, in milliseconds; refused if that is
        /// more than a quarter of the answer's expiry.
        delivery_timeout_ms: i64,
    }
}

message! {
    /// Gives an id.
    pub struct InitRoutedProducerResponse {
        /// Why there is no id, if so.
        error_code: ErrorCode,
        /// The error for people.
        error_message: Option<ByteString>,
        /// The id; -1 for none.
        producer_id: ProducerId = ProducerId::NONE,
        /// The epoch to begin with.
        producer_epoch: ProducerEpoch = ProducerEpoch::NONE,
        /// How long after a producer's last batch it is remembered, in milliseconds. Nothing of it may arrive later: a
        /// batch must be given up within a quarter of this after it was first sent.
        expiry_ms: i64 = -1,
    }
}
