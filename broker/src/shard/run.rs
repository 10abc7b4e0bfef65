//! The task around a shard: takes messages and reports, and hands over what follows from them.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::reports::Reports;
use super::request::ShardRequest;
use super::{Shard, wake};
use crate::hosting::Background;
use crate::limits::SHARD_MESSAGES_AT_ONCE;
use crate::log::space::SpaceBudget;
use crate::log::writer::{Append, WriterHandle};
use crate::meters::now;
use crate::partition::SegmentSeal;

/// A shard and what it reaches.
pub(crate) struct ShardTask {
    pub shard: Shard,
    pub mailbox: mpsc::Receiver<ShardRequest>,
    pub reports: Arc<Reports>,
    pub writer: WriterHandle,
    pub space: Arc<SpaceBudget>,
    pub background: Background,
    /// Whether records are refused for want of room, so that it is logged once.
    pub is_full: bool,
}

impl ShardTask {
    /// Runs the shard until it is told to stop or nobody can reach it any more.
    pub(crate) async fn run(mut self) {
        let reports = Arc::clone(&self.reports);
        let mut messages = Vec::with_capacity(SHARD_MESSAGES_AT_ONCE);
        loop {
            tokio::select! {
                biased;
                () = reports.ready() => self.hear(),
                count = self.mailbox.recv_many(&mut messages, SHARD_MESSAGES_AT_ONCE) => {
                    if count == 0 || !self.serve(&mut messages).await {
                        return;
                    }
                }
            }
        }
    }

    /// Hears what the writer has done: acknowledges and wakes.
    fn hear(&mut self) {
        let report = self.reports.take();
        let mut woken = Vec::new();
        let mut seals: Vec<SegmentSeal> = Vec::new();
        for (partition, end) in report.ends {
            self.shard
                .on_durable(partition, end, &mut seals, &mut woken);
        }
        wake(woken);
        for seal in seals {
            self.background.seal(seal);
        }
        if report.is_offline {
            self.shard.on_offline();
        }
    }

    /// Serves messages; returns false after the last.
    async fn serve(&mut self, messages: &mut Vec<ShardRequest>) -> bool {
        let mut appends: Vec<Append> = Vec::new();
        let mut stopped = None;
        let now = now();
        for message in messages.drain(..) {
            match message {
                ShardRequest::Append(request) => {
                    self.shard.has_waited(request.sent_at, now);
                    self.shard.on_append(request, &mut appends);
                }
                ShardRequest::AppendEach(request) => {
                    self.shard.has_waited(request.sent_at, now);
                    self.shard.on_append_each(request, &mut appends);
                }
                ShardRequest::Read(request) => {
                    self.shard.has_waited(request.sent_at, now);
                    self.shard.on_read(request);
                }
                ShardRequest::Find(request) => self.shard.on_find(request),
                ShardRequest::Open(partition) => self.shard.open(*partition),
                ShardRequest::Lead {
                    partition,
                    leader_epoch,
                } => self.shard.lead(partition, leader_epoch),
                ShardRequest::Roll { partition, roll } => self.shard.roll(partition, roll),
                ShardRequest::Close { partition, closed } => {
                    // Appends accepted before must reach the writer before it is told to forget the partition.
                    self.hand_over(&mut appends).await;
                    self.shard.close(partition);
                    let _ = closed.send(());
                }
                ShardRequest::Forget(connection) => self.shard.forget(connection),
                ShardRequest::Stop { stopped: reply } => stopped = Some(reply),
            }
        }
        self.hand_over(&mut appends).await;
        self.watch_space();
        match stopped {
            Some(reply) => {
                let _ = reply.send(self.shard.take_partitions());
                false
            }
            None => true,
        }
    }

    /// Has the space measured again after a refusal, and says once that there is none, and once that there is some.
    fn watch_space(&mut self) {
        if self.space.has_refused() {
            self.writer.measure_space();
            if !self.is_full {
                warn!(
                    "the data folder's filesystem is full up to its reserve: records are refused until space is free"
                );
            }
            self.is_full = true;
        }
    }

    async fn hand_over(&mut self, appends: &mut Vec<Append>) {
        if appends.is_empty() {
            return;
        }
        if self.is_full && !self.space.has_refused() {
            info!("there is space for records again");
            self.is_full = false;
        }
        if self.writer.append(std::mem::take(appends)).await.is_err() {
            self.shard.on_offline();
        }
    }
}
