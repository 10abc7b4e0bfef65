//! Numbers that count within a partition, each its own type so that none can be taken for another.

number! {
    /// The place of a record in its partition, counted from 0.
    Offset(i64)
}

number! {
    /// How often leadership of a partition has changed hands (KIP-101); -1 means unknown.
    LeaderEpoch(i32)
}

number! {
    /// Fences older instances of one producer id (KIP-98); -1 means none.
    ProducerEpoch(i16)
}

number! {
    /// The number of a record among those of one producer, epoch and partition (KIP-98); -1 means none.
    Sequence(i32)
}

number! {
    /// Which registration of a broker or router; a later one has a higher epoch (KIP-500); -1 means none.
    BrokerEpoch(i64)
}

number! {
    /// How often a partition's entry in the metadata has changed (KIP-497).
    PartitionEpoch(i32)
}

impl Offset {
    /// Returns the offset `count` records further on.
    #[must_use]
    pub fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

impl LeaderEpoch {
    /// No epoch is known.
    pub const NONE: Self = Self(-1);
}

impl BrokerEpoch {
    /// No registration.
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    /// The batch has no producer.
    pub const NONE: Self = Self(-1);
}

impl Sequence {
    /// The batch has no producer.
    pub const NONE: Self = Self(-1);

    /// Returns the sequence `count` records further on; 0 follows `i32::MAX`.
    #[must_use]
    pub fn plus(self, count: i32) -> Self {
        let sum = i64::from(self.0) + i64::from(count);
        let modulus = i64::from(i32::MAX) + 1;
        Self(i32::try_from(sum.rem_euclid(modulus)).expect("a remainder below 2^31 fits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(5), Sequence(3));
    }
}
