// The backward pass of a layer.
//
// With s for what reaches a value from the loss and from the step after it,
//     dh_t = s                             dc_t = s + dh_t o_t (1 - tanh(c_t)^2)
//     di = dc_t g_t i_t (1 - i_t)          df = dc_t c_{t-1} f_t (1 - f_t)
//     dg = dc_t i_t (1 - g_t^2)            do = dh_t tanh(c_t) o_t (1 - o_t)
//     dc_{t-1} = dc_t f_t                  dh_{t-1} = [di, df, dg, do] W_hh
// (Werbos 1990, "Backpropagation through time: what it does and how to do it"). This goes step by step, shared out
// as in the forward pass, for a block of steps that the caches can hold. What follows of the block's gradients has no
// order: dx = d_gates W_ih for every row, and [dW_ih, dW_hh] = d_gates' [x, h_before], a sum over all rows.
//
// Threads that share the units share that work too, and wait for each other before and after it. A thread with
// sequences of its own does it for these, and waits for no one: each has sums of its own, which are added up at the
// end. (Two processors that read what the other one has just written may take twice the time for it.)
#pragma once

#include "forward.h"

namespace glasslstm {
namespace GLASSLSTM_ISA {

// A matrix (depth, columns) in panels of `vectors` vectors of columns; the last panel may have fewer.
template <class T>
struct Columns {
    T* memory;
    long depth, columns;
    int vectors;

    static constexpr int W = kWidth<T>;

    long count() const { return (panels<T>(columns) + vectors - 1) / vectors; }
    long first(long p) const { return p * vectors * W; }
    int vectors_of(long p) const {
        const long left = panels<T>(columns) - p * vectors;
        return left < vectors ? int(left) : vectors;
    }
    T* panel(long p) const { return memory + first(p) * depth; }
    void pack(const T* matrix, Range range) const {
        for (long p = range.begin; p < range.end; ++p)
            pack_columns(matrix, columns, depth, first(p), vectors_of(p), panel(p));
    }
    static long size(long depth, long columns) { return panels<T>(columns) * W * depth; }
};

// The elements of vector number v of a panel that are there.
template <class T>
inline int elements(const Columns<T>& columns, long p, int v) {
    const long left = columns.columns - columns.first(p) - v * kWidth<T>;
    return left < kWidth<T> ? int(left) : kWidth<T>;
}

template <class T>
struct BackwardScratch {
    struct Direction {
        Columns<T> hidden;  // W_hh
        Columns<T> input;   // W_ih
        T* packed;          // the weights of the forward pass, where the gates are computed again
        T* d_x;             // (T, B, I): direction 1 has its own
    };

    // What the threads of a team work on together: all of a direction's, or one alone.
    struct Team {
        Columns<T> sums;  // [dW_ih, dW_hh] transposed: (I + H, 4H)
        T* d_gates;       // (rows, 4H): a block's valid steps, step by step, the longest sequence first
        T* inputs;        // (rows, inputs_stride): x and the h before of the same rows
        long* starts;     // the rows of all steps before step t
    };

    Arena arena;
    Order<T> order;
    Barrier *group, *all;
    int threads;
    bool alone;          // each thread is a team
    long rows;           // of a block; at least the batch, because there may be fewer threads in the end
    long inputs_stride;
    Direction directions[2];
    Team* teams;         // one for each direction and thread
    const T** pointers;  // B for each thread
    T* bias;             // 4H for each thread and direction
    T* columns;          // a block's rows of one panel of d_gates, for each thread

