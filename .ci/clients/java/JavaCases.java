import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.TransactionalIdAuthorizationException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * Drives Kafka's Java client through the cases that cases.py runs with the other clients, and prints the same lines.
 *
 * <p>Arguments: BOOTSTRAP SERVER(kafka|keylane) PREFIX SAMPLES [--read TOPIC=FILE ...] [--on-demand] [--only CASE ...]. The working directory is the
 * repository's root.
 */
public final class JavaCases {
    private static final int PARTITION_COUNT = 6;
    private static final int EMPTY_PARTITION = 5;
    private static final int COUNTED_PARTITION = 1;
    private static final int CASE_TIMEOUT_SECONDS = 60;
    private static final int TOO_LARGE_BYTES = 3_000_000;
    private static final Map<String, Object> PLAIN = Map.of("enable.idempotence", false);

    private final JavaClient client;
    private final String prefix;
    private final List<Sample> samples;
    private int failed;

    private JavaCases(JavaClient client, String prefix, List<Sample> samples) {
        this.client = client;
        this.prefix = prefix;
        this.samples = samples;
    }

    /** One case, given the name of a topic of its own. */
    private interface Case {
        void run(String topic) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        String prefix = arguments[2];
        Path folder = Path.of(arguments[3]);
        List<String> more = List.of(arguments).subList(4, arguments.length);
        try (var client = new JavaClient(arguments[0])) {
            var cases = new JavaCases(client, prefix, Sample.read(folder.resolve("full.tsv")));
            if (more.contains("--read")) {
                for (String pair : more.subList(1, more.size())) {
                    String[] halves = pair.split("=");
                    var expected = Sample.read(folder.resolve(halves[1]));
                    cases.run("reads " + halves[0].substring(prefix.length() + 1), ignored -> cases.checkTopic(halves[0], expected));
                }
            } else if (more.contains("--on-demand")) {
                cases.run("a topic is made on demand", cases::madeOnDemand);
            } else {
                List<String> only = more.isEmpty() ? List.of("") : more.subList(1, more.size());
                cases.all(arguments[0], arguments[1].equals("keylane")).forEach((name, function) -> {
                    if (only.stream().anyMatch(name::startsWith)) {
                        cases.run(name, function);
                    }
                });
            }
            // Whatever a case that ran out of time left behind must not keep the process alive.
            System.out.flush();
            Runtime.getRuntime().halt(cases.failed == 0 ? 0 : 1);
        }
    }

    private void run(String name, Case function) {
        String label = "java " + AppInfoParser.getVersion() + " " + name;
        var executor = Executors.newSingleThreadExecutor();
        try {
            String topic = prefix + "-java-" + AppInfoParser.getVersion() + "-" + name.replaceAll("[^a-z0-9]+", "-");
            executor.submit(() -> {
                function.run(topic);
                return null;
            }).get(CASE_TIMEOUT_SECONDS, TimeUnit.SECONDS);
            System.out.println("ok " + label);
        } catch (Exception error) {
            failed++;
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            System.out.println("FAIL " + label + ": " + cause.toString().replaceAll("\\s+", " "));
        } finally {
            executor.shutdownNow();
        }
    }

