//! Who is asked for which settings, and how the answers come together.

use keylane_protocol::frame::response_frame;
use keylane_protocol::message::describe_configs::{
    CONFIG_SOURCE_DEFAULT, CONFIG_SOURCE_STATIC_BROKER, CONFIG_TYPE_LONG, DescribeConfigsResponse,
    DescribeConfigsResult,
};

use super::*;
use crate::testing::{Cluster, start};

const OWN: BrokerId = BrokerId(1_000_007);

fn settings() -> Vec<NodeSetting> {
    let setting = |key, value: &str| NodeSetting {
        key,
        config_type: CONFIG_TYPE_LONG,
        value: value.to_owned(),
        standard: "3000".to_owned(),
        documentation: "What it means.",
    };
    vec![
        setting("router.hold.ms", "3000"),
        setting("connections.max.idle.ms", "1"),
    ]
}

fn resource(resource_type: i8, name: &str) -> DescribeConfigsResource {
    DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: None,
    }
}

fn ask(resources: Vec<DescribeConfigsResource>) -> DescribeConfigsPlan {
    let request = DescribeConfigsRequest {
        resources,
        include_synonyms: true,
        include_documentation: true,
    };
    let mut cluster = Cluster::of_brokers(3);
    cluster.fence(3, true);
    let own = settings();
    let own = OwnSettings {
        id: OWN,
        settings: &own,
    };
    plan(&request, own, &cluster.routing(start()))
}

fn answer(part: &DescribeConfigsPart) -> DescribeConfigsResponse {
    let resources = part.request.resources.iter().rev();
    let results = resources.map(|resource| DescribeConfigsResult {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        error_message: Some(format!("from {:?}", part.to).into()),
        ..DescribeConfigsResult::default()
    });
    DescribeConfigsResponse {
        throttle_time_ms: 0,
        results: results.collect(),
    }
}

#[test]
fn topics_go_to_any_broker_and_brokers_to_themselves_in_one_part_each() {
    let resources = vec![
        resource(RESOURCE_TYPE_TOPIC, "a"),
        resource(RESOURCE_TYPE_BROKER, "2"),
        resource(RESOURCE_TYPE_TOPIC, "b"),
        resource(RESOURCE_TYPE_TOPIC, "a"),
    ];
    let mut plan = ask(resources);
    let to: Vec<Destination> = plan.parts.iter().map(|part| part.to).collect();
    assert_eq!(
        to,
        [Destination::AnyBroker, Destination::Broker(BrokerId(2))]
    );
    for part in plan.parts.iter().rev() {
        plan.merge.on_answer(part, answer(part));
    }
    assert!(plan.merge.is_complete());
    let results = plan.merge.finish().results;
    let names: Vec<&str> = results
        .iter()
        .map(|result| &*result.resource_name)
        .collect();
    assert_eq!(names, ["a", "2", "b"]);
    let text = results[1].error_message.as_deref();
    assert_eq!(text, Some("from Broker(BrokerId(2))"));
}

#[test]
fn a_router_tells_its_own_settings_with_a_known_source() {
    let mut wanted = resource(RESOURCE_TYPE_BROKER, &OWN.to_string());
    let all = ask(vec![wanted.clone()]);
    assert!(all.parts.is_empty() && all.merge.is_complete());
    let response = all.merge.finish();
    for version in 1..=4 {
        response_frame(&response, version, 1).expect("the version can carry it");
    }
    let configs = &response.results[0].configs;
    let sources: Vec<i8> = configs.iter().map(|config| config.config_source).collect();
    assert_eq!(
        sources,
        [CONFIG_SOURCE_DEFAULT, CONFIG_SOURCE_STATIC_BROKER]
    );
    assert_eq!(
        (configs[0].synonyms.len(), configs[1].synonyms.len()),
        (1, 2)
    );
    wanted.configuration_keys = Some(vec!["router.hold.ms".into()]);
    let one = ask(vec![wanted]).merge.finish();
    assert_eq!(one.results[0].configs.len(), 1);
}

#[test]
fn settings_for_all_brokers_are_none_since_they_cannot_be_made_while_brokers_run() {
    let all = ask(vec![resource(RESOURCE_TYPE_BROKER, "")]);
    assert!(all.parts.is_empty());
    let result = &all.merge.finish().results[0];
    assert_eq!(result.error_code, ErrorCode::None);
    assert!(result.configs.is_empty());
}

#[test]
fn what_nobody_can_tell_is_refused_in_words() {
    for (resource, code) in [
        (
            resource(RESOURCE_TYPE_BROKER, "9"),
            ErrorCode::InvalidRequest,
        ),
        (
            resource(RESOURCE_TYPE_BROKER, "x"),
            ErrorCode::InvalidRequest,
        ),
        (
            resource(RESOURCE_TYPE_BROKER, "1000008"),
            ErrorCode::InvalidRequest,
        ),
        (
            resource(RESOURCE_TYPE_BROKER, "3"),
            ErrorCode::BrokerNotAvailable,
        ),
        (resource(8, "a"), ErrorCode::InvalidRequest),
    ] {
        let refused = ask(vec![resource.clone()]);
        assert!(refused.parts.is_empty(), "{resource:?}");
        let result = &refused.merge.finish().results[0];
        assert_eq!(result.error_code, code, "{resource:?}");
        assert!(
            result
                .error_message
                .as_ref()
                .is_some_and(|text| !text.is_empty())
        );
    }
}

#[test]
fn what_is_not_answered_is_timed_out() {
    let mut plan = ask(vec![
        resource(RESOURCE_TYPE_TOPIC, "a"),
        resource(RESOURCE_TYPE_TOPIC, "b"),
        resource(RESOURCE_TYPE_BROKER, "1"),
    ]);
    let mut partial = answer(&plan.parts[0]);
    partial.results.truncate(1);
    plan.merge.on_answer(&plan.parts[0], partial);
    assert!(!plan.merge.is_complete());
    let results = plan.merge.finish().results;
    let codes: Vec<ErrorCode> = results.iter().map(|result| result.error_code).collect();
    let timed_out = ErrorCode::RequestTimedOut;
    assert_eq!(codes, [timed_out, ErrorCode::None, timed_out]);
}
