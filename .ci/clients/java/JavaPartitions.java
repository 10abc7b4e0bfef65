import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/**
 * Prints where the Java client's default partitioner puts keys.
 *
 * <p>Reads one key a line (the first column is enough, more columns are ignored; a key that begins with 0x is hexadecimal)
 * and prints `key,partition of 6,partition of 16,partition of 1000`. It made protocol/tests/java_partitions.csv, and
 * `.ci/clients/run` checks that it still makes the same.
 */
public final class JavaPartitions {
    private static final int[] PARTITION_COUNTS = {6, 16, 1000};

    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var output = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String text = line.split(",", 2)[0];
            byte[] key = text.startsWith("0x")
                    ? HexFormat.of().parseHex(text.substring(2))
                    : text.getBytes(StandardCharsets.UTF_8);
            var row = new StringBuilder(text);
            for (int count : PARTITION_COUNTS) {
                row.append(',').append(BuiltInPartitioner.partitionForKey(key, count));
            }
            output.print(row.append('\n'));
        }
        output.flush();
    }
}
