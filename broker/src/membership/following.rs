//! A broker that is no voter follows the metadata: it asks the leading controller what has changed, for ever.
//!
//! What is missing between two answers, or cannot follow, means that everything is fetched again; nothing is applied twice.

use std::sync::Arc;

use keylane_protocol::cluster::call::{FetchMetadataAnswer, FetchMetadataRequest};
use keylane_protocol::cluster::{ClusterImage, decode_records};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::controllers::{Controllers, RETRY_PAUSE};
use crate::hosting::IndexedImage;

/// How long the controller waits for a change before it says that there is none.
const WAIT_MS: i32 = 4_000;

/// Why an answer cannot be applied.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("{0}")]
    Records(String),
    #[error("the answer goes from {known} back to {index}")]
    Back { known: u64, index: i64 },
    #[error("it is said that {known} leads to {index}, and not by what")]
    Nothing { known: u64, index: i64 },
}

/// Returns the images as they come, until nobody looks at them any more.
pub(crate) fn follow(controllers: Controllers) -> watch::Receiver<IndexedImage> {
    let (show, images) = watch::channel(IndexedImage::default());
    tokio::spawn(async move {
        let mut known = IndexedImage::default();
        while !show.is_closed() {
            let request = FetchMetadataRequest {
                index: i64::try_from(known.0).unwrap_or(i64::MAX),
                wait_ms: WAIT_MS,
            };
            match controllers.call(&request).await {
                Ok(answer) if answer.error_code.is_none() => match next(&known, &answer) {
                    Ok(Some(newer)) => {
                        known = newer;
                        // What is fetched anew may be what was known before.
                        show.send_if_modified(|shown| {
                            let is_newer = known.0 > shown.0;
                            if is_newer {
                                *shown = known.clone();
                            }
                            is_newer
                        });
                        continue;
                    }
                    Ok(None) => continue,
                    Err(error) => {
                        warn!(%error, "the metadata is fetched anew from its beginning");
                        known = IndexedImage::default();
                    }
                },
                Ok(answer) => debug!(error = %answer.error_code.name(), "no metadata yet"),
                Err(error) => {
                    let faults = controllers.faults();
                    warn!(error = %error.name(), %faults, "no controller tells the metadata");
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    });
    images
}

/// Returns the image that an answer leads to; `None` if nothing has changed.
fn next(
    known: &IndexedImage,
    answer: &FetchMetadataAnswer,
) -> Result<Option<IndexedImage>, FollowError> {
    let (index, image) = known;
    let back = FollowError::Back {
        known: *index,
        index: answer.index,
    };
    let Some(newer) = u64::try_from(answer.index).ok().filter(|at| at >= index) else {
        return Err(back);
    };
    if newer == *index {
        return Ok(None);
    }
    let Some(records) = &answer.records else {
        return Err(FollowError::Nothing {
            known: *index,
            index: answer.index,
        });
    };
    let records =
        decode_records(records).map_err(|error| FollowError::Records(error.to_string()))?;
    let applied = match answer.is_snapshot {
        true => ClusterImage::default().with(&records),
        false => image.with(&records),
    };
    let applied = applied.map_err(|error| FollowError::Records(error.to_string()))?;
    Ok(Some((newer, Arc::new(applied))))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use keylane_protocol::cluster::{ClusterFounded, MetadataRecord, TopicCreated, encode_records};
    use keylane_protocol::identifiers::{ClusterId, TopicId};

    use super::*;

    fn founded() -> MetadataRecord {
        let cluster_id = ClusterId([9; 16]);
        ClusterFounded { cluster_id }.into()
    }

    fn topic(number: u8) -> MetadataRecord {
        TopicCreated {
            topic_id: TopicId([number; 16]),
            name: format!("topic-{number}").into(),
        }
        .into()
    }

    fn answer(index: i64, is_snapshot: bool, records: &[MetadataRecord]) -> FetchMetadataAnswer {
        FetchMetadataAnswer {
            index,
            is_snapshot,
            records: Some(encode_records(records).expect("short names")),
            ..FetchMetadataAnswer::default()
        }
    }

    fn at(index: u64, records: &[MetadataRecord]) -> IndexedImage {
        let image = ClusterImage::default().with(records);
        (index, Arc::new(image.expect("lawful")))
    }

    fn check(known: &IndexedImage, answer: &FetchMetadataAnswer, expected: &IndexedImage) {
        let next = next(known, answer).expect("it follows");
        assert_eq!(next.as_ref(), Some(expected));
    }

    #[test]
    fn everything_and_then_what_changes_make_the_controllers_image() {
        let first = at(3, &[founded()]);
        check(
            &IndexedImage::default(),
            &answer(3, true, &[founded()]),
            &first,
        );
        let second = at(7, &[founded(), topic(1)]);
        check(&first, &answer(7, false, &[topic(1)]), &second);
        // Too much has changed meanwhile: everything again, not on top of what is there.
        let third = at(99, &[founded(), topic(2)]);
        check(&second, &answer(99, true, &[founded(), topic(2)]), &third);
    }

    #[test]
    fn no_change_is_none() {
        let known = at(3, &[founded()]);
        let same = answer(3, false, &[topic(1)]);
        assert_eq!(next(&known, &same).expect("sound"), None);
    }

    #[test]
    fn what_cannot_follow_is_an_error() {
        let known = at(3, &[founded(), topic(1)]);
        let twice = answer(4, false, &[topic(1)]);
        assert!(matches!(next(&known, &twice), Err(FollowError::Records(_))));
        let back = answer(2, true, &[founded()]);
        assert!(matches!(next(&known, &back), Err(FollowError::Back { .. })));
        let nothing = FetchMetadataAnswer {
            index: 9,
            ..FetchMetadataAnswer::default()
        };
        let nothing = next(&known, &nothing);
        assert!(matches!(nothing, Err(FollowError::Nothing { .. })));
        let garbage = FetchMetadataAnswer {
            index: 9,
            records: Some(Bytes::from_static(b"garbage")),
            ..FetchMetadataAnswer::default()
        };
        let garbage = next(&known, &garbage);
        assert!(matches!(garbage, Err(FollowError::Records(_))));
    }
}
