// The forward pass of a layer.
//
// A thread has some of the sequences and all of the units, and then never waits; or, where the batch is small, all of
// the sequences and some of the units, and then waits for the others after each step. Per step it goes over its
// panels (a vector of units, four gates) and tiles of sequences: products, activations, cell and hidden state in one
// go. Where there are few sequences the product with the input is made for many steps at once, so that the weights
// of the input are read once for all of them.
#pragma once

#include "pack.h"
#include "share.h"

namespace glasslstm {
namespace GLASSLSTM_ISA {

// What one thread does of one pass: which sequences (by their place in the order) and which panels.
struct Part {
    int direction;
    long first, stride;  // of its places in the order: first, first + stride, ...
    long limit;          // the places from here on are another thread's
    long panel_begin, panel_end;
    int group_begin, group_end;  // the threads that share its sequences: they wait for each other

    long place(long k) const { return first + k * stride; }
    // How many of the first `active` places are its own.
    long count(long active) const {
        const long end = active < limit ? active : limit;
        return end <= first ? 0 : (end - first + stride - 1) / stride;
    }
    bool shares_units() const { return group_end - group_begin > 1; }
};

// At least so many sequences, and a thread has its own; fewer, and the threads split the units.
constexpr long kOwnSequences = 4;

template <class T>
Part part_of(const Layer<T>& a, long panels, int direction, int thread, int group_begin, int group_end) {
    const int size = group_end - group_begin, index = thread - group_begin;
    Part part = {direction, 0, 1, a.batch, 0, panels, thread, thread + 1};
    if (size == 1) return part;
    if (a.batch >= kOwnSequences * size) {
        if (a.lengths) {  // dealt out in turn, because the first ones are the longest
            part.first = index;
            part.stride = size;
        } else {
            const Range range(a.batch, index, size);
            part.first = range.begin;
            part.limit = range.end;
        }
        return part;
    }
    const Range range(panels, index, size);
    part.panel_begin = range.begin;
    part.panel_end = range.end;
    part.group_begin = group_begin;
    part.group_end = group_end;
    return part;
}

// Threads that pay: each must have enough to do, in all and, where they wait for each other, in a step.
template <class T>
int useful_threads(const Layer<T>& a) {
    const int directions = a.directions;
    constexpr long kWork = 100000, kWorkOfStep = 16384;  // in multiplications
    const long step = a.batch * a.hidden * 4 * a.hidden;
    long threads = a.threads < Barrier::kMaxThreads ? a.threads : Barrier::kMaxThreads;
    const long all = directions * a.time * (step + a.batch * a.input * 4 * a.hidden);
    if (threads > all / kWork + 1) threads = all / kWork + 1;
    if (a.batch < kOwnSequences * ((threads + directions - 1) / directions)) {
        const long each = step / kWorkOfStep < 1 ? 1 : step / kWorkOfStep;
        const long most = each < panels<T>(a.hidden) ? each : panels<T>(a.hidden);
        if (threads > directions * most) threads = directions * most;
    }
    return int(threads < 1 ? 1 : threads);
}

// The same, as things stand: on a busy machine threads do not wait for each other after every step. Who does what
// changes with it, and no result.
template <class T>
int threads_now(const Layer<T>& a, int threads) {
    const bool waiting = a.batch < kOwnSequences * ((threads + a.directions - 1) / a.directions);
    return waiting && threads > a.directions && busy() ? a.directions : threads;
}

// Calls run(direction, group_begin, group_end) for each direction that falls to `thread`: with two directions, the
// threads fall in two groups where that comes out even.
template <class Run>
void for_directions(int directions, int thread, int threads, Run run) {
    if (directions == 2 && threads % 2 == 0) {
        const int half = threads / 2, direction = thread / half;
        run(direction, direction * half, (direction + 1) * half);
    } else {
        for (int direction = 0; direction < directions; ++direction) run(direction, 0, threads);
    }
}

// The equations after the products, for a vector of units of one sequence. `gates`: null, or where the input gate's
// go, with the others `hidden` elements behind one another; `far`: past the caches.
template <class T>
inline void finish_units(const T* sums, const T* cell_before, T* cell, T* h, T* gates, long hidden, int count,
                         bool far = false) {
    constexpr int W = kWidth<T>;
    const Vec<T> i = sigmoid<T>(load(sums)), f = sigmoid<T>(load(sums + W));
    const Vec<T> g = tanh(load(sums + 2 * W)), o = sigmoid<T>(load(sums + 3 * W));
    const Vec<T> c = f * load(cell_before, count) + i * g;
    store(cell, c, count);
    store(h, o * tanh(c), count);
    if (!gates) return;
    const Vec<T> all[4] = {i, f, g, o};
    for (int n = 0; n < 4; ++n) far ? stream(gates + n * hidden, all[n]) : store(gates + n * hidden, all[n], count);
}

template <class T>
struct ForwardScratch {
    Arena arena;
    Order<T> order;
    Barrier* barrier;
    T* packed[2];
    const T** pointers;  // 2 B for each thread
    T* inputs;           // products with the input, of each thread
    long inputs_size;

