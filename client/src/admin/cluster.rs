//! The cluster and its brokers.

use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::describe_cluster::DescribeClusterRequest;

use super::topics::text;
use super::{Admin, AskError};
use crate::address::BrokerAddress;

/// The cluster and its brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// The cluster's id.
    pub id: String,
    /// The controller, if it is known.
    pub controller: Option<BrokerId>,
    /// The brokers, by id.
    pub brokers: Vec<BrokerDescription>,
}

/// A broker a client may dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerDescription {
    /// Its id.
    pub id: BrokerId,
    /// Where it can be dialled.
    pub address: BrokerAddress,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

impl Admin {
    /// Returns the cluster's id, controller and brokers.
    ///
    /// # Errors
    /// When the cluster refuses or no broker answers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AskError> {
        let response = self.ask(&DescribeClusterRequest::default()).await?;
        if !response.error_code.is_none() {
            return Err(AskError::Refused {
                subject: "the cluster".to_owned(),
                code: response.error_code,
                message: text(response.error_message),
            });
        }
        let mut brokers = Vec::new();
        for broker in response.brokers {
            let Ok(port) = u16::try_from(broker.port) else {
                tracing::warn!(broker = %broker.broker_id, port = broker.port, "port out of range");
                continue;
            };
            brokers.push(BrokerDescription {
                id: broker.broker_id,
                address: BrokerAddress {
                    host: broker.host.to_string(),
                    port,
                },
                rack: text(broker.rack),
            });
        }
        brokers.sort_by_key(|broker| broker.id);
        let controller = response.controller_id;
        Ok(ClusterDescription {
            id: response.cluster_id.to_string(),
            controller: (controller.0 >= 0).then_some(controller),
            brokers,
        })
    }
}
