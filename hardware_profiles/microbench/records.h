// Results as JSON lines, flushed one by one; what a file has already is not measured again. Plain C++.
#pragma once
#include <cstdio>
#include <set>
#include <stdexcept>
#include <string>

constexpr int RECORD_SCHEMA = 1;

// A JSON object under construction, its fields in the order they were added.
class Json {
public:
    Json& add(const char* name, const std::string& value);
    Json& add(const char* name, const char* value) { return add(name, std::string(value)); }
    Json& add(const char* name, double value);
    Json& add(const char* name, long value);
    Json& add(const char* name, int value) { return add(name, static_cast<long>(value)); }
    Json& add(const char* name, bool value);
    Json& add(const char* name, const Json& value);
    std::string text() const { return "{" + text_ + "}"; }
    // The fields as name=value, separated by commas: what tells one point of measurement from another.
    const std::string& key() const { return key_; }

private:
    Json& raw(const char* name, const std::string& value, const std::string& plain);
    std::string text_, key_;
};

// A file of records that belongs to another machine, or is no such file.
struct WrongFile : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Records {
public:
    // Open for appending. A line cut short at the end is dropped. `machine` is what must not differ from what the file
    // says, else WrongFile.
    Records(const std::string& path, const std::string& machine);
    ~Records();
    Records(const Records&) = delete;
    Records& operator=(const Records&) = delete;

    bool empty() const { return empty_; }
    bool has(const std::string& key) const { return keys_.count(key) != 0; }
    void write(const std::string& key, const Json& fields);  // key first; "" for lines that are not results
    int results() const { return results_; }
    int errors = 0;

private:
    std::FILE* file_ = nullptr;
    bool empty_ = true;
    int results_ = 0;
    std::set<std::string> keys_;
};
