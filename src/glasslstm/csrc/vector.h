// Vectors of the instruction set that this file is compiled for, and the activations on them.
//
// Written with the vector extensions of GCC and Clang, so that one source serves every width; intrinsics stand
// only where the compilers have no other word for an instruction. Nothing here includes the C++ library: its
// inline functions would be compiled for this instruction set too, and the linker could pick them for all.
#pragma once

#include <stdint.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace glasslstm {
namespace GLASSLSTM_ISA {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

template <class T>
struct Vector;

template <>
struct Vector<float> {
    typedef float type __attribute__((vector_size(kBytes)));
    typedef float unaligned __attribute__((vector_size(kBytes), aligned(4), may_alias));
    typedef int32_t bits __attribute__((vector_size(kBytes)));
};

template <>
struct Vector<double> {
    typedef double type __attribute__((vector_size(kBytes)));
    typedef double unaligned __attribute__((vector_size(kBytes), aligned(8), may_alias));
    typedef int64_t bits __attribute__((vector_size(kBytes)));
};

template <class T>
using Vec = typename Vector<T>::type;
template <class T>
using Bits = typename Vector<T>::bits;

// Elements in a vector.
template <class T>
constexpr int kWidth = kBytes / int(sizeof(T));

template <class T>
inline Vec<T> load(const T* p) {
    return *reinterpret_cast<const typename Vector<T>::unaligned*>(p);
}

template <class T>
inline void store(T* p, Vec<T> v) {
    *reinterpret_cast<typename Vector<T>::unaligned*>(p) = v;
}

// The first `count` elements alone are read; the others are zero.
template <class T>
inline Vec<T> load(const T* p, int count) {
    if (count >= kWidth<T>) return load(p);
    Vec<T> v = {};
    for (int k = 0; k < count; ++k) v[k] = p[k];
    return v;
}

// The first `count` elements alone are written.
template <class T>
inline void store(T* p, Vec<T> v, int count) {
    if (count >= kWidth<T>) return store(p, v);
    for (int k = 0; k < count; ++k) p[k] = v[k];
}

// Past the caches, to memory: for what will not be read soon, and would only drive out what will be. `p` is aligned to a
// vector. Other threads may see it after a fence() alone.
template <class T>
inline void stream(T* p, Vec<T> v) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        _mm512_stream_ps(p, v);
    } else {
        _mm512_stream_pd(p, v);
    }
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4) {
        _mm256_stream_ps(p, v);
    } else {
        _mm256_stream_pd(p, v);
    }
#else
    store(p, v);
#endif
}

inline void fence() {
#if defined(__AVX2__)
    _mm_sfence();
#endif
}

template <class T>
inline Vec<T> broadcast(T value) {
    return value - Vec<T>{};
}

// The smaller of x and a bound; NaN stays NaN.
template <class T>
inline Vec<T> at_most(Vec<T> x, T bound) {
    const Vec<T> high = broadcast(bound);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {  // of a NaN and a number, the second operand is returned
        return _mm512_min_ps(high, x);
    } else {
        return _mm512_min_pd(high, x);
    }
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4) {
        return _mm256_min_ps(high, x);
    } else {
        return _mm256_min_pd(high, x);
    }
#else
    return x > high ? high : x;
#endif
}

// x limited to [-bound, bound]; NaN stays NaN.
template <class T>
inline Vec<T> limit(Vec<T> x, T bound) {
    const Vec<T> low = broadcast(-bound), y = at_most<T>(x, bound);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        return _mm512_max_ps(low, y);
    } else {
        return _mm512_max_pd(low, y);
    }
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4) {
        return _mm256_max_ps(low, y);
    } else {
        return _mm256_max_pd(low, y);
    }
#else
    return y < low ? low : y;
#endif
}

// 2^n * mantissa for whole n in the range of normal exponents.
template <class T>
inline Vec<T> scale(Vec<T> mantissa, Vec<T> n) {
    constexpr int kShift = sizeof(T) == 4 ? 23 : 52;
    Bits<T> exponent = __builtin_convertvector(n, Bits<T>) << kShift;
    return (Vec<T>)((Bits<T>)mantissa + exponent);
}

