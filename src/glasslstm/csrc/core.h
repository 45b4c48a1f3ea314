// The native core of glasslstm: LSTM layers on the CPU, forward, backward and one step at a time.
//
// It knows neither torch nor Python. T is float or double. Sizes: T time, B batch, I input, H hidden, D directions
// (1 or 2; direction 1 reads each sequence from its last valid step to its first). Matrices are row-major; the
// gates stand in the order i, f, g, o; `strides` count elements, and the last dimension is contiguous throughout.
//
// For every pointer:
//   ownership  the caller's, before and after; nothing is kept once a call has returned, and nothing is freed.
//   aliasing   what is written overlaps nothing else that is written or read, unless it is said below.
//   alignment  that of T, unless it is said below; faster where it is 64 bytes.
//   scratch    `scratch` points to scratch_bytes(...) bytes aligned to 64, which need no initial value and hold
//              nothing of use afterwards. Two calls at the same time need two of them.
//   null       allowed only where it is said.
//
// What is checked: nothing. The caller passes sizes of at least one (B may be 0). Lengths are limited to 0..T.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace glasslstm {

// The parameters of one direction.
template <class T>
struct Weights {
    const T* ih;       // (4H, I)
    const T* hh;       // (4H, H)
    const T* bias_ih;  // (4H), or null: zero
    const T* bias_hh;  // (4H), or null: zero
};

// What the forward and the backward pass of a layer share.
template <class T>
struct Layer {
    long time, batch, input, hidden;
    int directions;
    int threads;             // at most so many, the caller's among them
    Weights<T> weights[2];   // one for each direction
    const int64_t* lengths;  // (B) valid steps of each sequence, or null: all have T
    const T* x;              // (T, B, I) by the strides
    long x_time, x_batch;
    const T* h_0;            // (D, B, H)
    const T* c_0;            // (D, B, H)
};

template <class T>
struct Forward : Layer<T> {
    T* output;  // (T, B, D * H) by the strides: direction d from column d * H on. Zero past a length.
    long output_time, output_batch;
    T* h_n;     // (D, B, H)
    T* c_n;     // (D, B, H)
    T* gates;   // (D, T, B, 4H) after their activations, or null. Past a length: zero, see clear_padding.
    T* cell;    // (D, T, B, H), or null. Past a length: zero, see clear_padding.
    bool clear_padding;  // false: `gates` and `cell` stay unwritten past a length
    void* scratch;
};

// Where the gradients of the parameters of one direction go.
template <class T>
struct WeightGradients {
    T* ih;    // (4H, I)
    T* hh;    // (4H, H)
    T* bias;  // (4H): of each of the two biases
};

template <class T>
struct Backward : Layer<T> {
    const T* output;  // (T, B, D * H) by the strides, as the forward pass left it
    long output_time, output_batch;
    const T* gates;        // (D, T, B, 4H) likewise, or null: they are computed once more
    const T* cell;         // (D, T, B, H) likewise
    const T* grad_output;  // (T, B, D * H) by the strides, or null: zero
    long grad_time, grad_batch;
    const T* grad_h_n;    // (D, B, H), or null: zero
    const T* grad_c_n;    // (D, B, H), or null: zero
    const T* grad_gates;  // (D, T, B, 4H), of the gates after their activations, or null: zero
    const T* grad_cell;   // (D, T, B, H), or null: zero
    T* d_x;               // (T, B, I), or null: not wanted. Zero past a length
    T* d_h_0;             // (D, B, H)
    T* d_c_0;             // (D, B, H)
    WeightGradients<T> d_weights[2];
    T* d_cell;         // (D, T, B, H): dL/dc_t through every path, or null. Zero past a length
    T* d_hidden;       // (D, T, B, H): dL/dh_t likewise, or null
    long block_bytes;  // about so much of the gates' gradients is kept at a time; 0: a size that suits the caches
    void* scratch;
};

// One step of a stack of layers in one direction, with weights packed once.
template <class T>
struct Step {
    long batch, input, hidden;
    int layers, threads;
    const T* packed;  // as `pack` has written it, aligned to 64 bytes
    const T* x;       // (B, I), contiguous
    T* h;             // (L, B, H), contiguous: the state before the step, and then after it
    T* c;             // (L, B, H)
    T* y;             // (B, H): the last layer's h
    void* scratch;
};

// The kernels for one instruction set and one type.
template <class T>
struct Functions {
    size_t (*forward_bytes)(const Forward<T>&);
    void (*forward)(const Forward<T>&);
    size_t (*backward_bytes)(const Backward<T>&);
    void (*backward)(const Backward<T>&);
    size_t (*packed_size)(long input, long hidden, int layers);  // in elements
    void (*pack)(long input, long hidden, int layers, const Weights<T>* weights, T* packed);
    size_t (*step_bytes)(const Step<T>&);
    void (*step)(const Step<T>&);
};

struct Kernels {
    const char* name;  // of the instruction set: "baseline", "avx2", "avx512"
    Functions<float> f32;
    Functions<double> f64;

    const Functions<float>& of(float) const { return f32; }
    const Functions<double>& of(double) const { return f64; }
};

// The kernels for the best instruction set of this processor, or for the one that the environment variable
// GLASSLSTM_ISA names. Null where it names one that is unknown or that the processor does not have.
const Kernels* kernels();

// The kernels for the instruction set of that name; null as above.
const Kernels* kernels(const char* name);

}  // namespace glasslstm
