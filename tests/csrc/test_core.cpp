// The core against the equations, which stand here once more: plainly, in double, one number after the other.
//
// Every array of a call has memory of its own, of exactly its size, so that AddressSanitizer sees what goes past its
// ends. What a call must not read is NaN, and what it must not write is compared bit by bit with what was there.
// GLASSLSTM_ISA chooses the instruction set. The exit status is 1 where anything was wrong.
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core.h"
#include "team.h"

namespace {

using namespace glasslstm;

using Values = std::vector<double>;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();  // not to be read; not to be written

const Kernels* const tested = kernels();
std::atomic<long> checks{0}, failures{0};

// The largest errors are half of this in float, where sums are long, and a fifth in double.
template <class T>
constexpr double kTolerance = sizeof(T) == 4 ? 2e-5 : 1e-13;

// The sanitizers take their time: every so many of the sizes.
#if defined(__SANITIZE_THREAD__)
constexpr long kStride = 10;
#elif defined(__SANITIZE_ADDRESS__)
constexpr long kStride = 2;
#else
constexpr long kStride = 1;
#endif

// The same numbers on every machine: Knuth's generator for MMIX, its upper bits.
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}

    // From 0 to limit - 1.
    long below(long limit) {
        state_ = state_ * 6364136223846793005 + 1442695040888963407;
        return long((state_ >> 33) % uint64_t(limit));
    }
    bool coin() { return below(2); }

    // `count` values within [-size, size] that T can hold.
    template <class T>
    Values values(long count, double size) {
        Values found(count);
        for (double& value : found) value = T(size * (double(below(1 << 24)) / (1 << 23) - 1));
        return found;
    }

private:
    uint64_t state_;
};

struct Case {
    long time, batch, input, hidden;
    int directions, threads;
    bool ragged;   // false: `lengths` is null
    bool shifted;  // the arrays begin one element behind an address that is aligned to 64
    uint64_t seed;

    std::string text() const {
        char text[200];
        std::snprintf(text, sizeof(text), "T %ld, B %ld, I %ld, H %ld, D %d, %d threads%s%s, seed %ld", time, batch,
                      input, hidden, directions, threads, ragged ? ", ragged" : "", shifted ? ", shifted" : "",
                      long(seed));
        return text;
    }
};

// ------------------------------------------------------------------------------------------------- the equations

// A layer, forward and backward, from inputs that T can hold. Arrays as in core.h, in double and without gaps; past
// a length they hold kNone. h and grad_h are (D, T, B, H).
template <class T>
struct Reference : Case {
    std::vector<int64_t> lengths;
    Values w_ih[2], w_hh[2], b_ih[2], b_hh[2];  // a bias may be missing
    Values x, h_0, c_0;
    Values gates, c, h, c_n, h_n;
    Values grad_gates, grad_c, grad_h, grad_c_n, grad_h_n;
    Values d_ih[2], d_hh[2], d_bias[2], d_x, d_h_0, d_c_0, d_c, d_h;

    Reference(const Case& of, Random& random) : Case(of), lengths(batch, time) {
        if (ragged)
            for (int64_t& length : lengths) length = random.below(time + 1);
        const double size = 2 / std::sqrt(double(input + hidden));
        for (int d = 0; d < directions; ++d) {
            w_ih[d] = random.values<T>(4 * hidden * input, size);
            w_hh[d] = random.values<T>(4 * hidden * hidden, size);
            for (Values* bias : {&b_ih[d], &b_hh[d]})
                if (random.below(4)) *bias = random.values<T>(4 * hidden, 1);
        }
        for (Values* states : {&h_0, &c_0, &grad_h_n, &grad_c_n})
            *states = random.values<T>(directions * batch * hidden, 1);
        x = padded(random.values<T>(time * batch * input, 2), input, kNone);
        grad_gates = padded(random.values<T>(rows() * 4 * hidden, 1), 4 * hidden, kNone);
        for (Values* steps : {&grad_c, &grad_h}) *steps = padded(random.values<T>(rows() * hidden, 1), hidden, kNone);
    }

