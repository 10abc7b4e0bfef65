//! InitProducerId (key 22), versions 0 to 5: gives a producer its id and epoch (KIP-98).
//!
//! v1 throttles after answering · v2 flexible · v3 a producer may go on with its id (KIP-360) · v4 PRODUCER_FENCED
//! (KIP-588) · v5 TRANSACTION_ABORTABLE (KIP-890). Version 6 (two-phase commit, KIP-939) is not declared.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::ProducerId;
use crate::offset::ProducerEpoch;

exchange!(InitProducerId: InitProducerIdRequest => InitProducerIdResponse);

message! {
    /// Asks for a producer id.
    pub struct InitProducerIdRequest {
        /// The transactional id; `None` for a producer that is only idempotent.
        transactional_id: Option<ByteString> = Some(ByteString::new()),
        /// How long a transaction may stay idle, in milliseconds.
        transaction_timeout_ms: i32,
        /// The id the producer has; -1 for none.
        producer_id: ProducerId [3..] = ProducerId::NONE,
        /// The epoch the producer has; -1 for none.
        producer_epoch: ProducerEpoch [3..] = ProducerEpoch::NONE,
    }
}

message! {
    /// Gives a producer id.
    pub struct InitProducerIdResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// Why there is no id, if so.
        error_code: ErrorCode,
        /// The id; -1 for none.
        producer_id: ProducerId = ProducerId::NONE,
        /// Its epoch.
        producer_epoch: ProducerEpoch,
    }
}