    BackwardScratch(const Backward<T>& a, void* memory, int threads)
        : arena(memory),
          order(a, arena),
          group(arena.take<Barrier>(1)),
          all(arena.take<Barrier>(1)),
          threads(threads) {
        const long width = 4 * a.hidden, both = a.input + a.hidden;
        const int group_size = a.directions == 2 && threads % 2 == 0 ? threads / 2 : threads;
        const bool shares_units = a.batch < kOwnSequences * group_size;
        // Sums of its own are worth their memory and their adding up where a thread has as many rows as they have, and
        // wherever memory is what is asked for, they are not.
        alone = a.gates && group_size > 1 && !shares_units && group_size * both <= a.time * a.batch;
        rows = (a.block_bytes ? a.block_bytes : kBlockBytes) / ((width + both) * long(sizeof(T)));
        // The sums of a weight's gradient are read and written once for a block: it must have some rows.
        if (!a.block_bytes && rows < kBlockRows) rows = kBlockRows;
        if (rows > a.time * a.batch) rows = a.time * a.batch;
        if (rows < a.batch) rows = a.batch;
        // Rows that lie a multiple of a page apart fall on the same few places of a cache.
        inputs_stride = both * sizeof(T) % 512 ? both : both + 64 / sizeof(T);
        const long all_vectors = panels<T>(a.hidden);
        const long share = shares_units ? (all_vectors + group_size - 1) / group_size : all_vectors;
        teams = arena.take<Team>(2 * threads);
        for (int d = 0; d < a.directions; ++d) {
            Direction& way = directions[d];
            way.hidden = {arena.take<T>(Columns<T>::size(width, a.hidden)), width, a.hidden,
                          share < kPanel ? int(share) : kPanel};
            way.input = {arena.take<T>(Columns<T>::size(width, a.input)), width, a.input, kPanel};
            way.packed = a.gates ? nullptr : arena.take<T>(Packed<T>::size(a.input, a.hidden));
            way.d_x = d == 0 || !a.d_x ? a.d_x : arena.take<T>(a.time * a.batch * a.input);
            for (int k = 0; k < (alone ? threads : 1); ++k) {
                const Team team = {{arena.take<T>(Columns<T>::size(both, width)), both, width, kPanel},
                                   arena.take<T>(rows * width),
                                   arena.take<T>(rows * inputs_stride),
                                   arena.take<long>(a.time + 1)};
                if (memory) teams[d * threads + k] = team;
            }
        }
        pointers = arena.take<const T*>(threads * a.batch);
        bias = arena.take<T>(2 * threads * width);
        columns = arena.take<T>(threads * rows * kPanel * kWidth<T>);
    }

    const Team& team(int direction, int k) const { return teams[direction * threads + k]; }

    void fill(const Backward<T>& a) {
        order.fill(a.time);
        group->reset(threads);
        all->reset(threads);
    }

    static constexpr long kBlockBytes = 1 << 20, kBlockRows = 256;
};

template <class T>
class BackwardPass {
public:
    BackwardPass(const Backward<T>& a, const BackwardScratch<T>& scratch, const Part& part, int thread, int begin,
                 int end)
        : a(a),
          scratch(scratch),
          order(scratch.order),
          way(scratch.directions[part.direction]),
          alone(scratch.alone && !part.shares_units()),
          team(scratch.team(part.direction, alone ? thread : 0)),
          part(part),
          thread(thread),
          group_begin(begin),
          group_end(end),
          index(thread - begin),
          size(end - begin),
          next(scratch.pointers + thread * a.batch),
          bias(bias_of(part.group_begin)),
          reverse(part.direction == 1),
          unit_begin(way.hidden.first(part.panel_begin)),
          unit_end(smaller(way.hidden.first(part.panel_end), a.hidden)) {}

    void run() {
        prepare();
        const long steps = smaller(scratch.rows / (alone ? part.count(a.batch) : a.batch), a.time);
        const long blocks = (a.time + steps - 1) / steps;
        for (long n = 0; n < blocks; ++n) {
            begin = (reverse ? n : blocks - 1 - n) * steps;
            end = smaller(begin + steps, a.time);
            copy_inputs();
            if (!a.gates) compute_gates();
            if (!go_through_steps()) return;
            wait_for_team();
            multiply_weights(n == 0);
            if (a.d_x) multiply_inputs();
            wait_for_team();
        }
        if (alone) wait();
        unpack_weights();
        clear_padding();
    }

private:
    static constexpr int W = kWidth<T>;