    long rows() const { return directions * time * batch; }
    long row(int d, long t, long b) const { return (d * time + t) * batch + b; }
    long time_of(int d, long b, long k) const { return d ? lengths[b] - 1 - k : k; }

    // Rows of `columns`, as they are up to a length, and with `value` past it.
    Values padded(Values steps, long columns, double value) const {
        for (long k = 0; k < long(steps.size()); ++k) {
            const long row = k / columns;
            if (row / batch % time >= lengths[row % batch]) steps[k] = value;
        }
        return steps;
    }

    // (D, T, B, H) as (T, B, D * H).
    Values side_by_side(const Values& steps) const {
        Values found(steps.size());
        for (long k = 0; k < long(found.size()); ++k) {
            const long u = k % hidden, d = k / hidden % directions, row = k / (directions * hidden);
            found[k] = steps[(d * time * batch + row) * hidden + u];
        }
        return found;
    }

    void forward() {
        gates.assign(rows() * 4 * hidden, kNone);
        c.assign(rows() * hidden, kNone);
        h.assign(rows() * hidden, kNone);
        for (int d = 0; d < directions; ++d)
            for (long b = 0; b < batch; ++b)
                for (long k = 0; k < lengths[b]; ++k) forward_step(d, b, k);
        h_n = last(h, h_0);
        c_n = last(c, c_0);
    }

    // The state before step number k of sequence b.
    const double* before(int d, long b, long k, const Values& steps, const Values& initial) const {
        return k ? &steps[row(d, time_of(d, b, k - 1), b) * hidden] : &initial[(d * batch + b) * hidden];
    }

    Values last(const Values& steps, const Values& initial) const {
        Values found;
        for (int d = 0; d < directions; ++d)
            for (long b = 0; b < batch; ++b) {
                const double* const state = before(d, b, lengths[b], steps, initial);
                found.insert(found.end(), state, state + hidden);
            }
        return found;
    }

    void forward_step(int d, long b, long k) {
        const long t = time_of(d, b, k), r = row(d, t, b);
        const double *const h_before = before(d, b, k, h, h_0), *const c_before = before(d, b, k, c, c_0);
        double* const gate = &gates[r * 4 * hidden];
        for (long n = 0; n < 4 * hidden; ++n) {
            double sum = (b_ih[d].empty() ? 0 : b_ih[d][n]) + (b_hh[d].empty() ? 0 : b_hh[d][n]);
            for (long m = 0; m < input; ++m) sum += w_ih[d][n * input + m] * x[(t * batch + b) * input + m];
            for (long m = 0; m < hidden; ++m) sum += w_hh[d][n * hidden + m] * h_before[m];
            gate[n] = n / hidden == 2 ? std::tanh(sum) : 1 / (1 + std::exp(-sum));
        }
        for (long u = 0; u < hidden; ++u) {
            const double i = gate[u], f = gate[hidden + u], g = gate[2 * hidden + u], o = gate[3 * hidden + u];
            put(c[r * hidden + u], f * c_before[u] + i * g);
            put(h[r * hidden + u], o * std::tanh(c[r * hidden + u]));
        }
    }

    void backward() {
        for (int d = 0; d < directions; ++d) {
            d_ih[d].assign(4 * hidden * input, 0);
            d_hh[d].assign(4 * hidden * hidden, 0);
            d_bias[d].assign(4 * hidden, 0);
        }
        d_x.assign(time * batch * input, 0);
        d_c = d_h = Values(rows() * hidden, 0);
        d_h_0 = grad_h_n;
        d_c_0 = grad_c_n;
        for (int d = 0; d < directions; ++d)
            for (long b = 0; b < batch; ++b)
                for (long k = lengths[b] - 1; k >= 0; --k) backward_step(d, b, k);
    }

