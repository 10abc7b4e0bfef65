//! A lane flat out does not hold up another, in either direction, nor does a large body; and bounds are kept to.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::link::append::{Credit, Outcome, SubBatch, cost};
use crate::link::call::{Call, Ping};
use crate::link::lane::{Answer, Flow, LaneOpen, Request};
use crate::link::limits::{APPEND_FRAME_BYTES_MAX, CHUNK_BYTES_MAX, QUANTUM_BYTES};
use crate::link::{Body, Correlation, Frame, Inbox, Lane, NoRoom, Outbox};

#[allow(clippy::disallowed_methods, reason = "a test needs some instant")]
fn start() -> Instant {
    Instant::now()
}

fn body(length: usize) -> Body {
    Bytes::from(vec![7; length]).into()
}

fn sub_batch(lane: Lane, correlation: u64, length: usize) -> SubBatch {
    SubBatch {
        lane,
        correlation: Correlation(correlation),
        acks: -1,
        records: body(length),
        ..SubBatch::default()
    }
}

/// Returns the bytes of the frames before the first that `is_it`.
fn bytes_before(outbox: &mut Outbox, now: Instant, is_it: impl Fn(&Frame) -> bool) -> usize {
    let mut bytes = 0;
    loop {
        let frame = outbox.next_frame(now).expect("the frame comes");
        if is_it(&frame) {
            return bytes;
        }
        let segments = frame.encode().expect("it can be encoded");
        bytes += segments.iter().map(Bytes::len).sum::<usize>();
    }
}

#[test]
fn a_lane_flat_out_holds_up_another_lanes_append_by_two_frames_at_most() {
    let now = start();
    let later = now + Duration::from_secs(30);
    let mut outbox = Outbox::new(64 << 20);
    let busy = outbox.open_lane(LaneOpen::default());
    let slow = outbox.open_lane(LaneOpen::default());
    for correlation in 1..=200 {
        let queued = outbox.append(sub_batch(busy, correlation, 100_000), later);
        queued.expect("there is room");
    }
    for _ in 0..4 {
        outbox.next_frame(now).expect("two opens and two appends");
    }
    let queued = outbox.append(sub_batch(slow, 1000, 1000), later);
    queued.expect("there is room");
    let before = bytes_before(&mut outbox, now, |frame| match frame {
        Frame::Append(append) => append.sub_batches.iter().any(|part| part.lane == slow),
        _ => false,
    });
    assert!(
        before <= 2 * APPEND_FRAME_BYTES_MAX,
        "{before} bytes before"
    );
}

#[test]
fn small_appends_travel_together_however_many_are_of_one_lane() {
    let now = start();
    let later = now + Duration::from_secs(30);
    let mut outbox = Outbox::new(64 << 20);
    let shared = outbox.open_lane(LaneOpen::default());
    let others: Vec<Lane> = (0..10)
        .map(|_| outbox.open_lane(LaneOpen::default()))
        .collect();
    while outbox.next_frame(now).is_some() {}
    for correlation in 1..=1000 {
        let of_shared = sub_batch(shared, 2 * correlation, 100);
        outbox.append(of_shared, later).expect("there is room");
        let place = usize::try_from(correlation).expect("small") % others.len();
        let of_other = sub_batch(others[place], 2 * correlation + 1, 100);
        outbox.append(of_other, later).expect("there is room");
    }
    let Some(Frame::Append(append)) = outbox.next_frame(now) else {
        panic!("sub-batches are due");
    };
    assert_eq!(append.sub_batches.len(), 2000);
    assert_eq!(outbox.next_frame(now), None);
    let of_shared = append.sub_batches.iter();
    let of_shared = of_shared.filter(|sub_batch| sub_batch.lane == shared);
    assert!(of_shared.is_sorted_by_key(|sub_batch| sub_batch.correlation));
}

