//! The image of every voter: made by the entries that the quorum agreed on, published at each of them.
//!
//! It also remembers the latest entries as bytes, so that those who follow get what changed and not everything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use keylane_protocol::cluster::{ClusterImage, decode_records, encode_records};
use tokio::sync::watch;

use super::raft::{Replica, RestoreError};
use crate::hosting::IndexedImage;
use crate::limits::METADATA_HISTORY_BYTES_MAX;

/// What a follower lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// These entries, up to an index.
    Entries(u64, Vec<Bytes>),
    /// Everything: the records that make the image at an index.
    All(u64, Bytes),
}

/// The latest entries.
#[derive(Debug, Default)]
struct History {
    /// With their indexes, which rise.
    entries: VecDeque<(u64, Bytes)>,
    bytes: usize,
    /// Whoever has everything up to here lacks nothing that is not among the entries.
    floor: u64,
}

impl History {
    fn push(&mut self, index: u64, payload: Bytes) {
        self.bytes += payload.len();
        self.entries.push_back((index, payload));
        while self.bytes > METADATA_HISTORY_BYTES_MAX
            && let Some((index, payload)) = self.entries.pop_front()
        {
            self.bytes -= payload.len();
            self.floor = index;
        }
    }

    fn restart(&mut self, index: u64) {
        *self = Self {
            floor: index,
            ..Self::default()
        };
    }

    /// Returns the entries above `index` and up to `newest`, if they are all there.
    fn between(&self, index: u64, newest: u64) -> Option<Vec<Bytes>> {
        (index >= self.floor).then(|| {
            let newer = self.entries.iter();
            let newer = newer.filter(|(at, _)| (index + 1..=newest).contains(at));
            newer.map(|(_, payload)| payload.clone()).collect()
        })
    }
}

/// What voters and their followers read of the metadata.
#[derive(Clone, Debug)]
pub(crate) struct MetadataView {
    images: watch::Receiver<IndexedImage>,
    history: Arc<Mutex<History>>,
}

impl MetadataView {
    /// Returns a watch on the image.
    pub(crate) fn images(&self) -> watch::Receiver<IndexedImage> {
        self.images.clone()
    }

    /// Returns the image at present.
    pub(crate) fn image(&self) -> IndexedImage {
        self.images.borrow().clone()
    }

    /// Returns what somebody lacks who has everything up to `index`; `None` if that is nothing.
    pub(crate) fn missing(&self, index: u64) -> Option<Missing> {
        let (newest, image) = self.image();
        if index >= newest {
            return None;
        }
        let entries = match index {
            0 => None,
            index => lock(&self.history).between(index, newest),
        };
        Some(match entries {
            Some(entries) if !entries.is_empty() => Missing::Entries(newest, entries),
            _ => {
                let records = encode_records(&image.to_records());
                Missing::All(newest, records.expect("texts came from records"))
            }
        })
    }
}

/// Applies entries to the image.
pub(crate) struct MetadataReplica {
    image: Arc<ClusterImage>,
    published: watch::Sender<IndexedImage>,
    history: Arc<Mutex<History>>,
    /// Told why this voter cannot go on.
    on_failure: Box<dyn Fn(String) + Send + Sync>,
}

impl MetadataReplica {
    /// Returns a replica of nothing yet, and what reads it.
    pub(crate) fn new(on_failure: impl Fn(String) + Send + Sync + 'static) -> (Self, MetadataView) {
        let (published, images) = watch::channel(IndexedImage::default());
        let history = Arc::<Mutex<History>>::default();
        let view = MetadataView {
            images,
            history: Arc::clone(&history),
        };
        let replica = Self {
            image: Arc::default(),
            published,
            history,
            on_failure: Box::new(on_failure),
        };
        (replica, view)
    }

    fn image_of(image: &ClusterImage, payload: &Bytes) -> Result<ClusterImage, String> {
        let records = decode_records(payload).map_err(|error| error.to_string())?;
        image.with(&records).map_err(|error| error.to_string())
    }
}

impl Replica for MetadataReplica {
    fn apply(&mut self, index: u64, payload: &Bytes) {
        match Self::image_of(&self.image, payload) {
            Ok(image) => {
                self.image = Arc::new(image);
                lock(&self.history).push(index, payload.clone());
                self.published
                    .send_replace((index, Arc::clone(&self.image)));
            }
            // To go on without it would be another cluster than the other voters'.
            Err(error) => (self.on_failure)(format!(
                "the metadata's entry {index} cannot be applied: {error}"
            )),
        }
    }

    fn snapshot(&self) -> Bytes {
        encode_records(&self.image.to_records()).expect("texts came from records")
    }

    fn restore(&mut self, index: u64, image: &Bytes) -> Result<(), RestoreError> {
        let restored = Self::image_of(&ClusterImage::default(), image);
        self.image = Arc::new(restored.map_err(|what| RestoreError { what })?);
        lock(&self.history).restart(index);
        self.published
            .send_replace((index, Arc::clone(&self.image)));
        Ok(())
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}