    static long smaller(long a, long b) { return a < b ? a : b; }
    void wait() {
        if (size > 1) scratch.group->wait(thread, group_begin, group_end);
    }
    void wait_for_team() {
        if (!alone) wait();
    }
    // Of something that the team does together: this thread's part.
    Range share(long count) const { return alone ? Range(count, 0, 1) : Range(count, index, size); }

    // The sums of the gates' gradients over the sequences of one thread; threads that share units share them too.
    T* bias_of(int k) const { return scratch.bias + (2 * k + part.direction) * 4 * a.hidden; }

    long sequence(long k) const { return order.sequence(part.place(k)); }
    // The row of (D, B, H).
    template <class U>
    U* state(U* states, long k) const {
        return states + (part.direction * a.batch + sequence(k)) * a.hidden;
    }
    // The row of (D, T, B, columns).
    template <class U>
    U* row(U* steps, long t, long sequence, long columns) const {
        return steps + ((part.direction * a.time + t) * a.batch + sequence) * columns;
    }
    // A team's sequence number n has this place in the order.
    long place_in_team(long n) const { return alone ? part.place(n) : n; }
    T* d_gates(long t, long k) const {
        return team.d_gates + (team.starts[t] - team.starts[begin] + (alone ? k : part.place(k))) * 4 * a.hidden;
    }
    const T* gates(long t, long k) const {
        return a.gates ? row(a.gates, t, sequence(k), 4 * a.hidden) : d_gates(t, k);
    }
    bool is_first(long t, long place) const { return reverse ? t + 1 == order.length(place, a.time) : t == 0; }
    long before(long t) const { return reverse ? t + 1 : t - 1; }
    const T* h_before(long t, long place) const {
        const long sequence = order.sequence(place);
        if (is_first(t, place)) return a.h_0 + (part.direction * a.batch + sequence) * a.hidden;
        return a.output + before(t) * a.output_time + sequence * a.output_batch + part.direction * a.hidden;
    }
    const T* c_before(long t, long k) const {
        return is_first(t, part.place(k)) ? state(a.c_0, k) : row(a.cell, before(t), sequence(k), a.hidden);
    }
    const T* x(long t, long place) const { return a.x + t * a.x_time + order.sequence(place) * a.x_batch; }
    int units(long u) const { return a.hidden - u < W ? int(a.hidden - u) : W; }

    // Calls visit(row, t, place) for this thread's share of the block's rows: whole tiles, so that it makes no
    // difference to a row how many threads there are.
    template <class Visit>
    void for_own_rows(Visit visit) const {
        const long first = team.starts[begin], rows = team.starts[end] - first;
        const Range range = share((rows + kRows - 1) / kRows);
        long t = begin;
        for (long n = range.begin * kRows; n < smaller(range.end * kRows, rows); ++n) {
            while (first + n >= team.starts[t + 1]) ++t;
            visit(n, t, place_in_team(first + n - team.starts[t]));
        }
    }

    // Weights in the order in which they are read, and the gradients to begin with.
    void prepare() {
        const Weights<T>& weights = a.weights[part.direction];
        way.hidden.pack(weights.hh, Range(way.hidden.count(), index, size));
        if (a.d_x) way.input.pack(weights.ih, Range(way.input.count(), index, size));
        if (!a.gates) {
            const Range range(panels<T>(a.hidden), index, size);
            Packed<T>(way.packed, a.input, a.hidden).pack(weights, range.begin, range.end);
        }
        if (alone || index == 0) {
            team.starts[0] = 0;
            for (long t = 0; t < a.time; ++t)
                team.starts[t + 1] = team.starts[t] + (alone ? part.count(order.active(t)) : order.active(t));
        }
        for (int gate = 0; gate < 4; ++gate)
            for (long u = unit_begin; u < unit_end; ++u) bias[gate * a.hidden + u] = 0;
        for (long k = 0, own = part.count(a.batch); k < own; ++k) {
            for (long u = unit_begin; u < unit_end; ++u) {
                state(a.d_h_0, k)[u] = a.grad_h_n ? state(a.grad_h_n, k)[u] : 0;
                state(a.d_c_0, k)[u] = a.grad_c_n ? state(a.grad_c_n, k)[u] : 0;
            }
        }
        wait();
    }

