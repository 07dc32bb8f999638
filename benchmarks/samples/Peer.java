import java.time.Duration;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.TimeWindows;

/** The same work in Kafka Streams, with its defaults; prints the line of JSON that every sample prints. */
public final class Peer {
    /** A record of the topic. */
    public static final class Transfer {
        public String account;
        public double amount;
        public double ts;
    }

    private static final int STEP = 20_000;
    private static final double LOOKS = 0.2, SETTLE = 3.0;
    private static long seen, passed, before = -1, mark = 1, first, start, cpu, wall, lastSeen, lastLook;
    private static long records;
    private static double seconds;
    private static KafkaStreams streams;

    private static long cpuTime() {
        return ((com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    /** The clock of meter.py. */
    private static void tick() {
        long now = System.nanoTime();
        if (first == 0) {
            first = now;
        }
        if (before < 0 && (seen >= records / 4 || now - first >= SETTLE * 1e9)) {
            before = seen;
            start = now;
            cpu = cpuTime();
            wall = System.currentTimeMillis();
        }
        if (seen >= records || (before >= 0 && now - start >= seconds * 1e9)) {
            report(seen - before, (now - start) / 1e9);
            mark = Long.MAX_VALUE;
        } else {
            double rate = (seen - lastSeen) / ((now - lastLook) / 1e9);
            long goal = before < 0 ? records / 4 : records;
            mark = Math.min(seen + Math.max(Math.min((long) (rate * LOOKS), STEP), 1), goal);
        }
        lastSeen = seen;
        lastLook = now;
    }

    private static void report(long events, double elapsed) {
        System.out.printf(Locale.ROOT,
            "{\"seen\": %d, \"passed\": %d, \"events\": %d, \"seconds\": %.3f, \"events_per_second\": %.1f, \"cpu_per_million\": %.4f, \"clock_started\": %.3f}%n",
            seen, passed, events, elapsed, events / elapsed, (cpuTime() - cpu) / 1e3 / events, wall / 1e3);
        System.out.flush();
        new Thread(() -> {
            streams.close(Duration.ofSeconds(20));
            System.exit(0);
        }).start();
    }

    public static void main(String[] given) {
        Map<String, String> options = new HashMap<>();
        for (String argument : given) {
            int at = argument.indexOf('=');
            options.put(argument.substring(2, at), argument.substring(at + 1));
        }
        records = Long.parseLong(options.get("records"));
        seconds = Double.parseDouble(options.get("seconds"));
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("id"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("broker").replaceFirst(".*://", ""));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, options.get("datadir"));
        settings.put("auto.offset.reset", "earliest");
        ObjectMapper mapper = new ObjectMapper();
        Serializer<Transfer> serializer = (topic, transfer) -> {
            try {
                return mapper.writeValueAsBytes(transfer);
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        };
        Deserializer<Transfer> deserializer = (topic, bytes) -> {
            try {
                return mapper.readValue(bytes, Transfer.class);
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        };
        Serde<Transfer> serde = Serdes.serdeFrom(serializer, deserializer);
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, Transfer> transfers = builder.stream(options.get("topic"), Consumed.with(Serdes.String(), serde));
        if (options.containsKey("windows")) {
            count(transfers.filter((key, transfer) -> {
                if (transfer.amount > 10) passed++;
                seen++;
                if (seen >= mark) tick();
                return true;
            }).groupByKey(Grouped.with(Serdes.String(), serde)), options.get("windows"));
        } else {
            pass(transfers, options.get("out"), serde);
        }
        streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
        streams.start();
    }

    /** Counts by key in windows, which can be read for a minute after their ends. */
    private static void count(KGroupedStream<String, Transfer> transfers, String windows) {
        Duration ten = Duration.ofSeconds(10), minute = Duration.ofSeconds(60);
        switch (windows) {
            case "tumbling" -> transfers.windowedBy(TimeWindows.ofSizeAndGrace(ten, minute)).count(Materialized.as("counts"));
            case "hopping" -> transfers.windowedBy(TimeWindows.ofSizeAndGrace(minute, minute).advanceBy(ten)).count(Materialized.as("counts"));
            default -> transfers.windowedBy(SessionWindows.ofInactivityGapAndGrace(ten, minute)).count(Materialized.as("counts"));
        }
    }

    /** Counts what passes, or sends it on. */
    private static void pass(KStream<String, Transfer> transfers, String out, Serde<Transfer> serde) {
        KStream<String, Transfer> large = transfers.filter((key, transfer) -> {
            boolean passes = transfer.amount > 10;
            seen++;
            if (passes) passed++;
            if (seen >= mark) tick();
            return passes;
        });
        if (out.isEmpty()) {
            large.foreach((key, transfer) -> { });
        } else {
            large.to(out, Produced.with(Serdes.String(), serde));
        }
    }
}
