//! What breaks the rules is refused in words; what only comes late is dropped.

use bytes::Bytes;

use super::*;
use crate::link::append::{Credit, Outcome, cost};
use crate::link::call::{Call, Push};
use crate::link::handshake::Hello;
use crate::link::lane::{Answer, LaneClose, Request};
use crate::link::limits::CHUNK_BYTES_MAX;

const CREDIT: usize = 1 << 20;

fn body(length: usize) -> Body {
    Bytes::from(vec![7; length]).into()
}

fn listener() -> Inbox {
    let mut inbox = Inbox::listener(CREDIT);
    for lane in [1, 2] {
        let open = LaneOpen {
            lane: Lane(lane),
            ..LaneOpen::default()
        };
        let whole = inbox.on_frame(open.clone().into());
        assert_eq!(whole, Ok(Some(open.into())));
    }
    inbox
}

fn request(lane: u64, body_length: u32, found: usize) -> Frame {
    Request {
        lane: Lane(lane),
        correlation: Correlation(lane),
        body_length,
        chunk: body(found),
        ..Request::default()
    }
    .into()
}

fn go_on(lane: u64, at: u32, length: usize) -> Frame {
    Continue {
        flow: Flow::Lane(Lane(lane)),
        at,
        chunk: body(length),
    }
    .into()
}

fn sub_batch(lane: u64, records_length: u32, found: usize) -> SubBatch {
    SubBatch {
        lane: Lane(lane),
        correlation: Correlation(9),
        records_length,
        records: body(found),
        ..SubBatch::default()
    }
}

fn append(sub_batches: Vec<SubBatch>) -> Frame {
    Append { sub_batches }.into()
}

/// Passes frames, of which only the last is refused, to a listener with lanes 1 and 2.
fn check(frames: Vec<Frame>, words: &str) {
    let mut inbox = listener();
    let mut frames = frames.into_iter().rev();
    let last = frames.next().expect("a frame");
    for frame in frames.rev() {
        inbox.on_frame(frame).expect("within the rules");
    }
    let refused = inbox.on_frame(last).expect_err(words);
    assert_eq!(refused.to_string(), words);
}

#[test]
fn what_breaks_the_rules_is_refused_in_words() {
    check(
        vec![Hello::default().into()],
        "a frame Hello is not taken by the Listener of a link",
    );
    check(
        vec![request(3, 0, 0)],
        "a frame Request came for lane 3, which is not open",
    );
    check(
        vec![LaneClose { lane: Lane(2) }.into(), request(2, 0, 0)],
        "a frame Request came for lane 2, which is not open",
    );
    check(
        vec![
            LaneOpen {
                lane: Lane(2),
                ..LaneOpen::default()
            }
            .into(),
        ],
        "lane 2 was opened after lane 2",
    );
    check(
        vec![request(1, u32::MAX, CHUNK_BYTES_MAX)],
        "a body of 4294967295 bytes was begun, at most 104857600 are taken",
    );
    check(
        vec![append(vec![
            sub_batch(1, 1 << 19, 1 << 19),
            sub_batch(2, 1 << 19, 1 << 19),
        ])],
        "524384 append bytes arrived with 524384 of 1048576 granted bytes under way",
    );
    check(
        vec![append(vec![
            sub_batch(1, 100, 100),
            sub_batch(2, 99_000, 65_536),
        ])],
        "a sub-batch of 99000 bytes came in part in a frame with others",
    );
}

#[test]
fn chunks_that_do_not_fit_are_refused_in_words() {
    let begun = request(1, 100_000, 65_536);
    check(
        vec![begun.clone(), request(1, 5, 5)],
        "a body of Lane(Lane(1)) was not complete when the next began",
    );
    check(
        vec![begun.clone(), append(vec![sub_batch(1, 5, 5)])],
        "a body of Lane(Lane(1)) was not complete when the next began",
    );
    check(
        vec![go_on(1, 0, 5)],
        "a chunk of Lane(Lane(1)) goes on with a body that was not begun",
    );
    let fits_not = "of 100000";
    check(
        vec![begun.clone(), go_on(1, 65_535, 5)],
        &format!(
            "a chunk of Lane(Lane(1)) begins at 65535 with 5 bytes, not fitting 65536 {fits_not}"
        ),
    );
    check(
        vec![begun.clone(), go_on(1, 65_536, 34_465)],
        &format!(
            "a chunk of Lane(Lane(1)) begins at 65536 with 34465 bytes, not fitting 65536 {fits_not}"
        ),
    );
    check(
        vec![begun, go_on(1, 65_536, 5)],
        "a chunk of Lane(Lane(1)) has 5 bytes; all but the last have 32768 at least",
    );
    check(
        vec![request(1, 6, 5)],
        "a chunk of Lane(Lane(1)) has 5 bytes; all but the last have 32768 at least",
    );
}

#[test]
fn more_in_assembly_than_is_allowed_is_refused() {
    let most = u32::try_from(BODY_BYTES_MAX).expect("it fits");
    check(
        vec![
            request(1, most, CHUNK_BYTES_MAX),
            request(2, most, CHUNK_BYTES_MAX),
        ],
        "bodies of 209715200 bytes were under way, at most 134217728 are taken",
    );
}

#[test]
fn who_opens_a_lane_is_known_without_keeping_the_buffer_it_came_in() {
    let buffer = Bytes::from(vec![b'a'; 1000]);
    let text = |range| ByteString::try_from(buffer.slice(range)).expect("it is text");
    let open = LaneOpen {
        lane: Lane(1),
        principal: text(0..10),
        client_id: Some(text(10..20)),
        client_host: text(20..30),
        listener: text(30..40),
    };
    let whole = Inbox::listener(CREDIT).on_frame(open.clone().into());
    assert_eq!(whole, Ok(Some(open.clone().into())));
    drop(open);
    assert!(buffer.is_unique());
    drop(whole);
}