    void copy_inputs() const {
        for_own_rows([&](long n, long t, long place) {
            T* const to = team.inputs + n * scratch.inputs_stride;
            const T *const from_x = x(t, place), *const from_h = h_before(t, place);
            for (long k = 0; k < a.input; ++k) to[k] = from_x[k];
            for (long k = 0; k < a.hidden; ++k) to[a.input + k] = from_h[k];
        });
    }

    // The gates once more, from the states that the forward pass kept: not step by step, because h is known. They
    // stand in d_gates until a step puts its gradients in their place.
    void compute_gates() {
        const Packed<T> weights(way.packed, a.input, a.hidden);
        const auto active = [&](long t) { return part.count(order.active(t)); };
        for (long u = unit_begin; u < unit_end; u += W) {
            for_tiles(begin, end, active, [&](int rows, const long* steps, const long* sequences) {
                Tile<T> tile;
                Factor<T> factors[2];
                for (int r = 0; r < rows; ++r) {
                    factors[0].rows[r] = x(steps[r], part.place(sequences[r]));
                    factors[1].rows[r] = h_before(steps[r], part.place(sequences[r]));
                }
                factors[0].panel = weights.ih_panel(u / W);
                factors[0].depth = a.input;
                factors[1].panel = weights.hh_panel(u / W);
                factors[1].depth = a.hidden;
                multiply_into(tile, rows, 4, weights.bias_panel(u / W), 0, factors, 2);
                for (int r = 0; r < rows; ++r) {
                    const T* const sums = tile.sums[r];
                    T* const out = d_gates(steps[r], sequences[r]) + u;
                    store(out, sigmoid<T>(load(sums)), units(u));
                    store(out + a.hidden, sigmoid<T>(load(sums + W)), units(u));
                    store(out + 2 * a.hidden, tanh(load(sums + 2 * W)), units(u));
                    store(out + 3 * a.hidden, sigmoid<T>(load(sums + 3 * W)), units(u));
                }
            });
        }
    }

    // Whether the thread is still needed.
    bool go_through_steps() {
        long with_next = 0;
        for (long n = begin; n < end; ++n) {
            const long t = reverse ? n : end - 1 - (n - begin);
            const long active = part.count(order.active(t));
            step(t, active, smaller(active, with_next));
            with_next = active;
            if (!part.shares_units()) continue;
            scratch.group->wait_after_step(thread, group_begin, group_end);
            if (!scratch.group->dissolved(thread, group_begin)) continue;
            if (thread != group_begin) return false;
            take_over();
        }
        hand_on(part.count(order.active(begin)));
        return true;
    }

    // From here on, the group's work is this thread's.
    void take_over() {
        part.panel_begin = 0;
        part.panel_end = way.hidden.count();
        part.group_end = part.group_begin + 1;
        unit_begin = 0;
        unit_end = a.hidden;
        size = 1;
    }

    // Step t for the first `active` sequences, of which the first `with_next` have a step after it in this block.
    void step(long t, long active, long with_next) {
        const Tiling inner{with_next}, outer{active - with_next};
        const long count = part.panel_end - part.panel_begin;
        for (long n = 0; n < count; ++n) {
            // To and fro, so that the panels at the turn are still in the cache.
            const long p = t % 2 ? part.panel_end - 1 - n : part.panel_begin + n;
            Tile<T> tile;
            for (long i = 0; i < inner.tiles; ++i) {
                fetch(t, p, inner.begin(i), inner.rows(i));
                multiply_next(p, inner.begin(i), inner.rows(i), tile);
                panel(t, p, inner.begin(i), inner.rows(i), tile);
            }
            for (long i = 0; i < outer.tiles; ++i) {
                const long k = with_next + outer.begin(i);
                take_carried(p, k, outer.rows(i), tile);
                panel(t, p, k, outer.rows(i), tile);
            }
        }
        for (long k = 0; k < active; ++k) next[k] = d_gates(t, k);
    }