    ForwardScratch(const Forward<T>& a, void* memory, int threads)
        : arena(memory), order(a, arena), barrier(arena.take<Barrier>(1)) {
        const long width = panels<T>(a.hidden) * 4 * kWidth<T>;
        for (int d = 0; d < 2; ++d)
            packed[d] = d < a.directions ? arena.take<T>(Packed<T>::size(a.input, a.hidden)) : nullptr;
        pointers = arena.take<const T*>(threads * 2 * a.batch);
        inputs_size = hoisted_steps(a) * a.batch * width;
        inputs = arena.take<T>(threads * inputs_size);
    }

    // Steps whose product with the input is made at once; 0: it is made step by step, with the recurrent one.
    static long hoisted_steps(const Layer<T>& a) {
        if (a.batch == 0 || a.batch >= kOwnSequences || a.input < 2) return 0;
        return (4 * kRows + a.batch - 1) / a.batch;
    }
};

template <class T>
class ForwardPass {
public:
    ForwardPass(const Forward<T>& a, const ForwardScratch<T>& scratch, const Part& part, int thread)
        : a(a),
          order(scratch.order),
          barrier(*scratch.barrier),
          part(part),
          thread(thread),
          weights(scratch.packed[part.direction], a.input, a.hidden),
          hidden(scratch.pointers + thread * 2 * a.batch),
          cell(hidden + a.batch),
          inputs(scratch.inputs + thread * scratch.inputs_size),
          hoisted(scratch.hoisted_steps(a)),
          far(a.gates && a.hidden % W == 0 && reinterpret_cast<uintptr_t>(a.gates) % kBytes == 0 &&
              a.time * a.batch * 4 * a.hidden * long(sizeof(T)) >= kFar),
          reverse(part.direction == 1) {}

    void run() {
        const long own = part.count(a.batch);
        for (long k = 0; k < own; ++k) {
            hidden[k] = state(a.h_0, k);
            cell[k] = state(a.c_0, k);
        }
        const long block = hoisted ? hoisted : a.time;
        for (long begin = 0; begin < a.time; begin += block) {
            const long end = begin + block < a.time ? begin + block : a.time;
            if (hoisted) multiply_inputs(begin, end);
            const T* product = inputs;
            for (long s = begin; s < end; ++s) {
                const long active = part.count(order.active(time_of(s)));
                step(s, active, hoisted ? product : nullptr);
                product += active * stride();
                if (!part.shares_units()) continue;
                barrier.wait_after_step(thread, part.group_begin, part.group_end);
                if (!barrier.dissolved(thread, part.group_begin)) continue;
                if (thread != part.group_begin) return;
                take_over();
                if (hoisted) product = multiply_again(begin, s, end);
            }
        }
        for (long k = 0; k < own; ++k) finish(k);
        if (far) fence();
    }

private:
    static constexpr int W = kWidth<T>;
    static constexpr long kFar = 4 << 20;  // bytes of gates that a cache would not hold beside the rest

    // The step in time that is taken as number s.
    long time_of(long s) const { return reverse ? a.time - 1 - s : s; }
    long stride() const { return (part.panel_end - part.panel_begin) * 4 * W; }
    long sequence(long k) const { return order.sequence(part.place(k)); }
    template <class U>
    U* state(U* states, long k) const {
        return states + (part.direction * a.batch + sequence(k)) * a.hidden;
    }
    const T* x(long t, long k) const { return a.x + t * a.x_time + sequence(k) * a.x_batch; }
    T* output(long t, long k) const {
        return a.output + t * a.output_time + sequence(k) * a.output_batch + part.direction * a.hidden;
    }
    // The row of (D, T, B, columns).
    T* row(T* steps, long t, long k, long columns) const {
        return steps + ((part.direction * a.time + t) * a.batch + sequence(k)) * columns;
    }
    int units(long j) const { return a.hidden - j * W < W ? int(a.hidden - j * W) : W; }

    // The products of a block for all units, after a change in the middle of it; in the same tiles, so that the results
    // are the same to the last bit. Returns where those of the step after `s` begin.
    const T* multiply_again(long begin, long s, long end) {
        multiply_inputs(begin, end);
        const T* product = inputs;
        for (long n = begin; n <= s; ++n) product += part.count(order.active(time_of(n))) * stride();
        return product;
    }

    // From here on, the group's work is this thread's.
    void take_over() {
        part.panel_begin = 0;
        part.panel_end = panels<T>(a.hidden);
        part.group_end = part.group_begin + 1;
    }

    // bias + W_ih x for the active sequences of the steps numbered begin to end - 1, one after the other.
    void multiply_inputs(long begin, long end) {
        const auto active = [&](long s) { return part.count(order.active(time_of(s))); };
        for (long j = part.panel_begin; j < part.panel_end; ++j) {
            T* product = inputs + (j - part.panel_begin) * 4 * W;
            for_tiles(begin, end, active, [&](int rows, const long* steps, const long* sequences) {
                Tile<T> tile;
                Factor<T> factor;
                for (int r = 0; r < rows; ++r) factor.rows[r] = x(time_of(steps[r]), sequences[r]);
                factor.panel = weights.ih_panel(j);
                factor.depth = a.input;
                multiply_into(tile, rows, 4, weights.bias_panel(j), 0, &factor, 1);
                for (int r = 0; r < rows; ++r, product += stride())
                    for (int v = 0; v < 4; ++v) store(product + v * W, load(tile.sums[r] + v * W));
            });
        }
    }

