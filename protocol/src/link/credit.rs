//! The append bytes under way on a link, as both ends count them: never more than the window.
//!
//! ```text
//! dialer    Spending   spend ────── Append ──────▶   receive   Granting   listener
//!                      granted ◀─── Credit ───────   release, take_grant
//! ```
//! A sub-batch that alone costs more than the window goes when nothing else is under way.

/// Bytes that break the agreement on credit; the link must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreditViolation {
    /// The dialer sends more than it was granted.
    #[error("{cost} append bytes arrived with {under_way} of {window} granted bytes under way")]
    Overspent {
        /// What arrived.
        cost: usize,
        /// What was under way.
        under_way: usize,
        /// What is granted in all.
        window: usize,
    },
    /// The listener gives back more than was sent.
    #[error("{bytes} append bytes were given back with {under_way} under way")]
    NotUnderWay {
        /// What was given back.
        bytes: usize,
        /// What was under way.
        under_way: usize,
    },
}

fn fits(cost: usize, under_way: usize, window: usize) -> bool {
    under_way == 0 || under_way.saturating_add(cost) <= window
}

/// The dialer's count.
#[derive(Clone, Debug)]
pub struct Spending {
    window: usize,
    under_way: usize,
}

impl Spending {
    /// Returns the count at the beginning of a link, with what the Welcome granted.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self {
            window,
            under_way: 0,
        }
    }

    /// Returns whether so much may be sent now.
    #[must_use]
    pub fn covers(&self, cost: usize) -> bool {
        fits(cost, self.under_way, self.window)
    }

    /// Counts what is sent.
    ///
    /// # Panics
    /// When the credit does not cover it.
    pub fn spend(&mut self, cost: usize) {
        assert!(self.covers(cost), "credit is asked for before it is spent");
        self.under_way += cost;
    }

    /// Takes back what was spent on something that was not sent after all.
    ///
    /// # Panics
    /// When more comes back than was spent.
    pub fn refund(&mut self, cost: usize) {
        assert!(cost <= self.under_way, "what was spent comes back once");
        self.under_way -= cost;
    }

    /// Counts what the listener gave back.
    ///
    /// # Errors
    /// When it is more than was sent.
    pub fn granted(&mut self, bytes: usize) -> Result<(), CreditViolation> {
        let under_way = self.under_way;
        match under_way.checked_sub(bytes) {
            Some(left) => self.under_way = left,
            None => return Err(CreditViolation::NotUnderWay { bytes, under_way }),
        }
        Ok(())
    }

    /// Returns the bytes sent and not given back.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }
}

/// The listener's count.
#[derive(Clone, Debug)]
pub struct Granting {
    window: usize,
    step: usize,
    held: usize,
    returnable: usize,
}

impl Granting {
    /// Returns the count at the beginning of a link, with what the Welcome granted.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self {
            window,
            step: window / super::limits::CREDIT_STEP_DIVISOR,
            held: 0,
            returnable: 0,
        }
    }

    /// Counts what arrived.
    ///
    /// # Errors
    /// When it is more than was granted.
    pub fn receive(&mut self, cost: usize) -> Result<(), CreditViolation> {
        let under_way = self.held + self.returnable;
        if !fits(cost, under_way, self.window) {
            return Err(CreditViolation::Overspent {
                cost,
                under_way,
                window: self.window,
            });
        }
        self.held += cost;
        Ok(())
    }

    /// Counts what is durable, was refused or dropped, and so holds no memory that the credit guards any more.
    ///
    /// # Panics
    /// When more is released than was received.
    pub fn release(&mut self, cost: usize) {
        assert!(cost <= self.held, "what arrived is released once");
        self.held -= cost;
        self.returnable += cost;
    }

    /// Returns what is to be given back now: an eighth of the window at least, or all there is when nothing is held,
    /// so that a dialer which waits for a large part is never left waiting.
    pub fn take_grant(&mut self) -> Option<usize> {
        let is_due = self.returnable >= self.step.max(1) || self.held == 0;
        (is_due && self.returnable > 0).then(|| std::mem::take(&mut self.returnable))
    }

    /// Returns the bytes that arrived and were not given back.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.held + self.returnable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_comes_back_in_steps_and_whole_when_nothing_is_held() {
        let mut granting = Granting::new(800);
        for _ in 0..4 {
            granting.receive(60).expect("granted");
        }
        granting.release(60);
        assert_eq!(granting.take_grant(), None);
        granting.release(60);
        assert_eq!(granting.take_grant(), Some(120));
        granting.release(60);
        assert_eq!(granting.take_grant(), None);
        granting.release(60);
        assert_eq!(granting.take_grant(), Some(120));
        assert_eq!(granting.take_grant(), None);
    }

    #[test]
    fn what_costs_more_than_the_window_goes_alone() {
        let mut spending = Spending::new(100);
        spending.spend(40);
        assert!(spending.covers(60) && !spending.covers(61) && !spending.covers(500));
        spending.granted(40).expect("was under way");
        spending.spend(500);
        assert!(!spending.covers(1));
        let mut granting = Granting::new(100);
        granting.receive(500).expect("alone");
        assert!(granting.receive(1).is_err());
    }

    #[test]
    fn more_than_was_sent_is_not_given_back() {
        let mut spending = Spending::new(100);
        spending.spend(40);
        assert!(spending.granted(41).is_err());
    }
}