    // d_h_0 and d_c_0 are what reaches the state after the step, and then the one before it.
    void backward_step(int d, long b, long k) {
        const long t = time_of(d, b, k), r = row(d, t, b);
        const double *const h_before = before(d, b, k, h, h_0), *const c_before = before(d, b, k, c, c_0);
        double *const dh = &d_h_0[(d * batch + b) * hidden], *const dc = &d_c_0[(d * batch + b) * hidden];
        Values d_sums(4 * hidden);  // of the gates before their activations
        for (long u = 0; u < hidden; ++u) {
            const double *const gate = &gates[r * 4 * hidden + u], *const grad = &grad_gates[r * 4 * hidden + u];
            const double i = gate[0], f = gate[hidden], g = gate[2 * hidden], o = gate[3 * hidden];
            const double shown = std::tanh(c[r * hidden + u]);
            dh[u] += grad_h[r * hidden + u];
            dc[u] += grad_c[r * hidden + u] + dh[u] * o * (1 - shown * shown);
            d_h[r * hidden + u] = dh[u];
            d_c[r * hidden + u] = dc[u];
            d_sums[u] = (grad[0] + dc[u] * g) * i * (1 - i);
            d_sums[hidden + u] = (grad[hidden] + dc[u] * c_before[u]) * f * (1 - f);
            d_sums[2 * hidden + u] = (grad[2 * hidden] + dc[u] * i) * (1 - g * g);
            d_sums[3 * hidden + u] = (grad[3 * hidden] + dh[u] * shown) * o * (1 - o);
            dc[u] *= f;
        }
        std::fill_n(dh, hidden, 0);
        for (long n = 0; n < 4 * hidden; ++n) {
            const double slope = d_sums[n];
            d_bias[d][n] += slope;
            for (long m = 0; m < input; ++m) {
                d_ih[d][n * input + m] += slope * x[(t * batch + b) * input + m];
                d_x[(t * batch + b) * input + m] += slope * w_ih[d][n * input + m];
            }
            for (long m = 0; m < hidden; ++m) {
                d_hh[d][n * hidden + m] += slope * h_before[m];
                dh[m] += slope * w_hh[d][n * hidden + m];
            }
        }
    }

    // What the gradients are the gradients of; where `value` is `nudge` more than it is or than the equations say.
    double loss(double& value, double nudge) {
        const double kept = value;
        value += nudge;
        nudged_ = &value;
        nudge_ = nudge;
        forward();
        const double sum =
            dot(grad_gates, gates) + dot(grad_c, c) + dot(grad_h, h) + dot(grad_c_n, c_n) + dot(grad_h_n, h_n);
        value = kept;
        nudged_ = nullptr;
        return sum;
    }

private:
    void put(double& place, double value) const { place = &place == nudged_ ? value + nudge_ : value; }

    static double dot(const Values& a, const Values& b) {
        double sum = 0;
        for (size_t k = 0; k < a.size(); ++k) sum += std::isnan(a[k]) ? 0 : a[k] * b[k];
        return sum;
    }

    const double* nudged_ = nullptr;
    double nudge_ = 0;
};

// The gradients above against differences of the loss.
void check_reference() {
    Random random(1);
    Reference<double> r({4, 5, 2, 3, 2, 1, true, false, 1}, random);
    r.forward();
    r.backward();
    const auto check = [&](const char* name, Values& values, const Values& gradient) {
        ++checks;
        for (size_t k = 0; k < values.size(); ++k) {
            const double slope = (r.loss(values[k], 1e-5) - r.loss(values[k], -1e-5)) / 2e-5;
            if (std::abs(slope - gradient[k]) <= 1e-8) continue;
            ++failures;
            std::printf("the equations: d_%s[%zu] is %g, not %g\n", name, k, gradient[k], slope);
        }
    };
    for (int d = 0; d < 2; ++d) {
        check("ih", r.w_ih[d], r.d_ih[d]);
        check("hh", r.w_hh[d], r.d_hh[d]);
        check("bias", r.b_ih[d], r.d_bias[d]);
        check("bias", r.b_hh[d], r.d_bias[d]);
    }
    check("x", r.x, r.d_x);
    check("h_0", r.h_0, r.d_h_0);
    check("c_0", r.c_0, r.d_c_0);
    check("h", r.h, r.d_h);
    check("c", r.c, r.d_c);
}

// --------------------------------------------------------------------------------------------- calls of the core

