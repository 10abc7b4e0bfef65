//! The whole as a machine: which steps there are, and what each state is checked for.
//!
//! Everything that is not forbidden happens at any time. So what is lost, message or answer, is what never arrives, and
//! what is late arrives later; a failure or a time-out is a session that begins without a reason. The steps themselves
//! are in `sending.rs` and `answering.rs`.

use std::fmt;

use ahash::RandomState;

use super::explore::Machine;
use super::frame::{Frame, Header, headers};
use super::properties::{Violation, check_acknowledged};
use super::rules::{Rules, Split};
use super::scope::Scope;
use super::world::{Batch, World};

/// One step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The topic grows to two partitions.
    Grow,
    /// The client begins a session with a router, on a new connection or on the one that it has, and sends its first
    /// request.
    BeginSession { router: u8, on_new_connection: bool },
    /// The client sends the next request of its session.
    Send,
    /// A router reads its oldest request and splits it.
    Read { router: u8, split: Split },
    /// A frame arrives.
    Arrive { partition: usize, frame: Frame },
    /// One more entry of a log becomes durable.
    Sync { partition: usize },
    /// The newest entry of a log is lost, which was not durable.
    LoseTail { partition: usize },
    /// A leader begins anew with the log as it is.
    Restart { partition: usize },
    /// The client hears that a batch is written.
    Acknowledge { batch: Batch },
    /// The client hears that a batch, or one part of it, is refused for good.
    Refuse { batch: Batch },
    /// The client gives up its oldest batch.
    GiveUp,
    /// The client begins its next epoch.
    NextEpoch,
    /// A lifetime passes.
    Tick,
}

/// The system within one scope.
pub(crate) struct Model<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) rules: Rules,
    pub(crate) headers: Vec<Header>,
}

/// What a step led to.
pub(crate) type Outcome = Result<World, Violation>;

impl Machine for Model<'_> {
    type State = World;
    type Step = Step;

    fn each(&self, world: &World, visit: &mut impl FnMut(Step, Outcome)) {
        let mut visit = |step, outcome: Outcome| {
            visit(
                step,
                outcome.and_then(|next| check_acknowledged(&next).map(|()| next)),
            );
        };
        self.topic_and_client(world, &mut visit);
        self.routers(world, &mut visit);
        self.arrivals(world, &mut visit);
        self.leaders(world, &mut visit);
        self.answers(world, &mut visit);
        self.time(world, &mut visit);
    }

    fn check(&self, world: &World) -> Result<(), Violation> {
        self.check_settles(world)
    }

    fn hash(&self, world: &World, hasher: &RandomState) -> u64 {
        hasher.hash_one(world.fingerprint())
    }
}

impl<'a> Model<'a> {
    /// Returns the system within a scope.
    pub(crate) fn new(scope: &'a Scope) -> Self {
        Self {
            scope,
            rules: scope.rules(),
            headers: headers(),
        }
    }

    fn time(&self, world: &World, visit: &mut impl FnMut(Step, Outcome)) {
        // Nothing is open for longer than a lifetime, no request waits for a router, and no frame is on its way for longer.
        if self.scope.expiry.is_none() || world.client.floor < world.client.aged {
            return;
        }
        let mut next = *world;
        next.client.aged = next.client.never_sent;
        next.old_frames = next.frames;
        next.frames = Default::default();
        for router in &mut next.routers {
            router.tick();
        }
        for leader in &mut next.leaders {
            leader.tick(&self.rules);
        }
        visit(Step::Tick, Ok(next));
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grow => write!(f, "the topic grows to two partitions"),
            Self::BeginSession {
                router,
                on_new_connection,
            } => {
                let connection = if *on_new_connection {
                    "a new connection"
                } else {
                    "its connection"
                };
                write!(
                    f,
                    "the client begins a session on {connection} to router {router}, and sends"
                )
            }
            Self::Send => write!(f, "the client sends its next request"),
            Self::Read { router, .. } => {
                write!(f, "router {router} reads a request, and sends its parts")
            }
            Self::Arrive { partition, frame } => write!(f, "partition {partition} gets {frame:?}"),
            Self::Sync { partition } => {
                write!(f, "partition {partition} makes one more entry durable")
            }
            Self::LoseTail { partition } => write!(f, "partition {partition} loses its last entry"),
            Self::Restart { partition } => write!(f, "partition {partition} begins anew"),
            Self::Acknowledge { batch } => write!(f, "batch {batch} is acknowledged"),
            Self::Refuse { batch } => write!(f, "batch {batch} is refused for good"),
            Self::GiveUp => write!(f, "the client gives up its oldest batch"),
            Self::NextEpoch => write!(f, "the client begins its next epoch"),
            Self::Tick => write!(f, "a lifetime passes"),
        }
    }
}
