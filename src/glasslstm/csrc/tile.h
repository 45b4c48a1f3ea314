// The product at the heart of every kernel: a tile of few rows by few vectors of columns, kept in registers.
#pragma once

#include "vector.h"

namespace glasslstm {
namespace GLASSLSTM_ISA {

// A packed matrix is a sequence of panels of up to kPanel vectors of columns. A panel of N vectors is
// [depth][N][width], so that a product reads it once from its first byte to its last.
constexpr int kPanel = 4;

// With 32 registers of vectors a tile has 6 x 4 sums; with 16, 3 x 4.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRows = 6;
#else
constexpr int kRows = 3;
#endif

// A product in a tile: row r is rows[r] (`depth` elements, `stride` apart) . panel.
template <class T>
struct Factor {
    const T* rows[kRows];
    const T* panel;
    long depth;
    long stride = 1;
};

template <class T>
struct alignas(64) Tile {
    static constexpr long kStride = kPanel * kWidth<T>;
    T sums[kRows][kStride];
};

// Few sums do not hide the time that an addition takes: each is then split in S that take turns.
template <class T, int R, int N, int S>
inline void add_product(Vec<T> (&sums)[S][R][N], const Factor<T>& factor) {
    const T* row[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) row[r] = factor.rows[r];
    const Vec<T>* panel = reinterpret_cast<const Vec<T>*>(factor.panel);
    const long stride = factor.stride;
    long k = 0, at = 0;
    for (; k + S <= factor.depth; k += S, panel += S * N) {
#pragma GCC unroll 8
        for (int s = 0; s < S; ++s, at += stride) {
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const Vec<T> value = broadcast(row[r][at]);
#pragma GCC unroll 8
                for (int n = 0; n < N; ++n) sums[s][r][n] += value * panel[s * N + n];
            }
        }
    }
    for (; k < factor.depth; ++k, at += stride, panel += N)
        for (int r = 0; r < R; ++r)
            for (int n = 0; n < N; ++n) sums[0][r][n] += row[r][at] * panel[n];
}

// out = start + the sum of the factors' products. Row r is at out + r * out_stride, and begins with what stands at
// start + r * stride; a null start is zero. `out` may be `start`.
template <class T, int R, int N>
void multiply(T* out, long out_stride, const T* start, long stride, const Factor<T>* factors, int count) {
    constexpr int S = R * N >= 8 ? 1 : R * N >= 4 ? 2 : 4;
    Vec<T> sums[S][R][N] = {};
    if (start) {
        for (int r = 0; r < R; ++r)
            for (int n = 0; n < N; ++n) sums[0][r][n] = load(start + r * stride + n * kWidth<T>);
    }
    for (int f = 0; f < count; ++f) add_product<T, R, N, S>(sums, factors[f]);
    for (int r = 0; r < R; ++r) {
        for (int n = 0; n < N; ++n) {
            for (int s = 1; s < S; ++s) sums[0][r][n] += sums[s][r][n];
            store(out + r * out_stride + n * kWidth<T>, sums[0][r][n]);
        }
    }
}

template <class T>
using Multiply = void (*)(T*, long, const T*, long, const Factor<T>*, int);

// The product for tiles of `rows` rows and `vectors` vectors.
template <class T>
inline Multiply<T> multiply_for(int rows, int vectors) {
#define GLASSLSTM_ROW(R) {multiply<T, R, 1>, multiply<T, R, 2>, multiply<T, R, 3>, multiply<T, R, 4>}
    static constexpr Multiply<T> kTable[kRows][kPanel] = {
        GLASSLSTM_ROW(1), GLASSLSTM_ROW(2), GLASSLSTM_ROW(3),
#if defined(__AVX512F__) || defined(__aarch64__)
        GLASSLSTM_ROW(4), GLASSLSTM_ROW(5), GLASSLSTM_ROW(6),
#endif
    };
#undef GLASSLSTM_ROW
    return kTable[rows - 1][vectors - 1];
}

// The same into a tile.
template <class T>
inline void multiply_into(Tile<T>& tile, int rows, int vectors, const T* start, long stride, const Factor<T>* factors,
                          int count) {
    multiply_for<T>(rows, vectors)(tile.sums[0], Tile<T>::kStride, start, stride, factors, count);
}

// `count` rows cut into as few tiles as possible, of nearly equal size: tile k starts at row begin(k).
struct Tiling {
    long count;
    long tiles = (count + kRows - 1) / kRows;

    long begin(long k) const { return k * count / tiles; }
    int rows(long k) const { return int(begin(k + 1) - begin(k)); }
};

}  // namespace GLASSLSTM_ISA
}  // namespace glasslstm