struct Free {
    void operator()(void* memory) const { free(memory); }
};
using Memory = std::unique_ptr<void, Free>;

// Exactly so many bytes, aligned to 64. Every bit is set: NaN as a number, nonsense as an address or a count.
Memory allocate(size_t bytes) {
    void* memory;
    if (posix_memalign(&memory, 64, bytes)) abort();
    std::memset(memory, 0xff, bytes);
    return Memory(memory);
}

// One array of a call: what is in it before, and what has to be in it afterwards.
template <class T>
class Array {
public:
    // `before`: null, nothing yet. `after`: kNone for what must not be written.
    Array(const char* name, const Values* before, Values after, bool shifted)
        : name_(name),
          after_(std::move(after)),
          memory_(allocate((after_.size() + shifted) * sizeof(T))),
          data_(static_cast<T*>(memory_.get()) + shifted),
          before_(data_, data_ + after_.size()) {
        if (before) before_.assign(before->begin(), before->end());
    }

    T* data() const { return data_; }
    void reset() { std::copy(before_.begin(), before_.end(), data_); }

    void check(const std::string& where) const {
        ++checks;
        for (size_t k = 0; k < after_.size(); ++k) {
            if (is_right(k)) continue;
            ++failures;
            std::printf("%s: %s[%zu of %zu] is %.9g, not %.9g\n", where.c_str(), name_, k, after_.size(),
                        double(data_[k]), after_[k]);
            return;
        }
    }

private:
    bool is_right(size_t k) const {
        if (std::isnan(after_[k])) return !std::memcmp(&data_[k], &before_[k], sizeof(T));
        if (after_[k] == 0) return data_[k] == 0;
        return std::abs(data_[k] - after_[k]) <= kTolerance<T> * (1 + std::abs(after_[k]));
    }

    const char* name_;
    Values after_;
    Memory memory_;
    T* data_;
    std::vector<T> before_;
};

// A call with all that it reads and writes.
template <class T>
class Call {
public:
    std::function<void(const Functions<T>&)> function;

    Call(std::string where, bool shifted, uint64_t seed) : random_(seed), where_(std::move(where)), shifted_(shifted) {}

    void run() {
        for (Array<T>& array : arrays_) array.reset();
        function(tested->of(T()));
        for (const Array<T>& array : arrays_) array.check(where_);
    }

    T* change(const char* name, const Values& before, Values after) { return add(name, &before, std::move(after)); }
    T* result(const char* name, Values values) { return add(name, nullptr, std::move(values)); }
    const T* input(const char* name, const Values& values) { return add(name, &values, Values(values.size(), kNone)); }

    // Something that the caller may choose.
    bool choose(const char* name) {
        const bool chosen = random_.coin();
        where_ += std::string(chosen ? ", " : ", no ") + name;
        return chosen;
    }
    T* maybe_result(const char* name, const Values& values) { return choose(name) ? result(name, values) : nullptr; }
    // Without it the values become zero.
    const T* maybe_input(const char* name, Values& values) {
        if (choose(name)) return input(name, values);
        values.assign(values.size(), 0);
        return nullptr;
    }

    // Rows of (T, B, columns) with gaps between them, which hold kNone; T or B is the outer dimension.
    Values spread(const Case& c, const Values& rows, long& time, long& batch) {
        if (c.batch == 0) return {};
        const long columns = long(rows.size()) / (c.time * c.batch), inner = columns + random_.below(3);
        const bool time_first = random_.coin();
        (time_first ? batch : time) = inner;
        (time_first ? time : batch) = (time_first ? c.batch : c.time) * inner + random_.below(3);
        Values found((c.time - 1) * time + (c.batch - 1) * batch + columns, kNone);
        for (long r = 0; r < c.time * c.batch; ++r)
            std::copy_n(&rows[r * columns], columns, &found[r / c.batch * time + r % c.batch * batch]);
        return found;
    }

    Weights<T> weights(const Reference<T>& r, int d) {
        return {input("w_ih", r.w_ih[d]), input("w_hh", r.w_hh[d]),
                r.b_ih[d].empty() ? nullptr : input("b_ih", r.b_ih[d]),
                r.b_hh[d].empty() ? nullptr : input("b_hh", r.b_hh[d])};
    }