template <class T>
inline Vec<T> round(Vec<T> x) {
    constexpr T kMagic = sizeof(T) == 4 ? T(0x1.8p23) : T(0x1.8p52);  // adding it leaves no room for a fraction
    return (x + kMagic) - kMagic;
}

// Horner's rule, the highest power first.
template <class T, int N>
inline Vec<T> polynomial(Vec<T> x, const T (&coefficients)[N]) {
    Vec<T> sum = broadcast(coefficients[0]);
#pragma GCC unroll 16
    for (int k = 1; k < N; ++k) sum = sum * x + coefficients[k];
    return sum;
}

// e^x for |x| <= 87 (float), 708 (double); anything below that.
inline Vec<float> exponential(Vec<float> x) {
    // 2^f on [-1/2, 1/2], minimax, relative error 9.2e-8.
    constexpr float kPower[] = {1.32647272e-3f, 9.67151264e-3f, 5.55073374e-2f, 2.40222421e-1f, 6.93146978e-1f, 1.0f};
    const Vec<float> y = x * 1.44269504f;
    const Vec<float> n = round<float>(y);
    return scale<float>(polynomial(y - n, kPower), n);
}

inline Vec<double> exponential(Vec<double> x) {
    // Taylor's series on [-ln2/2, ln2/2]: the remainder is below 2^-56. ln2 in two parts (Cody and Waite 1980).
    constexpr double kSeries[] = {1 / 479001600., 1 / 39916800., 1 / 3628800., 1 / 362880., 1 / 40320., 1 / 5040.,
                                  1 / 720.,       1 / 120.,      1 / 24.,      1 / 6.,      1 / 2.,     1.,
                                  1.};
    const Vec<double> n = round<double>(x * 0x1.71547652b82fep0);
    const Vec<double> r = (x - n * 0x1.62e42fefa38p-1) - n * 0x1.ef35793c7673p-45;
    return scale<double>(polynomial(r, kSeries), n);
}

// sigma(x) = 1 / (1 + e^-x): relative accuracy in the lower tail too, and zero below what e^-x can be told for.
template <class T>
inline Vec<T> sigmoid(Vec<T> x) {
    constexpr T kBound = sizeof(T) == 4 ? T(87) : T(708);
    const Vec<T> inner = 1 / (1 + exponential(-at_most<T>(x, kBound)));
    return x < -kBound ? Vec<T>{} : inner;
}

// With t = tanh(x / 2) = N / Q, tanh(x) = 2 t / (1 + t^2) = 2 N Q / (Q^2 + N^2): an error of t fades where tanh is near
// one, and becomes exactly one where float does. N = h + h z P(z) with h = x / 2, z = h^2, and Q(z) are minimax for the
// error of the whole, 7.6e-9. With rounding: root mean square 4.0e-8, at most 1.8e-7.
inline Vec<float> tanh(Vec<float> x) {
    constexpr float kP[] = {1.828047447e-3f, 1.190951020e-1f};
    constexpr float kQ[] = {7.865436055e-5f, 1.930473186e-2f, 4.524282813e-1f, 1.0f};
    const Vec<float> h = 0.5f * limit<float>(x, 9.1f), z = h * h;
    const Vec<float> n = h + h * z * polynomial(z, kP), q = polynomial(z, kQ);
    return limit<float>(2 * (n * q) / (q * q + n * n), 1.0f);
}

// Small |x|: x + x z P(z) / Q(z) with z = x^2 (Moshier's Cephes, tanh.c); else 1 - 2 / (1 + e^2|x|).
inline Vec<double> tanh(Vec<double> x) {
    constexpr double kP[] = {-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3};
    constexpr double kQ[] = {1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3};
    const Vec<double> z = x * x;
    const Vec<double> inner = x + x * z * polynomial(z, kP) / polynomial(z, kQ);
    const Vec<double> bounded = limit<double>(x, 20);
    const Vec<double> size = bounded < 0 ? -bounded : bounded;
    const Vec<double> far = 1 - 2 / (1 + exponential(size + size));
    const Vec<double> outer = bounded < 0 ? -far : far;
    return size < 0.625 ? inner : outer;  // NaN goes to the outer branch and stays NaN
}

}  // namespace GLASSLSTM_ISA
}  // namespace glasslstm
