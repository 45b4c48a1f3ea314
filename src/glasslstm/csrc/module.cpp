// The core as the Python module glasslstm._native. Tensors come as addresses: glasslstm/ops/cpu.py and
// glasslstm/nn/stream.py, the only callers, have checked them. 0 is null.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "core.h"
#include "pool.h"

namespace nb = nanobind;

namespace glasslstm {
namespace {

using Address = uintptr_t;
using Addresses = std::vector<Address>;

template <class U>
U* at(Address address) {
    return reinterpret_cast<U*>(address);
}

const Kernels& chosen() {
    static const Kernels* const found = kernels();
    if (!found) throw std::invalid_argument("GLASSLSTM_ISA names no instruction set that is here");
    return *found;
}

// ih, hh, bias_ih, bias_hh for each direction or layer.
template <class T>
Weights<T> weights_at(const Addresses& addresses, size_t k) {
    return {at<const T>(addresses[4 * k]), at<const T>(addresses[4 * k + 1]), at<const T>(addresses[4 * k + 2]),
            at<const T>(addresses[4 * k + 3])};
}

// Time, batch, input, hidden; then what Layer has, in its order.
template <class T>
void fill_layer(Layer<T>& a, const std::vector<long>& sizes, int threads, const Addresses& weights, Address lengths,
                Address x, long x_time, long x_batch, Address h_0, Address c_0) {
    a.time = sizes[0];
    a.batch = sizes[1];
    a.input = sizes[2];
    a.hidden = sizes[3];
    a.directions = int(weights.size() / 4);
    a.threads = threads;
    for (int d = 0; d < a.directions; ++d) a.weights[d] = weights_at<T>(weights, d);
    a.lengths = at<const int64_t>(lengths);
    a.x = at<const T>(x);
    a.x_time = x_time;
    a.x_batch = x_batch;
    a.h_0 = at<const T>(h_0);
    a.c_0 = at<const T>(c_0);
}

template <class T>
void forward(const std::vector<long>& sizes, int threads, const Addresses& weights, Address lengths, Address x,
             long x_time, long x_batch, Address h_0, Address c_0, Address output, long output_time, long output_batch,
             Address h_n, Address c_n, Address gates, Address cell, bool clear_padding) {
    const nb::gil_scoped_release release;
    Forward<T> a;
    fill_layer(a, sizes, threads, weights, lengths, x, x_time, x_batch, h_0, c_0);
    a.output = at<T>(output);
    a.output_time = output_time;
    a.output_batch = output_batch;
    a.h_n = at<T>(h_n);
    a.c_n = at<T>(c_n);
    a.gates = at<T>(gates);
    a.cell = at<T>(cell);
    a.clear_padding = clear_padding;
    const Functions<T>& run = chosen().of(T());
    const Memory scratch(run.forward_bytes(a), true);
    a.scratch = scratch.data();
    run.forward(a);
}

template <class T>
void backward(const std::vector<long>& sizes, int threads, const Addresses& weights, Address lengths, Address x,
              long x_time, long x_batch, Address h_0, Address c_0, Address output, long output_time, long output_batch,
              Address gates, Address cell, Address grad_output, long grad_time, long grad_batch, Address grad_h_n,
              Address grad_c_n, Address grad_gates, Address grad_cell, Address d_x, Address d_h_0, Address d_c_0,
              const Addresses& d_weights, Address d_cell, Address d_hidden, long block_bytes) {
    const nb::gil_scoped_release release;
    Backward<T> a;
    fill_layer(a, sizes, threads, weights, lengths, x, x_time, x_batch, h_0, c_0);
    a.output = at<const T>(output);
    a.output_time = output_time;
    a.output_batch = output_batch;
    a.gates = at<const T>(gates);
    a.cell = at<const T>(cell);
    a.grad_output = at<const T>(grad_output);
    a.grad_time = grad_time;
    a.grad_batch = grad_batch;
    a.grad_h_n = at<const T>(grad_h_n);
    a.grad_c_n = at<const T>(grad_c_n);
    a.grad_gates = at<const T>(grad_gates);
    a.grad_cell = at<const T>(grad_cell);
    a.d_x = at<T>(d_x);
    a.d_h_0 = at<T>(d_h_0);
    a.d_c_0 = at<T>(d_c_0);
    for (int d = 0; d < a.directions; ++d)
        a.d_weights[d] = {at<T>(d_weights[3 * d]), at<T>(d_weights[3 * d + 1]), at<T>(d_weights[3 * d + 2])};
    a.d_cell = at<T>(d_cell);
    a.d_hidden = at<T>(d_hidden);
    a.block_bytes = block_bytes;
    const Functions<T>& run = chosen().of(T());
    const Memory scratch(run.backward_bytes(a), true);
    a.scratch = scratch.data();
    run.backward(a);
}

// A tensor of these sizes with any content, of the pool's memory.
template <class T>
nb::ndarray<nb::pytorch, T> empty(const std::vector<size_t>& sizes) {
    size_t count = 1;
    for (const size_t size : sizes) count *= size;
    Memory* const memory = new Memory(count * sizeof(T));
    const nb::capsule owner(memory, [](void* p) noexcept { delete static_cast<Memory*>(p); });
    return nb::ndarray<nb::pytorch, T>(memory->data(), sizes.size(), sizes.data(), owner);
}

// The packed weights of a stream; its state is the caller's.
template <class T>
class Stream {
public:
    Stream(const std::vector<long>& sizes, int threads, const Addresses& weights, Address h, Address c)
        : run_(chosen().of(T())) {
        a_.batch = sizes[1];
        a_.input = sizes[2];
        a_.hidden = sizes[3];
        a_.layers = int(weights.size() / 4);
        a_.threads = threads;
        a_.h = at<T>(h);
        a_.c = at<T>(c);
        packed_ = std::make_unique<Memory>(run_.packed_size(a_.input, a_.hidden, a_.layers) * sizeof(T), true);
        T* const packed = static_cast<T*>(packed_->data());
        a_.packed = packed;
        std::vector<Weights<T>> layers;
        for (int l = 0; l < a_.layers; ++l) layers.push_back(weights_at<T>(weights, l));
        run_.pack(a_.input, a_.hidden, a_.layers, layers.data(), packed);
        scratch_ = std::make_unique<Memory>(run_.step_bytes(a_));
        a_.scratch = scratch_->data();
    }

