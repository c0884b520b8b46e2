import java.nio.charset.StandardCharsets;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** Prints the partition that Kafka's own producer chooses for each key. */
class Partition {
    public static void main(String[] arguments) {
        int partitions = Integer.parseInt(arguments[0]);
        for (int i = 1; i < arguments.length; i++) {
            byte[] key = arguments[i].getBytes(StandardCharsets.UTF_8);
            System.out.println(BuiltInPartitioner.partitionForKey(key, partitions));
        }
    }
}