    void fill(Layer<T>& a, const Reference<T>& r) {
        a.time = r.time;
        a.batch = r.batch;
        a.input = r.input;
        a.hidden = r.hidden;
        a.directions = r.directions;
        a.threads = r.threads;
        for (int d = 0; d < r.directions; ++d) a.weights[d] = weights(r, d);
        lengths_ = r.lengths;
        a.lengths = r.ragged ? lengths_.data() : nullptr;
        a.x = input("x", spread(r, r.x, a.x_time, a.x_batch));
        a.h_0 = input("h_0", r.h_0);
        a.c_0 = input("c_0", r.c_0);
    }

private:
    T* add(const char* name, const Values* before, Values after) {
        arrays_.emplace_back(name, before, std::move(after), shifted_);
        return arrays_.back().data();
    }

    Random random_;
    std::string where_;
    bool shifted_;
    std::vector<int64_t> lengths_;
    std::vector<Array<T>> arrays_;
};

template <class T>
Call<T> forward_call(const Reference<T>& r, uint64_t seed) {
    Call<T> call("forward, " + r.text(), r.shifted, seed);
    Forward<T> a = {};
    call.fill(a, r);
    const long columns = r.directions * r.hidden;
    const Values output = r.padded(r.side_by_side(r.h), columns, 0);
    a.output = call.result("output", call.spread(r, output, a.output_time, a.output_batch));
    a.h_n = call.result("h_n", r.h_n);
    a.c_n = call.result("c_n", r.c_n);
    a.clear_padding = call.choose("clear_padding");
    const double past = a.clear_padding ? 0 : kNone;
    a.gates = call.maybe_result("gates", r.padded(r.gates, 4 * r.hidden, past));
    a.cell = call.maybe_result("cell", r.padded(r.c, r.hidden, past));
    call.function = [a](const Functions<T>& functions) mutable {
        const Memory scratch = allocate(functions.forward_bytes(a));
        a.scratch = scratch.get();
        functions.forward(a);
    };
    return call;
}

// In blocks of about `steps` steps; 0: the core decides.
template <class T>
Call<T> backward_call(Reference<T> r, long steps, uint64_t seed) {
    Call<T> call("backward, " + r.text() + ", blocks of " + std::to_string(steps), r.shifted, seed);
    Backward<T> a = {};
    call.fill(a, r);
    const long columns = r.directions * r.hidden;
    const Values output = r.padded(r.side_by_side(r.h), columns, 0);
    a.output = call.input("output", call.spread(r, output, a.output_time, a.output_batch));
    a.gates = call.choose("gates") ? call.input("gates", r.gates) : nullptr;
    a.cell = call.input("cell", r.c);
    if (call.choose("grad_output"))
        a.grad_output = call.input("grad_output", call.spread(r, r.side_by_side(r.grad_h), a.grad_time, a.grad_batch));
    else
        r.grad_h.assign(r.grad_h.size(), 0);
    a.grad_h_n = call.maybe_input("grad_h_n", r.grad_h_n);
    a.grad_c_n = call.maybe_input("grad_c_n", r.grad_c_n);
    a.grad_gates = call.maybe_input("grad_gates", r.grad_gates);
    a.grad_cell = call.maybe_input("grad_cell", r.grad_c);
    r.backward();
    a.d_x = call.maybe_result("d_x", r.d_x);
    a.d_h_0 = call.result("d_h_0", r.d_h_0);
    a.d_c_0 = call.result("d_c_0", r.d_c_0);
    for (int d = 0; d < r.directions; ++d)
        a.d_weights[d] = {call.result("d_ih", r.d_ih[d]), call.result("d_hh", r.d_hh[d]),
                          call.result("d_bias", r.d_bias[d])};
    a.d_cell = call.maybe_result("d_cell", r.d_c);
    a.d_hidden = call.maybe_result("d_hidden", r.d_h);
    a.block_bytes = steps * r.batch * (5 * r.hidden + r.input) * long(sizeof(T));
    call.function = [a](const Functions<T>& functions) mutable {
        const Memory scratch = allocate(functions.backward_bytes(a));
        a.scratch = scratch.get();
        functions.backward(a);
    };
    return call;
}