    // The interpreter is not let go of: that would take longer than most steps do.
    void step(Address x, Address y) {
        a_.x = at<const T>(x);
        a_.y = at<T>(y);
        run_.step(a_);
    }

private:
    const Functions<T>& run_;
    Step<T> a_{};
    std::unique_ptr<Memory> packed_, scratch_;
};

template <class T>
void bind(nb::module_& m, const char* suffix, const char* stream) {
    m.def((std::string("forward_") + suffix).c_str(), forward<T>);
    m.def((std::string("backward_") + suffix).c_str(), backward<T>);
    m.def((std::string("empty_") + suffix).c_str(), empty<T>);
    nb::class_<Stream<T>>(m, stream)
        .def(nb::init<const std::vector<long>&, int, const Addresses&, Address, Address>())
        .def("step", &Stream<T>::step);
}

}  // namespace
}  // namespace glasslstm

NB_MODULE(_native, m) {
    using namespace glasslstm;
    m.doc() = "The native kernels of glasslstm.";
    m.def("instruction_set", [] { return chosen().name; });
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const char* name : {"avx512", "avx2", "baseline"})
            if (kernels(name)) names.push_back(name);
        return names;
    });
    m.def("empty_pool", empty_pool);
    bind<float>(m, "f32", "StreamF32");
    bind<double>(m, "f64", "StreamF64");
}
