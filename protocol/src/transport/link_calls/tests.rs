//! Calls over real sockets: to a peer that answers, that is not there, that goes away, and that says nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::identifiers::BrokerId;
use crate::link::{Frame, Listener};
use crate::transport::link::receive;

const WITHIN: Duration = Duration::from_secs(20);
const ECHO: u16 = 7;
const SILENT: u16 = 8;
const HANG_UP: u16 = 9;
const REFUSED: u16 = 10;

/// Answers calls by their bodies, if they are to be answered at all, until the dialer goes or asks to hang up.
async fn answer(stream: TcpStream) {
    let (reader, writer) = stream.into_split();
    let (mut reader, mut writer) = (LinkReader::new(reader), LinkWriter::new(writer));
    let welcome = Welcome {
        broker_id: BrokerId(2),
        ..Welcome::default()
    };
    let Ok((_, welcome)) = receive(&mut reader, &mut writer, &welcome).await else {
        return;
    };
    let now = || Instant::now().into_std();
    let mut listener = Listener::new(&welcome, now());
    while let Ok(Some(frame)) = reader.next().await {
        match listener.on_frame(frame, now()).expect("a sound frame") {
            Some(Frame::Call(call)) if call.kind == ECHO => {
                let reply = Reply {
                    correlation: call.correlation,
                    chunk: call.chunk,
                    ..Reply::default()
                };
                listener.outbox().reply(reply).expect("it is short");
            }
            Some(Frame::Call(call)) if call.kind == REFUSED => {
                let reply = Reply {
                    correlation: call.correlation,
                    error_code: ErrorCode::NotController,
                    words: Some("not here".into()),
                    ..Reply::default()
                };
                listener.outbox().reply(reply).expect("it is short");
            }
            Some(Frame::Call(call)) if call.kind == HANG_UP => return,
            _ => {}
        }
        while writer.fill(listener.outbox(), now()).expect("it encodes") {
            writer.flush().await.expect("the connection holds");
        }
    }
}

/// Listens on a free port; returns where, and how many have connected.
async fn listen() -> (Endpoint, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = endpoint(&listener);
    let connected = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&connected);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(answer(stream));
        }
    });
    (endpoint, connected)
}

fn endpoint(listener: &TcpListener) -> Endpoint {
    let address = listener.local_addr().expect("it is bound");
    Endpoint {
        host: address.ip().to_string().into(),
        port: address.port(),
    }
}

fn calls(to: &Endpoint) -> LinkCalls {
    LinkCalls::start(&Handle::current(), to.clone(), Hello::default)
}

#[tokio::test]
async fn many_calls_at_once_each_get_their_own_reply() {
    let (endpoint, connected) = listen().await;
    let calls = calls(&endpoint);
    let mut asked = JoinSet::new();
    for number in 0..200_u32 {
        let calls = calls.clone();
        asked.spawn(async move {
            // Some are long and go in chunks.
            let length = if number % 50 == 0 { 200_000 } else { 100 };
            let body: Bytes = number.to_be_bytes().repeat(length).into();
            let reply = calls.call(ECHO, 0, body.clone(), WITHIN).await;
            assert_eq!(reply, Ok(body));
        });
    }
    while let Some(done) = asked.join_next().await {
        done.expect("the reply is right");
    }
    assert_eq!(connected.load(Ordering::Relaxed), 1);
    assert_eq!(calls.fault(), None);
}

#[tokio::test]
async fn a_call_to_nobody_was_never_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = endpoint(&listener);
    drop(listener);
    let calls = calls(&endpoint);
    for _ in 0..3 {
        let reply = calls.call(ECHO, 0, Bytes::new(), WITHIN).await;
        assert_eq!(reply, Err(CallError::NeverSent));
    }
    let fault = calls.fault().expect("there is no link");
    assert!(fault.starts_with("cannot connect: "), "{fault}");
}

#[tokio::test]
async fn a_call_without_a_reply_is_unknown_and_others_are_answered() {
    let (endpoint, _) = listen().await;
    let calls = calls(&endpoint);
    let short = Duration::from_millis(50);
    let silent = calls.call(SILENT, 0, Bytes::new(), short).await;
    assert_eq!(silent, Err(CallError::Unknown));
    let body = Bytes::from_static(b"still there");
    assert_eq!(calls.call(ECHO, 0, body.clone(), WITHIN).await, Ok(body));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_words() {
    let (endpoint, _) = listen().await;
    let refused = calls(&endpoint)
        .call(REFUSED, 0, Bytes::new(), WITHIN)
        .await;
    let expected = CallError::Refused {
        error_code: ErrorCode::NotController,
        words: "not here".to_owned(),
    };
    assert_eq!(refused, Err(expected));
}

#[tokio::test]
async fn a_link_that_is_lost_is_dialled_again() {
    let (endpoint, connected) = listen().await;
    let calls = calls(&endpoint);
    let (waiting, lost) = tokio::join!(
        calls.call(SILENT, 0, Bytes::new(), WITHIN),
        calls.call(HANG_UP, 0, Bytes::new(), WITHIN),
    );
    assert_eq!(
        (waiting, lost),
        (Err(CallError::Unknown), Err(CallError::Unknown))
    );
    let body = Bytes::from_static(b"again");
    loop {
        match calls.call(ECHO, 0, body.clone(), WITHIN).await {
            Ok(reply) => break assert_eq!(reply, body),
            // The pause after the loss is not over.
            Err(error) => assert_eq!(error, CallError::NeverSent),
        }
    }
    assert_eq!(connected.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_answers_but_speaks_no_link_is_said_in_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = endpoint(&listener);
    let stranger = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody dials");
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .expect("it is taken");
        stream
    });
    let calls = calls(&endpoint);
    let reply = calls.call(ECHO, 0, Bytes::new(), WITHIN).await;
    assert_eq!(reply, Err(CallError::NeverSent));
    let fault = calls.fault().expect("there is no link");
    assert!(fault.contains("bytes was announced"), "{fault}");
    drop(stranger);
}

#[tokio::test]
async fn the_link_ends_when_nobody_can_call_any_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let calls = calls(&endpoint(&listener));
    let (asked, accepted) = tokio::join!(
        calls.call(SILENT, 0, Bytes::new(), Duration::from_millis(50)),
        listener.accept()
    );
    assert_eq!(asked, Err(CallError::Unknown));
    let (mut stream, _) = accepted.expect("it dials");
    drop(calls);
    let mut rest = Vec::new();
    let hello = stream.read_to_end(&mut rest).await.expect("it is closed");
    assert!(hello > 0);
}
