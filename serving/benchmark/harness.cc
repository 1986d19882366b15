// Times a SavedModel in the C++ runtime, the way TensorFlow Serving runs it, and prints JSON.
//
// The server's Predict looks the signature up, turns the request into tensors and calls
// Session::Run(run_options, inputs, output names, {}, &outputs, &run_metadata, thread_pool_options)
// with every output of the signature (servables/tensorflow/predict_util.cc). So does this.
// The clock covers Session::Run alone, as the server's own `runtime_latency` metric does;
// protocol buffers, gRPC and HTTP come on top of it. One thread a call is the default, as
// `--intra_op=1 --inter_op=-1 --executor=SINGLE_THREADED_EXECUTOR`.
//
// Texts are a TSV whose header names the signature's inputs. Every call takes the next rows, so no
// call repeats the texts of the one before it.

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/platform/threadpool_options.h"
#include "tensorflow/core/public/session.h"
#include "tensorflow/core/util/command_line_flags.h"

namespace {

using Clock = std::chrono::steady_clock;
using Columns = std::map<std::string, std::vector<std::string>>;
using Inputs = std::vector<std::pair<std::string, tensorflow::Tensor>>;

struct Options {
  std::string model, signature = "serving_default", texts, op_libraries;
  std::string executor = "SINGLE_THREADED_EXECUTOR", threads = "1,2";
  std::string workloads = "1,8,64,1x100,rank100,512";
  int intra_op = 1, inter_op = -1;
  float seconds = 1, max_call_secs = 5;
};

// A kind of request: "8" has 8 rows; "1x100" has 100 rows that all have the first one's query; "rank100" asks the
// signature `rank` for the same, with that query once.
struct Workload {
  std::string name;
  int rows;
  bool one_query, rank;
};

// A signature's inputs, names here and in the graph, and its outputs.
struct Signature {
  std::vector<std::pair<std::string, std::string>> inputs;
  std::vector<std::string> output_names, output_nodes;
};

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

[[noreturn]] void Die(const std::string& message) {
  std::cerr << "harness: " << message << std::endl;
  std::exit(1);
}

void Check(const absl::Status& status) {
  if (!status.ok()) Die(status.ToString());
}

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  if (!text.empty() && text.back() == separator) parts.emplace_back();
  return parts;
}

Columns ReadTexts(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) Die(path + ": expected a header line, found no text");
  const std::vector<std::string> names = Split(line, '\t');
  Columns columns;
  for (int number = 2; std::getline(file, line); ++number) {
    const std::vector<std::string> fields = Split(line, '\t');
    if (fields.size() != names.size()) {
      Die(path + ":" + std::to_string(number) + ": expected " + std::to_string(names.size()) +
          " columns, found " + std::to_string(fields.size()));
    }
    for (size_t i = 0; i < names.size(); ++i) columns[names[i]].push_back(fields[i]);
  }
  if (columns.empty()) Die(path + ": no rows after the header");
  return columns;
}

double ResidentMb(const char* field) {  // VmRSS now, VmHWM at its highest
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(field, 0) == 0) return std::atof(line.c_str() + line.find(':') + 1) / 1024;
  }
  return -1;
}

double Percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(values.size() * share)];
}

// Arithmetic alone: no memory, no system call, no TensorFlow. Returns the seconds that it took.
double Spin(int64_t rounds) {
  static volatile uint64_t kept = 88172645463325252u;
  uint64_t x = kept;
  const Clock::time_point start = Clock::now();
  for (int64_t i = 0; i < rounds; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
  }
  kept = x;
  return SecondsSince(start);
}

// Slowest but 1 in 100 of the loops of arithmetic that take `call_secs` undisturbed: what the machine itself adds to
// a call of that length, and no model can be rid of.
double SpinP99(double call_secs, double seconds) {
  constexpr int64_t kRounds = 1 << 16;
  double secs_per_round = 1;
  for (int i = 0; i < 20; ++i) secs_per_round = std::min(secs_per_round, Spin(kRounds) / kRounds);
  const int64_t rounds = std::max<int64_t>(1, call_secs / secs_per_round);
  std::vector<double> latencies;
  const Clock::time_point start = Clock::now();
  do {
    latencies.push_back(Spin(rounds));
  } while (SecondsSince(start) < seconds);
  return Percentile(std::move(latencies), 0.99);
}

