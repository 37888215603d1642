// When enough samples were taken, and what they say. Plain C++.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

struct SamplingRule {
    int fewest = 15, most = 300;
    double noise = 0.005;  // relative standard error of the median that is good enough
    double seconds = 0.5;  // stop after so long, settled or not
};

struct Summary {
    double median = 0, fastest = 0, noise = 0;
    int samples = 0;
    bool settled = false;  // the noise target was met
};

class Samples {
public:
    void add(double seconds) { sorted_.insert(std::upper_bound(sorted_.begin(), sorted_.end(), seconds), seconds); }

    bool enough(const SamplingRule& rule, double elapsed) const {
        const int count = static_cast<int>(sorted_.size());
        if (count < rule.fewest) return elapsed > 4 * rule.seconds && count >= 3;
        return count >= rule.most || elapsed > rule.seconds || noise() <= rule.noise;
    }

    Summary summary(const SamplingRule& rule) const {
        return {at(0.5), sorted_.front(), noise(), static_cast<int>(sorted_.size()), noise() <= rule.noise};
    }

    // Standard error of the median over the median, the spread taken from the quartiles: a few slow outliers, which
    // any machine has, then don't count. 1.349 quartile distances are a standard deviation if samples are normal.
    double noise() const {
        if (sorted_.size() < 2) return 1;
        const double deviation = (at(0.75) - at(0.25)) / 1.349;
        return 1.2533 * deviation / std::sqrt(static_cast<double>(sorted_.size())) / at(0.5);
    }

private:
    double at(double share) const {
        const double place = share * static_cast<double>(sorted_.size() - 1);
        const auto low = static_cast<size_t>(place);
        const size_t high = std::min(low + 1, sorted_.size() - 1);
        return sorted_[low] + (place - static_cast<double>(low)) * (sorted_[high] - sorted_[low]);
    }

    std::vector<double> sorted_;
};
