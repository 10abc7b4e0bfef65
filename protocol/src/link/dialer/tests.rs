//! A dialer and a listener, whole: every asker is told once, whatever happens to the link.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::link::limits::{SILENCE_BEFORE_DEATH, SILENCE_BEFORE_PING};
use crate::link::{Body, Listener, NoRoom};

#[allow(clippy::disallowed_methods, reason = "a test needs some instant")]
fn start() -> Instant {
    Instant::now()
}

/// Both ends and the frames between them.
struct Link {
    now: Instant,
    dialer: Dialer<&'static str>,
    listener: Listener,
    told: Vec<Told<&'static str>>,
}

impl Link {
    fn new() -> Self {
        let welcome = Welcome {
            credit_bytes: 1 << 20,
            ..Welcome::default()
        };
        let now = start();
        Self {
            now,
            dialer: Dialer::new(&welcome, now),
            listener: Listener::new(&welcome, now),
            told: Vec::new(),
        }
    }

    fn later(&self) -> Instant {
        self.now + Duration::from_secs(30)
    }

    /// Moves everything to the listener, and returns what it is to do.
    fn up(&mut self) -> Vec<Frame> {
        let mut asked = Vec::new();
        while let Some(frame) = self.dialer.outbox().next_frame(self.now) {
            let whole = self.listener.on_frame(frame, self.now);
            asked.extend(whole.expect("within the rules"));
        }
        asked
    }

    /// Moves everything to the dialer, and returns what it tells.
    fn down(&mut self) -> Vec<Told<&'static str>> {
        while let Some(frame) = self.listener.outbox().next_frame(self.now) {
            let taken = self.dialer.on_frame(frame, self.now, &mut self.told);
            taken.expect("within the rules");
        }
        std::mem::take(&mut self.told)
    }

    fn on_time(&mut self) -> Vec<Told<&'static str>> {
        assert!(self.dialer.on_time(self.now, &mut self.told));
        std::mem::take(&mut self.told)
    }
}

fn request(lane: Lane, length: usize) -> Request {
    Request {
        lane,
        chunk: Body::from(Bytes::from(vec![7; length])),
        ..Request::default()
    }
}

fn sub_batch(lane: Lane, length: usize) -> SubBatch {
    SubBatch {
        lane,
        acks: -1,
        records: Body::from(Bytes::from(vec![7; length])),
        ..SubBatch::default()
    }
}

#[test]
fn each_asker_is_told_its_answer() {
    let mut link = Link::new();
    let later = link.later();
    let lane = link.dialer.open_lane(LaneOpen::default());
    let fetch = link.dialer.request(request(lane, 10), later, "fetch");
    let fetch = fetch.expect("there is room");
    let produce = link
        .dialer
        .append(sub_batch(lane, 500_000), later, "produce");
    let produce = produce.expect("there is room");
    let call = Call::default();
    let call = link
        .dialer
        .call(call, later, "call")
        .expect("there is room");
    assert_eq!(link.up().len(), 4);
    let answer = Answer {
        lane,
        correlation: fetch,
        ..Answer::default()
    };
    let outcome = Outcome {
        lane,
        correlation: produce,
        ..Outcome::default()
    };
    let reply = Reply {
        correlation: call,
        ..Reply::default()
    };
    link.listener.release(500_000);
    let outbox = link.listener.outbox();
    outbox.answer(answer.clone()).expect("short");
    outbox.reply(reply.clone()).expect("short");
    outbox.outcome(outcome.clone());
    outbox.outcome(outcome.clone());
    let mut told = link.down();
    told.sort_by_key(|told| format!("{told:?}"));
    assert_eq!(
        told,
        [
            Told::Answer("fetch", answer),
            Told::Outcome("produce", outcome),
            Told::Reply("call", reply),
        ]
    );
    assert_eq!(link.dialer.pending(), 0);
    assert_eq!(link.dialer.outbox().append_bytes_under_way(), 0);
}