#[test]
fn lanes_flat_out_share_the_credit_evenly() {
    let now = start();
    let later = now + Duration::from_secs(30);
    let mut outbox = Outbox::new(8 << 20);
    let lanes: Vec<Lane> = (0..4)
        .map(|_| outbox.open_lane(LaneOpen::default()))
        .collect();
    for correlation in 0..400 {
        let lane = lanes[correlation as usize % 2];
        let queued = outbox.append(sub_batch(lane, correlation, 60_000), later);
        queued.expect("there is room");
        let lane = lanes[2 + correlation as usize % 2];
        let queued = outbox.append(sub_batch(lane, 1000 + correlation, 3000), later);
        queued.expect("there is room");
    }
    let mut bytes = [0; 4];
    let mut sent = 0;
    while let Some(frame) = outbox.next_frame(now) {
        let Frame::Append(append) = frame else {
            continue;
        };
        for part in append.sub_batches {
            let place = lanes.iter().position(|lane| *lane == part.lane);
            bytes[place.expect("one of the lanes")] += part.records.len();
            sent += part.records.len();
        }
    }
    assert!(sent > 7 << 20, "only {sent} bytes used the credit");
    // The two with small records have 600,000 bytes each, and the rest is for the two others alike.
    assert_eq!(bytes[2], 600_000);
    assert_eq!(bytes[3], 600_000);
    assert!(bytes[0].abs_diff(bytes[1]) <= QUANTUM_BYTES, "{bytes:?}");
}

#[test]
fn a_large_answer_holds_up_others_by_its_quantum_at_most() {
    let now = start();
    let mut outbox = Outbox::new(0);
    for lane in [1, 2, 3] {
        outbox.accept_lane(Lane(lane));
    }
    let answer = |lane, length| Answer {
        lane: Lane(lane),
        correlation: Correlation(lane),
        chunk: body(length),
        ..Answer::default()
    };
    outbox.answer(answer(1, 50 << 20)).expect("queued");
    outbox.next_frame(now).expect("a chunk");
    outbox.answer(answer(2, 50_000)).expect("queued");
    outbox.answer(answer(3, 1000)).expect("queued");
    let of = |wanted| move |frame: &Frame| matches!(frame, Frame::Answer(a) if a.lane == wanted);
    let before_small = bytes_before(&mut outbox, now, of(Lane(3)));
    assert_eq!(before_small, 0, "acknowledgements come first");
    let before = bytes_before(&mut outbox, now, of(Lane(2)));
    assert!(before <= QUANTUM_BYTES, "{before} bytes before");
}

#[test]
fn appends_and_requests_alternate_byte_for_byte() {
    let now = start();
    let later = now + Duration::from_secs(30);
    let mut outbox = Outbox::new(64 << 20);
    let appending = outbox.open_lane(LaneOpen::default());
    for correlation in 1..=200 {
        let queued = outbox.append(sub_batch(appending, correlation, 100_000), later);
        queued.expect("there is room");
    }
    let call = Call {
        correlation: Correlation(999),
        chunk: body(10 << 20),
        ..Call::default()
    };
    outbox.call(call, later).expect("there is room");
    let (mut appended, mut called) = (0_usize, 0_usize);
    for _ in 0..100 {
        match outbox.next_frame(now) {
            Some(Frame::Append(append)) => {
                let lengths = append.sub_batches.iter().map(|part| part.records.len());
                appended += lengths.sum::<usize>();
            }
            Some(Frame::Call(call)) => called += call.chunk.len(),
            Some(Frame::Continue(next)) => called += next.chunk.len(),
            _ => {}
        }
    }
    let most = APPEND_FRAME_BYTES_MAX + CHUNK_BYTES_MAX;
    assert!(
        called > 4 << 20 && appended.abs_diff(called) <= most,
        "{appended} {called}"
    );
}

#[test]
fn who_waits_for_room_gets_it_in_turn_however_large() {
    let now = start();
    let later = now + Duration::from_secs(30);
    let mut outbox = Outbox::with_queue_bytes_max(64 << 20, 1 << 20);
    let lanes: Vec<Lane> = (0..3)
        .map(|_| outbox.open_lane(LaneOpen::default()))
        .collect();
    while outbox.next_frame(now).is_some() {}
    let request = |lane: Lane, correlation, length| Request {
        lane,
        correlation: Correlation(correlation),
        chunk: body(length),
        ..Request::default()
    };
    outbox
        .request(request(lanes[0], 1, 900_000), later)
        .expect("there is room");
    let large = request(lanes[1], 2, 1_000_000);
    let refused = outbox.request(large.clone(), later).expect_err("full");
    assert_eq!(
        (refused.item, refused.reason),
        (large.clone(), NoRoom::Full)
    );
    // There would be room for the small one, but the large one was before it.
    let small = request(lanes[2], 3, 1000);
    assert!(outbox.request(small.clone(), later).is_err());
    assert_eq!(outbox.take_woken(), []);
    while outbox.next_frame(now).is_some() {}
    assert_eq!(outbox.take_woken(), [lanes[1], lanes[2]]);
    let tiny = request(lanes[0], 4, 100_000);
    assert!(outbox.request(tiny, later).is_err(), "room is set aside");
    outbox
        .request(small, later)
        .expect("its room was set aside");
    outbox
        .request(large, later)
        .expect("its room was set aside");
}

