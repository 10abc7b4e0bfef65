//! Two ends over an in-memory connection: they agree or refuse, and large bodies do not hold up short ones.

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use super::*;
use crate::identifiers::BrokerId;
use crate::link::handshake::Refusal;
use crate::link::lane::{Answer, LaneOpen, Request};
use crate::link::{Body, Correlation, Inbox, Lane};

type Ends = (
    LinkReader<ReadHalf<DuplexStream>>,
    LinkWriter<WriteHalf<DuplexStream>>,
);

fn connection(capacity: usize) -> (Ends, Ends) {
    let (dialer, listener) = duplex(capacity);
    let ends = |stream| {
        let (reader, writer) = split(stream);
        (LinkReader::new(reader), LinkWriter::new(writer))
    };
    (ends(dialer), ends(listener))
}

fn welcome() -> Welcome {
    Welcome {
        broker_id: BrokerId(1),
        credit_bytes: 1000,
        ..Welcome::default()
    }
}

async fn shake_hands(
    dialer: &mut Ends,
    listener: &mut Ends,
    hello: &Hello,
) -> (
    Result<Welcome, HandshakeError>,
    Result<(Hello, Welcome), HandshakeError>,
) {
    let welcome = welcome();
    tokio::join!(
        introduce(&mut dialer.0, &mut dialer.1, hello),
        receive(&mut listener.0, &mut listener.1, &welcome),
    )
}

#[tokio::test]
async fn both_ends_agree() {
    let (mut dialer, mut listener) = connection(64);
    let (welcomed, received) = shake_hands(&mut dialer, &mut listener, &Hello::default()).await;
    let (hello, agreed) = received.expect("a link");
    assert_eq!(
        (welcomed.expect("a link"), hello),
        (agreed, Hello::default())
    );
}

#[tokio::test]
async fn a_refusal_is_told_to_both_ends() {
    let (mut dialer, mut listener) = connection(64);
    let hello = Hello {
        wanted_broker_id: BrokerId(2),
        name: "router".into(),
        ..Hello::default()
    };
    let (welcomed, received) = shake_hands(&mut dialer, &mut listener, &hello).await;
    let refused = welcomed.expect_err("refused").to_string();
    assert_eq!(
        refused,
        "the link was refused: router looks for broker 2, this is broker 1"
    );
    let Err(HandshakeError::HasRefused(refused)) = received else {
        panic!("not refused: {received:?}");
    };
    assert_eq!(refused.reason, Refusal::OtherBroker);
}

#[tokio::test]
async fn what_is_no_link_is_told_apart_before_it_costs_anything() {
    let strangers: [(&[u8], &str); 3] = [
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "a frame of 1195725856 bytes was announced",
        ),
        (
            b"\0\0\0\x12\0\x12\0\x03\0\0\0\x01\0\x01a\0\0\0\0\0\0\0",
            "a link frame of kind 0",
        ),
        (
            b"\0\0\x7f\xff",
            "a frame of 32767 bytes was announced, but at most 16384",
        ),
    ];
    for (bytes, words) in strangers {
        let (client, listener) = duplex(1024);
        let (reader, writer) = split(listener);
        let (mut reader, mut writer) = (LinkReader::new(reader), LinkWriter::new(writer));
        let (_read, mut write) = split(client);
        write.write_all(bytes).await.expect("there is room");
        let received = receive(&mut reader, &mut writer, &welcome()).await;
        let refused = received.expect_err("no link").to_string();
        assert!(refused.starts_with(words), "{refused}");
    }
}

/// Writes what the outbox has, and puts together what arrives, until `is_last`.
async fn carry(
    from: &mut Ends,
    outbox: &mut Outbox,
    to: &mut Ends,
    inbox: &mut Inbox,
    is_last: impl Fn(&Frame) -> bool,
) -> Vec<Frame> {
    let now = tokio::time::Instant::now().into_std();
    let write = async {
        while from.1.fill(outbox, now).expect("it can be encoded") {
            from.1.flush().await.expect("the connection holds");
        }
    };
    let read = async {
        let mut whole = Vec::new();
        while !whole.last().is_some_and(&is_last) {
            let frame = to.0.next().await.expect("a frame").expect("not closed");
            whole.extend(inbox.on_frame(frame).expect("within the rules"));
        }
        whole
    };
    tokio::join!(write, read).1
}

#[tokio::test]
async fn bodies_arrive_whole_and_short_answers_before_long_ones() {
    let (mut dialer, mut listener) = connection(10_000);
    let (welcomed, _) = shake_hands(&mut dialer, &mut listener, &Hello::default()).await;
    let credit = welcomed.expect("a link").credit_bytes as usize;
    let (mut asks, mut answers) = (Outbox::new(credit), Outbox::new(0));
    let (mut asked, mut answered) = (Inbox::listener(credit), Inbox::dialer());
    let deadline = tokio::time::Instant::now().into_std() + std::time::Duration::from_secs(9);
    let bytes: Bytes = (0..3_000_000_u32)
        .map(|place| (place % 251) as u8)
        .collect();
    for correlation in [1, 2] {
        let lane = asks.open_lane(LaneOpen::default());
        answered.open_lane(lane);
        let request = Request {
            lane,
            correlation: Correlation(correlation),
            chunk: Body::from(bytes.slice(..bytes.len() / correlation as usize)),
            ..Request::default()
        };
        asks.request(request, deadline).expect("there is room");
    }
    let is_first = |frame: &Frame| matches!(frame, Frame::Request(r) if r.lane == Lane(1));
    let frames = carry(&mut dialer, &mut asks, &mut listener, &mut asked, is_first).await;
    assert_eq!(frames.len(), 4, "two lanes and two requests");
    for frame in frames {
        match frame {
            Frame::LaneOpen(open) => answers.accept_lane(open.lane),
            Frame::Request(request) => {
                let length = bytes.len() / request.correlation.0 as usize;
                assert_eq!(request.chunk.into_bytes(), bytes.slice(..length));
            }
            other => panic!("a frame {}", other.name()),
        }
    }
    for (lane, length) in [(1, 2_000_000), (2, 100)] {
        let answer = Answer {
            lane: Lane(lane),
            correlation: Correlation(lane),
            chunk: bytes.slice(..length).into(),
            ..Answer::default()
        };
        answers.answer(answer).expect("short enough");
    }
    let is_long = |frame: &Frame| matches!(frame, Frame::Answer(a) if a.lane == Lane(1));
    let frames = carry(
        &mut listener,
        &mut answers,
        &mut dialer,
        &mut answered,
        is_long,
    )
    .await;
    let lengths: Vec<usize> = frames
        .into_iter()
        .map(|frame| match frame {
            Frame::Answer(answer) => answer.chunk.len(),
            other => panic!("a frame {}", other.name()),
        })
        .collect();
    assert_eq!(lengths, [100, 2_000_000]);
}
