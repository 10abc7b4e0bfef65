import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeader;

/** A record that clients write and read back; the text format is described in samples.py. */
record Sample(int partition, long timestamp, byte[] key, byte[] value, List<Header> headers) {
    private static final String NULL = "~";
    private static final int SHORTENED_LENGTH = 60;

    static List<Sample> read(Path file) throws IOException {
        try (var lines = Files.lines(file)) {
            return lines.map(Sample::fromLine).toList();
        }
    }

    private static Sample fromLine(String line) {
        String[] columns = line.split("\t", -1);
        List<Header> headers = Arrays.stream(columns[4].split(",")).filter(pair -> !pair.isEmpty()).map(Sample::header).toList();
        return new Sample(Integer.parseInt(columns[0]), Long.parseLong(columns[1]), bytes(columns[2]), bytes(columns[3]), headers);
    }

    private static Header header(String pair) {
        String[] halves = pair.split(":", -1);
        return new RecordHeader(new String(bytes(halves[0]), StandardCharsets.UTF_8), bytes(halves[1]));
    }

    private static byte[] bytes(String text) {
        return text.equals(NULL) ? null : HexFormat.of().parseHex(text);
    }

    static List<Sample> ofPartition(List<Sample> samples, int partition) {
        return samples.stream().filter(sample -> sample.partition == partition).toList();
    }

    ProducerRecord<byte[], byte[]> toProduce(String topic) {
        return new ProducerRecord<>(topic, partition, timestamp, key, value, headers);
    }

    static Sample consumed(ConsumerRecord<byte[], byte[]> record) {
        return new Sample(record.partition(), record.timestamp(), record.key(), record.value(), list(record.headers()));
    }

    private static List<Header> list(Headers headers) {
        return Arrays.asList(headers.toArray());
    }

    /** Fails with the first record that is missing, out of order, doubled or different. */
    static void compare(List<Sample> expected, List<Sample> found, String what) {
        for (int at = 0; at < Math.min(expected.size(), found.size()); at++) {
            if (!expected.get(at).equalsAsRead(found.get(at))) {
                throw new AssertionError(what + ": record " + at + " is " + found.get(at).shortened() + ", expected " + expected.get(at).shortened());
            }
        }
        if (expected.size() != found.size()) {
            throw new AssertionError(what + ": " + found.size() + " records, expected " + expected.size());
        }
    }

    /** Says whether a read record is this one; timestamp -1 stands for whatever the writer set. */
    private boolean equalsAsRead(Sample read) {
        return partition == read.partition
                && (timestamp == -1 || timestamp == read.timestamp)
                && Arrays.equals(key, read.key)
                && Arrays.equals(value, read.value)
                && headers.equals(read.headers);
    }

    private String shortened() {
        String text = partition + " " + timestamp + " " + text(key) + " " + text(value) + " " + headers;
        return text.length() <= 4 * SHORTENED_LENGTH ? text : text.substring(0, 4 * SHORTENED_LENGTH) + "...";
    }

    private static String text(byte[] bytes) {
        if (bytes == null) {
            return NULL;
        }
        String text = HexFormat.of().formatHex(bytes);
        return text.length() <= SHORTENED_LENGTH ? text : text.substring(0, SHORTENED_LENGTH) + "...";
    }
}
