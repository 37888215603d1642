// What the driver's management library says of a GPU: clocks, power, temperature, who else is on it. Only ever asked:
// nothing here changes a setting. The library comes with the driver and is loaded at run time.
#pragma once
#include <string>

class Nvml {
public:
    explicit Nvml(const std::string& bus_id);
    ~Nvml();
    Nvml(const Nvml&) = delete;
    Nvml& operator=(const Nvml&) = delete;

    bool present() const { return device_ != nullptr; }
    std::string driver() const;
    // 0 where the driver does not tell.
    int sm_mhz() const;
    int memory_mhz() const;
    int most_sm_mhz() const;
    double watts() const;
    double most_watts() const;
    int celsius() const;
    int busy_percent() const;
    // Slowed down for heat or by the board: times taken then are not the GPU's.
    bool throttled() const { return (reasons() & 0xE8u) != 0; }
    // Held at its power limit: usual under large matrix products.
    bool power_capped() const { return (reasons() & 0x4u) != 0; }

private:
    unsigned long long reasons() const;
    unsigned number(const char* function, int which) const;
    void* library_ = nullptr;
    void* device_ = nullptr;
};
