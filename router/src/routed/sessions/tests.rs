//! One sentence of the rules after the other.

use super::*;

const EPOCH: ProducerEpoch = ProducerEpoch(3);

fn key(producer: i64, topic: u8) -> SessionKey {
    SessionKey {
        producer_id: ProducerId(producer),
        topic_id: TopicId([topic; 16]),
    }
}

/// Number and floor, of one producer and topic.
fn numbered(number: i32, floor: i32) -> Numbered {
    Numbered {
        key: key(1, 1),
        epoch: EPOCH,
        number: Sequence(number),
        floor: Sequence(floor),
        is_first: false,
    }
}

fn first(number: i32, floor: i32) -> Numbered {
    Numbered {
        is_first: true,
        ..numbered(number, floor)
    }
}

/// Takes a number that touches partitions, and returns what touched them before.
fn take(
    sessions: &mut Sessions,
    numbered: Numbered,
    partitions: &[i32],
) -> Result<Vec<i32>, OutOfStep> {
    let partitions = partitions.iter().copied().map(PartitionIndex);
    let touched = sessions.on_split(&numbered, partitions)?;
    let previous = touched.previous.into_iter();
    Ok(previous.map(|number| number.0).collect())
}

fn is_refused(sessions: &mut Sessions, numbered: Numbered) -> OutOfStep {
    let key = numbered.key;
    let refused = take(sessions, numbered, &[0]).expect_err("it may not come");
    assert!(
        !sessions.sessions.contains_key(&key),
        "a refusal ends the session"
    );
    refused
}

#[test]
fn a_session_begins_at_its_floor_only() {
    for begin in [numbered, first] {
        let mut sessions = Sessions::default();
        let refused = is_refused(&mut sessions, begin(6, 5));
        assert_eq!(
            refused,
            OutOfStep::NotAtFloor {
                number: 6,
                floor: 5
            }
        );
        assert_eq!(take(&mut sessions, begin(5, 5), &[0]), Ok(vec![-1]));
    }
}

#[test]
fn a_session_goes_on_without_a_hole_and_nothing_comes_twice() {
    for number in [4, 5, 6, 8, 9] {
        let mut sessions = Sessions::default();
        take(&mut sessions, first(5, 5), &[0]).expect("the first");
        take(&mut sessions, numbered(6, 5), &[0]).expect("the next");
        let floor = number.min(5);
        assert!(take(&mut sessions, numbered(number, floor), &[0]).is_err());
    }
    let mut sessions = Sessions::default();
    take(&mut sessions, first(5, 5), &[0]).expect("the first");
    let refused = is_refused(&mut sessions, numbered(7, 5));
    let hole = OutOfStep::Hole {
        number: 7,
        expected: 6,
    };
    assert_eq!(refused, hole);
    // It does not go on where it was.
    assert!(take(&mut sessions, numbered(6, 5), &[0]).is_err());
    take(&mut sessions, first(5, 5), &[0]).expect("from the floor");
}

#[test]
fn a_floor_above_the_next_number_leaves_out_what_was_given_up() {
    let mut sessions = Sessions::default();
    take(&mut sessions, first(5, 5), &[0]).expect("the first");
    let refused = is_refused(&mut sessions, numbered(9, 8));
    let hole = OutOfStep::Hole {
        number: 9,
        expected: 8,
    };
    assert_eq!(refused, hole);
    take(&mut sessions, first(5, 5), &[0]).expect("the first");
    assert_eq!(take(&mut sessions, numbered(8, 8), &[0]), Ok(vec![-1]));
    assert_eq!(take(&mut sessions, numbered(9, 8), &[0]), Ok(vec![8]));
}