    // Asks for what `panel` will read, while the product before it keeps the processor busy.
    // Always inlined, as GCC takes a function that does nothing else for one without effect.
    __attribute__((always_inline)) void fetch(long t, long p, long k, int rows) const {
        const long u = way.hidden.first(p), width = way.hidden.vectors_of(p) * W;
        for (int r = 0; r < rows; ++r) {
            const T* const gate = gates(t, k + r) + u;
            const T *const now = row(a.cell, t, sequence(k + r), a.hidden) + u, *const past = c_before(t, k + r) + u;
            for (long n = 0; n < width; n += 64 / sizeof(T)) {
                for (int g = 0; g < 4; ++g) __builtin_prefetch(gate + g * a.hidden + n);
                __builtin_prefetch(now + n);
                __builtin_prefetch(past + n);
                if (a.grad_output) __builtin_prefetch(grad_output(t, k + r) + u + n);
            }
        }
    }

    const T* grad_output(long t, long k) const {
        return a.grad_output + t * a.grad_time + sequence(k) * a.grad_batch + part.direction * a.hidden;
    }

    // tile = d_gates of the step after . W_hh.
    void multiply_next(long p, long k, int rows, Tile<T>& tile) const {
        Factor<T> factor;
        for (int r = 0; r < rows; ++r) factor.rows[r] = next[k + r];
        factor.panel = way.hidden.panel(p);
        factor.depth = 4 * a.hidden;
        multiply_into<T>(tile, rows, way.hidden.vectors_of(p), nullptr, 0, &factor, 1);
    }

    void take_carried(long p, long k, int rows, Tile<T>& tile) const {
        for (int r = 0; r < rows; ++r)
            for (int v = 0; v < way.hidden.vectors_of(p); ++v) {
                const long u = way.hidden.first(p) + v * W;
                store(tile.sums[r] + v * W, load(state(a.d_h_0, k + r) + u, units(u)));
            }
    }

    // What reaches h before the block's first step, for the block that comes next.
    void hand_on(long processed) {
        const Tiling tiling{processed};
        Tile<T> tile;
        for (long p = part.panel_begin; p < part.panel_end; ++p) {
            for (long i = 0; i < tiling.tiles; ++i) {
                multiply_next(p, tiling.begin(i), tiling.rows(i), tile);
                for (int r = 0; r < tiling.rows(i); ++r)
                    for (int v = 0; v < way.hidden.vectors_of(p); ++v) {
                        const long u = way.hidden.first(p) + v * W;
                        store(state(a.d_h_0, tiling.begin(i) + r) + u, load(tile.sums[r] + v * W), units(u));
                    }
            }
        }
    }

    // The equations for one panel of sequences [k, k + rows); `tile` holds what reaches h from the step after.
    void panel(long t, long p, long k, int rows, const Tile<T>& tile) {
        const T *gate[kRows], *cell[kRows], *cell_before[kRows];
        for (int r = 0; r < rows; ++r) {
            gate[r] = gates(t, k + r);
            cell[r] = row(a.cell, t, sequence(k + r), a.hidden);
            cell_before[r] = c_before(t, k + r);
        }
        for (int v = 0; v < way.hidden.vectors_of(p); ++v) {
            const long u = way.hidden.first(p) + v * W;
            const int count = units(u);
            Vec<T> sum[4] = {};
            for (int r = 0; r < rows; ++r) {
                const long s = sequence(k + r);
                T* const carried = state(a.d_c_0, k + r) + u;
                Vec<T> dh = load(tile.sums[r] + v * W), dc = load(carried, count);
                if (a.grad_output) dh += load(grad_output(t, k + r) + u, count);
                if (a.grad_cell) dc += load(row(a.grad_cell, t, s, a.hidden) + u, count);
                const Vec<T> i = load(gate[r] + u, count), f = load(gate[r] + a.hidden + u, count);
                const Vec<T> g = load(gate[r] + 2 * a.hidden + u, count), o = load(gate[r] + 3 * a.hidden + u, count);
                const Vec<T> shown = tanh(load(cell[r] + u, count));
                dc += dh * o * (1 - shown * shown);
                const Vec<T> slope[4] = {i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o)};
                Vec<T> d[4] = {dc * g * slope[0], dc * load(cell_before[r] + u, count) * slope[1], dc * i * slope[2],
                               dh * shown * slope[3]};
                T* const out = d_gates(t, k + r) + u;
                for (int n = 0; n < 4; ++n) {
                    if (a.grad_gates)
                        d[n] += slope[n] * load(row(a.grad_gates, t, s, 4 * a.hidden) + n * a.hidden + u, count);
                    store(out + n * a.hidden, d[n], count);
                    sum[n] += d[n];
                }
                store(carried, dc * f, count);
                if (a.d_cell) store(row(a.d_cell, t, s, a.hidden) + u, dc, count);
                if (a.d_hidden) store(row(a.d_hidden, t, s, a.hidden) + u, dh, count);
            }
            for (int n = 0; n < 4; ++n) {
                T* const total = bias + n * a.hidden + u;
                store(total, load(total, count) + sum[n], count);
            }
        }
    }

