//! A JDK: the compiler as a build, and what it made as code that nobody trusts.

use crate::support::Scene;
use crate::{expect_content, needs_programs};

const HOME: &str = "/usr/lib/jvm/java-21-openjdk-amd64/bin";

/// Makes 800 MB of garbage on four threads, three times what it may have of memory.
const SUMS: &str = "
import java.lang.management.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;

public class Sums {
    static long sum(int first) {
        long sum = 0;
        for (int round = 0; round < 200; round++) {
            var held = new ArrayList<byte[]>();
            for (int n = 0; n < 10; n++) {
                var bytes = new byte[100_000];
                Arrays.fill(bytes, (byte) first);
                held.add(bytes);
            }
            for (var bytes : held) sum += bytes[bytes.length - 1];
        }
        return sum;
    }

    public static void main(String[] words) throws Exception {
        var pool = Executors.newFixedThreadPool(4);
        var parts = IntStream.range(0, 4).mapToObj(n -> pool.submit(() -> sum(n))).toList();
        long sum = 0;
        for (var part : parts) sum += part.get();
        pool.shutdown();
        var collectors = ManagementFactory.getGarbageCollectorMXBeans().stream();
        long collections = collectors.mapToLong(GarbageCollectorMXBean::getCollectionCount).sum();
        System.out.println(sum + \" \" + (collections > 0));
    }
}
";

#[test]
fn java_is_compiled_and_runs_threads_and_collects_garbage() {
    needs_programs!();
    let scene = Scene::new();
    scene.file("Sums.java", SUMS);
    let javac = format!("{HOME}/javac");
    let run =
        scene.work("build", "filesystem.write = ['.']\n", &[&javac, "-d", "out", "Sums.java"]);
    expect_content(&run);
    let java = format!("{HOME}/java");
    // It isn't shown the control group that would tell it the limit, and takes a quarter of the host's memory for its heap.
    let rest =
        "filesystem.read = ['.']\nenvironment.set = { JAVA_TOOL_OPTIONS = '-XX:MaxRAM=256m' }\n";
    let run = scene.work("worker", rest, &[&java, "-cp", "out", "Sums"]);
    expect_content(&run);
    assert_eq!(run.text(), "12000 true\n", "{}", run.told());
}
