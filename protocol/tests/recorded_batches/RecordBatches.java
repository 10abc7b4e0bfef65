// Writes one batch per codec with the classes of kafka-clients, see README.md: java -cp JARS RecordBatches.java FOLDER
// With a second argument it reads batches instead: java -cp JARS RecordBatches.java FOLDER read
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.*;
import org.apache.kafka.common.record.internal.*;

public class RecordBatches {
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            Path file = folder.resolve(codec + ".bin");
            if (arguments.length > 1) {
                read(file, codec);
            } else {
                Files.write(file, write(codec));
            }
        }
    }

    static byte[] write(String codec) {
        Compression compression = Compression.of(codec).build();
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 20), RecordBatch.MAGIC_VALUE_V2,
            compression, TimestampType.CREATE_TIME, 0, RecordBatch.NO_TIMESTAMP, 4242, (short) 3, 17, false, -1);
        for (int index = 0; index < count(codec); index++) {
            builder.append(timestamp(index), key(index), value(index), headers(index));
        }
        ByteBuffer batch = builder.build().buffer();
        byte[] bytes = new byte[batch.remaining()];
        batch.get(bytes);
        return bytes;
    }

    static void read(Path file, String codec) throws Exception {
        int index = 0;
        for (MutableRecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(Files.readAllBytes(file))).batches()) {
            batch.ensureValid();
            for (org.apache.kafka.common.record.internal.Record record : batch) {
                check(record.offset() == index && record.timestamp() == timestamp(index), file, index);
                check(same(record.key(), key(index)) && same(record.value(), value(index)), file, index);
                check(List.of(record.headers()).equals(List.of(headers(index))), file, index);
                index++;
            }
        }
        check(index == count(codec), file, index);
        System.out.println(file.getFileName() + ": " + index + " records as expected");
    }

    static void check(boolean holds, Path file, int index) {
        if (!holds) throw new AssertionError(file + " differs at record " + index);
    }

    static boolean same(ByteBuffer found, byte[] expected) {
        return expected == null ? found == null : found != null && found.equals(ByteBuffer.wrap(expected));
    }

    static int count(String codec) { return codec.equals("none") ? 20 : 200; }

    static long timestamp(int index) { return 1_700_000_000_000L + (index == 3 ? -50 : 7L * index); }

    static byte[] key(int index) { return index % 3 == 0 ? null : utf8("key-" + index % 10); }

    static byte[] value(int index) {
        return index % 7 == 0 ? null : utf8(("value " + index + " ").repeat(50));
    }

    static Header[] headers(int index) {
        if (index % 5 != 0) return new Header[0];
        return new Header[] {new RecordHeader("h", utf8("a")), new RecordHeader("h", (byte[]) null), new RecordHeader("", utf8("ü"))};
    }

    static byte[] utf8(String text) { return text.getBytes(StandardCharsets.UTF_8); }
}
