//! Settings of a topic that serves are changed: what has an effect has it at once and after starts, the rest is refused.

mod kit;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::describe_configs::{
    CONFIG_SOURCE_DEFAULT, CONFIG_SOURCE_TOPIC, DescribeConfigsRequest, DescribeConfigsResource,
    RESOURCE_TYPE_BROKER, RESOURCE_TYPE_TOPIC,
};
use keylane_protocol::message::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, CONFIG_OPERATION_APPEND,
    CONFIG_OPERATION_DELETE, CONFIG_OPERATION_SET, IncrementalAlterConfigsRequest,
};
use keylane_protocol::offset::Offset;
use kit::{Client, TestBroker, batch, in_every_version};

fn change(name: &str, config_operation: i8, value: Option<&str>) -> AlterableConfig {
    AlterableConfig {
        name: name.into(),
        config_operation,
        value: value.map(Into::into),
    }
}

fn set(name: &str, value: &str) -> AlterableConfig {
    change(name, CONFIG_OPERATION_SET, Some(value))
}

fn of_topic(name: &str, configs: Vec<AlterableConfig>) -> AlterConfigsResource {
    AlterConfigsResource {
        resource_type: RESOURCE_TYPE_TOPIC,
        resource_name: name.into(),
        configs,
    }
}

fn request(resources: Vec<AlterConfigsResource>) -> IncrementalAlterConfigsRequest {
    IncrementalAlterConfigsRequest {
        resources,
        validate_only: false,
    }
}

/// Asks for one resource and returns what became of it.
fn alter(client: &mut Client, resource: AlterConfigsResource) -> AlterConfigsResourceResponse {
    client.ask(&request(vec![resource]), 1).responses.remove(0)
}

/// Returns what DescribeConfigs says of a setting: its value and where it comes from.
fn described(client: &mut Client, key: &str) -> (String, i8) {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: RESOURCE_TYPE_TOPIC,
            resource_name: "t".into(),
            configuration_keys: Some(vec![key.into()]),
        }],
        ..DescribeConfigsRequest::default()
    };
    let mut response = client.ask(&request, 4);
    let config = response.results.remove(0).configs.remove(0);
    let value = config.value.expect("no secret");
    (value.to_string(), config.config_source)
}

#[test]
fn settings_that_cannot_be_changed_are_described_as_read_only_and_others_are_not() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let resource = |resource_type, name: &str| DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![
            resource(RESOURCE_TYPE_TOPIC, "t"),
            resource(RESOURCE_TYPE_BROKER, "1"),
            resource(RESOURCE_TYPE_BROKER, ""),
        ],
        ..DescribeConfigsRequest::default()
    };
    let results = broker.connect().ask(&request, 4).results;
    let codes = results.iter().map(|result| result.error_code);
    assert!(codes.eq([ErrorCode::None; 3]));
    let configs = results[0].configs.iter();
    let changeable = configs.filter(|config| !config.read_only);
    let changeable: Vec<&str> = changeable.map(|config| &*config.name).collect();
    let expected = ["max.message.bytes", "segment.bytes", "segment.ms"];
    assert_eq!(changeable, expected);
    assert!(results[1].configs.iter().all(|config| config.read_only));
    // The settings for all brokers, which tools ask for beside those of each.
    assert!(results[2].configs.is_empty());
}

/// Returns how many segment files the only partition has.
fn segments(broker: &TestBroker) -> usize {
    let mut folders = vec![broker.folder.path().to_owned()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                count += usize::from(path.extension().is_some_and(|end| end == "log"));
            }
        }
    }
    count
}

#[test]
fn smaller_segments_and_messages_are_in_effect_at_once_and_after_a_crash() {
    let mut broker = TestBroker::start();
    broker.create_topic("t", 1);
    let before = segments(&broker);
    let mut client = broker.connect();
    let large = batch(&[vec![b'x'; 40_000]]);
    for _ in 0..2 {
        client.produce("t", 0, large.clone());
    }
    assert_eq!(segments(&broker), before + 1, "one segment takes both");
    let small = vec![
        set("segment.bytes", "65536"),
        set("max.message.bytes", "50000"),
    ];
    let altered = alter(&mut client, of_topic("t", small));
    assert_eq!(
        (altered.error_code, altered.error_message),
        (ErrorCode::None, None)
    );
    let own = ("65536".to_owned(), CONFIG_SOURCE_TOPIC);
    assert_eq!(described(&mut client, "segment.bytes"), own);
    for round in 0..2 {
        let answer = client.produce("t", 0, large.clone());
        assert_eq!(answer.error_code, ErrorCode::None);
        assert_eq!(segments(&broker), before + 2 + round, "one for each");
    }
    let larger = batch(&[vec![b'x'; 60_000]]);
    let refused = client.produce("t", 0, larger.clone());
    assert_eq!(refused.error_code, ErrorCode::MessageTooLarge);
    broker.crash();
    broker.start_again();
    let mut client = broker.connect();
    assert_eq!(described(&mut client, "segment.bytes"), own);
    let refused = client.produce("t", 0, larger.clone());
    assert_eq!(refused.error_code, ErrorCode::MessageTooLarge);
    let back = ["segment.bytes", "max.message.bytes"];
    let back = back.map(|key| change(key, CONFIG_OPERATION_DELETE, None));
    let altered = alter(&mut client, of_topic("t", back.into()));
    assert_eq!(altered.error_code, ErrorCode::None);
    let (_, source) = described(&mut client, "segment.bytes");
    assert_eq!(source, CONFIG_SOURCE_DEFAULT);
    assert_eq!(client.produce("t", 0, larger).base_offset, Offset(4));
}

