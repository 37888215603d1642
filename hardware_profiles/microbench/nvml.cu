#include "nvml.h"

#include <dlfcn.h>

// Signatures and numbers from NVIDIA's NVML reference; every function returns 0 for success.
namespace {
constexpr int SM_CLOCK = 1, MEMORY_CLOCK = 2, GPU_TEMPERATURE = 0, NONE = -1;
struct Utilization {
    unsigned gpu, memory;
};
template <typename Function>
Function find(void* library, const char* name) {
    return library ? reinterpret_cast<Function>(dlsym(library, name)) : nullptr;
}
}  // namespace

Nvml::Nvml(const std::string& bus_id) {
    library_ = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    const auto start = find<int (*)()>(library_, "nvmlInit_v2");
    const auto by_bus = find<int (*)(const char*, void**)>(library_, "nvmlDeviceGetHandleByPciBusId_v2");
    if (!start || !by_bus || start() != 0 || by_bus(bus_id.c_str(), &device_) != 0) device_ = nullptr;
}

Nvml::~Nvml() {
    if (const auto stop = find<int (*)()>(library_, "nvmlShutdown")) stop();
    if (library_) dlclose(library_);
}

unsigned Nvml::number(const char* name, int which) const {
    unsigned value = 0;
    if (!device_) return 0;
    if (which == NONE) {
        const auto ask = find<int (*)(void*, unsigned*)>(library_, name);
        return ask && ask(device_, &value) == 0 ? value : 0;
    }
    const auto ask = find<int (*)(void*, int, unsigned*)>(library_, name);
    return ask && ask(device_, which, &value) == 0 ? value : 0;
}

std::string Nvml::driver() const {
    char text[96] = "";
    const auto ask = find<int (*)(char*, unsigned)>(library_, "nvmlSystemGetDriverVersion");
    return ask && ask(text, sizeof text) == 0 ? text : "unknown";
}

int Nvml::sm_mhz() const { return static_cast<int>(number("nvmlDeviceGetClockInfo", SM_CLOCK)); }
int Nvml::memory_mhz() const { return static_cast<int>(number("nvmlDeviceGetClockInfo", MEMORY_CLOCK)); }
int Nvml::most_sm_mhz() const { return static_cast<int>(number("nvmlDeviceGetMaxClockInfo", SM_CLOCK)); }
double Nvml::watts() const { return number("nvmlDeviceGetPowerUsage", NONE) / 1e3; }
double Nvml::most_watts() const { return number("nvmlDeviceGetEnforcedPowerLimit", NONE) / 1e3; }
int Nvml::celsius() const { return static_cast<int>(number("nvmlDeviceGetTemperature", GPU_TEMPERATURE)); }

int Nvml::busy_percent() const {
    Utilization use{};
    const auto ask = find<int (*)(void*, Utilization*)>(library_, "nvmlDeviceGetUtilizationRates");
    return device_ && ask && ask(device_, &use) == 0 ? static_cast<int>(use.gpu) : 0;
}

unsigned long long Nvml::reasons() const {
    unsigned long long value = 0;
    const auto ask = find<int (*)(void*, unsigned long long*)>(library_, "nvmlDeviceGetCurrentClocksThrottleReasons");
    return device_ && ask && ask(device_, &value) == 0 ? value : 0;
}