#[test]
fn a_lane_that_closes_knows_what_was_never_sent() {
    let mut link = Link::new();
    let later = link.later();
    let lane = link.dialer.open_lane(LaneOpen::default());
    let other = link.dialer.open_lane(LaneOpen::default());
    let fill = link
        .dialer
        .append(sub_batch(other, 900_000), later, "other");
    fill.expect("there is room");
    link.dialer
        .request(request(lane, 10), later, "sent")
        .expect("there is room");
    link.up();
    // The credit does not cover these.
    let queued = link
        .dialer
        .append(sub_batch(lane, 500_000), later, "unsent");
    queued.expect("there is room");
    let queued = link
        .dialer
        .append_unanswered(sub_batch(lane, 400_000), later);
    queued.expect("there is room");
    assert_eq!(link.up(), []);
    let fates = link.dialer.close_lane(lane);
    assert_eq!(
        fates,
        [("unsent", Fate::NeverSent), ("sent", Fate::Unknown)]
    );
    let refused = link.dialer.request(request(lane, 1), later, "late");
    let refused = refused.expect_err("the lane has closed");
    assert_eq!(
        (refused.item.1, refused.reason),
        ("late", NoRoom::LaneClosed)
    );
    assert_eq!(link.up(), []);
    link.listener.release(900_000);
    link.down();
    let names: Vec<&str> = link.up().iter().map(Frame::name).collect();
    assert_eq!(names, ["Append", "LaneClose"]);
    assert!(!link.listener.outbox().is_open(Flow::Lane(lane)));
}

#[test]
fn what_waits_too_long_is_told_with_its_fate() {
    let mut link = Link::new();
    let soon = link.now + Duration::from_secs(1);
    let lane = link.dialer.open_lane(LaneOpen::default());
    let queued = link.dialer.append(sub_batch(lane, 1_000_000), soon, "sent");
    queued.expect("there is room");
    let queued = link
        .dialer
        .append(sub_batch(lane, 1_000_000), soon, "unsent");
    queued.expect("there is room");
    link.up();
    assert_eq!(link.on_time(), []);
    assert_eq!(link.dialer.next_deadline(), soon);
    link.now = soon;
    assert_eq!(
        link.on_time(),
        [
            Told::Lost("unsent", Fate::NeverSent),
            Told::Lost("sent", Fate::Unknown)
        ]
    );
    link.listener.release(1_000_000);
    link.down();
    assert_eq!(link.up(), [], "what was told lost is not sent");
}

#[test]
fn a_lost_link_tells_everyone() {
    let mut link = Link::new();
    let later = link.later();
    let lane = link.dialer.open_lane(LaneOpen::default());
    link.dialer
        .request(request(lane, 10), later, "sent")
        .expect("there is room");
    link.up();
    link.dialer
        .request(request(lane, 200_000), later, "begun")
        .expect("there is room");
    link.dialer.outbox().next_frame(link.now).expect("a chunk");
    link.dialer
        .call(Call::default(), later, "unsent")
        .expect("there is room");
    let mut fates = link.dialer.lose();
    fates.sort_unstable();
    assert_eq!(
        fates,
        [
            ("begun", Fate::NeverSent),
            ("sent", Fate::Unknown),
            ("unsent", Fate::NeverSent)
        ]
    );
}

#[test]
fn a_cancelled_call_is_told_at_once_and_its_late_reply_ignored() {
    let mut link = Link::new();
    let later = link.later();
    let call = link
        .dialer
        .call(Call::default(), later, "call")
        .expect("there is room");
    link.up();
    let reply = Reply {
        correlation: call,
        ..Reply::default()
    };
    link.listener.outbox().reply(reply).expect("short");
    let cancelled = link.dialer.cancel(Flow::Call(call), call);
    assert_eq!(cancelled, Some(("call", Fate::Unknown)));
    assert_eq!(link.dialer.cancel(Flow::Call(call), call), None);
    assert_eq!(link.down(), []);
    assert_eq!(link.up().len(), 1, "the Cancel");
}

#[test]
fn silence_is_asked_about_and_then_ends_the_link() {
    let mut link = Link::new();
    link.now += SILENCE_BEFORE_PING;
    assert_eq!(link.on_time(), []);
    assert_eq!(link.up(), [], "a Ping is not the broker's to answer");
    assert_eq!(link.down(), []);
    link.now += SILENCE_BEFORE_DEATH;
    let now = link.now;
    assert!(!link.dialer.on_time(now, &mut link.told));
    assert!(!link.listener.on_time(now));
}

#[test]
fn an_answered_ping_keeps_the_link() {
    let mut link = Link::new();
    for _ in 0..10 {
        link.now += SILENCE_BEFORE_PING;
        assert_eq!(link.on_time(), []);
        link.up();
        assert_eq!(link.down(), []);
        assert!(link.listener.on_time(link.now));
    }
}
