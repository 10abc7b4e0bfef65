//! Every crash point of a workload in one run: what may become of the disk at each of its operations.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::fault::{Fault, Kind};
use super::{SimulatedDisk, State};
use crate::disk::DiskError;

pub(super) type Visitor = Box<dyn FnMut(&Moment<'_>) + Send>;

type InPart<'a> = &'a dyn Fn(&mut State, Fault) -> Result<(), DiskError>;

/// An operation of a workload, just before it is done.
pub struct Moment<'a> {
    state: &'a State,
    kind: Kind,
    in_part: InPart<'a>,
}

impl Moment<'_> {
    /// Returns the operation's number.
    #[must_use]
    pub fn operation(&self) -> u64 {
        self.state.operations
    }

    /// Returns whether the operation is a sync.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        self.kind == Kind::Sync
    }

    /// Returns a disk on which the power goes now, torn by the seed; [`SimulatedDisk::restart`] brings it back.
    #[must_use]
    pub fn power_cut(&self, seed: u64) -> SimulatedDisk {
        let operation = self.state.operations;
        self.after(Fault::PowerCut { operation }, seed)
    }

    /// Returns a disk on which the operation fails; the process that asked for it has ended, the machine has not.
    #[must_use]
    pub fn failed(&self) -> SimulatedDisk {
        let operation = self.state.operations;
        self.after(Fault::Failed { operation }, operation)
    }

    fn after(&self, fault: Fault, seed: u64) -> SimulatedDisk {
        let mut state = self.state.clone();
        state.random = SmallRng::seed_from_u64(seed);
        state.locks.clear();
        state.faults.clear();
        // An operation that is refused anyway, for its handle is of a former power cycle, changes nothing.
        let _ = state.meet(fault, self.in_part);
        SimulatedDisk::with(state)
    }
}

impl SimulatedDisk {
    /// Shows each operation from now on before it is done. The visitor must not use this disk, only those it is given.
    ///
    /// # Panics
    /// When a visitor panicked before.
    pub fn visit(&self, visitor: impl FnMut(&Moment<'_>) + Send + 'static) {
        *self.visitor.lock().expect("no visitor panicked") = Some(Box::new(visitor));
    }

    pub(super) fn show(&self, state: &State, kind: Kind, in_part: InPart<'_>) {
        let mut visitor = self.visitor.lock().expect("no visitor panicked");
        if let Some(visit) = visitor.as_mut() {
            visit(&Moment {
                state,
                kind,
                in_part,
            });
        }
    }
}