// The weights packed, and one step of all layers.
template <class T>
Call<T> step_call(Case c, int layers) {
    Call<T> call("step, " + c.text() + ", " + std::to_string(layers) + " layers", c.shifted, c.seed);
    Random random(c.seed);
    Step<T> a = {};
    a.batch = c.batch;
    a.input = c.input;
    a.hidden = c.hidden;
    a.layers = layers;
    a.threads = c.threads;
    std::vector<Weights<T>> weights;
    Values h_0, c_0, h_1, c_1, below;
    for (int l = 0; l < layers; ++l) {
        Reference<T> r(c, random);
        if (l)
            r.x = below;
        else
            a.x = call.input("x", r.x);
        r.forward();
        weights.push_back(call.weights(r, 0));
        h_0.insert(h_0.end(), r.h_0.begin(), r.h_0.end());
        c_0.insert(c_0.end(), r.c_0.begin(), r.c_0.end());
        h_1.insert(h_1.end(), r.h.begin(), r.h.end());
        c_1.insert(c_1.end(), r.c.begin(), r.c.end());
        below = r.h;
        c.input = c.hidden;
    }
    a.h = call.change("h", h_0, h_1);
    a.c = call.change("c", c_0, c_1);
    a.y = call.result("y", below);
    call.function = [a, weights](const Functions<T>& functions) mutable {
        const size_t size = functions.packed_size(a.input, a.hidden, a.layers);
        const Memory packed = allocate(size * sizeof(T)), scratch = allocate(functions.step_bytes(a));
        functions.pack(a.input, a.hidden, a.layers, weights.data(), static_cast<T*>(packed.get()));
        a.packed = static_cast<T*>(packed.get());
        a.scratch = scratch.get();
        functions.step(a);
    };
    return call;
}

// ----------------------------------------------------------------------------------------------------- the checks

template <class T>
void check_layer(const Case& c) {
    Random random(c.seed);
    Reference<T> r(c, random);
    r.forward();
    for (int k = 0; k < 4; ++k) forward_call(r, random.below(1000)).run();
    for (const long steps : {0, 1, 2, 5}) backward_call(r, steps, random.below(1000)).run();
}

// Every batch up to 40, all else drawn.
template <class T>
void check_sizes(uint64_t seed) {
    Random random(seed);
    const auto to = [&](long limit) { return 1 + random.below(limit); };
    for (long batch = long(seed) % kStride; batch <= 40; batch += kStride) {
        const long hidden = random.coin() ? to(24) : to(80);
        const Case c = {to(9), batch, to(24), hidden, int(to(2)), int(to(5)), random.coin(), random.coin(), seed};
        check_layer<T>(c);
        step_call<T>({1, batch, c.input, hidden, 1, c.threads, false, c.shifted, seed}, int(to(3))).run();
    }
}

// As much work as makes so many threads pay: with few sequences they share the units, with many the sequences.
template <class T>
void check_threads() {
    for (int threads = 2; threads <= 5; ++threads) {
        for (int k = 0; k < 4; ++k) {
            const int directions = 1 + k % 2;
            const bool ragged = k / 2;
            const uint64_t seed = uint64_t(10 * threads + k);
            const long few = 1 + k, units = long(std::sqrt(4096. * threads / few)) + 1 + k;
            check_layer<T>({6, few, 7, units, directions, threads, ragged, !ragged, seed});
            check_layer<T>({9, 4 * threads + 3, 5, 25, directions, threads, ragged, !ragged, seed});
            step_call<T>({1, few, 150, 205, 1, threads, false, ragged, seed}, directions).run();
        }
    }
}

// So many gates that they are written past the caches.
void check_far() {
    const Case c = {40, 64, 3, 112, 1, 2, true, false, 1};
    Random random(c.seed);
    Reference<float> r(c, random);
    r.forward();
    for (int k = 0; k < 4; ++k) forward_call(r, random.below(1000)).run();
}

