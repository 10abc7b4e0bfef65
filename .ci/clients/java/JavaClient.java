import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The operations of the cases, in terms of Kafka's own Java client. */
final class JavaClient implements AutoCloseable {
    static final Duration OPERATION_TIMEOUT = Duration.ofSeconds(20);
    private static final Duration GROUP_TIMEOUT = Duration.ofSeconds(5);

    private final String bootstrap;
    private final Admin admin;
    private final Consumer<byte[], byte[]> consumer;

    JavaClient(String bootstrap) {
        this.bootstrap = bootstrap;
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "request.timeout.ms", 15000, "default.api.timeout.ms", 20000));
        var settings = new Properties();
        settings.putAll(Map.of("bootstrap.servers", bootstrap, "enable.auto.commit", false, "auto.offset.reset", "none", "fetch.max.wait.ms", 100,
                "request.timeout.ms", 15000, "default.api.timeout.ms", 20000));
        consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    void createTopic(String topic, int partitions, int replicationFactor, Map<String, String> configs) throws Exception {
        var wish = new NewTopic(topic, partitions, (short) replicationFactor).configs(configs);
        done(admin.createTopics(List.of(wish)).all());
        waitUntil(() -> partitionCount(topic).equals(Optional.of(partitions)), "the new topic is not in the metadata");
        // Apache Kafka names leaders a moment before they know: their first answers would make a producer repeat itself.
        consumer.endOffsets(IntStream.range(0, partitions).mapToObj(partition -> new TopicPartition(topic, partition)).toList());
    }

    void createTopic(String topic, int partitions) throws Exception {
        createTopic(topic, partitions, 1, Map.of());
    }

    void deleteTopic(String topic) throws Exception {
        done(admin.deleteTopics(List.of(topic)).all());
    }

    Optional<Integer> partitionCount(String topic) throws Exception {
        try {
            return Optional.of(done(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size());
        } catch (UnknownTopicOrPartitionException absent) {
            return Optional.empty();
        }
    }

    Collection<String> topics() throws Exception {
        return done(admin.listTopics().names());
    }

    /** Writes records to the partitions they name, with settings over the defaults, and returns their offsets. */
    List<Long> produce(String topic, Collection<Sample> records, Map<String, Object> settings) throws Exception {
        return produce(records.stream().map(sample -> sample.toProduce(topic)).toList(), settings);
    }

    List<Long> produce(List<ProducerRecord<byte[], byte[]>> records, Map<String, Object> settings) throws Exception {
        var all = new HashMap<String, Object>(Map.of(
                "bootstrap.servers", bootstrap, "max.request.size", 10 * 1024 * 1024, "linger.ms", 5,
                "request.timeout.ms", 15000, "delivery.timeout.ms", 20000));
        all.putAll(settings);
        try (var producer = new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer())) {
            var promises = new ArrayList<Future<RecordMetadata>>();
            for (var record : records) {
                promises.add(producer.send(record));
            }
            var offsets = new ArrayList<Long>();
            for (var promise : promises) {
                offsets.add(done(promise).offset());
            }
            return offsets;
        }
    }

    /** Reads records of a partition from an offset on: as many as asked for, or those that come before time runs out. */
    List<Sample> consume(String topic, int partition, long offset, int count) {
        return consume(topic, partition, new OffsetAndMetadata(offset), count);
    }

    /** Reads as consume does, after it has asked whether the leader epoch of the record before still ends after the offset. */
    List<Sample> consumeOfEpoch(String topic, int partition, long offset, int count) {
        var place = new TopicPartition(topic, partition);
        consumer.assign(List.of(place));
        consumer.seek(place, offset - 1);
        var before = consumer.poll(OPERATION_TIMEOUT).records(place).get(0);
        return consume(topic, partition, new OffsetAndMetadata(offset, before.leaderEpoch(), ""), count);
    }

    private List<Sample> consume(String topic, int partition, OffsetAndMetadata from, int count) {
        var place = new TopicPartition(topic, partition);
        long offset = from.offset();
        consumer.assign(List.of(place));
        consumer.seek(place, from);
        var found = new ArrayList<Sample>();
        long deadline = System.nanoTime() + OPERATION_TIMEOUT.toNanos();
        while (found.size() < count && System.nanoTime() < deadline) {
            for (var record : consumer.poll(Duration.ofMillis(500))) {
                if (record.offset() != offset + found.size()) {
                    throw new AssertionError("offset " + record.offset() + " after " + found.size() + " records from " + offset);
                }
                found.add(Sample.consumed(record));
            }
        }
        return found;
    }

    long earliest(String topic, int partition) {
        var place = new TopicPartition(topic, partition);
        return consumer.beginningOffsets(List.of(place)).get(place);
    }

    long latest(String topic, int partition) {
        var place = new TopicPartition(topic, partition);
        return consumer.endOffsets(List.of(place)).get(place);
    }

    Optional<Long> offsetOfTime(String topic, int partition, long timestamp) {
        var place = new TopicPartition(topic, partition);
        return Optional.ofNullable(consumer.offsetsForTimes(Map.of(place, timestamp)).get(place)).map(found -> found.offset());
    }

    List<String> clusterAddresses() throws Exception {
        return done(admin.describeCluster().nodes()).stream().map(JavaClient::address).toList();
    }

    String clusterId() throws Exception {
        return done(admin.describeCluster().clusterId());
    }

    private static String address(Node node) {
        return node.host() + ":" + node.port();
    }

    String topicConfig(String topic, String key) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        var entry = done(admin.describeConfigs(List.of(resource)).all()).get(resource).get(key);
        return entry == null ? null : entry.value();
    }

    /** Gives a topic more partitions, so many in all. */
    void createPartitions(String topic, int count) throws Exception {
        done(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(count))).all());
    }

    /** Changes a key of a topic's configuration and leaves the rest; null goes back to the default. */
    void changeConfig(String topic, String key, String value) throws Exception {
        var operation = value == null ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET;
        var change = new AlterConfigOp(new ConfigEntry(key, value), operation);
        done(admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic), List.of(change))).all());
    }

    /** Joins a consumer group and polls for a while; returns if nothing happens. */
    void readAsGroup(String topic) {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "group.id", "unserved");
        try (var member = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            member.subscribe(List.of(topic));
            member.poll(GROUP_TIMEOUT);
        }
    }

    /** Asks for the right to write transactions. */
    void beginTransaction() {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "transactional.id", "unserved", "max.block.ms", 20000);
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.initTransactions();
        }
    }

    /** Returns what a future brings, or throws the server's own refusal. */
    private static <T> T done(Future<T> future) throws Exception {
        try {
            return future.get(OPERATION_TIMEOUT.toSeconds(), TimeUnit.SECONDS);
        } catch (ExecutionException error) {
            throw error.getCause() instanceof Exception cause ? cause : error;
        }
    }

    /** A condition that may ask the server. */
    interface Condition {
        boolean holds() throws Exception;
    }

    static void waitUntil(Condition condition, String complaint) throws Exception {
        long deadline = System.nanoTime() + OPERATION_TIMEOUT.toNanos();
        while (!condition.holds()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError(complaint);
            }
            Thread.sleep(50);
        }
    }

    @Override
    public void close() {
        consumer.close();
        admin.close();
    }
}
