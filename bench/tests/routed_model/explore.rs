//! The search: every state that can be reached, nearest first, each checked once.
//!
//! States are kept whole, in the order in which they were found, each with the one that it was found from; a table of
//! their places stands for the set. Nothing is left to chance: the same start gives the same states in the same order.

use std::fmt::{self, Debug};

use ahash::RandomState;

use super::properties::Violation;

/// What is searched: states, what follows from each, and what must hold of it.
pub(crate) trait Machine {
    type State: Copy + Eq;
    type Step: Copy + Debug;

    /// Calls `visit` with each step that can be taken, and what it leads to.
    fn each(
        &self,
        state: &Self::State,
        visit: &mut impl FnMut(Self::Step, Result<Self::State, Violation>),
    );

    /// Checks a state that was reached.
    fn check(&self, state: &Self::State) -> Result<(), Violation>;

    /// Returns a number to find the state by in a table. Equal states have equal ones.
    fn hash(&self, state: &Self::State, hasher: &RandomState) -> u64;
}

/// What a search has found.
pub(crate) struct Found<M: Machine> {
    pub(crate) states: usize,
    pub(crate) counterexample: Option<Counterexample<M>>,
}

/// A shortest way to a violation.
pub(crate) struct Counterexample<M: Machine> {
    pub(crate) start: M::State,
    pub(crate) steps: Vec<M::Step>,
    pub(crate) violation: Violation,
    /// The violation is what one undisturbed session makes of the last state, or what it does not.
    pub(crate) when_left_undisturbed: bool,
}

impl<M: Machine> Debug for Counterexample<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let undisturbed = if self.when_left_undisturbed {
            ", then left undisturbed"
        } else {
            ""
        };
        writeln!(
            f,
            "{:?} after {} steps{undisturbed}",
            self.violation,
            self.steps.len()
        )?;
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {:2}. {step:?}", index + 1)?;
        }
        Ok(())
    }
}

/// Searches all that can become of the states to start with, up to the first violation.
pub(crate) fn explore<M: Machine>(
    machine: &M,
    starts: impl IntoIterator<Item = M::State>,
) -> Found<M> {
    Search {
        machine,
        found: Vec::new(),
        origins: Vec::new(),
        table: vec![0; 1 << 10],
        hasher: RandomState::with_seeds(1, 2, 3, 4),
    }
    .run(starts)
}

struct Search<'a, M: Machine> {
    machine: &'a M,
    found: Vec<M::State>,
    /// For each state, the place of the one that it was found from; its own for one to start with.
    origins: Vec<u32>,
    /// Places of states, counted from one, found by hash and open addressing; 0 is free.
    table: Vec<u32>,
    hasher: RandomState,
}

impl<M: Machine> Search<'_, M> {
    fn run(mut self, starts: impl IntoIterator<Item = M::State>) -> Found<M> {
        for start in starts {
            self.insert(start, self.found.len());
        }
        let mut place = 0;
        while place < self.found.len() {
            if let Err((last, violation)) = self.expand(place) {
                let counterexample = Some(self.counterexample(place, last, violation));
                return Found {
                    states: self.found.len(),
                    counterexample,
                };
            }
            place += 1;
        }
        Found {
            states: self.found.len(),
            counterexample: None,
        }
    }

    /// Checks a state and adds those that follow from it.
    fn expand(&mut self, place: usize) -> Result<(), (Option<M::Step>, Violation)> {
        let machine = self.machine;
        let state = self.found[place];
        machine
            .check(&state)
            .map_err(|violation| (None, violation))?;
        let mut failed = None;
        machine.each(&state, &mut |step, outcome| match outcome {
            Ok(next) => self.insert(next, place),
            Err(violation) => failed = failed.or(Some((Some(step), violation))),
        });
        failed.map_or(Ok(()), Err)
    }

    fn insert(&mut self, state: M::State, origin: usize) {
        if self.found.len() * 2 >= self.table.len() {
            self.grow();
        }
        if let Some(free) = self.free_slot(&state) {
            self.found.push(state);
            self.origins.push(place_of(origin));
            self.table[free] = place_of(self.found.len());
        }
    }

    /// Returns the slot that a state is to have, unless it has one.
    fn free_slot(&self, state: &M::State) -> Option<usize> {
        let mask = self.table.len() - 1;
        let mut slot = self.machine.hash(state, &self.hasher) as usize & mask;
        loop {
            match self.table[slot] {
                0 => return Some(slot),
                place if self.found[place as usize - 1] == *state => return None,
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        self.table = vec![0; self.table.len() * 2];
        for place in 0..self.found.len() {
            if let Some(free) = self.free_slot(&self.found[place]) {
                self.table[free] = place_of(place + 1);
            }
        }
    }

    /// Tells how a state was reached, and what came of one more step.
    fn counterexample(
        &self,
        place: usize,
        last: Option<M::Step>,
        violation: Violation,
    ) -> Counterexample<M> {
        let mut way = vec![place];
        let mut place = place;
        while self.origins[place] as usize != place {
            place = self.origins[place] as usize;
            way.push(place);
        }
        way.reverse();
        let mut steps: Vec<M::Step> = way.windows(2).map(|pair| self.step_between(pair)).collect();
        steps.extend(last);
        Counterexample {
            start: self.found[place],
            steps,
            violation,
            when_left_undisturbed: last.is_none(),
        }
    }

    fn step_between(&self, pair: &[usize]) -> M::Step {
        let (from, to) = (self.found[pair[0]], self.found[pair[1]]);
        let mut between = None;
        self.machine.each(&from, &mut |step, outcome| {
            if between.is_none() && outcome.is_ok_and(|next| next == to) {
                between = Some(step);
            }
        });
        between.expect("each state was found by a step from its origin")
    }
}

fn place_of(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2^32 states")
}
