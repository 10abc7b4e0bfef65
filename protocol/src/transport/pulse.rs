//! Whether a runtime still turns.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

/// Asks a runtime whether it still turns.
#[derive(Clone, Debug)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

impl Pulse {
    /// Returns a pulse, and what answers it as long as it runs.
    pub fn new() -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<()>>(1);
        let answering = async move {
            while let Some(answer) = asked.recv().await {
                // Who asked may have waited long enough.
                let _ = answer.send(());
            }
        };
        (Self(ask), answering)
    }

    /// Waits until the runtime has answered, or has ended.
    pub async fn felt(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.send(answer).await.is_ok() {
            let _ = answered.await;
        }
    }
}