// Gates of one unit each that see nothing but their bias: the error is small beside what is tiny, too.
template <class T>
void check_activations() {
    constexpr long H = 200;
    constexpr double kBound = sizeof(T) == 4 ? 87 : 708;  // beyond, sigmoid may stay as small as it is here
    std::vector<T> zeros(4 * H * H), bias(4 * H), gates(4 * H), output(H), h_n(H), c_n(H);
    for (long n = 0; n < 4 * H; ++n) bias[n] = T(kBound * double(n % H - H / 2) / (H / 2));
    for (long n = 0; n < 4 * H; n += H) {
        bias[n + 1] = T(-INFINITY);
        bias[n + 2] = T(NAN);
        bias[n + 3] = T(INFINITY);
    }
    Forward<T> a = {};
    a.time = a.batch = a.input = a.directions = a.threads = 1;
    a.hidden = H;
    a.weights[0] = {zeros.data(), zeros.data(), bias.data(), nullptr};
    a.x = a.h_0 = a.c_0 = zeros.data();
    a.output = output.data();
    a.h_n = h_n.data();
    a.c_n = c_n.data();
    a.gates = gates.data();
    const Memory scratch = allocate(tested->of(T()).forward_bytes(a));
    a.scratch = scratch.get();
    tested->of(T()).forward(a);
    for (long n = 0; n < 4 * H; ++n) {
        ++checks;
        const bool tanh = n / H == 2;
        const double sum = bias[n], expected = tanh ? std::tanh(sum) : 1 / (1 + std::exp(-sum));
        // Half a unit in the last place of the sum is about so much of e^sum.
        const double of_sum = tanh ? 0 : std::min(std::abs(sum), kBound);
        const double relative = (4 + 2 * of_sum) * std::numeric_limits<T>::epsilon();
        const double allowed = relative * std::abs(expected) + 2 * std::numeric_limits<T>::min();
        if (std::isnan(sum) ? std::isnan(gates[n]) : std::abs(gates[n] - expected) <= allowed) continue;
        ++failures;
        std::printf("gate %ld of %g is %.9g, not %.9g\n", n / H, sum, double(gates[n]), expected);
    }
}

// Two calls at the same time, each with threads of its own.
void check_at_the_same_time() {
    Random random(1);
    Reference<float> few({6, 1, 7, 145, 1, 2, false, false, 1}, random);
    Reference<double> many({9, 11, 5, 30, 2, 2, true, false, 2}, random);
    few.forward();
    many.forward();
    const auto repeat = [](auto one, auto other) {
        const auto run = [](auto& call) {
            for (int k = 0; k < 20; ++k) call.run();
        };
        std::thread beside([&] { run(other); });
        run(one);
        beside.join();
    };
    repeat(forward_call(few, 1), backward_call(many, 2, 1));
    repeat(backward_call(few, 2, 2), forward_call(many, 2));
    repeat(forward_call(few, 3), step_call<float>({1, 2, 150, 205, 1, 2, false, false, 3}, 2));
}

void check_names() {
    checks += 2;
    if (kernels(tested->name) != tested || kernels("z80")) {
        ++failures;
        std::printf("kernels(name) does not go by the name\n");
    }
}

}  // namespace

int main() {
    if (!tested) {
        std::printf("GLASSLSTM_ISA names no instruction set that is here\n");
        return 1;
    }
    check_reference();
    check_names();
    check_activations<float>();
    check_activations<double>();
    // Once with groups that stay together however long they wait, once with groups that dissolve at once.
    patience = {1e9, 0};
    check_sizes<float>(1);
    check_sizes<double>(1);
    check_threads<float>();
    check_at_the_same_time();
    check_far();
    patience = {-1, 0};
    check_sizes<float>(2);
    check_sizes<double>(2);
    check_threads<float>();
    check_threads<double>();
    std::printf("%s: %ld checks, %ld failures\n", tested->name, checks.load(), failures.load());
    return failures ? 1 : 0;
}