    // Step number s for the first `active` sequences.
    void step(long s, long active, const T* product) {
        const Tiling tiling{active};
        const long t = time_of(s), count = part.panel_end - part.panel_begin;
        for (long n = 0; n < count; ++n) {
            // To and fro, so that the panels at the turn are still in the cache.
            const long j = s % 2 ? part.panel_end - 1 - n : part.panel_begin + n;
            for (long tile = 0; tile < tiling.tiles; ++tile)
                panel(t, j, tiling.begin(tile), tiling.rows(tile), product);
        }
        for (long k = 0; k < active; ++k) {
            hidden[k] = output(t, k);
            cell[k] = a.cell ? row(a.cell, t, k, a.hidden) : state(a.c_n, k);
        }
    }

    // One panel of units for sequences [k, k + rows).
    void panel(long t, long j, long k, int rows, const T* product) {
        Tile<T> tile;
        Factor<T> factors[2];
        for (int r = 0; r < rows; ++r) {
            factors[0].rows[r] = x(t, k + r);
            factors[1].rows[r] = hidden[k + r];
        }
        factors[0].panel = weights.ih_panel(j);
        factors[0].depth = a.input;
        factors[1].panel = weights.hh_panel(j);
        factors[1].depth = a.hidden;
        const T* start = product ? product + k * stride() + (j - part.panel_begin) * 4 * W : weights.bias_panel(j);
        multiply_into(tile, rows, 4, start, product ? stride() : 0, product ? factors + 1 : factors, product ? 1 : 2);
        const long u = j * W;
        for (int r = 0; r < rows; ++r) {
            T* const gates = a.gates ? row(a.gates, t, k + r, 4 * a.hidden) + u : nullptr;
            T* const cell_now = a.cell ? row(a.cell, t, k + r, a.hidden) : state(a.c_n, k + r);
            finish_units<T>(tile.sums[r], cell[k + r] + u, cell_now + u, output(t, k + r) + u, gates, a.hidden,
                            units(j), far);
        }
    }

    // The final states of a sequence, and zeros past its end, for the thread's units.
    void finish(long k) {
        const long u = part.panel_begin * W, end = part.panel_end * W < a.hidden ? part.panel_end * W : a.hidden;
        T* const h_n = state(a.h_n, k);
        T* const c_n = state(a.c_n, k);
        for (long n = u; n < end; ++n) {
            h_n[n] = hidden[k][n];
            c_n[n] = cell[k][n];
        }
        for (long t = order.length(part.place(k), a.time); t < a.time; ++t) {
            for (long n = u; n < end; ++n) output(t, k)[n] = 0;
            if (!a.clear_padding) continue;
            for (long n = u; n < end; ++n) {
                if (a.cell) row(a.cell, t, k, a.hidden)[n] = 0;
                if (a.gates)
                    for (int gate = 0; gate < 4; ++gate) row(a.gates, t, k, 4 * a.hidden)[gate * a.hidden + n] = 0;
            }
        }
    }

    const Forward<T>& a;
    const Order<T>& order;
    Barrier& barrier;
    Part part;
    const int thread;
    const Packed<T> weights;
    const T** const hidden;  // h and c of the step before, for each of the part's sequences
    const T** const cell;
    T* const inputs;
    const long hoisted;
    const bool far;  // the gates are written past the caches
    const bool reverse;
};

template <class T>
struct ForwardTask {
    const Forward<T>& a;
    ForwardScratch<T> scratch;
};

template <class T>
void forward_body(int thread, int threads, void* context) {
    const ForwardTask<T>& task = *static_cast<ForwardTask<T>*>(context);
    const Forward<T>& a = task.a;
    const long count = panels<T>(a.hidden);
    for_directions(a.directions, thread, threads, [&](int direction, int begin, int end) {
        const Part part = part_of(a, count, direction, thread, begin, end);
        const Packed<T> packed(task.scratch.packed[direction], a.input, a.hidden);
        const Range range(count, thread - begin, end - begin);
        packed.pack(a.weights[direction], range.begin, range.end);
        if (end - begin > 1) task.scratch.barrier->wait(thread, begin, end);
        ForwardPass<T>(a, task.scratch, part, thread).run();
    });
}

template <class T>
size_t forward_bytes(const Forward<T>& a) {
    return ForwardScratch<T>(a, nullptr, useful_threads(a)).arena.used();
}

template <class T>
void forward(const Forward<T>& a) {
    if (a.batch == 0) return;
    const int threads = useful_threads(a);
    ForwardTask<T> task{a, ForwardScratch<T>(a, a.scratch, threads)};
    task.scratch.order.fill(a.time);
    task.scratch.barrier->reset(threads);
    run_team(threads_now(a, threads), forward_body<T>, &task);
}

}  // namespace GLASSLSTM_ISA
}  // namespace glasslstm
