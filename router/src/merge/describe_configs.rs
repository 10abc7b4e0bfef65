//! The answer to a DescribeConfigs, filled in resource by resource, in the order of the request.
//!
//! A broker's answer is passed on, matched by the resource it names.

use ahash::AHashMap;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult,
};

use crate::plan::describe_configs::DescribeConfigsPart;

/// An answer on its way.
#[derive(Debug)]
pub struct DescribeConfigsMerge {
    results: Vec<(DescribeConfigsResult, bool)>,
}

impl DescribeConfigsMerge {
    /// Returns an answer with a place for every resource.
    #[must_use]
    pub fn new(resources: &[DescribeConfigsResource]) -> Self {
        let empty = |resource: &DescribeConfigsResource| {
            let result = DescribeConfigsResult {
                error_message: None,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                ..DescribeConfigsResult::default()
            };
            (result, false)
        };
        Self {
            results: resources.iter().map(empty).collect(),
        }
    }

    /// Tells whether every place is filled.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.results.iter().all(|(_, is_settled)| *is_settled)
    }

    /// Takes a broker's answer to a part. What it leaves out counts as not answered.
    pub fn on_answer(&mut self, part: &DescribeConfigsPart, response: DescribeConfigsResponse) {
        let key = |result: &DescribeConfigsResult| {
            let name = result.resource_name.clone();
            (result.resource_type, name)
        };
        let results = response.results.into_iter();
        let mut answers: AHashMap<(i8, ByteString), DescribeConfigsResult> =
            results.map(|result| (key(&result), result)).collect();
        for place in &part.places {
            if let Some((result, is_settled)) = self.open(*place)
                && let Some(answer) = answers.remove(&key(result))
            {
                *result = answer;
                *is_settled = true;
            }
        }
        self.on_unanswered(part);
    }

    /// Notes that a part will not be answered: no broker can be asked, or the time is up.
    pub fn on_unanswered(&mut self, part: &DescribeConfigsPart) {
        for place in &part.places {
            let text = ByteString::from_static("no broker has answered");
            self.on_refused(*place, ErrorCode::RequestTimedOut, text);
        }
    }

    /// Fills a place with settings.
    pub fn on_settings(&mut self, place: usize, configs: Vec<DescribeConfigsResourceResult>) {
        if let Some((result, is_settled)) = self.open(place) {
            result.configs = configs;
            *is_settled = true;
        }
    }

    /// Fills a place with an error, unless it is filled.
    pub fn on_refused(&mut self, place: usize, error_code: ErrorCode, text: ByteString) {
        if let Some((result, is_settled)) = self.open(place) {
            result.error_code = error_code;
            result.error_message = Some(text);
            *is_settled = true;
        }
    }

    /// Returns the answer; what is open was not answered.
    #[must_use]
    pub fn finish(mut self) -> DescribeConfigsResponse {
        for place in 0..self.results.len() {
            let text = ByteString::from_static("no broker has answered");
            self.on_refused(place, ErrorCode::RequestTimedOut, text);
        }
        let results = self.results.into_iter();
        DescribeConfigsResponse {
            throttle_time_ms: 0,
            results: results.map(|(result, _)| result).collect(),
        }
    }

    fn open(&mut self, place: usize) -> Option<&mut (DescribeConfigsResult, bool)> {
        let slot = self.results.get_mut(place);
        slot.filter(|(_, is_settled)| !is_settled)
    }
}