#[test]
fn the_floor_never_falls_within_a_session() {
    let mut sessions = Sessions::default();
    take(&mut sessions, first(5, 5), &[0]).expect("the first");
    take(&mut sessions, numbered(6, 6), &[0]).expect("the next");
    let refused = is_refused(&mut sessions, numbered(7, 5));
    assert_eq!(
        refused,
        OutOfStep::FloorFell {
            floor: 5,
            before: 6
        }
    );
    // Another epoch counts from 0.
    let anew = Numbered {
        epoch: ProducerEpoch(4),
        ..first(0, 0)
    };
    take(&mut sessions, first(7, 7), &[0]).expect("a session");
    take(&mut sessions, anew, &[0]).expect("the next session");
}

#[test]
fn a_session_has_one_epoch() {
    let mut sessions = Sessions::default();
    take(&mut sessions, first(5, 5), &[0]).expect("the first");
    let other = Numbered {
        epoch: ProducerEpoch(4),
        ..numbered(6, 5)
    };
    let refused = is_refused(&mut sessions, other);
    assert_eq!(
        refused,
        OutOfStep::EpochChanged {
            epoch: 4,
            before: 3
        }
    );
}

#[test]
fn numbers_lie_from_the_floor_to_less_than_the_window_beyond() {
    let mut sessions = Sessions::default();
    take(&mut sessions, first(7, 7), &[0]).expect("the first");
    let last = 7 + NUMBERS_MAX - 1;
    for number in 8..=last {
        take(&mut sessions, numbered(number, 7), &[0]).expect("within the window");
    }
    let refused = is_refused(&mut sessions, numbered(last + 1, 7));
    assert!(
        matches!(refused, OutOfStep::AboveWindow { .. }),
        "{refused}"
    );
    let refused = is_refused(&mut sessions, first(7, 8));
    assert!(matches!(refused, OutOfStep::BelowFloor { .. }), "{refused}");
}

#[test]
fn nothing_negative_is_taken_and_nothing_follows_the_last_number() {
    let mut sessions = Sessions::default();
    let no_epoch = Numbered {
        epoch: ProducerEpoch::NONE,
        ..first(0, 0)
    };
    for forged in [
        first(-1, -1),
        first(0, -1),
        first(i32::MIN, i32::MAX),
        no_epoch,
    ] {
        let refused = is_refused(&mut sessions, forged);
        assert!(matches!(refused, OutOfStep::Negative { .. }), "{refused}");
    }
    let last = i32::MAX;
    take(&mut sessions, first(last, last), &[0]).expect("the last");
    let refused = is_refused(&mut sessions, numbered(last, last));
    assert!(matches!(refused, OutOfStep::Hole { .. }), "{refused}");
}

#[test]
fn the_previous_number_is_the_last_of_the_session_that_touched_the_partition() {
    let mut sessions = Sessions::default();
    assert_eq!(
        take(&mut sessions, first(0, 0), &[0, 1, 2]),
        Ok(vec![-1, -1, -1])
    );
    assert_eq!(take(&mut sessions, numbered(1, 0), &[1]), Ok(vec![0]));
    assert_eq!(
        take(&mut sessions, numbered(2, 0), &[0, 1, 3]),
        Ok(vec![0, 1, -1])
    );
    // Of an earlier session nothing is known.
    assert_eq!(take(&mut sessions, first(2, 2), &[0, 1]), Ok(vec![-1, -1]));
}

#[test]
fn a_number_below_the_floor_is_no_previous_one() {
    let mut sessions = Sessions::default();
    take(&mut sessions, first(0, 0), &[0]).expect("the first");
    take(&mut sessions, numbered(1, 0), &[1]).expect("the next");
    assert_eq!(
        take(&mut sessions, numbered(2, 1), &[0, 1]),
        Ok(vec![-1, 1])
    );
}

#[test]
fn topics_and_producers_have_sessions_of_their_own() {
    let mut sessions = Sessions::default();
    for key in [key(1, 1), key(1, 2), key(2, 1)] {
        let begun = Numbered {
            key,
            ..first(40, 40)
        };
        assert_eq!(take(&mut sessions, begun, &[0]), Ok(vec![-1]));
    }
    assert_eq!(sessions.len(), 3);
    assert_eq!(take(&mut sessions, numbered(41, 40), &[0]), Ok(vec![40]));
}