    // The block's part of the weights' gradients, for this thread's share of the gates' columns.
    void multiply_weights(bool first) const {
        const long rows = team.starts[end] - team.starts[begin], width = 4 * a.hidden;
        T* const packed = scratch.columns + thread * scratch.rows * kPanel * W;
        const Range range = share(team.sums.count());
        const Tiling tiling{team.sums.depth};
        for (long p = range.begin; p < range.end; ++p) {
            const int vectors = team.sums.vectors_of(p);
            pack_columns(team.d_gates, width, rows, team.sums.first(p), vectors, packed);
            for (long i = 0; i < tiling.tiles; ++i) {
                Factor<T> factor;
                for (int r = 0; r < tiling.rows(i); ++r) factor.rows[r] = team.inputs + tiling.begin(i) + r;
                factor.panel = packed;
                factor.depth = rows;
                factor.stride = scratch.inputs_stride;
                T* const sums = team.sums.panel(p) + tiling.begin(i) * vectors * W;
                multiply_for<T>(tiling.rows(i), vectors)(sums, vectors * W, first ? nullptr : sums, vectors * W,
                                                         &factor, 1);
            }
        }
    }

    // The gradient of x for this thread's share of the block's rows.
    void multiply_inputs() const {
        const T* from[kRows];
        T* to[kRows];
        int rows = 0;
        const auto finish = [&] {
            for (long p = 0; rows && p < way.input.count(); ++p) {
                Tile<T> tile;
                Factor<T> factor;
                for (int r = 0; r < rows; ++r) factor.rows[r] = from[r];
                factor.panel = way.input.panel(p);
                factor.depth = 4 * a.hidden;
                multiply_into<T>(tile, rows, way.input.vectors_of(p), nullptr, 0, &factor, 1);
                for (int r = 0; r < rows; ++r)
                    for (int v = 0; v < way.input.vectors_of(p); ++v)
                        store(to[r] + way.input.first(p) + v * W, load(tile.sums[r] + v * W), elements(way.input, p, v));
            }
            rows = 0;
        };
        for_own_rows([&](long n, long t, long place) {
            from[rows] = team.d_gates + n * 4 * a.hidden;
            to[rows] = way.d_x + (t * a.batch + order.sequence(place)) * a.input;
            if (++rows == kRows) finish();
        });
        finish();
    }

