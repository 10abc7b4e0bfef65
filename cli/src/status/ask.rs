//! Finds the leading controller, and asks it for the whole metadata.

use std::time::Duration;

use keylane_protocol::cluster::call::{
    Call, CallBody, DescribeQuorumAnswer, DescribeQuorumRequest, FetchMetadataRequest,
};
use keylane_protocol::cluster::{ClusterImage, Endpoint, decode_records};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::link::handshake::{Hello, Role};
use keylane_protocol::transport::LinkCalls;
use tokio::runtime::Handle;

use super::Status;
use crate::failure::Failure;

/// How long one broker is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A link to a broker.
struct Controller {
    at: Endpoint,
    link: LinkCalls,
}

/// Asks the controllers, which any voter among `brokers` leads to.
pub(super) async fn ask(brokers: &[Endpoint]) -> Result<Status, Failure> {
    let (voter, quorum) = any_voter(brokers).await?;
    if quorum.controller_id == BrokerId::NONE {
        return Err(without_leader(&quorum));
    }
    if let Some(status) = whole(&voter, quorum.clone()).await? {
        return Ok(status);
    }
    let mut voters = quorum.voters.iter().chain(&quorum.listed);
    let leader = voters.find(|voter| voter.broker_id == quorum.controller_id);
    let leader = leader.and_then(|voter| Endpoint::new(&voter.internal_host, voter.internal_port));
    let leader = Controller::at(&leader.ok_or_else(|| without_leader(&quorum))?);
    let described = leader.call(&DescribeQuorumRequest::default()).await;
    let described = described.map_err(|reason| unreached(&[(leader.at.clone(), reason)]))?;
    let status = whole(&leader, described).await?;
    status.ok_or_else(|| without_leader(&quorum))
}

/// Returns the first voter that answers, and what it knows of the quorum.
async fn any_voter(brokers: &[Endpoint]) -> Result<(Controller, DescribeQuorumAnswer), Failure> {
    let mut faults = Vec::new();
    for at in brokers {
        let broker = Controller::at(at);
        match broker.call(&DescribeQuorumRequest::default()).await {
            Ok(quorum) => return Ok((broker, quorum)),
            Err(reason) => faults.push((at.clone(), reason)),
        }
    }
    Err(unreached(&faults))
}

/// Returns what a controller knows; `None` if it does not lead.
async fn whole(
    controller: &Controller,
    quorum: DescribeQuorumAnswer,
) -> Result<Option<Status>, Failure> {
    let asked = controller.call(&FetchMetadataRequest::default()).await;
    let answer = asked.map_err(|reason| unreached(&[(controller.at.clone(), reason)]))?;
    match answer.error_code {
        ErrorCode::None => {}
        ErrorCode::NotController => return Ok(None),
        refused => {
            let at = &controller.at;
            let words = format!("the controller at {at} refuses: {}", refused.name());
            return Err(Failure::new(words));
        }
    }
    let unread = |error: &(dyn std::error::Error + 'static)| {
        Failure::because("the metadata cannot be read", error)
            .hint("is this the version of Keylane that the brokers run?")
    };
    let records = match &answer.records {
        Some(records) => decode_records(records).map_err(|error| unread(&error))?,
        None => Vec::new(),
    };
    let image = ClusterImage::default().with(&records);
    Ok(Some(Status {
        quorum,
        index: answer.index,
        image: image.map_err(|error| unread(&error))?,
    }))
}

impl Controller {
    fn at(at: &Endpoint) -> Self {
        let hello = || Hello {
            role: Role::Operator,
            name: "keylane cluster status".into(),
            ..Hello::default()
        };
        Self {
            at: at.clone(),
            link: LinkCalls::start(&Handle::current(), at.clone(), hello),
        }
    }

    /// Asks something; an error says in words why there is no answer.
    async fn call<C: Call>(&self, request: &C) -> Result<C::Answer, String> {
        let body = request.to_bytes().map_err(|error| error.to_string())?;
        let reply = self.link.call(C::KIND.number(), 0, body, PATIENCE).await;
        let reply = reply.map_err(|error| self.link.fault().unwrap_or(error.to_string()))?;
        C::Answer::from_bytes(reply).map_err(|error| error.to_string())
    }
}

fn unreached(faults: &[(Endpoint, String)]) -> Failure {
    let faults: Vec<String> = faults
        .iter()
        .map(|(at, reason)| format!("{at}: {reason}"))
        .collect();
    Failure::new(format!("no controller answers: {}", faults.join("; "))).hint(
        "name the internal address of a broker that votes with --brokers HOST:PORT: it is part of the line that a broker \
         prints when it is ready",
    )
}

fn without_leader(quorum: &DescribeQuorumAnswer) -> Failure {
    let voters: Vec<String> = quorum
        .voters
        .iter()
        .chain(&quorum.listed)
        .map(|voter| {
            let (host, port) = (&voter.internal_host, voter.internal_port);
            format!("{}@{host}:{port}", voter.broker_id)
        })
        .collect();
    Failure::new(format!(
        "no controller leads at the moment; the voters are {}",
        voters.join(", ")
    ))
    .hint("more than half of the voters must run and reach one another; records are served all the same")
}
