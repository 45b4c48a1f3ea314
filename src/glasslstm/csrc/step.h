// One step of a stack, with weights packed once: for streams.
#pragma once

#include "forward.h"

namespace glasslstm {
namespace GLASSLSTM_ISA {

template <class T>
size_t packed_size(long input, long hidden, int layers) {
    return size_t(Packed<T>::size(input, hidden) + (layers - 1) * Packed<T>::size(hidden, hidden));
}

// The packed weights of layer l within those of the stack.
template <class T>
Packed<T> packed_layer(const T* packed, long input, long hidden, int l) {
    return Packed<T>(packed + (l ? packed_size<T>(input, hidden, l) : 0), l ? hidden : input, hidden);
}

template <class T>
void pack(long input, long hidden, int layers, const Weights<T>* weights, T* packed) {
    for (int l = 0; l < layers; ++l)
        packed_layer<T>(packed, input, hidden, l).pack(weights[l], 0, panels<T>(hidden));
}

template <class T>
struct StepScratch {
    Arena arena;
    Barrier* barrier;
    T* fresh;  // (B, H): h of one layer, until no one reads the old one any more

    StepScratch(const Step<T>& a, void* memory)
        : arena(memory), barrier(arena.take<Barrier>(1)), fresh(arena.take<T>(a.batch * a.hidden)) {}
};

// Layer l for panels [begin, end): c is written in place, h to `fresh`.
template <class T>
void step_panels(const Step<T>& a, int l, T* fresh, long begin, long end) {
    constexpr int W = kWidth<T>;
    const Packed<T> weights = packed_layer<T>(a.packed, a.input, a.hidden, l);
    const T* const x = l ? a.h + (l - 1) * a.batch * a.hidden : a.x;
    const T* const h = a.h + l * a.batch * a.hidden;
    T* const c = a.c + l * a.batch * a.hidden;
    const Tiling tiling{a.batch};
    for (long j = begin; j < end; ++j) {
        for (long tile = 0; tile < tiling.tiles; ++tile) {
            const long b = tiling.begin(tile), u = j * W;
            const int rows = tiling.rows(tile), count = a.hidden - u < W ? int(a.hidden - u) : W;
            Tile<T> sums;
            Factor<T> factors[2];
            for (int r = 0; r < rows; ++r) {
                factors[0].rows[r] = x + (b + r) * weights.input;
                factors[1].rows[r] = h + (b + r) * a.hidden;
            }
            factors[0].panel = weights.ih_panel(j);
            factors[0].depth = weights.input;
            factors[1].panel = weights.hh_panel(j);
            factors[1].depth = a.hidden;
            multiply_into(sums, rows, 4, weights.bias_panel(j), 0, factors, 2);
            for (int r = 0; r < rows; ++r) {
                const long at = (b + r) * a.hidden + u;
                finish_units<T>(sums.sums[r], c + at, c + at, fresh + at, nullptr, a.hidden, count);
            }
        }
    }
}

// A layer waits for the one below; the threads share its units.
template <class T>
void step_body(int thread, int threads, void* context) {
    const Step<T>& a = *static_cast<const Step<T>*>(context);
    const StepScratch<T> scratch(a, a.scratch);
    const Range range(panels<T>(a.hidden), thread, threads);
    const long u = range.begin * kWidth<T>;
    const long end = range.end * kWidth<T> < a.hidden ? range.end * kWidth<T> : a.hidden;
    for (int l = 0; l < a.layers; ++l) {
        step_panels(a, l, scratch.fresh, range.begin, range.end);
        if (threads > 1) scratch.barrier->wait(thread, 0, threads);
        for (long b = 0; b < a.batch; ++b) {
            for (long n = b * a.hidden + u; n < b * a.hidden + end; ++n) {
                a.h[l * a.batch * a.hidden + n] = scratch.fresh[n];
                if (l == a.layers - 1) a.y[n] = scratch.fresh[n];
            }
        }
        if (threads > 1 && l < a.layers - 1) scratch.barrier->wait(thread, 0, threads);
    }
}

template <class T>
size_t step_bytes(const Step<T>& a) {
    return StepScratch<T>(a, nullptr).arena.used();
}

template <class T>
void step(const Step<T>& a) {
    // A thread that is asked for must have weights enough to read; a second cache is what it brings.
    constexpr long kShare = 256 * 1024;
    const long size = long(packed_size<T>(a.input, a.hidden, a.layers) * sizeof(T)) / a.layers;
    long threads = a.threads < Barrier::kMaxThreads ? a.threads : Barrier::kMaxThreads;
    if (threads > size / kShare) threads = size / kShare;
    if (threads > 1 && busy()) threads = 1;
    if (threads > 1) StepScratch<T>(a, a.scratch).barrier->reset(int(threads));
    run_team(int(threads), step_body<T>, const_cast<Step<T>*>(&a));
}

}  // namespace GLASSLSTM_ISA
}  // namespace glasslstm