    // The sums of all teams, transposed, to where they belong; and those of the threads.
    void unpack_weights() const {
        const WeightGradients<T>& to = a.d_weights[part.direction];
        const Columns<T>& sums = scratch.team(part.direction, alone ? group_begin : 0).sums;
        const Range range(sums.count(), index, size);
        for (long p = range.begin; p < range.end; ++p) {
            const int stride = sums.vectors_of(p) * W;
            for (int k = 1; alone && k < size; ++k) {
                const T* const other = scratch.team(part.direction, group_begin + k).sums.panel(p);
                for (long n = 0; n < sums.depth * stride; ++n) sums.panel(p)[n] += other[n];
            }
            for (int v = 0; v < sums.vectors_of(p); ++v) {
                const long gate = sums.first(p) + v * W;
                const int count = elements(sums, p, v);
                const T* const from = sums.panel(p) + v * W;
                unpack_transposed(from, stride, a.input, count, to.ih + gate * a.input);
                unpack_transposed(from + a.input * stride, stride, a.hidden, count, to.hh + gate * a.hidden);
            }
        }
        const Range own(4 * a.hidden, index, size);
        for (long n = own.begin; n < own.end; ++n) {
            to.bias[n] = 0;
            for (int k = group_begin; k < (shared ? group_begin + 1 : group_end); ++k) to.bias[n] += bias_of(k)[n];
        }
    }

    // Zeros past the end of the thread's sequences, in what the caller gets.
    void clear_padding() const {
        for (long k = 0, own = part.count(a.batch); k < own; ++k) {
            const long s = sequence(k);
            for (long t = order.length(part.place(k), a.time); t < a.time; ++t) {
                for (long u = unit_begin; u < unit_end; ++u) {
                    if (a.d_cell) row(a.d_cell, t, s, a.hidden)[u] = 0;
                    if (a.d_hidden) row(a.d_hidden, t, s, a.hidden)[u] = 0;
                }
                if (!a.d_x || thread != part.group_begin) continue;
                for (long n = 0; n < a.input; ++n) way.d_x[(t * a.batch + s) * a.input + n] = 0;
            }
        }
    }

    const Backward<T>& a;
    const BackwardScratch<T>& scratch;
    const Order<T>& order;
    const typename BackwardScratch<T>::Direction& way;
    const bool alone;  // it waits for no one but at the beginning and at the end
    const typename BackwardScratch<T>::Team& team;
    Part part;
    const int thread, group_begin, group_end, index;
    int size;  // of the group
    const T** const next;  // d_gates of the step after, for each of the part's sequences
    T* const bias;
    const bool shared = part.shares_units();
    const bool reverse;
    long unit_begin, unit_end;
    long begin = 0, end = 0;  // the steps of the block
};

template <class T>
struct BackwardTask {
    const Backward<T>& a;
    BackwardScratch<T> scratch;
};

template <class T>
void backward_body(int thread, int threads, void* context) {
    const BackwardTask<T>& task = *static_cast<BackwardTask<T>*>(context);
    const Backward<T>& a = task.a;
    for_directions(a.directions, thread, threads, [&](int direction, int begin, int end) {
        const long count = task.scratch.directions[direction].hidden.count();
        const Part part = part_of(a, count, direction, thread, begin, end);
        BackwardPass<T>(a, task.scratch, part, thread, begin, end).run();
    });
    if (!a.d_x || a.directions == 1) return;
    if (threads > 1) task.scratch.all->wait(thread, 0, threads);
    const Range range(a.time * a.batch * a.input, thread, threads);
    for (long n = range.begin; n < range.end; ++n) a.d_x[n] += task.scratch.directions[1].d_x[n];
}

template <class T>
size_t backward_bytes(const Backward<T>& a) {
    return a.batch == 0 ? 0 : BackwardScratch<T>(a, nullptr, useful_threads(a)).arena.used();
}

template <class T>
void backward(const Backward<T>& a) {
    if (a.batch == 0) {
        for (int d = 0; d < a.directions; ++d) {
            const WeightGradients<T>& to = a.d_weights[d];
            for (long n = 0; n < 4 * a.hidden * a.input; ++n) to.ih[n] = 0;
            for (long n = 0; n < 4 * a.hidden * a.hidden; ++n) to.hh[n] = 0;
            for (long n = 0; n < 4 * a.hidden; ++n) to.bias[n] = 0;
        }
        return;
    }
    const int threads = useful_threads(a);
    BackwardTask<T> task{a, BackwardScratch<T>(a, a.scratch, threads)};
    task.scratch.fill(a);
    run_team(threads_now(a, threads), backward_body<T>, &task);
}

}  // namespace GLASSLSTM_ISA
}  // namespace glasslstm
