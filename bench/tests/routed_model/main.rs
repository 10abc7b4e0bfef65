//! A model of routed idempotence: one producer, two routers, two partitions, and whatever may go wrong between them.
//!
//! `rules.rs` is the specification, to be read beside `docs/routed-idempotence.md`; every state within a scope's bounds
//! is reached and checked. It knows nothing of the real code, which `conformance.rs` alone compares with it. Scopes too
//! large for each run are ignored here; the document tells how to run them.

#![allow(
    clippy::print_stdout,
    reason = "how many states there are is part of the result"
)]

mod answering;
mod bugs;
mod conformance;
mod explore;
mod frame;
mod leader;
mod lone_leader;
mod model;
mod properties;
mod rules;
mod scope;
mod sending;
mod world;

use bugs::{BANK_OF_LONE_LEADER, Bug};
use explore::explore;
use leader::Leader;
use lone_leader::LoneLeader;
use model::Model;
use rules::{KEYLESS, Rules};
use scope::{Scope, patterns_of, touch_patterns, touch_patterns_but_for_exchange};
use world::World;

/// Searches the scope, one sequence of batches after the other, and prints how many states there are.
fn check(scope: &Scope) {
    let model = Model::new(scope);
    let mut states = 0;
    for batches in &scope.batches {
        let found = explore(&model, [World::new(batches, scope.partitions)]);
        states += found.states;
        if let Some(counterexample) = found.counterexample {
            panic!("with batches of {batches:?}: {counterexample:?}");
        }
    }
    println!(
        "{states} states of {} sequences of batches",
        scope.batches.len()
    );
}

#[test]
fn what_is_not_durable_may_be_lost() {
    let batches = touch_patterns_but_for_exchange(3);
    check(&Scope {
        loses_tails: true,
        ..Scope::new(batches)
    });
}

#[test]
fn leaders_that_begin_anew_remember_a_window() {
    check(&Scope {
        leaders_restart: true,
        loses_tails: true,
        gives_up: false,
        window: 2,
        ..Scope::new(touch_patterns_but_for_exchange(3))
    });
}

#[test]
fn batches_and_parts_may_be_refused_for_good() {
    check(&Scope {
        refuses: true,
        loses_tails: true,
        gives_up: false,
        ..Scope::new(touch_patterns_but_for_exchange(3))
    });
}

#[test]
fn a_topic_grows_between_a_batch_and_its_repetition() {
    check(&Scope {
        partitions: 1,
        grows: true,
        loses_tails: true,
        gives_up: false,
        ..Scope::new(touch_patterns(3))
    });
}

#[test]
fn records_without_a_key_stay_where_their_number_put_them() {
    check(&Scope {
        partitions: 1,
        grows: true,
        gives_up: false,
        ..Scope::new(patterns_of(3, &[0b11, KEYLESS]))
    });
}

#[test]
fn the_next_epoch_begins_when_everything_is_settled() {
    check(&Scope {
        next_epoch: true,
        loses_tails: true,
        ..Scope::new(touch_patterns_but_for_exchange(3))
    });
}

#[test]
fn everything_at_once_befalls_two_batches() {
    check(&Scope {
        partitions: 1,
        grows: true,
        loses_tails: true,
        leaders_restart: true,
        refuses: true,
        next_epoch: true,
        ..Scope::new(touch_patterns(2))
    });
}

#[test]
fn what_is_known_expires_when_nothing_old_can_arrive() {
    check(&Scope {
        expiry: Some(3),
        loses_tails: true,
        next_epoch: true,
        ..Scope::new(touch_patterns_but_for_exchange(2))
    });
}

#[test]
fn what_is_known_outlives_requests_that_routers_have_not_read() {
    check(&Scope {
        routers_are_late: true,
        expiry: Some(4),
        ..Scope::new(vec![vec![0b01], vec![0b11]])
    });
}

#[test]
fn routers_read_late_and_a_session_begins_beside_another() {
    check(&Scope {
        routers_are_late: true,
        loses_tails: true,
        gives_up: false,
        ..Scope::new(touch_patterns_but_for_exchange(2))
    });
}

#[test]
#[ignore = "by hand, in release"]
fn large_everything_but_time_befalls_three_batches() {
    check(&Scope {
        partitions: 1,
        grows: true,
        loses_tails: true,
        leaders_restart: true,
        refuses: true,
        next_epoch: true,
        ..Scope::new(touch_patterns(3))
    });
}

#[test]
#[ignore = "by hand, in release"]
fn large_four_batches_and_leaders_that_begin_anew() {
    check(&Scope {
        loses_tails: true,
        leaders_restart: true,
        gives_up: false,
        window: 3,
        ..Scope::new(touch_patterns_but_for_exchange(4))
    });
}

#[test]
#[ignore = "by hand, in release"]
fn large_four_batches_given_up_and_lost() {
    check(&Scope {
        loses_tails: true,
        ..Scope::new(touch_patterns_but_for_exchange(4))
    });
}

#[test]
#[ignore = "by hand, in release"]
fn large_time_passes_for_three_batches() {
    check(&Scope {
        expiry: Some(3),
        loses_tails: true,
        ..Scope::new(touch_patterns_but_for_exchange(3))
    });
}

#[test]
#[ignore = "by hand, in release"]
fn large_late_routers_and_everything_that_befalls_two_batches() {
    check(&Scope {
        routers_are_late: true,
        loses_tails: true,
        leaders_restart: true,
        refuses: true,
        ..Scope::new(touch_patterns_but_for_exchange(2))
    });
}

#[test]
#[ignore = "by hand, in release"]
fn large_late_routers_of_three_batches() {
    check(&Scope {
        routers_are_late: true,
        gives_up: false,
        ..Scope::new(touch_patterns_but_for_exchange(3))
    });
}

#[test]
fn a_leader_alone_never_writes_or_acknowledges_what_it_must_not() {
    let found = explore(&lone_leader(None), [Leader::default()]);
    println!("{} states", found.states);
    if let Some(counterexample) = found.counterexample {
        panic!("{counterexample:?}");
    }
}

#[test]
fn every_deliberate_bug_is_found() {
    for scope in bugs::bank() {
        let model = Model::new(&scope);
        let starts = (scope.batches.iter()).map(|batches| World::new(batches, scope.partitions));
        let found = explore(&model, starts);
        let bug = scope.bug.expect("each of the bank has a bug");
        match found.counterexample {
            Some(counterexample) => {
                let records = counterexample.start.records;
                println!(
                    "{bug:?}, {} states, batches of {records:?}: {counterexample:?}",
                    found.states
                );
            }
            None => panic!("{bug:?} goes unnoticed in {} states", found.states),
        }
    }
}

#[test]
fn every_deliberate_bug_of_a_leader_alone_is_found() {
    for bug in BANK_OF_LONE_LEADER {
        match explore(&lone_leader(Some(bug)), [Leader::default()]).counterexample {
            Some(counterexample) => println!("{bug:?}, alone: {counterexample:?}"),
            None => panic!("{bug:?} goes unnoticed at a leader alone"),
        }
    }
}

fn lone_leader(bug: Option<Bug>) -> LoneLeader {
    let rules = Rules {
        window: 4,
        expiry: u8::MAX,
        bug,
    };
    LoneLeader { rules }
}
