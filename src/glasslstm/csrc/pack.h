// Weights in the order in which the kernels read them.
#pragma once

#include "core.h"
#include "tile.h"

namespace glasslstm {
namespace GLASSLSTM_ISA {

template <class T>
inline long panels(long hidden) {
    return (hidden + kWidth<T> - 1) / kWidth<T>;
}

#define GLASSLSTM_ZIP(...) __builtin_shufflevector(a, b, __VA_ARGS__)
// (a0, b0, a1, b1, ...): of the lower halves of a and b, and of the upper ones.
template <class V>
inline void zip(V a, V b, V& low, V& high) {
    if constexpr (sizeof(V) / sizeof(a[0]) == 16) {
        low = GLASSLSTM_ZIP(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        high = GLASSLSTM_ZIP(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    } else if constexpr (sizeof(V) / sizeof(a[0]) == 8) {
        low = GLASSLSTM_ZIP(0, 8, 1, 9, 2, 10, 3, 11);
        high = GLASSLSTM_ZIP(4, 12, 5, 13, 6, 14, 7, 15);
    } else if constexpr (sizeof(V) / sizeof(a[0]) == 4) {
        low = GLASSLSTM_ZIP(0, 4, 1, 5);
        high = GLASSLSTM_ZIP(2, 6, 3, 7);
    } else {
        low = GLASSLSTM_ZIP(0, 2);
        high = GLASSLSTM_ZIP(1, 3);
    }
}
#undef GLASSLSTM_ZIP

// A square of vectors, transposed by perfect shuffles.
template <class T>
inline void transpose(Vec<T> (&square)[kWidth<T>]) {
    constexpr int W = kWidth<T>;
    Vec<T> other[W];
#pragma GCC unroll 8
    for (int stage = 1; stage < W; stage *= 2) {
#pragma GCC unroll 16
        for (int k = 0; k < W / 2; ++k) zip(square[k], square[k + W / 2], other[2 * k], other[2 * k + 1]);
#pragma GCC unroll 16
        for (int k = 0; k < W; ++k) square[k] = other[k];
    }
}

// The panel of the gates of units [j * width, (j + 1) * width): matrix (4H, depth) -> [depth][4][width].
// A missing unit of the last panel has weight zero.
template <class T>
void pack_gates(const T* matrix, long hidden, long depth, long j, T* panel) {
    constexpr int W = kWidth<T>;
    const long units = hidden - j * W < W ? hidden - j * W : W;
    for (int gate = 0; gate < 4; ++gate) {
        const T* source = matrix + (gate * hidden + j * W) * depth;
        for (long k = 0; k < depth; k += W) {
            const int columns = depth - k < W ? int(depth - k) : W;
            Vec<T> square[W] = {};
            for (int u = 0; u < units; ++u) square[u] = load(source + u * depth + k, columns);
            transpose<T>(square);
            for (int c = 0; c < columns; ++c) store(panel + (k + c) * 4 * W + gate * W, square[c]);
        }
    }
}

// The biases of the same units, added up: [4][width].
template <class T>
void pack_bias(const T* ih, const T* hh, long hidden, long j, T* panel) {
    constexpr int W = kWidth<T>;
    const int units = hidden - j * W < W ? int(hidden - j * W) : W;
    for (int gate = 0; gate < 4; ++gate) {
        const long offset = gate * hidden + j * W;
        Vec<T> sum = {};
        if (ih) sum += load(ih + offset, units);
        if (hh) sum += load(hh + offset, units);
        store(panel + gate * W, sum);
    }
}

// Columns [column, column + N * width) of matrix (depth, columns) -> [depth][N][width].
template <class T>
void pack_columns(const T* matrix, long columns, long depth, long column, int vectors, T* panel) {
    constexpr int W = kWidth<T>;
    for (long k = 0; k < depth; ++k) {
        for (int n = 0; n < vectors; ++n) {
            const long first = column + n * W;
            const int count = columns - first < W ? int(columns - first) : W;
            store(panel + (k * vectors + n) * W, load(matrix + k * columns + first, count));
        }
    }
}

// The other way, and turned: from (columns, count) in rows `stride` apart, count <= width, to (count, columns).
template <class T>
void unpack_transposed(const T* from, long stride, long columns, int count, T* to) {
    constexpr int W = kWidth<T>;
    for (long k = 0; k < columns; k += W) {
        const int rows = columns - k < W ? int(columns - k) : W;
        Vec<T> square[W] = {};
        for (int r = 0; r < rows; ++r) square[r] = load(from + (k + r) * stride);
        transpose<T>(square);
        for (int c = 0; c < count; ++c) store(to + c * columns + k, square[c], rows);
    }
}

// Everything that a step of one layer in one direction reads.
template <class T>
struct Packed {
    const T* ih;    // panels of [I][4][width]
    const T* hh;    // panels of [H][4][width]
    const T* bias;  // panels of [4][width]
    long input, hidden;

    // The elements that it takes.
    static long size(long input, long hidden) { return panels<T>(hidden) * 4 * kWidth<T> * (input + hidden + 1); }

    Packed(const T* memory, long input, long hidden)
        : ih(memory),
          hh(ih + panels<T>(hidden) * 4 * kWidth<T> * input),
          bias(hh + panels<T>(hidden) * 4 * kWidth<T> * hidden),
          input(input),
          hidden(hidden) {}

    const T* ih_panel(long j) const { return ih + j * 4 * kWidth<T> * input; }
    const T* hh_panel(long j) const { return hh + j * 4 * kWidth<T> * hidden; }
    const T* bias_panel(long j) const { return bias + j * 4 * kWidth<T>; }

    // Write panels [begin, end).
    void pack(const Weights<T>& weights, long begin, long end) const {
        for (long j = begin; j < end; ++j) {
            pack_gates(weights.ih, hidden, input, j, const_cast<T*>(ih_panel(j)));
            pack_gates(weights.hh, hidden, hidden, j, const_cast<T*>(hh_panel(j)));
            pack_bias(weights.bias_ih, weights.bias_hh, hidden, j, const_cast<T*>(bias_panel(j)));
        }
    }
};

}  // namespace GLASSLSTM_ISA
}  // namespace glasslstm
