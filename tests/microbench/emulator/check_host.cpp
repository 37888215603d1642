// The harness's host logic without CUDA: prints what samples add up to, or writes records, as its arguments ask.
//   check_host samples FEWEST MOST NOISE SECONDS ELAPSED < times     -> enough median fastest noise samples settled
//   check_host records FILE MACHINE KEY...                           -> which keys the file had; writes the others
#include <cstdio>
#include <cstring>
#include <string>

#include "records.h"
#include "sampling.h"

namespace {

int samples(char** words) {
    const SamplingRule rule{std::stoi(words[0]), std::stoi(words[1]), std::stod(words[2]), std::stod(words[3])};
    Samples all;
    for (double seconds; std::scanf("%lf", &seconds) == 1;) all.add(seconds);
    const Summary summary = all.summary(rule);
    std::printf("%d %.17g %.17g %.17g %d %d\n", all.enough(rule, std::stod(words[4])), summary.median, summary.fastest,
                summary.noise, summary.samples, summary.settled);
    return 0;
}

int records(int count, char** words) {
    Records file(words[0], words[1]);
    if (file.empty())
        file.write("", Json().add("kind", "machine").add("tokenyard_microbench", RECORD_SCHEMA).add("same", words[1]));
    for (int i = 2; i < count; ++i) {
        if (file.has(words[i])) {
            std::printf("%s\n", words[i]);
            continue;
        }
        Json line;
        line.add("kind", std::strcmp(words[i], "dead") == 0 ? "error" : "result").add("seconds", 1.5e-6);
        line.add("point", Json().add("m", 16L).add("name", "a \"quoted\" one").add("nothing", 0.0 / 0.0));
        if (std::strcmp(words[i], "dead") == 0) line.add("fatal", true);
        file.write(words[i], line);
    }
    return 0;
}

}  // namespace

int main(int count, char** words) {
    try {
        return std::strcmp(words[1], "samples") == 0 ? samples(words + 2) : records(count - 2, words + 2);
    } catch (const WrongFile& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
}
