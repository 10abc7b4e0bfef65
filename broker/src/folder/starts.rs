//! Which starts of processes on a data folder the controllers may know: what tells the folder from an old copy of itself.
//!
//! ```text
//! a start draws an id ─▶ it is noted as told, durably ─▶ registration ─▶ it is noted as acknowledged; those told go
//!                              a crash from here on leaves it among those told ┘
//! ```
//! The controllers keep the id that registered last. It is among these of the folder itself, wherever a crash came; a
//! copy made before that start cannot know it, however often it is started itself. A core.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keylane_protocol::identifiers::StartId;
use keylane_protocol::offset::BrokerEpoch;

use super::checked::take_id;

/// The most starts that are kept as told. Beyond it the oldest is dropped: that the controllers have registered that one
/// and none of so many after it takes as many processes that all ended while they registered, one of them just after.
pub(super) const TOLD_MAX: usize = 64;

/// The starts that the controllers may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starts {
    /// The last start that the controllers have acknowledged; zero for none, or one of a version that drew no ids.
    pub acknowledged: StartId,
    /// The registration that they granted it; -1 likewise.
    pub epoch: BrokerEpoch,
    /// The starts since that have told the controllers of themselves and heard nothing, the oldest first.
    pub told: Vec<StartId>,
}

impl Starts {
    pub(crate) const NONE: Self = Self {
        acknowledged: StartId::ZERO,
        epoch: BrokerEpoch::NONE,
        told: Vec::new(),
    };

    /// Notes a start that is about to tell the controllers of itself.
    pub(crate) fn tell(&mut self, start: StartId) {
        if self.told.last() == Some(&start) {
            return;
        }
        if self.told.len() == TOLD_MAX {
            self.told.remove(0);
        }
        self.told.push(start);
    }

    /// Notes that the controllers have registered a start: none before it can be the last one they know.
    pub(crate) fn acknowledge(&mut self, start: StartId, epoch: BrokerEpoch) {
        *self = Self {
            acknowledged: start,
            epoch,
            told: Vec::new(),
        };
    }

    /// Returns all ids, of which the controllers know one if they know any.
    pub(crate) fn known(&self) -> Vec<StartId> {
        let acknowledged = (self.acknowledged != StartId::ZERO).then_some(self.acknowledged);
        acknowledged.iter().chain(&self.told).copied().collect()
    }

    pub(super) fn put(&self, body: &mut BytesMut) {
        body.put_slice(&self.acknowledged.0);
        body.put_i64(self.epoch.0);
        body.put_u32(u32::try_from(self.told.len()).expect("at most TOLD_MAX"));
        for start in &self.told {
            body.put_slice(&start.0);
        }
    }

    pub(super) fn take(body: &mut Bytes) -> Option<Self> {
        let acknowledged = StartId(take_id(body)?);
        let epoch = BrokerEpoch(body.try_get_i64().ok()?);
        let count = usize::try_from(body.try_get_u32().ok()?).ok()?;
        if count > TOLD_MAX {
            return None;
        }
        let mut told = Vec::with_capacity(count);
        for _ in 0..count {
            told.push(StartId(take_id(body)?));
        }
        Some(Self {
            acknowledged,
            epoch,
            told,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(number: u8) -> StartId {
        StartId([number; 16])
    }

    #[test]
    fn a_start_that_heard_nothing_stays_known_until_one_is_acknowledged() {
        let mut starts = Starts::NONE;
        starts.tell(start(1));
        starts.acknowledge(start(1), BrokerEpoch(4));
        starts.tell(start(2));
        starts.tell(start(2));
        starts.tell(start(3));
        assert_eq!(starts.known(), [start(1), start(2), start(3)]);
        starts.acknowledge(start(3), BrokerEpoch(5));
        assert_eq!(starts.known(), [start(3)]);
    }

    #[test]
    fn many_starts_that_hear_nothing_push_out_the_oldest_of_them_and_never_the_acknowledged_one() {
        let mut starts = Starts::NONE;
        starts.acknowledge(start(200), BrokerEpoch(4));
        for number in 1..=66 {
            starts.tell(start(number));
        }
        let known = starts.known();
        assert_eq!(known.len(), TOLD_MAX + 1);
        assert_eq!(known[..2], [start(200), start(3)]);
        let mut body = BytesMut::new();
        starts.put(&mut body);
        assert_eq!(Starts::take(&mut body.freeze()), Some(starts));
    }

    #[test]
    fn a_count_beyond_the_most_is_damage() {
        let mut body = BytesMut::new();
        Starts::NONE.put(&mut body);
        let mut claimed = body[..24].to_vec();
        claimed.extend(u32::MAX.to_be_bytes());
        assert_eq!(Starts::take(&mut Bytes::from(claimed)), None);
    }
}
