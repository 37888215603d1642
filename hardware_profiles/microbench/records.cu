#include "records.h"

#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

namespace {

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        if (static_cast<unsigned char>(c) >= ' ')
            out += c;
        else
            out += ' ';
    }
    return out + '"';
}

// The text between `before` and the next quotation mark, "" if there is none.
std::string between(const std::string& line, const char* before) {
    const size_t from = line.find(before);
    if (from == std::string::npos) return "";
    const size_t begin = from + std::strlen(before);
    return line.substr(begin, line.find('"', begin) - begin);
}

}  // namespace

Json& Json::raw(const char* name, const std::string& value, const std::string& plain) {
    if (!text_.empty()) {
        text_ += ", ";
        key_ += ",";
    }
    text_ += quoted(name) + ": " + value;
    key_ += std::string(name) + "=" + plain;
    return *this;
}

Json& Json::add(const char* name, const std::string& value) { return raw(name, quoted(value), value); }
Json& Json::add(const char* name, long value) { return raw(name, std::to_string(value), std::to_string(value)); }
Json& Json::add(const char* name, bool value) { return raw(name, value ? "true" : "false", value ? "true" : "false"); }
Json& Json::add(const char* name, const Json& value) { return raw(name, value.text(), value.key()); }
Json& Json::add(const char* name, double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", value);
    // JSON has no infinity and no NaN.
    if (!std::isfinite(value)) std::strcpy(text, "null");
    return raw(name, text, text);
}

Records::Records(const std::string& path, const std::string& machine) {
    long whole = 0;
    if (std::ifstream in(path, std::ios::binary); in) {
        std::stringstream all;
        all << in.rdbuf();
        const std::string text = all.str();
        whole = static_cast<long>(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
        std::istringstream lines(text.substr(0, static_cast<size_t>(whole)));
        for (std::string line; std::getline(lines, line);) {
            const std::string kind = between(line, "\"kind\": \"");
            if (empty_) {
                const std::string schema = "\"tokenyard_microbench\": " + std::to_string(RECORD_SCHEMA) + ",";
                if (kind != "machine" || line.find(schema) == std::string::npos)
                    throw WrongFile(path + " is no record of this version of the harness; name another file");
                const std::string there = between(line, "\"same\": \"");
                if (there != machine)
                    throw WrongFile(path + " was begun on another machine (" + there + ", here " + machine +
                                    "); name another file");
                empty_ = false;
            }
            if (kind == "result" || line.find("\"fatal\": true") != std::string::npos)
                keys_.insert(between(line, "\"key\": \""));
        }
    }
    file_ = std::fopen(path.c_str(), "ab");
    if (!file_ || ftruncate(fileno(file_), whole) != 0) throw WrongFile(path + ": " + std::strerror(errno));
}

Records::~Records() {
    if (file_) std::fclose(file_);
}

void Records::write(const std::string& key, const Json& fields) {
    Json line;
    if (!key.empty()) line.add("key", key);
    const std::string text = key.empty()
                                 ? fields.text()
                                 : "{" + line.text().substr(1, line.text().size() - 2) + ", " + fields.text().substr(1);
    if (std::fprintf(file_, "%s\n", text.c_str()) < 0 || std::fflush(file_) != 0)
        throw std::runtime_error(std::string("cannot write the results: ") + std::strerror(errno));
    if (!key.empty() && fields.text().find("\"kind\": \"result\"") != std::string::npos) {
        keys_.insert(key);
        ++results_;
    }
}