#[test]
fn a_batch_that_cannot_be_split_ends_its_session_and_a_late_refusal_only_its_own() {
    let mut sessions = Sessions::default();
    let touched = |sessions: &mut Sessions, numbered: Numbered| {
        let touched = sessions.on_split(&numbered, [PartitionIndex(0)].into_iter());
        touched.expect("taken").session
    };
    let old = touched(&mut sessions, first(0, 0));
    sessions.end(key(1, 1));
    assert!(sessions.is_empty() && sessions.touched() == 0);
    assert!(take(&mut sessions, numbered(1, 0), &[0]).is_err());
    let new = touched(&mut sessions, first(0, 0));
    sessions.end_this(key(1, 1), old);
    assert_eq!(sessions.len(), 1);
    sessions.end_this(key(1, 1), new);
    assert!(sessions.is_empty());
}

#[test]
fn partitions_below_the_floor_are_forgotten_in_time() {
    let mut sessions = Sessions::default();
    take(&mut sessions, first(0, 0), &[0]).expect("the first");
    for number in 1..10_000 {
        // One request in flight, each to another partition.
        take(&mut sessions, numbered(number, number), &[number]).expect("the next");
        assert!(sessions.touched() <= SWEEP_AT_MIN + 1);
    }
    let many: Vec<i32> = (0..500).collect();
    let mut sessions = Sessions::default();
    take(&mut sessions, first(0, 0), &many).expect("the first");
    for number in 1..100 {
        take(&mut sessions, numbered(number, 0), &many).expect("the next");
    }
    assert_eq!(sessions.touched(), many.len());
}

#[test]
fn at_the_bound_the_sessions_that_were_not_used_for_longest_make_room() {
    const BOUND: usize = 8;
    let mut sessions = Sessions::with_bounds(BOUND, 1000);
    let of = |producer, number, floor| Numbered {
        key: key(producer, 1),
        ..numbered(number, floor)
    };
    for producer in 0..8 {
        take(&mut sessions, of(producer, 0, 0), &[0]).expect("begun");
    }
    // The first is in use.
    take(&mut sessions, of(0, 1, 0), &[0]).expect("the next");
    for producer in 8..12 {
        take(&mut sessions, of(producer, 0, 0), &[0]).expect("begun");
        assert!(sessions.len() <= BOUND);
    }
    assert_eq!(take(&mut sessions, of(0, 2, 0), &[0]), Ok(vec![1]));
    // One that has ended goes on if it has nothing open, and is refused once if it has.
    take(&mut sessions, of(1, 1, 1), &[0]).expect("begun");
    assert!(take(&mut sessions, of(2, 1, 0), &[0]).is_err());
    take(&mut sessions, of(2, 0, 0), &[0]).expect("from the floor");
}

#[test]
fn at_the_bound_of_partitions_room_is_made_and_one_session_alone_is_refused() {
    let mut sessions = Sessions::with_bounds(100, 30);
    let partitions: Vec<i32> = (0..10).collect();
    for producer in 0..20 {
        let begun = Numbered {
            key: key(producer, 1),
            ..first(0, 0)
        };
        take(&mut sessions, begun, &partitions).expect("begun");
        let goes_on = Numbered {
            is_first: false,
            number: Sequence(1),
            ..begun
        };
        let previous = take(&mut sessions, goes_on, &partitions);
        assert_eq!(previous, Ok(vec![0; 10]));
        assert!(sessions.touched() <= 30);
    }
    let too_many: Vec<i32> = (0..31).collect();
    let refused = take(&mut sessions, first(0, 0), &too_many);
    assert_eq!(refused, Err(OutOfStep::TooMuchTouched));
    assert!(sessions.touched() <= 30);
}