#[test]
fn a_cancelled_body_makes_room_and_gives_its_credit_back() {
    let mut inbox = listener();
    let begun = inbox.on_frame(append(vec![sub_batch(1, 2 << 20, 65_536)]));
    assert_eq!(begun, Ok(None));
    assert_eq!(inbox.assembled_bytes(), 65_536);
    let cancel = Cancel {
        flow: Flow::Lane(Lane(1)),
        correlation: Correlation(9),
    };
    assert_eq!(inbox.on_frame(cancel.clone().into()), Ok(None));
    assert_eq!(inbox.take_grant(), Some(cost(2 << 20)));
    assert_eq!(inbox.assembled_bytes(), 0);
    // What is whole is the broker's to cancel.
    assert_eq!(
        inbox.on_frame(cancel.clone().into()),
        Ok(Some(cancel.into()))
    );
    assert_eq!(inbox.on_frame(request(1, 5, 5)), Ok(Some(request(1, 5, 5))));
}

#[test]
fn a_dialer_drops_what_comes_for_a_lane_it_has_closed() {
    let mut inbox = Inbox::dialer();
    inbox.open_lane(Lane(1));
    let answer = |found| Answer {
        lane: Lane(1),
        correlation: Correlation(1),
        body_length: 100_000,
        chunk: body(found),
        ..Answer::default()
    };
    assert_eq!(inbox.on_frame(answer(65_536).into()), Ok(None));
    inbox.close_lane(Lane(1));
    assert_eq!(inbox.assembled_bytes(), 0);
    assert_eq!(inbox.on_frame(go_on(1, 65_536, 34_464)), Ok(None));
    assert_eq!(inbox.on_frame(answer(65_536).into()), Ok(None));
    let outcome = |lane| Outcome {
        lane: Lane(lane),
        ..Outcome::default()
    };
    inbox.open_lane(Lane(2));
    let outcomes = vec![outcome(1), outcome(2)];
    let left = Appended {
        outcomes: vec![outcome(2)],
    };
    let whole = inbox.on_frame(Appended { outcomes }.into());
    assert_eq!(whole, Ok(Some(left.into())));
}

#[test]
fn pushes_and_replies_go_on_beside_each_other_in_their_flows() {
    let mut inbox = Inbox::dialer();
    let push = |stream, length: usize, found| Push {
        stream,
        body_length: u32::try_from(length).expect("short"),
        chunk: body(found),
        ..Push::default()
    };
    let next = |stream| Continue {
        flow: Flow::Push(stream),
        at: 65_536,
        chunk: body(10),
    };
    for stream in [1, 2] {
        assert_eq!(
            inbox.on_frame(push(stream, 65_546, 65_536).into()),
            Ok(None)
        );
    }
    for stream in [2, 1] {
        let whole = push(stream, 65_546, 65_546);
        assert_eq!(inbox.on_frame(next(stream).into()), Ok(Some(whole.into())));
    }
    let credit = Frame::from(Credit { bytes: 5 });
    assert_eq!(inbox.on_frame(credit.clone()), Ok(Some(credit)));
    assert!(inbox.on_frame(Call::default().into()).is_err());
}

#[test]
#[ignore = "writes files: run it to renew the corpus after a declaration has changed"]
fn corpus_is_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/link_inbox");
    std::fs::create_dir_all(folder).expect("the corpus can be written");
    let close = Frame::from(LaneClose { lane: Lane(1) });
    let cancel = Frame::from(Cancel {
        flow: Flow::Lane(Lane(1)),
        correlation: Correlation(9),
    });
    let push = Push {
        stream: 3,
        body_length: 5,
        chunk: body(5),
        ..Push::default()
    };
    let parts = vec![sub_batch(1, 5, 5), sub_batch(1, 6, 6)];
    let streams = [
        (
            "chunks",
            0,
            vec![request(1, 40_000, 32_768), go_on(1, 32_768, 7232)],
        ),
        (
            "closed_in_a_body",
            0,
            vec![request(1, 40_000, 32_768), close],
        ),
        (
            "cancelled",
            0,
            vec![append(vec![sub_batch(1, 40_000, 32_768)]), cancel],
        ),
        ("appends", 0, vec![append(parts)]),
        ("not_begun", 0, vec![go_on(1, 0, 5)]),
        ("pushes", 1, vec![push.clone().into(), push.into()]),
    ];
    for (name, side, frames) in streams {
        let mut stream = vec![side];
        for frame in frames {
            stream.extend(frame.encode().expect("it can be encoded").concat());
        }
        std::fs::write(format!("{folder}/{name}"), stream).expect("it can be written");
    }
}

#[test]
fn a_lane_keeps_little_of_a_long_text() {
    let mut inbox = Inbox::listener(0);
    let open = LaneOpen {
        lane: Lane(1),
        client_id: Some(format!("{}ä", "x".repeat(LANE_TEXT_BYTES_MAX - 1)).into()),
        client_host: "10.0.0.1".into(),
        ..LaneOpen::default()
    };
    let Ok(Some(Frame::LaneOpen(kept))) = inbox.on_frame(open.into()) else {
        panic!("a lane can be opened")
    };
    assert_eq!(kept.client_host, "10.0.0.1");
    let client_id = kept.client_id.expect("it has one");
    assert_eq!(client_id.len(), LANE_TEXT_BYTES_MAX - 1);
}