#[test]
fn room_set_aside_and_not_taken_is_free_after_the_deadline() {
    let now = start();
    let soon = now + Duration::from_secs(1);
    let later = now + Duration::from_secs(30);
    let mut outbox = Outbox::with_queue_bytes_max(0, 1 << 20);
    let lanes: Vec<Lane> = (0..3)
        .map(|_| outbox.open_lane(LaneOpen::default()))
        .collect();
    while outbox.next_frame(now).is_some() {}
    let request = |lane| Request {
        lane,
        correlation: Correlation(lane.0),
        chunk: body(900_000),
        ..Request::default()
    };
    outbox
        .request(request(lanes[0]), later)
        .expect("there is room");
    assert!(outbox.request(request(lanes[1]), soon).is_err());
    while outbox.next_frame(now).is_some() {}
    assert!(outbox.request(request(lanes[2]), later).is_err());
    assert_eq!(outbox.next_deadline(), Some(soon));
    assert_eq!(outbox.take_never_sent(soon), []);
    outbox
        .request(request(lanes[2]), later)
        .expect("there is room");
}

#[test]
fn a_full_queue_keeps_no_call_from_going() {
    let now = start();
    let later = now + Duration::from_secs(30);
    let mut outbox = Outbox::with_queue_bytes_max(0, 1 << 20);
    let lane = outbox.open_lane(LaneOpen::default());
    let request = |correlation| Request {
        lane,
        correlation: Correlation(correlation),
        chunk: body(900_000),
        ..Request::default()
    };
    outbox.request(request(1), later).expect("there is room");
    assert!(outbox.request(request(2), later).is_err());
    let call = |correlation, length| Call {
        correlation: Correlation(correlation),
        chunk: body(length),
        ..Call::default()
    };
    outbox
        .call(call(3, 1_000_000), later)
        .expect("there is room");
    let refused = outbox.call(call(4, 17 << 20), later).expect_err("full");
    assert_eq!(refused.reason, NoRoom::Full);
    let before = bytes_before(&mut outbox, now, |frame| matches!(frame, Frame::Call(_)));
    assert!(before <= 2 * QUANTUM_BYTES, "{before} bytes before");
}

/// A listener that answers lanes 1 to 9 at length, and the dialer they go to.
struct Answering {
    now: Instant,
    outbox: Outbox,
    inbox: Inbox,
    bytes: Bytes,
}

impl Answering {
    fn new() -> Self {
        let mut outbox = Outbox::new(0);
        let mut inbox = Inbox::dialer();
        for lane in (1..10).map(Lane) {
            outbox.accept_lane(lane);
            inbox.open_lane(lane);
        }
        Self {
            now: start(),
            outbox,
            inbox,
            bytes: Bytes::from(vec![7; 100 << 20]),
        }
    }

    fn answer(&mut self, lane: u64, length: usize) {
        let answer = Answer {
            lane: Lane(lane),
            correlation: Correlation(lane),
            chunk: self.bytes.slice(..length).into(),
            ..Answer::default()
        };
        self.outbox.answer(answer).expect("not too long");
    }

    /// Moves one frame; returns its bytes, and the lane whose answer it makes whole.
    fn carry(&mut self) -> Option<(usize, Option<Lane>)> {
        let frame = self.outbox.next_frame(self.now)?;
        let length = match &frame {
            Frame::Answer(answer) => answer.chunk.len(),
            Frame::Continue(next) => next.chunk.len(),
            _ => 0,
        };
        match self.inbox.on_frame(frame).expect("within the rules") {
            Some(Frame::Answer(answer)) => Some((length, Some(answer.lane))),
            _ => Some((length, None)),
        }
    }