    private Map<String, Case> all(String bootstrap, boolean keylane) {
        var cases = new LinkedHashMap<String, Case>();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = prefix + "-java-" + AppInfoParser.getVersion() + "-" + codec;
            cases.put("codec " + codec + ": every partition reads as written", ignored -> codec(topic, codec));
        }
        cases.put("create topic", this::createTopic);
        cases.put("list topics", topic -> {
            client.createTopic(topic + "-1", 1);
            client.createTopic(topic + "-2", 1);
            check(client.topics().containsAll(List.of(topic + "-1", topic + "-2")), "the topics are " + client.topics());
        });
        cases.put("idempotent produce", this::idempotentProduce);
        cases.put("produce with acks 1", topic -> produceWithAcks(topic, "1"));
        cases.put("produce with acks 0", topic -> produceWithAcks(topic, "0"));
        cases.put("keyed produce", this::keyedProduce);
        cases.put("consume by offset", this::consumeByOffset);
        cases.put("consume by leader epoch", this::consumeByLeaderEpoch);
        cases.put("list offsets", this::listOffsets);
        cases.put("a waiting reader gets a record written later", this::waitingReader);
        cases.put("describe cluster", ignored -> {
            check(client.clusterAddresses().contains(bootstrap), "the cluster's addresses are " + client.clusterAddresses());
            check(!client.clusterId().isEmpty(), "the cluster has no id");
        });
        cases.put("describe configs", this::describeConfigs);
        cases.put("more partitions", this::morePartitions);
        cases.put("change configs", this::changeConfigs);
        cases.put("delete topic", this::deleteTopic);
        cases.put("existing topic is refused", topic -> {
            client.createTopic(topic, 1);
            refused(TopicExistsException.class, () -> client.createTopic(topic, 1));
        });
        cases.put("unknown topic is refused", topic -> {
            refused(UnknownTopicOrPartitionException.class, () -> client.deleteTopic(topic));
            check(client.partitionCount(topic).isEmpty(), "asking for a topic created it");
        });
        cases.put("replication factor 3 is refused in words", topic -> {
            var refusal = refused(InvalidReplicationFactorException.class, () -> client.createTopic(topic, 1, 3, Map.of()));
            check(refusal.getMessage().length() > 20, "the refusal says only " + refusal.getMessage());
        });
        cases.put("no partitions is refused", topic -> refused(InvalidPartitionsException.class, () -> client.createTopic(topic, 0)));
        cases.put("bad topic name is refused", ignored -> {
            for (String name : List.of("../x", "with space", "n".repeat(250), ".")) {
                refused(InvalidTopicException.class, () -> client.createTopic(name, 1));
            }
        });
        cases.put("unknown config is refused", topic -> configIsRefused(topic, "no.such.config", "1"));
        cases.put("bad config value is refused", topic -> configIsRefused(topic, "segment.bytes", "many"));
        cases.put("fewer partitions is refused", topic -> {
            client.createTopic(topic, 2);
            for (int count : List.of(1, 2, 0, -1)) {
                refused(InvalidPartitionsException.class, () -> client.createPartitions(topic, count));
            }
            check(client.partitionCount(topic).equals(Optional.of(2)), "it has other partitions");
        });
        cases.put("more partitions of an unknown topic is refused", topic -> {
            refused(UnknownTopicOrPartitionException.class, () -> client.createPartitions(topic, 2));
            check(client.partitionCount(topic).isEmpty(), "asking for a topic created it");
        });
        cases.put("unknown config change is refused", topic -> configChangeIsRefused(topic, "no.such.config", "1"));
        cases.put("bad config change is refused", topic -> configChangeIsRefused(topic, "segment.bytes", "many"));
        if (keylane) {
            // What Kafka has and Keylane has not must be refused at once: a client that retries waits for ever.
            cases.put("config without effect is refused", topic -> configIsRefused(topic, "cleanup.policy", "compact"));
            cases.put("consumer group is refused", topic -> {
                client.createTopic(topic, 1);
                refused(UnsupportedVersionException.class, () -> client.readAsGroup(topic));
            });
            cases.put("transaction is refused", ignored -> refused(TransactionalIdAuthorizationException.class, client::beginTransaction));
        }
        cases.put("too large a message is refused", this::tooLargeMessageIsRefused);
        return cases;
    }

    private void checkTopic(String topic, List<Sample> expected) {
        for (int partition = 0; partition < PARTITION_COUNT; partition++) {
            var records = Sample.ofPartition(expected, partition);
            check(client.latest(topic, partition) == records.size(), "partition " + partition + " does not end at " + records.size());
            Sample.compare(records, client.consume(topic, partition, 0, records.size()), "partition " + partition);
        }
    }

    private void codec(String topic, String codec) throws Exception {
        client.createTopic(topic, PARTITION_COUNT);
        var offsets = client.produce(topic, samples, Map.of("enable.idempotence", false, "compression.type", codec));
        for (int partition = 0; partition < PARTITION_COUNT; partition++) {
            int wanted = partition;
            var placed = IntStream.range(0, samples.size()).filter(at -> samples.get(at).partition() == wanted).mapToObj(offsets::get).toList();
            check(placed.equals(LongStream.range(0, placed.size()).boxed().toList()), "partition " + partition + ": offsets " + placed);
        }
        checkTopic(topic, samples);
    }

    private void madeOnDemand(String topic) throws Exception {
        var records = IntStream.range(0, 100).mapToObj(number -> new ProducerRecord<>(topic, bytes("" + number), bytes("of " + number))).toList();
        client.produce(records, Map.of());
        int count = client.partitionCount(topic).orElseThrow();
        long written = IntStream.range(0, count).mapToLong(partition -> client.latest(topic, partition)).sum();
        check(written == records.size(), "the topic holds " + written + " records");
    }

    private void createTopic(String topic) throws Exception {
        check(client.partitionCount(topic).isEmpty(), "the topic is there before it was created");
        client.createTopic(topic, PARTITION_COUNT);
        for (int partition = 0; partition < PARTITION_COUNT; partition++) {
            check(client.latest(topic, partition) == 0, "a new partition is not empty");
        }
    }

    private void idempotentProduce(String topic) throws Exception {
        client.createTopic(topic, PARTITION_COUNT);
        client.produce(topic, samples, Map.of("enable.idempotence", true, "compression.type", "lz4"));
        checkTopic(topic, samples);
    }

    private void produceWithAcks(String topic, String acks) throws Exception {
        client.createTopic(topic, 1);
        var records = IntStream.range(0, 20).mapToObj(number -> record(0, "" + number)).toList();
        client.produce(topic, records, Map.of("enable.idempotence", false, "acks", acks));
        JavaClient.waitUntil(() -> client.latest(topic, 0) == records.size(), "the records do not arrive");
        Sample.compare(records, client.consume(topic, 0, 0, records.size()), "acks " + acks);
    }

    /** Sends by key alone and finds each key where the table of the default partitioner says, in order. */
    private void keyedProduce(String topic) throws Exception {
        var rows = Files.readAllLines(Path.of("protocol/tests/java_partitions.csv")).subList(0, 200).stream().map(line -> line.split(",")).toList();
        client.createTopic(topic, PARTITION_COUNT);
        var records = new ArrayList<ProducerRecord<byte[], byte[]>>();
        rows.forEach(row -> records.add(new ProducerRecord<>(topic, bytes(row[0]), bytes("of " + row[0]))));
        client.produce(records, Map.of());
        for (int partition = 0; partition < PARTITION_COUNT; partition++) {
            int wanted = partition;
            var keys = rows.stream().filter(row -> Integer.parseInt(row[1]) == wanted).map(row -> row[0]).toList();
            var found = client.consume(topic, partition, 0, keys.size()).stream().map(sample -> new String(sample.key(), StandardCharsets.UTF_8)).toList();
            check(found.equals(keys), "partition " + partition + " does not hold the table's keys in order");
            check(client.latest(topic, partition) == keys.size(), "partition " + partition + " holds more");
        }
    }

    private void consumeByOffset(String topic) throws Exception {
        client.createTopic(topic, PARTITION_COUNT);
        var records = Sample.ofPartition(samples, COUNTED_PARTITION);
        client.produce(topic, records, Map.of("compression.type", "gzip"));
        for (int offset : List.of(0, 1, 57, records.size() - 1)) {
            var found = client.consume(topic, COUNTED_PARTITION, offset, records.size() - offset);
            Sample.compare(records.subList(offset, records.size()), found, "from offset " + offset);
        }
    }

    private void consumeByLeaderEpoch(String topic) throws Exception {
        client.createTopic(topic, PARTITION_COUNT);
        var records = Sample.ofPartition(samples, COUNTED_PARTITION);
        client.produce(topic, records, PLAIN);
        for (int offset : List.of(1, 57, records.size() - 1)) {
            var found = client.consumeOfEpoch(topic, COUNTED_PARTITION, offset, records.size() - offset);
            Sample.compare(records.subList(offset, records.size()), found, "from offset " + offset);
        }
    }

    private void listOffsets(String topic) throws Exception {
        client.createTopic(topic, PARTITION_COUNT);
        var records = Sample.ofPartition(samples, COUNTED_PARTITION);
        client.produce(topic, records, PLAIN);
        long time = records.get(30).timestamp();
        check(client.earliest(topic, COUNTED_PARTITION) == 0, "earliest");
        check(client.latest(topic, COUNTED_PARTITION) == records.size(), "latest");
        check(client.latest(topic, EMPTY_PARTITION) == 0, "latest of an empty partition");
        check(client.offsetOfTime(topic, COUNTED_PARTITION, time).equals(Optional.of(30L)), "a record's own timestamp");
        check(client.offsetOfTime(topic, COUNTED_PARTITION, time + 1).equals(Optional.of(31L)), "between two records");
        check(client.offsetOfTime(topic, COUNTED_PARTITION, records.get(0).timestamp() - 5000).equals(Optional.of(0L)), "before the first record");
        check(client.offsetOfTime(topic, COUNTED_PARTITION, time + 86_400_000).isEmpty(), "after the last record");
    }

    private void waitingReader(String topic) throws Exception {
        client.createTopic(topic, 1);
        var record = record(0, "written later");
        var writer = new Thread(() -> {
            try {
                Thread.sleep(1000);
                client.produce(topic, List.of(record), PLAIN);
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        });
        writer.start();
        Sample.compare(List.of(record), client.consume(topic, 0, 0, 1), "the waiting reader");
        writer.join();
    }

    private void describeConfigs(String topic) throws Exception {
        client.createTopic(topic, 1, 1, Map.of("segment.bytes", "16777216"));
        String found = client.topicConfig(topic, "segment.bytes");
        check("16777216".equals(found), "segment.bytes is " + found);
    }

    private void morePartitions(String topic) throws Exception {
        client.createTopic(topic, 2);
        var before = List.of(record(0, "written before"), record(1, "written before"), record(1, "written before"));
        check(client.produce(topic, before, PLAIN).equals(List.of(0L, 0L, 1L)), "the first partitions are not empty");
        client.createPartitions(topic, 5);
        JavaClient.waitUntil(() -> client.partitionCount(topic).equals(Optional.of(5)), "the new partitions are not in the metadata");
        var ends = IntStream.range(0, 5).mapToObj(partition -> client.latest(topic, partition)).toList();
        check(ends.equals(List.of(1L, 2L, 0L, 0L, 0L)), "the partitions end at " + ends);
        var after = List.of(record(4, "written after"));
        check(client.produce(topic, after, PLAIN).equals(List.of(0L)), "a new partition is not empty");
        Sample.compare(after, client.consume(topic, 4, 0, 1), "the new partition");
        Sample.compare(before.subList(1, 3), client.consume(topic, 1, 0, 2), "the old partition");
    }

    private void changeConfigs(String topic) throws Exception {
        client.createTopic(topic, 1, 1, Map.of("segment.bytes", "16777216"));
        String key = "max.message.bytes";
        String standard = client.topicConfig(topic, key);
        var record = record(0, "x".repeat(5000));
        check(client.produce(topic, List.of(record), PLAIN).equals(List.of(0L)), "a new partition is not empty");
        client.changeConfig(topic, key, "2000");
        JavaClient.waitUntil(() -> "2000".equals(client.topicConfig(topic, key)), "the change is not there");
        refused(RecordTooLargeException.class, () -> client.produce(topic, List.of(record), PLAIN));
        client.changeConfig(topic, key, null);
        JavaClient.waitUntil(() -> standard.equals(client.topicConfig(topic, key)), "the default is not back");
        check("16777216".equals(client.topicConfig(topic, "segment.bytes")), "another setting has changed");
        check(client.produce(topic, List.of(record), PLAIN).equals(List.of(1L)), "the record has another place");
    }

    private void deleteTopic(String topic) throws Exception {
        client.createTopic(topic, 1);
        client.produce(topic, List.of(record(0, "of the first topic")), PLAIN);
        client.deleteTopic(topic);
        JavaClient.waitUntil(() -> client.partitionCount(topic).isEmpty(), "the topic is still there");
        client.createTopic(topic, 2);
        check(client.latest(topic, 0) == 0, "a topic of the same name has the old one's records");
    }

    private void configIsRefused(String topic, String key, String value) throws Exception {
        var refusal = refused(InvalidConfigurationException.class, () -> client.createTopic(topic, 1, 1, Map.of(key, value)));
        check(refusal.getMessage().contains(key), "the refusal does not name " + key + ": " + refusal.getMessage());
        check(client.partitionCount(topic).isEmpty(), "the topic was created all the same");
    }

    private void configChangeIsRefused(String topic, String key, String value) throws Exception {
        client.createTopic(topic, 1);
        String before = client.topicConfig(topic, key);
        var refusal = refused(InvalidConfigurationException.class, () -> client.changeConfig(topic, key, value));
        check(refusal.getMessage().contains(key), "the refusal does not name " + key + ": " + refusal.getMessage());
        check(Objects.equals(before, client.topicConfig(topic, key)), "it was changed all the same");
    }

    private void tooLargeMessageIsRefused(String topic) throws Exception {
        client.createTopic(topic, 1);
        var large = new Sample(0, System.currentTimeMillis(), bytes("key"), new byte[TOO_LARGE_BYTES], List.of());
        refused(RecordTooLargeException.class, () -> client.produce(topic, List.of(large), PLAIN));
        check(client.produce(topic, List.of(record(0, "fits")), PLAIN).equals(List.of(0L)), "the topic takes no record after a refusal");
    }

    /** An operation that the server should refuse. */
    private interface Operation {
        void run() throws Exception;
    }

    private static KafkaException refused(Class<? extends KafkaException> expected, Operation operation) throws Exception {
        try {
            operation.run();
        } catch (KafkaException refusal) {
            check(expected.isInstance(refusal), "refused with " + refusal);
            return refusal;
        }
        throw new AssertionError("not refused, expected " + expected.getSimpleName());
    }

    private static void check(boolean holds, String complaint) {
        if (!holds) {
            throw new AssertionError(complaint);
        }
    }

    private static Sample record(int partition, String value) {
        return new Sample(partition, System.currentTimeMillis(), bytes("key"), bytes(value), List.of());
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