#[test]
fn every_version_changes_settings() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    let value = |version: i16| (1000 + version).to_string();
    let request = |version| {
        let change = set("segment.ms", &value(version));
        request(vec![of_topic("t", vec![change])])
    };
    in_every_version(&mut client, request, |response, version| {
        let altered = &response.responses[0];
        assert_eq!(altered.error_code, ErrorCode::None, "version {version}");
        assert_eq!(altered.resource_type, RESOURCE_TYPE_TOPIC);
        assert_eq!(altered.resource_name, "t");
    });
    assert_eq!(described(&mut client, "segment.ms").0, value(1));
}

#[test]
fn resources_are_changed_each_by_itself_and_checks_change_nothing() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    let good = of_topic("t", vec![set("segment.ms", "5")]);
    let check = IncrementalAlterConfigsRequest {
        validate_only: true,
        ..request(vec![good.clone()])
    };
    assert_eq!(
        client.ask(&check, 1).responses[0].error_code,
        ErrorCode::None
    );
    let (_, source) = described(&mut client, "segment.ms");
    assert_eq!(source, CONFIG_SOURCE_DEFAULT);
    let bad = of_topic("u", vec![set("segment.ms", "5")]);
    let both = client.ask(&request(vec![bad, good]), 1);
    let codes: Vec<_> = both.responses.iter().map(|of| of.error_code).collect();
    assert_eq!(codes, [ErrorCode::UnknownTopicOrPartition, ErrorCode::None]);
    assert_eq!(described(&mut client, "segment.ms").0, "5");
}

#[test]
fn what_is_not_possible_is_refused_in_words() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    let cases = [
        (
            set("retention.ms", "5"),
            ErrorCode::InvalidConfig,
            "only -1 so far",
        ),
        (
            set("flush.ms", "5"),
            ErrorCode::InvalidConfig,
            "has no effect here",
        ),
        (
            set("durability", "page-cache"),
            ErrorCode::InvalidConfig,
            "cannot be changed",
        ),
        (
            change("segment.ms", CONFIG_OPERATION_APPEND, Some("5")),
            ErrorCode::InvalidConfig,
            "is no list",
        ),
        (
            change("segment.ms", CONFIG_OPERATION_SET, None),
            ErrorCode::InvalidRequest,
            "needs a value",
        ),
        (
            change("segment.ms", 9, Some("5")),
            ErrorCode::InvalidRequest,
            "no operation 9",
        ),
    ];
    for (change, code, words) in cases {
        let valid = set("max.message.bytes", "50000");
        let refused = alter(&mut client, of_topic("t", vec![valid, change]));
        let text = refused.error_message.expect("words");
        assert_eq!(refused.error_code, code, "{text}");
        assert!(text.contains(words), "{text}");
    }
    let (_, source) = described(&mut client, "max.message.bytes");
    assert_eq!(source, CONFIG_SOURCE_DEFAULT, "nothing was changed");
    for (resource_type, words) in [(RESOURCE_TYPE_BROKER, "when it is started"), (8, "type 8")] {
        let resource = AlterConfigsResource {
            resource_type,
            ..of_topic("1", vec![set("num.partitions", "5")])
        };
        let refused = alter(&mut client, resource);
        assert_eq!(refused.error_code, ErrorCode::InvalidRequest);
        let text = refused.error_message.expect("words");
        assert!(text.contains(words), "{text}");
    }
    let one = of_topic("t", vec![set("segment.ms", "5")]);
    let twice = client.ask(&request(vec![one.clone(), one]), 1).responses;
    assert_eq!(twice.len(), 1);
    assert_eq!(twice[0].error_code, ErrorCode::InvalidRequest);
}