    fn carry_all(&mut self) -> Vec<Lane> {
        let each = std::iter::from_fn(|| self.carry());
        each.filter_map(|(_, whole)| whole).collect()
    }
}

#[test]
fn no_more_is_begun_than_the_receiver_may_hold_and_dropped_bodies_make_room() {
    let mut link = Answering::new();
    for lane in 1..=3 {
        link.answer(lane, 60 << 20);
    }
    for _ in 0..100 {
        link.carry().expect("a chunk");
    }
    let begun = link.inbox.assembled_bytes();
    assert!(begun > 2 << 20, "only {begun} bytes were begun");
    for lane in [1, 2] {
        let (flow, correlation) = (Flow::Lane(Lane(lane)), Correlation(lane));
        link.outbox.drop_answer(flow, correlation);
    }
    for lane in 4..=5 {
        link.answer(lane, 60 << 20);
    }
    let mut whole = link.carry_all();
    whole.sort_unstable();
    assert_eq!(whole, [Lane(3), Lane(4), Lane(5)]);
    assert_eq!(link.outbox.queued_bytes(), 0);
}

#[test]
fn a_body_as_long_as_any_is_not_passed_for_ever() {
    let mut link = Answering::new();
    // Of different lengths, so that they never end all at once and leave room by chance.
    for lane in 2..=9 {
        link.answer(lane, usize::try_from(lane).expect("small") << 19);
    }
    let mut bytes = 0;
    let mut is_asked = false;
    loop {
        let (length, whole) = link.carry().expect("a chunk");
        bytes += length;
        assert!(bytes < 1 << 30, "a gigabyte has passed it");
        match whole {
            Some(Lane(1)) => break,
            Some(Lane(lane)) => link.answer(lane, 8 << 20),
            None => {}
        }
        if bytes > 60 << 20 && !is_asked {
            is_asked = true;
            link.answer(1, 100 << 20);
        }
    }
}

#[test]
fn what_the_credit_does_not_cover_is_not_passed_by_what_it_does() {
    let now = start();
    let later = now + Duration::from_secs(30);
    let mut outbox = Outbox::new(1 << 20);
    let large = outbox.open_lane(LaneOpen::default());
    let small = outbox.open_lane(LaneOpen::default());
    let append = |outbox: &mut Outbox, lane, correlation, length| {
        let queued = outbox.append(sub_batch(lane, correlation, length), later);
        queued.expect("there is room");
    };
    append(&mut outbox, large, 1, 500_000);
    while outbox.next_frame(now).is_some() {}
    append(&mut outbox, large, 2, 900_000);
    append(&mut outbox, small, 3, 1000);
    let first = outbox.next_frame(now);
    assert!(first.is_some(), "the small one's turn is before");
    append(&mut outbox, small, 4, 1000);
    for _ in 0..5 {
        assert_eq!(outbox.next_frame(now), None);
    }
    let bytes = u32::try_from(cost(500_000)).expect("it fits");
    outbox.granted(&Credit { bytes }).expect("was sent");
    let before = bytes_before(&mut outbox, now, |frame| match frame {
        Frame::Append(append) => append.sub_batches[0].lane == large,
        _ => false,
    });
    assert_eq!(before, 0);
}

#[test]
fn what_has_expired_is_not_sent() {
    let now = start();
    let mut outbox = Outbox::new(1 << 20);
    let lane = outbox.open_lane(LaneOpen::default());
    outbox.next_frame(now).expect("the open");
    let soon = now + Duration::from_secs(1);
    let queued = outbox.append(sub_batch(lane, 1, 1000), soon);
    queued.expect("there is room");
    assert_eq!(outbox.next_frame(soon), None);
    assert_eq!(outbox.take_never_sent(soon), [Correlation(1)]);
}

#[test]
fn outcomes_without_end_hold_up_no_sign_of_life() {
    let now = start();
    let mut outbox = Outbox::new(0);
    outbox.accept_lane(Lane(1));
    outbox.pong(&Ping { token: 1 });
    let is_pong = (0..3).any(|_| {
        outbox.outcome(Outcome {
            lane: Lane(1),
            ..Outcome::default()
        });
        matches!(outbox.next_frame(now), Some(Frame::Pong(_)))
    });
    assert!(is_pong);
}