class Harness {
 public:
  explicit Harness(const Options& options) : options_(options), texts_(ReadTexts(options.texts)) {
    tensorflow::SessionOptions session_options;
    session_options.config.set_intra_op_parallelism_threads(options.intra_op);
    session_options.config.set_inter_op_parallelism_threads(options.inter_op);
    session_options.config.mutable_experimental()->set_executor_type(options.executor);
    const Clock::time_point start = Clock::now();
    Check(tensorflow::LoadSavedModel(session_options, run_options_, options.model, {"serve"},
                                     &bundle_));
    load_secs_ = SecondsSince(start);
    signature_ = Find(options.signature);
    if (bundle_.GetSignatures().count("rank")) rank_ = Find("rank");
    num_rows_ = texts_.begin()->second.size();
    bundle_.meta_graph_def.clear_graph_def();  // as the server does, to save memory
  }

  void Run() {
    std::vector<tensorflow::Tensor> outputs;
    const Workload one_row = {"", 1, false, false};
    const double first_call_secs = Call(one_row, MakeInputs(one_row), &outputs);
    std::printf("{\"load_secs\": %.6f, \"first_call_secs\": %.6f, \"resident_mb\": %.1f,\n",
                load_secs_, first_call_secs, ResidentMb("VmRSS"));
    std::printf(" \"first_outputs\": {");
    const char* separator = "";
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].dtype() != tensorflow::DT_FLOAT || outputs[i].NumElements() != 1) continue;
      std::printf("%s\"%s\": %.9g", separator, signature_.output_names[i].c_str(),
                  outputs[i].flat<float>()(0));
      separator = ", ";
    }
    std::printf("},\n");
    std::printf(" \"cells\": [");
    separator = "\n  ";
    for (const std::string& threads : Split(options_.threads, ',')) {
      double secs_per_row = 0;
      for (const Workload& workload : Workloads()) {
        const double expected_secs = secs_per_row * workload.rows;
        if (expected_secs > options_.max_call_secs) continue;
        std::printf("%s", separator);
        const bool warm_up = expected_secs < options_.seconds;
        secs_per_row = Measure(workload, std::stoi(threads), warm_up) / workload.rows;
        separator = ",\n  ";
      }
    }
    std::printf("],\n \"peak_resident_mb\": %.1f}\n", ResidentMb("VmHWM"));
  }

 private:
  Signature Find(const std::string& signature_name) const {
    const auto& signatures = bundle_.GetSignatures();
    const auto found = signatures.find(signature_name);
    if (found == signatures.end()) Die(options_.model + ": no signature " + signature_name);
    Signature signature;
    for (const auto& [name, info] : found->second.inputs()) {
      if (!texts_.count(name)) Die(options_.texts + ": no column for the input " + name);
      signature.inputs.emplace_back(name, info.name());
    }
    for (const auto& [name, info] : found->second.outputs()) {
      signature.output_names.push_back(name);
      signature.output_nodes.push_back(info.name());
    }
    return signature;
  }

  const Signature& Of(const Workload& workload) const { return workload.rank ? rank_ : signature_; }

  std::vector<Workload> Workloads() const {
    std::vector<Workload> workloads;
    for (const std::string& name : Split(options_.workloads, ',')) {
      const bool rank = name.rfind("rank", 0) == 0;
      const bool one_query = rank || name.find('x') != std::string::npos;
      if ((one_query && !texts_.count("query")) || (rank && rank_.inputs.empty())) continue;
      const size_t digits = rank ? 4 : one_query ? name.find('x') + 1 : 0;
      workloads.push_back({name, std::stoi(name.substr(digits)), one_query, rank});
    }
    std::stable_sort(workloads.begin(), workloads.end(),
                     [](const Workload& a, const Workload& b) { return a.rows < b.rows; });
    return workloads;
  }

  Inputs MakeInputs(const Workload& workload) {
    const size_t first = next_row_.fetch_add(workload.rows);
    Inputs inputs;
    for (const auto& [name, node] : Of(workload).inputs) {
      const bool repeat = workload.one_query && name == "query";
      const int size = repeat && workload.rank ? 1 : workload.rows;
      tensorflow::Tensor tensor(tensorflow::DT_STRING, {size});
      const std::vector<std::string>& column = texts_.at(name);
      for (int i = 0; i < size; ++i) {
        tensor.flat<tensorflow::tstring>()(i) = column[(first + (repeat ? 0 : i)) % num_rows_];
      }
      inputs.emplace_back(node, std::move(tensor));
    }
    return inputs;
  }

  double Call(const Workload& workload, const Inputs& inputs, std::vector<tensorflow::Tensor>* outputs) {
    tensorflow::RunMetadata run_metadata;
    const Clock::time_point start = Clock::now();
    const absl::Status status =
        bundle_.session->Run(run_options_, inputs, Of(workload).output_nodes, {}, outputs, &run_metadata,
                             tensorflow::thread::ThreadPoolOptions());
    const double seconds = SecondsSince(start);
    Check(status);
    return seconds;
  }

  // Calls for `seconds`, at least once; returns the seconds that each call took.
  std::vector<double> CallFor(const Workload& workload, double seconds) {
    std::vector<double> latencies;
    std::vector<tensorflow::Tensor> outputs;
    const Clock::time_point start = Clock::now();
    do {
      const Inputs inputs = MakeInputs(workload);
      latencies.push_back(Call(workload, inputs, &outputs));
    } while (SecondsSince(start) < seconds);
    return latencies;
  }

  // Prints one cell of the result; returns the median in seconds.
  double Measure(const Workload& workload, int num_threads, bool warm_up) {
    if (warm_up) CallFor(workload, options_.seconds / 5);
    std::vector<std::vector<double>> by_thread(num_threads);
    std::vector<std::thread> threads;
    const Clock::time_point start = Clock::now();
    for (auto& latencies : by_thread) {
      threads.emplace_back([&] { latencies = CallFor(workload, options_.seconds); });
    }
    for (std::thread& thread : threads) thread.join();
    const double wall_secs = SecondsSince(start);
    std::vector<double> all;
    for (const auto& latencies : by_thread) {
      all.insert(all.end(), latencies.begin(), latencies.end());
    }
    const double median = Percentile(all, 0.5);
    std::printf("{\"workload\": \"%s\", \"rows\": %d, \"threads\": %d, \"calls\": %zu, "
                "\"median_us\": %.2f, \"p99_us\": %.2f, \"min_us\": %.2f, "
                "\"calls_per_sec\": %.2f, \"rows_per_sec\": %.2f",
                workload.name.c_str(), workload.rows, num_threads, all.size(), median * 1e6,
                Percentile(all, 0.99) * 1e6, Percentile(all, 0) * 1e6, all.size() / wall_secs,
                all.size() * workload.rows / wall_secs);
    if (workload.rows == 1 && num_threads == 1) {
      std::printf(", \"spin_p99_us\": %.2f", SpinP99(median, options_.seconds) * 1e6);
    }
    std::printf("}");
    return median;
  }

  const Options options_;
  const Columns texts_;
  const tensorflow::RunOptions run_options_;
  tensorflow::SavedModelBundle bundle_;
  Signature signature_, rank_;  // rank_ is empty if the model has none
  std::atomic<size_t> next_row_{0};
  size_t num_rows_ = 0;
  double load_secs_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  std::vector<tensorflow::Flag> flags = {
      {"model", &options.model, "folder of the SavedModel"},
      {"signature", &options.signature, "signature to call"},
      {"texts", &options.texts, "TSV whose header names the signature's inputs"},
      {"op_libraries", &options.op_libraries, "comma-separated .so files with more ops"},
      {"executor", &options.executor, "ConfigProto.experimental.executor_type"},
      {"intra_op", &options.intra_op, "intra_op_parallelism_threads"},
      {"inter_op", &options.inter_op, "inter_op_parallelism_threads"},
      {"workloads", &options.workloads, "rows a request; 1x100: one query with 100 titles; rank100: by the signature rank"},
      {"threads", &options.threads, "numbers of calling threads, comma-separated"},
      {"seconds", &options.seconds, "how long to call, for each figure"},
      {"max_call_secs", &options.max_call_secs, "leave out requests that would take longer"},
  };
  const std::string usage = tensorflow::Flags::Usage(argv[0], flags);
  if (!tensorflow::Flags::Parse(&argc, argv, flags) || argc > 1 || options.model.empty() ||
      options.texts.empty()) {
    Die(usage);
  }
  for (const std::string& path : Split(options.op_libraries, ',')) {
    if (!dlopen(path.c_str(), RTLD_NOW)) Die(dlerror());
  }
  Harness(options).Run();
  return 0;
}
